"""A chain's network as the compiled code reads it: what packing in `chain.py` makes and `chain_cpu.py` runs."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

LANES = 16  # numbers that are summed side by side: channels, of several cells where a layer has few


class Layers(NamedTuple):
    """Convolutions, packed; bytes where multiplying bytes, else float32.

    Attributes:
        support: [n] side of each kernel.
        channels: [n + 1] of the cells, then of what each layer makes: parts or multiples of `LANES`.
        neighbours: [n] cells that a layer makes at once, more than one where its channels are a part of `LANES`.
        steps: [n] of `convolve` in a row.
        weights: flat, int8 or float32, blocks of `LANES` channels one after the other.
        begin: [n] index of each layer's first weight.
        block: [n] weights of each layer's blocks.
        after: [n, 3, channels or more] float32, see `convolve`; few channels are repeated for each of the neighbours.
        bounds: [n, 3] float32, see `convolve`.
    """

    support: Ints
    channels: Ints
    neighbours: Ints
    steps: Ints
    weights: npt.NDArray[Any]
    begin: Ints
    block: Ints
    after: Floats
    bounds: Floats


class Linear(NamedTuple):
    """The convolution beside the chain.

    Attributes:
        support: side of its kernel, 0 where there is none.
        channels, neighbours: see `Layers`, the same as of the last of these.
        steps: of `convolve` in a row.
        weights: flat, float32 or int16.
        after: [3, channels * neighbours] float32.
        bounds: [3] float32.
    """

    support: int
    channels: int
    neighbours: int
    steps: int
    weights: npt.NDArray[Any]
    after: Floats
    bounds: Floats


class Cells(NamedTuple):
    """How codes become cells, and cells codes.

    Attributes:
        small, large: side of a cell before and behind.
        shift: bits that codes lose on their way into the chain (not into the linear part), rounded.
        most: highest number that goes into the chain.
    """

    small: int
    large: int
    shift: int
    most: int

"""A packed network as the compiled code reads it: `chain.py` packs it, `chain_cpu.py` runs it."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

LANES = 16  # sums computed in parallel: channels, of several cells if a layer has few channels
NARROW = 8  # the same for two rows at once, see `chain_winograd.py`: the lanes of a register of AVX2


class Layers(NamedTuple):
    """The packed convolutions of a chain of n layers; `convolve` is that of `_vectors.py`.

    With `NARROW` in place of `LANES`, for two rows at once.

    Attributes:
        support: [n] side of each layer's kernel.
        channels: [n + 1] input channels of the first layer, then output channels of each: divisors or multiples of
            `LANES`.
        neighbours: [n] cells that a layer computes at once, more than one if its channels are fewer than `LANES`.
        steps: [n] steps of `convolve` per row.
        weights: flat, int8, int16 or float32, one block per `LANES` channels.
        begin: [n] index of each layer's first weight.
        block: [n] weights in a block of each layer.
        after: [n, 3, channels or more] float32, see `convolve`; repeated for each of the neighbours.
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
    """The linear convolution parallel to the chain, packed.

    Attributes:
        support: side of its kernel, 0 if there is none.
        channels, neighbours: output channels and cells at once, the same as those of the last of `Layers`.
        steps: steps of `convolve` per row.
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
    """How codes become cells and cells become codes.

    Attributes:
        small, large: side of a cell in the input and in the output, in samples.
        shift: low bits that are rounded away before the chain (not before the linear part).
        most: highest input of the chain.
    """

    small: int
    large: int
    shift: int
    most: int

"""Networks over cells as the compiled code reads them: `lanes_packing.py` packs them, `lanes_cpu.py` runs them."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Samples = npt.NDArray[Any]

ALIGNED = 8  # cells: a row starts a whole number of bytes of signs from the left


class Network(NamedTuple):
    """Convolutions of n layers, of s steps in all; `sum_cells` is that of `_lanes.py`.

    Rows of cells live in numbered stores, see `Stores`. Each step takes a group of channels of one store, from a cell
    that is some rows and columns away.

    Attributes:
        step: [n + 1] index of each layer's first step.
        store, group, row, column: [s] what a step reads; row and column are relative.
        weights: flat, int16 or float32, one block of `sum_cells` after the other.
        weight: [n] index of each layer's first weight.
        bias: [channels of all layers] int32 or float32.
        shift: [channels of all layers] int32.
        channel: [n + 1] index of each layer's first channel.
        activation: [n] of `_lanes.py`.
        signs: [n] layer of the signs that are written or read.
        out: [n] store of the results.
        lag: [n] rows by which the result is behind the newest row of input.
        margin: [n] cells beyond the picture's edges that are computed.
        half: rows before and after its own that the first layer reads.
        slope: of the activations, as the samples.
    """

    step: Ints
    store: Ints
    group: Ints
    row: Ints
    column: Ints
    weights: Samples
    weight: Ints
    bias: Samples
    shift: npt.NDArray[np.int32]
    channel: Ints
    activation: Ints
    signs: Ints
    out: Ints
    lag: Ints
    margin: Ints
    half: int
    slope: Any


class Stores(NamedTuple):
    """Rows of cells in one array, for all networks.

    Attributes:
        memory: flat, int16 or float32; each row of a store has one line of cells for each group of channels.
        begin: [stores] index of each store.
        slots: [stores] rows that are kept; row r of the picture is in slot ``(r + above) % slots``.
        groups: [stores] groups of channels.
        taken: channels in a group, side by side: 2 in int16, 1 in float32.
        pitch: cells from one group to the next.
        left: cells before the picture's first.
        above: rows before the picture's first.
        bits: flat uint8, signs of activations, a bit each: [layers, rows, groups, pitch * taken].
        sign_groups: groups of channels in `bits`.
        rows, columns: of the picture, in cells.
    """

    memory: Samples
    begin: Ints
    slots: Ints
    groups: Ints
    taken: int
    pitch: int
    left: int
    above: int
    bits: npt.NDArray[np.uint8]
    sign_groups: int
    rows: int
    columns: int

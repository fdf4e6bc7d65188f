"""The error of a chain of convolutions and its gradient with respect to the chain's input, on the CPU, row by row.

The chain runs forward and keeps one bit for each activation between its layers. The transposed chain then takes the
error back through the same layers: it is a chain of convolutions too, and the bits say where to multiply by the slope.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vidscale.triton_kernels._numba import compiled
from vidscale.triton_kernels._vectors import PIXELS
from vidscale.triton_kernels._vectors_gradient import convolve_gated, convolve_signed
from vidscale.triton_kernels.chain_cpu import Rings, _begin, _layer, _linear, _narrowed, rings_of
from vidscale.triton_kernels.chain_cpu_cells import CellRow, Samples, gather, scatter
from vidscale.triton_kernels.chain_layout import LANES, Cells, Floats, Ints, Layers, Linear

_ALL = 65535


class Signs(NamedTuple):
    """Signs of the activations between the layers of a chain, for the picture and a margin of cells on each side.

    Attributes:
        bits: flat uint8, a bit per channel, 1 for positive.
        pitch: bytes from one row of cells to the next.
        layer: bytes from one layer to the next.
    """

    bits: npt.NDArray[np.uint8]
    pitch: int
    layer: int

    @classmethod
    def of(cls, layers: Layers, rows: int, columns: int) -> "Signs":
        """Args: layers: of the forward chain, channels in multiples of 8; rows, columns: of the picture, in cells."""
        around = int((layers.support - 1).sum())
        beyond = PIXELS * int(layers.neighbours.max())
        pitch = (columns + around + beyond) * int(layers.channels[1:].max()) // 8
        layer = (rows + around) * pitch
        return cls(np.empty((layers.support.size - 1) * layer, np.uint8), pitch, layer)


def errors_of(plane: Samples, hr: Samples, layers: Layers, linear: Linear, cells: Cells, errors: Samples) -> Signs:
    """Run the chain forward; releases the GIL.

    Args:
        plane: [h, w] uint8 or uint16 codes; edge samples are repeated outside it.
        hr: [H, W], same dtype; edge samples are repeated up to whole cells.
        layers, linear, cells: the packed network; channels between the layers are multiples of 8.
        errors: [rows, columns * large^2], cells; `hr` minus the upscaled plane, in codes, is written here.

    Returns:
        What `gradient_of` needs.
    """
    rows, columns = errors.shape[0], errors.shape[1] // cells.large**2
    rings = rings_of(layers, linear, columns)
    before = CellRow.of(int(rings.width[0]), cells.small, cells.small**2, plane.dtype)
    behind = CellRow.of(columns, cells.large, int(layers.channels[-1]), plane.dtype)
    wanted = CellRow.of(columns, cells.large, cells.large**2, plane.dtype)
    signs = Signs.of(layers, rows, columns)
    _forward(plane, hr, layers, linear, cells, rings, before, behind, wanted, signs, errors)
    return signs


def gradient_of(errors: Samples, signs: Signs, layers: Layers, linear: Linear, cells: Cells) -> Floats:
    """Run the transposed chain; releases the GIL.

    Args:
        errors: [rows, columns * large^2], cells; zero outside the picture.
        signs: of the forward chain.
        layers, linear: the packed transposed network.
        cells: of the forward chain.

    Returns:
        [h, w] float32, whole cells.
    """
    rows, columns = errors.shape[0], errors.shape[1] // cells.large**2
    rings = rings_of(layers, linear, columns)
    behind = CellRow.of(columns, cells.small, int(layers.channels[-1]), np.dtype(np.float32))
    out = np.empty((rows * cells.small, columns * cells.small), np.float32)
    _backward(errors, signs, layers, linear, rings, behind, out)
    return out


@compiled
def _forward(
    plane: Samples, hr: Samples, layers: Layers, linear: Linear, cells: Cells, rings: Rings, before: CellRow,
    behind: CellRow, wanted: CellRow, signs: Signs, errors: Samples,
) -> None:  # fmt: skip
    margin = (layers.support - 1).sum() // 2
    taken = rings.width[0] * layers.channels[0]
    line = line_of(layers, rings)
    have = np.zeros(layers.support.size + 1, np.int64)
    for row in range(-margin, errors.shape[0] + margin):
        gather(plane, row, margin, before)
        at = rings.begin[0] + have[0] % layers.support[0] * rings.pitch[0]
        _narrowed(before.cells[:taken], rings.memory, at, cells.shift, cells.most)
        if linear.support:
            _narrowed(before.cells[:taken], rings.codes, have[0] % rings.kept * rings.pitch[0], 0, _ALL)
        have[0] += 1
        if advance(layers, linear, rings, have, line, behind.cells, signs, None):
            done = have[layers.support.size] - 1
            gather(hr, done, 0, wanted)
            _subtract(wanted, behind, errors[done])


@compiled
def _subtract(wanted: CellRow, behind: CellRow, errors: Samples) -> None:
    kept, made = behind.step * behind.run // behind.rows.itemsize, wanted.side**2
    for cell in range(wanted.width):
        for sample in range(made):
            errors[cell * made + sample] = np.int32(wanted.cells[cell * made + sample]) - np.int32(
                behind.cells[cell * kept + sample]
            )


@compiled
def _backward(
    errors: Samples, signs: Signs, layers: Layers, linear: Linear, rings: Rings, behind: CellRow, out: Floats
) -> None:
    margin, rows = (layers.support - 1).sum() // 2, errors.shape[0]
    line = line_of(layers, rings)
    have = np.zeros(layers.support.size + 1, np.int64)
    for row in range(-margin, rows + margin):
        at = rings.begin[0] + have[0] % layers.support[0] * rings.pitch[0]
        inside = 0 <= row < rows
        _place(errors[row % rows], inside, rings.memory, at, margin * layers.channels[0])
        if linear.support:
            at = have[0] % rings.kept * rings.pitch[0]
            _place(errors[row % rows], inside, rings.codes, at, margin * layers.channels[0])
        have[0] += 1
        if advance(layers, linear, rings, have, line, behind.cells, None, signs):
            scatter(out, have[layers.support.size] - 1, behind)


@compiled
def _place(errors: Samples, inside: bool, out: Samples, at: int, before: int) -> None:
    """Copy a row of errors, or zeros if it is not inside the picture; what is beside them stays zero."""
    for i in range(errors.size):
        out[at + before + i] = errors[i] if inside else 0


@compiled
def line_of(layers: Layers, rings: Rings) -> Floats:
    """A row of outputs before they are rounded, in cells."""
    columns, made = rings.width[layers.support.size], layers.channels[layers.support.size]
    return np.zeros(columns * made + PIXELS * max(LANES, made), np.float32)


@compiled
def advance(
    layers: Layers, linear: Linear, rings: Rings, have: Ints, line: Floats, out: Samples, signs: Signs | None,
    gates: Signs | None,
) -> bool:  # fmt: skip
    """Compute one row of each layer that has all rows it needs, after one more row of input.

    Args:
        layers, linear, rings: the network and its buffers.
        have: [n + 1] rows so far, before each layer and after the last.
        line: for the linear part; see `line_of`.
        out: cells; the row is written here.
        signs: where to write the signs of the activations; None to keep none.
        gates: signs that replace those of the activations, by the layers of the forward chain; or None.

    Returns:
        Whether `out` has a new row.
    """
    depth, channels = layers.support.size, layers.channels
    for n in range(depth):
        if have[n] < layers.support[n]:
            return False
        have[n + 1] += 1
        if n < depth - 1:
            to = rings.begin[n + 1] + (have[n + 1] - 1) % layers.support[n + 1] * rings.pitch[n + 1]
            if signs is not None:
                _signed_layer(layers, n, rings, have, to, signs)
            elif gates is not None:
                _gated_layer(layers, n, rings, have, to, gates)
            else:
                _layer(layers, n, rings, have, rings.memory, to, None)
    if linear.support:
        margin, reach = (layers.support - 1).sum() // 2, linear.support // 2
        first, end = (margin - reach) * channels[0], have[depth] + margin + reach
        _linear(linear, rings, first, end, channels[0], rings.width[depth], line)
    _layer(layers, depth - 1, rings, have, out, 0, line)
    return True


@compiled
def _signed_layer(layers: Layers, n: int, rings: Rings, have: Ints, row: int, signs: Signs) -> None:
    support, taken, made, many = layers.support[n], layers.channels[n], layers.channels[n + 1], layers.neighbours[n]
    starts = np.empty(support, np.int64)
    lost = (layers.support[: n + 1] - 1).sum() // 2
    sign = n * signs.layer + (have[n + 1] - 1 + lost) * signs.pitch + lost * made // 8
    for block in range(made * many // LANES):
        _begin(starts, rings.begin[n], rings.pitch[n], have[n], support, 0)
        first, channel = layers.begin[n] + block * layers.block[n], block * LANES
        for x in range(0, rings.width[n + 1], PIXELS * many):
            convolve_signed(
                rings.memory, starts, many * taken, layers.weights, first, layers.steps[n],
                rings.memory, row + x * made + channel, many * made, signs.bits, sign + (x * made + channel) // 8,
                layers.after[n], channel, layers.bounds[n],
            )  # fmt: skip
            starts += PIXELS * many * taken


@compiled
def _gated_layer(layers: Layers, n: int, rings: Rings, have: Ints, row: int, gates: Signs) -> None:
    support, taken, made, many = layers.support[n], layers.channels[n], layers.channels[n + 1], layers.neighbours[n]
    starts = np.empty(support, np.int64)
    lost = (layers.support[: n + 1] - 1).sum() // 2
    sign = (layers.support.size - 2 - n) * gates.layer + (have[n + 1] - 1 + lost) * gates.pitch + lost * made // 8
    for block in range(made * many // LANES):
        _begin(starts, rings.begin[n], rings.pitch[n], have[n], support, 0)
        first, channel = layers.begin[n] + block * layers.block[n], block * LANES
        for x in range(0, rings.width[n + 1], PIXELS * many):
            convolve_gated(
                rings.memory, starts, many * taken, layers.weights, first, layers.steps[n],
                rings.memory, row + x * made + channel, many * made, gates.bits, sign + (x * made + channel) // 8,
                layers.after[n], channel, layers.bounds[n],
            )  # fmt: skip
            starts += PIXELS * many * taken

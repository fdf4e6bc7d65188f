"""A chain of convolutions over cells on the CPU, row by row: data between layers stays in the core's own cache.

Each layer keeps as many rows of its input as its kernel is high, in a ring buffer. For every new row of cells, each
layer that has all the rows it needs passes one row on. So nothing is computed twice, and no whole picture is stored
between two layers.
"""

from typing import NamedTuple

import numpy as np
from numba import uint64 as u64

from vidscale.triton_kernels._numba import compiled
from vidscale.triton_kernels._vectors import PIXELS, convolve
from vidscale.triton_kernels.chain_cpu_cells import CellRow, Samples, gather, scatter
from vidscale.triton_kernels.chain_layout import LANES, Cells, Floats, Ints, Layers, Linear

_ALL = 65535
_SAMPLES = {"float32": np.float32, "int8": np.uint8, "int16": np.int16}  # by dtype of the weights


class _Rings(NamedTuple):
    """Ring buffers for the rows of each layer's input.

    Attributes:
        width: [n + 1] cells per row, before each layer and after the last.
        pitch: [n] elements from one row to the next.
        begin: [n] start of each ring in `memory`.
        memory: all rings, uint8, int16 or float32.
        kept: number of rows of codes kept for the linear part.
        codes: these rows, int16 or float32.
    """

    width: Ints
    pitch: Ints
    begin: Ints
    memory: Samples
    kept: int
    codes: Samples


def enlarge(plane: Samples, out: Samples, layers: Layers, linear: Linear, cells: Cells) -> None:
    """Upscale a plane; releases the GIL.

    Args:
        plane: [h, w] uint8 or uint16 codes; edge samples are repeated outside it.
        out: [H, W], same dtype; the result is written here.
        layers, linear, cells: the packed network.
    """
    columns = -(-out.shape[1] // cells.large)
    rings = rings_of(layers, linear, columns, PIXELS * int(layers.neighbours.max()))
    before = CellRow.of(int(rings.width[0]), cells.small, cells.small**2, plane.dtype)
    behind = CellRow.of(columns, cells.large, int(layers.channels[-1]), plane.dtype)
    _run(plane, out, layers, linear, cells, rings, before, behind)


def rings_of(layers: Layers, linear: Linear, columns: int, beyond: int, spare: int = 0) -> _Rings:
    """Buffers for a picture.

    Args:
        layers, linear: the packed network.
        columns: width of the picture in cells.
        beyond: cells that are read and written past the last column.
        spare: rows more than those for one row of output.
    """
    lost = np.cumsum(layers.support - 1)
    width = columns + lost[-1] - np.concatenate([[0], lost])
    pitch = (width[:-1] + layers.support + beyond) * layers.channels[:-1] + LANES
    ends = np.cumsum(pitch * (layers.support + spare))
    memory = np.zeros(ends[-1], _SAMPLES[layers.weights.dtype.name])
    kept = int(lost[-1] + linear.support) // 2 + 1 + spare if linear.support else 0
    codes = np.zeros(pitch[0] * kept, linear.weights.dtype)
    return _Rings(width, pitch, np.concatenate([[0], ends[:-1]]), memory, kept, codes)


@compiled
def _run(
    plane: Samples, out: Samples, layers: Layers, linear: Linear, cells: Cells, rings: _Rings, before: CellRow,
    behind: CellRow,
) -> None:  # fmt: skip
    depth, channels = layers.support.size, layers.channels
    rows, columns = -(-out.shape[0] // cells.large), rings.width[layers.support.size]
    margin = (layers.support - 1).sum() // 2
    reach = linear.support // 2
    line = np.zeros(columns * channels[depth] + PIXELS * max(LANES, channels[depth]), np.float32)  # linear part
    taken = rings.width[0] * channels[0]
    have = np.zeros(depth + 1, np.int64)  # rows so far, before each layer and after the last
    for row in range(-margin, rows + margin):
        at = rings.begin[0] + have[0] % layers.support[0] * rings.pitch[0]
        gather(plane, row, margin, before)
        _narrowed(before.cells[:taken], rings.memory, at, cells.shift, cells.most)
        if linear.support:
            _narrowed(before.cells[:taken], rings.codes, have[0] % rings.kept * rings.pitch[0], 0, _ALL)
        have[0] += 1
        for n in range(depth):
            if have[n] < layers.support[n]:
                break
            have[n + 1] += 1
            if n < depth - 1:
                to = rings.begin[n + 1] + (have[n + 1] - 1) % layers.support[n + 1] * rings.pitch[n + 1]
                _layer(layers, n, rings, have, rings.memory, to, None)
                continue
            if linear.support:
                first, end = (margin - reach) * channels[0], have[depth] + margin + reach
                _linear(linear, rings, first, end, channels[0], columns, line)
            _layer(layers, n, rings, have, behind.cells, 0, line)
            scatter(out, have[depth] - 1, behind)


@compiled
def _narrowed(cells: Samples, out: Samples, at: int, shift: int, most: int) -> None:
    """Copy codes, with the low bits rounded away, half up."""
    half, begin = np.int32((1 << shift) >> 1), u64(at)
    for i in range(u64(cells.size)):
        out[begin + i] = min((np.int32(cells[i]) + half) >> np.int32(shift), np.int32(most))


@compiled
def _begin(starts: Ints, ring: int, pitch: int, end: int, slots: int, first: int) -> None:
    """Find where the last rows of a ring before row `end` start, oldest first."""
    for r in range(starts.size):
        starts[r] = ring + (end - starts.size + r) % slots * pitch + first


@compiled
def _layer(layers: Layers, n: int, rings: _Rings, have: Ints, out: Samples, row: int, added: Floats | None) -> None:
    """Compute one row of a layer into `out`, starting at `row`; `added` is added to it unless it is None."""
    support, taken, made, many = layers.support[n], layers.channels[n], layers.channels[n + 1], layers.neighbours[n]
    starts = np.empty(support, np.int64)
    for block in range(made * many // LANES):
        _begin(starts, rings.begin[n], rings.pitch[n], have[n], support, 0)
        first, channel = layers.begin[n] + block * layers.block[n], block * LANES
        for x in range(0, rings.width[n + 1], PIXELS * many):
            convolve(
                rings.memory, starts, many * taken, layers.weights, first, layers.steps[n],
                out, row + x * made + channel, many * made, added, layers.after[n], channel, layers.bounds[n],
            )  # fmt: skip
            starts += PIXELS * many * taken


@compiled
def _linear(linear: Linear, rings: _Rings, first: int, end: int, taken: int, columns: int, line: Floats) -> None:
    """Compute one row of the linear part; `end` is one past the last row of codes it needs."""
    starts = np.empty(linear.support, np.int64)
    made, many = linear.channels, linear.neighbours
    for block in range(made * many // LANES):
        _begin(starts, 0, rings.pitch[0], end, rings.kept, first)
        at = block * linear.support * linear.steps * LANES
        for x in range(0, columns, PIXELS * many):
            convolve(
                rings.codes, starts, many * taken, linear.weights, at, linear.steps,
                line, x * made + block * LANES, many * made, None, linear.after, block * LANES, linear.bounds,
            )  # fmt: skip
            starts += PIXELS * many * taken

"""A chain of convolutions 3 samples high on the CPU, two rows at a time: see `chain_cpu.py` and `chain_winograd.py`."""

import numpy as np
from numba import uint64 as u64

from vidscale.triton_kernels._numba import compiled
from vidscale.triton_kernels._vectors import PIXELS
from vidscale.triton_kernels._vectors_winograd import NARROW_PIXELS, ROWS, convolve_two_rows
from vidscale.triton_kernels.chain_cpu import _ALL, _linear, _narrowed, _Rings, rings_of
from vidscale.triton_kernels.chain_cpu_cells import CellRow, Samples, _copy, gather, scatter
from vidscale.triton_kernels.chain_layout import NARROW, Cells, Floats, Layers, Linear
from vidscale.triton_kernels.chain_winograd import SUPPORT

_SLOTS = SUPPORT + 1  # rows of a ring: those for two rows of output
_STRIP = 1536  # samples of a transformed row at a time: four such rows stay in the first-level cache


def enlarge_by_two_rows(plane: Samples, out: Samples, layers: Layers, linear: Linear, cells: Cells) -> None:
    """`enlarge` for layers with `NARROW` lanes and transformed weights."""
    columns = -(-out.shape[1] // cells.large)
    beyond = max(NARROW_PIXELS * int(layers.neighbours.max()), PIXELS * linear.neighbours)
    rings = rings_of(layers, linear, columns, beyond, spare=1)
    before = CellRow.of(int(rings.width[0]), cells.small, cells.small**2, plane.dtype)
    behind = CellRow.of(columns, cells.large, int(layers.channels[-1]), plane.dtype)
    _run(plane, out, layers, linear, cells, rings, before, behind, (columns + beyond) * int(layers.channels[-1]))


@compiled
def _run(
    plane: Samples, out: Samples, layers: Layers, linear: Linear, cells: Cells, rings: _Rings, before: CellRow,
    behind: CellRow, pitch: int,
) -> None:  # fmt: skip
    """Args: pitch: elements of a row of output, and of the linear part."""
    depth, rows = layers.support.size, -(-out.shape[0] // cells.large)
    columns = rings.width[depth]
    lines, made = np.zeros(2 * pitch, np.float32), np.zeros(2 * pitch, out.dtype)
    most = layers.channels[:depth].max()
    strip = np.empty(ROWS * (max(_STRIP, NARROW_PIXELS * layers.neighbours.max() * most) + SUPPORT * most), np.int16)
    have = np.zeros(depth + 1, np.int64)  # rows so far, before each layer and after the last
    while have[depth] < rows:
        for _ in range(2):
            _take_row(plane, have[0], linear, cells, rings, before)
            have[0] += 1
        for n in range(depth):
            if have[n] < have[n + 1] + _SLOTS:
                break
            if n < depth - 1:
                to = rings.begin[n + 1] + have[n + 1] % _SLOTS * rings.pitch[n + 1]
                _two_rows(layers, n, rings, have[n + 1], strip, rings.memory, to, rings.pitch[n + 1], None)
            else:
                if linear.support:
                    _linear_rows(linear, rings, have[depth], layers.channels[0], lines, pitch)
                _two_rows(layers, n, rings, have[depth], strip, made, 0, pitch, lines)
                for row in range(min(2, rows - have[depth])):
                    _copy(made, row * pitch, behind.cells, 0, columns * layers.channels[depth])
                    scatter(out, have[depth] + row, behind)
            have[n + 1] += 2


@compiled
def _take_row(plane: Samples, row: int, linear: Linear, cells: Cells, rings: _Rings, before: CellRow) -> None:
    """Read row `row` of the input of the first layer."""
    margin = rings.begin.size  # of the picture: one cell per layer
    taken = rings.width[0] * cells.small**2
    gather(plane, row - margin, margin, before)
    at = rings.begin[0] + row % _SLOTS * rings.pitch[0]
    _narrowed(before.cells[:taken], rings.memory, at, cells.shift, cells.most)
    if linear.support:
        _narrowed(before.cells[:taken], rings.codes, row % rings.kept * rings.pitch[0], 0, _ALL)


@compiled
def _linear_rows(linear: Linear, rings: _Rings, row: int, taken: int, lines: Floats, pitch: int) -> None:
    """Compute rows `row` and `row + 1` of the linear part."""
    margin, reach = rings.begin.size, linear.support // 2
    for n in range(2):
        end, line = row + n + 1 + margin + reach, lines[n * pitch : (n + 1) * pitch]
        _linear(linear, rings, (margin - reach) * taken, end, taken, rings.width[margin], line)


@compiled
def _two_rows(
    layers: Layers, n: int, rings: _Rings, row: int, strip: Samples, out: Samples, to: int, apart: int,
    added: Floats | None,
) -> None:  # fmt: skip
    """Compute rows `row` and `row + 1` of a layer into `out`, starting at `to`, the second row `apart` from the first.

    `strip` is for the transformed rows; `added` is added to the rows unless it is None.
    """
    taken, made, many = layers.channels[n], layers.channels[n + 1], layers.neighbours[n]
    at_once = NARROW_PIXELS * many
    cells = max(1, _STRIP // (at_once * taken)) * at_once
    line = (cells + SUPPORT) * taken
    for begin in range(0, rings.width[n + 1], cells):
        _transform(rings, n, row, begin * taken, min(line, rings.pitch[n] - begin * taken), strip, line)
        for block in range(made * many // NARROW):
            first, channel = layers.begin[n] + block * layers.block[n], block * NARROW
            for x in range(begin, min(begin + cells, rings.width[n + 1]), at_once):
                convolve_two_rows(
                    strip, (x - begin) * taken, line, many * taken, layers.weights, first, layers.steps[n],
                    out, to + x * made + channel, apart, many * made, added, layers.after[n], channel,
                    layers.bounds[n],
                )  # fmt: skip


@compiled
def _transform(rings: _Rings, n: int, row: int, first: int, count: int, strip: Samples, line: int) -> None:
    """Transform `count` samples of four rows, starting at sample `first` of row `row`; see `chain_winograd.py`."""
    begin = rings.begin[n] + first
    d0, d1, d2, d3 = (
        rings.memory[begin + row % _SLOTS * rings.pitch[n] :],
        rings.memory[begin + (row + 1) % _SLOTS * rings.pitch[n] :],
        rings.memory[begin + (row + 2) % _SLOTS * rings.pitch[n] :],
        rings.memory[begin + (row + 3) % _SLOTS * rings.pitch[n] :],
    )
    for i in range(u64(count)):
        strip[i] = d1[i] + d2[i]
        strip[u64(line) + i] = d2[i] - d1[i]
        strip[u64(2 * line) + i] = d0[i] - d2[i]
        strip[u64(3 * line) + i] = d3[i] - d1[i]

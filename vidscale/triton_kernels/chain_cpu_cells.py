"""Rows of samples to rows of cells and back, on the CPU: a cell is a block of samples that are stored together."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import uint64 as u64

from vidscale.triton_kernels._numba import compiled
from vidscale.triton_kernels._vectors import PIXELS
from vidscale.triton_kernels.chain_layout import LANES

Samples = npt.NDArray[Any]


class _Views(NamedTuple):
    """The same memory as elements of one, two, four and eight bytes."""

    of_one: Samples
    of_two: Samples
    of_four: Samples
    of_eight: Samples


class CellRow(NamedTuple):
    """Buffers for one row of cells and the rows of samples that it consists of.

    Attributes:
        rows: [side, samples or more].
        cells: flat.
        runs_of_rows: views of `rows`, [side, ...].
        runs_of_cells: views of `cells`.
        side: of a cell, in samples.
        width: in cells.
        run: bytes moved at once, a whole row of a cell if possible.
        step: runs from one cell to the next.
    """

    rows: Samples
    cells: Samples
    runs_of_rows: _Views
    runs_of_cells: _Views
    side: int
    width: int
    run: int
    step: int

    @classmethod
    def of(cls, count: int, side: int, channels: int, kind: np.dtype[Any]) -> "CellRow":
        """Args: channels: samples from one cell to the next, `side` squared or more."""
        rows = np.zeros((side, -(-count * side // 8) * 8), kind)
        cells = np.zeros(-(-(count * channels + PIXELS * max(LANES, channels)) // 8) * 8, kind)
        whole = side * kind.itemsize
        run = whole if whole in (1, 2, 4, 8) else kind.itemsize
        views = [_Views(*(array.view(f"u{size}") for size in (1, 2, 4, 8))) for array in (rows, cells)]
        return cls(rows, cells, views[0], views[1], side, count, run, channels * kind.itemsize // run)


@compiled
def _copy(source: Samples, first: int, to: Samples, at: int, count: int) -> None:
    """A plain loop: in numba, assigning slices takes ten times as long."""
    begin, target = u64(first), u64(at)
    for i in range(u64(count)):
        to[target + i] = source[begin + i]


@compiled
def _spread(cells: Samples, rows: Samples, y: int, buffer: CellRow) -> None:
    """Copy row y of every cell to row y of the samples."""
    parts = buffer.side * buffer.rows.itemsize // buffer.run
    for part in range(parts):
        source, to, step, apart = cells[y * parts + part :], rows[y, part:], u64(buffer.step), u64(parts)
        for i in range(u64(buffer.width)):
            to[i * apart] = source[i * step]


@compiled
def _collect(cells: Samples, rows: Samples, y: int, buffer: CellRow) -> None:
    """Copy row y of the samples to row y of every cell."""
    parts = buffer.side * buffer.rows.itemsize // buffer.run
    for part in range(parts):
        to, source, step, apart = cells[y * parts + part :], rows[y, part:], u64(buffer.step), u64(parts)
        for i in range(u64(buffer.width)):
            to[i * step] = source[i * apart]


@compiled
def gather(plane: Samples, row: int, margin: int, buffer: CellRow) -> None:
    """Fill a row of cells, starting `margin` cells left of the picture; edge samples are repeated outside it."""
    height, width = plane.shape
    side, cells, rows = buffer.side, buffer.runs_of_cells, buffer.runs_of_rows
    before, count = margin * side, buffer.width * side
    inside = min(width, count - before)
    for y in range(side):
        samples, line = plane[min(max(row * side + y, 0), height - 1)], buffer.rows[y]
        for x in range(before):
            line[x] = samples[0]
        _copy(samples, 0, line, before, inside)
        for x in range(before + inside, count):
            line[x] = samples[width - 1]
        if buffer.run == 1:
            _collect(cells.of_one, rows.of_one, y, buffer)
        elif buffer.run == 2:
            _collect(cells.of_two, rows.of_two, y, buffer)
        elif buffer.run == 4:
            _collect(cells.of_four, rows.of_four, y, buffer)
        else:
            _collect(cells.of_eight, rows.of_eight, y, buffer)


@compiled
def scatter(out: Samples, row: int, buffer: CellRow) -> None:
    """Write a row of cells to its rows of samples."""
    side, cells, rows = buffer.side, buffer.runs_of_cells, buffer.runs_of_rows
    for y in range(min(side, out.shape[0] - row * side)):
        if buffer.run == 1:
            _spread(cells.of_one, rows.of_one, y, buffer)
        elif buffer.run == 2:
            _spread(cells.of_two, rows.of_two, y, buffer)
        elif buffer.run == 4:
            _spread(cells.of_four, rows.of_four, y, buffer)
        else:
            _spread(cells.of_eight, rows.of_eight, y, buffer)
        _copy(buffer.rows[y], 0, out[row * side + y], 0, out.shape[1])

"""Planes as networks on the CPU want them: blocks of samples as channels, channels last."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy import uint64 as u64

from vidscale.triton_kernels._numba import compiled

Codes = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

_HALF = np.float32(0.5)


def cells_from_codes(plane: Codes, rows: tuple[int, int], columns: tuple[int, int], block: int) -> Floats:
    """Blocks of a plane, beyond whose edges the nearest sample is repeated.

    Args:
        plane: [H, W] uint8 or uint16.
        rows, columns: first block and the one behind the last; may lie outside the picture.
        block: side of a block.

    Returns:
        [rows, columns, block * block] float32, codes; channel ``block * row + column``.
    """
    cells = np.empty((rows[1] - rows[0], columns[1] - columns[0], block * block), np.float32)
    _gather(plane, rows[0] * block, columns[0] * block, block, cells)
    return cells


def codes_from_cells(cells: Floats, added: Floats, out: Codes, block: int, peak: int) -> None:
    """Sums of two arrays of blocks, rounded half up to codes and clamped.

    Args:
        cells, added: [rows, columns, block * block] float32, codes; channel ``block * row + column``.
        out: [H, W] uint8 or uint16, written; at most ``rows * block`` by ``columns * block``.
        block: side of a block.
        peak: the highest code.
    """
    _scatter(cells, added, out, block, peak)


@compiled
def _gather(plane: Codes, top: int, left: int, block: int, cells: Floats) -> None:
    height, width = plane.shape
    for i in range(cells.shape[0]):
        for y in range(block):
            line = plane[min(max(top + i * block + y, 0), height - 1)]
            inner = range(max(0, -(left // block)), min(cells.shape[1], (width - left) // block))
            for j in range(min(inner.start, cells.shape[1])):
                for x in range(block):
                    cells[i, j, y * block + x] = line[min(max(left + j * block + x, 0), width - 1)]
            for j in inner:
                for x in range(block):
                    cells[u64(i), u64(j), u64(y * block + x)] = line[u64(left + j * block + x)]
            for j in range(max(inner.stop, inner.start), cells.shape[1]):
                for x in range(block):
                    cells[i, j, y * block + x] = line[min(max(left + j * block + x, 0), width - 1)]


@compiled
def _scatter(cells: Floats, added: Floats, out: Codes, block: int, peak: int) -> None:
    height, width = out.shape
    whole = width // block
    top = np.float32(peak)
    for i in range(-(-height // block)):
        for y in range(min(block, height - i * block)):
            line = out[i * block + y]
            for j in range(whole):
                for x in range(block):
                    c = u64(y * block + x)
                    value = cells[u64(i), u64(j), c] + added[u64(i), u64(j), c] + _HALF
                    line[u64(j * block + x)] = min(max(value, np.float32(0)), top)
            for column in range(whole * block, width):
                c = u64(y * block + column - whole * block)
                value = cells[u64(i), u64(whole), c] + added[u64(i), u64(whole), c] + _HALF
                line[u64(column)] = min(max(value, np.float32(0)), top)

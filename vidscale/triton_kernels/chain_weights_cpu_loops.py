"""The loops of `chain_weights_cpu.py`: sums of shifted planes, long enough for the compiler to turn into vectors."""

from typing import NamedTuple

import numpy as np

from vidscale.triton_kernels._numba import compiled
from vidscale.triton_kernels.chain_layout import Floats, Ints

TAPS, ROWS = 9, 4  # taps and channels of an inner loop; zero weights fill up

_CHUNK = 1024  # samples of each plane that stay in the core's own cache
_UNORDERED = frozenset({"contract", "nnan", "nsz", "reassoc"})  # sums in vectors


class Grid(NamedTuple):
    """Pictures of cells, one after another in each plane.

    Attributes:
        pictures: their number.
        height, width: of a picture, cells.
        beyond: samples of a plane before the first picture, and after the last.
    """

    pictures: int
    height: int
    width: int
    beyond: int

    @property
    def plane(self) -> int:
        """Samples of a plane."""
        return self.pictures * self.height * self.width + 2 * self.beyond


@compiled
def convolve(
    x: Floats,
    taps: Ints,
    weights: Floats,
    bias: Floats,
    slope: float,
    cells: Floats | None,
    out: Floats,
    grid: Grid,
    rows: int,
) -> None:
    """A convolution of `rows` of each picture and what follows it; zeros elsewhere.

    Args:
        x: planes that the taps read.
        taps, weights: see `_taps` and `_packed` of `chain_weights_cpu.py`.
        bias: of each plane of `out`.
        slope: of the leaky ReLU.
        cells: None for a leaky ReLU after the convolution; else the output of a leaky ReLU, whose gradient follows.
        out: planes to write.
        grid: of all planes.
        rows: of each picture.
    """
    flat, size = x.reshape(-1), grid.height * grid.width
    out[:, : grid.beyond] = 0
    for picture in range(grid.pictures):
        begin = grid.beyond + picture * size
        end = begin + rows * grid.width
        for at in range(begin, end, _CHUNK):
            to = min(at + _CHUNK, end)
            for row in range(len(out)):
                out[row, at:to] = bias[row]
            _sum(flat, taps, weights, out, at, to)
            if cells is not None:
                for row in range(len(out)):
                    _slope(out[row, at:to], cells[row, at:to], np.float32(slope))
            elif slope != 1:
                for row in range(len(out)):
                    _rectify(out[row, at:to], np.float32(slope))
        out[:, end : begin + size] = 0
    out[:, out.shape[1] - grid.beyond :] = 0


@compiled
def add_convolution(x: Floats, taps: Ints, weights: Floats, out: Floats, grid: Grid, rows: int) -> None:
    """Adds a convolution to what is there; arguments as for `convolve`."""
    flat = x.reshape(-1)
    for picture in range(grid.pictures):
        begin = grid.beyond + picture * grid.height * grid.width
        end = begin + rows * grid.width
        for at in range(begin, end, _CHUNK):
            _sum(flat, taps, weights, out, at, min(at + _CHUNK, end))


@compiled
def _rectify(line: Floats, slope: np.float32) -> None:
    """A leaky ReLU."""
    for n in range(line.size):
        line[n] = max(line[n], slope * line[n])


@compiled
def _slope(gradient: Floats, line: Floats, slope: np.float32) -> None:
    """The gradient of the input of a leaky ReLU whose output is `line`."""
    for n in range(line.size):
        gradient[n] *= np.float32(1) if line[n] > 0 else slope


@compiled
def _sum(x: Floats, taps: Ints, weights: Floats, out: Floats, begin: int, end: int) -> None:
    """Adds a sum of shifted planes to each row of `out`, nine taps and four rows at once."""
    for t in range(0, taps.size, TAPS):
        x0, x1, x2 = _at(x, taps[t], begin, end), _at(x, taps[t + 1], begin, end), _at(x, taps[t + 2], begin, end)
        x3, x4, x5 = _at(x, taps[t + 3], begin, end), _at(x, taps[t + 4], begin, end), _at(x, taps[t + 5], begin, end)
        x6, x7, x8 = _at(x, taps[t + 6], begin, end), _at(x, taps[t + 7], begin, end), _at(x, taps[t + 8], begin, end)
        for row in range(0, len(out), ROWS):
            a0, a1, a2, a3, a4, a5, a6, a7, a8 = _nine(weights[row], t)
            b0, b1, b2, b3, b4, b5, b6, b7, b8 = _nine(weights[row + 1], t)
            c0, c1, c2, c3, c4, c5, c6, c7, c8 = _nine(weights[row + 2], t)
            d0, d1, d2, d3, d4, d5, d6, d7, d8 = _nine(weights[row + 3], t)
            y0, y1, y2, y3 = (
                out[row, begin:end],
                out[row + 1, begin:end],
                out[row + 2, begin:end],
                out[row + 3, begin:end],
            )
            for n in range(y0.size):
                z0, z1, z2, z3, z4, z5, z6, z7, z8 = x0[n], x1[n], x2[n], x3[n], x4[n], x5[n], x6[n], x7[n], x8[n]
                y0[n] += a0 * z0 + a1 * z1 + a2 * z2 + a3 * z3 + a4 * z4 + a5 * z5 + a6 * z6 + a7 * z7 + a8 * z8
                y1[n] += b0 * z0 + b1 * z1 + b2 * z2 + b3 * z3 + b4 * z4 + b5 * z5 + b6 * z6 + b7 * z7 + b8 * z8
                y2[n] += c0 * z0 + c1 * z1 + c2 * z2 + c3 * z3 + c4 * z4 + c5 * z5 + c6 * z6 + c7 * z7 + c8 * z8
                y3[n] += d0 * z0 + d1 * z1 + d2 * z2 + d3 * z3 + d4 * z4 + d5 * z5 + d6 * z6 + d7 * z7 + d8 * z8


@compiled
def _at(x: Floats, tap: int, begin: int, end: int) -> Floats:
    return x[tap + begin : tap + end]


@compiled
def _nine(w: Floats, t: int) -> tuple[float, ...]:
    return w[t], w[t + 1], w[t + 2], w[t + 3], w[t + 4], w[t + 5], w[t + 6], w[t + 7], w[t + 8]


def _sums_of_products(gradient: Floats, x: Floats, taps: Ints, sums: Floats, grid: Grid, rows: int) -> None:
    """Adds the products of each row of `gradient` with each shifted plane, three taps and four rows at once."""
    flat = x.reshape(-1)
    for picture in range(grid.pictures):
        begin = grid.beyond + picture * grid.height * grid.width
        end = begin + rows * grid.width
        for t in range(0, taps.size, 3):
            x0, x1, x2 = (
                _at(flat, taps[t], begin, end), _at(flat, taps[t + 1], begin, end), _at(flat, taps[t + 2], begin, end)
            )  # fmt: skip
            for row in range(0, len(sums), ROWS):
                g0, g1 = gradient[row, begin:end], gradient[row + 1, begin:end]
                g2, g3 = gradient[row + 2, begin:end], gradient[row + 3, begin:end]
                a0 = a1 = a2 = b0 = b1 = b2 = c0 = c1 = c2 = d0 = d1 = d2 = np.float32(0)
                for n in range(g0.size):
                    z0, z1, z2 = x0[n], x1[n], x2[n]
                    a0, a1, a2 = a0 + g0[n] * z0, a1 + g0[n] * z1, a2 + g0[n] * z2
                    b0, b1, b2 = b0 + g1[n] * z0, b1 + g1[n] * z1, b2 + g1[n] * z2
                    c0, c1, c2 = c0 + g2[n] * z0, c1 + g2[n] * z1, c2 + g2[n] * z2
                    d0, d1, d2 = d0 + g3[n] * z0, d1 + g3[n] * z1, d2 + g3[n] * z2
                sums[row, t] += a0
                sums[row, t + 1] += a1
                sums[row, t + 2] += a2
                sums[row + 1, t] += b0
                sums[row + 1, t + 1] += b1
                sums[row + 1, t + 2] += b2
                sums[row + 2, t] += c0
                sums[row + 2, t + 1] += c1
                sums[row + 2, t + 2] += c2
                sums[row + 3, t] += d0
                sums[row + 3, t + 1] += d1
                sums[row + 3, t + 2] += d2


add_products = compiled(_sums_of_products, fastmath=_UNORDERED)

"""A chain in float32 with the gradients of its weights, on the CPU: what trains a network of few channels.

Activations are planes, [channels, pictures * h * w] with room around them, and a layer's output lies where the top left
sample of its input lay. So a tap of a convolution is a distance in memory, and a layer is a sum of shifted planes, in
long loops that the compiler turns into vectors. Columns beyond a layer's own width are computed too, and never used.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from vidscale.triton_kernels._numba import compiled
from vidscale.triton_kernels.chain_layout import Floats, Ints

_TAPS, _ROWS = 9, 4  # taps and channels of an inner loop; zero weights fill up
_CHUNK = 1024  # samples of each plane that stay in the core's own cache
_UNORDERED = frozenset({"contract", "nnan", "nsz", "reassoc"})  # sums in vectors
_SPARE, _LARGEST_SPARE = 8, 1 << 22  # arenas that are kept for the next pass, and float32 in one: 16 MB

_spare: list[Floats] = []  # fresh memory would cost half as much time as the convolutions
_lock = threading.Lock()


class _Grid(NamedTuple):
    """Pictures of [height, width] cells, one after another in each plane, and how many samples precede and follow."""

    pictures: int
    height: int
    width: int
    beyond: int

    @property
    def plane(self) -> int:
        return self.pictures * self.height * self.width + 2 * self.beyond


@dataclass
class ChainPass:
    """What the backward pass needs of the forward pass.

    Attributes:
        grid: of all planes.
        inputs: planes that each convolution read.
        spare: two more for the backward pass.
        arena: the memory of all of them; taken by `release`.
    """

    grid: _Grid
    inputs: list[Floats]
    spare: tuple[Floats, Floats]
    arena: Floats

    def release(self) -> None:
        """Lets the next pass use the memory."""
        self.inputs = []
        if self.arena.size <= _LARGEST_SPARE:
            with _lock:
                _spare.append(self.arena)
                del _spare[:-_SPARE]


def forward(
    x: Floats, weights: Sequence[Floats], biases: Sequence[Floats], linear: Floats | None, slope: float
) -> tuple[Floats, ChainPass]:
    """The chain on cells; see `chain_cells`.

    Args:
        x: [N, C, h, w] float32.
        weights, biases: of the convolutions, [out, in, k, k] and [out] float32.
        linear: [out, C, k, k] float32, or None.
        slope: of the leaky ReLUs.

    Returns:
        [N, out, h', w'] float32, and what `backward` takes.
    """
    done, out = _memory(x, weights)
    grid, lost = done.grid, 0
    _fill(grid, done.inputs[0], x.transpose(1, 0, 2, 3))
    made = [*done.inputs[1:], out]
    for n, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        lost += weight.shape[2] - 1
        first, kept = np.zeros(len(made[n]), np.float32), 1.0 if n == len(weights) - 1 else slope
        first[: bias.size] = bias
        taps = _taps(grid, *weight.shape[1:3])
        _convolve(done.inputs[n], taps, _packed(weight), first, kept, None, made[n], grid, grid.height - lost)
    if linear is not None:
        _add(done.inputs[0], _linear_taps(grid, linear, lost), _packed(linear), out, grid, grid.height - lost)
    found = _valid(grid, out, len(weights[-1]), lost).transpose(1, 0, 2, 3)
    return np.ascontiguousarray(found), done


def backward(
    gradient: Floats, done: ChainPass, weights: Sequence[Floats], linear: Floats | None, slope: float
) -> tuple[list[Floats], list[Floats], Floats | None]:
    """Gradients of the weights, the biases and the linear part.

    Args:
        gradient: [N, out, h', w'] float32, of the output.
        done: of `forward`.
        weights, linear, slope: as for `forward`.
    """
    grid, inputs, both = done.grid, done.inputs, done.spare
    lost = grid.height - gradient.shape[2]
    planes = both[0][: _whole(gradient.shape[1])]
    _fill(grid, planes, gradient.transpose(1, 0, 2, 3))
    of_linear = None
    if linear is not None:
        of_linear = _weight_gradient(planes, inputs[0], linear, _linear_taps(grid, linear, lost), grid, lost)
    of_weights, of_biases = [], []
    for n in reversed(range(len(weights))):
        weight = weights[n]
        made, taken, support, _ = weight.shape
        of_weights.append(_weight_gradient(planes, inputs[n], weight, _taps(grid, taken, support), grid, lost))
        of_biases.append(planes[:made].sum(1))
        lost -= support - 1
        if n:
            before = both[(len(weights) - n) % 2][: _whole(taken)]
            packed = _packed(weight.transpose(1, 0, 2, 3))
            taps = _taps(grid, made, support, -1)
            nothing = np.zeros(len(before), np.float32)
            _convolve(planes, taps, packed, nothing, slope, inputs[n], before, grid, grid.height - lost)
            planes = before
    return of_weights[::-1], of_biases[::-1], of_linear


def _memory(x: Floats, weights: Sequence[Floats]) -> tuple[ChainPass, Floats]:
    """Planes for a pass, and those of its output; their contents are arbitrary."""
    count, channels, height, width = x.shape
    grid = _Grid(count, height, width, max(weight.shape[2] for weight in weights) * width)
    rows = [_whole(made) for made in (channels, *(len(weight) for weight in weights))]
    size = (sum(rows) + 2 * max(rows)) * grid.plane
    with _lock:
        arena = next((_spare.pop(n) for n, one in enumerate(_spare) if one.size == size), None)
    arena = np.empty(size, np.float32) if arena is None else arena
    ends = np.cumsum([*rows, max(rows), max(rows)])[:-1]
    *inputs, out, one, other = np.split(arena.reshape(-1, grid.plane), ends)
    return ChainPass(grid, inputs, (one, other), arena), out


def _whole(channels: int) -> int:
    return -(-channels // _ROWS) * _ROWS


def _fill(grid: _Grid, planes: Floats, cells: Floats) -> None:
    """Writes cells [channels, N, h, w], zero elsewhere."""
    planes[:] = 0
    _valid(grid, planes, len(cells), grid.height - cells.shape[2])[:] = cells


def _valid(grid: _Grid, planes: Floats, channels: int, lost: int) -> Floats:
    """View of the cells of a layer: [channels, pictures, height - lost, width - lost]."""
    inner = planes[:channels, grid.beyond : grid.plane - grid.beyond]
    shaped = inner.reshape(channels, grid.pictures, grid.height, grid.width)
    return shaped[:, :, : grid.height - lost, : grid.width - lost]


@lru_cache(64)
def _taps(grid: _Grid, channels: int, support: int, sign: int = 1, inner: int = 0) -> Ints:
    """Distances in memory of a convolution's taps from the cell of its output, as many as fill the inner loops.

    Args:
        grid: of the planes.
        channels: of the input.
        support: of the kernel.
        sign: -1 for taps up and to the left.
        inner: cells that all taps lie further down and to the right.
    """
    y, x = np.divmod(np.arange(support**2), support)
    inside = sign * ((y + inner) * grid.width + x + inner)
    taps = np.add.outer(np.arange(channels) * grid.plane, inside).reshape(-1)
    return np.pad(taps, (0, -taps.size % _TAPS))


def _linear_taps(grid: _Grid, linear: Floats, lost: int) -> Ints:
    return _taps(grid, *linear.shape[1:3], 1, (lost - linear.shape[2] + 1) // 2)


def _packed(weight: Floats) -> Floats:
    """Weights [out, in, k, k] as [out, taps], filled up with zeros to whole inner loops."""
    flat = weight.reshape(len(weight), -1)
    packed = np.zeros((_whole(len(flat)), -(-flat.shape[1] // _TAPS) * _TAPS), np.float32)
    packed[: len(flat), : flat.shape[1]] = flat
    return packed


def _weight_gradient(planes: Floats, inputs: Floats, weight: Floats, taps: Ints, grid: _Grid, lost: int) -> Floats:
    sums = np.zeros((len(planes), taps.size), np.float32)
    _products(planes, inputs, taps, sums, grid, grid.height - lost)
    return sums[: len(weight), : weight[0].size].reshape(weight.shape)


@compiled
def _convolve(
    x: Floats,
    taps: Ints,
    weights: Floats,
    bias: Floats,
    slope: float,
    cells: Floats | None,
    out: Floats,
    grid: _Grid,
    rows: int,
) -> None:
    """A convolution of `rows` of each picture and what follows it; zeros elsewhere.

    Args:
        x: planes that the taps read.
        taps, weights: see `_taps` and `_packed`.
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
def _add(x: Floats, taps: Ints, weights: Floats, out: Floats, grid: _Grid, rows: int) -> None:
    """Adds a convolution to what is there."""
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
    for t in range(0, taps.size, _TAPS):
        x0, x1, x2 = _at(x, taps[t], begin, end), _at(x, taps[t + 1], begin, end), _at(x, taps[t + 2], begin, end)
        x3, x4, x5 = _at(x, taps[t + 3], begin, end), _at(x, taps[t + 4], begin, end), _at(x, taps[t + 5], begin, end)
        x6, x7, x8 = _at(x, taps[t + 6], begin, end), _at(x, taps[t + 7], begin, end), _at(x, taps[t + 8], begin, end)
        for row in range(0, len(out), _ROWS):
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


def _sums_of_products(gradient: Floats, x: Floats, taps: Ints, sums: Floats, grid: _Grid, rows: int) -> None:
    """Adds the products of each row of `gradient` with each shifted plane, three taps and four rows at once."""
    flat = x.reshape(-1)
    for picture in range(grid.pictures):
        begin = grid.beyond + picture * grid.height * grid.width
        end = begin + rows * grid.width
        for t in range(0, taps.size, 3):
            x0, x1, x2 = (
                _at(flat, taps[t], begin, end), _at(flat, taps[t + 1], begin, end), _at(flat, taps[t + 2], begin, end)
            )  # fmt: skip
            for row in range(0, len(sums), _ROWS):
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


_products = compiled(_sums_of_products, fastmath=_UNORDERED)

"""A chain in float32 with the gradients of its weights, on the CPU: what trains a network of few channels.

Activations are planes, [channels, pictures * h * w] with room around them, and a layer's output lies where the top left
sample of its input lay. So a tap of a convolution is a distance in memory, and a layer is a sum of shifted planes
(`chain_weights_cpu_loops.py`). Columns beyond a layer's own width are computed too, and never used.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vidscale.triton_kernels.chain_layout import Floats, Ints
from vidscale.triton_kernels.chain_weights_cpu_loops import ROWS, TAPS, Grid, add_convolution, add_products, convolve

_SPARE, _LARGEST_SPARE = 8, 1 << 22  # arenas that are kept for the next pass, and float32 in one: 16 MB

_spare: list[Floats] = []  # fresh memory would cost half as much time as the convolutions
_lock = threading.Lock()


@dataclass
class ChainPass:
    """What the backward pass needs of the forward pass.

    Attributes:
        grid: of all planes.
        inputs: planes that each convolution read.
        spare: two more for the backward pass.
        arena: the memory of all of them; taken by `release`.
    """

    grid: Grid
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
        convolve(done.inputs[n], taps, _packed(weight), first, kept, None, made[n], grid, grid.height - lost)
    if linear is not None:
        taps = _linear_taps(grid, linear, lost)
        add_convolution(done.inputs[0], taps, _packed(linear), out, grid, grid.height - lost)
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
            convolve(planes, taps, packed, nothing, slope, inputs[n], before, grid, grid.height - lost)
            planes = before
    return of_weights[::-1], of_biases[::-1], of_linear


def _memory(x: Floats, weights: Sequence[Floats]) -> tuple[ChainPass, Floats]:
    """Planes for a pass, and those of its output; their contents are arbitrary."""
    count, channels, height, width = x.shape
    grid = Grid(count, height, width, max(weight.shape[2] for weight in weights) * width)
    rows = [_whole(made) for made in (channels, *(len(weight) for weight in weights))]
    size = (sum(rows) + 2 * max(rows)) * grid.plane
    with _lock:
        arena = next((_spare.pop(n) for n, one in enumerate(_spare) if one.size == size), None)
    arena = np.empty(size, np.float32) if arena is None else arena
    ends = np.cumsum([*rows, max(rows), max(rows)])[:-1]
    *inputs, out, one, other = np.split(arena.reshape(-1, grid.plane), ends)
    return ChainPass(grid, inputs, (one, other), arena), out


def _whole(channels: int) -> int:
    return -(-channels // ROWS) * ROWS


def _fill(grid: Grid, planes: Floats, cells: Floats) -> None:
    """Writes cells [channels, N, h, w], zero elsewhere."""
    planes[:] = 0
    _valid(grid, planes, len(cells), grid.height - cells.shape[2])[:] = cells


def _valid(grid: Grid, planes: Floats, channels: int, lost: int) -> Floats:
    """View of the cells of a layer: [channels, pictures, height - lost, width - lost]."""
    inner = planes[:channels, grid.beyond : grid.plane - grid.beyond]
    shaped = inner.reshape(channels, grid.pictures, grid.height, grid.width)
    return shaped[:, :, : grid.height - lost, : grid.width - lost]


@lru_cache(64)
def _taps(grid: Grid, channels: int, support: int, sign: int = 1, inner: int = 0) -> Ints:
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
    return np.pad(taps, (0, -taps.size % TAPS))


def _linear_taps(grid: Grid, linear: Floats, lost: int) -> Ints:
    return _taps(grid, *linear.shape[1:3], 1, (lost - linear.shape[2] + 1) // 2)


def _packed(weight: Floats) -> Floats:
    """Weights [out, in, k, k] as [out, taps], filled up with zeros to whole inner loops."""
    flat = weight.reshape(len(weight), -1)
    packed = np.zeros((_whole(len(flat)), -(-flat.shape[1] // TAPS) * TAPS), np.float32)
    packed[: len(flat), : flat.shape[1]] = flat
    return packed


def _weight_gradient(planes: Floats, inputs: Floats, weight: Floats, taps: Ints, grid: Grid, lost: int) -> Floats:
    sums = np.zeros((len(planes), taps.size), np.float32)
    add_products(planes, inputs, taps, sums, grid, grid.height - lost)
    return sums[: len(weight), : weight[0].size].reshape(weight.shape)

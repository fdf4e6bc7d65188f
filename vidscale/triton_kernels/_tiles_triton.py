"""What the fused networks on a GPU share: a convolution of a tile in scratch memory, and how weights are packed.

A program takes one tile of cells after another through all layers. Activations stay in scratch memory of its own,
float16, channels last; a tile's scratch is small enough to stay in the cache. A tile lies in it with a halo, row after
row without gaps, so that a neighbouring cell is a constant distance away. What that yields beyond the ends of the rows
is wrong; it spreads by one cell per layer, as the halo shrinks, and never reaches the tile.
"""

# Triton has no types for what a kernel sees.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from contextlib import nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vidscale.triton_kernels._triton_import import tl, triton
from vidscale.triton_kernels.chain_layout import Floats

BLOCK = 256  # cells that are computed at once
CHUNK = 64  # gathered inputs that one product takes
_PROGRAMS_PER_PROCESSOR = 4
_LEAST = 8  # channels


@triton.jit
def convolve(
    source,  # [AREA, C] float16, cells of a tile
    weights,  # [STEPS, K, N] float16
    bias,  # [N] float32
    p,  # [BLOCK] cells to compute
    edge,  # cells at either end of the tile's scratch that are not written
    PITCH: tl.constexpr,  # noqa: N803 - cells from one row of the tile to the next
    AREA: tl.constexpr,  # noqa: N803
    C: tl.constexpr,  # noqa: N803 - channels as stored
    USED: tl.constexpr,  # noqa: N803 - inputs of a step that are not padding
    K: tl.constexpr,  # noqa: N803 - inputs of a step
    SUPPORT: tl.constexpr,  # noqa: N803
    COLUMNS: tl.constexpr,  # noqa: N803 - steps per row of the support: SUPPORT, or 1 if a step takes a whole row
    N: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    """[BLOCK, N] float32: convolution of the cells `p`, plus bias."""
    k = tl.arange(0, K)
    n = tl.arange(0, N)
    total = tl.zeros((BLOCK, N), tl.float32) + tl.load(bias + n)[None, :]
    for step in range(SUPPORT * COLUMNS):
        q = p + (step // COLUMNS - SUPPORT // 2) * PITCH + step % COLUMNS - SUPPORT // 2
        place = q[:, None] * C + k[None, :]
        inside = (place >= edge * C) & (place < (AREA - edge) * C) & (k < USED)[None, :]
        values = tl.load(source + place, mask=inside, other=0.0)
        total = tl.dot(values, tl.load(weights + step * K * N + k[:, None] * N + n[None, :]), total)
    return total


class Step(NamedTuple):
    """How `convolve` walks over the support of a layer.

    Attributes:
        channels: of the input, as stored.
        used, inputs: of one step, without and with padding.
        columns: steps per row of the support.
    """

    channels: int
    used: int
    inputs: int
    columns: int

    @classmethod
    def of(cls, channels: int, support: int) -> "Step":
        """Of this many input channels as stored. Few channels of neighbouring cells are taken together."""
        if channels < 16:
            return cls(channels, support * channels, power_of_two(support * channels, 16), 1)
        return cls(channels, channels, channels, support)


def power_of_two(count: int, least: int = _LEAST) -> int:
    """The least power of two that is no less than `count` and `least`."""
    return max(least, 1 << (count - 1).bit_length())


def packed(weight: Floats, taken: int, made: int) -> npt.NDArray[np.float16]:
    """[out, in, k, k] as `convolve` takes it: flat, for `taken` inputs and `made` outputs as stored."""
    support, step = weight.shape[2], Step.of(taken, weight.shape[2])
    padded = np.zeros((support, support, taken, made), np.float32)
    padded[:, :, : weight.shape[1], : weight.shape[0]] = weight.transpose(2, 3, 1, 0)
    rows = padded.reshape(support * step.columns, step.used, made)
    return np.pad(rows, [(0, 0), (0, step.inputs - step.used), (0, 0)]).astype(np.float16).ravel()


def gathered(weight: Floats, side: int, made: int) -> tuple[Floats, npt.NDArray[np.int32]]:
    """Weights and offsets of a convolution of cells whose samples are gathered from a plane.

    Args:
        weight: [out, side^2, k, k].
        side: of a cell.
        made: outputs as stored.

    Returns:
        [K, made], K a multiple of `CHUNK` or a power of two below it; and [2, K], rows and columns from a cell's first
        sample to the sample of each input.
    """
    support, count = weight.shape[2], weight.shape[1] * weight.shape[2] ** 2
    inputs = power_of_two(count, 16) if count <= CHUNK else -(-count // CHUNK) * CHUNK
    table = np.zeros((inputs, made), np.float32)
    table[:count, : weight.shape[0]] = weight.transpose(2, 3, 1, 0).reshape(count, -1)
    tap_y, tap_x, y, x = np.indices((support, support, side, side)).reshape(4, -1)
    offsets = np.zeros((2, inputs), np.int32)
    offsets[0, :count] = (tap_y - support // 2) * side + y
    offsets[1, :count] = (tap_x - support // 2) * side + x
    return table, offsets


def padded_bias(bias: Floats, made: int) -> Floats:
    """[made] float32."""
    return np.pad(bias, (0, made - bias.size)).astype(np.float32)


def upload(device: torch.device, *arrays: npt.NDArray[Any]) -> Tensor:
    """The arrays one after the other, flat; they are there for all streams when this returns."""
    return torch.from_numpy(np.concatenate([array.ravel() for array in arrays])).to(device)


def programs_for(device: torch.device, tiles: int) -> int:
    """Programs that run at the same time; each has scratch memory."""
    return min(tiles, _PROGRAMS_PER_PROCESSOR * _processors(device))


@lru_cache(maxsize=16)
def _processors(device: torch.device) -> int:
    """Streaming multiprocessors; asking the driver takes as long as several launches."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def on(device: torch.device) -> Any:
    """Context in which kernels are launched for a device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class Tiling(NamedTuple):
    """Cells of a tile without its halo, and cells that are computed at once, a power of two."""

    height: int
    width: int
    block: int

    @classmethod
    def of(cls, channels: int) -> "Tiling":
        """For this many channels as stored; the fastest of those that `benchmarks/bench_gpu.py` compares."""
        return cls(32, 64, BLOCK) if channels <= 32 else cls(32, 32, BLOCK // 2)

    def sides(self, rows: int, columns: int) -> tuple[int, int]:
        """Height and width of the tiles of a picture, which may be smaller than a tile."""
        return min(self.height, -(-rows // 8) * 8), min(self.width, -(-columns // 8) * 8)

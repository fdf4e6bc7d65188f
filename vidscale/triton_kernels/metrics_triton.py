"""The metrics of `metrics.py` as Triton kernels; `ssim_ffmpeg` has none and is plain torch. Rows may be padded."""

# Triton has no types for what a kernel sees.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

import torch

from vidscale.triton_kernels._triton_import import tl, triton
from vidscale.triton_kernels.metrics_ref import GAUSSIAN, ssim_ffmpeg

__all__ = ["squared_error", "ssim_ffmpeg", "ssim_gaussian"]

_BLOCK_H, _BLOCK_W = 8, 256
# One warp per tile: with more, each would filter the same rows along W.
_TILE_H, _TILE_W = 16, 32


def squared_error(ref: torch.Tensor, dist: torch.Tensor) -> int:
    """See `metrics.squared_error`; arguments are not checked. Exact: partial sums in int64."""
    ref, dist = _dense_rows(ref), _dense_rows(dist)
    height, width = ref.shape
    grid = (triton.cdiv(height, _BLOCK_H), triton.cdiv(width, _BLOCK_W))
    partial = torch.empty(grid, dtype=torch.int64, device=ref.device)
    if partial.numel():
        _squared_error_kernel[grid](
            ref, dist, partial, height, width, ref.stride(0), dist.stride(0), block_h=_BLOCK_H, block_w=_BLOCK_W
        )
    return int(partial.sum())


def ssim_gaussian(ref: torch.Tensor, dist: torch.Tensor, bit_depth: int) -> float:
    """See `metrics.ssim_gaussian`; arguments are not checked. float32 within a tile, float64 between tiles."""
    ref, dist = _dense_rows(ref), _dense_rows(dist)
    peak = (1 << bit_depth) - 1
    height, width = ref.shape[0] - 10, ref.shape[1] - 10
    grid = (triton.cdiv(height, _TILE_H), triton.cdiv(width, _TILE_W))
    partial = torch.empty(grid, dtype=torch.float32, device=ref.device)
    _ssim_gaussian_kernel[grid](
        ref,
        dist,
        GAUSSIAN.to(ref.device, torch.float32),
        partial,
        *ref.shape,
        ref.stride(0),
        dist.stride(0),
        float(peak),
        2 * (0.01 * peak) ** 2,
        2 * (0.03 * peak) ** 2,
        tile_h=_TILE_H,
        tile_w=_TILE_W,
        num_warps=1,
    )
    return float(partial.sum(dtype=torch.float64)) / (height * width)


def _dense_rows(plane: torch.Tensor) -> torch.Tensor:
    return plane if plane.stride(1) == 1 else plane.contiguous()


@triton.jit
def _squared_error_kernel(
    ref,
    dist,
    partial,  # [grid 0, grid 1] int64
    height,
    width,
    ref_stride,
    dist_stride,
    block_h: tl.constexpr,
    block_w: tl.constexpr,
):
    row = tl.program_id(0) * block_h + tl.arange(0, block_h)[:, None]
    column = tl.program_id(1) * block_w + tl.arange(0, block_w)[None, :]
    inside = (row < height) & (column < width)
    x = tl.load(ref + row.to(tl.int64) * ref_stride + column, mask=inside, other=0).to(tl.int32)
    y = tl.load(dist + row.to(tl.int64) * dist_stride + column, mask=inside, other=0).to(tl.int32)
    diff = (x - y).to(tl.int64)
    total = tl.sum(tl.sum(diff * diff, axis=1), axis=0)
    tl.store(partial + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), total)


@triton.jit
def _ssim_gaussian_kernel(
    ref,
    dist,
    taps,  # [11] float32
    partial,  # [grid 0, grid 1] float32
    height,
    width,
    ref_stride,
    dist_stride,
    peak,
    c1,  # 2 (0.01 peak)**2
    c2,  # 2 (0.03 peak)**2
    tile_h: tl.constexpr,
    tile_w: tl.constexpr,
):
    """SSIM summed over one tile of [tile_h, tile_w] positions.

    Each row of the planes is filtered along W, then added with its weight to the rows of the tile whose window contains
    it. Uses sums s and differences d of the planes, for the reason given in `metrics_cpu._ssim_gaussian`.
    """
    index = tl.arange(0, tile_h)
    top = tl.program_id(0) * tile_h
    column = tl.program_id(1) * tile_w + tl.arange(0, tile_w)
    mean_s = tl.zeros([tile_h, tile_w], tl.float32)
    mean_d = tl.zeros([tile_h, tile_w], tl.float32)
    square_s = tl.zeros([tile_h, tile_w], tl.float32)
    square_d = tl.zeros([tile_h, tile_w], tl.float32)
    for r in range(tile_h + 10):
        row = top + r
        # Columns of this row that may be read: none below the plane.
        readable = tl.where(row < height, width, 0)
        row_s = tl.zeros([tile_w], tl.float32)
        row_d = tl.zeros([tile_w], tl.float32)
        row_ss = tl.zeros([tile_w], tl.float32)
        row_dd = tl.zeros([tile_w], tl.float32)
        for k in tl.static_range(11):
            inside = column + k < readable
            x = tl.load(ref + row.to(tl.int64) * ref_stride + column + k, mask=inside, other=0).to(tl.float32)
            y = tl.load(dist + row.to(tl.int64) * dist_stride + column + k, mask=inside, other=0).to(tl.float32)
            tap = tl.load(taps + k)
            s = x + y - peak
            d = x - y
            row_s += tap * s
            row_d += tap * d
            row_ss += tap * (s * s)
            row_dd += tap * (d * d)
        offset = r - index
        tap_down = tl.load(taps + offset, mask=(offset >= 0) & (offset < 11), other=0.0)[:, None]
        mean_s += tap_down * row_s[None, :]
        mean_d += tap_down * row_d[None, :]
        square_s += tap_down * row_ss[None, :]
        square_d += tap_down * row_dd[None, :]

    var_s = square_s - mean_s * mean_s
    var_d = square_d - mean_d * mean_d
    mean_s += peak
    sum_2 = mean_s * mean_s
    diff_2 = mean_d * mean_d
    # Correctly rounded division: the approximate one may not give 1 for identical planes.
    ssim = tl.div_rn((sum_2 - diff_2 + c1) * (var_s - var_d + c2), (sum_2 + diff_2 + c1) * (var_s + var_d + c2))
    valid = (top + index[:, None] < height - 10) & (column[None, :] < width - 10)
    total = tl.sum(tl.sum(tl.where(valid, ssim, 0.0), axis=1), axis=0)
    tl.store(partial + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), total)

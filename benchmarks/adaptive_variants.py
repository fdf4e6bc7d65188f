"""Alternative Triton kernels for adaptive resampling, against which `bench_kernels.py` measures the one in use.

The naive kernel: the picture is padded first, each output value has its own thread that computes every coordinate as an
absolute float32, and activations are separate operations. It has no gradient for the picture. And a gathering kernel
for the picture's gradient: each sample of the padded picture loops over all taps that can reach it, which avoids atomic
additions but needs bounded offsets.
"""

# Triton has no types for what a kernel sees.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from vidscale.triton_kernels._triton_import import tl, triton

_BLOCK = 128
_REACH = 3  # LR pixels along an axis whose tap, moved by at most `scale`, reaches a given sample: for every scale


@triton.jit
def _naive_forward_kernel(
    padded,  # [N, C, H, W] dense, all of it
    taps,  # [N, K*K, h, w] dense, like the offsets
    offset_x,
    offset_y,
    out,  # [N, C, h, w]
    count,
    C,  # noqa: N803
    H,  # noqa: N803
    W,  # noqa: N803
    h,
    w,
    scale,
    K: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    x, y, n = i % w, i // w % h, i // (w * h * C)
    plane = padded + i // (w * h) * H * W
    total = tl.zeros((BLOCK,), tl.float32)
    for k in range(K * K):
        place = ((n * K * K + k) * h + y) * w + x
        tap = tl.load(taps + place, mask=inside, other=0)
        at_x = (x.to(tl.float32) + 0.5) * scale - 0.5 + k % K + tl.load(offset_x + place, mask=inside, other=0)
        at_y = (y.to(tl.float32) + 0.5) * scale - 0.5 + k // K + tl.load(offset_y + place, mask=inside, other=0)
        at_x = tl.minimum(tl.maximum(at_x, 0.0), (W - 1).to(tl.float32))
        at_y = tl.minimum(tl.maximum(at_y, 0.0), (H - 1).to(tl.float32))
        fx, fy = at_x - tl.floor(at_x), at_y - tl.floor(at_y)
        x0, y0 = tl.floor(at_x).to(tl.int32), tl.floor(at_y).to(tl.int32)
        x1, y1 = tl.minimum(x0 + 1, W - 1), tl.minimum(y0 + 1, H - 1)
        above = tl.load(plane + y0 * W + x0, mask=inside, other=0) * (1 - fx)
        above += tl.load(plane + y0 * W + x1, mask=inside, other=0) * fx
        below = tl.load(plane + y1 * W + x0, mask=inside, other=0) * (1 - fx)
        below += tl.load(plane + y1 * W + x1, mask=inside, other=0) * fx
        total += tap * (above * (1 - fy) + below * fy)
    tl.store(out + i, total, mask=inside)


@triton.jit
def _naive_backward_kernel(
    grad,  # [N, C, h, w] dense
    padded,  # [N, C, H, W] dense
    taps,  # [N, K*K, h, w] dense, like the next five
    offset_x,
    offset_y,
    grad_taps,
    grad_offset_x,
    grad_offset_y,
    count,
    C,  # noqa: N803
    H,  # noqa: N803
    W,  # noqa: N803
    h,
    w,
    scale,
    K: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    x, y, k, n = i % w, i // w % h, i // (w * h) % (K * K), i // (w * h * K * K)
    tap = tl.load(taps + i, mask=inside, other=0)
    to_tap = tl.zeros((BLOCK,), tl.float32)
    to_x, to_y = to_tap, to_tap
    for c in range(C):
        plane = padded + (n * C + c) * H * W
        g = tl.load(grad + ((n * C + c) * h + y) * w + x, mask=inside, other=0)
        raw_x = (x.to(tl.float32) + 0.5) * scale - 0.5 + k % K + tl.load(offset_x + i, mask=inside, other=0)
        raw_y = (y.to(tl.float32) + 0.5) * scale - 0.5 + k // K + tl.load(offset_y + i, mask=inside, other=0)
        at_x = tl.minimum(tl.maximum(raw_x, 0.0), (W - 1).to(tl.float32))
        at_y = tl.minimum(tl.maximum(raw_y, 0.0), (H - 1).to(tl.float32))
        fx, fy = at_x - tl.floor(at_x), at_y - tl.floor(at_y)
        x0, y0 = tl.floor(at_x).to(tl.int32), tl.floor(at_y).to(tl.int32)
        x1, y1 = tl.minimum(x0 + 1, W - 1), tl.minimum(y0 + 1, H - 1)
        v00 = tl.load(plane + y0 * W + x0, mask=inside, other=0)
        v01 = tl.load(plane + y0 * W + x1, mask=inside, other=0)
        v10 = tl.load(plane + y1 * W + x0, mask=inside, other=0)
        v11 = tl.load(plane + y1 * W + x1, mask=inside, other=0)
        to_tap += g * ((v00 * (1 - fx) + v01 * fx) * (1 - fy) + (v10 * (1 - fx) + v11 * fx) * fy)
        to_x += tl.where(at_x == raw_x, g * tap * ((v01 - v00) * (1 - fy) + (v11 - v10) * fy), 0.0)
        to_y += tl.where(at_y == raw_y, g * tap * ((v10 - v00) * (1 - fx) + (v11 - v01) * fx), 0.0)
    tl.store(grad_taps + i, to_tap, mask=inside)
    tl.store(grad_offset_x + i, to_x, mask=inside)
    tl.store(grad_offset_y + i, to_y, mask=inside)


@triton.jit
def _gather_kernel(
    grad,  # [N, C, h, w] dense
    taps,  # [N, K*K, h, w] dense, like the offsets
    offset_x,
    offset_y,
    grad_padded,  # [N, C, H, W] dense, all of it
    H,  # noqa: N803
    W,  # noqa: N803
    h,
    w,
    K: tl.constexpr,  # noqa: N803
    SCALE: tl.constexpr,  # noqa: N803
    C: tl.constexpr,  # noqa: N803
    REACH: tl.constexpr,  # noqa: N803
    BLOCK_Y: tl.constexpr,  # noqa: N803
    BLOCK_X: tl.constexpr,  # noqa: N803
):
    column = tl.program_id(0) * BLOCK_X + tl.arange(0, BLOCK_X)[None, :]
    row = tl.program_id(1) * BLOCK_Y + tl.arange(0, BLOCK_Y)[:, None]
    n = tl.program_id(2).to(tl.int64)
    small = h * w
    s0 = tl.zeros((BLOCK_Y, BLOCK_X), tl.float32)
    s1, s2, s3 = s0, s0, s0
    half = 0.5 * ((SCALE - 1) % 2)
    for k in range(K * K):
        gap_x = column - ((SCALE - 1) // 2 + k % K)  # from where this tap of the first LR pixel lies
        gap_y = row - ((SCALE - 1) // 2 + k // K)
        first_x = (gap_x - 1 - (SCALE - 1) % 2 + K * SCALE) // SCALE - K
        first_y = (gap_y - 1 - (SCALE - 1) % 2 + K * SCALE) // SCALE - K
        for j in range(REACH * REACH):
            x, y = first_x + j % REACH, first_y + j // REACH
            inside = (x >= 0) & (x < w) & (y >= 0) & (y < h) & (row < H) & (column < W)
            place = (n * K * K + k) * small + y * w + x
            tap = tl.load(taps + place, mask=inside, other=0)
            dx = (x * SCALE - gap_x) + (half + tl.load(offset_x + place, mask=inside, other=0))
            dy = (y * SCALE - gap_y) + (half + tl.load(offset_y + place, mask=inside, other=0))
            dx = tl.minimum(tl.maximum(dx, (-column).to(tl.float32)), (W - 1 - column).to(tl.float32))
            dy = tl.minimum(tl.maximum(dy, (-row).to(tl.float32)), (H - 1 - row).to(tl.float32))
            tap *= tl.maximum(1 - tl.abs(dx), 0.0) * tl.maximum(1 - tl.abs(dy), 0.0)
            for c in tl.static_range(C):
                value = tap * tl.load(grad + (n * C + c) * small + y * w + x, mask=inside, other=0)
                if c == 0:
                    s0 += value
                if c == 1:
                    s1 += value
                if c == 2:
                    s2 += value
                if c == 3:
                    s3 += value
    for c in tl.static_range(C):
        value = s0 if c == 0 else (s1 if c == 1 else (s2 if c == 2 else s3))
        tl.store(grad_padded + (n * C + c) * H * W + row * W + column, value, mask=(row < H) & (column < W))


def naive_forward(x: Tensor, taps: Tensor, offset_x: Tensor, offset_y: Tensor, *, scale: int) -> Tensor:
    """`adaptive_resample` of float32 tensors, the picture larger than its border."""
    padded, support = _padded(x, taps)
    out = x.new_empty((*x.shape[:2], *taps.shape[2:]))
    _naive_forward_kernel[(triton.cdiv(out.numel(), _BLOCK),)](
        *(padded, taps, offset_x, offset_y, out, out.numel(), *padded.shape[1:], *taps.shape[2:], float(scale)),
        K=support,
        BLOCK=_BLOCK,
        enable_fp_fusion=True,
    )
    return out


def naive_heads(x: Tensor, *heads: Tensor, scale: int) -> Tensor:
    """`adaptive_resample_heads` of codes of 8 bit."""
    taps = heads[0].float().clamp(1e-6, 1)
    taps = taps / taps.sum(1, keepdim=True).clamp(min=1e-6)
    offsets = (head.float().tanh() * scale for head in heads[1:])
    values = naive_forward(x.float() / 255, taps, *offsets, scale=scale)
    return (values * 255).clamp(0, 255).round().to(torch.uint8)


def naive_backward(grad: Tensor, x: Tensor, *inputs: Tensor, scale: int) -> list[Tensor]:
    """Gradients of taps and offsets."""
    padded, support = _padded(x, inputs[0])
    found = [torch.empty_like(inputs[0]) for _ in range(3)]
    count = inputs[0].numel()
    _naive_backward_kernel[(triton.cdiv(count, _BLOCK),)](
        *(grad, padded, *inputs, *found, count, *padded.shape[1:], *inputs[0].shape[2:], float(scale)),
        K=support,
        BLOCK=_BLOCK,
        enable_fp_fusion=True,
    )
    return found


def gathered(grad: Tensor, x: Tensor, *inputs: Tensor, scale: int) -> Tensor:
    """The picture's gradient, for offsets of at most `scale` and a picture larger than its border."""
    support = isqrt(inputs[0].shape[1])
    n, channels, height, width = x.shape
    rows, columns = height + support // 2 * 2, width + support // 2 * 2
    out = x.new_empty((n, channels, rows, columns))
    _gather_kernel[(triton.cdiv(columns, 32), triton.cdiv(rows, 4), n)](
        *(grad, *inputs, out, rows, columns, *inputs[0].shape[2:]),
        K=support,
        SCALE=scale,
        C=channels,
        REACH=_REACH,
        BLOCK_Y=4,
        BLOCK_X=32,
        enable_fp_fusion=True,
    )
    folded = x.new_zeros((n, channels, height, columns)).index_add_(2, _mirrored(height, support, x.device), out)
    return torch.zeros_like(x).index_add_(3, _mirrored(width, support, x.device), folded)


def _padded(x: Tensor, taps: Tensor) -> tuple[Tensor, int]:
    support = isqrt(taps.shape[1])
    return F.pad(x, (support // 2,) * 4, mode="reflect"), support


def _mirrored(length: int, support: int, device: torch.device) -> Tensor:
    index = torch.arange(-(support // 2), length + support // 2, device=device).abs()
    return torch.minimum(index, 2 * length - 2 - index)

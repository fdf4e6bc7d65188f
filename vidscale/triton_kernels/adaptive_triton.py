"""Content-adaptive resampling on a GPU, in Triton: one thread per LR pixel, coordinates shared by all channels.

The picture's gradient is scattered with atomic adds: offsets may point anywhere, and a kernel that gathers would read
every tap of every LR pixel in reach of an HR pixel (see `benchmarks/adaptive_variants.py`).
"""

# Triton has no types for what a kernel sees.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from contextlib import AbstractContextManager, nullcontext
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from vidscale.triton_kernels._triton_import import tl, triton

# One pixel per thread: with more, neighbouring threads would read samples further apart.
_BLOCK_Y, _BLOCK_X, _WARPS = 4, 32, 4


# The position of a tap is computed inline in both kernels: triton's interpreter takes milliseconds per function call.


@triton.jit
def _forward_kernel(
    x,  # [N, C, H, W] dense, float or codes
    taps,  # [N, K*K, h, w], any strides, the same as those of the offsets
    offset_x,
    offset_y,
    out,  # [N, C, h, w] dense
    H,  # noqa: N803
    W,  # noqa: N803
    h,
    w,
    stride_n,
    stride_k,
    stride_y,
    stride_x,
    gain,
    peak,
    K: tl.constexpr,  # noqa: N803
    SCALE: tl.constexpr,  # noqa: N803
    C: tl.constexpr,  # noqa: N803
    MIRRORS: tl.constexpr,  # noqa: N803
    HEADS: tl.constexpr,  # noqa: N803 - taps and offsets are raw
    ROUND: tl.constexpr,  # noqa: N803 - to codes
    BLOCK_Y: tl.constexpr,  # noqa: N803
    BLOCK_X: tl.constexpr,  # noqa: N803
):
    column = tl.program_id(0) * BLOCK_X + tl.arange(0, BLOCK_X)[None, :]
    row = tl.program_id(1) * BLOCK_Y + tl.arange(0, BLOCK_Y)[:, None]
    n = tl.program_id(2).to(tl.int64)
    inside = (row < h) & (column < w)
    place = n * stride_n + row.to(tl.int64) * stride_y + column.to(tl.int64) * stride_x
    plane, small = H * W, h * w
    picture = x + n * C * plane
    base_x = column * SCALE + ((SCALE - 1) // 2 - K // 2)
    base_y = row * SCALE + ((SCALE - 1) // 2 - K // 2)
    first, last_x, last_y = -(K // 2), W - 1 + K // 2, H - 1 + K // 2
    total = tl.zeros((BLOCK_Y, BLOCK_X), tl.float32)
    s0, s1, s2, s3 = total, total, total, total
    for k in range(K * K):
        tap = tl.load(taps + place, mask=inside, other=0).to(tl.float32)
        dx = tl.load(offset_x + place, mask=inside, other=0).to(tl.float32)
        dy = tl.load(offset_y + place, mask=inside, other=0).to(tl.float32)
        place += stride_k
        if HEADS:
            tap = tl.minimum(tl.maximum(tap, 1e-6), 1.0)
            total += tap
            # tanh; above 20 it is 1, and exp would overflow.
            dx = SCALE - 2 * SCALE / (tl.exp(2 * tl.minimum(dx, 20.0)) + 1)
            dy = SCALE - 2 * SCALE / (tl.exp(2 * tl.minimum(dy, 20.0)) + 1)

        # The samples on both sides, clamped to the mirrored picture, then mirrored; fractions beyond the first.
        fx = dx + 0.5 * ((SCALE - 1) % 2)
        fy = dy + 0.5 * ((SCALE - 1) % 2)
        whole_x = tl.floor(fx)
        whole_y = tl.floor(fy)
        fx -= whole_x
        fy -= whole_y
        x0 = whole_x.to(tl.int32) + (base_x + k % K)
        y0 = whole_y.to(tl.int32) + (base_y + k // K)
        x1 = tl.minimum(tl.maximum(x0 + 1, first), last_x)
        y1 = tl.minimum(tl.maximum(y0 + 1, first), last_y)
        x0 = tl.minimum(tl.maximum(x0, first), last_x)
        y0 = tl.minimum(tl.maximum(y0, first), last_y)
        for _ in tl.static_range(MIRRORS):
            x0, x1, y0, y1 = tl.abs(x0), tl.abs(x1), tl.abs(y0), tl.abs(y1)
            x0, x1 = tl.minimum(x0, 2 * (W - 1) - x0), tl.minimum(x1, 2 * (W - 1) - x1)
            y0, y1 = tl.minimum(y0, 2 * (H - 1) - y0), tl.minimum(y1, 2 * (H - 1) - y1)
        if MIRRORS > 1:
            x0, x1 = tl.maximum(x0, 0), tl.maximum(x1, 0)
            y0, y1 = tl.maximum(y0, 0), tl.maximum(y1, 0)
        i00, i01, i10, i11 = y0 * W + x0, y0 * W + x1, y1 * W + x0, y1 * W + x1

        w11 = tap * fx * fy
        w01 = tap * fx - w11
        w10 = tap * fy - w11
        w00 = tap - tap * fx - w10
        samples = picture
        for c in tl.static_range(C):
            value = w00 * tl.load(samples + i00, mask=inside, other=0).to(tl.float32)
            value += w01 * tl.load(samples + i01, mask=inside, other=0).to(tl.float32)
            value += w10 * tl.load(samples + i10, mask=inside, other=0).to(tl.float32)
            value += w11 * tl.load(samples + i11, mask=inside, other=0).to(tl.float32)
            if c == 0:
                s0 += value
            if c == 1:
                s1 += value
            if c == 2:
                s2 += value
            if c == 3:
                s3 += value
            samples += plane
    if HEADS:
        gain = gain / tl.maximum(total, 1e-6)
    out += n * C * small + row.to(tl.int64) * w + column
    for c in tl.static_range(C):
        value = (s0 if c == 0 else (s1 if c == 1 else (s2 if c == 2 else s3))) * gain
        if ROUND:
            value = tl.floor(tl.minimum(tl.maximum(value, 0.0), peak) + 0.5).to(tl.int32)
        tl.store(out, value.to(out.dtype.element_ty), mask=inside)
        out += small


@triton.jit
def _backward_kernel(
    grad,  # [N, C, h, w] dense
    x,  # [N, C, H, W] dense
    taps,  # [N, K*K, h, w], any strides, the same as those of the offsets
    offset_x,
    offset_y,
    grad_x,  # [N, C, H, W] dense float32, zeros; unused without OF_X
    grad_taps,  # [N, K*K, h, w] dense, like the next two
    grad_offset_x,
    grad_offset_y,
    H,  # noqa: N803
    W,  # noqa: N803
    h,
    w,
    stride_n,
    stride_k,
    stride_y,
    stride_x,
    K: tl.constexpr,  # noqa: N803
    SCALE: tl.constexpr,  # noqa: N803
    C: tl.constexpr,  # noqa: N803
    MIRRORS: tl.constexpr,  # noqa: N803
    OF_X: tl.constexpr,  # noqa: N803
    BLOCK_Y: tl.constexpr,  # noqa: N803
    BLOCK_X: tl.constexpr,  # noqa: N803
):
    column = tl.program_id(0) * BLOCK_X + tl.arange(0, BLOCK_X)[None, :]
    row = tl.program_id(1) * BLOCK_Y + tl.arange(0, BLOCK_Y)[:, None]
    n = tl.program_id(2).to(tl.int64)
    inside = (row < h) & (column < w)
    place = n * stride_n + row.to(tl.int64) * stride_y + column.to(tl.int64) * stride_x
    plane, small = H * W, h * w
    picture, grad_picture = x + n * C * plane, grad_x + n * C * plane
    here = row.to(tl.int64) * w + column
    dense = n * K * K * small + here
    base_x = column * SCALE + ((SCALE - 1) // 2 - K // 2)
    base_y = row * SCALE + ((SCALE - 1) // 2 - K // 2)
    first, last_x, last_y = -(K // 2), W - 1 + K // 2, H - 1 + K // 2
    zero = tl.zeros((BLOCK_Y, BLOCK_X), tl.float32)
    g0 = tl.load(grad + n * C * small + here, mask=inside, other=0).to(tl.float32)
    g1 = tl.load(grad + (n * C + 1) * small + here, mask=inside & (C > 1), other=0).to(tl.float32)
    g2 = tl.load(grad + (n * C + 2) * small + here, mask=inside & (C > 2), other=0).to(tl.float32)
    g3 = tl.load(grad + (n * C + 3) * small + here, mask=inside & (C > 3), other=0).to(tl.float32)
    for k in range(K * K):
        tap = tl.load(taps + place, mask=inside, other=0).to(tl.float32)
        dx = tl.load(offset_x + place, mask=inside, other=0).to(tl.float32)
        dy = tl.load(offset_y + place, mask=inside, other=0).to(tl.float32)
        place += stride_k

        fx = dx + 0.5 * ((SCALE - 1) % 2)
        fy = dy + 0.5 * ((SCALE - 1) % 2)
        whole_x = tl.floor(fx)
        whole_y = tl.floor(fy)
        fx -= whole_x
        fy -= whole_y
        x0 = whole_x.to(tl.int32) + (base_x + k % K)
        y0 = whole_y.to(tl.int32) + (base_y + k // K)
        x1 = tl.minimum(tl.maximum(x0 + 1, first), last_x)
        y1 = tl.minimum(tl.maximum(y0 + 1, first), last_y)
        x0 = tl.minimum(tl.maximum(x0, first), last_x)
        y0 = tl.minimum(tl.maximum(y0, first), last_y)
        for _ in tl.static_range(MIRRORS):
            x0, x1, y0, y1 = tl.abs(x0), tl.abs(x1), tl.abs(y0), tl.abs(y1)
            x0, x1 = tl.minimum(x0, 2 * (W - 1) - x0), tl.minimum(x1, 2 * (W - 1) - x1)
            y0, y1 = tl.minimum(y0, 2 * (H - 1) - y0), tl.minimum(y1, 2 * (H - 1) - y1)
        if MIRRORS > 1:
            x0, x1 = tl.maximum(x0, 0), tl.maximum(x1, 0)
            y0, y1 = tl.maximum(y0, 0), tl.maximum(y1, 0)
        i00, i01, i10, i11 = y0 * W + x0, y0 * W + x1, y1 * W + x0, y1 * W + x1

        # The gradient of each corner's weight, summed over channels; that of the picture is scattered.
        c00, c01, c10, c11 = zero, zero, zero, zero
        samples, sums = picture, grad_picture
        for c in tl.static_range(C):
            g = g0 if c == 0 else (g1 if c == 1 else (g2 if c == 2 else g3))
            c00 += g * tl.load(samples + i00, mask=inside, other=0).to(tl.float32)
            c01 += g * tl.load(samples + i01, mask=inside, other=0).to(tl.float32)
            c10 += g * tl.load(samples + i10, mask=inside, other=0).to(tl.float32)
            c11 += g * tl.load(samples + i11, mask=inside, other=0).to(tl.float32)
            if OF_X:
                right = tap * g * fx
                w11 = right * fy
                w10 = tap * g * fy - w11
                tl.atomic_add(sums + i00, tap * g - right - w10, mask=inside, sem="relaxed")
                tl.atomic_add(sums + i01, right - w11, mask=inside, sem="relaxed")
                tl.atomic_add(sums + i10, w10, mask=inside, sem="relaxed")
                tl.atomic_add(sums + i11, w11, mask=inside, sem="relaxed")
            samples += plane
            sums += plane
        c01 -= c00
        c11 -= c10
        to_x = tap * (c01 + (c11 - c01) * fy)
        c00 += c01 * fx
        c10 += c11 * fx
        to_y = tap * (c10 - c00)
        tl.store(grad_taps + dense, (c00 + (c10 - c00) * fy).to(grad_taps.dtype.element_ty), mask=inside)
        tl.store(grad_offset_x + dense, to_x.to(grad_offset_x.dtype.element_ty), mask=inside)
        tl.store(grad_offset_y + dense, to_y.to(grad_offset_y.dtype.element_ty), mask=inside)
        dense += small


def forward(x: Tensor, taps: Tensor, offset_x: Tensor, offset_y: Tensor, *, scale: int) -> Tensor:
    """`adaptive_resample` of GPU tensors, for arguments that it has checked; without autograd."""
    out = torch.empty((*x.shape[:2], *taps.shape[2:]), dtype=x.dtype, device=x.device)
    _launch_forward(x, (taps, offset_x, offset_y), out, scale, gain=1.0, peak=0, heads=False)
    return out


def forward_heads(x: Tensor, *heads: Tensor, scale: int, out_name: str, gain: float, peak: int) -> Tensor:
    """`adaptive_resample_heads` of GPU tensors; the result is `gain` times the samples."""
    out = torch.empty((*x.shape[:2], *heads[0].shape[2:]), dtype=getattr(torch, out_name), device=x.device)
    _launch_forward(x, heads, out, scale, gain=gain, peak=peak, heads=True)
    return out


def backward(grad: Tensor, x: Tensor, *inputs: Tensor, scale: int, of_x: bool) -> tuple[Tensor | None, ...]:
    """Gradients of x (float32; None unless `of_x`), taps, offset_x and offset_y, given that of the result."""
    x, inputs = x.contiguous(), _alike(inputs)
    grad_x = torch.zeros(x.shape if of_x else 1, dtype=torch.float32, device=x.device)
    found = [torch.empty(t.shape, dtype=t.dtype, device=x.device) for t in inputs]
    with _device_of(x):
        _backward_kernel[_grid(inputs[0])](
            *(grad.contiguous(), x, *inputs, grad_x, *found),
            *(*x.shape[2:], *inputs[0].shape[2:], *inputs[0].stride()),
            **_constants(x, inputs[0], scale),
            OF_X=of_x,
        )
    return grad_x if of_x else None, *found


def _launch_forward(
    x: Tensor, inputs: tuple[Tensor, ...], out: Tensor, scale: int, *, gain: float, peak: int, heads: bool
) -> None:
    x, inputs = x.contiguous(), _alike(inputs)
    with _device_of(x):
        _forward_kernel[_grid(inputs[0])](
            *(x, *inputs, out, *x.shape[2:], *inputs[0].shape[2:], *inputs[0].stride(), gain, float(peak)),
            **_constants(x, inputs[0], scale),
            HEADS=heads,
            ROUND=not out.is_floating_point(),
        )


def _alike(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Tensors of one shape with the same strides, copied only if they differ."""
    alike = len({t.stride() for t in tensors}) == 1
    return tensors if alike else tuple(t.contiguous() for t in tensors)


def _device_of(x: Tensor) -> AbstractContextManager[object]:
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def _grid(taps: Tensor) -> tuple[int, int, int]:
    return triton.cdiv(taps.shape[3], _BLOCK_X), triton.cdiv(taps.shape[2], _BLOCK_Y), taps.shape[0]


def _constants(x: Tensor, taps: Tensor, scale: int) -> dict[str, Any]:
    support = isqrt(taps.shape[1])
    pad, shorter = support // 2, min(x.shape[2:])
    mirrors = 1 if pad < shorter else 2 + pad // max(shorter - 1, 1)
    blocks = {"BLOCK_Y": _BLOCK_Y, "BLOCK_X": _BLOCK_X, "num_warps": _WARPS}
    # triton 3.9 warns if enable_fp_fusion is not set.
    return {"K": support, "SCALE": scale, "C": x.shape[1], "MIRRORS": mirrors, **blocks, "enable_fp_fusion": True}

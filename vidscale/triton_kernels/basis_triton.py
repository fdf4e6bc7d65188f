"""Resampling with mixed filters on a GPU: a Triton kernel that applies eight filters at a time and mixes the results.

A program computes a tile of outputs of one phase, so all its threads use the same taps. Gradients are those of the
reference, whose convolutions are recomputed in the backward pass: GPU libraries are fast at them, and no intermediate
results have to be stored.
"""

# Triton has no types for what a kernel sees.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from contextlib import nullcontext
from fractions import Fraction
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vidscale.triton_kernels._triton_import import tl, triton
from vidscale.triton_kernels.basis_geometry import SMALLEST_SUM, first_taps
from vidscale.triton_kernels.basis_ref import basis_resample_ref

# Four rows of pixels per thread share the taps it loads. One column: neighbouring threads read neighbouring samples.
_BLOCK_Y, _BLOCK_X, _WARPS = 16, 32, 4


@triton.jit
def _resample_kernel(
    plane,  # [N, C, H, W] float or codes, of any strides
    coefficients,  # [N, M, cells_y, cells_x] dense, float
    taps,  # [P, P, M, SUPPORT_Y * SUPPORT_X] dense, float32
    sums,  # [P, P, M] float32: sums of the taps
    start_y,  # [P] int32: source row of the first tap
    start_x,
    out,  # [N, C, h, w] dense
    H,  # noqa: N803
    W,  # noqa: N803
    h,
    w,
    cells_y,
    cells_x,
    block_y,
    block_x,
    stride_n,
    stride_c,
    stride_y,
    stride_x,
    peak,
    least_sum,
    C: tl.constexpr,  # noqa: N803
    M: tl.constexpr,  # noqa: N803
    P: tl.constexpr,  # noqa: N803
    ADVANCE: tl.constexpr,  # noqa: N803
    SUPPORT_Y: tl.constexpr,  # noqa: N803
    SUPPORT_X: tl.constexpr,  # noqa: N803
    MIRRORS: tl.constexpr,  # noqa: N803
    ROUND: tl.constexpr,  # noqa: N803 - to codes
    BLOCK_Y: tl.constexpr,  # noqa: N803
    BLOCK_X: tl.constexpr,  # noqa: N803
):
    phase = tl.program_id(2) % (P * P)
    image = tl.program_id(2) // (P * P)
    n = (image // C).to(tl.int64)
    j = tl.program_id(1) * BLOCK_Y + tl.arange(0, BLOCK_Y)[:, None]
    i = tl.program_id(0) * BLOCK_X + tl.arange(0, BLOCK_X)[None, :]
    y = j * P + phase // P
    x = i * P + phase % P
    inside = (y < h) & (x < w)
    first_y = tl.load(start_y + phase // P) + j * ADVANCE
    first_x = tl.load(start_x + phase % P) + i * ADVANCE
    source = plane + n * stride_n + (image % C).to(tl.int64) * stride_c
    cell = n * M * cells_y * cells_x + (y // block_y).to(tl.int64) * cells_x + x // block_x
    zero = tl.zeros((BLOCK_Y, BLOCK_X), tl.float32)
    total, divisor = zero, zero
    for m in tl.static_range(0, M, 8):
        f0, f1, f2, f3, f4, f5, f6, f7 = zero, zero, zero, zero, zero, zero, zero, zero
        tap = taps + (phase * M + m) * SUPPORT_Y * SUPPORT_X
        for t in range(SUPPORT_Y * SUPPORT_X):
            row = first_y + t // SUPPORT_X
            column = first_x + t % SUPPORT_X
            for _ in range(MIRRORS):
                row = tl.maximum(row, -1 - row)
                row = tl.minimum(row, 2 * H - 1 - row)
                column = tl.maximum(column, -1 - column)
                column = tl.minimum(column, 2 * W - 1 - column)
            place = row.to(tl.int64) * stride_y + column.to(tl.int64) * stride_x
            value = tl.load(source + place, mask=inside, other=0).to(tl.float32)
            f0 += value * tl.load(tap + t)
            if m + 1 < M:
                f1 += value * tl.load(tap + (1 * SUPPORT_Y * SUPPORT_X + t))
            if m + 2 < M:
                f2 += value * tl.load(tap + (2 * SUPPORT_Y * SUPPORT_X + t))
            if m + 3 < M:
                f3 += value * tl.load(tap + (3 * SUPPORT_Y * SUPPORT_X + t))
            if m + 4 < M:
                f4 += value * tl.load(tap + (4 * SUPPORT_Y * SUPPORT_X + t))
            if m + 5 < M:
                f5 += value * tl.load(tap + (5 * SUPPORT_Y * SUPPORT_X + t))
            if m + 6 < M:
                f6 += value * tl.load(tap + (6 * SUPPORT_Y * SUPPORT_X + t))
            if m + 7 < M:
                f7 += value * tl.load(tap + (7 * SUPPORT_Y * SUPPORT_X + t))
        for k in tl.static_range(8):
            if m + k < M:
                filtered = f0 if k == 0 else f1 if k == 1 else f2 if k == 2 else f3 if k == 3 else f4
                filtered = f5 if k == 5 else f6 if k == 6 else f7 if k == 7 else filtered
                weight = tl.load(coefficients + cell + (m + k) * cells_y * cells_x, mask=inside, other=0).to(tl.float32)
                total += weight * filtered
                divisor += weight * tl.load(sums + phase * M + m + k)
    total = total / tl.maximum(divisor, least_sum)
    if ROUND:
        total = tl.floor(tl.minimum(tl.maximum(total, 0.0), peak) + 0.5).to(tl.int32)
    place = (image.to(tl.int64) * h + y) * w + x
    tl.store(out + place, total.to(out.dtype.element_ty), mask=inside)


class _BasisResample(torch.autograd.Function):
    """The kernel in the forward pass, the reference's gradients in the backward pass."""

    @staticmethod
    def forward(ctx: Any, plane: Tensor, coefficients: Tensor, basis: Tensor, geometry: dict[str, Any]) -> Tensor:
        ctx.save_for_backward(plane, coefficients, basis)
        ctx.geometry = geometry
        return _launch(plane, coefficients, basis, peak=0, **geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[:3]
        inputs = [t.detach().requires_grad_(want) for t, want in zip(ctx.saved_tensors, wanted, strict=True)]
        # cuDNN would use TF32 for float32, with ten bits of precision.
        with torch.backends.cudnn.flags(allow_tf32=False):
            with torch.enable_grad():
                out = basis_resample_ref(*inputs, **ctx.geometry)
            found = iter(torch.autograd.grad(out, [t for t in inputs if t.requires_grad], grad))
        return *(next(found) if want else None for want in wanted), None


def basis_triton(plane: Tensor, coefficients: Any, basis: Any, *, bit_depth: int | None, **geometry: Any) -> Tensor:
    """`basis_resample` of tensors on a GPU, for arguments that it has checked; basis [M, P, P, sy, sx]."""
    coefficients, basis = (torch.as_tensor(t, device=plane.device) for t in (coefficients, basis))
    if bit_depth is None:
        result: Tensor = _BasisResample.apply(plane, coefficients, basis, geometry)  # type: ignore[no-untyped-call]
        return result
    with torch.no_grad():
        return _launch(plane[None, None], coefficients[None], basis, peak=2**bit_depth - 1, **geometry)[0, 0]


def _launch(
    plane: Tensor,
    coefficients: Tensor,
    basis: Tensor,
    *,
    step: Fraction,
    siting: tuple[Fraction, Fraction],
    size: tuple[int, int],
    block: tuple[int, int],
    peak: int,
) -> Tensor:
    (n, channels, height, width), (count, phases, _, *support) = plane.shape, basis.shape
    out = torch.empty((n, channels, *size), dtype=plane.dtype, device=plane.device)
    taps = basis.permute(1, 2, 0, 3, 4).to(torch.float32).contiguous()
    starts = [_starts_on(plane.device, step, siting[a], support[a]) for a in (0, 1)]
    grid = (
        *(triton.cdiv(-(-size[a] // phases), b) for a, b in ((1, _BLOCK_X), (0, _BLOCK_Y))),
        n * channels * phases**2,
    )
    with torch.cuda.device(plane.device) if plane.is_cuda else nullcontext():
        _resample_kernel[grid](
            *(plane, coefficients.contiguous(), taps, taps.sum((3, 4)), *starts, out),
            *(height, width, *size, *coefficients.shape[2:], *block, *plane.stride(), float(peak), SMALLEST_SUM),
            C=channels,
            M=count,
            P=phases,
            ADVANCE=step.numerator,
            SUPPORT_Y=support[0],
            SUPPORT_X=support[1],
            MIRRORS=max(_mirrors(step, siting[a], support[a], size[a], plane.shape[2 + a]) for a in (0, 1)),
            ROUND=not plane.is_floating_point(),
            BLOCK_Y=_BLOCK_Y,
            BLOCK_X=_BLOCK_X,
            num_warps=_WARPS,
            enable_fp_fusion=True,  # triton 3.9 warns if this is not set
        )
    return out


@lru_cache(maxsize=64)
def _starts_on(device: torch.device, step: Fraction, siting: Fraction, support: int) -> Tensor:
    return torch.tensor(first_taps(step, siting, support), dtype=torch.int32, device=device)


def _mirrors(step: Fraction, siting: Fraction, support: int, outputs: int, length: int) -> int:
    """How many times an index must be mirrored at both edges until it is inside."""
    starts = first_taps(step, siting, support)
    beyond = max(starts) + -(-outputs // step.denominator) * step.numerator + support - length
    return 1 + max(-min(starts), beyond, 0) // length

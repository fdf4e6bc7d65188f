"""Fixed separable resampling on a GPU: a Triton kernel that filters along one axis, launched once per axis.

The first launch reads integer codes and writes float32, clamped to the code range; the second writes integer codes.
"""

# Triton has no types for what a kernel sees.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from contextlib import nullcontext
from fractions import Fraction
from functools import lru_cache

import torch

from vidscale.triton_kernels._triton_import import tl, triton
from vidscale.triton_kernels.polyphase_filters import Kind, filter_bank

_BLOCK_Y, _BLOCK_X = 4, 256
# Slightly above one half: ties (the mean of 1 and 2) round up although taps such as 1/6 are inexact in float32.
_HALF = 0.5 + 2**-13


@triton.jit
def _filter_axis_kernel(
    src,  # [H, W] integer or float32
    dst,  # [h, w] float32, or integer with ROUND
    start,  # [phases] int64
    taps,  # [phases, SUPPORT] float32
    length,  # of src along AXIS
    h,
    w,
    src_stride_y,
    src_stride_x,
    phases,
    advance,
    peak,
    half,
    SUPPORT: tl.constexpr,  # noqa: N803
    AXIS: tl.constexpr,  # noqa: N803
    ROUND: tl.constexpr,  # noqa: N803
    BLOCK_Y: tl.constexpr,  # noqa: N803
    BLOCK_X: tl.constexpr,  # noqa: N803
):
    y = tl.program_id(1) * BLOCK_Y + tl.arange(0, BLOCK_Y)[:, None]
    x = tl.program_id(0) * BLOCK_X + tl.arange(0, BLOCK_X)[None, :]
    inside = (y < h) & (x < w)
    output = y if AXIS == 0 else x
    wanted = (y < h) if AXIS == 0 else (x < w)
    phase = output % phases
    first = tl.load(start + phase, mask=wanted, other=0) + (output // phases).to(tl.int64) * advance
    row = y.to(tl.int64) * src_stride_y
    column = x.to(tl.int64) * src_stride_x
    total = tl.zeros((BLOCK_Y, BLOCK_X), dtype=tl.float32)
    for t in range(SUPPORT):
        folded = (first + t) % (2 * length)
        folded = tl.where(folded < 0, folded + 2 * length, folded)
        source = tl.minimum(folded, 2 * length - 1 - folded)
        place = source * src_stride_y + column if AXIS == 0 else row + source * src_stride_x
        tap = tl.load(taps + phase * SUPPORT + t, mask=wanted, other=0.0)
        total += tl.load(src + place, mask=inside, other=0).to(tl.float32) * tap
    total = tl.minimum(tl.maximum(total, 0.0), peak)
    place = y.to(tl.int64) * w + x
    if ROUND:
        tl.store(dst + place, (total + half).to(tl.int32).to(dst.dtype.element_ty), mask=inside)
    else:
        tl.store(dst + place, total, mask=inside)


@lru_cache(maxsize=64)
def _bank_on(
    device: torch.device, kind: Kind, step: Fraction, siting: Fraction, length: int
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """`filter_bank` as (start [phases] int64, taps [phases, support] float32) on a device, and `advance`."""
    bank = filter_bank(kind, step, siting, length)
    start = torch.tensor(bank.start, device=device)
    return start, torch.tensor(bank.taps, dtype=torch.float32, device=device), bank.advance


def polyphase_triton(
    plane: torch.Tensor,
    *,
    step: Fraction,
    siting: tuple[Fraction, Fraction],
    size: tuple[int, int],
    kind: Kind,
    bit_depth: int,
) -> torch.Tensor:
    """`polyphase_resample` of a [H, W] tensor on a GPU, for arguments that it has checked."""
    values = plane
    order = (0, 1) if step > 1 else (1, 0)
    with torch.cuda.device(plane.device) if plane.is_cuda else nullcontext():
        for axis in order:
            last = axis == order[1]
            h, w = size if last else (size[0], plane.shape[1]) if axis == 0 else (plane.shape[0], size[1])
            out = torch.empty((h, w), dtype=plane.dtype if last else torch.float32, device=plane.device)
            start, taps, advance = _bank_on(plane.device, kind, step, siting[axis], size[axis])
            _filter_axis_kernel[(-(-w // _BLOCK_X), -(-h // _BLOCK_Y))](
                values,
                out,
                start,
                taps,
                values.shape[axis],
                h,
                w,
                *values.stride(),
                *(taps.shape[0], advance, float(2**bit_depth - 1), _HALF),
                SUPPORT=taps.shape[1],
                AXIS=axis,
                ROUND=last,
                BLOCK_Y=_BLOCK_Y,
                BLOCK_X=_BLOCK_X,
                enable_fp_fusion=True,  # triton 3.9 warns if this is not set
            )
            values = out
    return values

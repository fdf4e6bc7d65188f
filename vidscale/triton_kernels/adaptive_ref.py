"""Content-adaptive resampling in plain torch, tap by tap: the reference that the faster versions are tested against."""

from math import isqrt

import torch
from torch import Tensor


def adaptive_resample_ref(x: Tensor, taps: Tensor, offset_x: Tensor, offset_y: Tensor, *, scale: int) -> Tensor:
    """`adaptive_resample` of tensors on any device, for arguments that it has checked; differentiable.

    Needs memory for about one plane of samples per channel besides its inputs; more under autograd.
    """
    n, channels, *_ = x.shape
    count, h, w = taps.shape[1:]
    support = isqrt(count)
    dtype = torch.float64 if torch.float64 in (t.dtype for t in (x, taps, offset_x, offset_y)) else torch.float32
    samples = x.to(dtype).flatten(2)
    total = torch.zeros((n, channels, h * w), dtype=dtype, device=x.device)
    for k in range(count):
        ky, kx = divmod(k, support)
        first_y, fraction_y = _place(offset_y[:, k].to(dtype), ky - support // 2, scale, 1)
        first_x, fraction_x = _place(offset_x[:, k].to(dtype), kx - support // 2, scale, 2)
        tap = taps[:, k].to(dtype)
        for step_y, part_y in ((0, 1 - fraction_y), (1, fraction_y)):
            row = _inside(first_y + step_y, x.shape[2], support // 2)
            for step_x, part_x in ((0, 1 - fraction_x), (1, fraction_x)):
                column = _inside(first_x + step_x, x.shape[3], support // 2)
                index = (row * x.shape[3] + column).view(n, 1, -1).expand(-1, channels, -1)
                total = total + samples.gather(2, index) * (tap * part_y * part_x).view(n, 1, -1)
    return total.view(n, channels, h, w).to(x.dtype)


def activated(kernel_head: Tensor, offset_x_head: Tensor, offset_y_head: Tensor, *, scale: int) -> tuple[Tensor, ...]:
    """Raw heads as taps and offsets in HR pixels, at least float32; defined in `adaptive_resample_heads`."""
    heads = [h if h.dtype == torch.float64 else h.float() for h in (kernel_head, offset_x_head, offset_y_head)]
    taps = heads[0].clamp(1e-6, 1)
    taps = taps / taps.sum(1, keepdim=True).clamp(min=1e-6)
    return taps, heads[1].tanh() * scale, heads[2].tanh() * scale


@torch.no_grad()
def adaptive_heads_ref(
    x: Tensor,
    kernel_head: Tensor,
    offset_x_head: Tensor,
    offset_y_head: Tensor,
    *,
    scale: int,
    out_name: str,
    gain: float,
    peak: int,
) -> Tensor:
    """`adaptive_resample_heads` of tensors; the result is `gain` times the samples."""
    inputs = activated(kernel_head, offset_x_head, offset_y_head, scale=scale)
    samples = x if x.dtype in (torch.float32, torch.float64) else x.float()
    values = adaptive_resample_ref(samples, *inputs, scale=scale) * gain
    if out_name.startswith("uint"):
        values = (values.clamp(0, peak) + 0.5).floor()
    out: Tensor = values.to(getattr(torch, out_name))
    return out


def _place(offset: Tensor, tap: int, scale: int, axis: int) -> tuple[Tensor, Tensor]:
    """Positions [N, h, w] along an axis as a sample index and a fraction beyond it; `tap` counts from the centre."""
    moved = offset + 0.5 * ((scale - 1) % 2)
    whole = moved.detach().floor()
    shape = [-1 if i == axis else 1 for i in range(3)]
    centres = torch.arange(offset.shape[axis], device=offset.device) * scale + (scale - 1) // 2
    return whole.long() + centres.view(shape) + tap, moved - whole


def _inside(index: Tensor, length: int, pad: int) -> Tensor:
    """Map any indices into [0, length): clamped to the mirrored picture, then mirrored."""
    if length == 1:
        return torch.zeros_like(index)
    folded = index.clamp(-pad, length - 1 + pad) % (2 * length - 2)
    return torch.minimum(folded, 2 * length - 2 - folded)

"""Fixed separable resampling in plain torch, float64: the reference that the faster versions are tested against."""

from fractions import Fraction

import torch

from vidscale.triton_kernels.polyphase_filters import FilterBank, Kind, filter_bank

_HALF = 0.5 + 1e-9  # ties round up although taps such as 1/6 are inexact


def polyphase_ref(
    plane: torch.Tensor,
    *,
    step: Fraction,
    siting: tuple[Fraction, Fraction],
    size: tuple[int, int],
    kind: Kind,
    bit_depth: int,
) -> torch.Tensor:
    """`polyphase_resample` of a [H, W] tensor of integer codes on any device, step by step in float64."""
    values = plane.to(torch.float64)
    for axis in (0, 1) if step > 1 else (1, 0):
        bank = filter_bank(kind, step, siting[axis], size[axis])
        values = filter_axis(values, bank, axis, size[axis]).clamp_(0, 2**bit_depth - 1)
    return (values + _HALF).floor_().to(plane.dtype)


def filter_axis(values: torch.Tensor, bank: FilterBank, axis: int, length: int) -> torch.Tensor:
    """Filter floats along one axis, on any device, without rounding or clamping.

    Args:
        values: [H, W] float.
        bank: of `polyphase_filters.filter_bank`, for `length` samples.
        axis: 0 or 1.
        length: output samples along the axis.

    Returns:
        [length, W] or [H, length], dtype of `values`.
    """
    device = values.device
    output = torch.arange(length, device=device)
    phase = output % bank.phases
    first = torch.tensor(bank.start, device=device)[phase] + bank.advance * (output // bank.phases)
    taps = torch.tensor(bank.taps, device=device, dtype=values.dtype)[phase].T
    if axis == 0:
        taps = taps[:, :, None]
    total = torch.zeros((), dtype=values.dtype, device=device)
    for tap in range(bank.support):
        total = total + values.index_select(axis, _mirror(first + tap, values.shape[axis])) * taps[tap]
    return total


def _mirror(index: torch.Tensor, length: int) -> torch.Tensor:
    """Map any indices into [0, length) by mirroring: a b c | c b a | a b c ..."""
    folded = index % (2 * length)
    return torch.minimum(folded, 2 * length - 1 - folded)

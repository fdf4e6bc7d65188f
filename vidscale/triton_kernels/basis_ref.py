"""Resampling with mixed filters in plain torch: each filter of the basis is a convolution, the results are mixed.

The reference that the faster versions are tested against, and the version for training: M planes of the output's size
cost little at the size of training crops, and autograd differentiates convolutions.
"""

from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from vidscale.triton_kernels.basis_geometry import SMALLEST_SUM, first_taps


def basis_resample_ref(
    plane: Tensor,
    coefficients: Tensor,
    basis: Tensor,
    *,
    step: Fraction,
    siting: tuple[Fraction, Fraction],
    size: tuple[int, int],
    block: tuple[int, int],
) -> Tensor:
    """`basis_resample` of float planes [N, C, H, W] on any device, basis [M, P, P, support_y, support_x].

    Computed in float64 if any input is float64, otherwise in float32.
    """
    dtype = torch.float64 if torch.float64 in (t.dtype for t in (plane, coefficients, basis)) else torch.float32
    values, filters, cells = plane.to(dtype), basis.to(dtype), coefficients.to(dtype)
    n, channels, *_ = plane.shape
    out = torch.zeros((n, channels, *size), dtype=dtype, device=plane.device)
    phases = step.denominator
    for py in range(min(phases, size[0])):
        for px in range(min(phases, size[1])):
            ours = filters[:, py, px]
            strip = _window(values, 2, step, siting[0], ours.shape[1], size[0], py)
            strip = _window(strip, 3, step, siting[1], ours.shape[2], size[1], px)
            responses = F.conv2d(strip.flatten(0, 1)[:, None], ours[:, None], stride=step.numerator)
            mixture = _of_phase(_of_phase(cells, 2, size[0], block[0], py, phases), 3, size[1], block[1], px, phases)
            total = (mixture * ours.sum((1, 2))[:, None, None]).sum(1, keepdim=True).clamp(min=SMALLEST_SUM)
            mixed = (responses.view(n, channels, *responses.shape[1:]) * mixture[:, None]).sum(2)
            out[:, :, py::phases, px::phases] = mixed / total
    return out.to(plane.dtype)


@torch.no_grad()
def basis_codes_ref(
    plane: Tensor, coefficients: Tensor, basis: Tensor, *, bit_depth: int, **geometry: object
) -> Tensor:
    """`basis_resample` of a [H, W] tensor of codes on any device, in float64."""
    values = basis_resample_ref(
        plane.double()[None, None],
        coefficients.double()[None],
        basis.double(),
        **geometry,  # type: ignore[arg-type]
    )
    return (values[0, 0].clamp_(0, 2**bit_depth - 1) + 0.5).floor_().to(plane.dtype)


def _window(
    values: Tensor, axis: int, step: Fraction, siting: Fraction, support: int, length: int, phase: int
) -> Tensor:
    """The samples along an axis that the outputs of a phase need, in order, mirrored at the edges."""
    outputs = (length - phase - 1) // step.denominator + 1
    first = first_taps(step, siting, support)[phase]
    index = torch.arange(first, first + (outputs - 1) * step.numerator + support, device=values.device)
    folded = index % (2 * values.shape[axis])
    return values.index_select(axis, torch.minimum(folded, 2 * values.shape[axis] - 1 - folded))


def _of_phase(cells: Tensor, axis: int, length: int, block: int, phase: int, phases: int) -> Tensor:
    """Coefficients for the outputs of a phase along an axis."""
    return cells.index_select(axis, torch.arange(phase, length, phases, device=cells.device) // block)

"""How far restored pictures are from the originals, by differentiable measures that trainings can mix."""

import torch
from torch import Tensor
from torch.nn import functional as F

PEAK = 255.0

_SSIM_SIDE, _SSIM_SIGMA = 11, 1.5
_SSIM_C1, _SSIM_C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
_VIF_SIDES = (9, 5, 3)  # windows of scales 1 to 3, each with half the samples of the one before
_VIF_NOISE = 2.0  # variance of the eye's noise, squared codes
_TINY = 1e-6


def squared_error(restored: Tensor, original: Tensor) -> Tensor:
    """Mean squared error.

    Args:
        restored, original: [N, 1, H, W] float, code / 255.

    Returns:
        [N], squared codes.
    """
    return (restored - original).square().mean((1, 2, 3)) * PEAK**2


def structural_error(restored: Tensor, original: Tensor) -> Tensor:
    """1 - SSIM with a Gaussian window of 11 samples (Wang et al., "Image Quality Assessment: From Error Visibility to
    Structural Similarity", IEEE TIP 2004); arguments as for `squared_error`.

    Returns:
        [N], 0 for identical pictures; windows that cross an edge are left out.
    """
    window = _gaussian(_SSIM_SIDE, _SSIM_SIGMA).to(restored)
    x, y = original * PEAK, restored * PEAK
    mean_x, mean_y, xx, yy, xy = _moments(x, y, window)
    variance_x, variance_y, covariance = xx - mean_x.square(), yy - mean_y.square(), xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _SSIM_C1) / (mean_x.square() + mean_y.square() + _SSIM_C1)
    structure = (2 * covariance + _SSIM_C2) / (variance_x + variance_y + _SSIM_C2)
    return 1 - (luminance * structure).mean((1, 2, 3))


def information_loss(restored: Tensor, original: Tensor) -> Tensor:
    """1 - VIF over the three coarser scales of VMAF NEG; arguments as for `squared_error`.

    The visual information fidelity (Sheikh and Bovik, "Image Information and Visual Quality", IEEE TIP 2006) in the
    pixel domain is the part of VMAF that sees lost detail. As in its "no enhancement gain" mode, contrast above the
    original's counts for nothing.

    Returns:
        [N], 0 for identical pictures.
    """
    x, y = original * PEAK, restored * PEAK
    scales = []
    for side in _VIF_SIDES:
        window = _gaussian(side, side / 5).to(x)
        x, y = (_filtered(picture, window)[..., ::2, ::2] for picture in (x, y))
        scales.append(_information(x, y, window))
    kept, shown = torch.stack(scales).sum(0) + _TINY
    loss: Tensor = 1 - kept / shown
    return loss


def _information(x: Tensor, y: Tensor, window: Tensor) -> Tensor:
    """Information about the original `x` in `y` and in `x` itself [2, N], bits of all samples."""
    mean_x, mean_y, xx, yy, xy = _moments(x, y, window)
    variance_x, variance_y = (xx - mean_x.square()).clamp(min=0), (yy - mean_y.square()).clamp(min=0)
    gain = (xy - mean_x * mean_y) / (variance_x + _TINY)
    noise = torch.where(gain < 0, variance_y, variance_y - gain * (xy - mean_x * mean_y)).clamp(min=_TINY)
    gain = gain.clamp(0, 1)
    kept = torch.log2(1 + gain.square() * variance_x / (noise + _VIF_NOISE))
    shown = torch.log2(1 + variance_x / _VIF_NOISE)
    return torch.stack([kept, shown]).sum((2, 3, 4))


def _moments(x: Tensor, y: Tensor, window: Tensor) -> tuple[Tensor, ...]:
    """Local means of x, y, x^2, y^2 and xy."""
    return _filtered(torch.cat([x, y, x * x, y * y, x * y]), window).chunk(5)


def _filtered(picture: Tensor, window: Tensor) -> Tensor:
    return F.conv2d(F.conv2d(picture, window.view(1, 1, 1, -1)), window.view(1, 1, -1, 1))


def _gaussian(side: int, sigma: float) -> Tensor:
    line = torch.arange(side, dtype=torch.float32) - side // 2
    window = torch.exp(-line.square() / (2 * sigma**2))
    return window / window.sum()

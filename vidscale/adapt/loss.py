"""The training loss. Squared error alone would blur, which costs more VMAF than it gains PSNR."""

import torch
from torch import Tensor
from torch.nn import functional as F

_WINDOW, _STEP = 8, 4  # HR samples, as in ffmpeg's ssim filter
_C1, _C2 = 0.01**2, 0.03**2 * 63 / 64  # for a peak of 1; ffmpeg has the variances of samples


class Loss:
    """The mean of squared error and 1 - SSIM, each relative to its value before the training, so that it starts at 1.

    SSIM (Wang, Bovik, Sheikh, Simoncelli, TIP 2004) over square windows. Its contrast term keeps a network from trading
    detail for squared error.

    Args:
        restored, source: [N, 1, H, W] float, code / peak: patches before the training.
    """

    def __init__(self, restored: Tensor, source: Tensor) -> None:
        self._error = float((restored - source).square().mean()) or 1.0
        self._difference = float(1 - ssim(restored, source)) or 1.0

    def __call__(self, restored: Tensor, source: Tensor) -> Tensor:
        error = (restored - source).square().mean()
        return (error / self._error + (1 - ssim(restored, source)) / self._difference) / 2


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of pictures [N, 1, H, W], code / peak; uniform windows of 8x8 samples, 4 apart, as in
    ffmpeg's filter. Smaller pictures are one window.
    """

    def mean(x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < _WINDOW:
            return x.mean((2, 3))
        return F.avg_pool2d(F.avg_pool2d(x, _STEP), _WINDOW // _STEP, 1)

    mean_a, mean_b = mean(a), mean(b)
    variances = mean(a * a + b * b) - mean_a * mean_a - mean_b * mean_b
    covariance = mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a * mean_a + mean_b * mean_b + _C1)
    return torch.mean(luminance * (2 * covariance + _C2) / (variances + _C2))

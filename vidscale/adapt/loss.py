"""What is minimised: squared error alone would blur, which VMAF punishes more than PSNR rewards."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from vidscale.models.distortion import information_loss
from vidscale.models.pair import Tune

_WINDOW, _STEP = 8, 4  # HR samples, as in ffmpeg's ssim filter
_SMALLEST = 64  # side of a picture that the coarsest scale of VIF has windows in
_C1, _C2 = 0.01**2, 0.03**2 * 63 / 64  # for a peak of 1; ffmpeg has the variances of samples

Part = Callable[[Tensor, Tensor], Tensor]


class Loss:
    """The mean of some errors, each as a part of what it was before the training: 1 at first.

    Squared error and 1 - SSIM (Wang, Bovik, Sheikh, Simoncelli, TIP 2004), whose contrast term keeps a network from
    trading detail for squared error; for a pair that is tuned for VMAF also the information that VIF misses.

    Args:
        restored, source: [N, 1, H, W] float, code / peak: some patches before the training.
        tune: of the pair.
    """

    def __init__(self, restored: Tensor, source: Tensor, tune: Tune = "psnr") -> None:
        parts: list[Part] = [_squared_error, _dissimilarity]
        if tune == "vmaf" and min(source.shape[-2:]) >= _SMALLEST:
            parts.append(_missed)
        self._parts = [(part, float(part(restored, source)) or 1.0) for part in parts]

    def __call__(self, restored: Tensor, source: Tensor) -> Tensor:
        return torch.stack([part(restored, source) / before for part, before in self._parts]).mean()


def _squared_error(restored: Tensor, source: Tensor) -> Tensor:
    return (restored - source).square().mean()


def _dissimilarity(restored: Tensor, source: Tensor) -> Tensor:
    return 1 - ssim(restored, source)


def _missed(restored: Tensor, source: Tensor) -> Tensor:
    return information_loss(restored, source).mean()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of pictures [N, 1, H, W], code / peak; windows of 8x8 samples with equal weights at
    every fourth place, as in ffmpeg's filter. Smaller pictures are one window.
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

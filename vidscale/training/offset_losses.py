"""Losses that regularise the offsets of content-adaptive resampling.

Both are from Sun and Chen, "Learned Image Downscaling for Upscaling Using Content Adaptive Resampler", IEEE TIP 2020.
Without them offsets drift and the small picture gets noisy.
"""

from math import isqrt

import torch
from torch import Tensor

from vidscale.models.networks.car import Sampling

_TINY = 1e-12  # keeps the derivative of the square root finite at 0


def offset_distance(sampling: Sampling) -> Tensor:
    """Penalises offsets, those of outer taps more, so that taps do not overlap.

    For each tap, the length of (tanh_x, tanh_y) times the tap's distance from the centre relative to the support;
    summed over taps, averaged over pixels.

    Returns:
        scalar, 0 or more.
    """
    support = isqrt(sampling.taps.shape[1])
    line = torch.arange(support, device=sampling.taps.device, dtype=torch.float32) - support // 2
    distance = torch.hypot(line[:, None], line[None, :]).flatten() / support
    length = (sampling.tanh_x.square() + sampling.tanh_y.square() + _TINY).sqrt()
    return (length * distance[:, None, None]).sum(1).mean()


def offset_variation(sampling: Sampling) -> Tensor:
    """Total variation of the offsets between neighbouring pixels, weighted by the taps.

    |horizontal difference of the vertical offsets| and |vertical difference of the horizontal offsets|, each times the
    tap of the first pixel of the difference; summed over taps, averaged over pixels.

    Returns:
        scalar, 0 or more.
    """
    taps, along_x, along_y = sampling.taps, sampling.tanh_x, sampling.tanh_y
    across = (along_y[..., 1:] - along_y[..., :-1]).abs() * taps[..., :-1]
    down = (along_x[..., 1:, :] - along_x[..., :-1, :]).abs() * taps[..., :-1, :]
    return across.sum(1).mean() + down.sum(1).mean()

"""Differentiable rounding to 8-bit codes."""

import math
from typing import Any, Literal

import torch
from torch import Tensor

Quantiser = Literal["soft", "straight"]

_PEAK = 255
_SOFTNESS = 0.5


def quantise(image: Tensor, kind: Quantiser) -> Tensor:
    """Clamps and rounds an image to 8 bits.

    Args:
        image: float, nominally [0, 1].
        kind: gradient: "straight" passes it through unchanged; "soft" multiplies it by the derivative of the soft
            rounding ``x - a sin(2 pi x) / (2 pi)``, a = 0.5, x in codes: small near a code, large between two codes
            (Sun and Chen, "Learned Image Downscaling for Upscaling Using Content Adaptive Resampler", 2020).

    Returns:
        codes / 255, float32, rounded half up; gradients only where `image` lies in [0, 1].
    """
    codes = image.float().clamp(0, 1) * _PEAK
    softness = _SOFTNESS if kind == "soft" else 0.0
    rounded: Tensor = _Round.apply(codes, softness)  # type: ignore[no-untyped-call]
    return rounded / _PEAK


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, codes: Tensor, softness: float) -> Tensor:
        ctx.save_for_backward(codes)
        ctx.softness = softness
        return torch.floor(codes + 0.5)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (codes,) = ctx.saved_tensors
        if ctx.softness == 0:
            return grad, None
        return grad * (1 - ctx.softness * torch.cos(2 * math.pi * codes)), None

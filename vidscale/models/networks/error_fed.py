"""A downscaler for pictures that corrects the small picture by what its upscaler gets wrong."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Upscale = Callable[[Tensor], Tensor]

# R, G and B in the luma of BT.601.
LUMA = (0.299, 0.587, 0.114)

_SLOPE = 0.2
_ORDER = 4  # highest order of the cosines that the basis starts from
# Typical sizes of the features; they only set the scale of the initial weights.
_ERROR, _PROJECTED, _DETAIL, _RESPONSE, _FREE = 0.04, 0.02, 0.03, 0.05, 0.02
_DAMPING = 0.2  # first step along the projected error; steps of 1 and more overshoot
_MEAN, _SPREAD = 0.43, 0.25


class Correction(nn.Module):
    """One step: the change of the small luma, from the upscaler's error.

    The change is the sum of a content-adaptive resampling of the source (14 zero-sum kernels, mixed per pixel), of the
    projected error times a gain per pixel, of the projected error through a linear filter, and of a free term.

    Args:
        scale: HR over LR.
        width: channels.
        depth: convolutions, at least 2.
        reach: support of the linear filter, odd.
    """

    def __init__(self, scale: int, *, width: int, depth: int, reach: int = 5) -> None:
        super().__init__()
        self.scale = scale
        self.basis = nn.Parameter(_cosines(4 * scale))
        kernels = len(self.basis)
        channels = [scale * scale + 3 + kernels, *[width] * (depth - 1), kernels + 2]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, padding_mode="replicate") for a, b in pairwise(channels)
        )
        self.filter = nn.Conv2d(1, 1, reach, padding=reach // 2, padding_mode="replicate", bias=False)
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.get_parameter("weight"), a=_SLOPE)
            nn.init.zeros_(conv.get_parameter("bias"))
        nn.init.zeros_(self.convs[-1].get_parameter("weight"))
        nn.init.zeros_(self.filter.weight)
        with torch.no_grad():  # plain back-projection at first
            self.filter.weight[0, 0, reach // 2, reach // 2] = _DAMPING

    def forward(self, hr: Tensor, lr: Tensor, error: Tensor, projected: Tensor) -> Tensor:
        """The change of `lr`, [N, 1, h, w].

        Args:
            hr: [N, 1, H, W] luma in [0, 1].
            lr: [N, 1, h, w] luma of the small picture.
            error: [N, 1, H, W], luma that the upscaler misses.
            projected: [N, 1, h, w], the error's gradient for `lr`, divided by the squared scale.
        """
        edge = (self.basis.shape[-1] - self.scale) // 2
        basis = self.basis - self.basis.mean((2, 3), keepdim=True)
        responses = F.conv2d(F.pad(hr, [edge] * 4, mode="replicate"), basis, stride=self.scale)
        detail = lr - F.avg_pool2d(F.pad(lr, [1] * 4, mode="replicate"), 3, stride=1)
        features = torch.cat(
            [
                F.pixel_unshuffle(error, self.scale) / _ERROR,
                projected / _PROJECTED,
                detail / _DETAIL,
                (lr - _MEAN) / _SPREAD,
                responses / _RESPONSE,
            ],
            dim=1,
        )
        x = features
        for conv in self.convs[:-1]:
            x = F.leaky_relu(conv(x), _SLOPE, inplace=True)
        x = self.convs[-1](x).float()
        mixed = (x[:, :-2] * responses).sum(1, keepdim=True)
        changed: Tensor = mixed + x[:, -2:-1] * projected + self.filter(projected) + x[:, -1:] * _FREE
        return changed


class ErrorFedDownscaler(nn.Module):
    """Bicubic downscaling, then steps of learned back-projection through the upscaler U.

        HR x ─ bicubic ─ l ─┬─ e = Y(x) - Y(U(l)) ── g = J'e ── Correction ── + d ─ l ─ … ─ LR
                            └─────────────────────────────────────────────────┘   per step

    J is the Jacobian of Y(U(l)) for a change of l that is the same in R, G and B. Only the small luma changes: d is
    added to R, G and B, so Cb and Cr stay those of the bicubic picture and cannot carry luma.

    Args:
        scale: HR over LR.
        width, depth: sizes of the corrections.
        steps: corrections.
    """

    def __init__(self, scale: int, *, width: int = 64, depth: int = 5, steps: int = 1) -> None:
        super().__init__()
        if scale < 2 or width < 1 or depth < 2 or steps < 1:
            raise ValueError(f"no ErrorFedDownscaler of {scale = }, {width = }, {depth = }, {steps = }")
        self.scale = scale
        self.steps = nn.ModuleList(Correction(scale, width=width, depth=depth) for _ in range(steps))

    def forward(self, hr: Tensor, upscale: Upscale) -> Tensor:
        """Downscales pictures.

        Args:
            hr: [N, 3, H, W] float, RGB in [0, 1]; H and W multiples of the scale.
            upscale: the upscaler, from [N, 3, h, w] to [N, 3, H, W].

        Returns:
            [N, 3, h, w] float32, not clamped or rounded. Its gradient is that of the corrections; the projected errors
            are constants to it.
        """
        lr, target = bicubic(hr, self.scale), luma(hr)
        for step in self.steps:
            error, projected = back_project(target, lr, upscale)
            lr = lr + step(target, luma(lr), error, projected / self.scale**2).float()
        return lr


def back_project(target: Tensor, lr: Tensor, upscale: Upscale) -> tuple[Tensor, Tensor]:
    """The luma error of the restored picture, and its gradient for a change of the small luma.

    Args:
        target: [N, 1, H, W] luma.
        lr: [N, 3, h, w] RGB.
        upscale: the upscaler.

    Returns:
        error [N, 1, H, W] and gradient [N, 1, h, w], without a graph.
    """
    with torch.enable_grad():
        change = torch.zeros_like(lr[:, :1]).requires_grad_()
        restored = luma(upscale(lr.detach() + change).float())
        error = target - restored.detach()
        (gradient,) = torch.autograd.grad(restored, change, error)
    return error, gradient


def bicubic(hr: Tensor, scale: int) -> Tensor:
    """Antialiased bicubic downscaling (a = -0.5), [N, C, H, W] to [N, C, H / scale, W / scale], not rounded."""
    size = hr.shape[2] // scale, hr.shape[3] // scale
    return F.interpolate(hr.float(), size=size, mode="bicubic", antialias=True)


def luma(image: Tensor) -> Tensor:
    """Luma of RGB in [0, 1]: [N, 3, H, W] to [N, 1, H, W]."""
    red, green, blue = image.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def _cosines(support: int) -> Tensor:
    """Zero-sum kernels [14, 1, support, support]: windowed cosines of orders up to 4 in total."""
    position = (torch.arange(support) + 0.5) / support
    window = torch.sin(math.pi * position)
    lines = [torch.cos(math.pi * order * position) * window for order in range(_ORDER + 1)]
    kernels = torch.stack(
        [torch.outer(lines[i], lines[j]) for i in range(_ORDER + 1) for j in range(_ORDER + 1 - i) if i + j]
    )
    kernels = kernels - kernels.mean((1, 2), keepdim=True)
    return (kernels / kernels.abs().sum((1, 2), keepdim=True))[:, None]

"""A downscaler for pictures that corrects the small picture by what its upscaler gets wrong."""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.models.cards import ERROR_FED, Sizes
from vidscale.models.networks.layers import shape_of, with_weights
from vidscale.models.networks.tiling import TileRule, run_fitted
from vidscale.models.weight_files import number_of

Upscale = Callable[[Tensor], Tensor]

# R, G and B in the luma of BT.601.
LUMA = (0.299, 0.587, 0.114)

_SLOPE = 0.2
_ORDER = 4  # highest order of the cosines that the basis starts from
# Typical sizes of the features; they only set the scale of the initial weights.
_ERROR, _PROJECTED, _DETAIL, _RESPONSE, _FREE = 0.04, 0.02, 0.03, 0.05, 0.02
_DAMPING = 0.2  # first step along the projected error; steps of 1 and more overshoot
_MEAN, _SPREAD = 0.43, 0.25
_SUPPORT = 4  # of the basis, in LR pixels
_REACH = 32  # LR pixels
_TILE = 512  # HR pixels
# Of the refinements: a step's size, half a code; decay of the gradient's mean and squared mean; keeps 0 / 0 at 0.
_REFINEMENT, _MOMENTUM, _MEMORY, _LEAST_GRADIENT = 2e-3, 0.9, 0.999, 1e-6
_FARTHEST = 10 ** (-34.2 / 20)  # RMS of the change in any neighbourhood: 34.2 dB, so that pictures keep 34 dB
_NEIGHBOURHOOD = 33  # LR pixels, odd; smaller ones limit more and gain less


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
        self.basis = nn.Parameter(_cosines(_SUPPORT * scale))
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
                            └─────────────────────────────────────────────────┘  per repeat

    J is the Jacobian of Y(U(l)) for a change of l that is the same in R, G and B. Only the small luma changes: d is
    added to R, G and B, so Cb and Cr stay those of the bicubic picture and cannot carry luma. Refinements follow: steps
    without weights along g, see `refine`. Last, the whole change is bounded, see `bounded`.

    Args:
        scale: HR over LR.
        width, depth: sizes of the correction.
        repeats: how often it is applied, with the same weights.
        refinements: steps of `refine`. Stored with the weights, as `repeats`: neither can be read from their shapes.
    """

    repeats: Tensor
    refinements: Tensor

    def __init__(self, scale: int, *, width: int = 64, depth: int = 5, repeats: int = 1, refinements: int = 0) -> None:
        super().__init__()
        if scale < 2 or width < 1 or depth < 2 or repeats < 1 or refinements < 0:
            raise ValueError(
                f"no ErrorFedDownscaler of {scale = }, {width = }, {depth = }, {repeats = }, {refinements = }"
            )
        self.scale = scale
        self.correction = Correction(scale, width=width, depth=depth)
        self.register_buffer("repeats", torch.tensor(repeats))
        self.register_buffer("refinements", torch.tensor(refinements))

    def forward(self, hr: Tensor, upscale: Upscale) -> Tensor:
        """Downscales pictures.

        Args:
            hr: [N, 3, H, W] float, RGB in [0, 1]; H and W multiples of the scale.
            upscale: the upscaler, from [N, 3, h, w] to [N, 3, H, W].

        Returns:
            [N, 3, h, w] float32, not clamped or rounded. Its gradient is that of the corrections; the projected errors,
            the refinements and the bound's factor are constants to it.
        """
        plain, target = bicubic(hr, self.scale), luma(hr)
        lr = plain
        for _ in range(int(self.repeats)):
            error, projected = back_project(target, lr, upscale)
            lr = lr + self.correction(target, luma(lr), error, projected / self.scale**2).float()
        if number := int(self.refinements):
            lr = lr + refine(target, lr.detach(), upscale, number)
        return plain + bounded(lr - plain)

    @torch.no_grad()
    def downscale(
        self, image: Tensor, upscale: Upscale, *, out_dtype: torch.dtype | None = None, bit_depth: int = 8
    ) -> Tensor:
        """Downscales an image without tiling and without gradients of the weights.

        Args:
            image: [N, 3, H, W] float, RGB in [0, 1], any size.
            upscale: the upscaler.
            out_dtype: uint8 or uint16 for rounded codes; None for float32.
            bit_depth: bits per code: 8 with uint8, 9 to 16 with uint16.

        Returns:
            [N, 3, ceil(H / scale), ceil(W / scale)] of `out_dtype`; floats in [0, 1].
        """
        rule = TileRule(factor=Fraction(1, self.scale), margin=0, multiple=self.scale)
        lr = run_fitted(lambda fitted: self(fitted, upscale).clamp_(0, 1), image, rule)
        return lr if out_dtype is None else (lr * ((1 << bit_depth) - 1)).round_().to(out_dtype)

    @property
    def tile_rule(self) -> TileRule:
        """Tiling limits.

        Each step reaches twice as far as the upscaler, but next to nothing comes from there: with this margin, tiled
        and whole results differ by one 8-bit code in few of the samples near a seam.
        """
        return TileRule(factor=Fraction(1, self.scale), margin=_REACH * self.scale, multiple=self.scale, tile=_TILE)

    @property
    def sizes(self) -> Sizes:
        """Kind and sizes for the card."""
        convs = self.correction.convs
        sizes: Sizes = {"network": ERROR_FED, "scale": self.scale}
        sizes |= {"width": convs[0].get_parameter("weight").shape[0], "depth": len(convs)}
        return sizes | {"repeats": int(self.repeats), "refinements": int(self.refinements)}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Self:
        """Builds the network from its weights; its size is read from their shapes.

        Raises:
            ModelError: missing, unexpected or misshapen tensors, or values not finite.
        """
        scale = shape_of("correction.basis", state)[-1] // _SUPPORT
        width = shape_of("correction.convs.0.weight", state)[0]
        depth = number_of(r"correction\.convs", state)
        with torch.device("meta"):
            network = cls(max(scale, 2), width=max(width, 1), depth=max(depth, 2))
        return with_weights(network, state)


def refine(target: Tensor, lr: Tensor, upscale: Upscale, number: int) -> Tensor:
    """A change of the small luma that lowers the restored picture's luma error further, without learned weights.

    Steps of Adam, which adapt to each pixel: where U hardly reacts to a change, gradients are small, steps are not.

    Args:
        target: [N, 1, H, W] luma.
        lr: [N, 3, h, w] RGB.
        upscale: the upscaler.
        number: steps.

    Returns:
        [N, 1, h, w] float32, without a graph.
    """
    change = mean = square = torch.zeros_like(lr[:, :1])
    for step in range(1, number + 1):
        _, gradient = back_project(target, lr + change, upscale)
        mean = torch.lerp(gradient, mean, _MOMENTUM)
        square = torch.lerp(gradient.square(), square, _MEMORY)
        spread = (square / (1 - _MEMORY**step)).sqrt() + _LEAST_GRADIENT
        change = change + _REFINEMENT / (1 - _MOMENTUM**step) * mean / spread
    return change


def bounded(change: Tensor) -> Tensor:
    """A change of the small picture, weaker where its RMS in the neighbourhood exceeds 34.2 dB.

    The small picture shall be good to look at by itself; in fine texture, corrections and refinements add up to more.
    The bound is local, so that tiles get the same.

    Args:
        change: [N, 3, h, w], equal in R, G and B.
    """
    edge = _NEIGHBOURHOOD // 2
    squares = F.pad(change.detach()[:, :1].square(), [edge] * 4, mode="replicate")
    mean = F.avg_pool2d(squares, _NEIGHBOURHOOD, stride=1)
    return change * (_FARTHEST / mean.sqrt().clamp(min=_FARTHEST))


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

"""A downscaler that knows its upscaler: one learned step of back-projection after a fixed filter."""

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.models.back_projection import DETAIL, ERROR, MEAN, PROJECTED, SPREAD
from vidscale.models.cards import BACK_PROJECTION, Sizes
from vidscale.models.chains import SLOPE
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.models.networks.layers import shape_of, with_weights
from vidscale.models.weight_files import number_of

_BLUR = (0.25, 0.5, 0.25)


class BackProjection(nn.Module):
    """Changes a small picture so that its upscaler restores it better for the bits that it costs.

        HR x, LR l = filter(x) ─ guide ─ e = x - U(l) ─┬───────── cells ── conv ─ conv ─ conv ─ a, b, c
                                   │                   │          + d, l           └─ gain and bias by strength
                                   └ transposed ── g = J'e                                      │
                                                   d = l - blur(l)     l + filter(g, d) + a g + b d + c

    The guide U is a small upscaler, fixed while the downscaler is trained; J is its Jacobian at l. A step along g alone
    (iterative back-projection, Irani and Peleg, "Improving Resolution by Image Registration", 1991) spends more
    bits than it saves; the network learns where it pays. It works on cells as `CompactUpscaler` does.

    Args:
        guide: the upscaler whose error is projected back; its weights are part of the downscaler.
        width: channels.
        depth: convolutions of 3x3 cells, at least 2.
        reach: support of the linear filter of g and d in samples, odd.

    Attributes:
        sharpness: of the filter where it is used without the network, see
            `vidscale.triton_kernels.polyphase_filters.Sharpened`.
        margin: LR samples around a sample that the correction depends on, besides what g depends on.
    """

    def __init__(self, guide: CompactUpscaler, *, width: int = 12, depth: int = 3, reach: int = 5) -> None:
        super().__init__()
        if width < 1 or depth < 2 or reach < 1 or reach % 2 == 0:
            raise ValueError(f"no BackProjection of {width = }, {depth = }, {reach = }")
        self.guide = guide.requires_grad_(requires_grad=False)
        self.sharpness = 0.0
        self.cell = guide.cell
        small, large = self.cell.small**2, self.cell.large**2
        channels = [large + 3 * small, *[width] * (depth - 1), 3 * small]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3) for a, b in pairwise(channels))
        self.by_strength = nn.ModuleList(nn.Linear(2, 2 * b) for b in channels[1:])
        self.filter = nn.Conv2d(2, 1, reach, bias=False)
        self.filter_by_strength = nn.Linear(2, 2)
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """No correction at all: the last convolution and the filter are zero."""
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.get_parameter("weight"), a=SLOPE)
            nn.init.zeros_(conv.get_parameter("bias"))
        for layer in (self.convs[-1], self.filter, *self.by_strength, self.filter_by_strength):
            nn.init.zeros_(layer.get_parameter("weight"))
        for linear in (*self.by_strength, self.filter_by_strength):
            nn.init.zeros_(linear.get_parameter("bias"))

    @property
    def scale(self) -> Fraction:
        """HR over LR."""
        return self.guide.scale

    def forward(self, hr: Tensor, lr: Tensor, strength: Tensor, peak: int = 255) -> Tensor:
        """Corrects small pictures.

        Args:
            hr: [N, 1, H, W] float, code / peak; whole cells.
            lr: [N, 1, h, w] float, code / peak: `hr` downscaled by the filter and rounded to codes.
            strength: [N] float, crf at which the small picture will be encoded.
            peak: highest code.

        Returns:
            [N, 1, h, w], not rounded or clamped. Only the correction has a gradient, not the back-projection.
        """
        error, projected = self.back_project(hr, lr, strength, peak)
        return self.correct(lr, error, projected, strength)

    def back_project(self, hr: Tensor, lr: Tensor, strength: Tensor, peak: int = 255) -> tuple[Tensor, Tensor]:
        """The upscaler's error and its gradient with respect to the small picture; arguments as for `forward`.

        Outside the picture, samples are repeated and the error is zero.

        Returns:
            error [N, 1, H, W]: hr - U(lr), U rounded to codes / peak; g [N, 1, h, w]: J'e divided by the squared scale.
        """
        edge = self.guide.margin * self.cell.small
        with torch.enable_grad():
            start = F.pad(lr.detach(), [edge] * 4, mode="replicate").requires_grad_()
            restored = self.guide(start, strength)
            error = hr - (restored.detach() * peak + 0.5).floor().clamp(0, peak) / peak
            (gradient,) = torch.autograd.grad(restored, start, error)
        inner = gradient[..., edge : gradient.shape[2] - edge, edge : gradient.shape[3] - edge]
        return error, inner / float(self.scale) ** 2

    def correct(self, lr: Tensor, error: Tensor, projected: Tensor, strength: Tensor) -> Tensor:
        """The corrected picture from the results of `back_project`."""
        condition = self.guide.condition(strength)
        small, large = self.cell
        detail = lr - _blurred(lr)
        features = torch.cat(
            [
                F.pixel_unshuffle(error, large) / ERROR,
                F.pixel_unshuffle(detail, small) / DETAIL,
                F.pixel_unshuffle(projected, small) / PROJECTED,
                (F.pixel_unshuffle(lr, small) - MEAN) / SPREAD,
            ],
            dim=1,
        )
        x = F.pad(features, [len(self.convs)] * 4, mode="replicate")
        for index, (conv, linear) in enumerate(zip(self.convs, self.by_strength, strict=True)):
            gain, bias = linear(condition)[..., None, None].chunk(2, dim=1)
            x = conv(x) * (1 + gain) + bias
            if index < len(self.convs) - 1:
                x = F.leaky_relu(x, SLOPE)
        of_projected, of_detail, free = (F.pixel_shuffle(part, small) for part in x.chunk(3, dim=1))
        gains = 1 + self.filter_by_strength(condition)[..., None, None]
        both = torch.cat([projected, detail], dim=1) * gains
        edge = self.filter.kernel_size[0] // 2
        filtered = self.filter(F.pad(both, [edge] * 4, mode="replicate"))
        corrected: Tensor = lr + filtered + of_projected * projected + of_detail * detail + free * DETAIL
        return corrected

    @property
    def sizes(self) -> Sizes:
        """Kind and sizes for the card, and those of the guide."""
        sizes: Sizes = {
            "network": BACK_PROJECTION,
            "family": "lanczos",
            "sharpness": self.sharpness,
            "width": self.convs[0].get_parameter("weight").shape[0],
            "depth": len(self.convs),
            "reach": self.filter.kernel_size[0],
        }
        return sizes | {f"guide_{name}": size for name, size in self.guide.sizes.items() if name != "network"}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Self:
        """Builds the network from its weights; its size is read from their shapes.

        Raises:
            ModelError: missing, unexpected or misshapen tensors, or values not finite.
        """
        guide = {name.removeprefix("guide."): value for name, value in state.items() if name.startswith("guide.")}
        width, *_ = shape_of("convs.0.weight", state)
        _, _, reach, _ = shape_of("filter.weight", state)
        depth = number_of("convs", {name: value for name, value in state.items() if not name.startswith("guide.")})
        made = cls(CompactUpscaler.from_state_dict(guide), width=width, depth=depth, reach=reach)
        return with_weights(made, state)


def _blurred(luma: Tensor) -> Tensor:
    """Binomial 3x3 blur, edges repeated."""
    line = torch.tensor(_BLUR, dtype=luma.dtype, device=luma.device)
    padded = F.pad(luma, [1] * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, line.view(1, 1, 3, 1)), line.view(1, 1, 1, 3))

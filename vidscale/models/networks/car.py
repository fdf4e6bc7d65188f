"""The downscaler of CAR: a network that predicts resampling taps and offsets for each LR pixel."""

from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.errors import ModelError
from vidscale.models.cards import Sizes
from vidscale.models.networks.layers import MeanShift, shape_of, with_weights
from vidscale.models.networks.tiling import TileRule, run_fitted
from vidscale.models.weight_files import number_of
from vidscale.triton_kernels.adaptive import adaptive_resample, adaptive_resample_heads

MULTIPLE = 8  # the network's coarsest grid, in HR pixels
MINIMUM = 16  # two pixels of that grid: reflection padding needs more than one

_SLOPE = 0.2
_SMALLEST_TAP = 1e-6
_TAP_MARGIN = 0.1  # how far training may push a tap beyond its bounds
_TRUNK_CONVS = 3


class Heads(NamedTuple):
    """Output of the network before activation; K = 3 * scale + 1.

    Attributes:
        taps, offset_x, offset_y: [N, K*K, h, w] float, channel ky * K + kx.
    """

    taps: Tensor
    offset_x: Tensor
    offset_y: Tensor

    def activate(self) -> "Sampling":
        """Normalised taps and tanh offsets for the losses and the resampling in training, always float32."""
        taps: Tensor = _Clamp.apply(self.taps.float())  # type: ignore[no-untyped-call]
        taps = taps / taps.sum(1, keepdim=True)
        return Sampling(taps, self.offset_x.float().tanh(), self.offset_y.float().tanh())


class _Clamp(torch.autograd.Function):
    """Clamps taps with a straight-through gradient, except for gradients that push a tap beyond a margin.

    With the gradient of a plain clamp, a tap pushed below its bound never recovers, and training ends with taps that
    pick a single sample. Passing only gradients that bring a clamped tap back would rectify noise: for a bias shared by
    all pixels, only increases would count, and all taps would grow into a blur.
    """

    @staticmethod
    def forward(ctx: Any, taps: Tensor) -> Tensor:
        ctx.save_for_backward(taps)
        return taps.clamp(_SMALLEST_TAP, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (taps,) = ctx.saved_tensors
        goes_astray = ((taps < -_TAP_MARGIN) & (grad > 0)) | ((taps > 1 + _TAP_MARGIN) & (grad < 0))
        return grad.masked_fill(goes_astray, 0)


class Sampling(NamedTuple):
    """Taps and offsets of each LR pixel.

    Attributes:
        taps: [N, K*K, h, w] float32, positive, sum 1 over K*K.
        tanh_x, tanh_y: [N, K*K, h, w] float32, -1 to 1: offsets in units of `scale` HR pixels, right and down positive.
    """

    taps: Tensor
    tanh_x: Tensor
    tanh_y: Tensor

    def resample(self, image: Tensor, scale: int) -> Tensor:
        """Resamples an image, with gradients for the image, the taps and the offsets.

        Args:
            image: [N, C, H, W] float, of the size that the network was given.
            scale: scale of the network.

        Returns:
            [N, C, H / scale, W / scale], in the image's range.
        """
        return adaptive_resample(image, self.taps, self.tanh_x * scale, self.tanh_y * scale, scale=scale)


def _conv(into: int, out: int, support: int) -> nn.Conv2d:
    return nn.Conv2d(into, out, support, padding=support // 2, padding_mode="reflect" if support > 1 else "zeros")


class LeakyBlock(nn.Module):
    """Residual block: x + conv(leaky_relu(conv(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width, 3)
        self.last = _conv(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.last(F.leaky_relu(self.first(x), _SLOPE, inplace=True))
        return x + added


class Trunk(nn.Module):
    """Three convolutions at 1/8, then a pixel shuffle to LR size."""

    def __init__(self, width: int, out: int, factor: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_conv(width, width, 3) for _ in range(_TRUNK_CONVS))
        self.enlarge = _conv(width, out * factor * factor, 1)
        self.last = _conv(out, out, 3)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.relu(conv(x), inplace=True)
        return F.relu(self.last(F.pixel_shuffle(self.enlarge(x), self.factor)), inplace=True)


class Head(nn.Module):
    """K*K values per LR pixel."""

    def __init__(self, width: int, taps: int) -> None:
        super().__init__()
        self.hidden = _conv(width, width, 3)
        self.last = _conv(width, taps, 3)

    def forward(self, x: Tensor) -> Tensor:
        numbers: Tensor = self.last(F.relu(self.hidden(x), inplace=True))
        return numbers


class ResamplerNet(nn.Module):
    """The resampler network of CAR.

    Sun and Chen, "Learned Image Downscaling for Upscaling Using Content Adaptive Resampler", IEEE TIP 2020.

        image ─ -mean ─ 5x5 ─ to_half ─ to_quarter ─┬─ blocks ─ + ─ to_eighth ─┬─ taps trunk ───── taps head
         HW             HW      1/2        1/4      └───────────┘     1/8      │
                                                                               └─ offsets trunk ┬─ offset_x head
        (to_half, …: space-to-depth by 2, then 1x1)                                1/8 ─▶ hw    └─ offset_y head

    The picture is then resampled: each LR pixel is a sum of K*K bilinear samples around it, K = 3 * scale + 1, with
    taps and offsets of its own, the same for R, G and B.

    Space-to-depth has the order of `torch.nn.functional.pixel_unshuffle`, the inverse of the pixel shuffle, as the
    paper calls it: channel c of a 2x2 block's sample (row, column) becomes 4 c + 2 row + column. The published weights
    are read in that order. Taps start as a Gaussian of scale / 4 HR pixels, so that training starts from a picture.

    Args:
        scale: 2 or 4.
        stem: channels at full size.
        body: channels at 1/2 and 1/4.
        trunk: channels at 1/8. All that is known of 8x8 pixels, 192 numbers, passes through them.
        heads: channels after the trunks, at the LR's size, where most of the time goes; None for as many as `trunk`.
        blocks: residual blocks at 1/4, at least 1.
    """

    def __init__(
        self,
        scale: int,
        *,
        stem: int = 64,
        body: int = 128,
        trunk: int = 256,
        heads: int | None = None,
        blocks: int = 5,
    ) -> None:
        super().__init__()
        heads = trunk if heads is None else heads
        if scale not in (2, 4) or min(stem, body, trunk, heads, blocks) < 1:
            raise ValueError(
                f"no ResamplerNet of {scale = }, {stem = }, {body = }, {trunk = }, {heads = }, {blocks = }"
            )
        self.scale = scale
        support = 3 * scale + 1
        self.subtract_mean = MeanShift(-1)
        self.stem = _conv(3, stem, 5)
        self.to_half = _conv(4 * stem, body, 1)
        self.to_quarter = _conv(4 * body, body, 1)
        self.blocks = nn.Sequential(*(LeakyBlock(body) for _ in range(blocks)))
        self.to_eighth = _conv(4 * body, trunk, 1)
        self.taps_trunk = Trunk(trunk, heads, MULTIPLE // scale)
        self.taps_head = Head(heads, support * support)
        self.offsets_trunk = Trunk(trunk, heads, MULTIPLE // scale)
        self.offset_x_head = Head(heads, support * support)
        self.offset_y_head = Head(heads, support * support)
        self._start(support)

    @torch.no_grad()
    def _start(self, support: int) -> None:
        """Initial weights: a Gaussian downscaler, and convolutions that preserve the variance (He et al. 2015).

        With torch's default initialisation each ReLU layer halves its input, so that after ten of them taps would be
        the same everywhere, and training does not recover from that.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, a=_SLOPE)
                module.bias.zero_()
        for block in self.blocks:
            torch.nn.init.zeros_(block.get_parameter("last.weight"))
        for head in (self.taps_head, self.offset_x_head, self.offset_y_head):
            head.last.weight.zero_()
        distance = torch.arange(support) - support // 2
        line = torch.exp(-0.5 * (distance / (self.scale / 4)) ** 2)
        if self.taps_head.last.bias is not None:  # in the middle of the unclamped range
            self.taps_head.last.bias.copy_(torch.outer(line, line).flatten() / 2)

    def forward(self, image: Tensor) -> Heads:
        """Predicts taps and offsets, not yet activated.

        Args:
            image: [N, 3, H, W] float, RGB in [0, 1]; H and W multiples of 8, at least 16.

        Returns:
            heads at [H / scale, W / scale], in the dtype of the convolutions.

        Raises:
            ValueError: invalid image shape.
        """
        height, width = image.shape[-2:]
        if (
            image.ndim != 4
            or image.shape[1] != 3
            or height % MULTIPLE
            or width % MULTIPLE
            or min(height, width) < MINIMUM
        ):
            raise ValueError(
                f"sides of RGB images must be multiples of {MULTIPLE}, at least {MINIMUM}: {image.shape = }"
            )
        x = self.stem(self.subtract_mean(image).to(self.stem.weight.dtype))
        x = F.leaky_relu(x, _SLOPE, inplace=True)
        x = self.to_half(F.pixel_unshuffle(x, 2))
        x = self.to_quarter(F.pixel_unshuffle(x, 2))
        x = x + self.blocks(x)
        x = self.to_eighth(F.pixel_unshuffle(x, 2))
        taps = self.taps_head(self.taps_trunk(x))
        offsets = self.offsets_trunk(x)
        return Heads(taps, self.offset_x_head(offsets), self.offset_y_head(offsets))

    @torch.no_grad()
    def downscale(self, image: Tensor, *, out_dtype: torch.dtype | None = None, bit_depth: int = 8) -> Tensor:
        """Downscales an image without gradients and without tiling; see `vidscale.models.networks.tiling`.

        Args:
            image: [N, 3, H, W] float, RGB in [0, 1], any size.
            out_dtype: uint8 or uint16 for rounded codes; None for the image's own dtype.
            bit_depth: bits per code: 8 with uint8, 9 to 16 with uint16.

        Returns:
            [N, 3, ceil(H / scale), ceil(W / scale)] of `out_dtype`; floats in the image's range.
        """

        def run(fitted: Tensor) -> Tensor:
            heads: Heads = self(fitted)
            return adaptive_resample_heads(fitted, *heads, scale=self.scale, out_dtype=out_dtype, bit_depth=bit_depth)

        return run_fitted(run, image, self.tile_rule)

    @property
    def tile_rule(self) -> TileRule:
        """Tiling limits.

        The margin is the full receptive field: with five blocks 74 HR pixels at x2 and 82 at x4 (80 and 88 rounded up
        to multiples). Tiled and whole results then differ only by float rounding.
        """
        eighths = ceil(3 * self.scale / MULTIPLE)  # three convolutions at LR size
        eighths += _TRUNK_CONVS + len(self.blocks)  # each block has two at 1/4
        margin = MULTIPLE * eighths + 2  # the 5x5 stem
        return TileRule(factor=Fraction(1, self.scale), margin=margin, multiple=MULTIPLE, minimum=MINIMUM, tile=1536)

    @property
    def sizes(self) -> Sizes:
        """Kind and sizes for the card."""
        widths: Sizes = {"stem": self.stem.out_channels, "body": self.to_half.out_channels}
        widths |= {"trunk": self.to_eighth.out_channels, "heads": self.taps_head.last.in_channels}
        return widths | {"network": "resampler", "scale": self.scale, "blocks": len(self.blocks)}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], shown: Mapping[str, str] | None = None) -> Self:
        """Builds the network from its weights; its size is read from their shapes.

        Args:
            state: tensors by this class's names.
            shown: expected tensors and their names for messages; None if `state` is complete and uses these names.

        Raises:
            ModelError: missing, unexpected or misshapen tensors, or values not finite.
        """
        taps, heads, *_ = shape_of("taps_head.last.weight", state, shown)
        stem = shape_of("stem.weight", state, shown)[0]
        body = shape_of("to_half.weight", state, shown)[0]
        trunk = shape_of("to_eighth.weight", state, shown)[0]
        scale = {49: 2, 169: 4}.get(taps)
        if scale is None:
            raise ModelError(f"weights do not fit: {taps} taps, not 7x7 (scale 2) or 13x13 (scale 4)")
        with torch.device("meta"):
            network = cls(
                scale,
                stem=max(stem, 1),
                body=max(body, 1),
                trunk=max(trunk, 1),
                heads=max(heads, 1),
                blocks=number_of("blocks", [*state, *(shown or {})]),
            )
        return with_weights(network, state, shown)

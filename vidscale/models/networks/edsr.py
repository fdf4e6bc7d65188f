"""EDSR: an upscaler with residual blocks and no normalisation."""

from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.models.cards import Sizes
from vidscale.models.networks.layers import MeanShift, shape_of, with_weights
from vidscale.models.networks.tiling import RgbUpscaler, TileRule
from vidscale.models.weight_files import number_of

# Factors of the pixel shuffles, one after the other.
_STAGES = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}


class ResidualBlock(nn.Module):
    """Residual block: x + res_scale * conv(relu(conv(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, res_scale: Tensor) -> Tensor:
        added: Tensor = self.second(F.relu(self.first(x), inplace=True))
        return x + added * res_scale


class EDSR(RgbUpscaler):
    """Enhanced deep residual network for super-resolution.

    Lim, Son, Kim, Nah, Lee, "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017.

        image ─ -mean ─ head ─┬─ blocks ─ body_end ─ + ─ enlarge (conv, pixel shuffle) ─ tail ─ +mean ─ image
          LR            3x3   └──────────────────────┘      once, for x4 twice, x8 thrice   3x3           HR

    32 blocks of 256 channels with res_scale 0.1 are the paper's network (the upscaler of CAR); 16 of 64 with
    res_scale 1 are its "baseline".

    Args:
        scale: 2, 3, 4 or 8.
        blocks: residual blocks, at least 1.
        width: channels, at least 1.
        res_scale: residual scaling. Stored with the weights, because it cannot be read from their shapes.
    """

    res_scale: Tensor

    def __init__(self, scale: int, *, blocks: int = 16, width: int = 64, res_scale: float = 1.0) -> None:
        super().__init__()
        if scale not in _STAGES or blocks < 1 or width < 1:
            raise ValueError(f"no EDSR of {scale = }, {blocks = }, {width = }")
        self.scale = scale
        self.register_buffer("res_scale", torch.tensor(res_scale))
        self.subtract_mean = MeanShift(-1)
        self.add_mean = MeanShift(+1)
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
        self.body_end = nn.Conv2d(width, width, 3, padding=1)
        self.enlarge = nn.ModuleList(
            nn.Conv2d(width, factor * factor * width, 3, padding=1) for factor in _STAGES[scale]
        )
        self.tail = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Upscales images.

        Args:
            image: [N, 3, h, w] float, RGB in [0, 1], any size.

        Returns:
            [N, 3, h * scale, w * scale] float32, not clamped. Under autocast, or with bfloat16 weights, the
            convolutions run in that dtype; the mean is subtracted and added back in float32.
        """
        x = self.head(self.subtract_mean(image).to(self.head.weight.dtype))
        features = x
        for block in self.blocks:
            features = block(features, self.res_scale)
        x = x + self.body_end(features)
        for conv, factor in zip(self.enlarge, _STAGES[self.scale], strict=True):
            x = F.pixel_shuffle(conv(x), factor)
        upscaled: Tensor = self.add_mean(self.tail(x))
        return upscaled

    @property
    def tile_rule(self) -> TileRule:
        """Tiling limits.

        The margin is the full receptive field, 68 LR pixels with 32 blocks. Tiled and whole results then differ only by
        float rounding.
        """
        reach = 1  # HR pixels, of the tail
        for factor in reversed(_STAGES[self.scale]):
            reach = ceil(reach / factor) + 1
        margin = reach + 2 + 2 * len(self.blocks)
        return TileRule(factor=Fraction(self.scale), margin=margin, tile=1024 // self.scale)

    @property
    def sizes(self) -> Sizes:
        """Kind and sizes for the card."""
        sizes: Sizes = {"network": "edsr", "scale": self.scale, "blocks": len(self.blocks)}
        return sizes | {"width": self.head.out_channels, "res_scale": round(float(self.res_scale), 6)}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], shown: Mapping[str, str] | None = None) -> Self:
        """Builds the network from its weights; its size is read from their shapes.

        Args:
            state: tensors by this class's names.
            shown: expected tensors and their names for messages; None if `state` is complete and uses these names.

        Raises:
            ModelError: missing, unexpected or misshapen tensors, or values not finite.
        """
        width = shape_of("head.weight", state, shown)[0]
        with torch.device("meta"):
            network = cls(
                _scale_in(state, shown), blocks=number_of("blocks", [*state, *(shown or {})]), width=max(width, 1)
            )
        return with_weights(network, state, shown)


def _scale_in(state: Mapping[str, Tensor], shown: Mapping[str, str] | None) -> int:
    """The scale, from the convolutions before the pixel shuffles; invalid combinations fail later, by name."""
    out, into, *_ = shape_of("enlarge.0.weight", state, shown)
    if out == 9 * into:
        return 3
    return {1: 2, 2: 4}.get(number_of("enlarge", state), 8)

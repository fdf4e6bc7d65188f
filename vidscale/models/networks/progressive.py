"""Progressive upscaling: a chain of small networks, each of which upscales RGB by a small factor."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil, isqrt, prod
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.errors import ModelError
from vidscale.models.cards import Sizes
from vidscale.models.networks.layers import shape_of, with_weights
from vidscale.models.networks.tiling import RgbUpscaler, TileRule
from vidscale.models.weight_files import number_of

StageKind = Literal["residual", "original"]

_CUBIC_REACH = 2  # LR samples to each side used by bicubic interpolation
_HR_TILE = 1024


class ResidualStage(nn.Module):
    """Bicubic interpolation plus a learned residual, from residual blocks at LR size; no normalisation.

        image ─┬─ 3x3 ─┬─ blocks ─ + ─ 3x3 ─ pixel shuffle ─ + ─ image
         LR    │       └───────────┘                         │    HR
               └─ bicubic (a = -0.5) ────────────────────────┘

    Edges are replicated. Initially equal to the interpolation.

    Args:
        scale: 1 or more.
        width: channels.
        blocks: residual blocks of two 3x3.
    """

    def __init__(self, scale: int, *, width: int, blocks: int) -> None:
        super().__init__()
        if scale < 1 or width < 1 or blocks < 1:
            raise ValueError(f"no ResidualStage of {scale = }, {width = }, {blocks = }")
        self.scale = scale
        self.head = _conv(3, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(_conv(width, width), nn.ReLU(), _conv(width, width)) for _ in range(blocks)
        )
        self.tail = _conv(width, 3 * scale * scale)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.get_parameter("bias"))

    def forward(self, image: Tensor) -> Tensor:
        """[N, 3, h, w] to [N, 3, h * scale, w * scale], float32 RGB in [0, 1], not clamped."""
        features = x = self.head(image.to(self.head.weight.dtype))
        for block in self.blocks:
            x = x + block(x)
        added = F.pixel_shuffle(self.tail(x + features).float(), self.scale)
        return added + F.interpolate(image, scale_factor=float(self.scale), mode="bicubic", antialias=True)

    @property
    def reach(self) -> int:
        """LR pixels around a pixel that its output depends on."""
        return max(2 + 2 * len(self.blocks), _CUBIC_REACH)

    @property
    def multiple(self) -> int:
        """Of what the sides of an image must be multiples."""
        return 1


class OriginalStage(nn.Module):
    """The original stage design: two halvings, three doublings; 716 947 parameters.

        image ─ 5x5/2, 16 ─ 5x5/2, 64 ─ 5x5, 256 ─ 4x4*2, 64 ─ 4x4*2, 16 ─ 4x4*2, 3 ─ tanh ─ image
         LR        1/2         1/4         1/4       1/2           1          2               HR

    Batch normalisation and ReLU follow each convolution but the last; those after the third are transposed. Images are
    in [-1, 1] internally.
    """

    scale = 2

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(3, 16, 5, stride=2, padding=2),
                nn.Conv2d(16, 64, 5, stride=2, padding=2),
                nn.Conv2d(64, 256, 5, padding=2),
                nn.ConvTranspose2d(256, 64, 4, stride=2, padding=1),
                nn.ConvTranspose2d(64, 16, 4, stride=2, padding=1),
                nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1),
            ]
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in (16, 64, 256, 64, 16))

    def forward(self, image: Tensor) -> Tensor:
        """[N, 3, h, w] to [N, 3, 2 h, 2 w], float32 RGB in [0, 1]; h and w multiples of 4."""
        *inner, last = self.convs
        x = (2 * image - 1).to(last.get_parameter("weight").dtype)
        for conv, norm in zip(inner, self.norms, strict=True):
            x = F.relu(norm(conv(x)), inplace=True)
        return (torch.tanh(last(x).float()) + 1) / 2

    @property
    def reach(self) -> int:
        """LR pixels around a pixel that its output depends on: 2 + 4 + 8 for the 5x5, 4 + 2 + 1 for the 4x4."""
        return 21

    @property
    def multiple(self) -> int:
        """Of what the sides of an image must be multiples."""
        return 4


Stage = ResidualStage | OriginalStage


class ProgressiveUpscaler(RgbUpscaler):
    """A chain of stages; three stages by 2 upscale by 8.

    Args:
        stages: in order.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        if not stages:
            raise ValueError("a chain needs at least one stage")
        self.stages = nn.ModuleList(stages)

    @property
    def chain(self) -> list[Stage]:
        """The stages in order."""
        return [stage for stage in self.stages if isinstance(stage, ResidualStage | OriginalStage)]

    @property
    def scale(self) -> int:
        """HR over LR."""
        return prod(stage.scale for stage in self.chain)

    def forward(self, image: Tensor) -> Tensor:
        """Upscales images.

        Args:
            image: [N, 3, h, w] float, RGB in [0, 1]; sides as required by `tile_rule`.

        Returns:
            [N, 3, h * scale, w * scale] float32, not clamped.
        """
        for stage in self.stages:
            image = stage(image)
        return image

    @property
    def tile_rule(self) -> TileRule:
        """Tiling limits; the margin is the full receptive field."""
        reach = 0  # of the later stages, in HR pixels of this one
        for stage in reversed(self.chain):
            reach = ceil(reach / stage.scale) + stage.reach
        multiple = max(stage.multiple for stage in self.chain)
        return TileRule(Fraction(self.scale), margin=reach, multiple=multiple, tile=max(_HR_TILE // self.scale, 1))

    @property
    def sizes(self) -> Sizes:
        """Kind and sizes for the card."""
        sizes: Sizes = {"network": "progressive", "stages": " ".join(str(stage.scale) for stage in self.chain)}
        first = self.chain[0]
        if isinstance(first, OriginalStage):
            return sizes | {"kind": "original"}
        return sizes | {"kind": "residual", "width": first.head.out_channels, "blocks": len(first.blocks)}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Self:
        """Builds the network from its weights; its size is read from their shapes.

        Raises:
            ModelError: missing, unexpected or misshapen tensors, or values not finite.
        """
        try:
            with torch.device("meta"):
                network = cls([_stage_of(f"stages.{n}", state) for n in range(number_of("stages", state))])
        except ValueError as error:
            raise ModelError(f"weights do not fit: {error}") from error
        return with_weights(network, state)


def _stage_of(prefix: str, state: Mapping[str, Tensor]) -> Stage:
    """The stage of the tensors with this prefix."""
    if f"{prefix}.convs.0.weight" in state:
        return OriginalStage()
    outputs, width, *_ = shape_of(f"{prefix}.tail.weight", state)
    return ResidualStage(isqrt(outputs // 3), width=width, blocks=number_of(f"{prefix}.blocks", state))


def _conv(into: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(into, out, 3, padding=1, padding_mode="replicate")

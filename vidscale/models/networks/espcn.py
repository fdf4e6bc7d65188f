"""ESPCN: four convolutions on LR luma and a pixel shuffle."""

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from math import isqrt
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.errors import ModelError
from vidscale.models.cards import Sizes
from vidscale.models.networks.layers import shape_of, with_weights
from vidscale.models.networks.luma import Cell

SCALES = (2, 3, 4)

_SUPPORTS = (5, 3, 3, 3)
_WIDTHS = (64, 64, 32)


class ESPCN(nn.Module):
    """Efficient sub-pixel convolutional network.

    Shi, Caballero, Huszár, Totz, Aitken, Bishop, Rueckert, Wang, "Real-Time Single Image and Video Super-Resolution
    Using an Efficient Sub-Pixel Convolutional Neural Network", CVPR 2016. ReLUs replace the paper's tanh, because they
    learn faster in few epochs. With r = 2 it has 58 212 parameters.

        luma ─ 5x5, 64 ─ 3x3, 64 ─ 3x3, 32 ─ 3x3, r² ─ pixel shuffle ─ luma
         hw                                                             HW

    Args:
        scale: r, 2, 3 or 4.
    """

    def __init__(self, scale: int) -> None:
        super().__init__()
        if scale not in SCALES:
            raise ValueError(f"no ESPCN of {scale = }")
        self.cell = Cell(1, scale)
        channels = (1, *_WIDTHS, scale * scale)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, support) for (a, b), support in zip(pairwise(channels), _SUPPORTS, strict=True)
        )
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.get_parameter("weight"))
            nn.init.zeros_(conv.get_parameter("bias"))
        self._start_alike()

    @torch.no_grad()
    def _start_alike(self) -> None:
        """Equal kernels for all sub-pixel positions, so that there is no pattern to unlearn.

        Aitken, Ledig, Theis, Caballero, Wang, Shi, "Checkerboard artifact free sub-pixel convolution", 2017. With
        kernels drawn for each position, x3 and x4 left a pattern on dark edges.
        """
        last = self.convs[-1].get_parameter("weight")
        last.copy_(last[:1].expand_as(last).clone())

    @property
    def scale(self) -> Fraction:
        """HR over LR."""
        return Fraction(self.cell.large)

    @property
    def margin(self) -> int:
        """LR samples around a sample that its output depends on."""
        return sum(support // 2 for support in _SUPPORTS)

    def forward(self, luma: Tensor, strength: Tensor | None = None) -> Tensor:
        """Upscales the inner part of pictures, whose neighbourhood is complete.

        Args:
            luma: [N, 1, h, w] float, code / peak; sides more than twice the margin.
            strength: ignored.

        Returns:
            [N, 1, H, W] float32, without `margin` LR samples at each edge; not clamped. The last convolution runs in
            float32 even under autocast, because bfloat16 is too coarse for the codes.
        """
        *inner, last = self.convs
        for conv in inner:
            luma = F.relu(conv(luma), inplace=True)
        with torch.autocast(luma.device.type, enabled=False):
            return F.pixel_shuffle(last(luma.float()), self.cell.large)

    @property
    def sizes(self) -> Sizes:
        """Kind and sizes for the card."""
        return {"network": "espcn", "scale": self.cell.large}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Self:
        """Builds the network from its weights.

        Raises:
            ModelError: missing, unexpected or misshapen tensors, or values not finite.
        """
        name = f"convs.{len(_WIDTHS)}.weight"
        try:
            with torch.device("meta"):
                network = cls(isqrt(shape_of(name, state)[0]))
        except ValueError as error:
            raise ModelError(f"weights do not fit: {error}") from error
        return with_weights(network, state)

"""A small upscaler for decoded luma: a learned linear filter and a few convolutions conditioned on the crf."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from math import isqrt
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.errors import ModelError
from vidscale.media.encoders import STRONGEST
from vidscale.models.cards import Sizes
from vidscale.models.chains import SLOPE
from vidscale.models.networks.layers import shape_of, with_weights
from vidscale.models.networks.luma import Cell
from vidscale.models.weight_files import number_of
from vidscale.triton_kernels.polyphase_filters import filter_bank


class CompactUpscaler(nn.Module):
    """Upscales (or, at scale 1, restores) decoded luma.

        luma ─ cells ─┬─ linear ────────────────────── + ─ cells ─ luma
         hw           └─ conv ─ … ─ conv ─ conv ───────┘            HW
                          └── gain and bias by strength ──┘

    Convolutions run on cells, LR blocks of `cell.small` x `cell.small` samples as channels, as in real-time
    super-resolution (Ignatov et al., AIM 2022); a scale of 3/2 maps 2x2 cells to 3x3. The linear part is initialised to
    Lanczos interpolation. The strength (crf) modulates gain and bias of each layer's channels; for a fixed strength
    that is folded into the weights at no cost.

    Args:
        cell: of the scale.
        width: channels.
        depth: convolutions, at least 2.
        first: support of the first convolution in cells, odd; that of the others is 3.
        reach: support of the linear part in cells, odd.
        strengths: lowest and highest crf that it is trained for; others are clamped to this range.

    Attributes:
        margin: cells around a cell that its output depends on.
        ranges: [depth - 1, 2, width], lowest and highest activation of each channel seen by `observe`.
    """

    strengths: Tensor
    ranges: Tensor

    def __init__(
        self,
        cell: Cell,
        *,
        width: int = 16,
        depth: int = 4,
        first: int = 3,
        reach: int = 3,
        strengths: tuple[float, float] = (0.0, STRONGEST),
    ) -> None:
        super().__init__()
        margin = first // 2 + depth - 1
        if min(cell) < 1 or cell.large < cell.small or width < 1 or depth < 2 or reach // 2 > margin:
            raise ValueError(f"no CompactUpscaler of {cell = }, {width = }, {depth = }, {first = }, {reach = }")
        if first % 2 == 0 or reach % 2 == 0:
            raise ValueError(f"an even support: {first = }, {reach = }")
        self.cell = cell
        self.margin = margin
        self.register_buffer("strengths", torch.tensor(strengths, dtype=torch.float32))
        self.register_buffer("ranges", torch.zeros(depth - 1, 2, width))
        into, out = cell.small**2, cell.large**2
        self.linear = nn.Conv2d(into, out, reach, bias=False)
        channels = [into, *[width] * (depth - 1), out]
        supports = [first, *[3] * (depth - 1)]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, k) for (a, b), k in zip(pairwise(channels), supports, strict=True))
        self.by_strength = nn.ModuleList(nn.Linear(2, 2 * b) for b in channels[1:])
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Lanczos plus zero: the last convolution is zero. Leaky ReLUs keep the gradients alive."""
        self.linear.weight.copy_(_lanczos_cells(self.cell, self.linear.kernel_size[0]))
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.get_parameter("weight"), a=SLOPE)
            nn.init.zeros_(conv.get_parameter("bias"))
        nn.init.zeros_(self.convs[-1].get_parameter("weight"))
        for linear in self.by_strength:
            nn.init.zeros_(linear.get_parameter("weight"))
            nn.init.zeros_(linear.get_parameter("bias"))

    @property
    def scale(self) -> Fraction:
        """HR over LR."""
        return Fraction(self.cell.large, self.cell.small)

    def forward(self, luma: Tensor, strength: Tensor) -> Tensor:
        """Upscales the inner part of pictures, whose neighbourhood is complete.

        Args:
            luma: [N, 1, h, w] float, code / peak; h and w multiples of `cell.small`, more than twice the margin.
            strength: [N] float, crf.

        Returns:
            [N, 1, H, W] without `margin` cells at each edge; not clamped.
        """
        x = F.pixel_unshuffle(luma, self.cell.small)
        inner = self.margin - self.linear.kernel_size[0] // 2
        with torch.autocast(luma.device.type, enabled=False):  # bfloat16 is too coarse for the codes
            total = self.linear(x[..., inner : x.shape[2] - inner, inner : x.shape[3] - inner])
        *_, added = self._outputs(x, strength)
        return F.pixel_shuffle(total + added, self.cell.large)

    @torch.no_grad()
    def observe(self, luma: Tensor, strength: Tensor) -> None:
        """Extends `ranges` to the activations of these pictures; arguments as for `forward`."""
        x = F.pixel_unshuffle(luma, self.cell.small)
        for known, y in zip(self.ranges, self._outputs(x, strength), strict=False):  # skips the last
            known[0] = torch.minimum(known[0], y.amin((0, 2, 3)))
            known[1] = torch.maximum(known[1], y.amax((0, 2, 3)))

    def _outputs(self, x: Tensor, strength: Tensor) -> Iterator[Tensor]:
        """Outputs of the convolutions in order."""
        condition = self.condition(strength)
        last = len(self.convs) - 1
        for index, (conv, linear) in enumerate(zip(self.convs, self.by_strength, strict=True)):
            gain, bias = linear(condition)[..., None, None].chunk(2, dim=1)
            x = conv(x) * (1 + gain) + bias
            if index < last:
                x = F.leaky_relu(x, SLOPE)
            yield x

    def condition(self, strength: Tensor) -> Tensor:
        """[N, 2]: conditioning features, linear and quadratic."""
        low, high = self.strengths
        s = strength.clamp(low, high) / STRONGEST
        return torch.stack([s, s * s], dim=1)

    @property
    def sizes(self) -> Sizes:
        """Kind and sizes for the card."""
        return {
            "network": "compact",
            "small": self.cell.small,
            "large": self.cell.large,
            "width": self.convs[0].get_parameter("weight").shape[0],
            "depth": len(self.convs),
            "first": self.convs[0].get_parameter("weight").shape[2],
            "reach": self.linear.kernel_size[0],
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Self:
        """Builds the network from its weights; its size is read from their shapes.

        Raises:
            ModelError: missing, unexpected or misshapen tensors, or values not finite.
        """
        large, small, reach, _ = shape_of("linear.weight", state)
        width, _, first, _ = shape_of("convs.0.weight", state)
        depth = number_of("convs", state)
        try:
            with torch.device("meta"):
                network = cls(Cell(isqrt(small), isqrt(large)), width=width, depth=depth, first=first, reach=reach)
        except ValueError as error:
            raise ModelError(f"weights do not fit: {error}") from error
        return with_weights(network, state)


def _lanczos_cells(cell: Cell, reach: int) -> Tensor:
    """Lanczos interpolation as a convolution over cells: [large^2, small^2, reach, reach].

    If `reach` cells have fewer samples than the filter has taps, the outer taps are dropped and the rest renormalised.
    """
    bank = filter_bank("lanczos", Fraction(cell.small, cell.large), Fraction(1, 2), cell.large)
    line = torch.zeros(cell.large, reach * cell.small, dtype=torch.float64)
    first = reach // 2 * cell.small  # start of the centre cell
    for phase in range(cell.large):
        for tap, weight in enumerate(bank.taps[phase % bank.phases]):
            place = int(bank.start[phase % bank.phases]) + phase // bank.phases * bank.advance + tap + first
            if 0 <= place < line.shape[1]:
                line[phase, place] += weight
    line /= line.sum(1, keepdim=True)
    square = torch.einsum("ax,by->abxy", line, line)  # [large, large, samples, samples], rows first
    square = square.reshape(cell.large**2, reach, cell.small, reach, cell.small)
    return square.permute(0, 2, 4, 1, 3).reshape(cell.large**2, cell.small**2, reach, reach).float()

"""A small upscaler for decoded luma: a learned linear filter, and a few convolutions that know how hard was coded."""

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from math import isqrt
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.encoders import STRONGEST
from vidscale.errors import ModelError
from vidscale.models.cards import Sizes
from vidscale.models.layers import number_of, shape_of, with_weights
from vidscale.triton_kernels.polyphase import filter_bank

SLOPE = 0.1


class Cell(NamedTuple):
    """The block that the network works on: `small` x `small` LR samples become `large` x `large` HR samples."""

    small: int
    large: int


class Layer(NamedTuple):
    """One convolution as it runs: weight [out, in, k, k] and bias [out], with the strength worked in."""

    weight: Tensor
    bias: Tensor


class CompactUpscaler(nn.Module):
    """Enlarges (or, at scale 1, restores) decoded luma.

        luma ─ cells ─┬─ linear ────────────────────── + ─ cells ─ luma
         hw           └─ conv ─ … ─ conv ─ conv ───────┘            HW
                          └── gain and bias by strength ──┘

    Convolutions run on cells, LR blocks of `cell.small` x `cell.small` samples as channels, as in real-time
    super-resolution (Ignatov et al., AIM 2022); so a scale of 3/2 is whole cells, 2x2 to 3x3. The linear part begins as
    Lanczos interpolation. The strength (crf) changes gain and bias of each layer's channels; for one strength that is
    folded into the weights and costs nothing.

    Args:
        cell: of the scale.
        width: channels.
        depth: convolutions, at least 2.
        reach: support of the linear part in cells, odd.
        strengths: lowest and highest crf that it is trained for; others are taken for the nearer of the two.
    """

    slope = SLOPE
    strengths: Tensor

    def __init__(
        self,
        cell: Cell,
        *,
        width: int = 16,
        depth: int = 4,
        reach: int = 3,
        strengths: tuple[float, float] = (0.0, STRONGEST),
    ) -> None:
        super().__init__()
        if min(cell) < 1 or cell.large < cell.small or width < 1 or depth < 2 or reach % 2 == 0 or reach > 2 * depth:
            raise ValueError(f"no CompactUpscaler of {cell = }, {width = }, {depth = }, {reach = }")
        self.cell = cell
        self.register_buffer("strengths", torch.tensor(strengths, dtype=torch.float32))
        into, out = cell.small**2, cell.large**2
        self.linear = nn.Conv2d(into, out, reach, bias=False)
        channels = [into, *[width] * (depth - 1), out]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3) for a, b in pairwise(channels))
        self.by_strength = nn.ModuleList(nn.Linear(2, 2 * b) for b in channels[1:])
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Lanczos, plus nothing yet: the last convolution starts at zero behind leaky rectifiers, which cannot die."""
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

    @property
    def margin(self) -> int:
        """Cells around a cell that its result depends on."""
        return len(self.convs)

    def forward(self, luma: Tensor, strength: Tensor) -> Tensor:
        """Enlarges the inner part of pictures, that of which all neighbours are known.

        Args:
            luma: [N, 1, h, w] float, code / peak; h and w multiples of `cell.small`, more than twice the margin.
            strength: [N] float, crf.

        Returns:
            [N, 1, H, W], not clamped: without `margin` cells at each edge.
        """
        x = F.pixel_unshuffle(luma, self.cell.small)
        inner = self.margin - self.linear.kernel_size[0] // 2
        with torch.autocast(luma.device.type, enabled=False):  # 8 bits of bfloat16 are too few for codes themselves
            total = self.linear(x[..., inner : x.shape[2] - inner, inner : x.shape[3] - inner])
        condition = self._condition(strength)
        last = len(self.convs) - 1
        for index, (conv, linear) in enumerate(zip(self.convs, self.by_strength, strict=True)):
            gain, bias = linear(condition)[..., None, None].chunk(2, dim=1)
            x = conv(x) * (1 + gain) + bias
            if index < last:
                x = F.leaky_relu(x, SLOPE)
        return F.pixel_shuffle(total + x, self.cell.large)

    @torch.no_grad()
    def folded(self, strength: float) -> list[Layer]:
        """The convolutions for one strength, the linear part not among them."""
        condition = self._condition(self.strengths.new_tensor([strength]))[0]
        layers = []
        for conv, linear in zip(self.convs, self.by_strength, strict=True):
            weight, own = conv.get_parameter("weight"), conv.get_parameter("bias")
            gain, bias = linear(condition).chunk(2)
            layers.append(Layer(weight * (1 + gain)[:, None, None, None], own * (1 + gain) + bias))
        return layers

    def _condition(self, strength: Tensor) -> Tensor:
        """[N, 2], what gains and biases depend on linearly."""
        low, high = self.strengths
        s = strength.clamp(low, high) / STRONGEST
        return torch.stack([s, s * s], dim=1)

    @property
    def sizes(self) -> Sizes:
        """For the card."""
        return {
            "network": "compact",
            "small": self.cell.small,
            "large": self.cell.large,
            "width": self.convs[0].get_parameter("weight").shape[0],
            "depth": len(self.convs),
            "reach": self.linear.kernel_size[0],
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Self:
        """The network that these weights are of, whatever its size.

        Raises:
            ModelError: missing, superfluous or misshapen tensors; numbers that are not finite.
        """
        large, small, reach, _ = shape_of("linear.weight", state)
        width = shape_of("convs.0.weight", state)[0]
        depth = number_of("convs", state)
        try:
            with torch.device("meta"):
                network = cls(Cell(isqrt(small), isqrt(large)), width=width, depth=depth, reach=reach)
        except ValueError as error:
            raise ModelError(f"weights do not fit: {error}") from error
        return with_weights(network, state)


def _lanczos_cells(cell: Cell, reach: int) -> Tensor:
    """Lanczos interpolation as a convolution over cells: [large^2, small^2, reach, reach].

    Where `reach` cells are fewer samples than the filter has taps, the outer ones are left out and the others made to
    sum to one again.
    """
    bank = filter_bank("lanczos", Fraction(cell.small, cell.large), Fraction(1, 2), cell.large)
    line = torch.zeros(cell.large, reach * cell.small, dtype=torch.float64)
    first = reach // 2 * cell.small  # where the cell itself begins
    for phase in range(cell.large):
        for tap, weight in enumerate(bank.taps[phase % bank.phases]):
            place = int(bank.start[phase % bank.phases]) + phase // bank.phases * bank.advance + tap + first
            if 0 <= place < line.shape[1]:
                line[phase, place] += weight
    line /= line.sum(1, keepdim=True)
    square = torch.einsum("ax,by->abxy", line, line)  # [large, large, samples, samples], rows first
    square = square.reshape(cell.large**2, reach, cell.small, reach, cell.small)
    return square.permute(0, 2, 4, 1, 3).reshape(cell.large**2, cell.small**2, reach, reach).float()

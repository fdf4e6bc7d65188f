"""A small upscaler for decoded luma: a learned linear filter, and a few convolutions that know how hard was coded."""

from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.triton_kernels.polyphase import filter_bank

_SLOPE = 0.1
_STRENGTH_UNIT = 51.0  # the highest crf of H.264 and H.265


class Cell(NamedTuple):
    """The block that the network works on: `small` x `small` LR samples become `large` x `large` HR samples."""

    small: int
    large: int

    @property
    def scale(self) -> Fraction:
        return Fraction(self.large, self.small)


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
    """

    def __init__(self, cell: Cell, *, width: int = 16, depth: int = 4, reach: int = 3) -> None:
        super().__init__()
        if min(cell) < 1 or cell.large < cell.small or width < 1 or depth < 2 or reach % 2 == 0:
            raise ValueError(f"no CompactUpscaler of {cell = }, {width = }, {depth = }, {reach = }")
        self.cell = cell
        into, out = cell.small**2, cell.large**2
        self.linear = nn.Conv2d(into, out, reach, bias=False)
        channels = [into, *[width] * (depth - 1), out]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3) for a, b in zip(channels[:-1], channels[1:], strict=True))
        self.by_strength = nn.ModuleList(nn.Linear(2, 2 * b) for b in channels[1:])
        self._start()

    @torch.no_grad()
    def _start(self) -> None:
        """Lanczos, plus nothing yet: the last convolution starts at zero behind leaky rectifiers, which cannot die."""
        self.linear.weight.copy_(_lanczos_cells(self.cell, self.linear.kernel_size[0]))
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.get_parameter("weight"), a=_SLOPE)
            nn.init.zeros_(conv.get_parameter("bias"))
        nn.init.zeros_(self.convs[-1].get_parameter("weight"))
        for linear in self.by_strength:
            nn.init.zeros_(linear.get_parameter("weight"))
            nn.init.zeros_(linear.get_parameter("bias"))

    @property
    def scale(self) -> Fraction:
        return self.cell.scale

    @property
    def margin(self) -> int:
        """Cells around a cell that its result depends on."""
        return max(len(self.convs), self.linear.kernel_size[0] // 2)

    def forward(self, luma: Tensor, strength: Tensor) -> Tensor:
        """Enlarges.

        Args:
            luma: [N, 1, h, w] float, code / peak; h and w multiples of `cell.small`.
            strength: [N] float, crf.

        Returns:
            [N, 1, h * scale, w * scale], not clamped.
        """
        x = F.pixel_unshuffle(luma, self.cell.small)
        total = F.conv2d(_edged(x, self.linear.kernel_size[0] // 2), self.linear.weight)
        s = strength / _STRENGTH_UNIT
        condition = torch.stack([s, s * s], dim=1)
        last = len(self.convs) - 1
        for index, (conv, linear) in enumerate(zip(self.convs, self.by_strength, strict=True)):
            gain, bias = linear(condition)[..., None, None].chunk(2, dim=1)
            x = conv(_edged(x, 1)) * (1 + gain) + bias
            if index < last:
                x = F.leaky_relu(x, _SLOPE)
        return F.pixel_shuffle(total + x, self.cell.large)

    @torch.no_grad()
    def folded(self, strength: float) -> list[Layer]:
        """The convolutions for one strength, the linear part not among them."""
        s = strength / _STRENGTH_UNIT
        layers = []
        for conv, linear in zip(self.convs, self.by_strength, strict=True):
            weight, own = conv.get_parameter("weight"), conv.get_parameter("bias")
            gain, bias = linear(weight.new_tensor([s, s * s])).chunk(2)
            layers.append(Layer(weight * (1 + gain)[:, None, None, None], own * (1 + gain) + bias))
        return layers


def _edged(x: Tensor, cells: int) -> Tensor:
    return F.pad(x, (cells, cells, cells, cells), mode="replicate")


def _lanczos_cells(cell: Cell, reach: int) -> Tensor:
    """Lanczos interpolation as a convolution over cells: [large^2, small^2, reach, reach].

    Where `reach` cells are fewer samples than the filter has taps, the outer ones are left out and the others made to
    sum to one again.
    """
    bank = filter_bank("lanczos", 1 / cell.scale, Fraction(1, 2), cell.large)
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

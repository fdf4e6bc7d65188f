"""A luma network for one coding strength in torch, with gradients: what a `Chain` describes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.models.networks.luma import Cell
from vidscale.triton_kernels.chain import Chain, Convolution


class FoldedNetwork(nn.Module):
    """The network of a chain; every number of it is a parameter.

    Args:
        chain: the network; copied.

    Attributes:
        gains: a factor for each output channel of each convolution, 1 at first; redundant with the weights.
    """

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self._chain = chain
        self.linear = None if chain.linear is None else nn.Parameter(torch.from_numpy(chain.linear.copy()))
        self.weights = nn.ParameterList(torch.from_numpy(layer.weight.copy()) for layer in chain.convolutions)
        self.biases = nn.ParameterList(torch.from_numpy(layer.bias.copy()) for layer in chain.convolutions)
        self.gains = nn.ParameterList(torch.ones(layer.bias.size) for layer in chain.convolutions)

    @property
    def cell(self) -> Cell:
        """Its LR and HR blocks."""
        return Cell(self._chain.small, self._chain.large)

    def groups(self) -> list[list[nn.Parameter]]:
        """All weights as an update stores them, with a common step for each group; gains are not among them."""
        linear = [] if self.linear is None else [[self.linear]]
        return [*linear, *([weight] for weight in self.weights), list(self.biases)]

    @property
    def margin(self) -> int:
        """Cells around a cell that its output depends on."""
        return sum(layer.weight.shape[2] // 2 for layer in self._chain.convolutions)

    def forward(self, luma: Tensor, strength: Tensor | None = None) -> Tensor:
        """Upscales the inner part of pictures.

        Args:
            luma: [N, 1, h, w] float, code / peak; h and w multiples of `cell.small`, more than twice the margin.
            strength: not used: it is folded in.

        Returns:
            [N, 1, H, W] without `margin` cells at each edge; not clamped.
        """
        x = F.pixel_unshuffle(luma, self.cell.small)
        *_, total = self._outputs(x)
        if self.linear is not None:
            inner = self.margin - self.linear.shape[-1] // 2
            with torch.autocast(luma.device.type, enabled=False):  # bfloat16 is too coarse for the codes
                total = total + F.conv2d(x[..., inner : x.shape[2] - inner, inner : x.shape[3] - inner], self.linear)
        return F.pixel_shuffle(total, self.cell.large)

    def _outputs(self, x: Tensor) -> Iterator[Tensor]:
        """Outputs of the convolutions in order."""
        last = len(self.weights) - 1
        for n, (weight, bias, gain) in enumerate(zip(self.weights, self.biases, self.gains, strict=True)):
            x = F.conv2d(x, weight * gain[:, None, None, None], bias)
            if n < last:
                x = F.leaky_relu(x, self._chain.slope)
            yield x

    @torch.no_grad()
    def folded(self, luma: Tensor | None = None) -> Chain:
        """The chain with the weights as they are now.

        Args:
            luma: as for `forward`: pictures that the ranges of the channels are observed on; None keeps the ranges.
        """
        layers = zip(self.weights, self.biases, self.gains, strict=True)
        convolutions = [Convolution(_array(w * g[:, None, None, None]), _array(b)) for w, b, g in layers]
        ranges = self._chain.ranges
        if luma is not None and ranges is not None:
            ranges = self._observed(luma)
        linear = None if self.linear is None else _array(self.linear)
        return replace(self._chain, convolutions=convolutions, linear=linear, ranges=ranges)

    def _observed(self, luma: Tensor) -> list[npt.NDArray[Any]]:
        """Minimum and maximum of each channel, as in `Chain.ranges`."""
        seen: list[Tensor] = []
        for picture in luma[:, None]:
            *inner, _ = self._outputs(F.pixel_unshuffle(picture, self.cell.small))
            found = [torch.stack([y.amin((0, 2, 3)), y.amax((0, 2, 3))]) for y in inner]
            both = [torch.stack(pair) for pair in zip(seen or found, found, strict=True)]
            seen = [torch.stack([known[:, 0].amin(0), known[:, 1].amax(0)]) for known in both]
        return [_array(known) for known in seen]


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    return np.array(tensor.detach().cpu().numpy(), np.float32, order="C")

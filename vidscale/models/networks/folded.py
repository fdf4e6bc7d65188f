"""A luma network for one coding strength in torch, with gradients: what a `Chain` describes."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidscale.models.networks.luma import Cell
from vidscale.triton_kernels.chain import Chain, Convolution
from vidscale.triton_kernels.chain_cells import chain_cells, layer_outputs


class FoldedNetwork(nn.Module):
    """The network of a chain; every number of it is a parameter.

    Args:
        chain: the network; copied.

    Attributes:
        gains: a factor for each output channel of each convolution, redundant with the weights: 1 at first, and left
            out where it is not trained.
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
        cells = chain_cells(x, self._kernels(), list(self.biases), self.linear, slope=self._chain.slope)
        return F.pixel_shuffle(cells, self.cell.large)

    def _kernels(self) -> list[Tensor]:
        """Weights of the convolutions, with the gains."""
        pairs = zip(self.weights, self.gains, strict=True)
        return [weight * gain[:, None, None, None] if gain.requires_grad else weight for weight, gain in pairs]

    @torch.no_grad()
    def folded(self, luma: Tensor | None = None) -> Chain:
        """The chain with the weights as they are now.

        Args:
            luma: as for `forward`: pictures that the ranges of the channels are observed on; None keeps the ranges.
        """
        layers = zip(self._kernels(), self.biases, strict=True)
        convolutions = [Convolution(_array(kernel), _array(bias)) for kernel, bias in layers]
        ranges = self._chain.ranges
        if luma is not None and ranges is not None:
            ranges = self._observed(luma)
        linear = None if self.linear is None else _array(self.linear)
        return replace(self._chain, convolutions=convolutions, linear=linear, ranges=ranges)

    def _observed(self, luma: Tensor) -> list[npt.NDArray[Any]]:
        """Minimum and maximum of each channel, as in `Chain.ranges`."""
        seen: list[Tensor] = []
        for picture in luma[:, None]:
            cells = F.pixel_unshuffle(picture, self.cell.small)
            *inner, _ = layer_outputs(cells, self._kernels(), list(self.biases), slope=self._chain.slope)
            found = [torch.stack([y.amin((0, 2, 3)), y.amax((0, 2, 3))]) for y in inner]
            both = [torch.stack(pair) for pair in zip(seen or found, found, strict=True)]
            seen = [torch.stack([known[:, 0].amin(0), known[:, 1].amax(0)]) for known in both]
        return [_array(known) for known in seen]


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    return np.array(tensor.detach().cpu().numpy(), np.float32, order="C")

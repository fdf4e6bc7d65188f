"""What a pair asks of the network that restores its luma."""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from vidscale.models.compact import Cell, Layer


@runtime_checkable
class LumaUpscaler(Protocol):
    """A chain of convolutions over cells, which may know the coding strength, beside a linear part or none.

    That it is no more lets `vidscale.models.compact_run` run every such network in the ways that are quick on a CPU.
    """

    @property
    def cell(self) -> Cell:
        """The blocks of LR and HR samples that it works on."""

    @property
    def margin(self) -> int:
        """Cells around a cell that its result depends on."""

    @property
    def slope(self) -> float:
        """Of the rectifiers between convolutions, for numbers below 0."""

    @property
    def linear(self) -> nn.Conv2d | None:
        """Convolution over cells whose result is added to the chain's; None where nothing is."""

    def folded(self, strength: float) -> list[Layer]:
        """The chain for one strength (crf), without padding."""

    def __call__(self, luma: Tensor, strength: Tensor) -> Tensor:
        """Luma [N, 1, h, w], code / peak, and crf [N], to [N, 1, H, W] without `margin` cells at each edge."""

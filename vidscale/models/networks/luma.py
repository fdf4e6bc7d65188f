"""Interface of luma upscalers."""

from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class Cell(NamedTuple):
    """The block that the network works on: `small` x `small` LR samples become `large` x `large` HR samples."""

    small: int
    large: int


@runtime_checkable
class LumaUpscaler(Protocol):
    """A luma network over cells; `vidscale.models.chains` runs it on the CPU."""

    @property
    def cell(self) -> Cell:
        """Its LR and HR blocks."""

    @property
    def margin(self) -> int:
        """Cells around a cell that its output depends on."""

    def __call__(self, luma: Tensor, strength: Tensor) -> Tensor:
        """Luma [N, 1, h, w], code / peak, and crf [N] to luma [N, 1, H, W] without `margin` cells at each edge."""

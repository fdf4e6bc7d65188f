"""What a pair asks of the network that restores its luma."""

from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class Cell(NamedTuple):
    """The block that the network works on: `small` x `small` LR samples become `large` x `large` HR samples."""

    small: int
    large: int


@runtime_checkable
class LumaUpscaler(Protocol):
    """A network over cells; `vidscale.models.chains` says how a CPU runs it."""

    @property
    def cell(self) -> Cell:
        """The blocks of LR and HR samples that it works on."""

    @property
    def margin(self) -> int:
        """Cells around a cell that its result depends on."""

    def __call__(self, luma: Tensor, strength: Tensor) -> Tensor:
        """Luma [N, 1, h, w], code / peak, and crf [N], to [N, 1, H, W] without `margin` cells at each edge."""

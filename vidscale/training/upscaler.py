"""Training of a compact upscaler on really coded pieces: what a decoder gives back, and what it should have been."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vidscale.errors import TrainingError
from vidscale.media.encoders import STRONGEST
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.models.networks.luma import Cell
from vidscale.training.coded_pieces import CodedPieces
from vidscale.training.collapsible import collapse, widen
from vidscale.training.loop import Group, LoopSettings, Losses
from vidscale.training.quantise import quantise
from vidscale.training.recipes import STRICT

VALIDATED = Fraction(1, 3)  # of a piece's sides, its middle, so that networks of other margins see the same

_VALIDATION_BATCH = 64
_SMALLEST_ERROR = 1e-7  # of a piece, mean square: 70 dB
_LANCZOS_LOBES = 3  # LR samples to either side that interpolation takes


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactSizes:
    """Of `vidscale.models.networks.compact.CompactUpscaler`.

    Attributes:
        small, large: the cell, LR and HR samples.
        width: channels.
        depth: convolutions.
        first: support of the first convolution in cells.
        reach: support of the linear part in cells.
        expansion: how many times as wide convolutions are while they learn (`vidscale.training.collapsible`); 0 lets
            them learn as they are.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    small: int = 1
    large: int = 2
    width: int = 8
    depth: int = 8
    first: int = 3
    reach: int = 7
    expansion: int = 0

    def __post_init__(self) -> None:
        if self.expansion < 0:
            raise ValueError(f"expansion {self.expansion} is negative")
        with torch.device("meta"):
            self.network()  # says what does not fit

    @property
    def cell(self) -> Cell:
        """What the network works on."""
        return Cell(self.small, self.large)

    def network(self, strengths: tuple[float, float] = (0.0, STRONGEST)) -> CompactUpscaler:
        """The network as it starts.

        Args:
            strengths: lowest and highest crf that it is trained for.

        Raises:
            ValueError: there is none of these sizes.
        """
        return CompactUpscaler(
            self.cell, width=self.width, depth=self.depth, first=self.first, reach=self.reach, strengths=strengths
        )


class UpscalerTask:
    """What `vidscale.training.loop.train` needs to know of a compact upscaler.

    Args:
        sizes: of the network.
        loop: batch, seed and device.
        pieces: to train on.
        held_out: to validate on, made of other pictures: as many as there are, drawn with repetition.

    Raises:
        TrainingError: pieces of another scale than the network's.
    """

    def __init__(self, sizes: CompactSizes, loop: LoopSettings, pieces: CodedPieces, held_out: CodedPieces) -> None:
        self._loop, self._pieces = loop, pieces
        torch.manual_seed(loop.seed)
        self.network = sizes.network(pieces.strengths)
        self._expansion = sizes.expansion
        if sizes.expansion:
            widen(self.network.convs, sizes.expansion)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # what oneDNN is fastest with
        for name, scale in (("training", pieces.scale), ("validation", held_out.scale)):
            if scale != self.network.scale:
                raise TrainingError(f"{name} pieces are of scale {scale}, the network is for {self.network.scale}")
        sample = torch.Generator().manual_seed(0)  # the same for every network
        self._held_out = [
            held_out.batch(min(_VALIDATION_BATCH, len(held_out) - start), sample)
            for start in range(0, len(held_out), _VALIDATION_BATCH)
        ]

    def groups(self) -> list[Group]:
        return [Group(list(self.network.parameters()))]

    def losses(self, examples: torch.Generator) -> Losses:
        lr, hr, strength = (part.to(self._loop.device) for part in self._pieces.batch(self._loop.batch, examples))
        restored = self.network(lr, strength)
        l1 = F.l1_loss(restored, _middle(hr, restored.shape[-1]))
        return Losses(l1, {"l1": l1.detach()})

    def validate(self) -> float:
        """Mean PSNR of the pieces' middles, dB."""
        return self._score(self.network)

    @torch.no_grad()
    def validate_lanczos(self) -> float:
        """The same of Lanczos interpolation with all its taps."""
        small = self.network.cell.small
        depth = -(-_LANCZOS_LOBES // small)
        interpolation = CompactUpscaler(self.network.cell, width=1, depth=max(depth, 2), reach=2 * depth + 1)
        return self._score(interpolation.to(self._loop.device))

    def _score(self, network: CompactUpscaler) -> float:
        scores = []
        for batch in self._held_out:
            lr, hr, strength = (part.to(self._loop.device) for part in batch)
            codes = quantise(network(lr, strength), "straight")
            side = int(hr.shape[-1] * VALIDATED)
            errors = (_middle(codes, side) - _middle(hr, side)).square().mean((1, 2, 3))
            scores.append(-10 * errors.clamp(min=_SMALLEST_ERROR).log10())
        return float(torch.cat(scores).mean())

    @torch.no_grad()
    def finish(self) -> CompactUpscaler:
        """The network as it is used, on the CPU; it knows what numbers ordinary pictures make within it, for int8."""
        if self._expansion:
            collapse(self.network.convs)
        for lr, _, strength in self._held_out:
            self.network.observe(lr.to(self._loop.device), strength.to(self._loop.device))
        return self.network.cpu().eval()


def _middle(image: Tensor, side: int) -> Tensor:
    edge = (image.shape[-1] - side) // 2
    return image[..., edge : edge + side, edge : edge + side]

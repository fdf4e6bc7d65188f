"""Trains a compact upscaler on coded crops: decoded luma in, source luma as the target."""

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
from vidscale.training.coded_crops import CodedCrops
from vidscale.training.collapsible import collapse, widen
from vidscale.training.loop import LoopSettings, Losses, ParameterGroup
from vidscale.training.quantise import quantise
from vidscale.training.recipes import STRICT

VALIDATED = Fraction(1, 3)  # centre of a crop that is validated, so that networks with other margins are comparable

_VALIDATION_BATCH = 64
_SMALLEST_ERROR = 1e-7  # mean squared error of a crop: 70 dB
_LANCZOS_LOBES = 3  # LR samples to either side


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactSizes:
    """Sizes of `vidscale.models.networks.compact.CompactUpscaler`.

    Attributes:
        small, large: side of a cell in LR and HR samples.
        width: channels.
        depth: convolutions.
        first: support of the first convolution in cells.
        reach: support of the linear part in cells.
        expansion: factor by which convolutions are widened in training (`vidscale.training.collapsible`); 0 trains
            them as they are.
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
            self.network()  # raises for invalid sizes

    @property
    def cell(self) -> Cell:
        """The blocks that the network works on."""
        return Cell(self.small, self.large)

    def network(self, strengths: tuple[float, float] = (0.0, STRONGEST)) -> CompactUpscaler:
        """The network with initial weights.

        Args:
            strengths: lowest and highest crf that it is trained for.

        Raises:
            ValueError: invalid sizes.
        """
        return CompactUpscaler(
            self.cell, width=self.width, depth=self.depth, first=self.first, reach=self.reach, strengths=strengths
        )


class UpscalerTask:
    """A compact upscaler as a task for `vidscale.training.loop.train`.

    Args:
        sizes: sizes of the network.
        loop: batch, seed and device.
        crops: training crops.
        held_out: validation crops, of other pictures; as many as there are, drawn with replacement.
        start: a network of the same sizes whose weights the training starts from; None for Lanczos interpolation.

    Raises:
        TrainingError: the crops' scale differs from the network's.
    """

    def __init__(
        self,
        sizes: CompactSizes,
        loop: LoopSettings,
        crops: CodedCrops,
        held_out: CodedCrops,
        *,
        start: CompactUpscaler | None = None,
    ) -> None:
        self._loop, self._crops = loop, crops
        torch.manual_seed(loop.seed)
        self.network = sizes.network(crops.strengths)
        if start is not None:
            self.network.load_state_dict(start.state_dict())
        self._expansion = sizes.expansion
        if sizes.expansion:
            widen(self.network.convs, sizes.expansion)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # fastest with oneDNN
        for name, scale in (("training", crops.scale), ("validation", held_out.scale)):
            if scale != self.network.scale:
                raise TrainingError(f"the {name} crops have scale {scale}, the network has {self.network.scale}")
        sample = torch.Generator().manual_seed(0)  # the same for every network
        self._held_out = [
            held_out.batch(min(_VALIDATION_BATCH, len(held_out) - start), sample)
            for start in range(0, len(held_out), _VALIDATION_BATCH)
        ]

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.network.parameters()))]

    def losses(self, examples: torch.Generator) -> Losses:
        lr, hr, strength = (part.to(self._loop.device) for part in self._crops.batch(self._loop.batch, examples))
        restored = self.network(lr, strength)
        l1 = F.l1_loss(restored, _middle(hr, restored.shape[-1]))
        return Losses(l1, {"l1": l1.detach()})

    def validate(self) -> float:
        """Mean PSNR of the crops' centres, dB."""
        return self._score(self.network)

    @torch.no_grad()
    def validate_lanczos(self) -> float:
        """The same for Lanczos interpolation with its full support."""
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
        """The network for inference, on the CPU, with activation ranges observed for int8."""
        if self._expansion:
            collapse(self.network.convs)
        for lr, _, strength in self._held_out:
            self.network.observe(lr.to(self._loop.device), strength.to(self._loop.device))
        return self.network.cpu().eval()


def _middle(image: Tensor, side: int) -> Tensor:
    edge = (image.shape[-1] - side) // 2
    return image[..., edge : edge + side, edge : edge + side]

"""Training of a compact upscaler on really coded pieces: what a decoder gives back, and what it should have been."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from vidscale.errors import TrainingError
from vidscale.models.compact import Cell, CompactUpscaler
from vidscale.progress import Progress
from vidscale.training.loop import Group, LoopSettings, Losses, Trained, train
from vidscale.training.recipes import STRICT, keep_recipe

_PEAK = 255
_VALIDATION_BATCH = 64
_SMALLEST_ERROR = 1e-7  # of a piece, mean square: 70 dB
_VALIDATED = Fraction(1, 3)  # of a piece's sides, its middle, so that networks of other margins see the same


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactSizes:
    """Of `vidscale.models.compact.CompactUpscaler`.

    Attributes:
        small, large: the cell, LR and HR samples.
        width: channels.
        depth: convolutions.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    small: int = 2
    large: int = 4
    width: int = 16
    depth: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class UpscalerRecipe:
    """A training of an upscaler.

    Attributes:
        network: its sizes.
        loop: how long and how fast.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    network: CompactSizes = field(default_factory=CompactSizes)
    loop: LoopSettings = field(default_factory=LoopSettings)


class CodedPieces:
    """The pieces of one or more sets, mapped rather than read.

    Args:
        folders: of sets that `vidscale.training.coded_pairs.Maker` made, of one scale and side.

    Raises:
        TrainingError: there are none, or their sizes differ.
    """

    def __init__(self, *folders: Path) -> None:
        paths = [path for folder in folders for path in sorted(folder.glob("chunk-*.npy"))]
        try:
            self._chunks: list[npt.NDArray[Any]] = [np.load(path, mmap_mode="r") for path in paths]
        except (OSError, ValueError) as error:
            raise TrainingError(f"coded pieces cannot be read: {error}") from error
        if not self._chunks or len({chunk.dtype for chunk in self._chunks}) != 1:
            raise TrainingError(f"no coded pieces of one size in {', '.join(map(str, folders))}")
        self._ends = np.cumsum([len(chunk) for chunk in self._chunks])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def scale(self) -> Fraction:
        """HR over LR."""
        record = self._chunks[0].dtype
        return Fraction(record["hr"].shape[0], record["lr"].shape[0])

    @property
    def strengths(self) -> tuple[float, float]:
        """Lowest and highest crf."""
        crf = np.concatenate([chunk["crf"] for chunk in self._chunks])
        return float(crf.min()), float(crf.max())

    def batch(self, number: int, examples: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Random pieces, mirrored and turned at random.

        Returns:
            decoded luma [number, 1, h, w] and original [number, 1, H, W] in [0, 1], crf [number].
        """
        chosen = torch.randint(0, len(self), (number,), generator=examples).tolist()
        turns = torch.randint(0, 8, (number,), generator=examples).tolist()
        records = [self[index] for index in chosen]
        pairs = [(_turned(r["lr"], turn), _turned(r["hr"], turn)) for r, turn in zip(records, turns, strict=True)]
        lr, hr = (torch.from_numpy(np.stack(part))[:, None].float() / _PEAK for part in zip(*pairs, strict=True))
        return lr, hr, torch.tensor([float(record["crf"]) for record in records])

    def __getitem__(self, index: int) -> Any:
        chunk = int(np.searchsorted(self._ends, index, side="right"))
        return self._chunks[chunk][index - int(self._ends[chunk])]


def _turned(piece: npt.NDArray[np.uint8], turn: int) -> npt.NDArray[np.uint8]:
    if turn & 1:
        piece = piece[::-1]
    if turn & 2:
        piece = piece[:, ::-1]
    return piece.T if turn & 4 else piece


class UpscalerTask:
    """What `vidscale.training.loop.train` needs to know of a compact upscaler.

    Args:
        recipe: what is trained.
        pieces: to train on.
        held_out: to validate on, made of other pictures.
    """

    def __init__(self, recipe: UpscalerRecipe, pieces: CodedPieces, held_out: CodedPieces) -> None:
        self.recipe = recipe
        self._pieces = pieces
        torch.manual_seed(recipe.loop.seed)
        sizes = recipe.network
        cell = Cell(sizes.small, sizes.large)
        self.network = CompactUpscaler(cell, width=sizes.width, depth=sizes.depth, strengths=pieces.strengths)
        for name, scale in (("training", pieces.scale), ("validation", held_out.scale)):
            if scale != self.network.scale:
                raise TrainingError(f"{name} pieces are of scale {scale}, the network is for {self.network.scale}")
        everything = torch.Generator().manual_seed(0)
        self._held_out = [
            held_out.batch(_VALIDATION_BATCH, everything) for _ in range(len(held_out) // _VALIDATION_BATCH)
        ]

    def groups(self) -> list[Group]:
        return [Group(list(self.network.parameters()))]

    def losses(self, examples: torch.Generator) -> Losses:
        lr, hr, crf = (
            part.to(self.recipe.loop.device) for part in self._pieces.batch(self.recipe.loop.batch, examples)
        )
        restored = self.network(lr, crf)
        l1 = F.l1_loss(restored, _middle(hr, restored.shape[-1]))
        return Losses(l1, {"l1": l1.detach()})

    def validate(self) -> float:
        """Mean PSNR of the pieces' middles, dB."""
        scores = []
        for batch in self._held_out:
            lr, hr, crf = (part.to(self.recipe.loop.device) for part in batch)
            codes = (self.network(lr, crf).clamp(0, 1) * _PEAK).round() / _PEAK
            side = int(hr.shape[-1] * _VALIDATED)
            errors = (_middle(codes, side) - _middle(hr, side)).square().mean((1, 2, 3))
            scores.append(-10 * errors.clamp(min=_SMALLEST_ERROR).log10())
        return float(torch.cat(scores).mean())


def _middle(image: Tensor, side: int) -> Tensor:
    edge = (image.shape[-1] - side) // 2
    return image[..., edge : edge + side, edge : edge + side]


def train_upscaler(
    recipe: UpscalerRecipe, pieces: CodedPieces, held_out: CodedPieces, folder: Path, progress: Progress | None = None
) -> tuple[Trained, CompactUpscaler]:
    """Trains, or goes on with a training; see `vidscale.training.loop.train`.

    Raises:
        TrainingError: something cannot be read or written, or the folder holds another training.
    """
    keep_recipe(recipe, folder)
    task = UpscalerTask(recipe, pieces, held_out)
    trained = train(task, recipe.loop, folder, progress)
    return trained, task.network.cpu().eval()

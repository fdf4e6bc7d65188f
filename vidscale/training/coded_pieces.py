"""Really coded training material: pieces of small pictures as decoders give them back, beside the originals.

A set is a folder of chunks, each one file that is mapped rather than read. `vidscale.training.coded_maker` makes them;
reading needs numpy and torch alone, so that a bare machine can train.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, inf
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vidscale.errors import TrainingError
from vidscale.media.encoders import ENCODERS, CodecName
from vidscale.media.geometry import parse_scale
from vidscale.training.crops import mapped, turned
from vidscale.training.recipes import STRICT

CHUNKS = "chunk-*.npy"

_PEAK = 255
_FIELDS = ("lr", "hr", "strength", "codec", "pict_type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """How wild shots are; each is drawn uniformly up to these.

    Attributes:
        pan: pixels a frame.
        zoom: share of the size a frame.
        roll: radians a frame.
        grain: standard deviation of noise, codes; none in half of the shots.
        passing: share of shots in which a piece of another photograph passes in front.
        reduction: how much a photograph may be reduced first, where it is large enough.
    """

    pan: float = 6.0
    zoom: float = 0.006
    roll: float = 0.006
    grain: float = 2.0
    passing: float = 0.3
    reduction: float = 2.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """One way to code, and how often it is taken.

    Attributes:
        codec, preset: of the encoder.
        crf: lowest and highest, on the encoder's own scale; drawn uniformly.
        share: of the shots, relative to the others.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    codec: CodecName
    preset: str
    crf: tuple[float, float]
    share: float = 1.0

    def __post_init__(self) -> None:
        encoder, (low, high) = ENCODERS[self.codec], self.crf
        if not 0 <= low <= high <= encoder.crf_max:
            raise ValueError(f"crf {low:g} to {high:g}: {self.codec} goes from 0 to {encoder.crf_max}, the lower first")
        if self.preset not in encoder.presets:
            raise ValueError(f"preset {self.preset}: {self.codec} has {', '.join(encoder.presets)}")
        if not 0 < self.share < inf:
            raise ValueError(f"share {self.share}: shares are above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedSettings:
    """What a set is made of.

    Attributes:
        family: of fixed filters, what makes pictures small.
        sharpness: of the small luma.
        scale: source over small.
        height, width: of the shots, multiples of `grid` from `least` on.
        frames: of a shot.
        taken: frames of a shot that pieces are cut from, the first among them now and then.
        pieces: cut from each taken frame.
        side: of a piece of the small luma, samples; a multiple of twice the denominator of the scale.
        chunks, shots: number of chunks, and of shots in each.
        codings: ways to code.
        motion: of the camera.
        clip_share: of the shots, those that are parts of real clips, where clips are given.
        seed: of everything.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    family: str = "lanczos"
    sharpness: float = 0.0
    scale: str = "2"
    height: int = 384
    width: int = 512
    frames: int = 20
    taken: int = 5
    pieces: int = 4
    side: int = 48
    chunks: int = 32
    shots: int = 32
    codings: tuple[Coding, ...] = (
        Coding(codec="x264", preset="medium", crf=(18, 40), share=3),
        Coding(codec="x265", preset="medium", crf=(18, 40), share=4),
        Coding(codec="x264", preset="veryfast", crf=(18, 40)),
        Coding(codec="x265", preset="fast", crf=(18, 40)),
    )
    motion: Motion = field(default_factory=Motion)
    clip_share: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.frames, self.taken, self.pieces, self.chunks, self.shots) < 1 or self.taken > self.frames:
            raise ValueError(
                "frames, taken, pieces, chunks and shots are 1 or more, and no more are taken than there are"
            )
        if self.side < 2 or self.side % (2 * self.ratio.denominator):
            raise ValueError(f"side {self.side} is not a multiple of {2 * self.ratio.denominator}")
        if not 0 <= self.clip_share <= 1:
            raise ValueError(f"clip_share {self.clip_share} is outside 0 to 1")
        if not self.codings:
            raise ValueError("no way to code is given")
        least = self.least
        if self.height % self.grid or self.width % self.grid or self.height < least[0] or self.width < least[1]:
            raise ValueError(
                f"shots of {self.width}x{self.height}: {least[1]}x{least[0]} or more, multiples of {self.grid}"
            )

    @property
    def ratio(self) -> Fraction:
        """Source over small."""
        return parse_scale(self.scale)

    @property
    def grid(self) -> int:
        """What sides of a shot are multiples of, so that those of the small picture are even."""
        return 2 * self.ratio.numerator

    @property
    def least(self) -> tuple[int, int]:
        """(height, width) of a shot at least: small pictures hold a piece, and encoders take them without padding."""
        encoders = [ENCODERS[coding.codec] for coding in self.codings]
        height = max(self.side, *(encoder.min_height for encoder in encoders))
        width = max(self.side, *(encoder.min_width for encoder in encoders))
        return ceil(height * self.ratio / self.grid) * self.grid, ceil(width * self.ratio / self.grid) * self.grid

    @property
    def large_side(self) -> int:
        """Of a piece of the original luma, samples."""
        return int(self.side * self.ratio)

    def chunk(self, folder: Path, number: int) -> Path:
        """Where a chunk of a set lies."""
        return folder / f"chunk-{number:04}.npy"

    def missing(self, folder: Path) -> list[int]:
        """Numbers of the chunks that are not made yet."""
        return [number for number in range(self.chunks) if not self.chunk(folder, number).exists()]


def piece_type(side: int, scale: Fraction) -> np.dtype[Any]:
    """One piece: decoded small luma, the original's, and how it was coded."""
    large = int(side * scale)
    types = ((np.uint8, (side, side)), (np.uint8, (large, large)), np.float32, "S8", "S1")
    return np.dtype(list(zip(_FIELDS, types, strict=True)))


class CodedPieces:
    """The pieces of one or more sets, mapped rather than read.

    Args:
        folders: of sets that `vidscale.training.coded_maker` made, of one scale and side.

    Raises:
        TrainingError: there are none, they cannot be read, or their sizes differ.
    """

    def __init__(self, *folders: Path) -> None:
        paths = [path for folder in folders for path in sorted(folder.glob(CHUNKS))]
        if not paths:
            raise TrainingError(f"no coded pieces in {', '.join(map(str, folders))}")
        self._chunks = [mapped(path) for path in paths]
        kinds = {chunk.dtype for chunk in self._chunks}
        if len(kinds) != 1 or not set(_FIELDS) <= set(kinds.pop().names or ()):  # sets made earlier have chroma, too
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
        """Lowest and highest."""
        strengths = np.concatenate([chunk["strength"] for chunk in self._chunks])
        return float(strengths.min()), float(strengths.max())

    def batch(self, number: int, examples: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Random pieces, mirrored and turned at random.

        Returns:
            decoded luma [number, 1, h, w] and original [number, 1, H, W] in [0, 1], strength [number].
        """
        chosen = torch.randint(0, len(self), (number,), generator=examples).tolist()
        turns = torch.randint(0, 8, (number,), generator=examples).tolist()
        records = [self[index] for index in chosen]
        pairs = [(turned(r["lr"], turn), turned(r["hr"], turn)) for r, turn in zip(records, turns, strict=True)]
        lr, hr = (torch.from_numpy(np.stack(part))[:, None].float() / _PEAK for part in zip(*pairs, strict=True))
        return lr, hr, torch.tensor([float(record["strength"]) for record in records])

    def __getitem__(self, index: int) -> Any:
        chunk = int(np.searchsorted(self._ends, index, side="right"))
        return self._chunks[chunk][index - int(self._ends[chunk])]

"""Coded training material: crops of decoded small pictures, with the matching crops of the originals.

A set is a folder of chunks, memory-mapped files made by `vidscale.training.coded_maker`. Reading them needs only numpy
and torch, so that a bare machine can train.
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
from vidscale.training.crops import Records, turned
from vidscale.training.material import CHUNKS, ChunkedSet
from vidscale.training.recipes import STRICT

_PEAK = 255
_FIELDS = ("lr", "hr", "strength", "codec", "pict_type")


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionLimits:
    """Limits of the synthetic motion; each shot draws uniformly up to these.

    Attributes:
        pan: pixels per frame.
        zoom: relative size change per frame.
        roll: radians per frame.
        grain: standard deviation of the noise, code values; half of the shots have none.
        passing: fraction of shots in which a patch of another photograph passes in front.
        reduction: maximum downscaling of a photograph beforehand, if it is large enough.
    """

    pan: float = 6.0
    zoom: float = 0.006
    roll: float = 0.006
    grain: float = 2.0
    passing: float = 0.3
    reduction: float = 2.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """Encoder settings to draw from.

    Attributes:
        codec, preset: encoder and its preset.
        crf: lowest and highest, on the encoder's own scale; drawn uniformly.
        share: how many shots use it, relative to the other codings.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    codec: CodecName
    preset: str
    crf: tuple[float, float]
    share: float = 1.0

    def __post_init__(self) -> None:
        encoder, (low, high) = ENCODERS[self.codec], self.crf
        if not 0 <= low <= high <= encoder.crf_max:
            raise ValueError(f"crf {low:g} to {high:g}: {self.codec} takes 0 to {encoder.crf_max}, lowest first")
        if self.preset not in encoder.presets:
            raise ValueError(f"preset {self.preset}: {self.codec} has {', '.join(encoder.presets)}")
        if not 0 < self.share < inf:
            raise ValueError(f"share {self.share} is not a positive number")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedSettings(ChunkedSet):
    """Settings of a set of coded crops.

    Attributes:
        family: fixed filter that downscales, or a pair by name or folder.
        also: second downscaler, for half of the shots; "" for none.
        sharpness: of the small luma.
        scale: source size over small size.
        height, width: size of the shots, multiples of `grid`, at least `least`.
        frames: frames per shot.
        taken: frames per shot that crops are cut from, chosen at random.
        pieces: crops per chosen frame.
        side: side of a small luma crop, samples; a multiple of twice the denominator of the scale.
        chunks, shots: number of chunks, and of shots per chunk.
        codings: encoder settings to draw from.
        motion: limits of the synthetic motion.
        clip_share: fraction of the shots taken from real clips, if clips are given.
        seed: random seed.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    family: str = "lanczos"
    also: str = ""
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
    motion: MotionLimits = field(default_factory=MotionLimits)
    clip_share: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.frames, self.taken, self.pieces, self.chunks, self.shots) < 1 or self.taken > self.frames:
            raise ValueError("frames, taken, pieces, chunks and shots must be 1 or more, and taken at most frames")
        if self.side < 2 or self.side % (2 * self.ratio.denominator):
            raise ValueError(f"side {self.side} is not a multiple of {2 * self.ratio.denominator}")
        if not 0 <= self.clip_share <= 1:
            raise ValueError(f"clip_share {self.clip_share} is outside 0 to 1")
        if not self.codings:
            raise ValueError("codings is empty: name one or more encoder settings")
        least = self.least
        if self.height % self.grid or self.width % self.grid or self.height < least[0] or self.width < least[1]:
            raise ValueError(
                f"shots of {self.width}x{self.height}: sides must be multiples of {self.grid}, "
                f"at least {least[1]}x{least[0]}"
            )

    @property
    def grid(self) -> int:
        """Sides of a shot are multiples of this, so that the small sides are even."""
        return 2 * self.ratio.numerator

    @property
    def least(self) -> tuple[int, int]:
        """Minimum (height, width) of a shot: its small picture holds a crop and needs no padding for the encoders."""
        encoders = [ENCODERS[coding.codec] for coding in self.codings]
        height = max(self.side, *(encoder.min_height for encoder in encoders))
        width = max(self.side, *(encoder.min_width for encoder in encoders))
        return ceil(height * self.ratio / self.grid) * self.grid, ceil(width * self.ratio / self.grid) * self.grid

    @property
    def large_side(self) -> int:
        """Side of an original luma crop, samples."""
        return int(self.side * self.ratio)


def crop_type(side: int, scale: Fraction) -> np.dtype[Any]:
    """dtype of one record: decoded small luma, original luma, and how it was coded."""
    large = int(side * scale)
    types = ((np.uint8, (side, side)), (np.uint8, (large, large)), np.float32, "S8", "S1")
    return np.dtype(list(zip(_FIELDS, types, strict=True)))


class CodedCrops:
    """The crops of one or more sets, memory-mapped.

    Args:
        folders: sets made by `vidscale.training.coded_maker`, all of the same scale and side.

    Raises:
        TrainingError: no crops, unreadable crops, or different sizes.
    """

    def __init__(self, *folders: Path) -> None:
        paths = [path for folder in folders for path in sorted(folder.glob(CHUNKS))]
        if not paths:
            raise TrainingError(f"no coded crops in {', '.join(map(str, folders))}")
        self._records = Records(paths)
        kinds = {chunk.dtype for chunk in self._records.files}
        if len(kinds) != 1 or not set(_FIELDS) <= set(kinds.pop().names or ()):  # older sets also have chroma
            raise TrainingError(f"no coded crops of a single size in {', '.join(map(str, folders))}")

    def __len__(self) -> int:
        return len(self._records)

    @property
    def scale(self) -> Fraction:
        """HR over LR."""
        record = self._records.files[0].dtype
        return Fraction(record["hr"].shape[0], record["lr"].shape[0])

    @property
    def strengths(self) -> tuple[float, float]:
        """Lowest and highest strength (crf)."""
        strengths = np.concatenate([chunk["strength"] for chunk in self._records.files])
        return float(strengths.min()), float(strengths.max())

    def batch(self, number: int, examples: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Random crops, randomly flipped and transposed.

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
        return self._records[index]

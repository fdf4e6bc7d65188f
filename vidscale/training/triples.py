"""Training material for downscalers: three frames of a shot, downscaled by a filter, with motion vectors.

A set is a folder of chunks, memory-mapped files made by `vidscale.training.triple_maker`. Reading them needs only numpy
and torch, so that a bare machine can train.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vidscale.errors import TrainingError
from vidscale.training.codec_proxy import MotionPositions, motion_positions
from vidscale.training.coded_crops import MotionLimits
from vidscale.training.crops import Records, turned
from vidscale.training.material import CHUNKS, ChunkedSet
from vidscale.training.motion_search import BLOCK, EDGE
from vidscale.training.recipes import STRICT

GAP = 2  # frames from one of the three to the next

_PEAK = 255
_VECTORS = ("p_from_i", "b_from_i", "b_from_p")


@dataclass(frozen=True, slots=True, kw_only=True)
class TripleSettings(ChunkedSet):
    """Settings of a set of triples.

    Attributes:
        family: fixed filter that downscales.
        scale: HR over LR.
        inner: side of the area that is coded, LR samples: a multiple of 8 and of the scale's denominator.
        chunks, shots: number of chunks, and of triples per chunk; each triple is a shot of its own.
        motion: limits of the synthetic motion.
        clip_share: fraction of the triples taken from real clips, if clips are given.
        seed: random seed.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    family: str = "lanczos"
    scale: str = "2"
    inner: int = 96
    chunks: int = 16
    shots: int = 250
    motion: MotionLimits = field(default_factory=MotionLimits)
    clip_share: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        if self.inner < BLOCK or self.inner % BLOCK or self.side % self.ratio.denominator:
            raise ValueError(f"inner {self.inner} is not a multiple of {BLOCK} and {self.ratio.denominator}")
        if min(self.chunks, self.shots) < 1 or not 0 <= self.clip_share <= 1:
            raise ValueError(f"out of range: {self.chunks = }, {self.shots = }, {self.clip_share = }")

    @property
    def side(self) -> int:
        """Side of the small pictures, samples: the inner area, and what its prediction may read."""
        return self.inner + 2 * EDGE

    @property
    def large_side(self) -> int:
        """Side of the originals, samples."""
        return int(self.side * self.ratio)


def triple_type(settings: TripleSettings) -> np.dtype[Any]:
    """dtype of one record: original luma and small luma of three frames in display order, and motion vectors."""
    blocks = settings.inner // BLOCK
    large, small = settings.large_side, settings.side
    vectors = [(name, np.int16, (blocks, blocks, 2)) for name in _VECTORS]
    return np.dtype([("hr", np.uint8, (3, large, large)), ("lr", np.uint8, (3, small, small)), *vectors])


class Batch(NamedTuple):
    """Triples.

    Attributes:
        hr: [N, 3, H, W] originals, code / peak.
        lr: [N, 3, h, w] small pictures, code / peak.
        motion: of their inner areas.
    """

    hr: Tensor
    lr: Tensor
    motion: MotionPositions

    def to(self, device: torch.device) -> "Batch":
        """The same triples on a device."""
        return Batch(
            self.hr.to(device), self.lr.to(device), MotionPositions(*(part.to(device) for part in self.motion))
        )


class Triples:
    """The triples of a set, memory-mapped.

    Args:
        folder: made by `vidscale.training.triple_maker`.

    Raises:
        TrainingError: no triples, unreadable ones, or different sizes.
    """

    def __init__(self, folder: Path) -> None:
        self._records = Records(sorted(folder.glob(CHUNKS)))
        if len({chunk.dtype for chunk in self._records.files}) != 1:
            raise TrainingError(f"no triples of a single size in {folder}")

    def __len__(self) -> int:
        return len(self._records)

    @property
    def scale(self) -> Fraction:
        """HR over LR."""
        record = self._records.files[0].dtype
        return Fraction(record["hr"].shape[-1], record["lr"].shape[-1])

    @property
    def inner(self) -> int:
        """Side of the area that is coded, LR samples."""
        return int(self._records.files[0].dtype[_VECTORS[0]].shape[0]) * BLOCK

    def drawn(self, number: int, examples: torch.Generator) -> Batch:
        """Random triples, randomly flipped and transposed."""
        chosen = torch.randint(0, len(self), (number,), generator=examples).tolist()
        turns = torch.randint(0, 8, (number,), generator=examples).tolist()
        return self.batch(chosen, turns)

    def batch(self, chosen: list[int], turns: list[int] | None = None) -> Batch:
        """Triples by number, each in one of its eight orientations."""
        turns = turns or [0] * len(chosen)
        records = [self._records[index] for index in chosen]
        pictures = (
            torch.from_numpy(np.stack([turned(r[name], t) for r, t in zip(records, turns, strict=True)])).float()
            for name in ("hr", "lr")
        )
        hr, lr = (picture / _PEAK for picture in pictures)
        motion = (
            motion_positions(
                torch.from_numpy(np.stack([_turned_vectors(r[name], t) for r, t in zip(records, turns, strict=True)])),
                lr.shape[-1],
            )
            for name in _VECTORS
        )
        return Batch(hr, lr, MotionPositions(*motion))


def _turned_vectors(vectors: Any, turn: int) -> Any:
    """Vectors [blocks, blocks, 2] of a picture in another orientation, see `turned`."""
    y, x = turned(vectors[..., 0], turn), turned(vectors[..., 1], turn)
    y, x = (-y if turn & 1 else y), (-x if turn & 2 else x)
    return np.stack([x, y] if turn & 4 else [y, x], axis=-1)

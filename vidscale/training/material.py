"""Training material of a pair: folders of photographs and clips, and the sets of chunks that are made of them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from vidscale.errors import TrainingError
from vidscale.media.geometry import parse_scale
from vidscale.system.progress import Progress
from vidscale.system.threads import core_count
from vidscale.training.files import replacing
from vidscale.training.recipes import keep_recipe

CHUNKS = "chunk-*.npy"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Training material for a pair.

    Attributes:
        photos: folder of photographs; None if the sets are complete.
        validation: folder of other photographs; None likewise.
        clips: folder of videos to train on as well.
        sets: folder of the sets, which can be shared between trainings.
    """

    photos: Path | None
    validation: Path | None
    clips: Path | None
    sets: Path


class ChunkedSet:
    """Base of the settings of a set: a folder of numbered chunks of one scale.

    Attributes:
        scale: HR over LR, as text.
        chunks, shots: number of chunks, and of shots per chunk.
    """

    __slots__ = ()
    scale: str
    chunks: int
    shots: int

    @property
    def ratio(self) -> Fraction:
        """HR over LR."""
        return parse_scale(self.scale)

    def chunk(self, folder: Path, number: int) -> Path:
        """Path of a chunk."""
        return folder / f"chunk-{number:04}.npy"

    def missing(self, folder: Path) -> list[int]:
        """Numbers of the missing chunks."""
        return [number for number in range(self.chunks) if not self.chunk(folder, number).exists()]


def make_chunks(
    settings: ChunkedSet, folder: Path, task: str, records: Callable[[range], npt.NDArray[Any]], progress: Progress
) -> None:
    """Makes the missing chunks of a set. A chunk depends only on the settings and its number.

    Args:
        settings: of the set.
        folder: of the set.
        task: what this is called.
        records: makes the records of some shots, by their numbers; advances the progress with each shot.
        progress: begins to count shots.

    Raises:
        TrainingError: the folder cannot be written or has different settings.
    """
    keep_recipe(settings, folder, CHUNKS)
    missing = settings.missing(folder)
    progress.start(task, len(missing) * settings.shots, "shots")
    for chunk in missing:
        made = records(range(chunk * settings.shots, (chunk + 1) * settings.shots))
        with replacing(settings.chunk(folder, chunk)) as file:
            np.save(file, made)


class Maker(Protocol):
    """Makes the chunks of a set."""

    def make(self, progress: Progress, *, jobs: int) -> None:
        """Makes the missing chunks, `jobs` shots at a time."""


SettingsT = TypeVar("SettingsT", bound=ChunkedSet)
MakerOf = Callable[[SettingsT, Path, Path, Path | None], Maker]
"""Makes a maker from settings, photographs, output folder and clips."""


class Sets(NamedTuple, Generic[SettingsT]):
    """Settings of the training set and of the validation set, and the names of their folders."""

    training: SettingsT
    held_out: SettingsT
    names: tuple[str, str]


def complete_sets(
    sets: Sets[SettingsT], material: Material, maker: MakerOf[SettingsT], progress: Progress
) -> Sequence[Path]:
    """Makes the missing chunks of both sets. What is missing for that is named before anything is made.

    Args:
        sets: the sets.
        material: what they are made of; clips are for the training set only.
        maker: called for each incomplete set.
        progress: advances with every shot.

    Returns:
        folders of the training set and the validation set.

    Raises:
        VidscaleError: a picture or video cannot be read, ffmpeg fails, or a folder cannot be written or has different
            settings.
    """
    wanted = (
        (sets.training, material.photos, "--photos", material.clips, material.sets / sets.names[0]),
        (sets.held_out, material.validation, "--validation", None, material.sets / sets.names[1]),
    )
    makers = []
    for settings, photos, option, clips, folder in wanted:
        keep_recipe(settings, folder, CHUNKS)
        if not settings.missing(folder):
            if clips:
                logger.warning("%s is complete: the clips are not used", folder)
            continue
        if photos is None:
            raise TrainingError(f"{folder} is incomplete; name the photographs to make the rest with {option}")
        makers.append(maker(settings, photos, folder, clips))
    for one in makers:
        one.make(progress, jobs=core_count())
    return [folder for *_, folder in wanted]

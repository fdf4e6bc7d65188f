"""Measured parts on disk: each is written when it is done, so that a run that was interrupted goes on where it was."""

import contextlib
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from vidscale.compare.content import Recipe
from vidscale.errors import EncodeError
from vidscale.workspace import replacing

_FORMAT = 1
_STALE_S = 3600  # a temporary file that old belongs to nobody any more


@checked(frozen=True, config=ConfigDict(extra="forbid", ser_json_inf_nan="strings"))
class Part:
    """One part of a movie, coded in one way at one crf, restored and measured.

    Attributes:
        video_bytes: of the coded video packets.
        duration_s: of the part, seconds, exact.
        frames: compared frames.
        means: by metric the mean over frames; of "mse_y" in units of the squared peak, so that 1 is the worst there is.
        encode_s, decode_s: as of `points.Point`.
        commands: what makes it again, as one would type it.
        coded_digest: hash of the coded file.
    """

    video_bytes: Annotated[int, Field(ge=0)]
    duration_s: Annotated[Fraction, Field(gt=0)]
    frames: Annotated[int, Field(ge=1)]
    means: Mapping[str, float]
    encode_s: float
    decode_s: float
    commands: tuple[str, ...]
    coded_digest: str


@checked(frozen=True, config=ConfigDict(extra="forbid", ser_json_inf_nan="strings"))
class _Entry:
    format: int
    recipe: str
    facts: dict[str, object]
    part: Part


_ENTRIES = TypeAdapter(_Entry)


@dataclass(frozen=True, slots=True)
class PartStore:
    """A folder of parts: ``DIGEST.json`` with the numbers, ``DIGEST.mp4`` with the coded video.

    The coded video is kept for what is asked later: another metric, a picture. It may be deleted.
    """

    folder: Path

    def open(self) -> None:
        """Makes the folder, and tidies up what killed runs have left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".*"):
            with contextlib.suppress(OSError):
                if time.time() - leftover.stat().st_mtime > _STALE_S:
                    leftover.unlink()

    def coded_path(self, recipe: Recipe) -> Path:
        """Where the coded video of a part is, or goes."""
        return self.folder / f"{recipe.digest}.mp4"

    def load(self, recipe: Recipe) -> Part | None:
        """The part as it was stored; None where it never was, or is damaged."""
        try:
            entry = _ENTRIES.validate_json(self._path(recipe).read_bytes())
        except (OSError, ValidationError, UnicodeDecodeError):
            return None
        sound = entry.format == _FORMAT and entry.recipe == recipe.digest
        return entry.part if sound else None

    def has_coded(self, recipe: Recipe, part: Part) -> bool:
        """Whether the coded video is there, whole."""
        try:
            return file_digest(self.coded_path(recipe)) == part.coded_digest
        except OSError:
            return False

    def save(self, recipe: Recipe, part: Part) -> None:
        """Stores a part; whoever reads finds the old one or the new one, never half of it.

        Raises:
            EncodeError: it cannot be written.
        """
        entry = _Entry(_FORMAT, recipe.digest, dict(recipe.facts), part)
        try:
            with replacing(self._path(recipe)) as file:
                file.write(_ENTRIES.dump_json(entry, indent=1).decode())
        except OSError as error:
            raise EncodeError(f"cannot write {self._path(recipe)}: {error.strerror or error}") from error

    def _path(self, recipe: Recipe) -> Path:
        return self.folder / f"{recipe.digest}.json"


def file_digest(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()

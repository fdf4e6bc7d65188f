"""Measured parts on disk: each is written when it is done, so that a run that was interrupted goes on where it was."""

import contextlib
import hashlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from vidscale.compare.trials.content import Recipe
from vidscale.errors import EncodeError
from vidscale.system.workspace import replacing

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
        coded_digest: hash of the coded file that was measured.
    """

    video_bytes: Annotated[int, Field(ge=0)]
    duration_s: Annotated[Fraction, Field(gt=0)]
    frames: Annotated[int, Field(ge=1)]
    means: Mapping[str, float]
    encode_s: float
    decode_s: float
    commands: tuple[str, ...]
    coded_digest: str


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class CodedFile:
    """A coded part on disk.

    Attributes:
        seconds: wall time of coding it.
        command: what makes it again, as one would type it.
        digest: hash of the file.
    """

    seconds: float
    command: str
    digest: str


@checked(frozen=True, config=ConfigDict(extra="forbid", ser_json_inf_nan="strings"))
class _Entry:
    format: int
    recipe: str
    facts: dict[str, object]
    part: Part


_ENTRIES, _CODED = TypeAdapter(_Entry), TypeAdapter(CodedFile)


class PartStore:
    """A folder of parts: numbers in ``points/``, coded videos in ``coded/``.

    Coded videos are kept for ways that differ in who enlarges them, and for what is asked later: another metric, a
    picture. They may be deleted.

    Args:
        folder: made, with both in it, when missing; what killed runs have left in it is tidied up.
    """

    def __init__(self, folder: Path) -> None:
        self._points, self._coded = folder / "points", folder / "coded"
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        for place in (self._points, self._coded):
            place.mkdir(parents=True, exist_ok=True)
            for leftover in place.glob(".*"):
                with contextlib.suppress(OSError):
                    if time.time() - leftover.stat().st_mtime > _STALE_S:
                        leftover.unlink()

    def load(self, recipe: Recipe) -> Part | None:
        """The part as it was stored; None where it never was, or is damaged."""
        try:
            entry = _ENTRIES.validate_json(self._path(recipe).read_bytes())
        except (OSError, ValidationError):
            return None
        sound = entry.format == _FORMAT and entry.recipe == recipe.digest
        return entry.part if sound else None

    def save(self, recipe: Recipe, part: Part) -> None:
        """Stores a part; whoever reads finds the old one or the new one, never half of it.

        Raises:
            EncodeError: it cannot be written.
        """
        entry = _Entry(_FORMAT, recipe.digest, dict(recipe.facts), part)
        _write(self._path(recipe), _ENTRIES.dump_json(entry, indent=1))

    def coded_path(self, recipe: Recipe) -> Path:
        """Where the coded video of a part is, or goes."""
        return self._coded / f"{recipe.coded}.mp4"

    def coded(self, recipe: Recipe, make: Callable[[Path], tuple[float, str]]) -> CodedFile:
        """The coded video, found whole or made; who asks for one that is being made waits for it.

        Args:
            recipe: of the part.
            make: writes the file; returns seconds and command as of `CodedFile`.

        Raises:
            EncodeError: it cannot be written.
        """
        path = self.coded_path(recipe)
        with self._locks[recipe.coded]:
            try:
                known = _CODED.validate_json(path.with_suffix(".json").read_bytes())
                if known.digest == file_digest(path):
                    return known
            except (OSError, ValidationError):
                pass
            seconds, command = make(path)
            made = CodedFile(seconds, command, file_digest(path))
            _write(path.with_suffix(".json"), _CODED.dump_json(made, indent=1))
            return made

    def _path(self, recipe: Recipe) -> Path:
        return self._points / f"{recipe.digest}.json"


def _write(path: Path, data: bytes) -> None:
    try:
        with replacing(path) as file:
            file.write(data.decode())
    except OSError as error:
        raise EncodeError(f"cannot write {path}: {error.strerror or error}") from error


def file_digest(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()

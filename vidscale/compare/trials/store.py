"""Results of trials on disk: each is written as soon as its trial is done, so that an interrupted run can resume."""

import contextlib
import hashlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import field
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from vidscale.compare.trials.encoding import EncodeRecord
from vidscale.compare.trials.keys import TrialKey
from vidscale.errors import EncodeError, reason_of
from vidscale.system.workspace import replacing

_FORMAT = 3
_STALE_S = 3600  # no run is still writing a temporary file of this age


@checked(frozen=True, config=ConfigDict(extra="forbid", ser_json_inf_nan="strings"))
class TrialResult:
    """What a trial measured.

    Attributes:
        video_bytes: bytes of the encoded video packets.
        duration_s: of the segment, seconds, exact.
        frames: number of compared frames.
        means: mean over frames of each metric; in place of "psnr_y" it has "mse_y", in code values squared.
        encode_s, decode_s: see `vidscale.compare.points.Point`.
        commands: shell commands that reproduce the trial.
        coded_digest: hash of the encoded file that was measured.
        sizes: bytes of each encoded frame, in presentation order, of the whole segment.
        keys: indices of the keyframes among them.
        scores: per measured frame, by the names of ``means``.
    """

    video_bytes: Annotated[int, Field(ge=0)]
    duration_s: Annotated[Fraction, Field(gt=0)]
    frames: Annotated[int, Field(ge=1)]
    means: Mapping[str, float]
    encode_s: float
    decode_s: float
    commands: tuple[str, ...]
    coded_digest: str
    sizes: tuple[int, ...] = ()
    keys: tuple[int, ...] = ()
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class CodedFile:
    """An encoded segment on disk.

    Attributes:
        seconds: wall time of encoding it.
        command: shell command that reproduces it.
        digest: hash of the file.
    """

    seconds: float
    command: str
    digest: str


@checked(frozen=True, config=ConfigDict(extra="forbid", ser_json_inf_nan="strings"))
class _Entry:
    format: int
    key: str
    facts: dict[str, object]
    result: TrialResult


_ENTRIES, _CODED = TypeAdapter(_Entry), TypeAdapter(CodedFile)


class TrialStore:
    """A folder of trials: results in ``points/``, encoded files in ``coded/``.

    Encoded files are kept because candidates with different upscalers share them, and for further metrics and stills.
    They may be deleted.

    Args:
        folder: created if missing, with both subfolders; stale temporary files of killed runs are removed.
        coded: where encoded files are kept instead of in ``folder``.
    """

    def __init__(self, folder: Path, coded: Path | None = None) -> None:
        self._points, self._coded = folder / "points", coded or folder / "coded"
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        for place in (self._points, self._coded):
            place.mkdir(parents=True, exist_ok=True)
            for leftover in place.glob(".*"):
                with contextlib.suppress(OSError):
                    if time.time() - leftover.stat().st_mtime > _STALE_S:
                        leftover.unlink()

    def load(self, key: TrialKey) -> TrialResult | None:
        """The stored result; None if there is none or it is damaged."""
        try:
            entry = _ENTRIES.validate_json(self._path(key).read_bytes())
        except (OSError, ValidationError):
            return None
        return entry.result if entry.format == _FORMAT and entry.key == key.digest else None

    def save(self, key: TrialKey, result: TrialResult) -> None:
        """Stores a result atomically.

        Raises:
            EncodeError: it cannot be written.
        """
        entry = _Entry(_FORMAT, key.digest, dict(key.facts), result)
        _write(self._path(key), _ENTRIES.dump_json(entry, indent=1))

    def coded_path(self, key: TrialKey) -> Path:
        """Path of a trial's encoded file, whether it exists or not."""
        return self._coded / f"{key.coded}.mp4"

    def coded(self, key: TrialKey, encode: Callable[[Path], EncodeRecord]) -> CodedFile:
        """A trial's encoded file; encoded if it is missing or damaged. If another thread is encoding it, waits.

        Args:
            key: of the trial.
            encode: writes the file.

        Raises:
            EncodeError: it cannot be written.
        """
        path = self.coded_path(key)
        with self._locks[key.coded]:
            try:
                known = _CODED.validate_json(path.with_suffix(".json").read_bytes())
                if known.digest == file_digest(path):
                    return known
            except (OSError, ValidationError):
                pass
            record = encode(path)
            made = CodedFile(record.seconds, record.command, file_digest(path))
            _write(path.with_suffix(".json"), _CODED.dump_json(made, indent=1))
            return made

    def _path(self, key: TrialKey) -> Path:
        return self._points / f"{key.digest}.json"


def _write(path: Path, data: bytes) -> None:
    try:
        with replacing(path) as file:
            file.write(data.decode())
    except OSError as error:
        raise EncodeError(f"cannot write {path}: {reason_of(error)}") from error


def file_digest(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()

"""The results of the movies of a batch, in a database beside the outputs, from which the next run resumes."""

import json
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vidscale.batch.database import open_database
from vidscale.batch.tasks import sha256_of
from vidscale.quality import Metric

State = Literal["done", "kept", "failed"]
_SCHEMA = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS movies (
    output TEXT PRIMARY KEY, key TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL, result TEXT NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class MovieResult:
    """The end of a movie.

    Attributes:
        source, output: paths.
        state: "done", "kept" (by an earlier run) or "failed".
        reason: why it failed; "" otherwise.
        report: folder of its report; None without one.
        frames: in the output; 0 if it failed.
        duration_s: of the video, seconds.
        bytes, source_bytes: sizes of the files; None if unknown.
        quality: metrics of the report, mean of the frames, by name; empty without one.
        scaling: pair and scale, such as "adaptive-x2".
        bits: bits against the full size at equal quality, a ratio minus one; None if unknown.
        is_low: below the quality that was asked for.
        seconds: that it took.
        notes: messages for the user, one line each.
    """

    source: str
    output: str
    state: State
    reason: str = ""
    report: str | None = None
    frames: int = 0
    duration_s: float = 0.0
    bytes: int | None = None
    source_bytes: int | None = None
    quality: dict[Metric, float] = field(default_factory=dict)
    scaling: str = ""
    bits: float | None = None
    is_low: bool = False
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


class Results:
    """The finished movies of an output folder. Opened by one program at a time.

    Args:
        path: the database; created if missing.

    Raises:
        ConfigError: it is not such a database, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        remedy = "remove it, or name another output folder"
        self._database = open_database(path, _TABLE, schema=_SCHEMA, remedy=remedy)

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    def add(self, key: str, result: MovieResult) -> None:
        """Enters a finished movie; ``key`` is the hash of what it depends on."""
        output = Path(result.output)
        row = (str(output.absolute()), key, output.stat().st_size, sha256_of(output), json.dumps(asdict(result)))
        with self._lock:
            self._database.execute("INSERT OR REPLACE INTO movies VALUES (?, ?, ?, ?, ?)", row)

    def is_outdated(self, key: str, output: Path) -> bool:
        """Whether the output was finished with other dependencies."""
        row = self._row(output)
        return row is not None and row[0] != key and output.is_file()

    def kept(self, key: str, output: Path) -> MovieResult | None:
        """A movie that was finished with these dependencies, if its file has the bytes that it had then."""
        row = self._row(output)
        if row is None or row[0] != key or not output.is_file():
            return None
        if output.stat().st_size != row[1] or sha256_of(output) != row[2]:
            return None
        record = json.loads(row[3])
        return MovieResult(**record | {"state": "kept", "seconds": 0.0, "notes": tuple(record["notes"])})

    def _row(self, output: Path) -> Any:
        query = "SELECT key, size, sha256, result FROM movies WHERE output = ?"
        with self._lock:
            return self._database.execute(query, (str(output.absolute()),)).fetchone()

"""The journal of an unfinished movie: a database beside its chunks, with the finished ones and the hashes of their
files.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidscale.batch.chunks import Chunk
from vidscale.batch.database import open_database
from vidscale.batch.job import Job
from vidscale.batch.tasks import ChunkResult, sha256_of

_SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS job (key TEXT NOT NULL, facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS chunks (
    number INTEGER PRIMARY KEY, first INTEGER, until INTEGER, frames INTEGER,
    depends TEXT, sha256 TEXT, result TEXT
);
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, key TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL, facts TEXT NOT NULL
);
"""


class Journal:
    """The finished chunks of a movie, and the file that they were joined into.

    Args:
        path: the database; created if missing.

    Raises:
        ConfigError: it is not a journal of this version.
    """

    def __init__(self, path: Path) -> None:
        remedy = "remove its folder to start again"
        self._database = open_database(path, _TABLES, schema=_SCHEMA, remedy=remedy)

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    def job(self) -> Job | None:
        """The job that was begun; None if none was."""
        row = self._database.execute("SELECT key, facts FROM job").fetchone()
        return None if row is None else Job(row[0], json.loads(row[1]))

    def begin(self, job: Job, chunks: Sequence[Chunk]) -> None:
        """Begins a job: removes the chunks of any other one, but not the record of our own files."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            for table in ("job", "chunks"):
                self._database.execute(f"DELETE FROM {table}")
            self._database.execute("INSERT INTO job VALUES (?, ?)", (job.key, json.dumps(job.facts)))
            self._database.executemany(
                "INSERT INTO chunks (number, first, until, frames) VALUES (?, ?, ?, ?)",
                [(number, each.start, each.end, each.frames) for number, each in enumerate(chunks)],
            )

    def chunks(self) -> list[Chunk]:
        """All chunks, in order."""
        rows = self._database.execute("SELECT first, until, frames FROM chunks ORDER BY number")
        return [Chunk(*row) for row in rows]

    def finish(self, number: int, depends: str, result: ChunkResult) -> None:
        """Enters a finished chunk."""
        self._database.execute(
            "UPDATE chunks SET depends = ?, sha256 = ?, result = ? WHERE number = ?",
            (depends, result.sha256, json.dumps(result.to_json()), number),
        )

    def finished(self, number: int, depends: str, file: Path) -> ChunkResult | None:
        """A chunk that is entered as finished with these dependencies, if its file has the bytes that it had then."""
        row = self._database.execute("SELECT depends, result FROM chunks WHERE number = ?", (number,)).fetchone()
        if row is None or row[0] != depends or row[1] is None:
            return None
        result = ChunkResult.from_json(json.loads(row[1]))
        return result if _is_file(file, result.size, result.sha256) else None

    def add_file(self, key: str, file: Path, facts: dict[str, Any], *, content: Path) -> None:
        """Enters the finished file of a job by its bytes, before it gets its name; they are in ``content`` until
        then."""
        row = (str(file.absolute()), key, content.stat().st_size, sha256_of(content), json.dumps(facts))
        self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", row)

    def file(self, file: Path) -> tuple[str, dict[str, Any]] | None:
        """The key of the job that has written a file, and what was entered about it, if the file has the bytes that
        it had then."""
        query = "SELECT size, sha256, key, facts FROM files WHERE path = ?"
        row = self._database.execute(query, (str(file.absolute()),)).fetchone()
        return (row[2], json.loads(row[3])) if row is not None and _is_file(file, row[0], row[1]) else None


def _is_file(file: Path, size: int, sha256: str) -> bool:
    return file.is_file() and file.stat().st_size == size and sha256_of(file) == sha256

"""Whether a source is still the file that a job began with."""

from dataclasses import dataclass
from pathlib import Path

from vidscale.errors import ConfigError


class SourceChangedError(ConfigError):
    """The source has changed since the job began."""


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source file at some time: its size in bytes and its time of modification, ns; both None for a pattern."""

    size: int | None
    mtime_ns: int | None

    @classmethod
    def of(cls, path: Path) -> "SourceState":
        try:
            status = path.stat()
        except FileNotFoundError:  # a pattern of numbered pictures
            return cls(None, None)
        return cls(status.st_size, status.st_mtime_ns)


def source_changed(source: str) -> SourceChangedError:
    """The error for a source that has changed."""
    return SourceChangedError(f"{source} has changed since the job began: -y starts again")

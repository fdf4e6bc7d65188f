"""Folders whose new files are taken once they are complete."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vidscale.batch.inputs import Entry, files_of
from vidscale.batch.source_state import SourceState
from vidscale.errors import ConfigError

SETTLED_S = 5.0
"""How long size and time of a file must not change, seconds."""

_WRITING = os.O_WRONLY | os.O_RDWR


class FolderWatch:
    """Finds files that are complete and were not taken yet.

    Args:
        folders: to watch, with their subfolders.
        output: the output folder.
        settled_s: see `SETTLED_S`.
        clock: seconds that never go back.

    Raises:
        ConfigError: one is no folder, or holds the output folder.
    """

    def __init__(
        self,
        folders: Sequence[str],
        output: Path,
        *,
        settled_s: float = SETTLED_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folders = [Path(folder) for folder in folders]
        for folder in self._folders:
            if not folder.is_dir():
                raise ConfigError(f"--watch: {folder} is not a folder")
        self._output, self._settled_s, self._clock = output, settled_s, clock
        self._seen: dict[Path, tuple[SourceState, float]] = {}
        self._taken: dict[Path, SourceState] = {}
        self.complete()

    def complete(self) -> list[Entry]:
        """The files that are complete since the last call; each is given once, until it changes."""
        found = []
        for entry in (entry for folder in self._folders for entry in files_of(folder, self._output)):
            state, now = SourceState.of(entry.source), self._clock()
            before, since = self._seen.get(entry.source, (None, now))
            if state != before:
                since = now
            self._seen[entry.source] = state, since
            if self._taken.get(entry.source) == state or not state.size:
                continue
            if now - since >= self._settled_s and not _is_written(entry.source):
                self._taken[entry.source] = state
                found.append(entry)
        return found


def _is_written(path: Path) -> bool:
    """Whether a program of this machine has a file open for writing, as far as the system tells."""
    try:
        wanted = path.stat()
    except OSError:
        return True
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if not os.path.samestat(descriptor.stat(), wanted):
                continue
            info = (descriptor.parents[1] / "fdinfo" / descriptor.name).read_text()
            flags = int(info.partition("flags:")[2].split()[0], 8)
        except (OSError, ValueError, IndexError):  # it was closed, or belongs to another user
            continue
        if flags & _WRITING:
            return True
    return False

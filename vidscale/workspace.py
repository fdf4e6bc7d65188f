"""Files on their way to their final name."""

import contextlib
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from vidscale.errors import ConfigError, EncodeError

_open: set["Workspace"] = set()
_open_lock = threading.Lock()


def check_target(target: Path, *, source: Path, overwrite: bool) -> None:
    """Makes sure, before work starts, that a file can be written.

    Args:
        target: the file.
        source: what it is made from.
        overwrite: an existing file may be replaced.

    Raises:
        ConfigError: the target is the source, a folder, exists and is not to be replaced, or its folder is missing or
            not writable.
    """
    try:
        os.fsencode(target).decode()  # command lines are built from text
        _check_target(target, source, overwrite)
    except UnicodeDecodeError:
        raise ConfigError(f"{os.fsencode(target)!r} is not UTF-8: ffmpeg takes no such file name; rename it") from None
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {error.strerror or error}") from error


def _check_target(target: Path, source: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise ConfigError(f"{target} is a directory")
    if target.exists():
        if target.samefile(source):
            raise ConfigError(f"{target} is the input; choose another output")
        if not overwrite:
            raise ConfigError(f"{target} exists; -y replaces it")
    if not target.parent.is_dir():
        raise ConfigError(f"the folder {target.parent} does not exist")
    if not os.access(target.parent, os.W_OK):
        raise ConfigError(f"the folder {target.parent} is not writable")


def check_folder(folder: Path) -> None:
    """Makes sure, before work starts, that a folder is there or can be made, and can be written to.

    Raises:
        ConfigError: it cannot.
    """
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not existing.is_dir():
            raise ConfigError(f"{existing} is a file: {folder} cannot be a folder")
        if not os.access(existing, os.W_OK):
            raise ConfigError(f"the folder {existing} is not writable")
    except OSError as error:
        raise ConfigError(f"{folder} cannot be a folder: {error.strerror or error}") from error


@contextlib.contextmanager
def partial_files(target: Path, *, source: Path, overwrite: bool) -> Iterator["Workspace"]:
    """Temporary files beside ``target``, which gets its name only when all went well; nothing is left otherwise.

    Arguments as of `check_target`.

    Raises:
        ConfigError: see `check_target`.
        EncodeError: it cannot be written.
    """
    check_target(target, source=source, overwrite=overwrite)
    workspace = Workspace(target)
    with _open_lock:
        _open.add(workspace)
    try:
        yield workspace
        workspace.result.replace(target)
    except OSError as error:
        raise EncodeError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        workspace.clean()
        with _open_lock:
            _open.discard(workspace)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that is written under a temporary name beside ``path`` and renamed when complete.

    Raises:
        OSError: it cannot be written; nothing is left then, and what was there stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def discard_all() -> None:
    """Removes the temporary files of every output that is being written: the end of an interrupted run."""
    with _open_lock:
        for workspace in _open:
            workspace.clean()


class Workspace:
    """Names of the temporary files of one output.

    Attributes:
        result: becomes the target.
    """

    def __init__(self, target: Path) -> None:
        # Short enough for file systems whatever the target's name; absolute, or ffmpeg takes "a:b.mp4" for a protocol.
        self._stem = f".{target.name[:32]}.{secrets.token_hex(4)}"
        self._folder = target.parent.absolute()
        self._files: list[Path] = []
        self.result = self.file(f"part{target.suffix}")

    def file(self, suffix: str) -> Path:
        """A name for one more temporary file."""
        path = self._folder / f"{self._stem}.{suffix}"
        self._files.append(path)
        return path

    def clean(self) -> None:
        """Removes what is left."""
        for path in self._files:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

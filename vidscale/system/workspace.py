"""Temporary files of an output until it gets its final name."""

import contextlib
import hashlib
import logging
import os
import platform
import re
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Protocol, TextIO, TypeVar

from vidscale.errors import ConfigError, EncodeError, reason_of
from vidscale.system.names import READABLE

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

logger = logging.getLogger(__name__)

_TEMPORARY = re.compile(r"([0-9a-f]{8})\.\w+(\.\w+)?")  # after `_head`


class _Temporary(Protocol):
    def clean(self) -> None: ...


TemporaryT = TypeVar("TemporaryT", bound=_Temporary)

_open: set[_Temporary] = set()
_open_lock = threading.Lock()


def cache_folder() -> Path:
    """Folder for disposable files: ``vidscale`` in the XDG cache folder; without a home in the temporary folder."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidscale"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / "vidscale"


def check_target(target: Path, *, source: Path | None, overwrite: bool) -> None:
    """Checks that a file can be written, before work starts.

    Args:
        target: the file.
        source: the input file; None when the input is not a file.
        overwrite: an existing file may be replaced.

    Raises:
        ConfigError: the target is the source or a folder, exists and must not be replaced, or its folder is missing or
            not writable.
    """
    try:
        _check_target(target, source, overwrite)
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {reason_of(error)}") from error


def _check_target(target: Path, source: Path | None, overwrite: bool) -> None:
    if target.is_dir():
        raise ConfigError(f"{target} is a directory")
    if target.exists():
        if source and source.exists() and target.samefile(source):  # a file name pattern does not exist
            raise ConfigError(f"{target} is the input; choose another output")
        if not overwrite:
            raise ConfigError(f"{target} exists; -y replaces it")
    if not target.parent.is_dir():
        raise ConfigError(f"the folder {target.parent} does not exist")
    if not os.access(target.parent, os.W_OK):
        raise ConfigError(f"the folder {target.parent} is not writable")


def check_folder(folder: Path, *, record: str | None = None) -> None:
    """Checks that a folder exists or can be created, and is writable, before work starts.

    Args:
        folder: the folder to write to.
        record: for a folder with a page, a file by which a page of an earlier run is recognized.

    Raises:
        ConfigError: it is not writable, or has an index.html that is not of an earlier run.
    """
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not existing.is_dir():
            raise ConfigError(f"{existing} is a file: {folder} cannot be a folder")
        if not os.access(existing, os.W_OK):
            raise ConfigError(f"the folder {existing} is not writable")
        if record and (folder / "index.html").exists() and not (folder / record).exists():
            raise ConfigError(f"{folder} has an index.html that vidscale did not write; choose another folder")
    except OSError as error:
        raise ConfigError(f"{folder} cannot be a folder: {reason_of(error)}") from error


def check_page(path: Path, *, coming: Path | None = None) -> None:
    """Checks that a web page can be written, before work starts. It replaces a page, but no other file.

    Args:
        path: of the page.
        coming: a folder that will exist by then.

    Raises:
        ConfigError: it has another file name extension, or see `check_target`.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{path} would be a web page: its name must end in .html")
    if coming is None or path.absolute().parent != coming.absolute():
        check_target(path, source=None, overwrite=True)


@contextlib.contextmanager
def partial_files(target: Path, *, source: Path | None, overwrite: bool) -> Iterator["Workspace"]:
    """Temporary files in the folder of ``target``, which gets its name only on success; otherwise all are removed.

    Leftovers of killed runs (kill -9, power failure) are removed first.

    Arguments as in `check_target`.

    Raises:
        ConfigError: see `check_target`.
        EncodeError: it cannot be written, or the name was taken in the meantime: the result is kept under another.
    """
    check_target(target, source=source, overwrite=overwrite)
    remove_abandoned(target)
    try:
        with disposable(lambda: Workspace(target)) as workspace:
            yield workspace
            _name(workspace.result, target, overwrite)
    except OSError as error:
        raise EncodeError(f"cannot write {target}: {reason_of(error)}") from error


def _name(result: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        result.replace(target)
    elif not _named(result, target):
        others = (target.with_stem(f"{target.stem}-{number}") for number in count(2))
        kept = next(other for other in others if _named(result, other))
        raise EncodeError(f"{target} was created by another program in the meantime: the result is in {kept.name}")


def _named(result: Path, target: Path) -> bool:
    """Renames a file; returns False without renaming when the target exists."""
    try:
        os.link(result, target)  # never replaces, unlike a rename; the temporary name is removed later
    except OSError:  # the target exists, or the file system has no hard links
        if target.exists():
            return False
        result.replace(target)
    return True


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that is written under a temporary name in the folder of ``path`` and renamed when complete.

    Raises:
        OSError: it cannot be written; an existing file is left unchanged.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("w", encoding="utf-8", errors=READABLE, newline="\n") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def disposable(make: Callable[[], TemporaryT]) -> Iterator[TemporaryT]:
    """Temporary files that are cleaned up at the end of the block, or before by `discard_all`."""
    with _open_lock:
        made = make()
        _open.add(made)
    try:
        yield made
    finally:
        made.clean()
        with _open_lock:
            _open.discard(made)


def discard_all() -> None:
    """Removes the temporary files of all jobs; the last step of an interruption."""
    with _open_lock:
        for temporary in _open:
            temporary.clean()


def remove_abandoned(target: Path) -> None:
    """Removes temporary files for a target that a killed program on this machine has left.

    A running program holds a lock on one of them, which the system releases when it exits. On systems without locks
    nothing is removed.
    """
    if fcntl is None:
        return
    head, runs = _head(target), dict[str, list[Path]]()
    with contextlib.suppress(OSError):
        for path in target.parent.absolute().iterdir():
            if path.name.startswith(head) and (match := _TEMPORARY.fullmatch(path.name[len(head) :])):
                runs.setdefault(match[1], []).append(path)
    for token, paths in runs.items():
        lock = target.parent.absolute() / f"{head}{token}.lock"
        with contextlib.suppress(OSError), locked(lock):
            for path in sorted(paths, key=lock.__eq__):  # the lock last: a run creates it first
                logger.info("removing %s, left by a killed run", path)
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(lock: Path) -> Iterator[None]:
    """Holds a run's lock; OSError while the run holds it. A missing lock file means that the run has ended."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        yield
        return
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _head(target: Path) -> str:
    """Name prefix of a target's temporary files on this machine: other machines may share the folder, not the locks.

    Truncated to stay within file name limits.
    """
    return f".{target.name[:32]}.{machine()}-"


@cache
def machine() -> str:
    """A word for this machine, in names of temporary files: other machines may share their folder, not the locks."""
    name = platform.node()
    with contextlib.suppress(OSError):
        name += Path("/etc/machine-id").read_text()
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:6]


class Workspace:
    """Names of the temporary files of one output, with a lock that marks them as in use.

    Attributes:
        result: becomes the target.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, target: Path) -> None:
        self._folder = target.parent.absolute()  # or ffmpeg takes "a:b.mp4" for a protocol
        self._files: list[Path] = []
        self._lock: int | None = None
        self._stem = f"{_head(target)}{secrets.token_hex(4)}"
        while fcntl is not None and not self._claim():  # another run has mistaken it for a leftover
            self._stem = f"{_head(target)}{secrets.token_hex(4)}"
        self.result = self.file(f"part{target.suffix}")

    def _claim(self) -> bool:
        """Creates the lock file and locks it; False when another run holds or has removed it."""
        path = self._folder / f"{self._stem}.lock"
        self._lock = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        try:
            _lock(self._lock)
        except BlockingIOError:
            pass
        except OSError:  # a file system without locks
            return True
        else:
            if path.exists():
                return True
        os.close(self._lock)
        return False

    def file(self, suffix: str) -> Path:
        """A new temporary file name."""
        path = self._folder / f"{self._stem}.{suffix}"
        self._files.append(path)
        return path

    def clean(self) -> None:
        """Removes the remaining temporary files."""
        for path in (*self._files, self._folder / f"{self._stem}.lock"):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

"""Temporary folders: for disposable files, and for a folder that gets its name when it is complete."""

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vidscale.errors import ConfigError, EncodeError, reason_of
from vidscale.system.workspace import disposable, fcntl, locked, machine

logger = logging.getLogger(__name__)

_LOCK = "lock"


class _Folder:
    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="vidscale-"))

    def clean(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for disposable files in the system's temporary folder; removed at the end, also by `discard_all`.

    Raises:
        OSError: it cannot be created.
    """
    with disposable(_Folder) as folder:
        yield folder.path


class _Created:
    def __init__(self, path: Path) -> None:
        self._made = [folder for folder in (path, *path.absolute().parents) if not folder.exists()]
        self.is_complete = False
        path.mkdir(parents=True, exist_ok=True)

    def clean(self) -> None:
        if self.is_complete or not self._made:
            return
        folder, *parents = self._made
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another program may use them by now
            for parent in parents:
                parent.rmdir()


@contextlib.contextmanager
def created_folder(path: Path) -> Iterator[None]:
    """A folder that is created if it is missing, and then removed unless the block succeeds, also by `discard_all`.

    Raises:
        OSError: it cannot be created.
    """
    with disposable(lambda: _Created(path)) as folder:
        yield
        folder.is_complete = True


def check_new_folder(target: Path, *, record: str, source: Path, overwrite: bool) -> None:
    """Checks that a folder can be written, before work starts.

    Args:
        target: the folder.
        record: a file by which one of an earlier run is recognized; no other folder is replaced.
        source: a file that must not be replaced with it.
        overwrite: an existing folder may be replaced.

    Raises:
        ConfigError: it exists and must not be replaced, or it cannot be written.
    """
    try:
        if target.exists() and not target.is_dir():
            raise ConfigError(f"{target} is a file; name a folder")
        if target.is_dir() and any(target.iterdir()):
            if not overwrite:
                raise ConfigError(f"{target} exists; -y replaces it")
            if not (target / record).is_file():
                raise ConfigError(f"{target} has no {record}, so it is not replaced; choose another folder")
            if source.resolve().is_relative_to(target.resolve()):
                raise ConfigError(f"{target} holds the input; choose another folder")
        if not target.absolute().parent.is_dir():
            raise ConfigError(f"the folder {target.absolute().parent} does not exist")
        if not os.access(target.absolute().parent, os.W_OK):
            raise ConfigError(f"the folder {target.absolute().parent} is not writable")
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {reason_of(error)}") from error


def _remove_abandoned(parent: Path) -> None:
    """Removes temporary folders that killed programs on this machine have left: a running one holds a lock."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError):
        for lock in parent.glob(f"{_prefix()}*/{_LOCK}"):
            with contextlib.suppress(OSError), locked(lock):
                logger.info("removing %s, left by a killed run", lock.parent)
                shutil.rmtree(lock.parent)


def _prefix() -> str:
    return f".vidscale-{machine()}-"


@contextlib.contextmanager
def partial_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target``; its folder ``new`` gets that name on success and replaces what is there.
    Folders that killed runs left are removed first.

    Raises:
        EncodeError: it cannot be written.
    """
    try:
        _remove_abandoned(target.absolute().parent)
        place = tempfile.TemporaryDirectory(prefix=_prefix(), dir=target.absolute().parent)
        with place as name, contextlib.ExitStack() as stack:
            folder = Path(name)
            (folder / _LOCK).touch()
            stack.enter_context(locked(folder / _LOCK))
            (folder / "new").mkdir()
            yield folder
            if target.exists():
                target.rename(folder / "old")
            (folder / "new").rename(target)
    except OSError as error:
        raise EncodeError(f"cannot write {target}: {reason_of(error)}") from error

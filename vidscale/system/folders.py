"""A folder that is written under a temporary name."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vidscale.errors import ConfigError, EncodeError, reason_of


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


@contextlib.contextmanager
def partial_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target``; its folder ``new`` gets that name on success and replaces what is there.

    Raises:
        EncodeError: it cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".vidscale-", dir=target.absolute().parent) as name:
            folder = Path(name)
            (folder / "new").mkdir()
            yield folder
            if target.exists():
                target.rename(folder / "old")
            (folder / "new").rename(target)
    except OSError as error:
        raise EncodeError(f"cannot write {target}: {reason_of(error)}") from error

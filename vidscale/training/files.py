"""Atomic writing of training files."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vidscale.errors import ConfigError, EncodeError, TrainingError, reason_of
from vidscale.system.workspace import partial_files


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file under a temporary name and renames it when complete.

    The file at `path` is always whole, even after a crash or with two runs writing it. Leftovers of a killed run are
    removed first.

    Args:
        path: final path; its folder is created if missing.

    Raises:
        TrainingError: it cannot be written; no partial file is left.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial_files(path, source=None, overwrite=True) as workspace, workspace.result.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {reason_of(error)}") from error
    except (ConfigError, EncodeError) as error:
        raise TrainingError(str(error)) from error

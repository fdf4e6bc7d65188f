"""Files of trainings on their way to their final name."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vidscale.errors import ConfigError, EncodeError, TrainingError
from vidscale.system.workspace import partial_files


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that is written under a temporary name and renamed when complete: whenever the power fails or another
    training writes the same file, what has the name is whole. What a run that was killed has left is removed first.

    Args:
        path: of the file; its folder is made where it is missing.

    Raises:
        TrainingError: it cannot be written; nothing is left then.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial_files(path, source=None, overwrite=True) as workspace, workspace.result.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error
    except (ConfigError, EncodeError) as error:
        raise TrainingError(str(error)) from error

"""Files of trainings on their way to their final name."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vidscale.errors import TrainingError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that is written under a temporary name and renamed when complete: whenever the power fails, what was there
    or what replaces it is whole. What a run that was killed has left is written over by the next.

    Args:
        path: of the file; its folder is made where it is missing.

    Raises:
        TrainingError: it cannot be written; nothing is left then.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise TrainingError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)

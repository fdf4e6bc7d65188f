"""Earlier versions of a file that is written again, so that one of them can be brought back."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from vidscale.errors import EncodeError, reason_of
from vidscale.system.workspace import Workspace, disposable


class Versions:
    """Keeps versions of a file under temporary names in its folder; a context manager that removes them at the end.

    Args:
        target: the file.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._kept: list[Path] = []
        self._workspace: Workspace | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> "Versions":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def keep(self) -> None:
        """Keeps the file as it is now; it must be replaced next, not changed.

        Raises:
            EncodeError: its folder cannot be written to.
        """
        with self._writing():
            if self._workspace is None:
                self._workspace = self._open.enter_context(disposable(lambda: Workspace(self._target)))
            kept = self._workspace.file(f"v{len(self._kept)}{self._target.suffix}")
            try:
                os.link(self._target, kept)
            except OSError:  # the file system has no hard links
                shutil.copyfile(self._target, kept)
            self._kept.append(kept)

    def bring_back(self, number: int) -> None:
        """Puts the version that was kept as the Nth, from 0 on, in place of the file.

        Raises:
            EncodeError: its folder cannot be written to.
        """
        with self._writing():
            self._kept[number].replace(self._target)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EncodeError(f"cannot write {self._target}: {reason_of(error)}") from error

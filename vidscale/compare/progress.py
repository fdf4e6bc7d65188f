"""Progress of a comparison. The command line draws it; the default ignores it."""

from collections.abc import Iterator
from contextlib import contextmanager

from vidscale.system.progress import Progress


class ComparisonProgress:
    """Receives progress; methods are called from several threads at once.

    A method may raise to end the comparison; that is how an interrupt stops it between two frames.
    """

    def start(self, job: str) -> None:
        """A job starts, such as "bunny.mkv: lanczos-x2, x264 medium, crf 28"."""

    def advance(self) -> None:
        """A frame of some job was encoded or measured."""

    def end(self, job: str) -> None:
        """A job ended, successfully or not."""

    def count(self, done: int, total: int) -> None:
        """``done`` trials of ``total`` are finished; the total may still grow."""

    def failed(self, movie: str, reason: str) -> None:
        """A movie cannot be compared; ``reason`` is one line."""

    def note(self, text: str) -> None:
        """One line for the user."""

    @contextmanager
    def job(self, name: str) -> Iterator[Progress]:
        """Reports a job from start to end; yields the progress of its frames."""
        self.start(name)
        try:
            yield _Frames(self)
        finally:
            self.end(name)


class _Frames(Progress):
    def __init__(self, whole: ComparisonProgress) -> None:
        self._whole = whole

    def advance(self) -> None:
        self._whole.advance()

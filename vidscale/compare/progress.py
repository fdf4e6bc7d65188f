"""How a comparison tells what it does. The command line draws it; by default nothing is told."""

from collections.abc import Iterator
from contextlib import contextmanager

from vidscale.system.progress import Progress


class ComparisonProgress:
    """Receives what a comparison tells; every method is called from many threads at a time.

    A method may raise to end the comparison: that is how an interrupted run stops between two frames.
    """

    def start(self, job: str) -> None:
        """A job begins, such as "bunny.mkv: lanczos-x2, x264 medium, crf 28"."""

    def advance(self) -> None:
        """One more frame of some job is coded or measured."""

    def end(self, job: str) -> None:
        """A job ends, well or not."""

    def count(self, done: int, total: int) -> None:
        """So many parts are measured, of so many that are known to be needed; more may become known."""

    def failed(self, movie: str, reason: str) -> None:
        """A movie cannot be compared; ``reason`` is one line."""

    def note(self, text: str) -> None:
        """One line that a person should read."""

    @contextmanager
    def job(self, name: str) -> Iterator[Progress]:
        """Tells of a job from its beginning to its end; the result counts its frames."""
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

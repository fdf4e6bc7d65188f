"""Progress reporting of a running job. The command line draws it; by default it is discarded."""

from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")


class Progress:
    """Receives the progress of a job; every method may be called from a worker thread.

    A method may raise to end the job: that is how an interrupted run stops between two frames.
    """

    def start(self, task: str, total: int | None, unit: str = "frames") -> None:
        """Starts a part of the job; ``total`` is its number of units, None when unknown."""

    def expect(self, task: str, total: int | None) -> None:
        """A part that starts later, with that many frames; it counts in the time left."""

    def advance(self) -> None:
        """One more unit is done."""

    def part(self, done: int, total: int) -> None:
        """``done`` of the ``total`` parts that the job was divided into are done."""

    def check(self) -> None:
        """Raises if the job must end; for steps that do not advance."""

    def note(self, text: str) -> None:
        """A one-line message for the user."""


def counted(items: Iterator[T], progress: Progress) -> Iterator[T]:
    """The items; ``progress`` advances as each is consumed."""
    for item in items:
        yield item
        progress.advance()

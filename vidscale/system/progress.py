"""Progress reporting of a running job, and estimates of the time left. The command line draws it; by default it is
discarded.
"""

from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")

_SOON_S, _LATE_S, _SHARE = 3.0, 30.0, 0.05


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


def can_estimate(passed_s: float, done: int, total: int) -> bool:
    """Whether what is done shows how long the rest takes: after 3 s and a twentieth of the job, or after 30 s."""
    return passed_s >= _SOON_S and (passed_s >= _LATE_S or done >= _SHARE * total)


def left_text(seconds: float | None) -> str:
    """Such as ``40 s left`` or ``12 min left``; "" for None."""
    if seconds is None:
        return ""
    return f"{seconds:.0f} s left" if seconds < 100 else f"{seconds / 60:.0f} min left"

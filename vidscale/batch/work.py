"""Runs the chunks of one movie on an engine: progress, tries, what ends the job."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from vidscale.batch.tasks import FinalError, Task
from vidscale.errors import EncodeError, VidscaleError
from vidscale.system.progress import Progress

T = TypeVar("T", bound=Task)
R = TypeVar("R")

TRIES = 3
_POLL_S = 0.2
_FULL = "No space left"


class DiskFullError(EncodeError):
    """The disk is full, or will be."""


@dataclass(slots=True)
class _Part(Generic[R]):
    """A part of the movie at work.

    Attributes:
        number: of the task.
        tries: so far.
        counted: frames that progress has counted; those of a repeated try are not counted again.
        at: frames of the present try.
        future: of the present try.
    """

    number: int
    tries: int = 0
    counted: int = 0
    at: int = 0
    future: "Future[R] | None" = None


class Work(Generic[T, R]):
    """The tasks of a movie.

    Args:
        submit: queues a task; its second argument is called with numbers of finished frames, from another thread.
        tasks: by number.
        finished: called with the number and the result of each, in the thread of `run`; may raise to end the work.
        progress: advances with every frame.
    """

    def __init__(
        self,
        submit: "Callable[[T, Callable[[int], None]], Future[R]]",
        tasks: Mapping[int, T],
        finished: Callable[[int, R], None],
        progress: Progress,
    ) -> None:
        self._begin, self._tasks, self._finished, self._progress = submit, tasks, finished, progress
        self._done: queue.SimpleQueue[_Part[R]] = queue.SimpleQueue()
        self._counting = threading.Lock()

    def run(self) -> None:
        """Runs all tasks; after a failure those that have begun are finished, the others are not begun.

        Raises:
            VidscaleError: a task failed for good; the message names it.
        """
        parts = [_Part[R](number) for number in self._tasks]
        for part in parts:
            self._submit(part)
        failure: VidscaleError | None = None
        pending = len(parts)
        while pending:
            self._progress.check()
            try:
                part = self._done.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            pending -= 1
            try:
                pending += self._settle(part, again=failure is None)
            except VidscaleError as error:
                failure = failure or error
                _cancel(parts)
        if failure is not None:
            raise failure

    def _submit(self, part: _Part[R]) -> None:
        part.tries, part.at = part.tries + 1, 0
        part.future = self._begin(self._tasks[part.number], lambda frames: self._advance(part, frames))
        part.future.add_done_callback(lambda _: self._done.put(part))

    def _advance(self, part: _Part[R], frames: int) -> None:
        with self._counting:
            part.at += frames
            new = max(0, part.at - part.counted)
            part.counted += new
            for _ in range(new):
                self._progress.advance()

    def _settle(self, part: _Part[R], *, again: bool) -> bool:
        """Takes the result of a part; returns whether it was submitted again."""
        if part.future is None or part.future.cancelled():
            return False
        error = part.future.exception()
        if error is None:
            self._finished(part.number, part.future.result())
            return False
        self._progress.check()  # workers of an interrupted job were killed
        if not isinstance(error, VidscaleError):
            raise error
        is_final = isinstance(error, FinalError) or _FULL in str(error)
        if again and part.tries < TRIES and not is_final:
            self._submit(part)
            return True
        raise self._failure(part, error) from error

    def _failure(self, part: _Part[R], error: VidscaleError) -> VidscaleError:
        if isinstance(error, FinalError):
            return error
        if _FULL in str(error):
            return DiskFullError("the disk is full; free some space and run the same command again")
        task = self._tasks[part.number]
        return EncodeError(f"{task.name}{_range_text(task)} failed {part.tries} times: {error}")


def _range_text(task: Task) -> str:
    if task.start_s is None:
        return ""
    return f" ({_seconds(task.start_s)} to {_seconds(task.end_s)})"


def _seconds(text: str | None) -> str:
    if text is None:
        return "the end"
    above, _, below = text.partition("/")
    return f"{int(above) / int(below or 1):.2f} s"


def _cancel(parts: Sequence[_Part[R]]) -> None:
    for part in parts:
        if part.future is not None:
            part.future.cancel()

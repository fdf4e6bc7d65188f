"""Runs the chunks of one movie on an engine: progress, tries, what ends the job."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from vidscale.batch.local import Engine
from vidscale.batch.tasks import ChunkResult, ChunkTask, FinalError
from vidscale.errors import EncodeError, VidscaleError
from vidscale.system.progress import Progress

TRIES = 3
_POLL_S = 0.2
_FULL = "No space left"


class DiskFullError(EncodeError):
    """The disk is full, or will be."""


@dataclass(slots=True)
class _Chunk:
    """A chunk at work.

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
    future: "Future[ChunkResult] | None" = None


class Work:
    """The tasks of a movie.

    Args:
        engine: runs them.
        tasks: by number.
        finished: called with the number and the result of each, in the thread of `run`; may raise to end the work.
        progress: advances with every frame.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: Mapping[int, ChunkTask],
        finished: Callable[[int, ChunkResult], None],
        progress: Progress,
    ) -> None:
        self._engine, self._tasks, self._finished, self._progress = engine, tasks, finished, progress
        self._done: queue.SimpleQueue[_Chunk] = queue.SimpleQueue()
        self._counting = threading.Lock()

    def run(self) -> None:
        """Runs all tasks; after a failure those that have begun are finished, the others are not begun.

        Raises:
            VidscaleError: a task failed for good; the message names it.
        """
        chunks = [_Chunk(number) for number in self._tasks]
        for chunk in chunks:
            self._submit(chunk)
        failure: VidscaleError | None = None
        pending = len(chunks)
        while pending:
            self._progress.check()
            try:
                chunk = self._done.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            pending -= 1
            try:
                pending += self._settle(chunk, again=failure is None)
            except VidscaleError as error:
                failure = failure or error
                _cancel(chunks)
        if failure is not None:
            raise failure

    def _submit(self, chunk: _Chunk) -> None:
        chunk.tries, chunk.at = chunk.tries + 1, 0
        chunk.future = self._engine.submit(self._tasks[chunk.number], lambda frames: self._advance(chunk, frames))
        chunk.future.add_done_callback(lambda _: self._done.put(chunk))

    def _advance(self, chunk: _Chunk, frames: int) -> None:
        with self._counting:
            chunk.at += frames
            new = max(0, chunk.at - chunk.counted)
            chunk.counted += new
            for _ in range(new):
                self._progress.advance()

    def _settle(self, chunk: _Chunk, *, again: bool) -> bool:
        """Takes the result of a chunk; returns whether it was submitted again."""
        if chunk.future is None or chunk.future.cancelled():
            return False
        error = chunk.future.exception()
        if error is None:
            self._finished(chunk.number, chunk.future.result())
            return False
        self._progress.check()  # workers of an interrupted job were killed
        if not isinstance(error, VidscaleError):
            raise error
        is_final = isinstance(error, FinalError) or _FULL in str(error)
        if again and chunk.tries < TRIES and not is_final:
            self._submit(chunk)
            return True
        raise self._failure(chunk, error) from error

    def _failure(self, chunk: _Chunk, error: VidscaleError) -> VidscaleError:
        if isinstance(error, FinalError):
            return error
        if _FULL in str(error):
            return DiskFullError("the disk is full; make room and run the same command again")
        task = self._tasks[chunk.number]
        return EncodeError(f"{task.name}{_range_text(task)} failed {chunk.tries} times: {error}")


def _range_text(task: ChunkTask) -> str:
    if task.start_s is None:
        return ""
    return f" ({_seconds(task.start_s)} to {_seconds(task.end_s)})"


def _seconds(text: str | None) -> str:
    if text is None:
        return "the end"
    above, _, below = text.partition("/")
    return f"{int(above) / int(below or 1):.2f} s"


def _cancel(chunks: Sequence[_Chunk]) -> None:
    for chunk in chunks:
        if chunk.future is not None:
            chunk.future.cancel()

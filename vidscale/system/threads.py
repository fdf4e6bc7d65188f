"""Parallel stages: bounded queues between generators, and jobs that Ctrl-C interrupts immediately."""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from vidscale.triton_kernels.compile_time import COMPILE_TIME

T = TypeVar("T")
R = TypeVar("R")

_POLL_S = 0.1
_END = object()


@dataclass(slots=True)
class Clock:
    """Time that one stage spent working, not waiting.

    Attributes:
        stage: name for the report.
        frames: pictures it worked on.
        busy_s: seconds inside `measure` blocks, summed over all threads, without those of the first run in which
            functions are compiled.
    """

    stage: str
    frames: int = 0
    busy_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __reduce__(self) -> tuple[type["Clock"], tuple[str, int, float]]:
        """For another process, which cannot have the lock."""
        return Clock, (self.stage, self.frames, self.busy_s)

    @contextmanager
    def measure(self, frames: int = 1) -> Iterator[None]:
        """Counts the time inside the block, and ``frames`` pictures."""
        start, compiling = time.perf_counter(), COMPILE_TIME.seconds()
        try:
            yield
        finally:
            compiling = COMPILE_TIME.seconds() - compiling
            with self._lock:
                self.busy_s += time.perf_counter() - start - compiling
                self.frames += frames


def queue_depth(frame_bytes: int) -> int:
    """Capacity of a queue between two stages: 8 pictures, fewer when they are large, to bound memory."""
    return max(2, min(8, (128 << 20) // max(frame_bytes, 1)))


class Prefetch(Generic[T]):
    """An iterator whose source runs in its own thread, at most ``depth`` items ahead.

    An exception of the source is raised in the consumer after the items before it. `close` (also called by ``with`` and
    at the end of the iteration) stops the thread and closes the source.
    """

    def __init__(self, source: Iterable[T], depth: int) -> None:
        self._source = source
        self._queue: queue.Queue[object] = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._error = _feed(self._source, self._put)
        self._put(_END)

    def _put(self, item: object) -> bool:
        return _put(self._queue, item, self._stop)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._stop.is_set():
            raise StopIteration
        item = self._queue.get()
        if item is _END:
            self.close()
            if self._error is not None:
                raise self._error
            raise StopIteration
        return item  # type: ignore[return-value]

    def close(self) -> None:
        """Stops the source and waits for its thread."""
        self._stop.set()
        while not self._queue.empty():
            self._queue.get_nowait()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> "Prefetch[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StoppedError(Exception):
    """A reader of `Shared` was stopped, because another one failed."""


class Shared(Generic[T]):
    """An iterator that several threads read, each all items; its source runs in its own thread, at most ``depth`` items
    ahead of the slowest reader.

    An exception of the source is raised in every reader after the items before it. `close` (also called by ``with``)
    stops the thread and the readers.
    """

    def __init__(self, source: Iterable[T], readers: int, depth: int) -> None:
        self._source = source
        self._queues: list[queue.Queue[object]] = [queue.Queue(maxsize=depth) for _ in range(readers)]
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="shared", daemon=True)
        self._thread.start()

    def read(self, reader: int) -> Iterator[T]:
        """The items, for one of the readers.

        Args:
            reader: its number, from 0.

        Raises:
            StoppedError: `close` was called before the end.
        """
        while True:
            try:
                item = self._queues[reader].get(timeout=_POLL_S)
            except queue.Empty:
                if self._stop.is_set():
                    raise StoppedError from None
                continue
            if item is _END:
                if self._error is not None:
                    raise self._error
                return
            yield item  # type: ignore[misc]

    def _run(self) -> None:
        self._error = _feed(self._source, self._put)
        self._put(_END)

    def _put(self, item: object) -> bool:
        return all(_put(to, item, self._stop) for to in self._queues)

    def close(self) -> None:
        """Stops the source and waits for its thread; readers that are not at the end are stopped."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> "Shared[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _feed(source: Iterable[object], put: Callable[[object], bool]) -> BaseException | None:
    """Puts the items of a source until they are refused, and closes it. Returns its exception, for whoever reads."""
    try:
        try:
            for item in source:
                if not put(item):
                    break
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()
    except BaseException as error:
        return error
    return None


def _put(to: "queue.Queue[object]", item: object, stop: threading.Event) -> bool:
    """Waits until a queue takes an item; returns False if stopped before."""
    while not stop.is_set():
        try:
            to.put(item, timeout=_POLL_S)
        except queue.Full:
            continue
        return True
    return False


_most_cores: int | None = None


def limit_cores(most: int) -> None:
    """Makes this program share the machine: `core_count` is at most this from now on."""
    global _most_cores
    _most_cores = most


def core_count() -> int:
    """Processors that this program may use."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return found if _most_cores is None else min(found, _most_cores)


def in_order(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Results of a function that releases the GIL, in the order of the items.

    A result is yielded as soon as it is ready, without waiting for the next item. At most ``2 * threads`` items or
    results are queued.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="worker") as pool:
        try:
            with Prefetch((pool.submit(function, item) for item in items), 2 * threads) as pending:
                for future in pending:
                    yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def worker_pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A thread pool; if the block raises, jobs that have not started are cancelled."""
    with ThreadPoolExecutor(threads, thread_name_prefix="worker") as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class Unfinished(BaseException):
    """An interrupted job did not end in time: its thread still runs."""


def run_interruptible(job: Callable[[], T], *, on_interrupt: Callable[[], None], grace_s: float = 1.0) -> T:
    """Runs a job in a thread while the main thread waits, so that signals are handled immediately.

    When KeyboardInterrupt (or another exception of a signal handler) reaches the main thread, ``on_interrupt`` is
    called repeatedly until the job has ended or ``grace_s`` seconds have passed; it must make the job end. Then the
    exception is re-raised.

    Raises:
        Unfinished: the job was interrupted and did not end in time.
    """
    result: list[T] = []
    failure: list[BaseException] = []
    done = threading.Event()

    def target() -> None:
        try:
            result.append(job())
        except BaseException as error:  # re-raised below
            failure.append(error)
        finally:
            done.set()

    try:
        threading.Thread(target=target, name="job", daemon=True).start()
        while not done.wait(_POLL_S):
            pass
    except BaseException:
        deadline = time.monotonic() + grace_s
        on_interrupt()
        while not done.wait(_POLL_S) and time.monotonic() < deadline:
            on_interrupt()
        if not done.is_set():
            raise Unfinished from None
        raise
    if failure:
        raise failure[0]
    return result[0]

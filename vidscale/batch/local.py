"""The local engine: worker processes on this machine, one chunk each at a time."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from vidscale.batch.chunk_encode import answer
from vidscale.batch.measure_part import MeasureTask
from vidscale.batch.tasks import ChunkResult, ChunkTask, result_of
from vidscale.errors import EncodeError
from vidscale.jobs.measurement import Measurement
from vidscale.system import processes
from vidscale.system.threads import core_count

_Advance = Callable[[int], None]


class Engine(Protocol):
    """Where chunks run.

    Attributes:
        workers: chunks that it runs at the same time.
        threads: processors for each.
        alone: runs the only chunk of the only movie.
    """

    @property
    def alone(self) -> "Engine": ...
    @property
    def workers(self) -> int: ...
    @property
    def threads(self) -> int: ...

    def prepare(self, task: ChunkTask, count: int) -> None:
        """Makes ``count`` workers load what tasks like this one need, before one is submitted."""

    def submit(self, task: ChunkTask, advance: _Advance) -> "Future[ChunkResult]":
        """Queues a task; ``advance`` is called with numbers of frames, from another thread."""

    @property
    def measure(self) -> "Callable[[MeasureTask, _Advance], Future[Measurement]] | None":
        """Queues the measuring of a part of an output, as `submit`; None where this program is to measure."""

    def close(self) -> None:
        """Ends all workers, also busy ones."""


def default_workers() -> int:
    """Number of workers for this machine: one per processor up to three, one for every two on larger machines."""
    cores = core_count()
    return cores if cores <= 3 else cores // 2


class ThisProcess:
    """Runs tasks in threads of this program: for a single one no worker needs to start."""

    workers = 1
    measure = None

    @property
    def alone(self) -> "ThisProcess":
        return self

    @property
    def threads(self) -> int:
        return core_count()

    def prepare(self, task: ChunkTask, count: int) -> None:
        """There is nothing to prepare."""

    def submit(self, task: ChunkTask, advance: _Advance) -> "Future[ChunkResult]":
        future: Future[ChunkResult] = Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                future.set_result(ChunkResult.from_json(result_of(answer(task.to_json(), lambda: advance(1)))))
            except BaseException as error:  # the task's, not this thread's
                future.set_exception(error)

        threading.Thread(target=run, name="chunk", daemon=True).start()
        return future

    def close(self) -> None:
        """Threads end by themselves."""


class LocalEngine:
    """Worker processes, started when the first tasks come, or before; a worker that dies is replaced.

    Args:
        workers: number of processes; None for `default_workers`.
    """

    measure = None  # this program uses all processors as well as workers would

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or default_workers()
        self._queue: queue.SimpleQueue[tuple[ChunkTask, _Advance, Future[ChunkResult]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._live: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    @property
    def alone(self) -> ThisProcess:
        return ThisProcess()

    @property
    def threads(self) -> int:
        return max(1, -(-core_count() // self.workers))

    def prepare(self, task: ChunkTask, count: int) -> None:
        for _ in range(min(count, self.workers)):
            self._add_worker(task)

    def submit(self, task: ChunkTask, advance: _Advance) -> "Future[ChunkResult]":
        future: Future[ChunkResult] = Future()
        self._queue.put((task, advance, future))
        self._add_worker(None)
        return future

    def _add_worker(self, first: ChunkTask | None) -> None:
        """Starts another thread with a worker, unless there are enough. With ``first``, a task to prepare for, the
        worker process starts at once."""
        with self._lock:
            if len(self._threads) < self.workers:
                self._threads.append(threading.Thread(target=self._serve, args=(first,), name="worker", daemon=True))
                self._threads[-1].start()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for process in self._live:
                processes.kill(process)
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> "LocalEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, first: ChunkTask | None) -> None:
        """Hands tasks to one worker process."""
        process: subprocess.Popen[bytes] | None = None
        if first is not None:
            with contextlib.suppress(EncodeError, OSError):  # the tasks themselves report it
                process = self._start()
                _tell(process, {"prepare": first.to_json()})
        while (item := self._queue.get()) is not None:
            task, advance, future = item
            if self._closed or not future.set_running_or_notify_cancel():
                future.cancel()
                continue
            try:
                if process is None or process.poll() is not None:
                    self._end(process)
                    process = self._start()
                future.set_result(_ask(process, task, advance))
            except BaseException as error:  # the task's, not this thread's
                future.set_exception(error)
        self._end(process)

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._closed:
                raise EncodeError("the workers were stopped")
            process = processes.start(
                [sys.executable, "-m", "vidscale.batch.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=-1,
            )
            self._live.add(process)
        return process

    def _end(self, process: "subprocess.Popen[bytes] | None") -> None:
        if process is None:
            return
        with self._lock:
            self._live.discard(process)
        processes.end(process)
        for pipe in filter(None, (process.stdin, process.stdout)):
            with contextlib.suppress(OSError):
                pipe.close()


def _ask(process: "subprocess.Popen[bytes]", task: ChunkTask, advance: _Advance) -> ChunkResult:
    """Runs a task in a worker process.

    Raises:
        FinalError: it failed, and would fail again.
        EncodeError: it failed, or the worker died.
    """
    answer: dict[str, Any] = {}
    try:
        _tell(process, task.to_json())
        for line in process.stdout or ():
            answer = json.loads(line)
            if answer.get("advance"):
                advance(answer["advance"])
            if "result" in answer or "error" in answer:
                return ChunkResult.from_json(result_of(answer))
    except (BrokenPipeError, json.JSONDecodeError):
        pass
    code = process.wait()
    reason = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
    raise EncodeError(f"a worker {reason}", returncode=code)


def _tell(process: "subprocess.Popen[bytes]", record: dict[str, Any]) -> None:
    if process.stdin is None:
        raise ValueError("started without pipes")
    process.stdin.write((json.dumps(record) + "\n").encode("ascii"))
    process.stdin.flush()

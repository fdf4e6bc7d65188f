"""The engine for several machines: chunks as tasks of Ray, an optional package (``vidscale[ray]``).

Ray gets paths, ranges and timestamps; pictures never pass through it. Outputs must have the same paths on all machines.
So should sources: a worker that cannot find one answers so, and then gets the packets of its range.
"""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from vidscale.batch.chunk_encode import answer, prepare, send
from vidscale.batch.local import default_workers
from vidscale.batch.measure_part import MeasureTask, measured_part
from vidscale.batch.sending import Sent
from vidscale.batch.task_movie import check_version
from vidscale.batch.tasks import ChunkResult, ChunkTask, NotFoundError, Task, result_of
from vidscale.errors import ConfigError, EncodeError, VidscaleError
from vidscale.jobs.measurement import Measurement
from vidscale.media.versions import versions
from vidscale.system.threads import core_count

R = TypeVar("R")

_STORE_BYTES = 80_000_000  # about the least that Ray accepts: only paths and numbers are stored
_CLUSTER_THREADS = 2
_CONNECT_S = 5.0
_POLL_S = 0.2


class RayEngine:
    """Runs chunks as Ray tasks, named after movie and chunk.

    Args:
        workers: chunks at the same time; None suits the processors.
        address: of a running Ray, "auto" or HOST:PORT; None starts one on this machine and ends it at the end.

    Raises:
        ConfigError: Ray is not installed or cannot be reached.
    """

    def __init__(self, workers: int | None, address: str | None) -> None:
        self._ray = _imported()
        self.threads = _CLUSTER_THREADS
        if address is None:
            self.workers = workers or default_workers()
            self.threads = max(1, -(-core_count() // self.workers))
            self._start({"num_cpus": self.workers * self.threads, "include_dashboard": False})
        else:
            _check_reachable(address)
            self._start({"address": address})
            _check_version(self._ray)
            processors = int(self._ray.cluster_resources().get("CPU", 1))
            self.threads = max(1, processors // workers if workers else min(_CLUSTER_THREADS, processors))
            self.workers = workers or max(1, processors // self.threads)
        self._closed = threading.Event()
        self._senders = ThreadPoolExecutor(self.workers, thread_name_prefix="send")  # ranges that are read at a time
        functions = _work, prepare, measured_part
        self._run, self._prepare, self._measure = (self._ray.remote(max_retries=0)(each) for each in functions)

    def _start(self, options: dict[str, Any]) -> None:
        if "address" not in options:
            options["object_store_memory"] = _STORE_BYTES
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray 3 does; else it warns
        logging.getLogger("ray").setLevel(logging.ERROR)
        try:
            self._ray.init(log_to_driver=False, logging_level="ERROR", configure_logging=False, **options)
        except Exception as error:
            at = f" at {options['address']}" if "address" in options else ""
            raise ConfigError(f"Ray{at} cannot be reached: {str(error).partition(chr(10))[0]}") from error

    @property
    def alone(self) -> "RayEngine":
        return self

    def prepare(self, task: ChunkTask, count: int) -> None:
        for _ in range(count):
            self._prepare.options(name=task.name, num_cpus=task.threads).remote(task.to_json())

    def submit(self, task: ChunkTask, advance: Callable[[int], None]) -> "Future[ChunkResult]":
        def run_on_packets(future: "Future[ChunkResult]") -> None:
            with contextlib.suppress(RuntimeError):  # closed in the meantime
                self._senders.submit(self._send, task, future, advance)

        return self._watched(self._begun(task), lambda ended: _chunk(ended, advance), run_on_packets)

    def measure(self, task: MeasureTask, advance: Callable[[int], None]) -> "Future[Measurement]":
        def refuse(future: "Future[Measurement]") -> None:
            future.set_exception(NotFoundError(f"a worker cannot find {task.movie.source} or {task.movie.output}"))

        reference = self._measure.options(**_options(task)).remote(task)
        return self._watched(reference, lambda ended: _measured(ended, advance), refuse)

    def _watched(
        self, reference: Any, result: Callable[[dict[str, Any]], R], missing: "Callable[[Future[R]], None]"
    ) -> "Future[R]":
        """The result of a Ray task.

        Args:
            reference: of the task.
            result: of its answer; may raise.
            missing: called with the future if the worker did not find the movie.
        """
        future: Future[R] = Future()
        future.add_done_callback(lambda own: self._ray.cancel(reference) if own.cancelled() else None)

        def ended(found: "Future[dict[str, Any]]") -> None:
            with contextlib.suppress(InvalidStateError):  # cancelled in the meantime
                if found.exception() is None and found.result().get("missing"):
                    missing(future)
                else:
                    _settle(future, found, result)

        reference.future().add_done_callback(ended)
        return future

    def _begun(self, task: ChunkTask, sent: Sent | None = None) -> Any:
        """A task in Ray's queue."""
        return self._run.options(**_options(task)).remote(task.to_json(), sent)

    def _send(self, task: ChunkTask, future: "Future[ChunkResult]", advance: Callable[[int], None]) -> None:
        """Runs a task on packets, and waits for its end: so that few ranges are in Ray's store."""
        ended: Future[dict[str, Any]] = Future()
        if future.cancelled():
            return
        try:
            reference = self._begun(task, send(task))
            while not self._ray.wait([reference], timeout=_POLL_S)[0]:
                if self._closed.is_set() or future.cancelled():
                    self._ray.cancel(reference)
                    future.cancel()
                    return
            ended.set_result(self._ray.get(reference))
        except VidscaleError as error:
            ended.set_result({"error": str(error), "final": isinstance(error, ConfigError)})
        except Exception as error:
            ended.set_exception(error)
        with contextlib.suppress(InvalidStateError):  # cancelled in the meantime
            _settle(future, ended, lambda answer: _chunk(answer, advance))

    def close(self) -> None:
        """Leaves Ray; one that was started here ends with its workers."""
        self._closed.set()
        self._senders.shutdown(cancel_futures=True)
        self._ray.shutdown()

    def __enter__(self) -> "RayEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _work(record: dict[str, Any], sent: Sent | None) -> dict[str, Any]:
    """What a Ray worker does; ``{"missing": True}`` if it cannot find the movie."""
    movie = record["movie"]
    if sent is None and movie["state"]["size"] is not None and not Path(movie["source"]).exists():
        return {"missing": True}
    return answer(record, lambda: None, sent)


def _options(task: Task) -> dict[str, Any]:
    """Ray's options for a task."""
    options: dict[str, Any] = {"name": task.name, "num_cpus": task.threads}
    return options | {"num_gpus": task.gpus} if task.gpus else options


def _settle(future: "Future[R]", ended: "Future[dict[str, Any]]", result: Callable[[dict[str, Any]], R]) -> None:
    """Passes the end of a Ray task on."""
    error = ended.exception()
    if error is not None:
        reason = str(error).strip().partition("\n")[0]
        future.set_exception(EncodeError(f"a Ray worker was lost: {reason}"))
        return
    try:
        found = result(ended.result())
    except Exception as failure:
        future.set_exception(failure)
    else:
        future.set_result(found)


def _chunk(answer: dict[str, Any], advance: Callable[[int], None]) -> ChunkResult:
    result = ChunkResult.from_json(result_of(answer))
    advance(len(result.pts))
    return result


def _measured(answer: dict[str, Any], advance: Callable[[int], None]) -> Measurement:
    result: Measurement = result_of(answer)
    advance(result.pairs)
    return result


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--engine ray needs Ray: pip install 'vidscale[ray]'") from error
    return ray


def _check_version(ray: Any) -> None:
    """Raises ConfigError when the cluster's workers have another vidscale, which Ray does not install."""
    own = versions()["vidscale"]
    try:
        theirs = ray.get(ray.remote(max_retries=0)(_version).options(name="version").remote())
    except Exception as error:
        reason = str(error).strip().rpartition("\n")[2]
        raise ConfigError(f"the Ray workers cannot run vidscale {own}: {reason}") from error
    check_version(own, at="Ray's workers", found=theirs)


def _version() -> str:
    return versions()["vidscale"]


def _check_reachable(address: str) -> None:
    """Raises ConfigError at once where Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon:
        if address != "auto":
            raise ConfigError(f"--ray-address {address} is neither auto nor HOST:PORT")
        return
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_S):
            return
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(f"Ray at {address} cannot be reached: {error}") from error

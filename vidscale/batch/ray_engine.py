"""The engine for several machines: chunks as tasks of Ray, an optional package (``vidscale[ray]``).

Ray gets paths, ranges and timestamps; pictures never pass through it. Outputs must have the same paths on all machines.
So should sources: a worker that does not find one answers so, and then gets the packets of its range.
"""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vidscale.batch.chunk_encode import answer, prepare, send
from vidscale.batch.local import default_workers
from vidscale.batch.sending import Sent
from vidscale.batch.tasks import ChunkResult, ChunkTask, check_version, result_of
from vidscale.errors import ConfigError, EncodeError, VidscaleError
from vidscale.media.versions import versions
from vidscale.system.threads import core_count

_STORE_BYTES = 80_000_000  # about Ray's least: only paths and numbers are stored
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
        self._senders = ThreadPoolExecutor(self.workers, thread_name_prefix="send")  # so many ranges at a time
        self._run, self._prepare = (self._ray.remote(max_retries=0)(function) for function in (_work, prepare))

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
        options = {"name": task.name, "num_cpus": task.threads}
        for _ in range(count):
            self._prepare.options(**options).remote(task.to_json())

    def submit(self, task: ChunkTask, advance: Callable[[int], None]) -> "Future[ChunkResult]":
        reference = self._begun(task)
        future: Future[ChunkResult] = Future()
        future.add_done_callback(lambda own: self._ray.cancel(reference) if own.cancelled() else None)

        def ended(found: "Future[dict[str, Any]]") -> None:
            if found.exception() is None and found.result().get("missing"):
                with contextlib.suppress(RuntimeError):  # closed in the meantime
                    self._senders.submit(self._send, task, future, advance)
            else:
                _settle(future, found, advance)

        reference.future().add_done_callback(ended)
        return future

    def _begun(self, task: ChunkTask, sent: Sent | None = None) -> Any:
        """A task in Ray's queue."""
        options: dict[str, Any] = {"name": task.name, "num_cpus": task.threads}
        if task.gpus:
            options["num_gpus"] = task.gpus
        return self._run.options(**options).remote(task.to_json(), sent)

    def _send(self, task: ChunkTask, future: "Future[ChunkResult]", advance: Callable[[int], None]) -> None:
        """Runs a task on packets, and waits for its end: so that few ranges are in Ray's store."""
        ended: Future[dict[str, Any]] = Future()
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
        _settle(future, ended, advance)

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
    """What a Ray worker does; ``{"missing": True}`` if it does not find the movie."""
    if sent is None and record["state"]["size"] is not None and not Path(record["source"]).exists():
        return {"missing": True}
    return answer(record, lambda: None, sent)


def _settle(future: "Future[ChunkResult]", ended: "Future[dict[str, Any]]", advance: Callable[[int], None]) -> None:
    """Passes the end of a Ray task on."""
    try:
        error = ended.exception()
        if error is not None:
            reason = str(error).strip().partition("\n")[0]
            future.set_exception(EncodeError(f"a Ray worker was lost: {reason}"))
            return
        try:
            result = result_of(ended.result())
        except Exception as failure:
            future.set_exception(failure)
            return
        advance(len(result.pts))
        future.set_result(result)
    except InvalidStateError:  # cancelled in the meantime
        return


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--engine ray needs Ray: pip install 'vidscale[ray]'") from error
    return ray


def _check_version(ray: Any) -> None:
    """Raises ConfigError when the cluster's workers have another vidscale; they are asked, since installing is not
    Ray's business here."""
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

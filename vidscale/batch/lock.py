"""The claim of one run on an output: two runs, on one machine or two, never write the same one.

On one machine the system's lock decides; it ends with the program, however that ends. File systems that several
machines share do not all pass such locks on, so that the lock file also holds a number that its owner keeps counting
up: a run on another machine watches whether it moves, by its own clock alone.
"""

import contextlib
import json
import os
import platform
import secrets
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from vidscale.errors import ConfigError, EncodeError, reason_of
from vidscale.system.workspace import fcntl

BEAT_S = 5.0
_WATCHED_BEATS = 3


class Claim:
    """Holds a lock file until `release`.

    Args:
        path: the lock file; its folder exists.
        what: that is claimed, for the message.
        beat_s: how often the owner shows that it lives, seconds.

    Raises:
        ConfigError: another run holds it.
        EncodeError: it cannot be written.
    """

    def __init__(self, path: Path, what: str, *, beat_s: float = BEAT_S) -> None:
        self._path, self._what, self._beat_s = path, what, beat_s
        self._token, self._count = secrets.token_hex(8), 0
        self._ended = threading.Event()
        try:
            self._descriptor = self._open()
            try:
                self._wait_for_others()
                self._beat()
            except BaseException:
                os.close(self._descriptor)
                raise
        except OSError as error:
            raise EncodeError(f"cannot write {path}: {reason_of(error)}") from error
        self._thread = threading.Thread(target=self._keep_beating, name="claim", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Releases the lock. May be called twice."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def __enter__(self) -> "Claim":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _open(self) -> int:
        while True:
            descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o666)
            try:
                if fcntl is not None:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = _read(descriptor)
                os.close(descriptor)
                raise self._refusal(owner) from None
            except OSError:  # a file system without locks
                return descriptor
            try:
                if os.path.samestat(os.fstat(descriptor), self._path.stat()):
                    return descriptor
            except FileNotFoundError:
                pass
            os.close(descriptor)  # its last owner has removed it in the meantime

    def _wait_for_others(self) -> None:
        """Watches an owner on another machine, whose lock the system here may not see."""
        owner = _read(self._descriptor)
        if not owner or (owner.get("host") == platform.node() and fcntl is not None):
            return
        deadline = time.monotonic() + _WATCHED_BEATS * self._beat_s
        while time.monotonic() < deadline:
            time.sleep(min(self._beat_s / 4, 1.0))
            now = _read(self._descriptor)
            if not now:
                return
            if now != owner:
                raise self._refusal(now)

    def _refusal(self, owner: dict[str, Any]) -> ConfigError:
        who = f" (process {owner['pid']} on {owner['host']})" if owner else ""
        return ConfigError(f"{self._what} is being written by another run{who}: wait for it, or name another output")

    def _beat(self) -> None:
        self._count += 1
        record = {"host": platform.node(), "pid": os.getpid(), "token": self._token, "beat": self._count}
        data = json.dumps(record).encode("ascii").ljust(256)
        os.pwrite(self._descriptor, data, 0)
        os.fsync(self._descriptor)

    def _keep_beating(self) -> None:
        while not self._ended.wait(self._beat_s):
            try:
                self._beat()
            except OSError:  # a full disk must not end the run; the lock of the system still holds
                continue


def _read(descriptor: int) -> dict[str, Any]:
    """What a lock file says about its owner; empty if it has none."""
    try:
        record = json.loads(os.pread(descriptor, 4096, 0))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return record if isinstance(record, dict) and {"host", "pid"} <= record.keys() else {}

"""Child processes: each is known while it runs, so that an interrupted run can end them all."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

from vidscale.system.names import command_bytes

_live: set["subprocess.Popen[bytes]"] = set()
_live_lock = threading.Lock()


def start(command: Sequence[str], **pipes: Any) -> "subprocess.Popen[bytes]":
    """Starts a program in a session of its own: Ctrl-C is ours to handle. `end` must follow.

    Args:
        command: program and arguments.
        pipes: ``stdin``, ``stdout``, ``stderr`` and ``bufsize`` as of `subprocess.Popen`.

    Raises:
        OSError: it cannot be started.
    """
    with _live_lock:  # a process must not slip between `kill_all` and the list
        process = subprocess.Popen(command_bytes(command), start_new_session=True, **pipes)
        _live.add(process)
    return process


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kills a process that still runs, and sees it off."""
    kill(process)
    process.wait()
    with _live_lock:
        _live.discard(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process at once, with everything that it started: it may be a script around the real program."""
    if process.poll() is None:
        kill_group(process)


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process and what it started, or what it left behind when it died."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def kill_all() -> None:
    """Kills every process that was started here and still runs: what an interrupted run does first."""
    with _live_lock:
        for process in _live:
            kill(process)


def captured(command: Sequence[str], *, data: bytes = b"", timeout_s: float) -> "subprocess.CompletedProcess[bytes]":
    """Runs a program to its end.

    Args:
        command: program and arguments.
        data: what it reads.
        timeout_s: seconds that it may take.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it took longer.
    """
    process = start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        stdout, stderr = process.communicate(data, timeout=timeout_s)
    finally:
        end(process)
        for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
            with contextlib.suppress(OSError):
                pipe.close()
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def announces(command: Sequence[str], words: bytes, *, timeout_s: float) -> bool:
    """Whether a program begins a line of its stderr with these words; it is killed as soon as it has.

    Args:
        command: program and arguments.
        words: beginning of the line.
        timeout_s: seconds until the line, or the end of the program.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it took longer.
    """
    process = start(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    expired = threading.Event()

    def stop() -> None:
        expired.set()
        kill(process)

    timer = threading.Timer(timeout_s, stop)
    timer.start()
    try:
        found = any(line.startswith(words) for line in process.stderr or ())
    finally:
        timer.cancel()
        end(process)
        if process.stderr is not None:
            process.stderr.close()
    if expired.is_set() and not found:
        raise subprocess.TimeoutExpired(command, timeout_s)
    return found

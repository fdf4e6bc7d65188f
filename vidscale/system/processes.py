"""Child processes, tracked while they run so that an interrupted run can kill them all."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

from vidscale.system.names import command_bytes

_live: set["subprocess.Popen[bytes]"] = set()
_sharing_terminal: set["subprocess.Popen[bytes]"] = set()
_live_lock = threading.Lock()


def start(command: Sequence[str], *, shares_terminal: bool = False, **pipes: Any) -> "subprocess.Popen[bytes]":
    """Starts a program in its own session, so that only vidscale receives Ctrl-C. `end` must follow.

    Args:
        command: program and arguments.
        shares_terminal: stay in this session; the program reads keys from the terminal, and receives Ctrl-C, too.
        pipes: ``stdin``, ``stdout``, ``stderr``, ``bufsize`` and ``cwd`` as in `subprocess.Popen`.

    Raises:
        OSError: it cannot be started.
    """
    with _live_lock:  # `kill_all` must not miss a process that was just started
        process = subprocess.Popen(command_bytes(command), start_new_session=not shares_terminal, **pipes)
        _live.add(process)
        if shares_terminal:
            _sharing_terminal.add(process)
    return process


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kills a process if it still runs, and reaps it."""
    kill(process)
    process.wait()
    with _live_lock:
        _live.discard(process)
        _sharing_terminal.discard(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kills a process and its children: it may be a wrapper script around the real program.

    One that shares the terminal is asked to exit instead, since only it can restore the terminal's modes.
    """
    if process.poll() is not None:
        return
    if process in _sharing_terminal:
        process.terminate()
    else:
        kill_group(process)


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kills the process group of a process, including children that outlived it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def kill_all() -> None:
    """Kills every running process that was started here; the first step of an interruption."""
    with _live_lock:
        for process in _live:
            kill(process)


def captured(command: Sequence[str], *, data: bytes = b"", timeout_s: float) -> "subprocess.CompletedProcess[bytes]":
    """Runs a program to its end.

    Args:
        command: program and arguments.
        data: its standard input.
        timeout_s: time limit, seconds.

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
    """Whether a program prints a line with this beginning to stderr; it is killed as soon as it has.

    Args:
        command: program and arguments.
        words: beginning of the line.
        timeout_s: seconds until the line, or the end of the program.

    Raises:
        OSError: it cannot be started.
        subprocess.CalledProcessError: a signal ended it before the line.
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
        if not found:
            process.wait()
    finally:
        timer.cancel()
        end(process)
        if process.stderr is not None:
            process.stderr.close()
    if expired.is_set() and not found:
        raise subprocess.TimeoutExpired(command, timeout_s)
    if not found and process.returncode < 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return found

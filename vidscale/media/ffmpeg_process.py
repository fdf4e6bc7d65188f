"""ffmpeg as a child process, whose errors carry its command and the end of its messages."""

import contextlib
import logging
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from vidscale.errors import EncodeError, reason_of
from vidscale.system import processes

logger = logging.getLogger(__name__)

_TAIL_LINES = 20
_TAIL_BYTES = 1 << 16  # of an unterminated line
_CONSEQUENCE = re.compile(r"Task finished with error|Terminating thread|Error sending frames|Could not open encoder")


class FfmpegProcess:
    """A running ffmpeg: its stderr is always drained, and it never outlives the ``with`` block.

    Args:
        cmd: the command line.
        stdin, stdout: open a pipe to / from it.
        folder: to run it in; None for the current one.
    """

    def __init__(
        self, cmd: Sequence[str], *, stdin: bool = False, stdout: bool = False, folder: Path | None = None
    ) -> None:
        self.cmd = list(cmd)
        logger.debug("running %s", self.cmd)
        try:
            self._process = processes.start(
                self.cmd,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE if stdout else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=folder,
            )
        except OSError as error:
            raise EncodeError(f"cannot start {self.cmd[0]}: {reason_of(error)}", cmd=self.cmd) from error
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._drain = threading.Thread(target=self._read_stderr, daemon=True)
        self._drain.start()

    @property
    def stdin(self) -> IO[bytes]:
        if self._process.stdin is None:
            raise ValueError("started without stdin=True")
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        if self._process.stdout is None:
            raise ValueError("started without stdout=True")
        return self._process.stdout

    def _read_stderr(self) -> None:
        stream = self._process.stderr
        if stream is None:
            return
        buffered = b""
        while chunk := stream.read(1 << 16):
            *lines, buffered = (buffered[-_TAIL_BYTES:] + chunk).split(b"\n")
            self._tail.extend(text for line in lines if (text := line.decode(errors="replace").strip()))
        if buffered.strip():
            self._tail.append(buffered.decode(errors="replace").strip())

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines written to stderr so far."""
        return list(self._tail)

    def wait(self, what: str) -> None:
        """Waits for the end of the process.

        Raises:
            EncodeError: non-zero exit status; ``what`` names the task.
        """
        if self._wait() != 0:
            raise self.failure(what)

    def failure(self, what: str) -> EncodeError:
        """The error that describes how the process ended; waits for it."""
        if self._process.stdin and not self._process.stdin.closed:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        returncode = self._wait()
        if returncode < 0:
            reason = f"was killed by {signal_name(-returncode)}"
        else:
            reason = f"exit status {returncode}"
            if lines := [line for line in self._tail if not line.startswith("Exiting with exit code")]:
                reason = _most_telling(lines)
        return EncodeError(
            f"{what}: ffmpeg {reason}", cmd=self.cmd, returncode=returncode, stderr_tail=self.stderr_tail
        )

    def _wait(self) -> int:
        """Exit status, after the process has ended and its stderr was read."""
        returncode = self._process.wait()
        if returncode < 0:
            processes.kill_group(self._process)  # children of a killed wrapper script would keep its stderr open
        self._drain.join()
        return returncode

    def __enter__(self) -> "FfmpegProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        processes.end(self._process)
        self._drain.join()
        for pipe in filter(None, (self._process.stdin, self._process.stdout, self._process.stderr)):
            with contextlib.suppress(OSError):
                pipe.close()


def run_ffmpeg(cmd: Sequence[str], what: str, *, folder: Path | None = None) -> None:
    """Runs a command line to its end, in a folder or the current one; EncodeError when it fails."""
    with FfmpegProcess(cmd, folder=folder) as process:
        process.wait(what)


def signal_name(number: int) -> str:
    """Name of a signal, for messages: ``SIGKILL``."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _most_telling(lines: list[str]) -> str:
    """The line of a log that names the cause: ffmpeg prints consequences after it."""
    lines = [re.sub(r" @ 0x[0-9a-f]+", "", line) for line in lines]
    lines = [line for line in lines if not _CONSEQUENCE.search(line)] or lines
    for line in lines:
        if re.search(r"No space left|Permission denied|x26[45] \[error\]|Invalid|not supported|Unrecognized", line):
            return line
    return lines[0]

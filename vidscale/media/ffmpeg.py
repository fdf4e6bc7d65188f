"""The ffmpeg binary: finding one, checking its capabilities, and running it as a child process."""

import contextlib
import logging
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from vidscale.errors import ConfigError, EncodeError, reason_of
from vidscale.system import processes

logger = logging.getLogger(__name__)

_TAGS = "setparams=range=tv:chroma_location=left"  # ffmpeg 7.0 has no chroma_location
_TAIL_LINES = 20
_ESCAPED = re.compile("[\udc80-\udcff]")
_STOWED = 0x100000  # from there to characters for private use, unused in file names
_STOWED_BYTES = re.compile("[\U0010dc80-\U0010dcff]")
_TAIL_BYTES = 1 << 16  # of an unterminated line
_CONSEQUENCE = re.compile(r"Task finished with error|Terminating thread|Error sending frames|Could not open encoder")


@dataclass(frozen=True, slots=True)
class Ffmpeg:
    """An ffmpeg binary that was checked for the required encoders and filters.

    Attributes:
        path: the executable.
        version: as printed by ffmpeg, such as ``7.1.1``.
        origin: where it was found: "--ffmpeg", "imageio-ffmpeg" or "PATH".
    """

    path: str
    version: str
    origin: str


def find_ffmpeg(
    explicit: Path | str | None = None, *, encoders: Sequence[str] = (), filters: Sequence[str] = ()
) -> Ffmpeg:
    """The first ffmpeg with the required encoders and filters: the explicit one, imageio-ffmpeg's, the one on PATH.

    Args:
        explicit: a binary named by the user; then no other is tried.
        encoders: ffmpeg's names of video encoders that must work with the options that vidscale uses.
        filters: names of required filters.

    Raises:
        ConfigError: no binary has them all; the message lists what each lacks.
    """
    reasons = []
    for origin, path in _candidates(explicit):
        lacking = _lacking(path, tuple(encoders), tuple(filters))
        if lacking is None:
            return Ffmpeg(path=path, version=_version(path), origin=origin)
        reasons.append(f"{path} ({origin}): {lacking}")
    if not reasons:
        raise ConfigError("no ffmpeg found: install the package imageio-ffmpeg, or name one with --ffmpeg")
    raise ConfigError("no ffmpeg can do this: " + "; ".join(reasons))


def _candidates(explicit: Path | str | None) -> Iterator[tuple[str, str]]:
    if explicit is not None:
        yield "--ffmpeg", _named(Path(explicit))
        return
    with contextlib.suppress(ImportError, RuntimeError):
        import imageio_ffmpeg

        yield "imageio-ffmpeg", imageio_ffmpeg.get_ffmpeg_exe()
    if on_path := shutil.which("ffmpeg"):
        yield "PATH", on_path


def file_word(path: Path | str) -> str:
    """A file name for ffmpeg-python, which takes no bytes that are not text; `command_line` puts them back."""
    return _ESCAPED.sub(lambda match: chr(ord(match[0]) + _STOWED), str(path))


def command_line(stream: Any, ffmpeg: str) -> list[str]:
    """The command line of an output of ffmpeg-python whose files were named by `file_word`."""
    words: list[str] = stream.compile(cmd=ffmpeg)
    return [_STOWED_BYTES.sub(lambda match: chr(ord(match[0]) - _STOWED), word) for word in words]


def _named(path: Path) -> str:
    """The file of that name, else the program on PATH: a name without a directory would be searched only there."""
    return str(path.absolute()) if path.exists() else shutil.which(path) or str(path)


@cache
def _lacking(path: str, encoders: tuple[str, ...], filters: tuple[str, ...]) -> str | None:
    """What the binary lacks, in words; None when it has everything."""
    try:
        if not _version(path):
            return "is not ffmpeg"
        for encoder in encoders:
            if problem := _trial_encode(path, encoder):
                return problem
        if filters:
            listing = _output(path, "-hide_banner", "-filters")
            known = {words[1] for line in listing.splitlines() if len(words := line.split()) > 2}
            if missing := [name for name in filters if name not in known]:
                return f"has no filter {', '.join(missing)}"
    except OSError as error:
        return f"cannot be started ({reason_of(error)})"
    except subprocess.TimeoutExpired:
        return "does not respond"
    return None


def _output(path: str, *args: str) -> str:
    result = processes.captured([path, *args], timeout_s=30)
    return (result.stdout + result.stderr).decode(errors="replace")


@cache
def _version(path: str) -> str:
    match = re.search(r"ffmpeg version n?(\S+)", _output(path, "-version"))
    return match.group(1) if match else ""


def _trial_encode(path: str, encoder: str) -> str | None:
    """Encodes one small frame with the options that vidscale needs; returns the error, None when it worked."""
    options = ["-copyts", "-fps_mode:v:0", "passthrough", "-enc_time_base:v:0", "demux", "-vf", _TAGS]
    result = _encode_one_frame(path, "error", [*options, "-c:v:0", encoder])
    if result.returncode == 0:
        return None
    text = result.stderr.decode(errors="replace")
    if re.search(r"Unknown encoder|[Ee]ncoder .* not found", text):
        return f"has no encoder {encoder}"
    lines = [line for line in text.splitlines() if line.strip()]
    problem = f"version {_version(path)} cannot encode with {encoder} ({lines[0] if lines else result.returncode})"
    return problem + ("; a newer one is needed" if re.search("Option not found|Undefined constant", text) else "")


def _encode_one_frame(path: str, verbosity: str, options: Sequence[str]) -> "subprocess.CompletedProcess[bytes]":
    command = [path, "-hide_banner", "-v", verbosity, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "64x64"]
    command += ["-i", "pipe:0", *options, "-f", "null", "-"]
    return processes.captured(command, data=bytes(64 * 64 * 3 // 2), timeout_s=60)


def refused_params(ffmpeg: Ffmpeg, encoder: str, option: str, params: str) -> str | None:
    """The encoder's error message for its own settings; None when it accepts them.

    ffmpeg itself only warns about settings that the encoder does not know.

    Args:
        ffmpeg: the binary.
        encoder: ffmpeg's name of the encoder.
        option: the ffmpeg option for the settings, such as ``x264-params``.
        params: ``key=value:key=value``.
    """
    try:
        result = _encode_one_frame(ffmpeg.path, "warning", ["-c:v", encoder, f"-{option}", params])
    except subprocess.TimeoutExpired:
        return "it does not respond"
    error = re.search(rb"(Unknown option: |Invalid value for |Error (parsing|setting) option )[^\n]*", result.stderr)
    return error.group().decode(errors="replace").strip() if error else None


@cache
def library_versions(path: str) -> dict[str, str]:
    """Versions of x264 and x265 inside a binary, as far as one encoded frame reveals them."""
    versions = {}
    source = ["-f", "lavfi", "-i", "color=s=64x64:d=0.04"]
    for name, pattern in (("x264", rb"x264 - core (\d+[^-]*)"), ("x265", rb"x265 \(build \d+\) - ([^-:]+)")):
        command = [path, "-v", "error", *source, "-c:v", f"lib{name}", "-f", name.replace("x26", "h26"), "-"]
        if name == "x265":
            command[-2] = "hevc"
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            result = processes.captured(command, timeout_s=30)
            if match := re.search(pattern, result.stdout):
                versions[name] = match.group(1).decode(errors="replace").strip()
    return versions


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

"""Shared by tests of bad input and interruption: running the program, and checking what it leaves behind."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pytest
from material import FFMPEG
from typer.testing import CliRunner

from vidscale.cli import app

FAST = ["--scale", "1", "--preset", "ultrafast", "--no-report"]


@dataclass(frozen=True)
class Run:
    """A finished run of the program: its exit code and output."""

    code: int
    stdout: str
    stderr: str


def run_here(*args: object) -> Run:
    """Runs the command line in this process; unhandled exceptions are raised."""
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Run(result.exit_code, result.stdout, result.stderr)


def start(*args: object, **pipes: Any) -> "subprocess.Popen[bytes]":
    """Starts the program in its own process; stdout and stderr are pipes."""
    words = [sys.executable, "-m", "vidscale", *map(str, args)]
    return subprocess.Popen(words, **{"stdin": subprocess.DEVNULL, "stdout": -1, "stderr": -1} | pipes)


def run_apart(*args: object, timeout_s: float = 120, **pipes: Any) -> Run:
    """Runs the program in its own process."""
    return finish(start(*args, **pipes), timeout_s)


def documented(event: str) -> set[str]:
    """Keys of a record according to the manual: words in backquotes in its paragraph, or in the first column of its
    table."""
    manual = (Path(__file__).parents[1] / "docs" / "command-line.md").read_text(encoding="utf-8")
    section = manual.split("## JSON records")[1].split("\n## ")[0]
    parts = re.split(r"^`(\w+)` \(`[^)]*\)", section, flags=re.MULTILINE)
    text = dict(zip(parts[1::2], parts[2::2], strict=True))[event]
    if "| key |" in text:
        return {key for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)}
    return set(re.findall(r"`(\w+)`", text)) - {"decode"}


_UNPRIVILEGED = """
import ctypes, os, sys
for number in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: by these root reads and writes what it may not
    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).prctl(24, number, 0, 0, 0) != 0:
        sys.exit("no leave to drop privileges")
os.execv(sys.executable, [sys.executable, "-m", "vidscale", *sys.argv[1:]])
"""


def run_unprivileged(*args: object) -> Run:
    """Runs the program so that file permissions apply, even for root."""
    result = subprocess.run(
        [sys.executable, "-c", _UNPRIVILEGED, *map(str, args)], capture_output=True, text=True, timeout=60, check=False
    )
    if "no leave to drop privileges" in result.stderr:
        pytest.skip("root without the right to drop its privileges")
    return Run(result.returncode, result.stdout, result.stderr)


def finish(process: "subprocess.Popen[bytes]", timeout_s: float = 120) -> Run:
    """Waits for a started program; kills it and fails if it takes longer."""
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Run(process.returncode, (stdout or b"").decode(), (stderr or b"").decode())


def message(run: Run, code: int = 1) -> str:
    """The error line of a failed run, without its prefix; it must end stderr, and stdout must be empty."""
    assert run.code == code, f"exit code {run.code}: {run.stderr}"
    lines = run.stderr.splitlines()
    assert "Traceback" not in run.stderr
    assert [line.startswith("vidscale: ") for line in lines].count(True) == 1, run.stderr
    assert lines[-1].startswith("vidscale: "), run.stderr
    assert "internal error" not in lines[-1], run.stderr
    assert run.stdout == ""
    return lines[-1].removeprefix("vidscale: ")


def content(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder and its subfolders: relative path to bytes, None for anything but a file."""
    paths = [path for path in folder.rglob("*") if not path.is_symlink()]
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def processes_naming(text: object) -> list[int]:
    """Other processes whose command line contains the text."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it has ended since
            continue
        if str(text) in words and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def refused(folder: Path, *args: object, code: int = 1) -> str:
    """Runs the program, which must fail and leave nothing in the folder; returns the error line."""
    with nothing_left(folder):
        return message(run_here(*args), code)


def cut(source: Path, part: float) -> Path:
    """The beginning of a file, as another file next to it."""
    target = source.with_name(f"cut{source.suffix}")
    target.write_bytes(source.read_bytes()[: int(source.stat().st_size * part) | 1])  # never whole packets of MPEG-TS
    return target


def frame_count(path: Path) -> int:
    """Number of frames of a file that decode."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """Checks that the block leaves a folder unchanged, byte for byte, and no process or thread running."""
    before, threads = content(folder), set(threading.enumerate())
    yield
    assert content(folder) == before
    wait_for(lambda: not processes_naming(folder))
    wait_for(lambda: set(threading.enumerate()) <= threads)


def wait_for(condition: Callable[[], Any], timeout_s: float = 90, poll_s: float = 0.02) -> Any:
    """Returns the first true result of the condition; fails if that takes too long."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, "timeout"
        time.sleep(poll_s)
    return result


def fake_ffmpeg(path: Path, case: str, action: str) -> Path:
    """A script that behaves like ffmpeg except for one kind of call.

    Args:
        path: the script.
        case: shell pattern for the arguments, joined by spaces, of the calls that run the action instead.
        action: shell command; ``$out`` is the file to write, ``$ffmpeg`` the real program.
    """
    path.write_text(
        f"#!/bin/sh\nffmpeg='{FFMPEG}'\n"
        'for word; do case "$word" in *.video.mp4 | *.part.*) out=$word ;; esac; done\n'
        f'case "$*" in\n{case}) {action} ;;\nesac\n'
        'exec "$ffmpeg" "$@"\n'
    )
    path.chmod(0o755)
    return path

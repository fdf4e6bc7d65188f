"""What the tests of bad input and interruption share: running the program, and seeing what it leaves behind."""

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
    """A finished run of the program: exit code and what it wrote."""

    code: int
    stdout: str
    stderr: str


def run_here(*args: object) -> Run:
    """Runs the command line in this process; an exception that it does not handle is raised."""
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Run(result.exit_code, result.stdout, result.stderr)


def start(*args: object, **pipes: Any) -> "subprocess.Popen[bytes]":
    """Starts the program in a process of its own; stdout and stderr are pipes."""
    words = [sys.executable, "-m", "vidscale", *map(str, args)]
    return subprocess.Popen(words, **{"stdin": subprocess.DEVNULL, "stdout": -1, "stderr": -1} | pipes)


def run_apart(*args: object, timeout_s: float = 60, **pipes: Any) -> Run:
    """Runs the program in a process of its own."""
    return finish(start(*args, **pipes), timeout_s)


def documented(event: str) -> set[str]:
    """Keys of a record by the manual: words in backquotes in its paragraph, or first in the rows of its table."""
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
    """Runs the program so that permissions count, for root too."""
    result = subprocess.run(
        [sys.executable, "-c", _UNPRIVILEGED, *map(str, args)], capture_output=True, text=True, timeout=60, check=False
    )
    if "no leave to drop privileges" in result.stderr:
        pytest.skip("root without the right to drop its privileges")
    return Run(result.returncode, result.stdout, result.stderr)


def finish(process: "subprocess.Popen[bytes]", timeout_s: float = 60) -> Run:
    """Waits for a started program; kills it and fails when it takes longer."""
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Run(process.returncode, (stdout or b"").decode(), (stderr or b"").decode())


def message(run: Run, code: int = 1) -> str:
    """The one line that says why a run was refused, without its beginning; the run must have ended in order."""
    assert run.code == code, f"exit code {run.code}: {run.stderr}"
    lines = run.stderr.splitlines()
    assert "Traceback" not in run.stderr
    assert [line.startswith("vidscale: ") for line in lines].count(True) == 1, run.stderr
    assert lines[-1].startswith("vidscale: "), run.stderr
    assert "internal error" not in lines[-1], run.stderr
    assert run.stdout == ""
    return lines[-1].removeprefix("vidscale: ")


def content(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder and the folders below it: relative name to bytes, None for what is not a file."""
    paths = [path for path in folder.rglob("*") if not path.is_symlink()]
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def processes_naming(text: object) -> list[int]:
    """Processes whose command line contains the text, without this one."""
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
    """Runs the program, which must refuse and leave nothing in the folder; what it says."""
    with nothing_left(folder):
        return message(run_here(*args), code)


def cut(source: Path, part: float) -> Path:
    """The first part of a file, as another file beside it."""
    target = source.with_name(f"cut{source.suffix}")
    target.write_bytes(source.read_bytes()[: int(source.stat().st_size * part) | 1])  # never whole packets of MPEG-TS
    return target


def frame_count(path: Path) -> int:
    """How many pictures of a file decode."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """Makes sure that what happens inside leaves a folder as it was, byte for byte, and no process and no thread."""
    before, threads = content(folder), set(threading.enumerate())
    yield
    assert content(folder) == before
    wait_for(lambda: not processes_naming(folder))
    wait_for(lambda: set(threading.enumerate()) <= threads)


def wait_for(condition: Callable[[], Any], timeout_s: float = 20, poll_s: float = 0.02) -> Any:
    """What the condition gives when it gives something true; fails when that takes too long."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, "timeout"
        time.sleep(poll_s)
    return result


def fake_ffmpeg(path: Path, case: str, action: str) -> Path:
    """A script that is ffmpeg but for one kind of call.

    Args:
        path: the script.
        case: pattern of the shell; a call whose words, joined by blanks, match it does the action instead.
        action: command of the shell; ``$out`` is the file to write, ``$ffmpeg`` the real program.
    """
    path.write_text(
        f"#!/bin/sh\nffmpeg='{FFMPEG}'\n"
        'for word; do case "$word" in *.video.mp4 | *.part.*) out=$word ;; esac; done\n'
        f'case "$*" in\n{case}) {action} ;;\nesac\n'
        'exec "$ffmpeg" "$@"\n'
    )
    path.chmod(0o755)
    return path

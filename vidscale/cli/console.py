"""Shared by all commands: progress on stderr, errors as one line, interruption, JSON on stdout."""

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, TextIO, TypeVar

import typer

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

from vidscale.cli.time_left import TimeLeft
from vidscale.system.progress import Progress

T = TypeVar("T")

PLAIN_LINE_S = 10.0


class Interrupted(BaseException):
    """Raised inside an interrupted job."""


class Console(Progress):
    """Draws progress as a bar on a terminal, otherwise as a line every `PLAIN_LINE_S` seconds; nothing when quiet.

    Attributes:
        quiet: draw nothing.
        interrupted: end the job at the next frame.
        is_terminal: stderr is a terminal.
        finished: the outputs that are already complete if the job is interrupted or fails now, in words.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.interrupted = False
        self.finished = ""
        self.is_terminal = bool(sys.stderr and sys.stderr.isatty())  # None when it is closed
        self._bar: RichProgress | None = None
        self._bar_task: TaskID | None = None
        self._task, self._total, self._done, self._unit = "", None, 0, ""  # type: str, int | None, int, str
        self._later: dict[str, int] = {}  # frames of parts that will follow
        self._started = self._last_line = time.monotonic()
        self._time_left = TimeLeft()
        self._advancing = threading.Lock()  # a job may work on several frames at a time

    def expect(self, task: str, total: int | None) -> None:
        self._later[task] = total or 0

    def start(self, task: str, total: int | None, unit: str = "frames") -> None:
        self._stop_bar()
        self.check()
        self._task, self._total, self._done, self._unit = task, total, 0, unit
        self._later.pop(task, None)
        self._started = self._last_line = time.monotonic()
        self._time_left = TimeLeft()
        if not self.quiet and self.is_terminal:
            self._start_bar()

    def advance(self) -> None:
        self.check()
        with self._advancing:
            self._done += 1
            self._time_left.advance()
            if not self.quiet:
                self._draw()

    def _draw(self) -> None:
        if self._bar is not None and self._bar_task is not None:
            elapsed = max(time.monotonic() - self._started, 1e-3)
            self._bar.update(self._bar_task, advance=1, speed=self._speed(self._done / elapsed), left=self._left())
        elif time.monotonic() - self._last_line > PLAIN_LINE_S:
            self._last_line = time.monotonic()
            typer.echo(self._plain_line(), err=True)

    def note(self, text: str) -> None:
        self.check()  # what is found out after an interruption may come from a killed ffmpeg
        if not self.quiet:
            typer.echo(text, err=True)

    def show(self, bar: "RichProgress") -> None:
        """Shows the command's own bar until `close`."""
        self._stop_bar()
        self._bar = bar
        bar.start()

    def close(self) -> None:
        """Removes the bar."""
        self._stop_bar()

    def check(self) -> None:
        """Raises `Interrupted` when the job was interrupted."""
        if self.interrupted:
            raise Interrupted

    def _plain_line(self) -> str:
        elapsed = max(time.monotonic() - self._started, 1e-3)
        speed = self._done / elapsed
        total = f"/{self._total}" if self._total else ""
        parts = [f"{self._task}: {self._done}{total} {self._unit}", self._speed(speed), self._left()]
        return ", ".join(filter(None, parts))

    def _left(self) -> str:
        """Time until the end of all parts; a frame of a later one is taken to need as long as one of this."""
        if not self._total or self._done > self._total:
            return ""
        later = sum(self._later.values()) if self._unit == "frames" else 0
        return self._time_left.text(self._total - self._done + later)

    def _speed(self, per_second: float) -> str:
        return f"{per_second:.1f} fps" if self._unit == "frames" else f"{per_second:.2f} {self._unit}/s"

    def _start_bar(self) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as RichProgress

        progress = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[left]}"),
            console=RichConsole(stderr=True),
            transient=True,
        )
        self._bar_task = progress.add_task(self._task, total=self._total, speed="", left="")
        self._bar = progress
        progress.start()

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class _Echo(logging.Handler):
    """Prints log lines above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(self.format(record), err=True)


def run_job(job: Callable[[Console], T], *, quiet: bool = False) -> T:
    """Runs a command's job: errors become one line and exit code 1, Ctrl-C and SIGTERM end it immediately.

    ``job`` runs in a thread; on interruption its child processes are killed and its temporary files are removed.
    """
    from vidscale.errors import VidscaleError, reason_of
    from vidscale.system.threads import Unfinished, run_interruptible

    console = Console(quiet=quiet)
    logging.basicConfig(format="%(message)s", level=logging.ERROR if quiet else logging.WARNING, handlers=[_Echo()])
    if not quiet:
        logging.getLogger("vidscale.compiling").setLevel(logging.INFO)
    for library in ("libav", "pyvips"):  # vidscale reports broken files itself, in one line
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with _ending_by_signals(console):
        try:
            return run_interruptible(lambda: job(console), on_interrupt=lambda: _stop(console))
        except (KeyboardInterrupt, Interrupted):
            _print_interrupted(console)
            raise typer.Exit(130) from None
        except Unfinished:
            _print_interrupted(console)
            os._exit(130)  # a regular exit would wait for the job's thread
        except VidscaleError as error:
            console.close()
            fail(error, console.finished)
        except MemoryError:
            console.close()
            fail("out of memory")
        except (typer.Exit, typer.Abort, BrokenPipeError):  # a closed pipe on stdout ends the command quietly
            raise
        except OSError as error:
            console.close()
            fail(f"{error.filename}: {reason_of(error)}" if error.filename else reason_of(error))
        except Exception as error:
            if logging.getLogger().isEnabledFor(logging.DEBUG):
                raise
            console.close()
            fail(f"internal error, {type(error).__name__}: {error} (vidscale --debug shows where; please report it)")
        finally:
            console.close()


@contextmanager
def _ending_by_signals(console: Console) -> Iterator[None]:
    """SIGTERM, and SIGHUP unless it is ignored (nohup), end the program like Ctrl-C."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for name in names if signal.getsignal(number := getattr(signal, name)) != signal.SIG_IGN]
    before = {number: signal.signal(number, on_signal) for number in numbers}
    before[signal.SIGINT] = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        for number, handler in () if console.interrupted else before.items():  # else the program is exiting
            signal.signal(number, handler)


def _stop(console: Console) -> None:
    """Ends the job: it stops at the next frame, and its child processes are killed now."""
    from vidscale.system.processes import kill_all

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # a second Ctrl-C must not interrupt the cleanup
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    console.interrupted = True
    kill_all()


def _print_interrupted(console: Console) -> None:
    from vidscale.system.workspace import discard_all

    discard_all()
    console.close()
    if not console.quiet:
        typer.echo(f"interrupted{': ' + console.finished if console.finished else ''}", err=True)


def fail(error: object, finished: str = "") -> NoReturn:
    """Prints one line, with the outputs that are complete, and exits with code 1 (2 for a usage error)."""
    from vidscale.errors import UsageError

    typer.echo(f"vidscale: {' '.join(str(error).split())}{'; ' if finished else ''}{finished}", err=True)
    raise typer.Exit(2 if isinstance(error, UsageError) else 1)


def emit(record: Mapping[str, Any]) -> None:
    """One JSON object as one line on stdout."""
    from vidscale.system.names import readable
    from vidscale.text import json_value

    text = json.dumps(json_value(record), ensure_ascii=False, allow_nan=False)
    typer.echo(json.dumps(json.loads(readable(text))))


def print_plan(
    output: Path | str,
    settings: dict[str, Any],
    commands: Iterable[Sequence[str]] = (),
    *,
    pair: str | None = None,
    json_output: bool,
) -> None:
    """Prints the plan for ``--dry-run``: output, pair, resolved settings, command lines."""
    import shlex

    lines = [shlex.join(command) for command in commands]
    scaler = {} if pair is None else {"pair": pair}
    if json_output:
        emit({"event": "plan", "output": str(output), **scaler, "settings": settings, "commands": lines})
        return
    plan = settings | scaler | {"output": output}
    typer.echo("\n".join([*(f"{name} = {value}" for name, value in plan.items()), *lines]))


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with aligned columns, all but the first right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:<{widths[0]}}", *cells]))
    return lines


def raw_stdin() -> BinaryIO:
    """Standard input as bytes; ConfigError when it is closed."""
    return _raw(sys.stdin, "input")


def raw_stdout() -> BinaryIO:
    """Standard output as bytes; ConfigError when it is closed."""
    return _raw(sys.stdout, "output")


def _raw(stream: TextIO | None, name: str) -> BinaryIO:
    from vidscale.errors import ConfigError

    if stream is None:
        raise ConfigError(f"standard {name} is closed")
    return stream.buffer


def show_path(path: Path) -> str:
    """A path for display: relative to the current folder when it is inside it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)

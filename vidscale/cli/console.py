"""What all commands share: progress on stderr, errors as one line, interruption, JSON on stdout."""

import json
import logging
import os
import signal
import sys
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
    """Raised inside a job that is to end."""


class Console(Progress):
    """Draws progress as a bar on a terminal, as a line now and then elsewhere, not at all when quiet.

    Attributes:
        quiet: draws nothing.
        interrupted: makes the job end at the next frame.
        is_terminal: stderr is one.
        finished: what is complete and stays when the job is interrupted or fails now, in words.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.interrupted = False
        self.finished = ""
        self.is_terminal = bool(sys.stderr and sys.stderr.isatty())  # None where it is closed
        self._bar: RichProgress | None = None
        self._bar_task: TaskID | None = None
        self._task, self._total, self._done, self._unit = "", None, 0, ""  # type: str, int | None, int, str
        self._started = self._last_line = time.monotonic()
        self._time_left = TimeLeft()

    def start(self, task: str, total: int | None, unit: str = "frames") -> None:
        self._stop_bar()
        self.check()
        self._task, self._total, self._done, self._unit = task, total, 0, unit
        self._started = self._last_line = time.monotonic()
        self._time_left = TimeLeft()
        if not self.quiet and self.is_terminal:
            self._start_bar()

    def advance(self) -> None:
        self.check()
        self._done += 1
        self._time_left.advance()
        if self.quiet:
            return
        if self._bar is not None and self._bar_task is not None:
            elapsed = max(time.monotonic() - self._started, 1e-3)
            self._bar.update(self._bar_task, advance=1, speed=self._speed(self._done / elapsed), left=self._left())
        elif time.monotonic() - self._last_line > PLAIN_LINE_S:
            self._last_line = time.monotonic()
            typer.echo(self._plain_line(), err=True)

    def note(self, text: str) -> None:
        if not self.quiet:
            typer.echo(text, err=True)

    def show(self, bar: "RichProgress") -> None:
        """Shows a bar of the command's own until `close`."""
        self._stop_bar()
        self._bar = bar
        bar.start()

    def close(self) -> None:
        """Takes the bar away."""
        self._stop_bar()

    def check(self) -> None:
        """Raises `Interrupted` when the job is to end."""
        if self.interrupted:
            raise Interrupted

    def _plain_line(self) -> str:
        elapsed = max(time.monotonic() - self._started, 1e-3)
        speed = self._done / elapsed
        total = f"/{self._total}" if self._total else ""
        parts = [f"{self._task}: {self._done}{total} {self._unit}", self._speed(speed), self._left()]
        return ", ".join(filter(None, parts))

    def _left(self) -> str:
        return self._time_left.text(self._total - self._done) if self._total else ""

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
    """Log lines as notes, which the progress bar makes way for."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(self.format(record), err=True)


def run_job(job: Callable[[Console], T], *, quiet: bool = False) -> T:
    """Runs a command's work: errors become one line and exit code 1, Ctrl-C and SIGTERM end it at once.

    ``job`` runs in a thread; when it is interrupted every process it started is killed and its temporary files go.
    """
    from vidscale.errors import VidscaleError
    from vidscale.system.threads import Unfinished, run_interruptible

    console = Console(quiet=quiet)
    logging.basicConfig(format="%(message)s", level=logging.ERROR if quiet else logging.WARNING, handlers=[_Echo()])
    if not quiet:
        logging.getLogger("vidscale.compiling").setLevel(logging.INFO)
    for library in ("libav", "pyvips"):  # what they say of broken files, ours says in one line
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with _ending_by_signals(console):
        try:
            return run_interruptible(lambda: job(console), on_interrupt=lambda: _stop(console))
        except (KeyboardInterrupt, Interrupted):
            _say_interrupted(console)
            raise typer.Exit(130) from None
        except Unfinished:
            _say_interrupted(console)
            os._exit(130)  # an orderly end would wait for what the job's thread holds
        except VidscaleError as error:
            console.close()
            fail(error, console.finished)
        except MemoryError:
            console.close()
            fail("out of memory")
        except (typer.Exit, typer.Abort, BrokenPipeError):  # who reads our output and has seen enough ends it quietly
            raise
        except OSError as error:
            console.close()
            fail(f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror or error}")
        except Exception as error:
            if logging.getLogger().isEnabledFor(logging.DEBUG):
                raise
            console.close()
            fail(f"internal error, {type(error).__name__}: {error} (vidscale --debug shows where; please report it)")
        finally:
            console.close()


@contextmanager
def _ending_by_signals(console: Console) -> Iterator[None]:
    """SIGTERM, and SIGHUP unless it is ignored (nohup), end the program as Ctrl-C does."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for name in names if signal.getsignal(number := getattr(signal, name)) != signal.SIG_IGN]
    before = {number: signal.signal(number, on_signal) for number in numbers}
    before[signal.SIGINT] = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        for number, handler in () if console.interrupted else before.items():  # else the program is about to end
            signal.signal(number, handler)


def _stop(console: Console) -> None:
    """Makes the job end: it is told so at the next frame, and the processes that it waits for end now."""
    from vidscale.system.processes import kill_all

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # a second Ctrl-C must not disturb the tidying up
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    console.interrupted = True
    kill_all()


def _say_interrupted(console: Console) -> None:
    from vidscale.system.workspace import discard_all

    discard_all()
    console.close()
    if not console.quiet:
        typer.echo(f"interrupted{': ' + console.finished if console.finished else ''}", err=True)


def fail(error: object, finished: str = "") -> NoReturn:
    """Prints one line, with what is complete all the same, and ends with exit code 1 (2 for a usage error)."""
    from vidscale.errors import UsageError

    typer.echo(f"vidscale: {' '.join(str(error).split())}{'; ' if finished else ''}{finished}", err=True)
    raise typer.Exit(2 if isinstance(error, UsageError) else 1)


def emit(record: Mapping[str, Any]) -> None:
    """One JSON object as one line on stdout."""
    from vidscale.system.names import readable

    text = json.dumps(record, default=str, ensure_ascii=False)
    typer.echo(json.dumps(json.loads(readable(text))))


def tell_plan(
    output: Path | str,
    settings: dict[str, Any],
    commands: Iterable[Sequence[str]] = (),
    *,
    pair: str | None = None,
    json_output: bool,
) -> None:
    """What ``--dry-run`` prints: where the output goes, the pair, the resolved settings, the command lines."""
    import shlex

    lines = [shlex.join(command) for command in commands]
    scaler = {} if pair is None else {"pair": pair}
    if json_output:
        emit({"event": "plan", "output": str(output), **scaler, "settings": settings, "commands": lines})
        return
    plan = settings | scaler | {"output": output}
    typer.echo("\n".join([*(f"{name} = {value}" for name, value in plan.items()), *lines]))


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines whose columns are as wide as their widest cell, all but the first flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:<{widths[0]}}", *cells]))
    return lines


def raw_stdin() -> BinaryIO:
    """Standard input as bytes; ConfigError where it is closed."""
    return _raw(sys.stdin, "input")


def raw_stdout() -> BinaryIO:
    """Standard output as bytes; ConfigError where it is closed."""
    return _raw(sys.stdout, "output")


def _raw(stream: TextIO | None, name: str) -> BinaryIO:
    from vidscale.errors import ConfigError

    if stream is None:
        raise ConfigError(f"standard {name} is closed")
    return stream.buffer


def show_path(path: Path) -> str:
    """A path as people type it: relative to the current folder when it lies below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)

"""Progress of `compare` on the terminal: running trials, how many are done, time left."""

import threading
import time
from typing import TYPE_CHECKING

import typer

from vidscale.cli.console import PLAIN_LINE_S, Console
from vidscale.cli.time_left import TimeLeft
from vidscale.compare.progress import ComparisonProgress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_SHOWN = 2  # running jobs that are named


class ComparisonView(ComparisonProgress):
    """Draws a bar on a terminal, prints a line now and then elsewhere, nothing if quiet.

    Args:
        console: the command's.
        kept: what remains if the comparison ends early, in words.
    """

    def __init__(self, console: Console, kept: str) -> None:
        self._console = console
        self._kept = kept
        self._lock = threading.Lock()
        self._running: list[str] = []
        self._done = self._total = 0
        self._last_line = time.monotonic()
        self._time_left = TimeLeft()  # of the trials that are run: stored results take no time
        self._bar: RichProgress | None = None
        if console.is_terminal and not console.quiet:
            self._bar = _bar()
            console.show(self._bar)

    def start(self, job: str) -> None:
        self._console.check()
        with self._lock:
            self._running.append(job)
            self._draw()

    def advance(self) -> None:
        self._console.check()
        if self._bar is None and time.monotonic() - self._last_line > PLAIN_LINE_S:
            with self._lock:
                self._draw()

    def end(self, job: str) -> None:
        with self._lock:
            self._running.remove(job)
            self._time_left.advance()

    def count(self, done: int, total: int) -> None:
        self._console.check()
        self._console.finished = self._kept  # not before: an unusable folder keeps nothing
        with self._lock:
            self._done, self._total = done, total
            self._draw()

    def failed(self, movie: str, reason: str) -> None:
        self._console.check()
        typer.echo(f"vidscale: {movie}: {reason}", err=True)

    def note(self, text: str) -> None:
        self._console.check()
        self._console.note(text)

    def _draw(self) -> None:
        running = ", ".join(self._running[:_SHOWN])
        if len(self._running) > _SHOWN:
            running += f" and {len(self._running) - _SHOWN} more"
        left = self._time_left.text(self._total - self._done)
        if self._bar is not None:
            task = self._bar.task_ids[0]
            self._bar.update(task, description=running, completed=self._done, total=self._total, left=left)
        elif not self._console.quiet and time.monotonic() - self._last_line > PLAIN_LINE_S:
            self._last_line = time.monotonic()
            status = ", ".join(filter(None, [f"{self._done}/{self._total} done", left]))
            typer.echo(f"{status}: {running}", err=True)


def _bar() -> "RichProgress":
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as RichProgress
    from rich.table import Column

    short = Column(no_wrap=True)
    bar = RichProgress(
        SpinnerColumn(),
        BarColumn(bar_width=16),
        MofNCompleteColumn(table_column=short),
        TextColumn("{task.fields[left]}", table_column=short),
        TextColumn("{task.description}", table_column=Column(no_wrap=True, ratio=1)),
        console=RichConsole(stderr=True),
        transient=True,
        expand=True,
    )
    bar.add_task("", total=None, left="")
    return bar

"""What `batch` prints while it runs: a line for each state of a movie, and how far all are."""

import threading
import time
from typing import TYPE_CHECKING

import typer

from vidscale.batch.batch_progress import BatchProgress, Expected
from vidscale.batch.watching import Watch
from vidscale.cli.console import PLAIN_LINE_S, Console, emit
from vidscale.system.progress import left_text

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from vidscale.batch.results import MovieResult


class BatchView(Watch):
    """Prints lines, and on a terminal a bar below them.

    Args:
        console: of the command.
        json_output: print events as JSON on stdout.
    """

    def __init__(self, console: Console, *, json_output: bool) -> None:
        self._console, self._json = console, json_output
        self._lock = threading.Lock()
        self._progress = BatchProgress()
        self._movies = self._ended = 0
        self._last_line = time.monotonic()
        self._bar: RichProgress | None = None

    def check(self) -> None:
        self._console.check()

    def planned(self, movies: list[Expected]) -> None:
        self.check()
        self._movies = len(movies)
        self._progress.planned(movies)
        if self._console.is_terminal and not self._console.quiet:
            self._bar = _bar(self._progress.total)
            self._console.show(self._bar)

    def started(self, movie: str, task: str, total: int | None) -> None:
        self.check()
        with self._lock:
            self._progress.started(movie, task)
        self._event(movie, task, frames=total)
        self._say(f"{movie}: {task}")

    def advanced(self, movie: str) -> None:
        self.check()
        with self._lock:
            if self._progress.advanced(movie):
                self._draw()

    def divided(self, movie: str, done: int, total: int) -> None:
        if self._json and total > 1:
            emit({"event": "chunk", "movie": movie, "done": done, "total": total})

    def noted(self, movie: str, text: str) -> None:
        self._say(f"{movie}: {text}")

    def finished(self, movie: str, result: "MovieResult") -> None:
        with self._lock:
            self._ended += 1
            self._progress.finished(movie)
        if result.state == "failed":
            typer.echo(f"vidscale: {movie}: {result.reason}", err=True)
        else:
            for note in result.notes if result.state == "done" else ():
                self._say(f"{movie}: {note}")
            self._say(f"{movie}: {'done before' if result.state == 'kept' else 'done'}")
        self._event(movie, result.state, reason=result.reason or None, seconds=round(result.seconds, 3))

    def _event(self, movie: str, state: str, **values: object) -> None:
        if self._json:
            emit({"event": "state", "movie": movie, "state": state, **values})

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self._console.note(text)

    def _draw(self) -> None:
        done, total = self._progress.done, self._progress.total
        left = left_text(self._progress.seconds_left())
        if self._bar is not None:
            words = f"{self._ended} of {self._movies} movies"
            self._bar.update(self._bar.task_ids[0], description=words, completed=done, total=total, left=left)
        elif not self._console.quiet and time.monotonic() - self._last_line > PLAIN_LINE_S:
            self._last_line = time.monotonic()
            share = f"{100 * done / total:.0f} %" if total else ""
            typer.echo(", ".join(filter(None, [f"{self._ended} of {self._movies} movies", share, left])), err=True)


def _bar(total: int) -> "RichProgress":
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
        console=RichConsole(stderr=True),
        transient=True,
    )
    progress.add_task("starting", total=total or None, left="")
    return progress

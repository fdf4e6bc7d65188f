"""What `batch` prints while it runs: a line for each state of a movie, and how far all are."""

import threading
import time
from typing import TYPE_CHECKING

import typer

from vidscale.batch.watching import Watch
from vidscale.cli.console import PLAIN_LINE_S, Console, emit
from vidscale.cli.time_left import TimeLeft

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from vidscale.batch.results import MovieResult

_COUNTED = ("encoding", "measuring")


class BatchView(Watch):
    """Prints lines, and on a terminal a bar below them.

    Args:
        console: of the command.
        json_output: print events as JSON on stdout.
    """

    def __init__(self, console: Console, *, json_output: bool) -> None:
        self._console, self._json = console, json_output
        self._lock = threading.Lock()
        self._movies: dict[str, int] = {}
        self._tasks: dict[str, str] = {}
        self._counted: dict[str, int] = {}
        self._ended = 0
        self._last_line = time.monotonic()
        self._time_left = TimeLeft()
        self._bar: RichProgress | None = None

    def check(self) -> None:
        self._console.check()

    def planned(self, movies: list[tuple[str, int]]) -> None:
        self.check()
        self._movies = dict(movies)
        self._counted = dict.fromkeys(self._movies, 0)
        if self._console.is_terminal and not self._console.quiet:
            self._bar = _bar(self._total)
            self._console.show(self._bar)

    def started(self, movie: str, task: str, total: int | None) -> None:
        self.check()
        with self._lock:
            self._tasks[movie] = task
        self._event(movie, task, frames=total)
        self._say(f"{movie}: {task}")

    def advanced(self, movie: str) -> None:
        self.check()
        with self._lock:
            if self._tasks.get(movie) not in _COUNTED or self._counted[movie] >= self._movies[movie]:
                return
            self._counted[movie] += 1
            self._time_left.advance()
            self._draw()

    def noted(self, movie: str, text: str) -> None:
        self._say(f"{movie}: {text}")

    def finished(self, movie: str, result: "MovieResult") -> None:
        with self._lock:
            self._ended += 1
            self._movies[movie] = self._counted[movie]  # what was not needed is not left
        if result.state == "failed":
            typer.echo(f"vidscale: {movie}: {result.reason}", err=True)
        else:
            self._say(f"{movie}: {'done before' if result.state == 'kept' else 'done'}")
        self._event(movie, result.state, reason=result.reason or None, seconds=round(result.seconds, 3))

    @property
    def _total(self) -> int:
        return sum(self._movies.values())

    def _event(self, movie: str, state: str, **values: object) -> None:
        if self._json:
            emit({"event": "state", "movie": movie, "state": state, **values})

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self._console.note(text)

    def _draw(self) -> None:
        done, total = sum(self._counted.values()), self._total
        left = self._time_left.text(total - done)
        if self._bar is not None:
            words = f"{self._ended} of {len(self._movies)} movies"
            self._bar.update(self._bar.task_ids[0], description=words, completed=done, total=total, left=left)
        elif not self._console.quiet and time.monotonic() - self._last_line > PLAIN_LINE_S:
            self._last_line = time.monotonic()
            share = f"{done / total:.0%}" if total else ""
            typer.echo(", ".join(filter(None, [f"{self._ended} of {len(self._movies)} movies", share, left])), err=True)


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

"""Progress of a batch: what happens to its movies."""

from vidscale.batch.batch_progress import Expected
from vidscale.batch.results import MovieResult
from vidscale.system.progress import Progress


class Watch:
    """Receives what happens to the movies of a batch; every method may be called from any thread.

    A method may raise to end the batch.
    """

    def check(self) -> None:
        """Raises if the batch must end."""

    def planned(self, movies: list[Expected]) -> None:
        """The batch begins."""

    def started(self, movie: str, task: str, total: int | None) -> None:
        """A movie begins a step of ``total`` frames; None when unknown."""

    def advanced(self, movie: str) -> None:
        """One more frame of a movie is done."""

    def divided(self, movie: str, done: int, total: int) -> None:
        """``done`` of ``total`` chunks of a movie are encoded."""

    def noted(self, movie: str, text: str) -> None:
        """A one-line message about a movie."""

    def finished(self, movie: str, result: MovieResult) -> None:
        """A movie is done, or has failed."""


class MovieProgress(Progress):
    """The progress of one movie, passed on to a `Watch`."""

    def __init__(self, watch: Watch, movie: str) -> None:
        self._watch, self._movie = watch, movie

    def start(self, task: str, total: int | None, unit: str = "frames") -> None:
        self._watch.started(self._movie, task, total)

    def advance(self) -> None:
        self._watch.advanced(self._movie)

    def part(self, done: int, total: int) -> None:
        self._watch.divided(self._movie, done, total)

    def check(self) -> None:
        self._watch.check()

    def note(self, text: str) -> None:
        self._watch.noted(self._movie, text)


class Watches(Watch):
    """Several watches as one."""

    def __init__(self, *watches: Watch) -> None:
        self._all = watches

    def check(self) -> None:
        for watch in self._all:
            watch.check()

    def planned(self, movies: list[Expected]) -> None:
        for watch in self._all:
            watch.planned(movies)

    def started(self, movie: str, task: str, total: int | None) -> None:
        for watch in self._all:
            watch.started(movie, task, total)

    def advanced(self, movie: str) -> None:
        for watch in self._all:
            watch.advanced(movie)

    def divided(self, movie: str, done: int, total: int) -> None:
        for watch in self._all:
            watch.divided(movie, done, total)

    def noted(self, movie: str, text: str) -> None:
        for watch in self._all:
            watch.noted(movie, text)

    def finished(self, movie: str, result: MovieResult) -> None:
        for watch in self._all:
            watch.finished(movie, result)

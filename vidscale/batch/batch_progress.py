"""How far the movies of a batch are, and how long the rest will take."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vidscale.system.progress import can_estimate

STEPS = ("encoding", "measuring")
"""Steps whose frames are counted."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A movie of a batch: its name, and its frames to encode and to measure; 0 where there are none, or unknown."""

    name: str
    encoded: int
    measured: int = 0


@dataclass(slots=True)
class _Step:
    """Frames of a step of a movie, and when it began and last advanced; None before that."""

    total: int
    done: int = 0
    began: float | None = None
    last: float = 0.0

    @property
    def left(self) -> int:
        return max(0, self.total - self.done)

    @property
    def busy_s(self) -> float:
        return 0.0 if self.began is None or not self.done else self.last - self.began


@dataclass(slots=True)
class BatchProgress:
    """Counts frames. Called under the lock of whoever shows it.

    A frame takes longer in one step than in the other, and several movies are in progress at a time: the rest is
    estimated from the time of a frame in each step so far, and from how many movies were in progress.

    Args:
        clock: seconds that never go back.
    """

    clock: Callable[[], float] = time.monotonic
    _movies: dict[str, dict[str, _Step]] = field(default_factory=dict)
    _steps: dict[str, _Step] = field(default_factory=dict)  # in progress, by movie
    _began: float | None = None

    def planned(self, movies: Sequence[Expected]) -> None:
        """The batch begins."""
        self._movies = {
            movie.name: dict(zip(STEPS, map(_Step, (movie.encoded, movie.measured)), strict=True)) for movie in movies
        }

    def started(self, movie: str, task: str) -> None:
        """A movie begins a step."""
        now = self.clock()
        self._began = now if self._began is None else self._began
        self._steps.pop(movie, None)
        if task in STEPS:
            step = self._movies[movie][task]
            self._steps[movie] = step
            if not step.done:  # else another try
                step.began = step.last = now

    def advanced(self, movie: str) -> bool:
        """One more frame of a movie is done; returns whether it counts."""
        step = self._steps.get(movie)
        if step is None or not step.left:
            return False
        step.done, step.last = step.done + 1, self.clock()
        return True

    def finished(self, movie: str) -> None:
        """A movie is done, or has failed: frames that it did not need no longer count as left."""
        self._steps.pop(movie, None)
        for step in self._movies[movie].values():
            step.total = step.done

    @property
    def total(self) -> int:
        """Frames of all steps."""
        return sum(step.total for step in self._all())

    @property
    def done(self) -> int:
        """Frames that are done."""
        return sum(step.done for step in self._all())

    def _all(self) -> list[_Step]:
        return [step for steps in self._movies.values() for step in steps.values()]

    def seconds_left(self) -> float | None:
        """Seconds until all movies are done; None while that cannot be estimated."""
        busy = sum(step.busy_s for step in self._all())
        done, total = self.done, self.total
        if self._began is None or not busy or not total:
            return None
        passed = self.clock() - self._began
        if not can_estimate(passed, done, total):
            return None
        rates = [self._frame_s(name) for name in STEPS]
        known = next((rate for rate in rates if rate is not None), None)
        if known is None:
            return None
        work = sum(
            steps[name].left * (known if rate is None else rate)
            for steps in self._movies.values()
            for name, rate in zip(STEPS, rates, strict=True)
        )
        return work * passed / busy

    def _frame_s(self, name: str) -> float | None:
        """Seconds of a frame in a step; None before the first."""
        steps = [steps[name] for steps in self._movies.values() if steps[name].done]
        done = sum(step.done for step in steps)
        return sum(step.busy_s for step in steps) / done if done else None

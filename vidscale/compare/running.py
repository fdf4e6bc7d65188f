"""A comparison from start to end: opens movies, runs trials in parallel, adds rates until curves overlap."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import TypeVar

from vidscale.compare.output.files import RECORD
from vidscale.compare.points import Comparison, Curve, Still
from vidscale.compare.progress import ComparisonProgress
from vidscale.compare.settings import CompareSettings
from vidscale.compare.trials.budget import parallel_jobs
from vidscale.compare.trials.candidates import Scalers, pair_of, scalers_of
from vidscale.compare.trials.curve_set import CurveSet
from vidscale.compare.trials.movies import Movie, open_movie
from vidscale.compare.trials.programs import trial_ffmpeg
from vidscale.compare.trials.runner import Trial, TrialRunner
from vidscale.compare.trials.stills import stills_of
from vidscale.compare.trials.store import TrialResult, TrialStore
from vidscale.compare.trials.warm_up import WarmUp
from vidscale.errors import VidscaleError
from vidscale.media.versions import versions
from vidscale.system.names import numbered, readable
from vidscale.system.threads import worker_pool
from vidscale.system.workspace import check_folder

T = TypeVar("T")

# Errors that fail one movie, not the run.
_FAILURES = (VidscaleError, OSError, MemoryError)


def run_comparison(
    movies: Sequence[Path], folder: Path, settings: CompareSettings, progress: ComparisonProgress | None = None
) -> Comparison:
    """Encodes every movie as every candidate, restores and measures it. Resumes from what the folder already holds.

    Args:
        movies: the movies.
        folder: for encoded segments, their results and stills.
        settings: of the comparison.
        progress: receives every job.

    Returns:
        Everything that was measured; movies that failed are named in ``failures``.

    Raises:
        VidscaleError: nothing can be compared at all: a pair or ffmpeg is missing, the folder cannot be written.
    """
    progress = progress or ComparisonProgress()
    pair_of.cache_clear()  # a pair may have been retrained since this process last compared
    scalers, notes = scalers_of(settings)
    for note in notes:
        progress.note(note)
    check_folder(folder, record=RECORD)
    ffmpeg = trial_ffmpeg(settings.ffmpeg, settings.codecs, settings.measured)
    runner = TrialRunner(settings, ffmpeg, TrialStore(folder), versions(ffmpeg), progress, WarmUp(settings.device))
    run = _Run(runner, progress)
    opened = run.open_movies(movies)
    complete = run.measure([curves for movie in opened for curves in _curve_sets(movie, scalers, settings)])
    compared = [movie for movie in opened if any(curve_set.movie is movie for curve_set in complete)]
    measured = [(curve_set.movie, curve_set.curves()) for curve_set in complete]
    stills = [still for movie, curves in measured for still in run.stills(movie, curves, folder / "stills")]
    return Comparison(
        movies=tuple(movie.facts for movie in compared),
        curves=tuple(curve for _, curves in measured for curve in curves),
        metrics=settings.measured,
        within=settings.within,
        failures=tuple(run.failures),
        stills=tuple(stills),
        versions=dict(runner.versions),
    )


def _curve_sets(movie: Movie, scalers: Sequence[Scalers], settings: CompareSettings) -> list[CurveSet]:
    presets = {codec: settings.preset_of(codec) for codec in settings.codecs}
    return [
        CurveSet(movie, [one.candidate(codec, preset) for one in scalers], settings)
        for codec, preset in presets.items()
    ]


def unique_names(paths: Sequence[Path]) -> list[str]:
    """File names; duplicates get their folder in front, and a number if that is not enough."""
    repeated = {name for name, count in Counter(path.name for path in paths).items() if count > 1}
    return numbered(
        readable(f"{path.absolute().parent.name}/{path.name}" if path.name in repeated else path.name) for path in paths
    )


def _finished(pending: Mapping[Future[T], object]) -> Iterator[Future[T]]:
    """Futures as they finish, until none is pending; the consumer removes them, and may add others."""
    while pending:
        done, _ = wait(pending, return_when=FIRST_COMPLETED)
        yield from done


class _Run:
    """The jobs of a comparison and their failures.

    Attributes:
        failures: (movie, one line) for each failure.
    """

    def __init__(self, runner: TrialRunner, progress: ComparisonProgress) -> None:
        self._runner = runner
        self._progress = progress
        self.failures: list[tuple[str, str]] = []

    def open_movies(self, paths: Sequence[Path]) -> list[Movie]:
        """The movies that can be opened, in order."""
        settings, ffmpeg = self._runner.settings, self._runner.ffmpeg
        names = unique_names(paths)
        opened: dict[str, Movie] = {}
        with worker_pool(parallel_jobs(0)) as pool:
            futures = {
                pool.submit(open_movie, path, name, settings, ffmpeg): name
                for path, name in zip(paths, names, strict=True)
            }
            for future in _finished(futures):
                name = futures.pop(future)
                try:
                    opened[name] = future.result()
                except _FAILURES as error:
                    self._fail(name, error)
        return [opened[name] for name in names if name in opened]

    def measure(self, curve_sets: Sequence[CurveSet]) -> list[CurveSet]:
        """Runs all trials; returns the curve sets of which no trial failed, in order."""
        video = [curve_set.movie.source.video for curve_set in curve_sets]
        largest = max((v.frame_bytes for v in video), default=0)
        failed: set[int] = set()
        done = total = 0
        with worker_pool(self._runner.settings.jobs or parallel_jobs(largest)) as pool:
            pending: dict[Future[TrialResult], tuple[CurveSet, Trial]] = {}

            def submit(curve_set: CurveSet, trials: Sequence[Trial]) -> int:
                pending.update({pool.submit(self._runner.run, trial): (curve_set, trial) for trial in trials})
                return len(trials)

            for curve_set in curve_sets:
                total += submit(curve_set, curve_set.first_trials())
            self._progress.count(done, total)
            for future in _finished(pending):
                curve_set, trial = pending.pop(future)
                done += 1
                if not future.cancelled():
                    try:
                        curve_set.add(trial, future.result())
                    except _FAILURES as error:
                        if id(curve_set) not in failed:
                            self._fail(curve_set.movie.name, error, trial)
                        failed.add(id(curve_set))
                rest = [other for other, (owner, _) in pending.items() if owner is curve_set]
                if id(curve_set) in failed:
                    for other in rest:
                        other.cancel()
                elif not rest:
                    total += submit(curve_set, curve_set.next_trials())
                self._progress.count(done, total)
        return [curve_set for curve_set in curve_sets if id(curve_set) not in failed]

    def stills(self, movie: Movie, curves: Sequence[Curve], folder: Path) -> list[Still]:
        """Stills of a movie; none if they cannot be made, which does not fail the movie."""
        try:
            return stills_of(self._runner, movie, curves, folder)
        except _FAILURES as error:
            self._progress.note(f"{movie.name}: no stills: {error}")
            return []

    def _fail(self, movie: str, error: BaseException, trial: Trial | None = None) -> None:
        line = " ".join(str(error).split()) or type(error).__name__
        if trial is not None and len(self._runner.settings.codecs) > 1:
            line = f"{trial.candidate.codec}: {line}"
        self._progress.failed(movie, line)
        self.failures.append((movie, line))

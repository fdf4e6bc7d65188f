"""A comparison from beginning to end: movies are opened, takes made side by side, rates added until curves overlap."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from vidscale.compare.output.files import RECORD
from vidscale.compare.points import Comparison, Curve, Still
from vidscale.compare.progress import ComparisonProgress
from vidscale.compare.settings import CompareSettings
from vidscale.compare.trials.budget import jobs_at_a_time
from vidscale.compare.trials.cache import Part, PartStore
from vidscale.compare.trials.groups import Group
from vidscale.compare.trials.movies import Movie, open_movie
from vidscale.compare.trials.stills import stills_of
from vidscale.compare.trials.warming import Warmth
from vidscale.compare.trials.ways import Scalers, pair_of, scalers_of
from vidscale.compare.trials.workshop import Take, Workshop
from vidscale.errors import VidscaleError
from vidscale.media.encoders import ENCODERS
from vidscale.media.ffmpeg import Ffmpeg, find_ffmpeg
from vidscale.media.versions import versions
from vidscale.system.workspace import check_folder

T = TypeVar("T")

# What makes one movie fail, and not the program.
_FAILURES = (VidscaleError, OSError, MemoryError)


def run_comparison(
    movies: Sequence[Path], folder: Path, settings: CompareSettings, progress: ComparisonProgress | None = None
) -> Comparison:
    """Codes every movie in every way, restores and measures it; what is already in the folder is not made again.

    Args:
        movies: the movies.
        folder: where coded parts, their numbers and stills are kept.
        settings: of the comparison.
        progress: told about every job.

    Returns:
        All that could be measured; a movie that failed is named in ``failures``.

    Raises:
        VidscaleError: nothing can be compared at all: a pair or an ffmpeg that is not here, a folder that cannot be
            written.
    """
    progress = progress or ComparisonProgress()
    pair_of.cache_clear()  # a pair may have been trained anew since this process last compared
    scalers, notes = scalers_of(settings)
    for note in notes:
        progress.note(note)
    check_folder(folder, record=RECORD)
    ffmpeg = _ffmpeg(settings)
    workshop = Workshop(settings, ffmpeg, PartStore(folder), versions(ffmpeg), progress, Warmth(settings.device))
    run = _Run(workshop, progress)
    opened = run.open_movies(movies)
    groups = run.measure([group for movie in opened for group in _groups(movie, scalers, settings)])
    compared = [movie for movie in opened if any(group.movie is movie for group in groups)]
    curves = {id(group): group.curves() for group in groups}
    stills = [still for group in groups for still in run.stills(group.movie, curves[id(group)], folder / "stills")]
    return Comparison(
        movies=tuple(movie.facts for movie in compared),
        curves=tuple(curve for group in groups for curve in curves[id(group)]),
        metrics=settings.measured,
        within=settings.within,
        failures=tuple(run.failures),
        stills=tuple(stills),
        versions=dict(workshop.programs),
    )


def _ffmpeg(settings: CompareSettings) -> Ffmpeg:
    perceptual = {"libvmaf": ("vmaf", "vmaf_neg"), "xpsnr": ("xpsnr_y",)}
    filters = [name for name, metrics in perceptual.items() if any(metric in settings.measured for metric in metrics)]
    encoders = [ENCODERS[codec].ffmpeg_name for codec in settings.codecs]
    return find_ffmpeg(settings.ffmpeg, encoders=encoders, filters=["setparams", "setsar", "scale", *filters])


def _groups(movie: Movie, scalers: Sequence[Scalers], settings: CompareSettings) -> list[Group]:
    presets = {codec: settings.preset_of(codec) for codec in settings.codecs}
    return [Group(movie, [s.way(codec, preset) for s in scalers], settings) for codec, preset in presets.items()]


def unique_names(paths: Sequence[Path]) -> list[str]:
    """File names, with the folder in front where two are the same, and a number where that does not help."""
    names: list[str] = []
    for path in paths:
        name = path.name
        if sum(other.name == name for other in paths) > 1:
            name = f"{path.absolute().parent.name}/{name}"
        count = sum(known == name or known.startswith(f"{name} (") for known in names)
        names.append(f"{name} ({count + 1})" if count else name)
    return names


@contextmanager
def _workers(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that work; when the block ends with an exception, what has not begun never does."""
    with ThreadPoolExecutor(jobs, thread_name_prefix="compare") as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _finished(pending: Mapping[Future[T], object]) -> Iterator[Future[T]]:
    """Futures as they finish, until none is left; the consumer takes them out, and may put others in."""
    while pending:
        done, _ = wait(pending, return_when=FIRST_COMPLETED)
        yield from done


class _Run:
    """What fails on the way, and the threads that work.

    Attributes:
        failures: (movie, one line) of what failed.
    """

    def __init__(self, workshop: Workshop, progress: ComparisonProgress) -> None:
        self._workshop = workshop
        self._progress = progress
        self.failures: list[tuple[str, str]] = []

    def open_movies(self, paths: Sequence[Path]) -> list[Movie]:
        """Those that can be opened, in order."""
        settings, ffmpeg = self._workshop.settings, self._workshop.ffmpeg
        names = unique_names(paths)
        opened: dict[str, Movie] = {}
        with _workers(jobs_at_a_time(0)) as pool:
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

    def measure(self, groups: Sequence[Group]) -> list[Group]:
        """Makes all takes of all groups; the groups that are complete in the end, in order."""
        video = [group.movie.source.video for group in groups]
        largest = max((v.format.frame_bytes(v.height, v.width) for v in video), default=0)
        failed: set[int] = set()
        done = total = 0
        with _workers(self._workshop.settings.jobs or jobs_at_a_time(largest)) as pool:
            pending: dict[Future[Part], tuple[Group, Take]] = {}

            def submit(group: Group, takes: Sequence[Take]) -> int:
                pending.update({pool.submit(self._workshop.measured, take): (group, take) for take in takes})
                return len(takes)

            for group in groups:
                total += submit(group, group.first_takes())
            self._progress.count(done, total)
            for future in _finished(pending):
                group, take = pending.pop(future)
                done += 1
                if not future.cancelled():
                    try:
                        group.add(take, future.result())
                    except _FAILURES as error:
                        if id(group) not in failed:
                            self._fail(group.movie.name, error, take)
                        failed.add(id(group))
                rest = [other for other, (owner, _) in pending.items() if owner is group]
                if id(group) in failed:
                    for other in rest:
                        other.cancel()
                elif not rest:
                    total += submit(group, group.next_takes())
                self._progress.count(done, total)
        return [group for group in groups if id(group) not in failed]

    def stills(self, movie: Movie, curves: Sequence[Curve], folder: Path) -> list[Still]:
        """Pictures of a movie; none where they cannot be made, which is no reason to lose the rest."""
        try:
            return stills_of(self._workshop, movie, curves, folder)
        except _FAILURES as error:
            self._progress.note(f"{movie.name}: no pictures: {error}")
            return []

    def _fail(self, movie: str, error: BaseException, take: Take | None = None) -> None:
        line = " ".join(str(error).split()) or type(error).__name__
        if take is not None and len(self._workshop.settings.codecs) > 1:
            line = f"{take.way.codec}: {line}"
        self._progress.failed(movie, line)
        self.failures.append((movie, line))

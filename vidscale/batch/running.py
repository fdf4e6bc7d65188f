"""Runs a batch: several movies at a time on the same workers; a failure does not stop the others."""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from vidscale.batch.batch_progress import Expected
from vidscale.batch.chunked import ChunkedEncoder, folder_of, plan_chunked
from vidscale.batch.inputs import Entry, check_targets, target_of
from vidscale.batch.local import Engine
from vidscale.batch.lock import Claim
from vidscale.batch.measuring import measurer
from vidscale.batch.movie import encoder_of
from vidscale.batch.results import MovieResult, Results
from vidscale.batch.source_state import SourceState
from vidscale.batch.watching import MovieProgress, Watch
from vidscale.config import AUTO, BatchSettings, EncodeSettings
from vidscale.errors import ConfigError, UsageError, VidscaleError, reason_of
from vidscale.jobs.estimates import expected_frames
from vidscale.jobs.recipe_commands import filled_commands, run_after
from vidscale.media.probe import probe
from vidscale.media.versions import versions
from vidscale.per_title.checking import measured_quality
from vidscale.per_title.encoding import Finished, run_title
from vidscale.quality import METRICS, Metric, measuring
from vidscale.report.files import write_report
from vidscale.report.rows import Report
from vidscale.system.names import numbered

RESULTS, LOCK = ".vidscale-batch.db", ".vidscale-batch.lock"
_UNKNOWN = 0  # frames

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchMovie:
    """A movie of a batch: its name for people, source, output, settings, and what to run after it."""

    name: str
    source: Path
    target: Path
    settings: EncodeSettings
    then: tuple[tuple[str, ...], ...] = ()

    @property
    def key(self) -> str:
        """Hash of what the output depends on."""
        settings = self.settings.model_dump(mode="json", exclude={"overwrite", "jobs", "report_dir"})
        state = SourceState.of(self.source)
        source = [str(self.source.absolute()), state.size, state.mtime_ns]
        facts = [*source, settings, self.then, versions()["vidscale"]]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def plan_batch(
    entries: Sequence[Entry],
    output: Path,
    settings: EncodeSettings,
    batch: BatchSettings,
    then: tuple[tuple[str, ...], ...] = (),
) -> list[BatchMovie]:
    """The movies with their outputs and settings.

    Args:
        entries: the movies.
        output: the output folder, created if missing.
        settings: of all movies.
        batch: of the batch.
        then: command lines to run after each movie, as in a recipe.

    Raises:
        ConfigError: two movies would have the same output, or the folder cannot be written.
    """
    measured = {} if batch.least is None else _measuring(batch.least.metric, settings)
    given = settings.model_dump(include=settings.model_fields_set) | measured
    resolved = [EncodeSettings.resolve({"chunks": AUTO}, given, entry.settings) for entry in entries]
    targets = [
        (entry, target_of(entry, output, each.codec, batch.container))
        for entry, each in zip(entries, resolved, strict=True)
    ]
    check_targets(targets)
    names = numbered([str(entry.name) for entry in entries])
    return [
        BatchMovie(name, entry.source, target, each, then)
        for name, (entry, target), each in zip(names, targets, resolved, strict=True)
    ]


def _measuring(metric: Metric, settings: EncodeSettings) -> dict[str, bool]:
    if not settings.report:
        raise UsageError("--least needs the report that --no-report leaves out")
    return measuring([metric])


def run_batch(
    movies: Sequence[BatchMovie], output: Path, batch: BatchSettings, engine: Engine, watch: Watch
) -> list[MovieResult]:
    """Encodes all movies; those that an earlier run has finished are kept.

    Args:
        movies: from `plan_batch`.
        output: the output folder.
        batch: settings.
        engine: runs the chunks.
        watch: receives what happens.

    Returns:
        A result for each movie, in order.

    Raises:
        ConfigError: another batch writes to the folder, or it cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the folder {output} cannot be made: {reason_of(error)}") from error
    with Claim(output / LOCK, str(output)):
        results = Results(output / RESULTS)
        try:
            watch.planned([_expected(movie) for movie in movies])
            spread = engine.workers if len(movies) < engine.workers else 1
            return _Run(batch, engine, watch, results, spread).all(movies)
        finally:
            results.close()


@dataclass(frozen=True, slots=True)
class _Run:
    """A batch that runs.

    Attributes:
        batch: settings.
        engine: runs the chunks.
        watch: receives what happens.
        results: of this run and earlier ones.
        spread: number of workers that one movie is to keep busy.
    """

    batch: BatchSettings
    engine: Engine
    watch: Watch
    results: Results
    spread: int

    def all(self, movies: Sequence[BatchMovie]) -> list[MovieResult]:
        """Encodes as many movies at a time as there are workers; returns their results in order."""
        ended: dict[int, MovieResult] = {}
        with ThreadPoolExecutor(self.engine.workers, thread_name_prefix="movie") as pool:
            futures = {pool.submit(self._one, movie): number for number, movie in enumerate(movies)}
            try:
                for future in as_completed(futures):
                    result = future.result()
                    ended[futures[future]] = result
                    self.watch.finished(movies[futures[future]].name, result)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [ended[number] for number in range(len(movies))]

    def _one(self, movie: BatchMovie) -> MovieResult:
        self.watch.check()
        started = time.perf_counter()
        try:
            if (kept := self.results.kept(movie.key, movie.target)) is not None:
                with ChunkedEncoder(self.engine, None) as encoder:
                    encoder.forget(movie.target)
                return kept
            return self._encoded(movie, started)
        except Exception as error:  # of any kind: the other movies continue
            self.watch.check()  # an interrupted movie has not failed
            logger.debug("%s failed", movie.source, exc_info=True)
            reason = _reason(error)
        seconds = time.perf_counter() - started
        return MovieResult(str(movie.source), str(movie.target), "failed", " ".join(reason.split()), seconds=seconds)

    def _encoded(self, movie: BatchMovie, started: float) -> MovieResult:
        progress = MovieProgress(self.watch, movie.name)
        progress.start("planning", None)
        begun = movie.settings.overwrite or folder_of(movie.target).exists()
        if not begun and self.results.is_outdated(movie.key, movie.target):
            raise ConfigError(f"{movie.target} is from another source or other settings; -y encodes it again")
        movie.target.parent.mkdir(parents=True, exist_ok=True)
        planned = plan_chunked(movie.source, movie.target, movie.settings, progress)
        count = None if movie.settings.chunks in (AUTO, None) else int(movie.settings.chunks)
        with encoder_of(planned, self.engine, count, spread=self.spread) as encoder:
            finished = run_title(planned, progress, started=started, encoder=encoder, measure=measurer(self.engine))
            if finished.report is not None and finished.plan.settings.report:
                write_report(finished.report, finished.plan.report_dir)
            if movie.then:
                progress.start("running commands", None)
                run_after(
                    filled_commands(movie.then, movie.source, movie.target.absolute(), ffmpeg=finished.plan.ffmpeg.path)
                )
            result = _result(movie, finished, self.batch, time.perf_counter() - started)
            self.results.add(movie.key, result)
            encoder.discard()
        return result


def _reason(error: Exception) -> str:
    if isinstance(error, VidscaleError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {reason_of(error)}" if error.filename else reason_of(error)
    return "out of memory" if isinstance(error, MemoryError) else f"internal error, {type(error).__name__}: {error}"


def _result(movie: BatchMovie, finished: Finished, batch: BatchSettings, seconds: float) -> MovieResult:
    plan, report = finished.plan, finished.report if finished.plan.settings.report else None
    quality = {} if report is None else _quality(report)
    least = batch.least
    verdict = report.verdict if report else None
    return MovieResult(
        source=str(movie.source),
        output=str(movie.target),
        state="done",
        report=str(plan.report_dir) if report else None,
        frames=finished.outcome.frames,
        duration_s=float(report.distorted.duration_s or 0) if report else 0.0,
        bytes=finished.outcome.path.stat().st_size,
        source_bytes=None if plan.settings.range else plan.source.size_bytes,
        quality=quality,
        scaling=plan.pair.name if plan.pair.scale > 1 else "full size",
        bits=verdict.bits if verdict else None,
        is_low=least is not None and quality.get(least.metric, 0.0) < least.value,
        seconds=seconds,
        notes=(*plan.notes, *finished.outcome.notes),
    )


def _quality(report: Report) -> dict[Metric, float]:
    found: dict[Metric, float] = {}
    for metric in METRICS:
        try:
            found[metric] = measured_quality(report, metric, None)
        except ValueError:  # not measured
            continue
    return found


def _expected(movie: BatchMovie) -> Expected:
    """The frames that a movie takes; an estimate."""
    try:
        source = probe(movie.source, stream=movie.settings.stream)
    except (VidscaleError, OSError):
        return Expected(movie.name, _UNKNOWN)
    frames = expected_frames(source, movie.settings.range) or _UNKNOWN
    return Expected(movie.name, frames, frames if movie.settings.report else 0)

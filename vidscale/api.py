"""The Python API: the commands as functions of the same names.

    from vidscale import api

    result = api.encode("movie.mp4", scale=2, crf=28)
    print(result.path, result.report.rows[0].mse)
    api.decode(result.path, "restored.mkv", lossless=True)

Settings are those of the command line, with ``_`` for ``-``; `vidscale.config` describes each.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vidscale.batch.movie import plan_movie, run_movie
from vidscale.compare.output.files import write_comparison
from vidscale.compare.points import Comparison
from vidscale.compare.progress import ComparisonProgress
from vidscale.compare.running import run_comparison
from vidscale.compare.settings import CompareSettings
from vidscale.config import (
    BenchSettings,
    DecodeSettings,
    EncodeSettings,
    FilesSettings,
    ImageSettings,
    LadderSettings,
    StageSettings,
)
from vidscale.images import jobs
from vidscale.images.bench import BenchResult, run_bench
from vidscale.images.jobs import Failed, Scaled
from vidscale.images.methods import find_methods
from vidscale.jobs import pipe_stage, pipeline
from vidscale.jobs.adaptation import SegmentFacts
from vidscale.jobs.evaluation import evaluate_files
from vidscale.jobs.pipe_stage import Direction
from vidscale.jobs.planning import plan_decode
from vidscale.jobs.raw_output import open_for_y4m, write_y4m, write_y4m_file
from vidscale.per_title.checking import Check
from vidscale.per_title.deciding import decide
from vidscale.per_title.decision import Decision
from vidscale.per_title.ladder import FinishedLadder, plan_ladder, run_ladder
from vidscale.players.web import Site, write_site
from vidscale.report.reading import read_json
from vidscale.report.rows import Report
from vidscale.system.progress import Progress

__all__ = [
    "Encoded",
    "compare",
    "decode",
    "decode_y4m",
    "encode",
    "images_bench",
    "images_down",
    "images_roundtrip",
    "images_up",
    "ladder",
    "measure",
    "plan",
    "read_json",
    "stage",
    "web",
]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Result of `encode`.

    Attributes:
        path: the small file.
        notes: messages for the user: losses, damaged frames.
        report: the comparison with the source; None with ``report=False``.
        report_dir: where the report was written; None with ``report=False``.
        decision: how scale, pair and crf were chosen; None if the settings name them.
        checks: of the goal, one for each encode; empty without one.
        adapted: what each segment of the movie gained by an update of the upscaler; empty without ``adapt``.
    """

    path: Path
    notes: tuple[str, ...]
    report: Report | None
    report_dir: Path | None
    decision: Decision | None = None
    checks: tuple[Check, ...] = ()
    adapted: tuple[SegmentFacts, ...] = ()


def encode(
    source: str | Path, output: str | Path | None = None, *, progress: Progress | None = None, **settings: Any
) -> Encoded:
    """Encodes a video, at the scale that needs the fewest bits unless the settings name one or a pair; also restores
    and measures it unless ``report=False``.

    Args:
        source: the video.
        output: the small file; None for ``NAME.vsS.EXT`` in the source's folder.
        progress: receives the progress, in frames.
        settings: fields of `vidscale.config.EncodeSettings`.

    Raises:
        VidscaleError: the job failed; no output file is left.
    """
    started = time.perf_counter()
    planned = plan_movie(Path(source), _path(output), EncodeSettings.resolve(settings), progress)
    finished = run_movie(planned, progress, started=started)
    plan = finished.plan
    notes = (*(planned.decision.notes if planned.decision else ()), *plan.notes, *finished.outcome.notes)
    outcome = finished.outcome
    report = finished.report if plan.settings.report else None
    return Encoded(
        path=outcome.path,
        notes=notes,
        report=report,
        report_dir=plan.report_dir if report else None,
        decision=planned.decision,
        checks=finished.checks,
        adapted=outcome.adapted,
    )


def plan(
    source: str | Path,
    *,
    progress: Progress | None = None,
    quick: bool = False,
    exhaustive: bool = False,
    with_curves: bool = False,
    **settings: Any,
) -> Decision:
    """Finds the way to encode a video with the fewest bits, by probing parts of it; writes nothing.

    Args:
        source: the video.
        progress: receives the progress, in frames.
        quick: probe fewer frames.
        exhaustive: probe every way, not only those that may be best.
        with_curves: probe more crfs around the goal, to draw curves.
        settings: fields of `vidscale.config.EncodeSettings`.

    Raises:
        VidscaleError: the video cannot be encoded, or a goal cannot be met.
    """
    resolved = EncodeSettings.resolve(settings)
    return decide(
        Path(source), resolved, progress=progress, quick=quick, exhaustive=exhaustive, with_curves=with_curves
    )


def ladder(
    source: str | Path, output: str | Path | None = None, *, progress: Progress | None = None, **settings: Any
) -> FinishedLadder:
    """Encodes a video for HTTP Live Streaming: a rendition for each target, with the fewest bits.

    Args:
        source: the video.
        output: folder to write; None for ``NAME.hls`` in the source's folder.
        progress: receives the progress, in frames.
        settings: fields of `vidscale.config.LadderSettings`.

    Raises:
        VidscaleError: the job failed; the folder is as before.
    """
    resolved = LadderSettings.resolve(settings)
    planned = plan_ladder(Path(source), _path(output), resolved, progress)
    return run_ladder(planned, progress, verify=resolved.verify is not False)


def decode(
    source: str | Path, output: str | Path | None = None, *, progress: Progress | None = None, **settings: Any
) -> Path:
    """Restores a small file; returns the path of the restored file.

    Args:
        source: the small file.
        output: the restored file; None for ``NAME.restored.EXT`` in the source's folder.
        progress: receives the progress, in frames.
        settings: fields of `vidscale.config.DecodeSettings`.

    Raises:
        VidscaleError: the job failed; no output file is left.
    """
    plan = plan_decode(Path(source), _path(output), DecodeSettings.resolve(settings))
    return pipeline.decode(plan, progress).path


def decode_y4m(
    source: str | Path, output: str | Path | IO[bytes], *, progress: Progress | None = None, **settings: Any
) -> int:
    """Restores a small file to raw video (y4m), without audio; returns the number of frames.

    Args:
        source: the small file.
        output: a file to write, or a stream.
        progress: receives the progress, in frames.
        settings: fields of `vidscale.config.DecodeSettings`; encoder settings are ignored.

    Raises:
        VidscaleError: the job failed; no output file is left.
        BrokenPipeError: the reader has closed the pipe.
    """
    resolved = DecodeSettings.resolve(settings)
    target = Path(output) if isinstance(output, str | Path) else None
    small = open_for_y4m(Path(source), target, resolved)
    if isinstance(output, str | Path):
        frames, _ = write_y4m_file(
            small, Path(output), strict=resolved.strict, overwrite=resolved.overwrite, progress=progress
        )
    else:
        frames, _ = write_y4m(small, output, strict=resolved.strict, progress=progress)
    return frames


def web(source: str | Path, output: str | Path, **settings: Any) -> Site:
    """Writes a web page that plays a small file, or a playlist of them, restored.

    Args:
        source: the small file, or a master playlist; it is copied with all that it names.
        output: folder to write.
        settings: fields of `vidscale.config.DecodeSettings`; encoder settings are ignored.

    Raises:
        VidscaleError: no usable identity, a pair without a network for luma, or no writable folder.
    """
    return write_site(Path(source), Path(output), DecodeSettings.resolve(settings))


def measure(ref: str | Path, dist: str | Path, *, progress: Progress | None = None, **settings: Any) -> Report:
    """Compares a video with its source, frame by frame; a small file is restored first.

    Args:
        ref: the source.
        dist: the video to score.
        progress: receives the progress, in frames.
        settings: fields of `vidscale.config.FilesSettings`.

    Raises:
        VidscaleError: one of them cannot be read, or they cannot be compared.
    """
    return evaluate_files(Path(ref), Path(dist), FilesSettings.resolve(settings), progress=progress)


def compare(
    *movies: str | Path, output: str | Path, progress: ComparisonProgress | None = None, **settings: Any
) -> Comparison:
    """Encodes movies at full size and with pairs of scalers, and compares rate and quality.

    Args:
        movies: the videos.
        output: folder for encoded segments, their results, comparison.json, points.csv and the page; existing results
            are reused.
        progress: receives the progress, in jobs.
        settings: fields of `vidscale.compare.settings.CompareSettings`.

    Returns:
        All measurements; movies that failed are listed in ``failures``.

    Raises:
        VidscaleError: no movie can be compared.
    """
    comparison = run_comparison(
        [Path(movie) for movie in movies], Path(output), CompareSettings.resolve(settings), progress
    )
    write_comparison(comparison, Path(output))
    return comparison


def stage(direction: Direction, source: IO[bytes], sink: IO[bytes], **settings: Any) -> int:
    """Scales raw video (y4m or NUT) from one stream to another; returns the number of frames.

    Args:
        direction: "down" or "up".
        source: a buffered reader (a pipe, an open file) or `io.BytesIO`.
        sink: stream for the result.
        settings: fields of `vidscale.config.StageSettings`.

    Raises:
        VidscaleError: the input is not raw video, or is damaged.
    """
    return pipe_stage.run_stage(direction, source, sink, StageSettings.resolve(settings))


def images_down(
    paths: str | Path | Sequence[str | Path], output: str | Path, *, progress: Progress | None = None, **settings: Any
) -> list[Scaled | Failed]:
    """Downscales pictures: one result for each; a failure does not stop the others.

    Args:
        paths: folders and files; one may be given alone.
        output: folder to write.
        progress: receives the progress, in pictures.
        settings: fields of `vidscale.config.ImageSettings`.

    Raises:
        VidscaleError: no pair, no pictures, or no writable output folder.
    """
    return list(jobs.downscale_folder(_paths(paths), Path(output), ImageSettings.resolve(settings), progress))


def images_up(
    paths: str | Path | Sequence[str | Path], output: str | Path, *, progress: Progress | None = None, **settings: Any
) -> list[Scaled | Failed]:
    """Restores small pictures to the size of their sources; arguments and errors as in `images_down`."""
    return list(jobs.upscale_folder(_paths(paths), Path(output), ImageSettings.resolve(settings), progress))


def images_roundtrip(
    paths: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    progress: Progress | None = None,
    **settings: Any,
) -> list[Scaled | Failed]:
    """Downscales, restores and measures pictures; as `images_down`, but without an output nothing is written."""
    return list(jobs.round_trip_folder(_paths(paths), _path(output), ImageSettings.resolve(settings), progress))


def images_bench(
    paths: str | Path | Sequence[str | Path], *, progress: Progress | None = None, **settings: Any
) -> BenchResult:
    """Compares methods of downscaling and restoring pictures; `vidscale.images.bench_files` writes the result to files.

    Args:
        paths: folders and files; one may be given alone.
        progress: receives the progress, in pictures.
        settings: fields of `vidscale.config.BenchSettings`.

    Raises:
        VidscaleError: no pictures, or a pair in the settings is not installed.
    """
    methods = find_methods(BenchSettings.resolve(settings), progress)
    return BenchResult.of(methods, list(run_bench(_paths(paths), methods, crops=True, progress=progress)))


def _paths(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    if isinstance(paths, str | Path):
        return [Path(paths)]
    return [Path(path) for path in paths]


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)

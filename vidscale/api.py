"""The Python API: what the commands do, as functions of the same names.

    from vidscale import api

    result = api.encode("movie.mp4", scale=2, crf=28)
    print(result.path, result.report.rows[0].mse)
    api.decode(result.path, "restored.mkv", lossless=True)

Settings are those of the command line, with ``_`` for ``-``; `vidscale.config` describes each.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vidscale import pipe_stage, pipeline
from vidscale.config import DecodeSettings, EncodeSettings, FilesSettings, StageSettings
from vidscale.evaluation import evaluate_encode, evaluate_files
from vidscale.pipe_stage import Direction
from vidscale.planning import plan_decode, plan_encode
from vidscale.progress import Progress
from vidscale.report import Report
from vidscale.report_files import write_report

__all__ = ["Encoded", "decode", "encode", "measure", "stage"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Result of `encode`.

    Attributes:
        path: the small file.
        notes: what a person should know: what the output does not hold, damaged frames.
        report: the comparison with the source; None with ``report=False``.
        report_dir: where the report was written; None with ``report=False``.
    """

    path: Path
    notes: tuple[str, ...]
    report: Report | None
    report_dir: Path | None


def encode(
    source: str | Path, output: str | Path | None = None, *, progress: Progress | None = None, **settings: Any
) -> Encoded:
    """Codes a video at fewer pixels; restores and measures it too unless ``report=False``.

    Args:
        source: the video.
        output: the small file; None for ``NAME.vsS.EXT`` beside the source.
        progress: told about every frame.
        settings: fields of `vidscale.config.EncodeSettings`.

    Raises:
        VidscaleError: it cannot be done; nothing is left at the output then.
    """
    started = time.perf_counter()
    plan = plan_encode(Path(source), _path(output), EncodeSettings.resolve(settings))
    outcome = pipeline.encode(plan, progress)
    notes = (*plan.notes, *outcome.notes)
    if not plan.settings.report:
        return Encoded(outcome.path, notes, None, None)
    report = evaluate_encode(plan, outcome, progress, started)
    write_report(report, plan.report_dir)
    return Encoded(outcome.path, notes, report, plan.report_dir)


def decode(
    source: str | Path, output: str | Path | None = None, *, progress: Progress | None = None, **settings: Any
) -> Path:
    """Restores a small file; returns the path of what it wrote.

    Args:
        source: the small file.
        output: the restored file; None for ``NAME.restored.EXT`` beside the source.
        progress: told about every frame.
        settings: fields of `vidscale.config.DecodeSettings`.

    Raises:
        VidscaleError: it cannot be done; nothing is left at the output then.
    """
    plan = plan_decode(Path(source), _path(output), DecodeSettings.resolve(settings))
    return pipeline.decode(plan, progress).path


def measure(ref: str | Path, dist: str | Path, *, progress: Progress | None = None, **settings: Any) -> Report:
    """Compares a video with its source, frame by frame; a small file is restored first.

    Args:
        ref: the source.
        dist: what was made of it.
        progress: told about every frame.
        settings: fields of `vidscale.config.FilesSettings`.

    Raises:
        VidscaleError: one cannot be read, or they cannot be compared.
    """
    return evaluate_files(Path(ref), Path(dist), FilesSettings.resolve(settings), progress=progress)


def stage(direction: Direction, source: IO[bytes], sink: IO[bytes], **settings: Any) -> int:
    """Scales raw video (y4m or NUT) from one stream to another; returns the number of frames.

    Args:
        direction: "down" or "up".
        source: buffered reader.
        sink: where the result goes.
        settings: fields of `vidscale.config.StageSettings`.

    Raises:
        VidscaleError: the input is not raw video, or damaged.
    """
    return pipe_stage.run_stage(direction, source, sink, StageSettings.resolve(settings))


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)

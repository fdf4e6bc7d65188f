"""Measuring a part of an output: what a worker is told, and what it does. Rows of numbers travel, never pictures."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidscale.batch.chunk_encode import movie_plan
from vidscale.batch.tasks import (
    CODING,
    READING,
    SourceState,
    answered,
    check_unchanged,
    check_version,
    gpu_share,
)
from vidscale.jobs.measured_encode import EncodePart, measure_encode, open_encode
from vidscale.jobs.measurement import Measurement
from vidscale.jobs.plans import EncodePlan
from vidscale.media.versions import versions
from vidscale.system.progress import Progress
from vidscale.system.threads import limit_cores

_MEASURING = ("ssim", "vmaf", "xpsnr", "client")


@dataclass(frozen=True, slots=True)
class MeasureTask:
    """What a worker needs to measure a part of an output.

    Attributes:
        name: for people: movie and number of the part.
        source: path of the movie.
        state: of the movie, in which no timestamp jumps.
        output: path of the small file.
        settings: those of the encode that matter, as JSON values.
        part: to measure.
        pair: full name and hash of the pair.
        threads: processors that the worker may use.
        gpus: share of a GPU that it needs.
        version: of vidscale.
    """

    name: str
    source: str
    state: SourceState
    output: str
    settings: dict[str, Any]
    part: EncodePart
    pair: tuple[str, str]
    threads: int
    gpus: float
    version: str

    @property
    def start_s(self) -> str | None:
        """Beginning of the part, seconds."""
        start = self.part.window.start_s
        return None if start is None else str(start)

    @property
    def end_s(self) -> str | None:
        """Its end, seconds."""
        end = self.part.window.end_s
        return None if end is None else str(end)


def measure_task(plan: EncodePlan, part: EncodePart, *, name: str, state: SourceState, threads: int) -> MeasureTask:
    """The task for a part of a plan's output; arguments as the attributes of `MeasureTask`."""
    device = plan.pair.upscale_backend.device
    settings = plan.settings.model_copy(update={"device": device})
    return MeasureTask(
        name=name,
        source=str(plan.source.path),
        state=state,
        output=str(plan.output.path),
        settings=settings.model_dump(mode="json", include={*CODING, *READING, *_MEASURING}),
        part=part,
        pair=(plan.pair.name, plan.pair.sha256),
        threads=threads,
        gpus=gpu_share(device),
        version=versions()["vidscale"],
    )


def measured_part(task: MeasureTask) -> dict[str, Any]:
    """Runs a task: the answer has a `Measurement`, see `answered`; ``{"missing": True}`` if a file is not found."""
    files = [Path(task.output)] if task.state.size is None else [Path(task.source), Path(task.output)]
    if not all(file.exists() for file in files):
        return {"missing": True}

    def result() -> Measurement:
        check_version(task.version)
        check_unchanged(task.source, task.state)
        limit_cores(task.threads)
        plan = movie_plan(task.source, task.state, task.output, task.settings, task.pair)
        plan = replace(plan, source=replace(plan.source, may_jump=False))
        ffmpeg, small = open_encode(plan, Path(task.output))
        return measure_encode(plan, small, ffmpeg, Progress(), part=task.part)

    return answered(result)

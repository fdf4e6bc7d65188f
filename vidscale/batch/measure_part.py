"""Measuring a part of an output by a worker: the task and its execution. Rows of numbers travel, never pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidscale.batch.source_state import SourceState
from vidscale.batch.task_movie import CODING, READING, TaskMovie, check_version, movie_plan
from vidscale.batch.tasks import answered, gpu_share
from vidscale.jobs.measured_encode import EncodePart, measure_encode, open_encode
from vidscale.jobs.measurement import Measurement
from vidscale.jobs.plans import EncodePlan
from vidscale.system.progress import Progress
from vidscale.system.threads import limit_cores

_MEASURING = ("ssim", "vmaf", "xpsnr", "client")


@dataclass(frozen=True, slots=True)
class MeasureTask:
    """What a worker needs to measure a part of an output.

    Attributes:
        name: for people: movie and number of the part.
        movie: that was encoded; no timestamp jumps in it.
        part: to measure.
        threads: processors that the worker may use.
        gpus: share of a GPU that it needs.
    """

    name: str
    movie: TaskMovie
    part: EncodePart
    threads: int
    gpus: float

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
    dumped = settings.model_dump(mode="json", include={*CODING, *READING, *_MEASURING})
    movie = TaskMovie.of(plan, dumped, state, jumps=False)
    return MeasureTask(name, movie, part, threads, gpu_share(device))


def measured_part(task: MeasureTask) -> dict[str, Any]:
    """Runs a task: the answer has a `Measurement`, see `answered`; ``{"missing": True}`` if a file is not found."""
    movie = task.movie
    files = [Path(movie.output)] if movie.state.size is None else [Path(movie.source), Path(movie.output)]
    if not all(file.exists() for file in files):
        return {"missing": True}

    def result() -> Measurement:
        check_version(movie.version)
        movie.check_unchanged()
        limit_cores(task.threads)
        plan = movie_plan(movie)
        ffmpeg, small = open_encode(plan, Path(movie.output))
        return measure_encode(plan, small, ffmpeg, Progress(), part=task.part)

    return answered(result)

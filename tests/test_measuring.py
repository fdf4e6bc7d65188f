"""A report whose parts are measured by workers: it is the one that this program measures of the same file."""

import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from material import make, picture, sound

from vidscale.batch import measuring
from vidscale.batch.local import LocalEngine
from vidscale.batch.measure_part import MeasureTask, measure_task, measured_part
from vidscale.batch.measuring import measurer
from vidscale.batch.source_state import SourceState
from vidscale.batch.tasks import FinalError, NotFoundError, result_of
from vidscale.config import EncodeSettings
from vidscale.jobs.evaluation import evaluate_encode
from vidscale.jobs.measured_encode import open_encode
from vidscale.jobs.measurement import Measurement
from vidscale.jobs.pipeline import encode
from vidscale.jobs.planning import plan_encode
from vidscale.report.rows import Report, WorstFrame

CUT = "[1]trim=duration=3.2,setpts=PTS-STARTPTS[m];[0][m]concat=n=2[v]"
QUICK: dict[str, Any] = {
    "scale": "2",
    "pair": "lanczos",
    "preset": "ultrafast",
    "encoder_params": "keyint=20",
    "verdict": False,
}


@dataclass
class Workers(LocalEngine):
    """Measures in threads, with what travels as bytes; `lost` parts do not find the movie."""

    lost: int = 0
    sizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(3)
        self._pool = ThreadPoolExecutor(2)

    def measure(self, task: MeasureTask, advance: Callable[[int], None]) -> "Future[Measurement]":  # type: ignore[override]
        return self._pool.submit(self._run, pickle.dumps(task), advance)

    def _run(self, task: bytes, advance: Callable[[int], None]) -> Measurement:
        if len(self.sizes) < self.lost:
            raise NotFoundError("missing")
        answer = pickle.dumps(measured_part(pickle.loads(task)))
        self.sizes.append(len(answer))
        result: Measurement = result_of(pickle.loads(answer))
        advance(result.pairs)
        return result


def film(folder: Path, name: str, *words: str) -> Path:
    """Two shots of 3.2 s, with sound."""
    size = "192x128"
    pictures = [*picture(size, 25, 3.2), "-f", "lavfi", "-i", f"mandelbrot=s={size}:r=25", *sound(6.4)]
    streams = ["-filter_complex", f"{CUT};[v]format=yuv420p[w]", "-map", "[w]", "-map", "2:a"]
    return make(folder / name, *pictures, *streams, "-preset", "ultrafast", "-g", "20", *words)


def same(one: Report, other: Report) -> bool:
    """Whether two reports differ only in the time that they took."""

    def pictures(frame: WorstFrame) -> list[np.ndarray[Any, Any]]:
        return [*frame.ref, *frame.dist, frame.error]

    bare = [replace(report, stages=(), wall_s=None, worst=()) for report in (one, other)]
    worst = [[plane for frame in report.worst for plane in pictures(frame)] for report in (one, other)]
    return bare[0] == bare[1] and all(np.array_equal(a, b) for a, b in zip(*worst, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "words", "output", "settings"),
    [
        ("a.mp4", ["-bf", "2"], "small.mkv", {"vmaf": True, "xpsnr": True}),
        ("late.ts", ["-output_ts_offset", "3"], "small.mp4", {"range": "0.5:5.6", "client": "any", "pair": "adaptive"}),
        ("fields.mkv", ["-flags", "+ilme+ildct"], "small.mp4", {"interlaced": "bwdif", "vmaf": True}),
        ("vfr.mkv", ["-bsf:v", "setts=ts=TS+mod(N\\,3)*4"], "small.mkv", {"codec": "svtav1", "preset": "12"}),
    ],
)
def test_joined_report_is_the_report(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    words: list[str],
    output: str,
    settings: Mapping[str, Any],
) -> None:
    monkeypatch.setattr(measuring, "_SHORTEST_S", 1)
    plan = plan_encode(film(tmp_path, source, *words), tmp_path / output, EncodeSettings.resolve(QUICK, settings))
    outcome = encode(plan)
    with Workers() as engine:
        found = evaluate_encode(plan, outcome, measure=measurer(engine))
        assert len(engine.sizes) == 3
        assert max(engine.sizes) < 600 * outcome.frames
    wanted = evaluate_encode(plan, outcome)
    assert len(wanted.shots) == 2
    assert len(wanted.worst) > 2
    assert same(found, wanted)


@pytest.mark.slow
def test_program_measures_what_workers_do_not_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_SHORTEST_S", 1)
    plan = plan_encode(film(tmp_path, "a.mp4"), tmp_path / "small.mp4", EncodeSettings.resolve(QUICK))
    outcome = encode(plan)
    with Workers(lost=1) as engine:
        found = evaluate_encode(plan, outcome, measure=measurer(engine))
    assert same(found, evaluate_encode(plan, outcome))
    part = measuring._parts(plan, open_encode(plan, outcome.path)[1], outcome, 1)[0]
    task = measure_task(plan, part, name="a", state=SourceState.of(plan.source.path), threads=1)
    assert measured_part(replace(task, movie=replace(task.movie, output="none.mp4"))) == {"missing": True}
    with pytest.raises(FinalError, match="has changed"):
        result_of(measured_part(replace(task, movie=replace(task.movie, state=SourceState(1, 1)))))


def test_engine_of_this_machine_leaves_measuring_to_the_program() -> None:
    with LocalEngine(2) as engine:
        assert measurer(engine) is None

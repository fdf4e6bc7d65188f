"""One movie from plan to report, in one piece or in chunks, as its settings say."""

import time
from collections.abc import Callable
from pathlib import Path

from vidscale.batch.chunked import ChunkedEncoder, plan_chunked
from vidscale.batch.local import Engine, LocalEngine
from vidscale.config import AUTO, EncodeSettings
from vidscale.jobs.pipeline import Outcome
from vidscale.per_title.encoding import Finished, Planned, plan_title, run_title
from vidscale.report.files import write_report
from vidscale.system.progress import Progress


def plan_movie(path: Path, output: Path | None, settings: EncodeSettings, progress: Progress | None = None) -> Planned:
    """Plans an encode; arguments and errors as in `plan_title`."""
    return (plan_title if settings.chunks is None else plan_chunked)(path, output, settings, progress)


def run_movie(
    planned: Planned,
    progress: Progress | None = None,
    *,
    started: float | None = None,
    encoded: Callable[[Outcome], None] = lambda outcome: None,
) -> Finished:
    """Executes a planned encode and writes its report; arguments and errors as in `run_title`."""
    progress = progress or Progress()
    started = time.perf_counter() if started is None else started
    settings = planned.plan.settings
    if settings.chunks is None:
        finished = run_title(planned, progress, started=started, encoded=encoded)
        _write_report(finished, progress)
        return finished
    count = None if settings.chunks == AUTO else int(settings.chunks)
    with LocalEngine(settings.jobs) as engine, encoder_of(planned, engine, count) as encoder:
        finished = run_title(planned, progress, started=started, encoder=encoder, encoded=encoded)
        _write_report(finished, progress)
        encoder.discard()
    return finished


def encoder_of(planned: Planned, engine: Engine, count: int | None, *, spread: int | None = None) -> ChunkedEncoder:
    """The encoder for a planned movie, which knows what was decided; arguments as of `ChunkedEncoder`."""
    decision = planned.decision
    if decision is None:
        return ChunkedEncoder(engine, count, spread=spread)
    expected = decision.chosen.video_bytes
    return ChunkedEncoder(engine, count, spread=spread, asked=decision.settings, expected_bytes=expected)


def _write_report(finished: Finished, progress: Progress) -> None:
    if finished.report is not None and finished.plan.settings.report:
        progress.start("writing the report", None)
        write_report(finished.report, finished.plan.report_dir)

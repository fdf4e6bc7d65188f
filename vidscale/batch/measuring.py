"""The report of a movie, measured by the workers: each compares a part of the output with the source."""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from itertools import pairwise

from vidscale.batch.chunks import USUAL_S
from vidscale.batch.local import Engine
from vidscale.batch.measure_part import MeasureTask, measure_task
from vidscale.batch.source_state import SourceState
from vidscale.batch.tasks import NotFoundError
from vidscale.batch.work import Work
from vidscale.jobs.evaluation import Measure
from vidscale.jobs.measured_encode import (
    EncodePart,
    add_worst_frames,
    encode_part,
    joined_measurement,
    measure_encode,
    open_encode,
)
from vidscale.jobs.measurement import Measurement
from vidscale.jobs.pipeline import Outcome
from vidscale.jobs.plans import EncodePlan
from vidscale.jobs.restore import SmallFile
from vidscale.media.packets import video_packets
from vidscale.system.progress import Progress

_SHORTEST_S = 10  # of parts that only keep more workers busy


def measurer(engine: Engine) -> Measure | None:
    """What measures an output, for `evaluate_encode`; None where this program is to do it."""
    return None if engine.measure is None else partial(_measured, engine)


def _measured(engine: Engine, plan: EncodePlan, small: SmallFile, outcome: Outcome, progress: Progress) -> Measurement:
    """The measurement of all parts; of the whole by this program where a worker cannot find the movie, or where
    frames have no partner, as in a damaged movie."""
    if not (outcome.log.damaged or outcome.log.joints):
        results = _results(engine, plan, _parts(plan, small, outcome, engine.workers), outcome, progress)
        if results and not any(result.unpaired.count for result in results):
            measured = joined_measurement(results)
            add_worst_frames(measured, plan, small, outcome.log.origin_s)
            return measured
    ffmpeg, _ = open_encode(plan, outcome.path)
    return measure_encode(plan, small, ffmpeg, progress, frames=outcome.frames)


def _results(
    engine: Engine, plan: EncodePlan, parts: Sequence[EncodePart], outcome: Outcome, progress: Progress
) -> list[Measurement]:
    """What the workers have measured; empty if one cannot find the movie."""
    if engine.measure is None or not parts:
        return []
    name, state = f"{plan.source.path.name}, measuring part", SourceState.of(plan.source.path)
    tasks = {
        n: measure_task(plan, part, name=f"{name} {n + 1} of {len(parts)}", state=state, threads=engine.threads)
        for n, part in enumerate(parts)
    }
    found: dict[int, Measurement] = {}
    progress.start("measuring", outcome.frames)
    try:
        Work[MeasureTask, Measurement](engine.measure, tasks, found.__setitem__, progress).run()
    except NotFoundError:
        return []
    return [found[number] for number in tasks]


def _parts(plan: EncodePlan, small: SmallFile, outcome: Outcome, workers: int) -> list[EncodePart]:
    """Parts of similar length that begin at keyframes of the output; none if its packets are not one per frame."""
    times, keys = list[Fraction](), set[Fraction]()
    with video_packets(small.source) as packets:
        for packet in packets:
            if packet.size and packet.pts is not None and not packet.is_discard:
                times.append(packet.pts * packets.time_base)
                if packet.is_keyframe:
                    keys.add(times[-1])
    if len(times) != outcome.frames:
        return []
    times.sort()
    begins = [index for index, time in enumerate(times) if time in keys]
    length_s = times[-1] - times[0]
    count = max(1, round(length_s / USUAL_S), min(workers, int(length_s // _SHORTEST_S)))
    even = [times[0] + length_s * number / count for number in range(1, count)]
    firsts = sorted({0, *(min(begins, key=lambda index: abs(times[index] - at)) for at in even)})
    return [
        encode_part(plan, small.source.start_s, times, first, end, outcome.log.origin_s)
        for first, end in pairwise([*firsts, len(times)])
    ]

"""Joins finished chunks into one ordinary file, as if they had been encoded in one run."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vidscale.batch.chunks import Chunk
from vidscale.batch.tasks import ChunkResult
from vidscale.errors import EncodeError
from vidscale.jobs.adaptation import adapts, joined
from vidscale.jobs.encoding import strength_note
from vidscale.jobs.finishing import distinct, finish, rounding_notes
from vidscale.jobs.losses import found_notes
from vidscale.jobs.pipeline import Outcome
from vidscale.jobs.plans import EncodePlan
from vidscale.media.captions import Captions
from vidscale.media.timing import Timing
from vidscale.stages.pieces import Piece
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock
from vidscale.system.workspace import partial_files

_SUMMED = ("frames", "unreadable", "concealed", "damaged_identities", "timestamps_made", "timestamps_corrected")


def join(
    plan: EncodePlan,
    chunks: Sequence[Chunk],
    results: Sequence[ChunkResult],
    files: Sequence[Path],
    *,
    overwrite: bool,
    complete: Callable[[Path, Outcome], None],
) -> Outcome:
    """Joins chunks and everything else of the source into the output.

    Args:
        plan: of the movie.
        chunks, results, files: in order.
        overwrite: an existing output may be replaced.
        complete: called with the finished file before it gets its name.

    Raises:
        EncodeError: the chunks do not fit together, or the output cannot be written.
    """
    unit = plan.source.video.time_base
    origins = [int(result.log.origin_s / unit) for result in results]
    first = origins[0] + results[0].pts[0]
    zero = first if plan.settings.range is not None or first < 0 else 0
    shifts = [origin - zero for origin in origins]
    timing = _timing(plan, results, shifts)
    log = replace(merged([result.log for result in results]), origin_s=zero * unit)
    if log.truncated_at_s is not None and plan.settings.range is None:
        log.unreadable = max(log.unreadable, (plan.source.video.frame_count or 0) - log.frames)
    _check(plan, chunks, results, origins)
    for _ in distinct(timing.pts, lambda pts: pts * unit, plan.output):
        pass
    notes = (*found_notes(plan, log), *rounding_notes(timing, plan.output))
    if plan.measures_strength:
        plan = plan.with_quantiser(_mean_quantiser(results))
        notes = (*notes, strength_note(plan.identity.crf))
    captions = _captions(results, shifts)
    pieces = [
        Piece(file, shift * unit, result.delay, is_kept=True)
        for file, shift, result in zip(files, shifts, results, strict=True)
    ]
    adaptation = joined(
        [(result.adaptation, shift, result.pts[0]) for result, shift in zip(results, shifts, strict=True)],
        unit,
    )
    if adapts(plan) and not adaptation.segments:
        notes = (*notes, "not adapted: the coding strength is known only once all chunks are finished")
    plan, notes = adaptation.signed(plan), (*notes, *adaptation.notes)
    outcome = Outcome(plan.output.path, len(timing.pts), log, _clocks(results), notes, adaptation.segments)
    with partial_files(plan.output.path, source=plan.source.path, overwrite=overwrite) as workspace:
        finish(plan, pieces, timing, captions, log, workspace, updates=adaptation.updates, is_joined=True)
        complete(workspace.result, outcome)
    return outcome


def merged(logs: Sequence[ReadLog]) -> ReadLog:
    """One log of the whole source from those of its parts, in order."""
    whole = ReadLog(**{name: sum(getattr(log, name) for log in logs) for name in _SUMMED})
    whole.joints = max(log.joints for log in logs)  # each part is read from the beginning where time jumps
    whole.late_streams = any(log.late_streams for log in logs)
    whole.truncated_at_s = logs[-1].truncated_at_s
    for log in logs:
        for words, at in log.side_data.items():
            whole.side_data[words] = min(at, whole.side_data.get(words, at))
    return whole


def _timing(plan: EncodePlan, results: Sequence[ChunkResult], shifts: Sequence[int]) -> Timing:
    pts = array("q")
    for result, shift in zip(results, shifts, strict=True):
        pts.extend(each + shift for each in result.pts)
    last = results[-1].until
    return Timing(pts, None if last is None else last + shifts[-1], plan.source.video.time_base)


def _captions(results: Sequence[ChunkResult], shifts: Sequence[int]) -> Captions:
    captions = Captions()
    for result, shift in zip(results, shifts, strict=True):
        for pts, data in result.captions:
            captions.add(pts + shift, data)
    return captions


def _check(plan: EncodePlan, chunks: Sequence[Chunk], results: Sequence[ChunkResult], origins: Sequence[int]) -> None:
    """Checks that every chunk begins where it should and has the pictures that the source has there."""
    for number, (chunk, result, origin) in enumerate(zip(chunks, results, origins, strict=True), start=1):
        where = f"chunk {number} of {plan.source.path.name}"
        begins = origin + result.pts[0]
        if result.log.damaged:
            if (chunk.start is not None and begins < chunk.start) or (
                chunk.end is not None and origin + result.pts[-1] >= chunk.end
            ):
                raise EncodeError(f"{where} overlaps its neighbours: encode it without --chunks")
            continue
        if chunk.start is not None and begins != chunk.start:
            raise EncodeError(f"{where} does not begin where it should: encode it without --chunks")
        if chunk.frames is not None and len(result.pts) != chunk.frames:
            counts = f"{len(result.pts)} pictures instead of {chunk.frames}"
            raise EncodeError(f"{where} has {counts}: encode it without --chunks")


def _mean_quantiser(results: Sequence[ChunkResult]) -> float | None:
    known = [(result.quantiser, len(result.pts)) for result in results if result.quantiser is not None]
    frames = sum(count for _, count in known)
    return sum(mean * count for mean, count in known) / frames if frames else None


def _clocks(results: Sequence[ChunkResult]) -> tuple[Clock, ...]:
    columns = zip(*(result.clocks for result in results), strict=True)
    return tuple(
        Clock(column[0].stage, sum(clock.frames for clock in column), sum(clock.busy_s for clock in column))
        for column in columns
    )

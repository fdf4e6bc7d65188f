"""Execution of a plan (`vidscale.jobs.plans`): encodes or restores one file.

source ─ decode ─ downscale ─ encode ─ (adapt) ─ sign ─ mux ─ check ─▶ small file
small file ─ decode ─ upscale ─ encode ─ sign ─ mux ─ check ─▶ restored file
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vidscale.jobs.adaptation import NOTHING, SegmentFacts, adapts, shots_to_adapt
from vidscale.jobs.encoding import adapt_encoded, downscaled, encode_video, strength_note
from vidscale.jobs.estimates import expected_frames
from vidscale.jobs.finishing import distinct, finish, rounding_notes
from vidscale.jobs.losses import found_notes
from vidscale.jobs.plans import DecodePlan, EncodePlan
from vidscale.jobs.reading import Read, ReadOnce, source_frames
from vidscale.jobs.restore import restored_frames
from vidscale.media.frames import Frame
from vidscale.media.timing import Timing
from vidscale.models.pair_cache import remember
from vidscale.report.rows import Shot
from vidscale.stages.encode import mean_quantiser
from vidscale.stages.pieces import Piece
from vidscale.stages.read_log import ReadLog
from vidscale.system.progress import Progress, counted
from vidscale.system.threads import Clock, Prefetch, queue_depth
from vidscale.system.workspace import partial_files


@dataclass(frozen=True, slots=True)
class Outcome:
    """A written file.

    Attributes:
        path: the file.
        frames: pictures in it.
        log: problems found while reading the source.
        clocks: busy time of each stage.
        notes: messages for the user, one line each.
        adapted: what each segment of the movie gained by an update of the upscaler; empty without `--adapt`.
    """

    path: Path
    frames: int
    log: ReadLog
    clocks: tuple[Clock, ...]
    notes: tuple[str, ...]
    adapted: tuple[SegmentFacts, ...] = ()


def encode(plan: EncodePlan, progress: Progress | None = None) -> Outcome:
    """Executes a plan: writes the small file.

    Raises:
        VidscaleError: it failed; no output file is left.
    """
    log, clock, progress = ReadLog(), Clock("decode"), progress or Progress()
    read = ReadOnce(plan) if adapts(plan) else partial(source_frames, plan)
    shots = shots_to_adapt(read, progress) if adapts(plan) else ()
    with Prefetch(read(log, clock), queue_depth(plan.source.video.frame_bytes)) as frames:
        return encode_from(frames, plan, log, clock, progress, shots, read)


def encode_from(
    frames: Iterator[Frame],
    plan: EncodePlan,
    log: ReadLog,
    clock: Clock,
    progress: Progress | None = None,
    shots: Sequence[Shot] = (),
    read: Read | None = None,
) -> Outcome:
    """Executes a plan on frames that are already decoded.

    Args:
        frames: from `source_frames`.
        plan: says how.
        log, clock: of the decoding.
        progress: receives the progress, in frames.
        shots: that the upscaler may be adapted to.
        read: reads the frames again, by default from the source's file.
    """
    clocks = (clock, Clock("downscale"), Clock("encode"))
    small = downscaled(frames, plan, clocks[1])
    total = expected_frames(plan.source, plan.settings.range)
    progress = progress or Progress()
    outcome = _write(plan, small, log, clocks, progress, task="encoding", total=total, shots=shots, read=read)
    remember(plan.pair)
    return outcome


def decode(plan: DecodePlan, progress: Progress | None = None) -> Outcome:
    """Executes a plan: writes the restored file.

    Raises:
        VidscaleError: it failed; no output file is left.
    """
    log, clocks = ReadLog(), (Clock("decode"), Clock("upscale"), Clock("encode"))
    frames = restored_frames(plan.small, log=log, decoding=clocks[0], upscaling=clocks[1])
    total = expected_frames(plan.source, None)
    return _write(plan, frames, log, clocks, progress or Progress(), task="restoring", total=total)


def _write(
    plan: EncodePlan | DecodePlan,
    frames: Iterator[Frame],
    log: ReadLog,
    clocks: tuple[Clock, ...],
    progress: Progress,
    *,
    task: str,
    total: int | None,
    shots: Sequence[Shot] = (),
    read: Read | None = None,
) -> Outcome:
    """Encodes the frames and finishes the file."""
    with partial_files(plan.output.path, source=plan.source.path, overwrite=plan.settings.overwrite) as workspace:
        progress.start(task, total)
        file = workspace.file(f"video{plan.coded_suffix}")
        quantisers = workspace.file("video.log")
        with Prefetch(frames, queue_depth(plan.written.frame_bytes)) as scaled:
            shown = distinct(counted(scaled, progress), lambda frame: frame.time, plan.output)
            encoded = encode_video(plan, shown, file, clocks[-1], quantisers=quantisers, shots=shots)
        notes, adaptation = found_notes(plan, log), NOTHING
        if isinstance(plan, EncodePlan):
            if plan.measures_strength:
                plan = plan.with_quantiser(mean_quantiser(quantisers))
                notes = (*notes, strength_note(plan.identity.crf))
            again = workspace.file(f"again{plan.coded_suffix}")
            encoded, adaptation = adapt_encoded(plan, encoded, shots, progress, again, read)
            plan = adaptation.signed(plan)
        progress.start("writing", None)
        timing = Timing(encoded.pts, encoded.until, plan.written.time_base)
        finish(plan, [Piece(encoded.path)], timing, encoded.captions, log, workspace, updates=adaptation.updates)
    notes = (*notes, *rounding_notes(timing, plan.output), *adaptation.notes)
    return Outcome(plan.output.path, len(encoded.pts), log, clocks, notes, adaptation.segments)

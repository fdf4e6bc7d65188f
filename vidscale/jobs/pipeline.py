"""Execution of a plan (`vidscale.jobs.plans`): encodes or restores one file.

source ─ decode ─ downscale ─ encode ─ (adapt) ─ sign ─ mux ─ check ─▶ small file
small file ─ decode ─ upscale ─ encode ─ sign ─ mux ─ check ─▶ restored file
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidscale.errors import EncodeError
from vidscale.jobs.adaptation import NOTHING, SegmentFacts, adapt_upscaler, adapts, shots_to_adapt, source_frames
from vidscale.jobs.estimates import expected_frames
from vidscale.jobs.losses import late_loss_notes
from vidscale.jobs.plans import DecodePlan, EncodePlan, mux_command
from vidscale.jobs.restore import restored_frames
from vidscale.media.containers import OutputPlan
from vidscale.media.encoders import ENCODERS
from vidscale.media.frames import Frame, VideoInfo
from vidscale.media.timing import Timing
from vidscale.models.pair_cache import remember
from vidscale.report.rows import Shot
from vidscale.stages.check import check_output
from vidscale.stages.downscale import downscale
from vidscale.stages.encode import Encoded, encode_frames, logging_quantisers, mean_quantiser
from vidscale.stages.joined import copy_joined
from vidscale.stages.mux import mux, save_covers, sign
from vidscale.stages.read_log import ReadLog
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock, Prefetch, queue_depth
from vidscale.system.workspace import Workspace, partial_files


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
    log, clocks = ReadLog(), (Clock("decode"), Clock("downscale"), Clock("encode"))
    settings, progress = plan.settings, progress or Progress()
    shots = shots_to_adapt(plan, progress) if adapts(plan) else ()
    decoded = source_frames(plan, log, clocks[0])
    with Prefetch(decoded, _depth(plan.source.video)) as frames:
        crf = settings.crf if settings.coded_crf is None else settings.coded_crf
        strength = ENCODERS[settings.codec].strength(crf)
        small = downscale(frames, pair=plan.pair, geometry=plan.geometry, strength=strength, clock=clocks[1])
        total = expected_frames(plan.source, settings.range)
        outcome = _write(plan, small, log, clocks, progress, task="encoding", total=total, shots=shots)
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
) -> Outcome:
    """Encodes the frames and finishes the file."""
    with partial_files(plan.output.path, source=plan.source.path, overwrite=plan.settings.overwrite) as workspace:
        progress.start(task, total)
        with Prefetch(frames, _depth(plan.written)) as scaled:
            file = workspace.file(f"video{plan.coded_suffix}")
            quantisers = workspace.file("video.log")
            command = plan.encode_command(file)
            if isinstance(plan, EncodePlan) and shots:
                command = plan.encode_command(file, [shot.start_s for shot in shots[1:]])
            if isinstance(plan, EncodePlan) and plan.measures_strength:
                command = logging_quantisers(command, quantisers)
            encoded = encode_frames(
                _distinct(counted(scaled, progress), plan.output),
                plan.written,
                command=command,
                path=file,
                clock=clocks[-1],
            )
        strict = plan.settings.strict
        notes = read_notes(log, plan.source.path, strict=strict) + late_loss_notes(plan.source, plan.codec, log, strict)
        if isinstance(plan, EncodePlan) and plan.measures_strength:
            plan = plan.with_quantiser(mean_quantiser(quantisers))
            notes = (*notes, _strength_note(plan.identity.crf))
        adaptation = NOTHING
        if isinstance(plan, EncodePlan) and shots:
            adaptation = adapt_upscaler(plan, encoded, shots, progress)
            plan = adaptation.signed(plan)
        progress.start("writing", None)
        _finish(plan, encoded, log, workspace, adaptation.updates)
    notes = (*notes, *adaptation.notes)
    return Outcome(plan.output.path, len(encoded.pts), log, clocks, notes, adaptation.segments)


def _finish(
    plan: EncodePlan | DecodePlan,
    encoded: Encoded,
    log: ReadLog,
    workspace: Workspace,
    updates: Sequence[tuple[int, bytes]],
) -> None:
    """Turns the encoded video into the output: signs it, muxes it with the other streams, checks the result."""
    timing = Timing(encoded.pts, encoded.until, plan.written.time_base)
    signed = workspace.file(f"signed{_signed_suffix(plan.output, plan.codec)}")
    sign(encoded.path, signed, plan.identity, plan.written, timing, encoded.captions, updates)
    encoded.path.unlink()
    covers = save_covers(plan.source, plan.output, workspace)
    joined = _joined(plan, log, workspace)
    command = mux_command(
        plan, signed, workspace.result, timing=timing, origin_s=log.origin_s, covers=covers, joined=joined
    )
    mux(command, workspace.result, source=plan.source, plan=plan.output, identity=plan.identity)
    check_output(workspace.result, stream_index=plan.output.position(plan.source.stream_index), timing=timing)


def _signed_suffix(output: OutputPlan, codec: str) -> str:
    """Suffix of the intermediate file between the encoder's and the output.

    Matroska stores the duration of each picture. MP4 does so only when pictures are stored in display order, as in AV1,
    whose aspect ratio ffmpeg would not find in Matroska.
    """
    return ".mkv" if output.muxer in ("matroska", "webm") and codec != "av1" else ".mp4"


def _joined(plan: EncodePlan | DecodePlan, log: ReadLog, workspace: Workspace) -> Path | None:
    """A file with the other streams, when ffmpeg would copy the wrong parts because of timestamp jumps."""
    if not log.joints and not (plan.source.may_jump and plan.time_range):
        return None
    path = workspace.file(f"joined{plan.output.path.suffix}")
    is_made = copy_joined(plan.source, plan.output, path, origin_s=log.origin_s, time_range=plan.time_range)
    return path if is_made else None


def _strength_note(crf: float | None) -> str:
    told = "how strongly is not known" if crf is None else f"about as strongly as with crf {crf:g}"
    return f"coded by --encoder-params, not by --crf: {told}, and the file tells its upscaler so"


def read_notes(log: ReadLog, path: Path, *, strict: bool) -> tuple[str, ...]:
    """Messages for the user about the reading of a source.

    Raises:
        DecodeError: it is damaged, and ``strict`` is set.
    """
    if strict:
        log.check_strict(path)
    return log.notes(path)


def counted(frames: Iterator[Frame], progress: Progress) -> Iterator[Frame]:
    """The frames; ``progress`` advances as each is consumed."""
    for frame in frames:
        yield frame
        progress.advance()


def _depth(video: VideoInfo) -> int:
    return queue_depth(video.format.frame_bytes(video.height, video.width))


def _distinct(frames: Iterator[Frame], output: OutputPlan) -> Iterator[Frame]:
    """The frames; checks that their timestamps are distinct in the output's time unit.

    Raises:
        EncodeError: two frames would get the same timestamp.
    """
    last = None
    for frame in frames:
        stamp = output.time_unit and round(frame.time / output.time_unit)
        if last is not None and stamp == last:
            raise EncodeError(
                f"two frames at {float(frame.time):.4f} s would get the same timestamp in {output.path.suffix}; "
                "write .mp4"
            )
        last = stamp
        yield frame

"""Execution of a plan (`vidscale.jobs.plans`): encodes or restores one file.

source ─ decode ─ downscale ─ encode ─ (adapt) ─ sign ─ mux ─ check ─▶ small file
small file ─ decode ─ upscale ─ encode ─ sign ─ mux ─ check ─▶ restored file
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import IO, Literal

from vidscale.errors import EncodeError
from vidscale.jobs.adaptation import NOTHING, SegmentFacts, Updates, adapt_upscaler, adapts, shots_to_adapt
from vidscale.jobs.estimates import expected_frames
from vidscale.jobs.losses import late_loss_notes
from vidscale.jobs.plans import DecodePlan, EncodePlan, mux_command
from vidscale.jobs.reading import Read, ReadOnce, source_frames
from vidscale.jobs.restore import restored_frames
from vidscale.media.captions import Captions
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
from vidscale.stages.mux import STREAMED, mux, reproducible, save_covers, sign
from vidscale.stages.pieces import Piece
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
    log, clock, progress = ReadLog(), Clock("decode"), progress or Progress()
    read = ReadOnce(plan) if adapts(plan) else partial(source_frames, plan)
    shots = shots_to_adapt(read, progress) if adapts(plan) else ()
    with Prefetch(read(log, clock), frames_depth(plan.source.video)) as frames:
        return encode_from(frames, plan, log, clock, progress, shots, read)


@contextmanager
def small_frames(
    plan: EncodePlan, log: ReadLog, clocks: Sequence[Clock], updates: Updates = (), read: Read | None = None
) -> Iterator[Iterator[Frame]]:
    """The small frames of a plan's range, from stages that run in threads of their own.

    Args:
        plan: its settings say what is read.
        log: filled in while decoding.
        clocks: of decoding and downscaling.
        updates: of the upscaler that will restore them.
        read: reads the source, by default from its file.
    """
    read = read or partial(source_frames, plan)
    with Prefetch(read(log, clocks[0]), frames_depth(plan.source.video)) as frames:
        yield _downscaled(_with_updates(frames, updates) if updates else frames, plan, clocks[1])


def _with_updates(frames: Iterable[Frame], updates: Updates) -> Iterator[Frame]:
    begins = [begin for begin, _ in updates]
    for frame in frames:
        yield replace(frame, update=updates[max(bisect_right(begins, frame.pts) - 1, 0)][1])


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
    small = _downscaled(frames, plan, clocks[1])
    total = expected_frames(plan.source, plan.settings.range)
    progress = progress or Progress()
    outcome = _write(plan, small, log, clocks, progress, task="encoding", total=total, shots=shots, read=read)
    remember(plan.pair)
    return outcome


def _downscaled(frames: Iterable[Frame], plan: EncodePlan, clock: Clock) -> Iterator[Frame]:
    settings = plan.settings
    crf = settings.crf if settings.coded_crf is None else settings.coded_crf
    strength = ENCODERS[settings.codec].strength(crf)
    return downscale(frames, pair=plan.pair, geometry=plan.geometry, strength=strength, clock=clock)


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
        with Prefetch(frames, frames_depth(plan.written)) as scaled:
            shown = _distinct(counted(scaled, progress), plan.output)
            starts = [shot.start_s for shot in shots[1:]]
            encoded = encode_video(plan, shown, file, clocks[-1], quantisers=quantisers, starts=starts)
        notes = found_notes(plan, log)
        if isinstance(plan, EncodePlan) and plan.measures_strength:
            plan = plan.with_quantiser(mean_quantiser(quantisers))
            notes = (*notes, strength_note(plan.identity.crf))
        adaptation = NOTHING
        if isinstance(plan, EncodePlan) and (shots or (plan.keyframes and adapts(plan))):
            again = partial(encode_again, plan, workspace.file(f"again{plan.coded_suffix}"), starts, progress, read)
            encoded, adaptation = adapt_upscaler(plan, encoded, shots, progress, again, read)
            plan = adaptation.signed(plan)
        progress.start("writing", None)
        timing = Timing(encoded.pts, encoded.until, plan.written.time_base)
        finish(plan, [Piece(encoded.path)], timing, encoded.captions, log, workspace, updates=adaptation.updates)
    notes = (*notes, *adaptation.notes)
    return Outcome(plan.output.path, len(encoded.pts), log, clocks, notes, adaptation.segments)


def encode_again(
    plan: EncodePlan,
    file: Path,
    starts: Sequence[Fraction],
    progress: Progress,
    read: Read | None,
    updates: Updates,
) -> Encoded:
    """Encodes a plan's range once more, downscaled for an upscaler with updates.

    Args:
        plan, file, starts: as for `encode_video`.
        progress: advances for every frame.
        read: reads the source, by default from its file.
        updates: of the upscaler.
    """
    progress.start("encoding again", expected_frames(plan.source, plan.settings.range))
    clocks = (Clock("decode"), Clock("downscale"), Clock("encode"))
    quantisers = file.with_suffix(".log")
    with (
        small_frames(plan, ReadLog(), clocks, updates, read) as small,
        Prefetch(small, frames_depth(plan.written)) as frames,
    ):
        return encode_video(plan, counted(frames, progress), file, clocks[-1], quantisers=quantisers, starts=starts)


def encode_video(
    plan: EncodePlan | DecodePlan,
    frames: Iterator[Frame],
    file: Path,
    clock: Clock,
    *,
    quantisers: Path,
    starts: Sequence[Fraction] = (),
) -> Encoded:
    """Encodes frames into a file with one video stream.

    Args:
        plan: says how.
        frames: of the size and format of ``plan.written``.
        file: to write, with the suffix ``plan.coded_suffix``.
        clock: of the encoder.
        quantisers: a log to write for `mean_quantiser`, if the plan measures how strongly the encoder codes.
        starts: times of pictures that are to be keyframes beside the encoder's own, seconds.
    """
    command = plan.encode_command(file, starts) if isinstance(plan, EncodePlan) else plan.encode_command(file)
    if isinstance(plan, EncodePlan) and plan.measures_strength:
        command = logging_quantisers(command, quantisers)
    return encode_frames(frames, plan.written, command=command, path=file, clock=clock)


def found_notes(plan: EncodePlan | DecodePlan, log: ReadLog) -> tuple[str, ...]:
    """Messages for the user about what reading the source has found; errors with ``--strict``."""
    strict = plan.settings.strict
    return read_notes(log, plan.source.path, strict=strict) + late_loss_notes(plan.source, plan.codec, log, strict)


def finish(
    plan: EncodePlan | DecodePlan,
    pieces: Sequence[Piece],
    timing: Timing,
    captions: Captions,
    log: ReadLog,
    workspace: Workspace,
    *,
    updates: Sequence[tuple[int, bytes]] = (),
    is_joined: bool = False,
) -> None:
    """Turns the encoded video into the output: signs it, muxes it with the other streams, checks the result.

    Args:
        plan: of the output.
        pieces: the video, in order; their files are removed once they are no longer needed, if they are temporary.
        timing, captions: of its pictures.
        log: what reading the source has found.
        workspace: of the output.
        updates: of the upscaler, see `sign`.
        is_joined: the pieces are chunks, which are kept until the output is complete: what is signed goes straight to
            the muxer, so that the video does not exist three times. The same chunks make the same bytes, without
            Matroska's random identifiers.
    """
    muxer = _signed_muxer(plan.output, plan.codec)

    def write(to: Path | IO[bytes]) -> None:
        sign(pieces, to, plan.identity, plan.written, timing, captions, updates, muxer=muxer)

    signed = STREAMED if is_joined else workspace.file(f"signed{'.mkv' if muxer == 'matroska' else '.mp4'}")
    if not is_joined:
        write(signed)
    for piece in pieces:
        if not piece.is_kept:
            piece.path.unlink()
    covers = save_covers(plan.source, plan.output, workspace)
    joined = _joined(plan, log, workspace)
    command = mux_command(
        plan, signed, workspace.result, timing=timing, origin_s=log.origin_s, covers=covers, joined=joined
    )
    if is_joined and plan.output.muxer in ("matroska", "webm"):
        command = reproducible(command, workspace.result)
    mux(
        command,
        workspace.result,
        source=plan.source,
        plan=plan.output,
        identity=plan.identity,
        write=write if is_joined else None,
    )
    check_output(workspace.result, stream_index=plan.output.position(plan.source.stream_index), timing=timing)


def _signed_muxer(output: OutputPlan, codec: str) -> Literal["mp4", "matroska"]:
    """Format of the intermediate video between the encoder's and the output.

    Matroska stores the duration of each picture. MP4 does so only when pictures are stored in display order, as in AV1,
    whose aspect ratio ffmpeg would not find in Matroska.
    """
    return "matroska" if output.muxer in ("matroska", "webm") and codec != "av1" else "mp4"


def _joined(plan: EncodePlan | DecodePlan, log: ReadLog, workspace: Workspace) -> Path | None:
    """A file with the other streams, when ffmpeg would copy the wrong parts because of timestamp jumps."""
    if not log.joints and not (plan.source.may_jump and plan.time_range):
        return None
    path = workspace.file(f"joined{plan.output.path.suffix}")
    is_made = copy_joined(plan.source, plan.output, path, origin_s=log.origin_s, time_range=plan.time_range)
    return path if is_made else None


def strength_note(crf: float | None) -> str:
    """What the user is told where ``--encoder-params`` decide how strongly the encoder codes."""
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


def frames_depth(video: VideoInfo) -> int:
    """Capacity of a queue of frames between two stages."""
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

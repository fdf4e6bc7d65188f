"""The wiring: one file coded, one file restored.

    source ─ decode ─ downscale ─ encode ─ sign ─ mux ─ check ─▶ small file
    small file ─ decode ─ upscale ─ encode ─ mux ─ check ─▶ restored file

A plan (`vidscale.jobs.planning`) says what is to be done; here it is carried out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vidscale.errors import DecodeError, EncodeError
from vidscale.jobs.planning import DecodePlan, EncodePlan, expected_frames
from vidscale.jobs.restore import restored_frames
from vidscale.media.containers import OutputPlan
from vidscale.media.frames import Frame
from vidscale.models.pair_cache import remember
from vidscale.stages.decode import ReadLog, decode_frames
from vidscale.stages.downscale import downscale
from vidscale.stages.encode import encode_frames
from vidscale.stages.mux import check_output, mux, save_covers, sign
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock, Prefetch, queue_depth
from vidscale.system.workspace import partial_files


@dataclass(frozen=True, slots=True)
class Outcome:
    """A written file.

    Attributes:
        path: where it is.
        frames: pictures in it.
        log: what happened while the source was read.
        clocks: how long each stage was busy.
        notes: one line each, for a person.
    """

    path: Path
    frames: int
    log: ReadLog
    clocks: tuple[Clock, ...]
    notes: tuple[str, ...]


def encode(plan: EncodePlan, progress: Progress | None = None) -> Outcome:
    """Carries out a plan: writes the small file.

    Raises:
        VidscaleError: it failed; no file has the final name then.
    """
    progress = progress or Progress()
    log, clocks = ReadLog(), tuple(Clock(name) for name in ("decode", "downscale", "encode"))
    video = plan.source.video
    settings = plan.settings
    with partial_files(plan.output.path, source=plan.source.path, overwrite=settings.overwrite) as workspace:
        progress.start("encoding", expected_frames(plan.source, settings.range))
        decoded = decode_frames(
            plan.source,
            log=log,
            clock=clocks[0],
            time_range=settings.range,
            interlaced=settings.interlaced,
            alpha=settings.alpha,
        )
        with (
            Prefetch(decoded, queue_depth(video.format.frame_bytes(video.height, video.width))) as frames,
            Prefetch(
                downscale(frames, pair=plan.pair, geometry=plan.geometry, color=video.color, clock=clocks[1]),
                queue_depth(video.format.frame_bytes(plan.geometry.coded_height, plan.geometry.coded_width)),
            ) as small,
        ):
            file = workspace.file("video.mp4")
            encoded = encode_frames(
                _apart(counted(small, progress), plan.output),
                plan.small,
                command=plan.encode_command(file),
                path=file,
                clock=clocks[2],
            )
        notes = log.notes(plan.source.path)
        if log.damaged and settings.strict:
            raise DecodeError(f"{plan.source.path} is damaged ({notes[0]}) and --strict refuses to lose anything")
        progress.start("writing", None)
        signed = workspace.file("signed.mp4")
        sign(encoded.path, signed, plan.identity, video)
        encoded.path.unlink()
        covers = save_covers(plan.source, plan.output, workspace)
        mux(plan.mux_command(signed, workspace.result, origin_s=log.origin_s, covers=covers))
        check_output(
            workspace.result,
            stream_index=plan.output.position(plan.source.stream_index),
            pts=encoded.pts,
            time_base=video.time_base,
        )
    remember(plan.pair)
    return Outcome(plan.output.path, len(encoded.pts), log, clocks, notes)


def decode(plan: DecodePlan, progress: Progress | None = None) -> Outcome:
    """Carries out a plan: writes the restored file."""
    progress = progress or Progress()
    log, clocks = ReadLog(), tuple(Clock(name) for name in ("decode", "upscale", "encode"))
    info = plan.small.restored
    source, target = plan.small.source, plan.output.path
    with partial_files(target, source=source.path, overwrite=plan.settings.overwrite) as workspace:
        progress.start("restoring", expected_frames(plan.small.source, None))
        frames = restored_frames(plan.small, log=log, decoding=clocks[0], upscaling=clocks[1])
        with Prefetch(frames, queue_depth(info.format.frame_bytes(info.height, info.width))) as restored:
            file = workspace.file("video.mkv" if plan.codec == "ffv1" else "video.mp4")
            encoded = encode_frames(
                _apart(counted(restored, progress), plan.output),
                info,
                command=plan.encode_command(file),
                path=file,
                clock=clocks[2],
            )
        notes = log.notes(source.path)
        if log.damaged and plan.settings.strict:
            raise DecodeError(f"{plan.small.source.path} is damaged ({notes[0]}) and --strict refuses to lose anything")
        progress.start("writing", None)
        signed = workspace.file(f"signed{file.suffix}")
        sign(encoded.path, signed, None, info)
        encoded.path.unlink()
        covers = save_covers(source, plan.output, workspace)
        mux(plan.mux_command(signed, workspace.result, origin_s=log.origin_s, covers=covers))
        position = plan.output.position(source.stream_index)
        check_output(workspace.result, stream_index=position, pts=encoded.pts, time_base=info.time_base)
    return Outcome(plan.output.path, len(encoded.pts), log, clocks, notes)


def counted(frames: Iterator[Frame], progress: Progress) -> Iterator[Frame]:
    """The frames, each told to ``progress`` when it was taken."""
    for frame in frames:
        yield frame
        progress.advance()


def _apart(frames: Iterator[Frame], output: OutputPlan) -> Iterator[Frame]:
    """The frames, as long as the output can tell their timestamps from each other.

    Raises:
        EncodeError: it would give two of them the same.
    """
    last = None
    for frame in frames:
        stamp = output.time_unit and round(frame.time / output.time_unit)
        if last is not None and stamp == last:
            raise EncodeError(
                f"two frames at {float(frame.time):.4f} s are so near each other that {output.path.suffix} cannot tell "
                "them apart; write .mp4"
            )
        last = stamp
        yield frame

"""From the encoded video to the output file: sign, mux with the source's other streams, check."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO, TypeVar

from vidscale.errors import EncodeError
from vidscale.jobs.plans import DecodePlan, EncodePlan, mux_command
from vidscale.media.captions import Captions
from vidscale.media.containers import OutputPlan
from vidscale.media.timing import Timing
from vidscale.stages.check import check_output
from vidscale.stages.joined import copy_joined
from vidscale.stages.mux import STREAMED, mux, reproducible, save_covers
from vidscale.stages.pieces import Piece
from vidscale.stages.read_log import ReadLog
from vidscale.stages.sign import Muxer, sign
from vidscale.stages.updates import TimedUpdates
from vidscale.system.workspace import Workspace
from vidscale.text import plural

T = TypeVar("T")


def finish(
    plan: EncodePlan | DecodePlan,
    pieces: Sequence[Piece],
    timing: Timing,
    captions: Captions,
    log: ReadLog,
    workspace: Workspace,
    *,
    updates: TimedUpdates = (),
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


def distinct(items: Iterable[T], time_of: Callable[[T], Fraction], output: OutputPlan) -> Iterator[T]:
    """The items; checks that their times are distinct in the output's time unit.

    Args:
        items: in order of their times.
        time_of: the time of an item, seconds.
        output: where they will be stored.

    Raises:
        EncodeError: two items would get the same timestamp.
    """
    last = None
    for item in items:
        time = time_of(item)
        stamp = output.time_unit and round(time / output.time_unit)
        if last is not None and stamp == last:
            raise EncodeError(
                f"two frames at {float(time):.4f} s would get the same timestamp in {output.path.suffix}; write .mp4"
            )
        last = stamp
        yield item


def rounding_notes(timing: Timing, output: OutputPlan) -> tuple[str, ...]:
    """A message for the user if the output cannot store every timestamp exactly."""
    if output.time_unit is None:
        return ()
    ticks = timing.time_base / output.time_unit
    rounded = sum(pts * ticks.numerator % ticks.denominator != 0 for pts in timing.pts)
    return (f"Matroska stores timestamps in ms: those of {plural(rounded, 'frame')} are rounded",) if rounded else ()


def _signed_muxer(output: OutputPlan, codec: str) -> Muxer:
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

"""Measuring the output of an encode against its source: all of it, or a part of it that another program measures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from vidscale.config import DecodeSettings, TimeRange
from vidscale.jobs.estimates import expected_frames
from vidscale.jobs.measurement import Measurement, TimeWindow, as_compared
from vidscale.jobs.plans import EncodePlan
from vidscale.jobs.restore import SmallFile, open_small, restored_frames
from vidscale.media.ffmpeg import Ffmpeg, find_ffmpeg
from vidscale.media.frames import Frame
from vidscale.models.pairs import find_pair
from vidscale.report.worst_frames import WorstFrames, worst_scores
from vidscale.stages.decode import decode_frames
from vidscale.stages.perceptual import needed_filters
from vidscale.system.progress import Progress

PLAYERS_FILTER = "bicubic"  # how most players enlarge

# Frames that are read on either side of a part. Cuts and XPSNR depend on two before, VMAF on one on each side, and all
# of these, where pictures are deinterlaced, on one more.
_BEFORE, _BEHIND = 3, 2


@dataclass(frozen=True, slots=True)
class EncodePart:
    """A part of an encode that is measured by itself.

    Attributes:
        window: the part, in times of the output.
        read: of the source: some frames more on both sides.
        small: of the output.
        origin_s: source time of the output's zero.
    """

    window: TimeWindow
    read: TimeRange
    small: TimeRange
    origin_s: Fraction


def encode_part(
    plan: EncodePlan, small_start_s: Fraction, times: Sequence[Fraction], first: int, end: int, origin_s: Fraction
) -> EncodePart:
    """The frames from ``first`` on and before ``end``, by their indices.

    Args:
        plan: of the encode.
        small_start_s: the output's first timestamp.
        times: of all frames of the output.
        first, end: the part.
        origin_s: source time of the output's zero.
    """

    def begin(index: int) -> Fraction | None:
        """A time between a frame and the one before it: a muxer may round both."""
        return (times[index - 1] + times[index]) / 2 if 0 < index < len(times) else None

    def time_range(window: TimeWindow, zero: Fraction, whole: TimeRange) -> TimeRange:
        start = whole.start if window.start_s is None else max(Fraction(0), window.start_s - zero)
        return TimeRange(start=start, end=whole.end if window.end_s is None else window.end_s - zero)

    window = TimeWindow(begin(first), begin(end))
    around = TimeWindow(begin(max(0, first - _BEFORE)), begin(end + _BEHIND))
    read = time_range(around, plan.source.start_s - origin_s, plan.settings.range or TimeRange())
    return EncodePart(window, read, time_range(window, small_start_s, TimeRange()), origin_s)


def open_encode(plan: EncodePlan, path: Path) -> tuple[Ffmpeg, SmallFile]:
    """ffmpeg with the filters that measuring needs, and an output as its players restore it."""
    settings = plan.settings
    ffmpeg = find_ffmpeg(settings.ffmpeg, filters=needed_filters(settings))
    small = open_small(path, ffmpeg=ffmpeg.path, settings=DecodeSettings(device=settings.device), pair=plan.pair)
    if settings.client == "any" and plan.pair.scale > 1:
        return ffmpeg, replace(small, pair=find_pair(PLAYERS_FILTER, plan.pair.scale, settings.device))
    return ffmpeg, small


def restored(small: SmallFile, measured: Measurement, time_range: TimeRange | None = None) -> Iterator[Frame]:
    """The frames of a small file to measure; see `restored_frames`."""
    return restored_frames(
        small,
        log=measured.dist_log,
        decoding=measured.clock("decode small"),
        upscaling=measured.clock("upscale"),
        time_range=time_range,
    )


def measure_encode(
    plan: EncodePlan,
    small: SmallFile,
    ffmpeg: Ffmpeg,
    progress: Progress,
    *,
    part: EncodePart | None = None,
    frames: int = 0,
) -> Measurement:
    """Measures an output against its source.

    Args:
        plan: of the encode.
        small, ffmpeg: of `open_encode`.
        progress: advances with every frame.
        part: to measure, without pictures of its worst frames; None for all.
        frames: in the output; 0 when unknown.
    """
    measured = Measurement() if part is None else Measurement(window=part.window, worst=WorstFrames(keep=0))
    frames = frames or expected_frames(plan.source, plan.settings.range) or 0
    dist = restored(small, measured, part.small if part else None)
    ref = _source_frames(plan, measured, part)
    measured.run(ref, dist, plan.source.video, plan.settings, ffmpeg, progress, frames or None)
    return measured


def _source_frames(plan: EncodePlan, measured: Measurement, part: EncodePart | None) -> Iterator[Frame]:
    return decode_frames(
        plan.source,
        log=measured.ref_log,
        clock=measured.clock("decode source"),
        time_range=plan.settings.range if part is None else part.read,
        interlaced=plan.settings.interlaced,
        alpha="drop",  # encode has already refused it if required
        origin_s=None if part is None else part.origin_s,
    )


def joined_measurement(parts: Sequence[Measurement]) -> Measurement:
    """The measurement of all parts, in order, as if it were one; without pictures of the worst frames."""
    whole = Measurement(first_s=parts[0].first_s, last_s=parts[-1].last_s, shown_s=parts[-1].shown_s)
    for part in parts:
        whole.rows += [replace(row, index=row.index + whole.pairs) for row in part.rows]
        whole.unpaired.ref_only.extend(part.unpaired.ref_only)
        whole.unpaired.dist_only.extend(part.unpaired.dist_only)
        whole.shots.extend(part.shots)
        whole.pairs += part.pairs
        whole.ref_bytes += part.ref_bytes
        whole.span_bytes += part.span_bytes
        for stage, clock in part.clocks.items():
            total = whole.clock(stage)
            total.frames, total.busy_s = total.frames + clock.frames, total.busy_s + clock.busy_s
    return whole


def add_worst_frames(measured: Measurement, plan: EncodePlan, small: SmallFile, origin_s: Fraction) -> None:
    """Decodes the worst frames of a joined measurement."""
    times = [row.pts_s for row in measured.rows]
    for score in worst_scores(measured.rows):
        part = encode_part(plan, small.source.start_s, times, score.index, score.index + 1, origin_s)
        ref = (frame for frame in _source_frames(plan, Measurement(), part) if frame.time == score.pts_s)
        dist = as_compared(restored(small, Measurement(), part.small), plan.source.video.format)
        measured.worst.offer(score, next(ref), next(dist))

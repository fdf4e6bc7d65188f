"""Parts of a movie that stand for all of it: the whole of a short one, else a few, spread over its length.

Each part is encoded with some frames before and after it, which are not measured: the first keyframe of an encode gets
more bits than keyframes within a movie, and the frames after it more quality; and the lookahead ends where an encode
ends.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av

from vidscale.compare.trials.window import Window
from vidscale.config import TimeRange
from vidscale.jobs.estimates import expected_frames
from vidscale.media.frames import ASSUMED_FRAME_RATE
from vidscale.media.opening import open_container
from vidscale.media.packets import length_s, video_packets
from vidscale.media.probe import Source

LEAD, TAIL = 12, 8  # frames; PSNR just after a keyframe is up to 2 dB higher, 8 to 16 frames later as usual (x264)
_WHOLE_S = 10
_WHOLE_PIXELS, _WHOLE_PIXELS_QUICK = 6e8, 2e7  # of all frames: longer or larger movies are sampled
_EVERY_FRAME_PIXELS = 8e7  # of all measured frames; above, every third is measured
_THIRD = 3  # not a divisor of the usual distances between reference frames, whose quality is higher
_SHARE = 0.005  # of a movie's frames that are measured
_LEAD_QUICK, _TAIL_QUICK = 6, 3  # of large pictures, where a probe would take half a minute
_FRAMES, _FRAMES_QUICK, _FRAMES_LARGE = (72, 400), (54, 54), (27, 27)  # fewest and most
_LARGE_PIXELS = 4e6
_CHEAP_PIXELS = 5e7  # measured in any case, in at most _CHEAP_FRAMES frames
_CHEAP_FRAMES = 120
_LONGEST, _SHORTEST = 60, 24  # frames of a part
_PARTS = 3, 8


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a movie.

    Attributes:
        segment: what is encoded; None for the whole movie.
        window: the frames that are measured; in a sample it begins one measured frame early, because libvmaf scores
            the first frame of a clip low, even of identical clips.
        body: indices of the frames in the segment whose bits count.
    """

    segment: TimeRange | None
    window: Window
    body: slice


@dataclass(frozen=True, slots=True)
class Sampling:
    """The parts of a movie.

    Attributes:
        parts: in order.
        frames: of the movie, an estimate.
        length_s: of the movie, seconds.
        is_whole: the one part is all of the movie.
    """

    parts: tuple[Part, ...]
    frames: int
    length_s: Fraction
    is_whole: bool


def sampling_of(source: Source, time_range: TimeRange | None, *, quick: bool = False) -> Sampling:
    """Chooses the parts.

    Args:
        source: the movie.
        time_range: the part of it that is encoded; None for all.
        quick: take fewer frames.
    """
    frames, length = _extent(source, time_range)
    pixels = source.video.width * source.video.height
    body, count = _amount(frames, pixels, quick=quick)
    lead, tail = (_LEAD_QUICK, _TAIL_QUICK) if quick and pixels > _LARGE_PIXELS else (LEAD, TAIL)
    whole = length <= _WHOLE_S and frames * pixels <= (_WHOLE_PIXELS_QUICK if quick else _WHOLE_PIXELS)
    if whole or count * (lead + body + tail) >= frames:
        window = Window(every=_every(frames * pixels))
        return Sampling((Part(time_range, window, slice(0, None)),), frames, length, is_whole=True)
    start = Fraction(0) if time_range is None else time_range.start
    spacing = length / frames
    every = _every(body * count * pixels)
    part_s = (lead + body + tail - Fraction(1, 2)) * spacing  # timestamps are rounded: one frame more would be in it
    segments = [TimeRange(start=begin, end=begin + part_s) for begin in _starts(source, start, length, count, part_s)]
    window = Window(lead - every, body + every, every)
    return Sampling(
        tuple(Part(each, window, slice(lead, lead + body)) for each in segments), frames, length, is_whole=False
    )


def _extent(source: Source, time_range: TimeRange | None) -> tuple[int, Fraction]:
    """Number of frames and duration of what is encoded; counted where the container does not say."""
    rate = source.video.frame_rate or ASSUMED_FRAME_RATE
    length, frames = length_s(source), expected_frames(source, None)
    if length is None or length <= 0:
        with video_packets(source) as packets, contextlib.suppress(av.FFmpegError):
            frames = max(1, sum(1 for packet in packets if packet.size))
        length = (frames or 1) / rate
    if time_range is not None:
        length = max(Fraction(0), min(length, time_range.end or length) - time_range.start) or 1 / rate
        frames = expected_frames(source, time_range)
    return frames or max(1, round(length * rate)), length


def _every(pixels: float) -> int:
    return 1 if pixels <= _EVERY_FRAME_PIXELS else _THIRD


def _amount(frames: int, pixels: int, *, quick: bool) -> tuple[int, int]:
    """Measured frames of a part, a multiple of three, and the number of parts."""
    fewest, most = (_FRAMES_LARGE if pixels > _LARGE_PIXELS else _FRAMES_QUICK) if quick else _FRAMES
    wanted = min(max(fewest, int(frames * _SHARE)), most)
    if not quick:
        wanted = max(wanted, min(_CHEAP_FRAMES, int(_CHEAP_PIXELS / pixels)))
    count = min(max(_PARTS[0], wanted // _SHORTEST), _PARTS[1])
    body = min(-(-wanted // count), _LONGEST)
    return -(-body // _THIRD) * _THIRD, count


def _starts(source: Source, start: Fraction, length: Fraction, count: int, part_s: Fraction) -> Iterator[Fraction]:
    """Where parts start: at even distances, or at a keyframe of the source shortly before, which is where cuts are,
    and from where decoding starts."""
    share = length / count
    for index in range(count):
        earliest = start + index * share
        wanted = earliest + max(Fraction(0), share - part_s) / 2
        wanted = Fraction(int(wanted * 1000), 1000)
        key = None if source.may_jump else _keyframe(source, wanted)
        yield key if key is not None and earliest <= key <= wanted else wanted


def _keyframe(source: Source, wanted: Fraction) -> Fraction | None:
    """Time of the last keyframe at or before a time, seconds from the first timestamp; None if it cannot be found."""
    with contextlib.suppress(av.FFmpegError), open_container(source.path) as container:
        stream = container.streams[source.stream_index]
        unit = Fraction(stream.time_base or 0)
        if not unit:
            return None
        container.seek(int((wanted + source.start_s) / unit), stream=stream, backward=True)
        for packet in container.demux(stream):
            if packet.is_keyframe and packet.pts is not None:
                return packet.pts * unit - source.start_s
    return None

"""Which segments of a movie are encoded: all of a short one, else samples of it that start at scene cuts."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av

from vidscale.compare.settings import Samples
from vidscale.config import TimeRange
from vidscale.errors import DecodeError
from vidscale.media.filters import pulled
from vidscale.media.packets import VideoPackets, length_s, video_packets
from vidscale.media.probe import Source
from vidscale.stages.shots import link_detector
from vidscale.stages.timeline import BestEffort

WHOLE_S = 20
DEFAULT = Samples(count=5, seconds=Fraction(4))
_SEARCH_S = 4  # how far from its even position a sample may start; a longer search would decode much of the movie
_DETECT_WIDTH = 320  # luma samples; enough to detect cuts


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where a sample may start, seconds from the movie's first timestamp; ``wanted`` is its even position."""

    earliest: Fraction
    wanted: Fraction
    latest: Fraction


def sample_ranges(source: Source, samples: Samples | None) -> tuple[TimeRange | None, ...]:
    """Segments of a movie in order, without overlap; (None,) for the whole movie.

    Samples are evenly spaced; each starts at the nearest scene cut, where an encoder would place a keyframe anyway, or
    at its even position if no cut is near. Only frames near these positions are decoded.

    Args:
        source: the movie.
        samples: how many and how long; None is all of a movie of up to `WHOLE_S` seconds, else `DEFAULT`.

    Raises:
        DecodeError: samples are needed, but the duration of the movie is unknown.
    """
    length = length_s(source)
    if samples is None and (length is None or length <= WHOLE_S):
        return (None,)
    wanted = samples or DEFAULT
    if length is None:
        raise DecodeError(f"{source.path} has no duration, which sampling needs; remux it first")
    if wanted.count * wanted.seconds >= length:
        return (None,)
    starts = [_start(source, slot) for slot in _slots(length, wanted)]
    return tuple(TimeRange(start=start, end=start + wanted.seconds) for start in starts)


def _slots(length: Fraction, samples: Samples) -> Iterator[_Slot]:
    """One for each sample: centred in its share of the movie, free to move within that share."""
    share = length / samples.count
    room = (share - samples.seconds) / 2
    for index in range(samples.count):
        wanted = _in_ms(index * share + room)
        reach = min(room, Fraction(_SEARCH_S))
        yield _Slot(wanted - reach, wanted, wanted + reach)


def _in_ms(seconds: Fraction) -> Fraction:
    return Fraction(int(seconds * 1000), 1000)


def _start(source: Source, slot: _Slot) -> Fraction:
    cuts = [cut for cut in scene_cuts(source, slot.earliest, slot.latest) if slot.earliest <= cut <= slot.latest]
    return min(cuts, key=lambda cut: abs(cut - slot.wanted), default=slot.wanted)


def scene_cuts(source: Source, start: Fraction, end: Fraction) -> list[Fraction]:
    """Times of the first frames of scenes, by ffmpeg's ``scdet`` filter, exact seconds from the first timestamp.

    Args:
        source: the movie.
        start, end: range to search, seconds; outside it, only frames from the keyframe before it on are decoded.
    """
    first, last = source.start_s + max(start, Fraction(0)), source.start_s + end
    cuts = []
    with video_packets(source, first) as packets:
        packets.stream.thread_type = "AUTO"
        detector = _detector(packets.stream)
        try:
            for frame in _timed_frames(source, packets):
                time = (frame.pts or 0) * packets.time_base
                if time > last:
                    break
                if time < first:
                    continue
                detector.push(frame)
                cuts += [
                    opening.pts * Fraction(opening.time_base) - source.start_s
                    for opening in pulled(detector)
                    if opening.pts is not None and opening.time_base
                ]
        except av.FFmpegError:  # encoding will report the damage; here the movie only has fewer cuts
            pass
    return cuts


def _timed_frames(source: Source, packets: VideoPackets) -> Iterator[av.VideoFrame]:
    best_effort = BestEffort(source, packets)
    for packet in packets:
        for frame in packet.decode():
            frame.pts, _ = best_effort.time(frame)
            if frame.pts is not None:
                yield frame


def _detector(stream: av.VideoStream) -> av.filter.Graph:
    graph = av.filter.Graph()
    link_detector(graph, graph.add_buffer(template=stream), graph.add("scale", f"w={_DETECT_WIDTH}:h=-2:flags=area"))
    return graph

"""Where a movie is divided: at cuts, as far as they are known, into chunks of similar length."""

import contextlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import av

from vidscale.config import TimeRange
from vidscale.errors import DecodeError
from vidscale.jobs.estimates import expected_frames
from vidscale.media.packets import video_packets
from vidscale.media.probe import Source
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.stages.shots import ShotFinder
from vidscale.system.threads import Clock

LEAST_S = 3
"""Shortest chunk, seconds. Each begins with a keyframe, and its lookahead and rate control start anew."""

USUAL_S = 30
"""Length of a chunk where it is not asked for, seconds."""

_SHORTEST_AUTO_S = 10  # of automatic chunks that only keep more workers busy
_LEAST_PIXELS = 2 * 10**9  # of these: 20 s of a processor at x264's superfast, where another worker takes 1 s to start
_NEAR = Fraction(1, 4)  # of a chunk's length: how far a cut may be from an even division
_DUE = Fraction(19, 20)  # of the longest distance of keyframes: closer ones are early
_SEARCHED_S = 1  # on either side, where no keyframe marks a cut
_PROBED = 12  # frames
_HIDING = frozenset({"vp8"})  # codecs with packets that are not shown


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a movie that is encoded by itself.

    Attributes:
        start, end: timestamps of its first picture and of the first one after it, in the source's time base; None for
            the beginning and the end of what is encoded.
        frames: pictures in it; None when unknown.
    """

    start: int | None
    end: int | None
    frames: int | None

    def time_range(self, source: Source, whole: TimeRange | None) -> TimeRange | None:
        """The part of the source to read; ``whole`` is that of all chunks."""
        if self.start is None and self.end is None:
            return whole
        unit = source.video.time_base
        outer = whole or TimeRange()
        return TimeRange(
            start=outer.start if self.start is None else self.start * unit - source.start_s,
            end=outer.end if self.end is None else self.end * unit - source.start_s,
        )


@dataclass(frozen=True, slots=True)
class Division:
    """The chunks of a movie, in order, and why they are fewer than wanted; "" if they are not.

    Attributes:
        jumps: timestamps jump in the movie, so that reading may not begin in its middle.
    """

    chunks: tuple[Chunk, ...]
    note: str = ""
    jumps: bool = True


@dataclass(frozen=True, slots=True)
class _Index:
    """Timestamps of all pictures and of the keyframes, in order, in the source's time base; whether they jump."""

    pts: list[int]
    keys: list[int]
    jumps: bool


def divide(source: Source, time_range: TimeRange | None, count: int | None, *, workers: int) -> Division:
    """Divides a movie into chunks.

    An early keyframe of the source marks a cut, since encoders place one there; where there is none nearby, the
    pictures after the nearest keyframe are searched for a cut. Without any, chunks begin at that keyframe: what lies
    between a keyframe and the first picture of a chunk is decoded twice.

    Args:
        source: the movie.
        time_range: the part of it to encode; None for all.
        count: wanted number of chunks; None for as many as suit the length and the workers.
        workers: that encode them.
    """
    index = _indexed(source, time_range)
    whole = Chunk(None, None, None)
    if index is None:
        why = "its packets do not match its pictures one to one"
        return Division((whole,), f"{source.path.name} is encoded in one piece: {why}")
    source = _read(source, index)
    unit = source.video.time_base
    length_s = (index.pts[-1] - index.pts[0]) * unit
    pixels = len(index.pts) * source.video.width * source.video.height
    wanted = _count(length_s, pixels, workers) if count is None else count
    fitting = max(1, min(wanted, int(length_s // LEAST_S)))
    note = f"{fitting} of {wanted} chunks: none is shorter than {LEAST_S} s" if fitting < wanted and count else ""
    if fitting == 1:
        return Division((replace(whole, frames=len(index.pts)),), note)
    if not _is_seekable(source, index):
        return Division((replace(whole, frames=len(index.pts)),), f"{source.path.name} cannot be read from the middle")
    starts = _starts(source, index, fitting, exact=count is not None)
    places = [0, *(bisect_left(index.pts, start) for start in starts), len(index.pts)]
    bounds: list[int | None] = [None, *starts, None]
    chunks = tuple(
        Chunk(start, end, last - first)
        for (start, end), (first, last) in zip(pairwise(bounds), pairwise(places), strict=True)
    )
    return Division(chunks, note, index.jumps)


def expected_count(source: Source, time_range: TimeRange | None, count: int | None, *, workers: int) -> int:
    """About how many chunks `divide` makes, without reading the movie."""
    frames = expected_frames(source, time_range)
    if frames is None or not source.video.frame_rate:
        return workers if count is None else count
    length_s = frames / source.video.frame_rate
    wanted = _count(length_s, frames * source.video.width * source.video.height, workers) if count is None else count
    return max(1, min(wanted, int(length_s // LEAST_S)))


def _count(length_s: Fraction, pixels: int, workers: int) -> int:
    """Number of chunks: of the usual length for resuming, more where they keep more workers busy; one where another
    worker takes longer to start than it saves."""
    usual = max(1, round(length_s / USUAL_S))
    if workers == 1:
        return usual
    worthwhile = pixels // _LEAST_PIXELS
    for_workers = min(2 * workers, int(length_s // _SHORTEST_AUTO_S), worthwhile)
    return max(usual, for_workers) if worthwhile > 1 else 1


def _indexed(source: Source, time_range: TimeRange | None) -> _Index | None:
    """Reads all packets, without decoding; None where they do not match the pictures one to one."""
    if source.codec in _HIDING or source.container == "avi":
        return None
    begin = source.start_s + (time_range.start if time_range else 0)
    end = None if time_range is None or time_range.end is None else source.start_s + time_range.end
    pts, keys = list[int](), list[int]()
    with video_packets(source) as packets, contextlib.suppress(av.FFmpegError):
        ticks = packets.time_base / source.video.time_base
        for packet in packets:
            if not packet.size or packet.is_discard:
                continue
            if packet.pts is None:
                return None
            time = packet.pts * packets.time_base
            if (time_range is None or time >= begin) and (end is None or time < end):
                pts.append(int(packet.pts * ticks))
                if packet.is_keyframe:
                    keys.append(pts[-1])
            if end is not None and packet.dts is not None and packet.dts * packets.time_base > end:
                break
    pts.sort()
    index = _Index(pts, sorted(keys), packets.joints > 0)
    if not pts or len(set(pts)) < len(pts) or not _matches_pictures(_read(source, index), pts):
        return None
    return index


def _read(source: Source, index: _Index) -> Source:
    """The source for reading ranges: where no timestamp jumps, what is before them need not be read."""
    return replace(source, may_jump=source.may_jump and index.jumps)


def _matches_pictures(source: Source, pts: Sequence[int]) -> bool:
    """Whether the first pictures are those of the packets: a packet may hold one field, or none that is shown."""
    some = pts[: _PROBED + 1]
    if len(some) < 2:
        return True
    log = _decoded(source, some[0], some[-1])
    return log.damaged or log.frames == len(some) - 1


def _decoded(source: Source, start: int, end: int, finder: ShotFinder | None = None) -> ReadLog:
    """Decodes the pictures with start <= pts < end."""
    log = ReadLog()
    part = Chunk(start, end, None).time_range(source, None)
    with contextlib.suppress(DecodeError):  # the encode reports it
        for frame in decode_frames(source, log=log, clock=Clock("cuts"), time_range=part, alpha="drop"):
            if finder is not None:
                finder.offer(frame, None)
    return log


def _is_seekable(source: Source, index: _Index) -> bool:
    """Whether reading may begin in the middle."""
    unit = source.video.time_base
    middle = index.keys[len(index.keys) // 2] if len(index.keys) > 1 else index.pts[len(index.pts) // 2]
    with video_packets(source, middle * unit) as packets, contextlib.suppress(av.FFmpegError):
        first = next((p.pts * packets.time_base for p in packets if p.size and p.pts is not None), None)
        return first is not None and (len(index.keys) < 2 or first > index.pts[0] * unit)
    return False


def _starts(source: Source, index: _Index, count: int, *, exact: bool) -> list[int]:
    """First timestamps of all chunks but the first; ``exact`` also divides where no keyframe is near."""
    unit = source.video.time_base
    first, last = index.pts[0], index.pts[-1]
    length = Fraction(last - first, count)
    least = LEAST_S / unit
    starts = list[int]()
    for number in range(1, count):
        even = first + number * length
        low = max(even - _NEAR * length, (starts[-1] if starts else first) + least)
        high = min(even + _NEAR * length, last - least)
        if low > high:
            continue
        found = _nearest(_early_keys(index), even, low, high)
        if found is None:
            found = _searched(source, index, even, low, high)
        if found is None:
            found = _nearest(index.keys, even, low, max(high, min(even + length / 2, last - least)))
        if found is None and exact:
            found = _nearest(index.pts, even, low, high)
        if found is not None:
            starts.append(found)
    return starts


def _nearest(times: Sequence[int], to: Fraction, low: Fraction, high: Fraction) -> int | None:
    return min((time for time in times if low <= time <= high), key=lambda time: abs(time - to), default=None)


def _early_keys(index: _Index) -> list[int]:
    """Keyframes earlier than their usual distance, which encoders place at cuts; empty if all are evenly spaced."""
    if len(index.keys) > len(index.pts) / 2:  # every picture is one
        return []
    due = max((after - before for before, after in pairwise(index.keys)), default=0)
    return [after for before, after in pairwise(index.keys) if after - before < due * _DUE]


def _searched(source: Source, index: _Index, even: Fraction, low: Fraction, high: Fraction) -> int | None:
    """The first cut after a keyframe near an even division: close enough for decoding to begin there."""
    unit = source.video.time_base
    earliest = max(low, even - _SEARCHED_S / unit)
    key = next((key for key in index.keys if earliest <= key <= even), None) or _nearest(index.keys, even, low, high)
    if key is None:
        return None
    begin = bisect_left(index.pts, key)
    end = min(bisect_left(index.pts, min(high, key + 2 * _SEARCHED_S / unit)), len(index.pts) - 1)
    if end - begin < 2:
        return None
    finder = ShotFinder()
    log = _decoded(source, index.pts[begin], index.pts[end], finder)
    origin = int(log.origin_s / unit)
    cuts = [int(shot.start_s / unit) + origin for shot in finder.shots()[1:]]
    return _nearest([cut for cut in cuts if index.pts[bisect_left(index.pts, cut)] == cut], even, low, high)

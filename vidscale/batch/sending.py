"""A range of a movie's packets, for a worker that cannot open the movie: neither its pictures nor the whole file."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av

from vidscale.config import TimeRange
from vidscale.errors import EncodeError, reason_of
from vidscale.media.nut_packets import PacketWriter
from vidscale.media.packets import VideoPackets, video_packets
from vidscale.media.probe import Source
from vidscale.system.folders import temporary_folder

_REFUSED = "the packets of {} cannot be sent to workers: put it on a path that they share"


_Packet = Any  # "av.Packet[av.VideoStream]"


@dataclass(frozen=True, slots=True)
class Sent:
    """A range of a movie.

    Attributes:
        source: the movie, with its video only.
        data: the packets, from the keyframe before the range on, as a NUT file.
        shift_s: added to their timestamps, seconds: NUT has none below zero.
        part: the range without pictures that the movie's edit list hides, which NUT cannot say.
        until: end of the last picture in the movie, in units of the source's time base; None when unknown.
    """

    source: Source
    data: bytes
    shift_s: Fraction
    part: TimeRange
    until: int | None


def read_range(source: Source, time_range: TimeRange) -> Sent:
    """Reads the packets of a range, once.

    Args:
        source: the movie.
        time_range: the part.

    Raises:
        EncodeError: it cannot be read, or its packets cannot be sent.
    """
    start = source.start_s + time_range.start
    end = None if time_range.end is None else source.start_s + time_range.end
    try:
        with video_packets(source, start) as packets:
            read = list(_before(packets, end))
            shift = max(0, -min((packet.pts for packet in read if packet.pts is not None), default=0))
            data = _written(packets, read, shift)
            last = _end(source, packets, read)
        with av.open(io.BytesIO(data), "r") as container:
            found = [(packet.pts, packet.size) for packet in container.demux(video=0) if packet.size]
            unit = container.streams.video[0].time_base
    except (av.FFmpegError, OSError, ValueError) as error:
        raise EncodeError(f"{_REFUSED.format(source.path)} ({reason_of(error)})") from error
    if unit != packets.time_base or found != [(packet.pts + shift, packet.size) for packet in read]:
        raise EncodeError(_REFUSED.format(source.path))
    shift_s = shift * packets.time_base
    only = replace(
        source,
        container="nut",
        stream_index=0,
        streams=(replace(source.stream, index=0),),
        may_jump=False,
        size_bytes=None,
        start_s=source.start_s + shift_s,
    )
    until = last if end is None else round(end / source.video.time_base)
    return Sent(only, data, shift_s, _shown_part(source, time_range, read), until)


def _before(packets: VideoPackets, end: Fraction | None) -> Iterator[_Packet]:
    """The packets of all pictures before a time."""
    for packet in packets:
        if end is not None and packet.dts is not None and packet.dts * packets.time_base >= end:
            return
        if packet.size:
            yield packet


def _written(packets: VideoPackets, read: Sequence[_Packet], shift: int) -> bytes:
    writer = PacketWriter(packets.stream, packets.time_base, shift)
    for packet in read:
        writer.write(packet)
    return writer.getvalue()


def _shown_part(source: Source, time_range: TimeRange, read: Sequence[_Packet]) -> TimeRange:
    shown = [packet for packet in read if not packet.is_discard]
    if not shown or len(shown) == len(read):
        return time_range
    begin = min(packet.pts * packet.time_base for packet in shown) - source.start_s
    last_end = max((packet.pts + max(1, packet.duration or 0)) * packet.time_base for packet in shown) - source.start_s
    end = last_end if time_range.end is None else min(last_end, time_range.end)
    return TimeRange(start=max(time_range.start, begin), end=end)


def _end(source: Source, packets: VideoPackets, read: Sequence[_Packet]) -> int | None:
    """End of the movie's last picture by its file's header, or else by its packet; see `vidscale.stages.ending`."""
    stream, scale = packets.stream, int(packets.time_base / source.video.time_base)
    shown = (packet for packet in read if packet.pts is not None and not packet.is_discard)
    last, until = max(((packet.pts, packet.pts + (packet.duration or 0)) for packet in shown), default=(0, 0))
    if source.video.frame_count and stream.duration and not packets.joints:
        until = max(until, (stream.start_time or 0) + stream.duration)
    return until * scale if until > last else None


@contextlib.contextmanager
def as_file(sent: Sent) -> Iterator[Source]:
    """The range as a source that can be decoded, in a temporary file."""
    with temporary_folder() as folder:
        path = folder / f"{sent.source.path.name}.nut"
        path.write_bytes(sent.data)
        yield replace(sent.source, path=path)

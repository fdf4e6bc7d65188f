"""A range of a movie's packets, for a worker that cannot open the movie: neither its pictures nor the whole file."""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av

from vidscale.config import TimeRange
from vidscale.errors import EncodeError, reason_of
from vidscale.media.nut_packets import PacketWriter
from vidscale.media.packets import VideoPackets, video_packets
from vidscale.media.probe import Source

_REFUSED = "the packets of {} cannot be sent to workers: put it on a path that they share"


@dataclass(frozen=True, slots=True)
class Sent:
    """A range of a movie.

    Attributes:
        source: the movie, with its video only.
        data: the packets, from the keyframe in front of the range on, as a NUT file.
        until: end of the last picture in units of the source's time base; None when unknown.
    """

    source: Source
    data: bytes
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
    until = None if end is None else round(end / source.video.time_base)
    try:
        with video_packets(source, start) as packets:
            writer = PacketWriter(packets.stream, packets.time_base)
            times = _copied(packets, writer, end)
            if end is None:
                until = _end(source, packets, times)
        data = writer.getvalue()
        with av.open(io.BytesIO(data), "r") as container:
            found = [(packet.pts, packet.size) for packet in container.demux(video=0) if packet.size]
            unit = container.streams.video[0].time_base
    except (av.FFmpegError, OSError, ValueError) as error:
        raise EncodeError(f"{_REFUSED.format(source.path)} ({reason_of(error)})") from error
    if unit != packets.time_base or found != [(pts, size) for pts, size, _ in times]:
        raise EncodeError(_REFUSED.format(source.path))
    streams = (replace(source.stream, index=0),)
    only = replace(source, container="nut", stream_index=0, streams=streams, may_jump=False, size_bytes=None)
    return Sent(only, data, until)


_Times = list[tuple[int | None, int, int]]  # timestamp, bytes and duration of each packet


def _copied(packets: VideoPackets, writer: PacketWriter, end: Fraction | None) -> _Times:
    times: _Times = []
    for packet in packets:
        if not packet.size:
            continue
        if end is not None and packet.dts is not None and packet.dts * packets.time_base >= end:
            break
        times.append((packet.pts, packet.size, packet.duration or 0))
        writer.write(packet)
    return times


def _end(source: Source, packets: VideoPackets, times: _Times) -> int | None:
    """End of the movie's last picture by its file's header, or else by its packet; see `vidscale.stages.ending`."""
    stream, scale = packets.stream, int(packets.time_base / source.video.time_base)
    last, until = max(((pts, pts + duration) for pts, _, duration in times if pts is not None), default=(0, 0))
    if source.video.frame_count and stream.duration and not packets.joints:
        until = max(until, (stream.start_time or 0) + stream.duration)
    return until * scale if until > last else None


@contextlib.contextmanager
def as_file(sent: Sent) -> Iterator[Source]:
    """The range as a source that can be decoded, in a temporary file."""
    with tempfile.TemporaryDirectory(prefix="vidscale-") as folder:
        path = Path(folder) / f"{sent.source.path.name}.nut"
        path.write_bytes(sent.data)
        yield replace(sent.source, path=path)

"""Copies the other streams of a source with timestamp jumps, joined like its video: ffmpeg would keep the jumps."""

from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import av

from vidscale.config import TimeRange
from vidscale.errors import EncodeError, reason_of
from vidscale.media.containers import OutputPlan
from vidscale.media.jumps import SKEW_S, Joiner
from vidscale.media.opening import open_container
from vidscale.media.packets import Demuxed
from vidscale.media.probe import Source

_OPTIONS = {"mpegts": {"mpegts_copyts": "1"}, "mp4": {"movie_timescale": "90000"}, "mov": {"movie_timescale": "90000"}}
_NO_SHIFT = {"avoid_negative_ts": "disabled"}

_Packet = Any  # "av.Packet[Stream]", whose stub has no setters for a generic stream


def copy_joined(
    source: Source,
    plan: OutputPlan,
    path: Path,
    *,
    origin_s: Fraction = Fraction(0),
    time_range: TimeRange | None = None,
) -> bool:
    """Copies audio and subtitles packet by packet into a file of their own, in the order of the plan.

    Args:
        source: the source of the streams.
        plan: the kept streams and the container.
        path: the file to write.
        origin_s: time in the joined source that becomes 0.
        time_range: the part to copy, cut at packets.

    Returns:
        Whether there are any such streams; without them no file is written.

    Raises:
        EncodeError: the file cannot be written.
    """
    kept = [stream.index for stream in plan.kept if stream.index != source.stream_index and not stream.is_cover]
    if not kept:
        return False
    try:
        with (
            open_container(source.path) as container,
            av.open(str(path), "w", format=plan.muxer, options=_OPTIONS.get(plan.muxer, {}) | _NO_SHIFT) as target,
        ):
            copies = {index: target.add_stream_from_template(container.streams[index], opaque=True) for index in kept}
            target.start_encoding()
            last: dict[int, int] = {}
            for packet in _readable(Joiner(Demuxed(container), source.stream_index)):
                if _is_beyond(packet, source.start_s, time_range):
                    break
                copy = copies.get(packet.stream.index)
                if copy is None or not _is_within(packet, source.start_s, time_range):
                    continue
                _place(packet, origin_s, last, Fraction(copy.time_base or packet.time_base))
                packet.stream = copy
                target.mux(packet)
    except (av.FFmpegError, OSError) as error:
        raise EncodeError(f"copying the other streams of {source.path} failed: {reason_of(error)}") from error
    return True


def _readable(packets: Iterator[_Packet]) -> Iterator[_Packet]:
    """The packets with data and a timestamp, up to a read error, which the decoding stage reports."""
    try:
        for packet in packets:
            if packet.size and (packet.dts is not None or packet.pts is not None):
                yield packet
    except (av.error.EOFError, av.error.InvalidDataError):
        return


def _is_within(packet: _Packet, start_s: Fraction, time_range: TimeRange | None) -> bool:
    if time_range is None:
        return True
    ticks = packet.pts if packet.pts is not None else packet.dts
    begin = ticks * packet.time_base - start_s
    end = begin + (packet.duration or 0) * packet.time_base
    return bool(end > time_range.start and (time_range.end is None or begin < time_range.end))


def _is_beyond(packet: _Packet, start_s: Fraction, time_range: TimeRange | None) -> bool:
    """Whether no packet of the range can follow."""
    if time_range is None or time_range.end is None or packet.dts is None:
        return False
    return bool(packet.dts * packet.time_base - start_s > time_range.end + SKEW_S)


def _place(packet: _Packet, origin_s: Fraction, last: dict[int, int], unit: Fraction) -> None:
    """Moves a packet to the output's timeline, and after the previous one when parts overlap at a joint."""
    origin = round(origin_s / packet.time_base)
    dts = (packet.dts if packet.dts is not None else packet.pts) - origin
    pts = (packet.pts if packet.pts is not None else packet.dts) - origin
    index = packet.stream.index
    if index in last:
        dts = max(dts, last[index] + ceil(unit / packet.time_base))
    packet.dts, packet.pts = dts, max(pts, dts)
    last[index] = dts

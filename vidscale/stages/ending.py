"""Detection of the end of a source's video: end of file, before the other streams, or truncation."""

from collections import defaultdict
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import cast

import av
from av.format import Flags

from vidscale.media.opening import open_container
from vidscale.media.packets import VideoPackets
from vidscale.media.probe import Source
from vidscale.media.structure import ends_in_order, lacks_bytes
from vidscale.stages.decoder import Decoder

_INDEXED = 64  # last entries of the index to check
_SLACK_FRAMES = 3  # edit lists and dropped pictures hide a few frames of a complete file
# Formats without a duration in the header: libavformat estimates it from the data.
_HAS_NO_DURATION = cast("int", (Flags.ts_discont | Flags.no_timestamps).value)


@dataclass(frozen=True, slots=True)
class Ending:
    """End of a video.

    Attributes:
        cut_off: the file is truncated.
        until: end time of the last picture, in units of the stream's time base; None when unknown.
    """

    cut_off: bool
    until: int | None


def find_ending(source: Source, packets: VideoPackets, decoder: Decoder, *, last: av.VideoFrame, at: int) -> Ending:
    """Compares the decoded video with the duration in its file's header.

    Args:
        source: the file.
        packets: of its video, read to the end.
        decoder: which has decoded all of them.
        last: the last picture.
        at: its timestamp, in units of the source's time base.
    """
    scale = int(packets.time_base / source.video.time_base)
    ending = _of_stream(source, packets, decoder, last, at // scale)
    return replace(ending, until=None if ending.until is None else ending.until * scale)


def _of_stream(source: Source, packets: VideoPackets, decoder: Decoder, last: av.VideoFrame, pts: int) -> Ending:
    """`find_ending` in units of the stream's time base, as are the picture's timestamp and the result."""
    video, stream, container = source.video, packets.stream, packets.container
    shown = pts + (last.duration or 0)  # by its own packet
    of_packets = decoder.end if last.pts == pts else 0  # by the packet decoded last, which may be another one
    until = max(shown, of_packets) if max(shown, of_packets) > pts else None
    if _index_exceeds_file(stream, source.size_bytes) or lacks_bytes(source.path, source.container):
        return Ending(cut_off=True, until=until)
    if packets.joints:  # no duration in the file covers all joined parts
        return Ending(cut_off=False, until=until)
    pictures = decoder.pictures + decoder.hidden
    # AVI counts in frames; with a truncated index, libavformat reports a shorter duration.
    duration = video.frame_count if source.container == "avi" else stream.duration
    if video.frame_count and duration:
        end = (stream.start_time or 0) + duration
        missing_s = (end - shown) * packets.time_base
        if pictures < video.frame_count and missing_s > _SLACK_FRAMES / (video.frame_rate or Fraction(1)):
            return Ending(cut_off=True, until=until)
        return Ending(cut_off=False, until=end if end > pts else until)
    if container.duration is None or container.format.flags & _HAS_NO_DURATION:
        return Ending(cut_off=False, until=until)
    announced_s = Fraction(container.duration, 1_000_000)
    slack_s = max(Fraction(1), announced_s / 50)
    if source.container == "flv" and not ends_in_order(source.path, source.container):
        slack_s = _SLACK_FRAMES / (video.frame_rate or Fraction(1))
    least_s = announced_s - slack_s
    if shown * packets.time_base >= least_s or _starts_late(source, stream) or _longest_s(source) >= least_s:
        return Ending(cut_off=False, until=until)
    if ends_in_order(source.path, source.container):  # complete: the last picture is displayed until the end
        return Ending(cut_off=False, until=round(announced_s / packets.time_base))
    return Ending(cut_off=True, until=until)


def _index_exceeds_file(stream: av.stream.Stream, size_bytes: int | None) -> bool:
    """Whether the container's index has packets beyond the end of the file."""
    if size_bytes is None:
        return False
    entries = stream.index_entries
    last = (entries[at] for at in range(max(0, len(entries) - _INDEXED), len(entries)))
    return any(entry.pos + entry.size > size_bytes for entry in last)


def _starts_late(source: Source, stream: av.stream.Stream) -> bool:
    """Whether a file consists of segments of a longer MP4, whose duration may still be in its header."""
    start_s = (stream.start_time or 0) * Fraction(stream.time_base or 0)
    return source.container.startswith("mov,") and start_s > 1


def _longest_s(source: Source) -> Fraction:
    """The longest duration or latest end of any stream, either of which may be the container's duration; seconds."""
    starts: dict[int, Fraction] = {}
    ends: dict[int, Fraction] = defaultdict(Fraction)
    with open_container(source.path) as container:
        try:
            for packet in container.demux():
                time = packet.dts if packet.pts is None else packet.pts
                if packet.size and time is not None:
                    index, unit = packet.stream_index, Fraction(packet.time_base)
                    starts[index] = min(starts.get(index, time * unit), time * unit)
                    ends[index] = max(ends[index], (time + (packet.duration or 0)) * unit)
        except (av.FFmpegError, OSError, IndexError):  # damaged: the readable part counts
            pass
    return max((end - min(starts[index], Fraction(0)) for index, end in ends.items()), default=Fraction(0))

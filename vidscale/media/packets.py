"""Video packets of a source: from the beginning, or from a keyframe before a given time."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import chain, islice
from math import floor
from pathlib import Path
from typing import Any, cast

import av
from av.format import Flags

from vidscale.media.jumps import Joiner, may_jump
from vidscale.media.opening import is_raw, open_container
from vidscale.media.probe import Source

MAX_REORDER = 64  # longest decoder delay, packets
_TRIES = 4  # keyframes to try before the requested time
_MOST_LEADING = 16  # leading pictures of a keyframe
_LARGEST_N_VOP = 19  # bytes of MPEG-4's placeholder for a picture in a packed bitstream
_LONGEST_GROUP = 4096  # packets of a GOP kept in memory
_NO_BYTE_SEEK = cast("int", Flags.no_byte_seek.value)

_Packet = Any  # "av.Packet[av.VideoStream]"


class Demuxed:
    """Packets in file order, without those of streams that appear later in the file: ffmpeg ignores them, and PyAV
    raises IndexError.

    Args:
        container: the open file.
        streams: the streams to demux; none for all.

    Attributes:
        skipped: number of packets skipped so far.
    """

    def __init__(self, container: av.container.InputContainer, *streams: "av.stream.Stream") -> None:
        self.skipped = 0
        self._container = container
        self._streams = streams
        self._packets: Iterator[_Packet] = container.demux(*streams)

    def __iter__(self) -> Iterator[_Packet]:
        return self

    def __next__(self) -> _Packet:
        while True:
            try:
                return next(self._packets)
            except IndexError:
                self.skipped += 1
                self._packets = self._container.demux(*self._streams)


class VideoPackets:
    """The packets of one video stream in file order; parts with discontinuous timestamps are joined.

    Attributes:
        container, stream: the open file and the stream.
        time_base: unit of the stream's timestamps, s.
    """

    def __init__(self, container: av.container.InputContainer, index: int, *, start: Fraction | None = None) -> None:
        self.container = container
        self.stream = cast("av.VideoStream", container.streams[index])
        self.time_base = Fraction(self.stream.time_base or 0)
        self._demuxed = Demuxed(container) if may_jump(container) else Demuxed(container, self.stream)
        self._joiner = Joiner(self._demuxed, index) if may_jump(container) else None
        self._packets: Iterator[_Packet] = _of_stream(self._joiner, index) if self._joiner else self._demuxed
        if start is not None:
            self._packets = _from_keyframe(self._packets, start)

    @property
    def joints(self) -> int:
        """Number of timestamp jumps so far."""
        return self._joiner.joints if self._joiner else 0

    @property
    def skipped(self) -> int:
        """Number of packets skipped so far, of streams that appear later in the file."""
        return self._demuxed.skipped

    def __iter__(self) -> Iterator[_Packet]:
        return self

    def __next__(self) -> _Packet:
        return next(self._packets)


@contextlib.contextmanager
def video_packets(source: Source, start: Fraction | None = None) -> Iterator[VideoPackets]:
    """Opens a source for reading its video.

    Args:
        source: result of `probe`.
        start: the packets begin at a keyframe displayed at or before this time when the container can seek to one, else
            at the beginning; seconds, in the file's own timestamps.
    """
    index = source.stream_index
    with contextlib.ExitStack() as stack:
        container = stack.enter_context(open_container(source.path))
        if start is None or start <= source.start_s or _sought(container, source, start):
            yield VideoPackets(container, index)
        else:
            reopened = stack.enter_context(open_container(source.path))
            yield VideoPackets(reopened, index, start=start if source.may_jump else None)


def length_s(source: Source) -> Fraction | None:
    """Duration of a source's video, s; None when unknown. With timestamp jumps the container's duration is wrong, so
    files whose timestamps may jump are read to the end.
    """
    if not source.may_jump:
        return source.video.duration_s
    end = source.start_s
    with video_packets(source) as packets, contextlib.suppress(av.FFmpegError):
        for packet in packets:
            if packet.pts is not None:
                end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
    return end - source.start_s if packets.joints else source.video.duration_s


def _of_stream(packets: Iterator[_Packet], index: int) -> Iterator[_Packet]:
    return (packet for packet in packets if packet.stream.index == index)  # at the end packets have no stream_index


def _from_keyframe(packets: Iterator[_Packet], start: Fraction) -> Iterator[_Packet]:
    """The packets from the last keyframe displayed at or before ``start``."""
    group: list[_Packet] = []
    for packet in packets:
        if packet.is_keyframe and packet.pts is not None and packet.pts * packet.time_base <= start:
            group.clear()
        group.append(packet)
        is_behind = packet.dts is not None and packet.dts * packet.time_base > start
        if is_behind or len(group) == _LONGEST_GROUP:
            break
    yield from chain(group, packets)


def _sought(container: av.container.InputContainer, source: Source, start: Fraction) -> bool:
    """Seeks to a keyframe displayed at or before ``start``; returns whether that worked."""
    stream = cast("av.VideoStream", container.streams[source.stream_index])
    position = None
    if source.may_jump:
        position = _keyframe_position(source.path, source.path.stat().st_mtime_ns, source.stream_index, start)
        if position is None:
            return False
    if is_raw(container) or _lacks_pts(container, stream):
        return False
    begin = target = floor(start / cast("Fraction", stream.time_base))
    with contextlib.suppress(av.FFmpegError):
        for _ in range(_TRIES):
            container.seek(target, stream=stream, backward=True)
            head = [packet for packet in islice(Demuxed(container, stream), MAX_REORDER) if packet.size]
            keys = [at for at, packet in enumerate(head) if _is_key(packet, source.codec)]
            shown = [_shown(head, at, stream) for at in keys]
            if any(
                ticks is not None
                and ticks <= begin
                and (position is None or (head[at].pos or position + 1) <= position)
                for at, ticks in zip(keys, shown, strict=True)
            ):
                container.seek(target, stream=stream, backward=True)
                return True
            if not head or head[0].dts is None:
                return False
            late = max(shown[0] - begin, 0) if shown and shown[0] is not None else 0
            target = min(target - late, head[0].dts - 1)
    return False


def _is_key(packet: _Packet, codec: str) -> bool:
    """Whether a decoder can start here; a placeholder for a picture in an earlier packet does not count."""
    return bool(packet.is_keyframe) and not (codec == "mpeg4" and packet.size <= _LARGEST_N_VOP)


def _shown(head: list[_Packet], at: int, stream: av.VideoStream) -> int | None:
    """Latest display time of the keyframe at index ``at``, in units of the stream's time base."""
    depth = stream.codec_context.reorder_depth
    if head[at].pts is not None:
        return cast("int", head[at].pts)
    later = at + depth + _MOST_LEADING if depth else at
    return cast("int | None", head[later].dts) if later < len(head) else None


def _lacks_pts(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    """Whether the presentation times of reordered pictures are really decoding times: a picture's time then depends on
    all packets before it."""
    if not stream.codec_context.reorder_depth:
        return False
    head = [packet for packet in islice(Demuxed(container, stream), MAX_REORDER) if packet.size]
    return all(packet.pts is not None and packet.pts == packet.dts for packet in head)


@lru_cache(maxsize=64)
def _keyframe_position(path: Path, mtime_ns: int, index: int, start: Fraction) -> int | None:
    """Byte offset of the last keyframe displayed at or before ``start``; None when time jumps before it, so that
    seeking is impossible, or when the container has no byte offsets.

    Every packet up to there is read: there is no other way to find a jump.
    """
    position = None
    with open_container(path) as container, contextlib.suppress(av.FFmpegError):
        if container.format.flags & _NO_BYTE_SEEK:
            return None
        packets = VideoPackets(container, index)
        for packet in packets:
            if packet.dts is not None and packet.dts * packet.time_base > start:
                break
            if packet.is_keyframe and packet.pts is not None and packet.pts * packet.time_base <= start:
                position = packet.pos
        if packets.joints:
            return None
    return position

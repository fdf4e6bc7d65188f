"""A source's video packets: from the beginning, or from a keyframe before a time."""

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
from vidscale.media.probe import Source, open_container

MAX_REORDER = 64  # packets between a picture's and that which brings it out of the decoder
_TRIES = 4  # keyframes before the time that was asked for
_MOST_LEADING = 16  # pictures that are stored behind a keyframe and shown before it
_LARGEST_N_VOP = 19  # bytes of MPEG-4's placeholder for a picture that is packed with another
_LONGEST_GROUP = 4096  # packets from keyframe to keyframe that are kept in memory
_NO_TIMESTAMPS = cast("int", Flags.no_timestamps.value)
_NO_BYTE_SEEK = cast("int", Flags.no_byte_seek.value)

_Packet = Any  # "av.Packet[av.VideoStream]"


class Demuxed:
    """Packets in the order of the file, without those of streams that the file does not begin with: ffmpeg passes them
    over, and PyAV stumbles.

    Args:
        container: where they come from.
        streams: those whose packets are wanted, none for all.

    Attributes:
        passed_over: how many packets of other streams there were so far.
    """

    def __init__(self, container: av.container.InputContainer, *streams: "av.stream.Stream") -> None:
        self.passed_over = 0
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
                self.passed_over += 1
                self._packets = self._container.demux(*self._streams)


class VideoPackets:
    """The packets of one video stream in the order of the file; where time jumps, the parts are joined.

    Attributes:
        container, stream: where they come from.
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
        """How often time has jumped so far."""
        return self._joiner.joints if self._joiner else 0

    @property
    def passed_over(self) -> int:
        """How many packets there were so far of streams that the file does not begin with."""
        return self._demuxed.passed_over

    def __iter__(self) -> Iterator[_Packet]:
        return self

    def __next__(self) -> _Packet:
        return next(self._packets)


@contextlib.contextmanager
def video_packets(source: Source, start: Fraction | None = None) -> Iterator[VideoPackets]:
    """Opens a source for reading its video.

    Args:
        source: what `probe` found.
        start: the packets begin at a keyframe that is shown at this time or before, where the container can find one,
            and else at the beginning; seconds, in the file's own time.
    """
    index = source.stream_index
    with contextlib.ExitStack() as stack:
        container = stack.enter_context(open_container(source.path))
        if start is None or start <= source.start_s or _sought(container, source, start):
            yield VideoPackets(container, index)
        else:
            anew = stack.enter_context(open_container(source.path))
            yield VideoPackets(anew, index, start=start if source.may_jump else None)


def length_s(source: Source) -> Fraction | None:
    """How long a source's video is, s; None when unknown. Where time jumps, what the container says of it is wrong; a
    file whose time may jump is read from end to end.
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
    """The packets without those that come before the last keyframe shown at ``start`` or before."""
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
    """Moves to a keyframe that is shown at ``start`` or before; whether that worked."""
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
    """Whether a decoder can start here, and not merely take notice of a picture that an earlier packet brought."""
    return bool(packet.is_keyframe) and not (codec == "mpeg4" and packet.size <= _LARGEST_N_VOP)


def _shown(head: list[_Packet], at: int, stream: av.VideoStream) -> int | None:
    """When the keyframe among some packets is shown at the latest, in units of the stream's time base."""
    depth = stream.codec_context.reorder_depth
    if head[at].pts is not None:
        return cast("int", head[at].pts)
    later = at + depth + _MOST_LEADING if depth else at
    return cast("int | None", head[later].dts) if later < len(head) else None


def is_raw(container: av.container.InputContainer) -> bool:
    """Whether the format holds no timestamps at all."""
    return bool(container.format.flags & _NO_TIMESTAMPS)


def _lacks_pts(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    """Whether what stands for presentation times are decoding times of pictures that are reordered: a picture's time
    depends on all before it then."""
    if not stream.codec_context.reorder_depth:
        return False
    head = [packet for packet in islice(Demuxed(container, stream), MAX_REORDER) if packet.size]
    return all(packet.pts is not None and packet.pts == packet.dts for packet in head)


@lru_cache(maxsize=64)
def _keyframe_position(path: Path, mtime_ns: int, index: int, start: Fraction) -> int | None:
    """Byte offset of the last keyframe that is shown at ``start`` or before; None where time jumps before it, so that
    the container cannot be searched, and where the container knows no offsets.

    Every packet up to there is read: a jump shows only where it is.
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

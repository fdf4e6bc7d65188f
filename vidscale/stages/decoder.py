"""Decoding of a stream's packets, also in damaged files.

With frame threading, an error in one of the last packets surfaces while the decoder is drained. libavcodec, and so
ffmpeg, continues after the error; PyAV's ``decode`` stops there and cannot be called again. The remaining pictures are
decoded again from an earlier keyframe by a single thread, which reports an error together with its packet.
"""

import logging
from bisect import insort
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from math import ceil, sqrt
from typing import cast

import av
from av.bitstream import BitStreamFilterContext
from av.codec.codec import Capabilities

from vidscale.errors import DecodeError, reason_of
from vidscale.media.packets import VideoPackets
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import core_count

logger = logging.getLogger(__name__)

_SILENT = {"mpeg1video", "mpeg2video", "av1"}  # codecs whose decoders may not report undecodable packets
_MOST_LATE = 8  # pictures that are output after a later one
_MOST_HELD = 4096  # packets whose timestamps are kept for their pictures
_HIDING = {"vp8"}  # codecs with packets that are not displayed
_MOST_LOST = Fraction(2, 5)  # of all packets: if more yield no picture, the packets are single fields

Decoded = tuple[av.VideoFrame, int | None]  # a picture and the size of its packet, bytes; None when unknown
_Numbered = tuple[av.VideoFrame, int]  # a picture and the number of its packet


class Decoder:
    """A stream's decoder: packets in, pictures out in presentation order.

    Packets are sent with their number as timestamp, since their own may repeat or be missing; libavcodec copies it to
    the picture. PyAV's ``Packet.opaque`` would deadlock: the decoder's threads need the GIL to free it, and PyAV holds
    the GIL while it waits for them to close a decoder.

    Args:
        stream: a stream from which nothing was decoded yet.
        timed: whether the decoder's timestamps belong to the pictures, which is not the case in AVI.
        log: counts packets that do not decode.

    Attributes:
        last_pts: timestamp of the last picture, None before the first and when they have none.
        failed: sequence numbers of the coded pictures that do not decode.
        submitted: number of coded pictures sent to the decoder.
        pictures: number of pictures output.
        hidden: number of packets hidden by an edit list, which yield no pictures.
        end: end time of the last packet, in units of the stream's time base; 0 before the first.
    """

    def __init__(self, stream: av.VideoStream, log: ReadLog, *, timed: bool) -> None:
        self.last_pts: int | None = None
        self.failed: list[int] = []
        self.submitted = 0
        self.pictures = 0
        self.hidden = 0
        self.end = 0
        self._stream, self._log, self._timed = stream, log, timed
        self._codec = stream.codec_context.codec.canonical_name
        self._pts: dict[int, int | None] = {}  # of packets, by number
        self._sizes: dict[int, int] = {}  # of packets, by number, until their pictures come
        self._packets = 0
        self._all_timed = True  # every packet has a timestamp
        self._leading = 0  # packets before the first picture, whose references are missing
        self._usual_lag: int | None = None  # pictures that the decoder holds back
        self._drained: int | None = None  # pictures output while draining
        self._late: list[_Numbered] = []
        # A packet of VP9 may hold several pictures, and PyAV reports the error of only one.
        self._split = BitStreamFilterContext("vp9_superframe_split", stream) if self._codec == "vp9" else None

    def decode(self, packet: "av.Packet[av.VideoStream]") -> list[Decoded]:
        """Decodes a packet; an empty one drains the decoder."""
        if packet.size:
            self._number(packet)
            frames = self._in_order([frame for part in self._parts(packet) for frame in self._decoded(part)])
        else:
            rest = self._drain(packet)
            self._drained = len(rest)
            frames = self._in_order(rest)
            if self.lacks_the_end:  # the late pictures are decoded again, too
                self.pictures -= len(self._late)
            else:
                frames += self._late
            self._late = []
        return [(frame, self._size(frame, number)) for frame, number in frames]

    def _number(self, packet: "av.Packet[av.VideoStream]") -> None:
        """Replaces a packet's timestamp by its number, and keeps timestamp and size."""
        if packet.is_discard:
            self.hidden += 1
        else:
            self._packets += 1
            if packet.pts is None:
                self._all_timed = False
            else:
                self.end = packet.pts + (packet.duration or 0)
        number = self._packets + self.hidden
        self._pts[number] = packet.pts
        if not packet.is_discard:
            self._sizes[number] = packet.size
        self._pts.pop(number - _MOST_HELD, None)
        self._sizes.pop(number - _MOST_HELD, None)
        packet.pts = number

    def _numbered(self, frames: list[av.VideoFrame]) -> list[_Numbered]:
        """Decoded pictures with the timestamps of their packets."""
        numbers = [frame.pts or 0 for frame in frames]  # 0 is no packet's
        for frame, number in zip(frames, numbers, strict=True):
            frame.pts = self._pts.get(number)
        return list(zip(frames, numbers, strict=True))

    def _parts(self, packet: "av.Packet[av.VideoStream]") -> list["av.Packet[av.VideoStream]"]:
        if self._split is None:
            return [packet]
        try:
            parts = cast("list[av.Packet[av.VideoStream]]", self._split.filter(packet))
        except av.FFmpegError as error:
            self._fail(error)
            return []
        for part in parts:
            part.time_base = self._stream.time_base or Fraction(1)
        return parts

    def _decoded(self, part: "av.Packet[av.VideoStream]") -> list[_Numbered]:
        self.submitted += 1
        try:
            return self._numbered(self._stream.decode(part))
        except av.error.EOFError:
            return []
        except MemoryError:
            raise
        except av.FFmpegError as error:  # decoders report damaged data with different errors
            self._fail(error)
            return []

    def _fail(self, error: Exception) -> None:
        logger.info("unreadable packet: %s", error)
        self._log.unreadable += 1
        self.failed.append(self.submitted)

    def _drain(self, flush: "av.Packet[av.VideoStream]") -> list[_Numbered]:
        try:
            return self._numbered(self._stream.decode(flush))
        except MemoryError:
            raise
        except av.FFmpegError as error:  # only decoding again shows which packet it is
            logger.info("unreadable packet near the end: %s", error)
            return []

    @property
    def _lag(self) -> int:
        """Number of packets in the decoder whose pictures are not output yet."""
        return self._packets - self.pictures - len(self.failed)

    def _in_order(self, frames: list[_Numbered]) -> list[_Numbered]:
        """Frames sorted by timestamp when pictures are missing.

        After an undecodable picture, a decoder may output a delayed picture after later ones.
        """
        ready: list[_Numbered] = []
        for frame, number in frames:
            self.pictures += 1
            if self._usual_lag is None:
                self._usual_lag = self._lag
                self._leading = sum(1 for pts in self._awaited if frame.pts is not None and pts < frame.pts)
            is_damaged = bool(self.failed) or self._codec in _SILENT
            lost = self._timed and is_damaged and (bool(self._late) or self._lag > self._usual_lag)
            if lost and frame.pts is not None and not (self.last_pts and frame.pts < self.last_pts):
                insort(self._late, (frame, number), key=lambda late: late[0].pts or 0)
                ready += [self._late.pop(0)] if len(self._late) > _MOST_LATE else []
            else:
                ready += [*self._late, (frame, number)]
                self._late.clear()
        return ready

    def _size(self, frame: av.VideoFrame, number: int) -> int | None:
        """Size of a picture's packet; 0 for a packet's second picture."""
        if self._timed:
            self.last_pts = frame.pts
        return self._sizes.pop(number, 0 if number in self._pts else None)

    @property
    def _awaited(self) -> set[int]:
        """Timestamps of the packets whose pictures are not output yet."""
        return {pts for number in self._sizes if (pts := self._pts[number]) is not None}

    @property
    def unreported(self) -> int:
        """Number of packets without a picture, beyond those in `failed`; valid after the last packet.

        Decoders skip pictures with damaged references, and some report nothing at all.
        """
        lost = self._packets - self._leading - self.pictures
        is_countable = (
            self._timed and self._all_timed and self._codec not in _HIDING and (self.failed or self._codec in _SILENT)
        )
        return max(0, lost - len(self.failed)) if is_countable and lost <= self._packets * _MOST_LOST else 0

    @property
    def pending(self) -> int:
        """Number of the last submitted pictures whose errors are reported only while draining."""
        context = self._stream.codec_context
        if context.codec.capabilities & Capabilities.frame_threads:
            return context.thread_count - 1
        if context.codec.capabilities & Capabilities.auto_threads:  # dav1d: its frame delay
            return ceil(sqrt(context.thread_count or core_count())) - 1
        return 0

    @property
    def lacks_the_end(self) -> bool:
        """Whether pictures may be missing after the decoder was drained."""
        if not self.pending or self._drained is None:
            return False
        if self.last_pts is not None and (awaited := self._awaited):
            return max(awaited) > self.last_pts
        return self._drained < (self._usual_lag or 0)

    def missing(self, again: Iterator[Decoded]) -> Iterator[Decoded]:
        """Of pictures decoded again, those not output before."""
        if self.last_pts is None:  # they can only be counted; both passes begin at the same packet
            rest: Iterator[Decoded] = islice(again, self.pictures, None)
        else:
            awaited = {pts for pts in self._awaited if pts > self.last_pts}
            rest = (picture for picture in again if picture[0].pts in awaited)
        for picture in rest:
            self.pictures += 1
            yield picture


def read_packets(packets: VideoPackets, log: ReadLog) -> Iterator["av.Packet[av.VideoStream]"]:
    """A stream's packets, followed by an empty one, which drains the decoder.

    They also end where the container is damaged beyond recovery.

    Raises:
        DecodeError: reading fails for another reason.
    """
    is_drained = False
    try:
        for packet in packets:  # the last one, which is empty, comes from the demuxer
            is_drained = not packet.size
            yield packet
    except av.error.InvalidDataError as error:
        logger.info("the container is damaged: %s", error)
        log.unreadable += 1
    except av.error.EOFError:
        pass
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(f"reading the source failed: {reason_of(error)}") from error
    if is_drained:
        return
    last = cast("av.Packet[av.VideoStream]", av.Packet())
    last.stream, last.time_base = packets.stream, packets.time_base
    yield last


def decode_the_end(packets: VideoPackets, first: Decoder, log: ReadLog) -> Iterator[Decoded]:
    """The pictures that are missing after a decoder was drained.

    Args:
        packets: of the reopened file, from a keyframe before the decoder's last picture; without timestamps, from the
            start of the first pass.
        first: the drained decoder.
        log: counts undecodable packets that the first pass could not report.
    """
    packets.stream.codec_context.thread_count = 1
    decoder = Decoder(packets.stream, ReadLog(), timed=True)

    again = (picture for packet in read_packets(packets, ReadLog()) for picture in decoder.decode(packet))
    yield from first.missing(again)
    failed = [number for number in decoder.failed if number > decoder.submitted - first.pending]
    first.failed += failed
    log.unreadable += len(failed)

"""The decoding stage: a file's video stream as frames, in presentation order, each with its own timestamp."""

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Literal, cast

import av

from vidscale.config import TimeRange
from vidscale.errors import DecodeError
from vidscale.media.alpha import Alpha, AlphaBeside
from vidscale.media.frames import Frame
from vidscale.media.matroska import HEAD_BYTES, segment_end
from vidscale.media.pictures import Picture, to_frames
from vidscale.media.probe import Source, open_container
from vidscale.system.threads import Clock

logger = logging.getLogger(__name__)

_MAX_REORDER = 64  # packets whose size waits for its picture
_TS_PACKET_SIZES = (188, 192, 204)  # plain, with a time stamp (M2TS), with error correction


@dataclass(slots=True)
class ReadLog:
    """What happened while a source was read.

    Attributes:
        frames: pictures handed out.
        unreadable: packets that did not decode, and pictures the container promises that never came.
        concealed: pictures handed out in which the decoder concealed damage.
        damaged_identities: keyframes that do not say how they were made, though another one of the file does.
        timestamps_made: pictures that had no timestamp and got one from the frame rate.
        origin_s: time in the source of the output's zero; not 0 with a range, and where a source starts before 0.
        truncated_at_s: where reading broke off before the end that the container announces.
    """

    frames: int = 0
    unreadable: int = 0
    concealed: int = 0
    damaged_identities: int = 0
    timestamps_made: int = 0
    origin_s: Fraction = Fraction(0)
    truncated_at_s: Fraction | None = None

    @property
    def damaged(self) -> bool:
        """Whether the source could not be read in full."""
        return bool(self.unreadable or self.concealed or self.truncated_at_s is not None)

    def notes(self, path: Path) -> tuple[str, ...]:
        """What a person should know of it, one line each."""
        name, lines = path.name, []
        if self.unreadable:
            lines.append(f"{_frames(self.unreadable)} of {name} {'was' if self.unreadable == 1 else 'were'} unreadable")
        if self.truncated_at_s is not None:
            lines.append(f"{name} breaks off at {float(self.truncated_at_s):.2f} s: what is there was read")
        if self.concealed:
            verb = "is" if self.concealed == 1 else "are"
            lines.append(f"{_frames(self.concealed)} of {name} {verb} damaged, mended as well as the decoder could")
        if self.damaged_identities:
            what = (
                "identity of 1 keyframe"
                if self.damaged_identities == 1
                else f"identities of {self.damaged_identities} keyframes"
            )
            lines.append(f"the {what} of {name} cannot be read; what else it says of itself can, and was followed")
        if self.origin_s < 0:
            lines.append(f"{name} starts at {float(self.origin_s):.3f} s: all streams were moved to start at 0")
        if self.timestamps_made:
            lines.append(f"{_frames(self.timestamps_made)} of {name} had no timestamp and got one from the frame rate")
        return tuple(lines)


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def decode_frames(
    source: Source,
    *,
    log: ReadLog,
    clock: Clock,
    time_range: TimeRange | None = None,
    interlaced: Literal["refuse", "ignore", "bwdif"] = "ignore",
    inspect: Callable[["av.Packet[av.VideoStream]"], None] | None = None,
    filters: Sequence[tuple[str, str]] = (),
    alpha: Alpha = "refuse",
) -> Iterator[Frame]:
    """Frames of the source's video stream, in the pixel format that ``source.video`` tells.

    Timestamps are the source's own; with a range they count from the first frame of the range, as they do from the
    first frame of all where that lies before 0. Packets that do not decode are counted in ``log`` and left out.

    Args:
        source: what `probe` found.
        log: filled in on the way.
        clock: counts pictures and time.
        time_range: part to read, None for all.
        interlaced: what to do with pictures that are flagged interlaced.
        inspect: called with every keyframe packet before it is decoded; what it raises ends the reading.
        filters: name and arguments of ffmpeg's filters, one picture for one, of the same pixel format.
        alpha: "refuse" takes opaque pictures only, "drop" any, without their alpha.

    Raises:
        DecodeError: interlaced or transparent pictures when they are refused, a size or pixel format that changes,
            timestamps that do not rise, or nothing to decode at all.
    """
    start, end = _bounds(source, time_range)
    with open_before(source, start) as container:
        stream = cast("av.VideoStream", container.streams[source.stream_index])
        stream.thread_type = "AUTO"
        timeline = _Timeline(source, log)
        beside = AlphaBeside.of(stream) if alpha == "refuse" else None
        pictures = _decoded(container, stream, log, clock, inspect, beside)
        selected = _selected(pictures, source, timeline, start, end, interlaced)
        for frame in to_frames(selected, source, interlaced, clock, filters, alpha):
            log.frames += 1
            log.concealed += frame.corrupt
            yield frame
        if log.frames == 0:
            where = " in that range" if time_range else ""
            raise DecodeError(f"{source.path} holds no decodable frame{where}")
        log.origin_s = (timeline.origin or 0) * source.video.time_base
        if time_range is None:
            _note_truncation(source, timeline, log, lacks_packets=_index_goes_on(stream, source.size_bytes))


def _bounds(source: Source, time_range: TimeRange | None) -> tuple[Fraction | None, Fraction | None]:
    if time_range is None:
        return None, None
    end = None if time_range.end is None else source.start_s + time_range.end
    return source.start_s + time_range.start, end


def open_before(source: Source, start: Fraction | None) -> av.container.InputContainer:
    """The opened file, at a keyframe before ``start`` (seconds, in the file's own time), or at its beginning where the
    container cannot find one."""
    container = open_container(source.path)
    if start is None or start <= source.start_s:
        return container
    stream = cast("av.VideoStream", container.streams[source.stream_index])
    target = int(start / source.video.time_base)
    with contextlib.suppress(av.FFmpegError):
        container.seek(target, stream=stream, backward=True)
        for packet in islice(container.demux(stream), _MAX_REORDER):
            if packet.is_keyframe and packet.pts is not None and packet.pts <= target:
                container.seek(target, stream=stream, backward=True)
                return container
    container.close()
    return open_container(source.path)


def _decoded(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    log: ReadLog,
    clock: Clock,
    inspect: Callable[["av.Packet[av.VideoStream]"], None] | None,
    beside: AlphaBeside | None,
) -> Iterator[Picture]:
    """Decoded pictures in presentation order."""
    packets = container.demux(stream)
    sizes: dict[int, int] = {}
    avi = _AviTimestamps() if container.format.name == "avi" else None
    while True:
        with clock.measure(frames=0):
            packet = _next_packet(packets, log)
            if packet is None:
                return
            if packet.size:
                _remember_size(sizes, packet)
                if avi and packet.dts is not None:
                    avi.waiting.append(packet.dts)
                if inspect is not None and packet.is_keyframe:
                    inspect(packet)
                if beside is not None:
                    beside.feed(packet)
            frames = _frames_of(packet, log)
        for frame in frames:
            size = sizes.pop(frame.pts, None) if frame.pts is not None else None
            is_opaque = beside is None or beside.is_opaque(frame)
            yield Picture(frame, avi.next(frame) if avi else frame.pts, size, is_opaque)


class _AviTimestamps:
    """AVI stores decoding timestamps only. Its pictures are evenly numbered, so the n-th shown has the n-th of them,
    later by as much as the first picture waits in the decoder for those that are stored out of order.

    Attributes:
        waiting: timestamps of packets, for the pictures to come.
    """

    def __init__(self) -> None:
        self.waiting: deque[int] = deque()
        self._delay: int | None = None

    def next(self, frame: av.VideoFrame) -> int | None:
        """Timestamp of the next picture; None when no packet is left to take one from."""
        if not self.waiting:
            return None
        in_order = self.waiting.popleft()
        if self._delay is None:
            self._delay = max(0, (frame.dts or 0) - in_order)
        while frame.dts is not None and self.waiting and in_order + self._delay < frame.dts:
            in_order = self.waiting.popleft()  # a packet that brought no picture
        return in_order + self._delay


def _next_packet(packets: Iterator["av.Packet[av.VideoStream]"], log: ReadLog) -> "av.Packet[av.VideoStream] | None":
    """The next packet; None at the end, and where the container is damaged so that nothing can be read behind it."""
    try:
        return next(packets, None)
    except av.error.EOFError:
        return None
    except av.error.InvalidDataError as error:
        logger.info("the container is damaged: %s", error)
        log.unreadable += 1
        return None
    except (av.FFmpegError, OSError) as error:
        raise DecodeError(f"reading the source failed: {getattr(error, 'strerror', None) or error}") from error


def _frames_of(packet: "av.Packet[av.VideoStream]", log: ReadLog) -> list[av.VideoFrame]:
    """The pictures that a packet brings out of the decoder."""
    try:
        return packet.decode()
    except av.error.EOFError:
        return []
    except MemoryError:
        raise
    except av.FFmpegError as error:  # which one, is the decoder's taste: of damaged data they say all kinds of things
        logger.info("unreadable packet: %s", error)
        log.unreadable += 1
        return []


def _remember_size(sizes: dict[int, int], packet: "av.Packet[av.VideoStream]") -> None:
    """Keeps a packet's size until its picture comes out of the decoder; of pictures that never come, forgets it."""
    if packet.pts is None:
        return
    sizes[packet.pts] = packet.size
    if len(sizes) > 2 * _MAX_REORDER:
        for pts in sorted(sizes)[:_MAX_REORDER]:
            del sizes[pts]


def _selected(
    pictures: Iterator[Picture],
    source: Source,
    timeline: "_Timeline",
    start: Fraction | None,
    end: Fraction | None,
    interlaced: str,
) -> Iterator[tuple[Picture, int]]:
    """The pictures of the range, each with its timestamp in the output."""
    for picture in pictures:
        _check_picture(picture.frame, source, interlaced)
        pts = timeline.place(picture)
        if pts is None or (start is not None and pts * source.video.time_base < start):
            continue
        if end is not None and pts * source.video.time_base >= end:
            return
        if timeline.origin is None and (start is not None or pts < 0):
            timeline.origin = pts
        yield picture, pts - (timeline.origin or 0)


def _check_picture(frame: av.VideoFrame, source: Source, interlaced: str) -> None:
    width, height = source.decoded_size
    if (frame.width, frame.height, frame.format.name) != (width, height, source.pix_fmt):
        raise DecodeError(
            f"the picture changes at {_time_text(frame)} from {width}x{height} {source.pix_fmt} "
            f"to {frame.width}x{frame.height} {frame.format.name}; split the source there"
        )
    if interlaced == "refuse" and frame.interlaced_frame:
        raise DecodeError(
            f"the source is flagged interlaced (at {_time_text(frame)}): --interlaced bwdif deinterlaces it, "
            "--interlaced ignore codes it as it is, for sources that are flagged by mistake"
        )


def _time_text(frame: av.VideoFrame) -> str:
    return "an unknown time" if frame.time is None else f"{frame.time:.3f} s"


class _Timeline:
    """Gives each picture its timestamp, and sees to it that they rise.

    Attributes:
        last: timestamp of the picture placed last.
        origin: timestamp that becomes the output's zero, None for the source's own zero.
    """

    def __init__(self, source: Source, log: ReadLog) -> None:
        self._video = source.video
        self._path = source.path
        self._log = log
        self.last: int | None = None
        self.origin: int | None = None

    def place(self, picture: Picture) -> int | None:
        """The picture's pts; None for one that damage put out of order."""
        pts = picture.pts if picture.pts is not None else self._made_up(picture.frame)
        if self.last is not None and pts <= self.last:
            if self._log.damaged:
                self._log.unreadable += 1
                return None
            what = "repeats" if pts == self.last else f"goes back to {float(pts * self._video.time_base):.3f} s"
            raise DecodeError(
                f"the timestamp of {self._path} {what} after {float(self.last * self._video.time_base):.3f} s; "
                "remux the source first, or code a part with --range"
            )
        self.last = pts
        return pts

    def _made_up(self, frame: av.VideoFrame) -> int:
        """From the frame rate, for streams without presentation timestamps."""
        rate = self._video.frame_rate
        if rate is None:
            raise DecodeError(f"{self._path} has pictures without timestamps and no frame rate")
        self._log.timestamps_made += 1
        if self.last is None:
            return frame.dts if frame.dts is not None else 0
        return self.last + max(1, round(1 / (rate * self._video.time_base)))


def _note_truncation(source: Source, timeline: _Timeline, log: ReadLog, *, lacks_packets: bool) -> None:
    """Compares what came with what the container announced."""
    video = source.video
    ends_early = lacks_packets or _ends_early(source, timeline)
    if video.frame_count and video.frame_count > log.frames + log.unreadable and ends_early:
        # Edit lists and dropped leading pictures hide a few frames of a sound file; the end tells a cut one.
        log.unreadable = video.frame_count - log.frames
    if (ends_early or _ends_within_packet(source) or _ends_within_segment(source)) and timeline.last is not None:
        log.truncated_at_s = timeline.last * video.time_base


def _ends_early(source: Source, timeline: _Timeline) -> bool:
    video = source.video
    if video.duration_s is None or timeline.last is None:
        return False
    tolerance = max(Fraction(1), video.duration_s / 50)
    if video.frame_count and video.frame_rate:
        tolerance = 3 / video.frame_rate
    return timeline.last * video.time_base - source.start_s < video.duration_s - tolerance


def _index_goes_on(stream: av.VideoStream, size_bytes: int) -> bool:
    """Whether the container's index names packets beyond the end of the file."""
    entries = stream.index_entries
    last = (entries[at] for at in range(max(0, len(entries) - _MAX_REORDER), len(entries)))
    return any(entry.pos + entry.size > size_bytes for entry in last)


def _ends_within_segment(source: Source) -> bool:
    """Matroska (RFC 9559) says in front how many bytes follow; a live one says that it does not know."""
    if source.container != "matroska,webm" or not source.path.is_file():
        return False
    with source.path.open("rb") as file:
        announced = segment_end(file.read(HEAD_BYTES))
    return announced is not None and announced > source.size_bytes


def _ends_within_packet(source: Source) -> bool:
    """MPEG-TS announces no end, but consists of packets of one size."""
    return source.container == "mpegts" and all(source.size_bytes % size for size in _TS_PACKET_SIZES)

"""The decoding stage: a file's video stream as frames, in presentation order, each with its own timestamp."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from typing import Literal, cast

import av

from vidscale.config import TimeRange
from vidscale.errors import DecodeError
from vidscale.media.frames import Frame
from vidscale.media.pictures import Picture, to_frames
from vidscale.media.probe import Source, open_container
from vidscale.stages.ending import Ending, find_ending
from vidscale.stages.packets import MAX_REORDER, Decoder, decode_the_end, read_packets
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

_REFERENCES_S = 10  # before a picture: in them lies a keyframe that is whole, even where the last one is damaged


def decode_frames(
    source: Source,
    *,
    log: ReadLog,
    clock: Clock,
    time_range: TimeRange | None = None,
    interlaced: Literal["refuse", "ignore", "bwdif"] = "ignore",
    inspect: Callable[["av.Packet[av.VideoStream]"], None] | None = None,
    filters: Sequence[tuple[str, str]] = (),
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

    Raises:
        DecodeError: interlaced pictures when they are refused, a size or pixel format that changes, timestamps that
            do not rise, or nothing to decode at all.
    """
    start, end = _bounds(source, time_range)
    with open_before(source, start) as container:
        stream = cast("av.VideoStream", container.streams[source.stream_index])
        stream.thread_type = "AUTO"
        timeline, decoder = _Timeline(source, log), Decoder(stream, log, timed=container.format.name != "avi")
        found = Ending(cut_off=False, until=None)

        def ending(picture: Picture, pts: int) -> int | None:
            nonlocal found
            last = pts, pts + picture.frame.duration
            of_packets = decoder.end if picture.frame.pts == pts else 0
            came = decoder.pictures + decoder.hidden
            found = find_ending(source, container, last=last, of_packets=of_packets, pictures=came)
            return found.until

        pictures = _decoded(source, container, decoder, start, log, clock, inspect)
        selected = _selected(pictures, source, timeline, start, end, interlaced, ending)
        for frame in to_frames(selected, source, interlaced, clock, filters):
            log.frames += 1
            log.concealed += frame.corrupt
            yield frame
        if log.frames == 0:
            where = " in that range" if time_range else ""
            raise DecodeError(f"{source.path} holds no decodable frame{where}")
        log.origin_s = (timeline.origin or 0) * source.video.time_base
        if time_range is None and found.cut_off and timeline.last is not None:
            log.truncated_at_s = timeline.last * source.video.time_base
            log.unreadable = max(log.unreadable, (source.video.frame_count or 0) - log.frames)


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
        for packet in islice(container.demux(stream), MAX_REORDER):
            if packet.is_keyframe and packet.pts is not None and packet.pts <= target:
                container.seek(target, stream=stream, backward=True)
                return container
    container.close()
    return open_container(source.path)


def _decoded(
    source: Source,
    container: av.container.InputContainer,
    decoder: Decoder,
    start: Fraction | None,
    log: ReadLog,
    clock: Clock,
    inspect: Callable[["av.Packet[av.VideoStream]"], None] | None,
) -> Iterator[Picture]:
    """Decoded pictures in presentation order."""
    avi = _AviTimestamps() if container.format.name == "avi" else None
    stream = cast("av.VideoStream", container.streams[source.stream_index])

    def picture(frame: av.VideoFrame, size: int | None) -> Picture:
        return Picture(frame, avi.next(frame) if avi else frame.pts, size)

    packets = read_packets(container, stream, log)
    while True:
        with clock.measure(frames=0):
            packet = next(packets, None)
            if packet is None:
                break
            if packet.size:
                if avi and packet.dts is not None:
                    avi.waiting.append(packet.dts)
                if inspect is not None and packet.is_keyframe:
                    inspect(packet)
            decoded = decoder.decode(packet)
        for frame, size in decoded:
            yield picture(frame, size)
    if decoder.lacks_the_end:
        if decoder.last_pts is not None:
            start = decoder.last_pts * source.video.time_base - _REFERENCES_S
        with open_before(source, start) as again:
            for frame, size in decode_the_end(again, cast("av.VideoStream", again.streams[stream.index]), decoder, log):
                yield picture(frame, size)
    log.unreadable += decoder.unreported


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


def _selected(
    pictures: Iterator[Picture],
    source: Source,
    timeline: "_Timeline",
    start: Fraction | None,
    end: Fraction | None,
    interlaced: str,
    ending: Callable[[Picture, int], int | None],
) -> Iterator[tuple[Picture, int]]:
    """The pictures of the range, each with its timestamp in the output and the time until the next one, which the last
    has from ``ending``: given it and its timestamp, when it stops being shown."""
    unit = source.video.time_base
    held: tuple[Picture, int] | None = None
    until: int | None = None
    for picture in pictures:
        _check_picture(picture.frame, source, interlaced)
        pts = timeline.place(picture)
        if pts is None or (start is not None and pts * unit < start):
            continue
        if end is not None and pts * unit >= end:
            until = pts
            break
        if held is not None:
            yield _shown(*held, pts, timeline)
        elif timeline.origin is None and (start is not None or pts < 0):
            timeline.origin = pts
        held = picture, pts
    else:
        until = ending(*held) if held else None
    if held is not None:
        if end is not None and until is not None:
            until = min(until, round(end / unit))
        yield _shown(*held, until, timeline)


def _shown(picture: Picture, pts: int, until: int | None, timeline: "_Timeline") -> tuple[Picture, int]:
    duration = None if until is None else max(1, until - pts)
    return replace(picture, duration=duration), pts - (timeline.origin or 0)


def _check_picture(frame: av.VideoFrame, source: Source, interlaced: str) -> None:
    video = source.video
    if (frame.width, frame.height, frame.format.name) != (video.width, video.height, source.pix_fmt):
        raise DecodeError(
            f"the picture changes at {_time_text(frame)} from {video.width}x{video.height} {source.pix_fmt} "
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

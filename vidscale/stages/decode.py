"""The decoding stage: a file's video stream as frames, in presentation order, each with its own timestamp."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

import av

from vidscale.config import TimeRange
from vidscale.errors import DecodeError
from vidscale.media.alpha import Alpha, BlockAlpha
from vidscale.media.frames import Frame
from vidscale.media.packets import VideoPackets, video_packets
from vidscale.media.pictures import Picture, to_frames
from vidscale.media.probe import Source
from vidscale.media.side_data import carried, changed
from vidscale.stages.decoder import Decoder, decode_the_end, read_packets
from vidscale.stages.ending import Ending, find_ending
from vidscale.stages.read_log import ReadLog
from vidscale.stages.timeline import Timeline
from vidscale.stages.updates import KeyframeUpdates
from vidscale.system.threads import Clock

Inspect = Callable[["av.Packet[av.VideoStream]"], bytes]

_REFERENCES_S = 10  # before a picture: enough to include an intact keyframe even when the last one is damaged


def decode_frames(
    source: Source,
    *,
    log: ReadLog,
    clock: Clock,
    time_range: TimeRange | None = None,
    interlaced: Literal["refuse", "ignore", "bwdif"] = "ignore",
    inspect: Inspect | None = None,
    filters: Sequence[tuple[str, str]] = (),
    alpha: Alpha = "refuse",
    origin_s: Fraction | None = None,
) -> Iterator[Frame]:
    """Frames of the source's video stream, in the pixel format of ``source.video``.

    Timestamps are the source's own; with a range they start at the first frame of the range, and when the source starts
    before 0, at its first frame. Packets that do not decode are counted in ``log`` and skipped.

    Args:
        source: result of `probe`.
        log: filled in while decoding.
        clock: counts pictures and time.
        time_range: part to read, None for all.
        interlaced: how to handle pictures that are flagged interlaced.
        inspect: called with every keyframe packet before it is decoded, returns the update of the upscaler from there
            on; its exceptions propagate.
        filters: names and arguments of ffmpeg filters that keep number and pixel format of the pictures.
        alpha: "refuse" accepts opaque pictures only, "drop" any, without their alpha.
        origin_s: source time that becomes the output's zero; None for the one above.

    Raises:
        DecodeError: interlaced or transparent pictures when they are refused, a change of size or pixel format,
            timestamps that do not increase, or no decodable picture.
    """
    start, end = _bounds(source, time_range)
    with video_packets(source, start) as packets:
        packets.stream.thread_type = "AUTO"
        timeline = Timeline(source, packets, log)
        timeline.origin = None if origin_s is None else round(origin_s / source.video.time_base)
        decoder = Decoder(packets.stream, log, timed=source.container != "avi")
        found = Ending(cut_off=False, until=None)

        def ending(picture: Picture, pts: int) -> int | None:
            nonlocal found
            found = find_ending(source, packets, decoder, last=picture.frame, at=pts)
            return found.until

        block_alpha = BlockAlpha.of(packets.stream) if alpha == "refuse" else None
        pictures = _decoded(source, packets, decoder, start, log, clock, inspect, block_alpha)
        selected = _selected(pictures, source, timeline, start, end, interlaced, ending)
        for frame in to_frames(_logged(selected, source, log), source, interlaced, clock, filters, alpha):
            log.frames += 1
            log.concealed += frame.corrupt
            yield frame
        if log.frames == 0:
            where = " in that range" if time_range else ""
            raise DecodeError(f"{source.path} holds no decodable frame{where}")
        log.joints, log.late_streams = packets.joints, packets.skipped > 0
        log.origin_s = (timeline.origin or 0) * source.video.time_base
        if found.cut_off and timeline.last is not None and (time_range is None or time_range.end is None):
            log.truncated_at_s = timeline.last * source.video.time_base
            if time_range is None:
                log.unreadable = max(log.unreadable, (source.video.frame_count or 0) - log.frames)


def _bounds(source: Source, time_range: TimeRange | None) -> tuple[Fraction | None, Fraction | None]:
    if time_range is None:
        return None, None
    end = None if time_range.end is None else source.start_s + time_range.end
    return source.start_s + time_range.start, end


def _decoded(
    source: Source,
    packets: VideoPackets,
    decoder: Decoder,
    start: Fraction | None,
    log: ReadLog,
    clock: Clock,
    inspect: Inspect | None,
    block_alpha: BlockAlpha | None,
) -> Iterator[Picture]:
    """Decoded pictures in presentation order."""
    reading, updates = read_packets(packets, log), KeyframeUpdates()
    while True:
        with clock.measure(frames=0):
            packet = next(reading, None)
            if packet is None:
                break
            if packet.size and inspect is not None and packet.is_keyframe:
                updates.open(packet.pts, inspect(packet))
            if packet.size and block_alpha is not None:
                block_alpha.feed(packet)
            decoded = decoder.decode(packet)
        for frame, size in decoded:
            is_opaque = block_alpha is None or block_alpha.is_opaque(frame)
            yield Picture(frame, size, is_opaque=is_opaque, update=updates.at(frame))
    if decoder.lacks_the_end:
        if decoder.last_pts is not None:
            start = decoder.last_pts * packets.time_base - _REFERENCES_S
        with video_packets(source, start) as again:
            for frame, size in decode_the_end(again, decoder, log):
                yield Picture(frame, size, update=updates.at(frame))
    log.unreadable += decoder.unreported


def _selected(
    pictures: Iterator[Picture],
    source: Source,
    timeline: Timeline,
    start: Fraction | None,
    end: Fraction | None,
    interlaced: str,
    ending: Callable[[Picture, int], int | None],
) -> Iterator[tuple[Picture, int]]:
    """The pictures of the range, each with its timestamp in the output and the time until the next one.

    Args:
        pictures: in presentation order.
        source, timeline: their file, and the timestamps to assign.
        start, end: of the range, seconds; None for all.
        interlaced: how to handle pictures that are flagged interlaced.
        ending: end time of the last picture, given the picture and its timestamp.
    """
    unit = source.video.time_base
    held: tuple[Picture, int] | None = None
    until: int | None = None
    for picture, pts in timeline.placed(_checked(pictures, source, interlaced)):
        if start is not None and pts * unit < start:
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


def _shown(picture: Picture, pts: int, until: int | None, timeline: Timeline) -> tuple[Picture, int]:
    duration = None if until is None else max(1, until - pts)
    return replace(picture, duration=duration), pts - (timeline.origin or 0)


def _logged(pictures: Iterator[tuple[Picture, int]], source: Source, log: ReadLog) -> Iterator[tuple[Picture, int]]:
    """The pictures, with their side data logged: captions and other side data may begin anywhere in a video."""
    for picture, pts in pictures:
        for words in (*carried(picture.frame), *changed(picture.frame, source.video)):
            at = pts if picture.frame.pts is None else picture.frame.pts
            log.side_data.setdefault(words, at * source.video.time_base)
        yield picture, pts


def _checked(pictures: Iterator[Picture], source: Source, interlaced: str) -> Iterator[Picture]:
    for picture in pictures:
        _check_picture(picture.frame, source, interlaced)
        yield picture


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
            "--interlaced ignore encodes it as progressive, for sources that are flagged by mistake"
        )


def _time_text(frame: av.VideoFrame) -> str:
    return "an unknown time" if frame.time is None else f"{frame.time:.3f} s"

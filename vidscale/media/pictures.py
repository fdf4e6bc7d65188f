"""Conversion of PyAV's decoded pictures to frames."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import av

from vidscale.errors import ConfigError, DecodeError
from vidscale.media.alpha import ALPHA_REMEDY, Alpha
from vidscale.media.filters import link, pulled
from vidscale.media.frames import Frame, Plane, VideoInfo
from vidscale.media.pixel_formats import Reading, are_opaque, planes_of, reading_of
from vidscale.media.plane_conversion import interpolated, requantized, yuv_of_gbr
from vidscale.media.probe import Source
from vidscale.media.side_data import captions
from vidscale.system.threads import Clock

_PICT_TYPES = {1: "I", 2: "P", 3: "B", 4: "S", 5: "I", 6: "P", 7: "B"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture with properties that the decoder does not provide.

    Attributes:
        frame: as PyAV decoded it.
        coded_bytes: size of its packet, None when unknown.
        duration: display duration in units of the source's time base, None when unknown.
        is_opaque: False when alpha stored separately in the container makes it transparent.
        update: see `vidscale.media.frames.Frame`.
    """

    frame: av.VideoFrame
    coded_bytes: int | None
    duration: int | None = None
    is_opaque: bool = True
    update: bytes = b""


def to_frames(
    pictures: Iterator[tuple[Picture, int]],
    source: Source,
    interlaced: str,
    clock: Clock,
    more_filters: Sequence[tuple[str, str]] = (),
    alpha: Alpha = "refuse",
) -> Iterator[Frame]:
    """Converts decoded pictures to frames, one to one. Planar YUV becomes views of the decoder's memory; other formats,
    deinterlacing and cropping go through a filter graph first; formats that no encoder supports are converted here.

    Args:
        pictures: each with its timestamp in the output, in units of the source's time base.
        source: the source of the pictures.
        interlaced: "bwdif" deinterlaces pictures that are flagged interlaced.
        clock: counts pictures and time.
        more_filters: name and arguments of further filters, which keep number and pixel format of the pictures.
        alpha: "refuse" accepts opaque pictures only, "drop" any.

    Raises:
        DecodeError: a transparent picture with alpha "refuse".
    """
    filters = _filters(source, interlaced, more_filters)
    if not filters:
        for picture, pts in pictures:
            with clock.measure():
                frame = _frame(picture, picture.frame, pts, source, alpha)
            yield frame
        return
    graph, waiting = _graph(source, filters), deque[tuple[Picture, int]]()
    for entry in chain(pictures, [None]):
        with clock.measure(frames=0 if entry is None else 1):
            if entry is not None:
                waiting.append(entry)
            graph.push(None if entry is None else _untagged(entry[0].frame))
            ready = list(pulled(graph))
        for filtered in ready:
            picture, pts = waiting.popleft()  # every filter here outputs one picture per input
            yield _frame(picture, filtered, pts, source, alpha)


def _untagged(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame without range and matrix: the repacking filter would convert them otherwise."""
    frame.color_range, frame.colorspace = 0, 2
    return frame


def _frame(picture: Picture, pixels: av.VideoFrame, pts: int, source: Source, alpha: Alpha) -> Frame:
    reading = reading_of(source.pix_fmt)
    planes = planes_of(pixels, reading)
    if alpha == "refuse" and not (picture.is_opaque and are_opaque(planes, reading)):
        time = "an unknown time" if picture.frame.time is None else f"{picture.frame.time:.3f} s"
        raise DecodeError(f"{source.path} is transparent at {time}, {ALPHA_REMEDY}")
    return Frame(
        planes=_converted(planes[: len(planes) - reading.has_alpha], reading, source.video),
        format=source.video.format,
        color=source.video.color,
        pts=pts,
        time_base=source.video.time_base,
        pict_type=_PICT_TYPES.get(int(picture.frame.pict_type), ""),
        key_frame=bool(picture.frame.key_frame),
        corrupt=bool(picture.frame.is_corrupt),
        coded_bytes=picture.coded_bytes,
        duration=picture.duration,
        captions=captions(picture.frame),
        update=picture.update,
    )


def _converted(planes: tuple[Plane, ...], reading: Reading, video: VideoInfo) -> tuple[Plane, ...]:
    """Planes in the video's format."""
    depth = reading.format.bit_depth
    if reading.is_rgb:
        return yuv_of_gbr(planes, depth, video.format, video.color.matrix)
    if axes := reading.doubled_axes:
        luma, *chroma = planes
        shape = reading.format.plane_shapes(*luma.shape)[-1]
        planes = luma, *(interpolated(plane, axes, shape, video.color.siting, depth) for plane in chroma)
    return requantized(planes, depth, video.format, video.color)


def _filters(source: Source, interlaced: str, more_filters: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    reading = reading_of(source.pix_fmt)
    planar = ("format", reading.planar)
    filters = list(more_filters)
    if (part := source.window) is not None:
        filters.insert(0, ("crop", f"w={part.width}:h={part.height}:x={part.left}:y={part.top}:exact=1"))
    if interlaced == "bwdif":
        filters.insert(0, ("bwdif", "mode=send_frame:deint=interlaced"))
    if filters:  # without it, filters may negotiate another format, and change yuvj's range with it
        filters.append(planar)
    return [planar, *filters] if reading.is_packed else filters


def _graph(source: Source, filters: list[tuple[str, str]]) -> av.filter.Graph:
    width, height = source.decoded_size
    graph = av.filter.Graph()
    steps = [
        graph.add_buffer(
            width=width,
            height=height,
            format=av.VideoFormat(source.pix_fmt),
            time_base=source.video.time_base,
        )
    ]
    steps += [graph.add(name, arguments) for name, arguments in filters]
    try:
        link(graph, *steps)
    except av.FFmpegError as error:
        raise ConfigError(f"pixel format {source.pix_fmt} cannot be read: ffmpeg does not repack it") from error
    return graph

"""Pictures as PyAV decodes them, made into frames."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, cast

import av
import numpy as np

from vidscale.errors import ConfigError
from vidscale.media.frames import Frame, PixelFormat, Plane, VideoInfo
from vidscale.media.probe import Source
from vidscale.media.side_data import captions
from vidscale.system.threads import Clock

# Parts of red and blue in luma, by matrix.
_LUMA_WEIGHTS: dict[str | None, tuple[float, float]] = {"bt709": (0.2126, 0.0722), "bt2020nc": (0.2627, 0.0593)}
_PICT_TYPES = {1: "I", 2: "P", 3: "B", 4: "S", 5: "I", 6: "P", 7: "B"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture with what the decoder does not tell by itself.

    Attributes:
        frame: as PyAV decoded it.
        coded_bytes: size of its packet, None when unknown.
        duration: how long it is shown, in units of the stream's time base, None when unknown.
    """

    frame: av.VideoFrame
    coded_bytes: int | None
    duration: int | None = None


def to_frames(
    pictures: Iterator[tuple[Picture, int]],
    source: Source,
    interlaced: str,
    clock: Clock,
    more_filters: Sequence[tuple[str, str]] = (),
) -> Iterator[Frame]:
    """Frames of decoded pictures, one for one: planar YUV as views on the decoder's memory, anything else, and what is
    to be deinterlaced, through a filter graph first; RGB is converted here.

    Args:
        pictures: each with its timestamp in the output, in units of the source's time base.
        source: what the pictures come from.
        interlaced: "bwdif" deinterlaces pictures that are flagged interlaced.
        clock: counts the pictures and the time.
        more_filters: name and arguments of filters to follow, one picture for one, of the same pixel format.
    """
    filters = _filters(source, interlaced)
    if more_filters:  # scale would take the chance to change the format, and yuvj's range with it
        filters += [*more_filters, ("format", dict(filters).get("format", source.pix_fmt))]
    if not filters:
        for picture, pts in pictures:
            with clock.measure():
                frame = _frame(picture, picture.frame, pts, source)
            yield frame
        return
    graph, waiting = _graph(source, filters), deque[tuple[Picture, int]]()
    for entry in chain(pictures, [None]):
        with clock.measure(frames=0 if entry is None else 1):
            if entry is not None:
                waiting.append(entry)
            graph.push(None if entry is None else entry[0].frame)
            ready = list(_pull(graph))
        for filtered in ready:
            picture, pts = waiting.popleft()  # every filter here gives one picture for one
            yield _frame(picture, filtered, pts, source)


def _frame(picture: Picture, pixels: av.VideoFrame, pts: int, source: Source) -> Frame:
    planes = _planes(pixels, source.video.format)
    return Frame(
        planes=_yuv_of_gbr(planes, source.video) if source.is_rgb else planes,
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
    )


def _filters(source: Source, interlaced: str) -> list[tuple[str, str]]:
    filters = []
    if interlaced == "bwdif":
        filters.append(("bwdif", "mode=send_frame:deint=interlaced"))
    planar = source.video.format.name.replace("yuv444p", "gbrp") if source.is_rgb else source.video.format.name
    if source.pix_fmt.replace("yuvj", "yuv") != planar:
        filters.append(("format", planar))  # repacks
    return filters


def _graph(source: Source, filters: list[tuple[str, str]]) -> av.filter.Graph:
    video = source.video
    graph = av.filter.Graph()
    steps = [
        graph.add_buffer(
            width=video.width,
            height=video.height,
            format=av.VideoFormat(source.pix_fmt),
            time_base=video.time_base,
        )
    ]
    steps += [graph.add(name, arguments) for name, arguments in filters]
    steps.append(graph.add("buffersink"))
    for before, after in pairwise(steps):
        before.link_to(after)
    graph.configure()
    return graph


def _pull(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield cast("av.VideoFrame", graph.pull())
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _planes(frame: av.VideoFrame, pixel_format: PixelFormat) -> tuple[Plane, ...]:
    """Views on the picture's own memory, [H, W] with padded rows."""
    dtype: np.dtype[Any] = np.dtype(pixel_format.dtype)
    planes = []
    for plane, (height, width) in zip(frame.planes, pixel_format.plane_shapes(frame.height, frame.width), strict=True):
        if plane.line_size < 0:
            raise ConfigError("pictures stored bottom up are not supported; convert the source first")
        rows = np.frombuffer(cast("Any", plane), dtype=dtype).reshape(-1, plane.line_size // dtype.itemsize)
        planes.append(rows[:height, :width])
    return tuple(planes)


def _yuv_of_gbr(planes: tuple[Plane, ...], video: VideoInfo) -> tuple[Plane, ...]:
    """Limited-range Y, U, V of full-range G, B, R (ITU-R BT.709, BT.2020: quantization), rounded half up.

    Not by swscale, which takes 10 and 12 bit for 8 bit with zeros behind: white comes out 3 and 11 codes too bright.
    """
    kr, kb = _LUMA_WEIGHTS[video.color.matrix]
    luma = np.array([1 - kr - kb, kb, kr])
    blue, red = np.eye(3)[1:]
    matrix = np.stack([219 * luma, 112 * (blue - luma) / (1 - kb), 112 * (red - luma) / (1 - kr)])
    unit = 1 << (video.format.bit_depth - 8)
    matrix *= unit / video.format.peak
    offset = np.array([[16], [128], [128]]) * unit + 0.5
    gbr = np.stack([plane.ravel() for plane in planes]).astype(np.float32)
    codes = matrix.astype(np.float32) @ gbr + offset.astype(np.float32)
    return tuple(codes.astype(video.format.dtype).reshape(3, *planes[0].shape))

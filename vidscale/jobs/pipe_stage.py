"""One stage between two pipes: raw video in, scaled raw video out, as part of an external pipeline."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import IO, Literal, get_args

from vidscale.config import StageSettings
from vidscale.errors import ConfigError, UsageError
from vidscale.media.frames import Frame, VideoInfo
from vidscale.media.geometry import Geometry
from vidscale.media.nut import NutWriter, read_nut
from vidscale.media.rawpipe import sniff
from vidscale.media.y4m import Y4mWriter, read_y4m
from vidscale.models.pair import Pair
from vidscale.models.pairs import find_pair, scale_named
from vidscale.stages.downscale import downscale
from vidscale.stages.upscale import upscale
from vidscale.system.threads import Clock, Prefetch, queue_depth

logger = logging.getLogger(__name__)

Direction = Literal["down", "up"]
RawFormat = Literal["y4m", "nut"]
_SCALE = Fraction(2)  # of families that support several
_SMALLEST, _MOST_PADDING = 64, 8  # samples of a side: encoders repeat the edge up to what they accept
_LIKELY_MAX_FPS = 300  # a higher rate in a y4m header is the time base of a variable frame rate source


def run_stage(direction: Direction, source: IO[bytes], sink: IO[bytes], settings: StageSettings) -> int:
    """Scales a raw video until it ends.

    Args:
        direction: "down" to the small size, "up" back.
        source: y4m or NUT, a buffered reader or seekable.
        sink: the output, in the same format or the one in the settings.
        settings: resolved settings.

    Returns:
        Number of frames.

    Raises:
        UsageError: no such direction.
        DecodeError: the input is not raw video, or ends within a frame.
        BrokenPipeError: the reader has closed the pipe.
    """
    if direction not in get_args(Direction):
        raise UsageError(f"direction {direction!r} is neither 'down' nor 'up'")
    incoming = sniff(source)
    info, frames = read_y4m(source) if incoming == "y4m" else read_nut(source)
    color = replace(
        info.color,
        color_range=settings.color_range or info.color.color_range,
        chroma_location=settings.chroma_location or info.color.chroma_location,
    )
    info = replace(info, color=color)
    frames = (replace(frame, color=color) for frame in frames)
    pair = find_pair(settings.pair, settings.scale or scale_named(settings.pair) or _SCALE, settings.device)
    written = settings.format or incoming
    _warn_about_variable_rate(info, incoming, written)
    with Prefetch(frames, queue_depth(info.frame_bytes)) as read:
        result, scaled = _scaled(direction, read, info, pair, settings)
        count = 0
        with Y4mWriter(sink, result) if written == "y4m" else NutWriter(sink, result) as writer:
            for frame in scaled:
                writer.write(frame)
                count += 1
        return count


def _scaled(
    direction: Direction, frames: Iterator[Frame], info: VideoInfo, pair: Pair, settings: StageSettings
) -> tuple[VideoInfo, Iterator[Frame]]:
    clock = Clock(direction)
    if direction == "down":
        geometry = _small_geometry(info, pair.scale)
        small = replace(info, height=geometry.coded_height, width=geometry.coded_width)
        return small, downscale(frames, pair=pair, geometry=geometry, strength=settings.strength, clock=clock)
    height, width = settings.size or (int(info.height * pair.scale), int(info.width * pair.scale))
    geometry = Geometry(width, height, pair.scale, coded_width=info.width, coded_height=info.height)
    if geometry.small_height > info.height or geometry.small_width > info.width:
        size = f"{info.width}x{info.height}"
        raise ConfigError(f"{width}x{height} at scale {pair.scale} needs an input larger than {size}")
    sides = (info.height, geometry.small_height), (info.width, geometry.small_width)
    if any(read > max(needed + _MOST_PADDING, _SMALLEST) for read, needed in sides):
        needed_size = f"{geometry.small_width}x{geometry.small_height}"
        raise ConfigError(
            f"{width}x{height} at scale {pair.scale} needs an input of {needed_size}, not of {info.width}x{info.height}"
        )
    restored = replace(info, height=height, width=width)
    scaled = upscale(frames, pair=pair, geometry=geometry, strength=settings.strength, clock=clock)
    return restored, scaled


def _small_geometry(info: VideoInfo, scale: Fraction) -> Geometry:
    """The small size, rounded up to whole chroma samples, as encoders require."""
    sub_y, sub_x = info.format.subsampling
    height, width = ceil(info.height / scale), ceil(info.width / scale)
    return Geometry(
        width=info.width,
        height=info.height,
        scale=scale,
        coded_width=-(-width // sub_x) * sub_x,
        coded_height=-(-height // sub_y) * sub_y,
    )


def _warn_about_variable_rate(info: VideoInfo, incoming: RawFormat, written: RawFormat) -> None:
    if incoming == "y4m" and (info.frame_rate is None or info.frame_rate > _LIKELY_MAX_FPS):
        logger.warning("the y4m stream has an unusual frame rate; if it is variable, use NUT: y4m has no timestamps")
    if incoming == "nut" and written == "y4m":
        logger.warning("y4m has no timestamps: the output has a constant frame rate")

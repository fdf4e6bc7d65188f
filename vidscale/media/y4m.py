"""YUV4MPEG2 (y4m) streams: raw pictures after one line of text.

The format is yuv4mpeg(5) of mjpegtools with the extensions of ffmpeg, x264 and x265: bit depths above 8
(``C420p10``, ``Cmono12``; ffmpeg writes and reads them with ``-strict -1``) and ``XCOLORRANGE``. It has no
timestamps; the colour description is limited to the range, and the chroma location of 8-bit 4:2:0.
"""

import logging
import re
from collections.abc import Iterator
from fractions import Fraction
from io import RawIOBase
from types import TracebackType
from typing import IO, Self, cast

import numpy as np

from vidscale.errors import ConfigError, DecodeError
from vidscale.media.frames import ASSUMED_FRAME_RATE, Chroma, Color, Frame, PixelFormat, Siting, VideoInfo
from vidscale.media.rawpipe import (
    Y4M_MAGIC,
    check_frame,
    check_size,
    enlarge_pipe,
    open_unbuffered,
    split_planes,
    write_all,
    write_plane,
)

logger = logging.getLogger(__name__)

_FRAME_MAGIC = b"FRAME"
_LINE_MAX = 1024  # bytes; ffmpeg writes less than 100
_INTERLACED = {"t": "top field first", "b": "bottom field first", "m": "mixed"}
_RANGE = {"FULL": "pc", "LIMITED": "tv"}
_SITING_SUFFIX: dict[Siting, str] = {"center": "jpeg", "left": "mpeg2", "topleft": "paldv"}


def _layouts() -> dict[str, tuple[PixelFormat, Siting | None]]:
    """Value of the header's C field -> pixel format and chroma location."""
    tags: dict[str, tuple[PixelFormat, Siting | None]] = {"420": (PixelFormat("420", 8), "center")}
    for siting, suffix in _SITING_SUFFIX.items():
        tags[f"420{suffix}"] = (PixelFormat("420", 8), siting)
    chromas: tuple[Chroma, ...] = ("420", "422", "444")
    for chroma in chromas:
        tags.setdefault(chroma, (PixelFormat(chroma, 8), None))
        tags |= {f"{chroma}p{depth}": (PixelFormat(chroma, depth), None) for depth in (9, 10, 12, 14, 16)}
    tags["mono"] = (PixelFormat("gray", 8), None)
    # ffmpeg does not know mono14 and would read 8-bit pictures.
    tags |= {f"mono{depth}": (PixelFormat("gray", depth), None) for depth in (9, 10, 12, 16)}
    return tags


_LAYOUTS = _layouts()
_TAGS = {pixel_format: tag for tag, (pixel_format, _) in _LAYOUTS.items()}


def read_y4m(stream: IO[bytes]) -> tuple[VideoInfo, Iterator[Frame]]:
    """Reads the header of a y4m stream and yields its frames as they arrive.

    Each frame is read into its own buffer; its planes, [H, W] uint8 or uint16, are views of it.
    ``pts`` is the frame number, ``time_base`` the inverse of the frame rate (1/25 for ``F0:0`` in the header). A
    stream without frames yields none.

    Args:
        stream: pipe or file, buffered or not, at its start.

    Raises:
        DecodeError: not y4m, interlaced, an alpha plane, an unsupported layout or size; from the iterator, a truncated
            frame.
    """
    enlarge_pipe(stream)
    line = stream.readline(_LINE_MAX)
    if not line:
        raise DecodeError("the input is empty: y4m was expected")
    if line.split(b" ", 1)[0].rstrip(b"\n") != Y4M_MAGIC:
        raise DecodeError(f"the input is not y4m: it begins with {line[:16]!r}")
    if not line.endswith(b"\n"):
        reason = f"is longer than {_LINE_MAX} bytes" if len(line) == _LINE_MAX else "breaks off"
        raise DecodeError(f"the header of the y4m stream {reason}, after {line[-16:]!r}")
    info = _parse_header(line.decode("latin-1"))
    return info, _frames(stream, info)


def _parse_header(line: str) -> VideoInfo:
    fields = {token[0]: token[1:] for token in line.split()[1:] if token[0] != "X"}
    extensions = dict(token[1:].split("=", 1) for token in line.split()[1:] if token[0] == "X" and "=" in token)
    width, height = _side(fields, "W"), _side(fields, "H")
    check_size(width, height)
    if fields.get("I", "?") not in ("p", "?"):
        order = _INTERLACED.get(fields["I"], "unknown")
        raise DecodeError(f"the y4m stream is interlaced (I{fields['I']}: {order}): deinterlace first, e.g. with bwdif")
    # Before C was defined, the layout was in an extension; without either it is 4:2:0.
    tag = fields.get("C") or extensions.get("YSCSS", "").lower() or "420jpeg"
    if tag not in _LAYOUTS:
        raise DecodeError(f"the y4m stream has the unsupported layout C{tag}; supported are {', '.join(_LAYOUTS)}")
    pixel_format, siting = _LAYOUTS[tag]
    frame_rate = _ratio(fields, "F")
    return VideoInfo(
        width=width,
        height=height,
        format=pixel_format,
        color=Color(color_range=_RANGE.get(extensions.get("COLORRANGE", "")), chroma_location=siting),
        time_base=1 / (frame_rate or ASSUMED_FRAME_RATE),
        frame_rate=frame_rate,
        sar=_ratio(fields, "A") or Fraction(1),
    )


def _side(fields: dict[str, str], letter: str) -> int:
    text = fields.get(letter, "")
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise DecodeError(f"the y4m header has {letter}{text!r} where a size was expected")
    return int(text)


def _ratio(fields: dict[str, str], letter: str) -> Fraction | None:
    """Value of F or A; None when absent, or when either number is zero, which means unknown."""
    text = fields.get(letter, "0:0")
    if not re.fullmatch(r"[0-9]{1,10}:[0-9]{1,10}", text):
        raise DecodeError(f"the y4m header has {letter}{text!r} where a ratio was expected")
    numerator, denominator = map(int, text.split(":"))
    return Fraction(numerator, denominator) if numerator and denominator else None


def _frames(stream: IO[bytes], info: VideoInfo) -> Iterator[Frame]:
    size = info.frame_bytes
    index = 0
    while line := stream.readline(_LINE_MAX):
        _check_frame_line(line, index)
        data = np.empty(size, dtype=np.uint8)
        missing = size - _read_into(stream, data.data)
        if missing:
            raise DecodeError(f"the y4m stream ends within frame {index}: {missing} of its {size} bytes are missing")
        planes = split_planes(data, info.format, info.height, info.width)
        yield Frame(planes, info.format, pts=index, time_base=info.time_base, color=info.color)
        index += 1


def _check_frame_line(line: bytes, index: int) -> None:
    """Parameters after FRAME (field order, extensions) are allowed and ignored."""
    if line == b"FRAME\n":
        return
    if not line.endswith(b"\n") and len(line) < _LINE_MAX and (line[:6] == b"FRAME " or _FRAME_MAGIC.startswith(line)):
        missing = max(len(_FRAME_MAGIC) + 1 - len(line), 1)
        raise DecodeError(
            f"the y4m stream ends within the header of frame {index}: at least {missing} of its bytes are missing"
        )
    if not (line[:6] == b"FRAME " and line.endswith(b"\n")):
        raise DecodeError(f"the y4m stream is damaged: frame {index} begins with {line[:16]!r} in place of b'FRAME'")


def _read_into(stream: IO[bytes], buffer: memoryview) -> int:
    """Fills the buffer and returns the bytes read; fewer only at the end of the stream. Pipes deliver in parts."""
    readinto = cast("RawIOBase", stream).readinto
    filled = 0
    while filled < len(buffer):
        count = readinto(buffer[filled:])
        if not count:
            break
        filled += count
    return filled


class Y4mWriter:
    """Writes frames as a y4m stream; the header is written immediately.

    Timestamps are lost: the reader counts frames at ``info.frame_rate`` (``F0:0``, unknown, when that is None).
    A chroma location without a y4m tag is written as ffmpeg writes it, with a warning in the log; an unspecified one
    is written as `Color.siting`.

    Args:
        stream: pipe or file, never closed. It is flushed once, and its descriptor, if it has one, written to directly.
        info: size, format, frame rate, SAR, range and chroma location of the stream.

    Raises:
        ConfigError: y4m has no tag for the format.
        BrokenPipeError: the reader has closed the pipe; also from `write` and `close`.
    """

    def __init__(self, stream: IO[bytes], info: VideoInfo) -> None:
        header = _header(info).encode("ascii")
        enlarge_pipe(stream)
        self._stream = open_unbuffered(stream)
        self._info = info
        write_all(self._stream, memoryview(header))

    def write(self, frame: Frame) -> None:
        """Appends one picture without a copy; returns when it is in the pipe.

        Raises:
            ValueError: the frame does not match the format and size in the header.
        """
        check_frame(frame, self._info)
        write_all(self._stream, memoryview(b"FRAME\n"))
        for plane in frame.planes:
            write_plane(self._stream, plane)
        self._stream.flush()

    def close(self) -> None:
        """Flushes a stream without a descriptor; y4m has no trailer."""
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None:
            self.close()


def _header(info: VideoInfo) -> str:
    rate = "0:0" if info.frame_rate is None else f"{info.frame_rate.numerator}:{info.frame_rate.denominator}"
    sar = f"{info.sar.numerator}:{info.sar.denominator}"
    header = f"YUV4MPEG2 W{info.width} H{info.height} F{rate} Ip A{sar} C{_tag(info)}"
    names = {value: name for name, value in _RANGE.items()}
    if info.color.color_range in names:
        header += f" XCOLORRANGE={names[info.color.color_range]}"
    return header + "\n"


def _tag(info: VideoInfo) -> str:
    location = info.color.siting
    if info.format not in _TAGS:
        raise ConfigError(f"y4m cannot hold {info.format.name}: convert to 8, 10, 12 or 16 bits, or use NUT")
    if info.format != PixelFormat("420", 8):
        if info.format.chroma == "420" and location != "left":
            logger.warning("y4m cannot store the chroma location of %s (%s)", info.format.name, location)
        return _TAGS[info.format]
    if location not in _SITING_SUFFIX:
        logger.warning("y4m cannot store the chroma location %s: written as center", location)
    return f"420{_SITING_SUFFIX.get(location, 'jpeg')}"

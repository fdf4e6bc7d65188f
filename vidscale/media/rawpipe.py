"""Shared code of the two raw pipe formats, `vidscale.media.y4m` and `vidscale.media.nut`.

A raw picture is a sequence of planes, rows without padding, samples above 8 bits as little-endian uint16.
"""

import contextlib
import sys
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np
import numpy.typing as npt

from vidscale.errors import DecodeError
from vidscale.media.frames import Frame, PixelFormat, Plane, VideoInfo

Y4M_MAGIC = b"YUV4MPEG2"
NUT_MAGIC = b"nut/multimedia container\0"
MAX_SIDE = 16384
"""Longest supported side, in luma samples; a header with a larger size is treated as damaged."""

_PIPE_BYTES = 1 << 20


def sniff(stream: IO[bytes]) -> Literal["y4m", "nut"]:
    """The raw format of a stream; consumes nothing.

    Args:
        stream: a buffered reader at the start of the stream (``sys.stdin.buffer``, ``open(path, "rb")``), or a seekable
            stream (`io.BytesIO`). One byte, all that a pipe may have delivered, is enough to tell the two formats
            apart.

    Raises:
        DecodeError: the stream is empty, or has neither format's signature.
        ValueError: the stream can neither be peeked nor sought.
    """
    head = _head(stream)
    if not head:
        raise DecodeError("the input is empty: y4m or NUT was expected")
    if Y4M_MAGIC.startswith(head[: len(Y4M_MAGIC)]):
        return "y4m"
    if NUT_MAGIC.startswith(head):
        return "nut"
    raise DecodeError(f"the input is neither y4m nor NUT: it begins with {head[:16]!r}")


def _head(stream: IO[bytes]) -> bytes:
    if hasattr(stream, "peek"):
        return cast("_Peekable", stream).peek(len(NUT_MAGIC))[: len(NUT_MAGIC)]
    if not stream.seekable():
        raise ValueError(f"{stream!r} has no buffer: io.BufferedReader adds one")
    start = stream.tell()
    head = stream.read(len(NUT_MAGIC))
    stream.seek(start)
    return head


class _Peekable(BufferedIOBase):
    def peek(self, size: int = 0, /) -> bytes:
        raise NotImplementedError


def enlarge_pipe(pipe: IO[bytes] | int) -> None:
    """Enlarges a pipe's buffer from 64 KiB to 1 MiB: fewer context switches.

    Linux only, and only as far as the system allows; does nothing for other streams.
    """
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(pipe if isinstance(pipe, int) else pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def open_unbuffered(target: str | int | IO[bytes]) -> IO[bytes]:
    """An unbuffered stream for raw pictures: the data is in the pipe when ``write`` returns.

    No data is left in a buffer, so closing ``target`` does not fail again after the reader has closed the pipe.

    Args:
        target: path; or file descriptor or stream, which are not closed with the result. A stream without a descriptor
            is returned itself.
    """
    if isinstance(target, str):
        return Path(target).open("wb", buffering=0)
    if not isinstance(target, int):
        try:
            descriptor = target.fileno()
        except (OSError, AttributeError):
            return target
        target.flush()
        target = descriptor
    return open(target, "wb", buffering=0, closefd=False)


def check_size(width: int, height: int) -> None:
    """Rejects implausible picture sizes, as in damaged headers, before memory is allocated.

    Raises:
        DecodeError: a side is not within 1 to `MAX_SIDE`.
    """
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise DecodeError(f"picture size {width}x{height} is outside 1x1 to {MAX_SIDE}x{MAX_SIDE}")


def split_planes(data: npt.NDArray[np.uint8], pixel_format: PixelFormat, height: int, width: int) -> tuple[Plane, ...]:
    """Planes [h, w] of one raw picture, as views of ``data``.

    Args:
        data: uint8 [`PixelFormat.frame_bytes`].
        pixel_format: layout of the picture.
        height, width: luma size.
    """
    samples = data.view(pixel_format.dtype)
    planes: list[Plane] = []
    start = 0
    for h, w in pixel_format.plane_shapes(height, width):
        planes.append(samples[start : start + h * w].reshape(h, w))
        start += h * w
    return tuple(planes)


def check_frame(frame: Frame, info: VideoInfo) -> None:
    """Rejects a frame that does not match the header of a raw stream.

    Raises:
        ValueError: format, size or a plane's dtype differ.
    """
    expected = info.format.plane_shapes(info.height, info.width)
    shapes = tuple(plane.shape for plane in frame.planes)
    dtypes = {plane.dtype for plane in frame.planes}
    if frame.format != info.format or shapes != expected or dtypes != {np.dtype(info.format.dtype)}:
        raise ValueError(f"{frame.format = }, {shapes = }, {dtypes = } in a stream of {info.format = }, {expected = }")


def write_plane(stream: IO[bytes], plane: Plane) -> None:
    """Writes a plane's samples; without a copy when its rows are not padded."""
    write_all(stream, np.ascontiguousarray(plane).data.cast("B"))


def write_all(stream: IO[bytes], data: memoryview) -> None:
    """Writes all bytes, also to an unbuffered stream, which may accept only part of them at a time."""
    while data:
        data = data[stream.write(data) or 0 :]

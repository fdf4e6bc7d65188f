"""What the two raw formats of a pipe, `vidscale.media.y4m` and `vidscale.media.nut`, have in common.

A raw picture is its planes one after the other, rows without padding, samples above 8 bits as little-endian uint16.
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
"""Longest side that is read, in luma samples; a header that asks for more is taken for damage."""

_PIPE_BYTES = 1 << 20


def sniff(stream: IO[bytes]) -> Literal["y4m", "nut"]:
    """Which raw format a stream holds; takes nothing from it.

    Args:
        stream: a buffered reader at the start of the stream (``sys.stdin.buffer``, ``open(path, "rb")``): it needs
            ``peek``. A pipe may have delivered one byte only, and one byte tells the two formats apart.

    Raises:
        DecodeError: the stream is empty, or begins like neither format.
    """
    head = cast("_Peekable", stream).peek(len(NUT_MAGIC))[: len(NUT_MAGIC)]
    if not head:
        raise DecodeError("the input is empty: y4m or NUT was expected")
    if Y4M_MAGIC.startswith(head[: len(Y4M_MAGIC)]):
        return "y4m"
    if NUT_MAGIC.startswith(head):
        return "nut"
    raise DecodeError(f"the input is neither y4m nor NUT: it begins with {head[:16]!r}")


class _Peekable(BufferedIOBase):
    def peek(self, size: int = 0, /) -> bytes:
        raise NotImplementedError


def enlarge_pipe(pipe: IO[bytes] | int) -> None:
    """Gives a pipe a buffer of 1 MiB in place of 64 KiB: fewer switches between the two processes.

    Linux only and only as far as the system allows; what is not a pipe stays as it is.
    """
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(pipe if isinstance(pipe, int) else pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def open_unbuffered(target: str | int | IO[bytes]) -> IO[bytes]:
    """A stream to write raw pictures to: what goes into it is in the pipe when ``write`` returns.

    Nothing stays behind in a buffer, so that closing ``target`` does not fail a second time once the reader is gone.

    Args:
        target: path; or file descriptor or stream, which are not closed with the result. A stream without a descriptor
            is the result itself.
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
    """Refuses a picture size that only a damaged header can mean, before memory is taken for it.

    Raises:
        DecodeError: a side is not within 1 to `MAX_SIDE`.
    """
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise DecodeError(f"picture size {width}x{height} is outside 1x1 to {MAX_SIDE}x{MAX_SIDE}")


def split_planes(data: npt.NDArray[np.uint8], pixel_format: PixelFormat, height: int, width: int) -> tuple[Plane, ...]:
    """Planes [h, w] of one raw picture, as views on ``data``.

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
    """Refuses a frame that is not what the header of a raw stream announced.

    Raises:
        ValueError: format, size or a plane's dtype differ.
    """
    expected = info.format.plane_shapes(info.height, info.width)
    shapes = tuple(plane.shape for plane in frame.planes)
    dtypes = {plane.dtype for plane in frame.planes}
    if frame.format != info.format or shapes != expected or dtypes != {np.dtype(info.format.dtype)}:
        raise ValueError(f"{frame.format = }, {shapes = }, {dtypes = } in a stream of {info.format = }, {expected = }")


def write_plane(stream: IO[bytes], plane: Plane) -> None:
    """Writes a plane's samples; where its rows are not padded, from where they lie."""
    write_all(stream, np.ascontiguousarray(plane).data.cast("B"))


def write_all(stream: IO[bytes], data: memoryview) -> None:
    """Writes all bytes, also to an unbuffered stream, which may take only a part at a time."""
    while data:
        data = data[stream.write(data) or 0 :]

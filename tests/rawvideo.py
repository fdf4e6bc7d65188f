"""Shared by tests of raw pipes: noise as frames, ffmpeg at the other end, a slow pipe."""

import io
import subprocess
from collections.abc import Iterable, Iterator

import numpy as np
from material import FFMPEG

from vidscale.media.frames import Frame, PixelFormat, VideoInfo

YUV420P = PixelFormat("420", 8)


def noise(info: VideoInfo, pts: Iterable[int] = (0, 1, 2)) -> Iterator[Frame]:
    """One frame per timestamp, using all codes of the format, always the same."""
    rng = np.random.default_rng(1)
    shapes = info.format.plane_shapes(info.height, info.width)
    for one in pts:
        planes = tuple(rng.integers(0, info.format.peak, s, info.format.dtype, endpoint=True) for s in shapes)
        yield Frame(planes, info.format, one, info.time_base)


def raw(frame: Frame) -> bytes:
    """The planes' samples, one plane after the other."""
    return b"".join(plane.tobytes() for plane in frame.planes)


def ffmpeg(*args: str, data: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """Runs ffmpeg; it must succeed."""
    return subprocess.run([FFMPEG, "-hide_banner", *args], input=data, capture_output=True, check=True)


class Dribble(io.RawIOBase):
    """A pipe that delivers 1 to 7 bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)
        self._step = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        self._step = self._step % 7 + 1
        return self._data.readinto(memoryview(buffer)[: self._step])

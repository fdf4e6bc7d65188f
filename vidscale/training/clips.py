"""Real clips as training material: short cropped segments, read on demand."""

from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from vidscale.config import TimeRange
from vidscale.errors import TrainingError, VidscaleError
from vidscale.media.frames import ASSUMED_FRAME_RATE, Frame, PixelFormat
from vidscale.media.probe import Source, probe
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

CODED_FORMAT = PixelFormat("420", 8)


class Clips:
    """The usable videos in a folder, searched recursively: 8-bit 4:2:0 with a known duration.

    Args:
        folder: folder of videos.
        grid: sides of segments are multiples of it; even.
        least: minimum (height, width) of the videos, multiples of `grid`.

    Raises:
        TrainingError: no usable video.
    """

    def __init__(self, folder: Path, grid: int, least: tuple[int, int]) -> None:
        self._grid = grid
        self._sources = [source for path in sorted(folder.rglob("*")) if (source := _usable(path, least))]
        if not self._sources:
            raise TrainingError(f"no 8-bit 4:2:0 videos of {least[1]}x{least[0]} or larger in {folder}")

    def __len__(self) -> int:
        return len(self._sources)

    def part(self, rng: np.random.Generator, frames: int, size: tuple[int, int]) -> list[Frame]:
        """A random segment of a random clip.

        Args:
            rng: source of randomness.
            frames: maximum number; fewer if the clip is shorter.
            size: maximum (height, width); smaller if the clip is.
        """
        source = self._sources[int(rng.integers(len(self._sources)))]
        video = source.video
        height, width = (
            min(want, there) // self._grid * self._grid
            for want, there in zip(size, (video.height, video.width), strict=True)
        )
        top, left = (
            2 * int(rng.integers((there - side) // 2 + 1))
            for there, side in ((video.height, height), (video.width, width))
        )
        length = (video.duration_s or Fraction(0)) - frames / (video.frame_rate or ASSUMED_FRAME_RATE)
        start = max(Fraction(0), length) * Fraction(float(rng.random())).limit_denominator(1000)
        decoded = decode_frames(source, log=ReadLog(), clock=Clock("decode"), time_range=TimeRange(start=start))
        return [
            _cropped(frame, number, top, left, height, width) for number, frame in enumerate(islice(decoded, frames))
        ]


def _usable(path: Path, least: tuple[int, int]) -> Source | None:
    if not path.is_file():
        return None
    try:
        source = probe(path)
    except VidscaleError:
        return None
    video = source.video
    large = video.height >= least[0] and video.width >= least[1]
    taken = video.format == CODED_FORMAT and source.alpha is None
    return source if taken and large and video.duration_s else None


def _cropped(frame: Frame, number: int, top: int, left: int, height: int, width: int) -> Frame:
    planes = []
    for plane, (sub_y, sub_x) in zip(frame.planes, ((1, 1), (2, 2), (2, 2)), strict=True):
        rows, columns = slice(top // sub_y, (top + height) // sub_y), slice(left // sub_x, (left + width) // sub_x)
        planes.append(plane[rows, columns])
    return replace(frame, planes=tuple(planes), pts=number, time_base=Fraction(1, 25))

"""Real clips as training material: parts of a few frames, read where they are needed."""

from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from vidscale.config import TimeRange
from vidscale.errors import TrainingError, VidscaleError
from vidscale.media.frames import Frame, PixelFormat
from vidscale.media.probe import Source, probe
from vidscale.stages.decode import ReadLog, decode_frames
from vidscale.system.threads import Clock

CODED_FORMAT = PixelFormat("420", 8)


class Clips:
    """The movies in a folder and below it that can be trained on: 8 bit 4:2:0 with a known length.

    Args:
        folder: of the movies.
        grid: even; sides of parts are multiples of it.
        least: (height, width) of movies at least, multiples of it.

    Raises:
        TrainingError: there is none.
    """

    def __init__(self, folder: Path, grid: int, least: tuple[int, int]) -> None:
        self._grid = grid
        self._sources = [source for path in sorted(folder.rglob("*")) if (source := _usable(path, least))]
        if not self._sources:
            raise TrainingError(f"{folder} holds no 8-bit 4:2:0 movies of {least[1]}x{least[0]} and more")

    def __len__(self) -> int:
        return len(self._sources)

    def part(self, rng: np.random.Generator, frames: int, size: tuple[int, int]) -> list[Frame]:
        """Up to so many frames from a random place of a random clip, at most (height, width) of them.

        Args:
            rng: chooses everything.
            frames: at most; fewer where the clip is shorter.
            size: at most; smaller where the clip is.
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
        length = (video.duration_s or Fraction(0)) - frames / (video.frame_rate or Fraction(25))
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

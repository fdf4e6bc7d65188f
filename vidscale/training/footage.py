"""Training footage: films whose frames are read on demand, so that they need not fit in memory.

A film is a video file, or the pictures of one folder sorted by name.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from vidscale.errors import DecodeError, TrainingError
from vidscale.media.frames import Plane
from vidscale.training.crops import PICTURES, picture_size, read_rgb

if TYPE_CHECKING:
    from vidscale.media.probe import Source

VIDEOS = (
    *(".mkv", ".mp4", ".m4v", ".mov", ".webm", ".avi", ".y4m", ".nut", ".mxf", ".wmv", ".flv", ".ogv"),
    *(".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".3gp"),
)

_KEPT_BYTES = 256 << 20  # frame cache, so that small footage is decoded once
_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # BT.709


class Luma(NamedTuple):
    """Luma of one frame.

    Attributes:
        codes: [H, W] uint8 or uint16.
        bit_depth: of the codes.
    """

    codes: Plane
    bit_depth: int


class Film(Protocol):
    """A video or picture sequence.

    Attributes:
        name: name to display.
        frames: number of frames, at least 1; estimated from duration and rate if the container has no count.
        shortest_side: shorter side of its first picture.
    """

    @property
    def name(self) -> str: ...
    @property
    def frames(self) -> int: ...
    @property
    def shortest_side(self) -> int: ...

    def read(self, number: int, stop: int) -> Luma:
        """The first frame from `number` on, before `stop`.

        Raises:
            DecodeError: there is none, or it cannot be read.
        """


@dataclass(frozen=True)
class VideoFilm:
    """A video file; frames are found by time, at the average frame rate if the rate varies."""

    source: "Source"
    frames: int

    @classmethod
    def open(cls, path: Path) -> "VideoFilm":
        """Probes the file.

        Raises:
            TrainingError: it cannot be read, or has no duration.
        """
        from vidscale.errors import VidscaleError
        from vidscale.media.probe import probe

        try:
            source = probe(path)
        except VidscaleError as error:
            raise TrainingError(str(error)) from error
        if source.alpha is not None or source.is_transparent:
            raise TrainingError(f"{path} has an alpha channel ({source.alpha or source.pix_fmt}): leave it out")
        video = source.video
        frames = video.frame_count
        if frames is None and video.duration_s and video.frame_rate:
            frames = round(video.duration_s * video.frame_rate)
        if not frames or not video.frame_rate:
            raise TrainingError(f"{path} has no duration: remux it to another container, such as .mkv")
        return cls(source, frames)

    @property
    def name(self) -> str:
        return self.source.path.name

    @property
    def shortest_side(self) -> int:
        return min(self.source.video.width, self.source.video.height)

    def read(self, number: int, stop: int) -> Luma:
        from vidscale.config import TimeRange
        from vidscale.stages.decode import decode_frames
        from vidscale.stages.read_log import ReadLog
        from vidscale.system.threads import Clock

        # Half a frame early, so that rounded timestamps do not matter.
        part = TimeRange(start=self._time(number), end=None if stop >= self.frames else self._time(stop))
        frames = decode_frames(self.source, log=ReadLog(), clock=Clock("decode"), time_range=part)
        frame = next(frames)
        return Luma(frame.planes[0].copy(), frame.format.bit_depth)

    def _time(self, number: int) -> Fraction:
        """Half a frame before that frame, seconds."""
        return max(number - Fraction(1, 2), Fraction(0)) / (self.source.video.frame_rate or 1)


@dataclass(frozen=True)
class PictureFilm:
    """RGB pictures of one folder; luma is BT.709, limited range."""

    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        return self.paths[0].parent.name

    @property
    def frames(self) -> int:
        return len(self.paths)

    @property
    def shortest_side(self) -> int:
        return min(picture_size(self.paths[0]))

    def read(self, number: int, stop: int) -> Luma:
        try:
            rgb = read_rgb(self.paths[number]).astype(np.float32)
        except TrainingError as error:
            raise DecodeError(str(error)) from error
        return Luma((16.5 + rgb @ _LUMA * np.float32(219 / 255)).astype(np.uint8), 8)


class Part(NamedTuple):
    """The frames `first` to `stop` - 1 of a film."""

    film: Film
    first: int
    stop: int


def find_films(folder: Path) -> list[Film]:
    """The films in a folder, searched recursively and sorted by name; or a single video file.

    Raises:
        TrainingError: no films, or one cannot be read.
    """
    if folder.is_file():
        return [VideoFilm.open(folder)]
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    films: list[Film] = [VideoFilm.open(path) for path in files if path.suffix.lower() in VIDEOS]
    pictures = sorted((path for path in files if path.suffix.lower() in PICTURES), key=lambda path: path.parent)
    films += [PictureFilm(tuple(paths)) for _, paths in groupby(pictures, key=lambda path: path.parent)]
    if not films:
        raise TrainingError(f"no videos or pictures in {folder}")
    return films


def split(films: Sequence[Film], share: float) -> tuple["Footage", "Footage"]:
    """Splits films into training footage and, from the end of each, validation footage.

    Args:
        films: films to split.
        share: fraction of each film's frames to hold out.

    Raises:
        TrainingError: all films have a single frame.
    """
    cuts = [film.frames - max(1, round(film.frames * share)) for film in films]
    learned = [Part(film, 0, cut) for film, cut in zip(films, cuts, strict=True) if cut]
    if not learned:
        raise TrainingError("all films have a single frame, which leaves none for validation: add a longer one")
    held_out = [Part(film, cut, film.frames) for film, cut in zip(films, cuts, strict=True) if cut]
    return Footage(learned), Footage(held_out)


def whole(films: Sequence[Film]) -> "Footage":
    """All frames of the films."""
    return Footage([Part(film, 0, film.frames) for film in films])


class Footage:
    """Parts of films with consecutively numbered frames, and a cache of recently read frames.

    Args:
        parts: one or more.
        kept_bytes: size of the cache.
    """

    def __init__(self, parts: Sequence[Part], *, kept_bytes: int = _KEPT_BYTES) -> None:
        self.parts = list(parts)
        self._ends = list(accumulate(part.stop - part.first for part in parts))
        self._kept: OrderedDict[int, Luma] = OrderedDict()
        self._room = kept_bytes

    def __len__(self) -> int:
        return self._ends[-1]

    def place(self, index: int) -> int:
        """Index of the part that a frame belongs to."""
        return bisect_right(self._ends, index)

    def check_sides(self, least: int) -> None:
        """Raises TrainingError if a film has a side shorter than `least`."""
        for film, _, _ in self.parts:
            if film.shortest_side < least:
                raise TrainingError(f"{film.name} has a side of {film.shortest_side}, training needs {least} or more")

    def __getitem__(self, index: int) -> Luma:
        """A frame; if it is damaged or missing, an earlier one of the same part.

        Raises:
            TrainingError: no frame of the part can be read.
        """
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        place = self.place(index)
        part = self.parts[place]
        luma = _read(part, part.stop - (self._ends[place] - index))
        self._kept[index] = luma
        self._room -= luma.codes.nbytes
        while self._room < 0 and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._room += oldest.codes.nbytes
        return luma

    def evenly(self, number: int) -> list[int]:
        """Indices of `number` evenly spread frames, or of all frames if there are fewer."""
        number = min(number, len(self))
        return [(2 * place + 1) * len(self) // (2 * number) for place in range(number)]


def _read(part: Part, number: int) -> Luma:
    while True:
        try:
            return part.film.read(number, part.stop)
        except DecodeError as error:
            if number == part.first:
                raise TrainingError(f"{part.film.name} cannot be read: {error}") from error
            number = part.first + (number - part.first) // 2

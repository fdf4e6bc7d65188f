"""Footage to train on: films whose frames are read one at a time, when they are wanted, so that they need not fit in
memory. A film is a video file, or the pictures of one folder in the order of their names.
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

_KEPT_BYTES = 256 << 20  # of frames, so that small footage is decoded once
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
    """What footage is made of.

    Attributes:
        name: for people.
        frames: how many, at least 1; of videos that do not count them, by their length and rate.
        shortest_side: of its first picture.
    """

    @property
    def name(self) -> str: ...
    @property
    def frames(self) -> int: ...
    @property
    def shortest_side(self) -> int: ...

    def read(self, number: int, stop: int) -> Luma:
        """The first frame from `number` on that lies before the frame `stop`.

        Raises:
            DecodeError: there is none, or it cannot be read.
        """


@dataclass(frozen=True)
class VideoFilm:
    """A video file, of which a frame is found by its time; frames of uneven rate by that of the mean one."""

    source: "Source"
    frames: int

    @classmethod
    def open(cls, path: Path) -> "VideoFilm":
        """Looks into the file; no picture of it stays.

        Raises:
            TrainingError: it cannot be read, or does not say how long it is.
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
            raise TrainingError(f"{path} does not say how long it is: copy it into another container, such as .mkv")
        return cls(source, frames)

    @property
    def name(self) -> str:
        return self.source.path.name

    @property
    def shortest_side(self) -> int:
        return min(self.source.video.width, self.source.video.height)

    def read(self, number: int, stop: int) -> Luma:
        from vidscale.config import TimeRange
        from vidscale.stages.decode import ReadLog, decode_frames
        from vidscale.system.threads import Clock

        # Half a frame early: nothing depends on how timestamps were rounded.
        part = TimeRange(start=self._time(number), end=None if stop >= self.frames else self._time(stop))
        frames = decode_frames(self.source, log=ReadLog(), clock=Clock("decode"), time_range=part)
        frame = next(frames)
        return Luma(frame.planes[0].copy(), frame.format.bit_depth)

    def _time(self, number: int) -> Fraction:
        """Half a frame before that frame, seconds."""
        return max(number - Fraction(1, 2), Fraction(0)) / (self.source.video.frame_rate or 1)


@dataclass(frozen=True)
class PictureFilm:
    """Pictures of one folder, in RGB; luma is BT.709, limited range."""

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
    """The films in a folder and below it, sorted by name; or the one video that is named.

    Raises:
        TrainingError: there is none, or one cannot be read.
    """
    if folder.is_file():
        return [VideoFilm.open(folder)]
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    films: list[Film] = [VideoFilm.open(path) for path in files if path.suffix.lower() in VIDEOS]
    pictures = sorted((path for path in files if path.suffix.lower() in PICTURES), key=lambda path: path.parent)
    films += [PictureFilm(tuple(paths)) for _, paths in groupby(pictures, key=lambda path: path.parent)]
    if not films:
        raise TrainingError(f"{folder} holds neither videos nor pictures")
    return films


def split(films: Sequence[Film], share: float) -> tuple["Footage", "Footage"]:
    """Footage to train on, and the end of each film to validate on: no frame is in both.

    Args:
        films: of the footage.
        share: of the frames of each film that is held out.

    Raises:
        TrainingError: nothing is left of one of the two.
    """
    cuts = [film.frames - max(1, round(film.frames * share)) for film in films]
    learned = [Part(film, 0, cut) for film, cut in zip(films, cuts, strict=True) if cut]
    if not learned:
        raise TrainingError("films of one frame each leave nothing to validate on")
    held_out = [Part(film, cut, film.frames) for film, cut in zip(films, cuts, strict=True) if cut]
    return Footage(learned), Footage(held_out)


def whole(films: Sequence[Film]) -> "Footage":
    """All frames."""
    return Footage([Part(film, 0, film.frames) for film in films])


class Footage:
    """Parts of films, whose frames are numbered through. Frames that were read are kept as long as there is room.

    Args:
        parts: at least one.
        kept_bytes: room for frames.
    """

    def __init__(self, parts: Sequence[Part], *, kept_bytes: int = _KEPT_BYTES) -> None:
        self.parts = list(parts)
        self._ends = list(accumulate(part.stop - part.first for part in parts))
        self._kept: OrderedDict[int, Luma] = OrderedDict()
        self._room = kept_bytes

    def __len__(self) -> int:
        return self._ends[-1]

    def place(self, index: int) -> int:
        """Which of the parts a frame is of."""
        return bisect_right(self._ends, index)

    def check_sides(self, least: int) -> None:
        """TrainingError for a film whose pictures have shorter sides."""
        for film, _, _ in self.parts:
            if film.shortest_side < least:
                raise TrainingError(f"{film.name} has sides of {film.shortest_side}, examples need {least}")

    def __getitem__(self, index: int) -> Luma:
        """A frame; where it is not there, damaged or beyond what the file holds, one before it of the same part.

        Raises:
            TrainingError: none of them can be read.
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
        """Numbers of so many frames, spread over all; of all where there are no more."""
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

"""Cropping stored in the container: PixelCrop of Matroska (RFC 9559), the clean aperture of MP4 and QuickTime.

Decoders do not see it, ffmpeg exports it since 7.1, PyAV does not: it is read from the file's header here.
"""

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import IO, NamedTuple

from vidscale.errors import DecodeError
from vidscale.media.headers import HEADER_BYTES, Header, box_header, element_header

_SEGMENT, _TRACKS, _TRACK_ENTRY = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae"
_VIDEO, _TRACK_TYPE, _CODEC_ID = b"\xe0", b"\x83", b"\x86"
_PIXEL_CROP = {b"\x54\xcc": "left", b"\x54\xbb": "top", b"\x54\xdd": "right", b"\x54\xaa": "bottom"}
_VIDEO_TRACK = 1
_SAMPLE_ENTRY_BYTES = 78  # fields of a visual one (ISO/IEC 14496-12, 12.1.3), in front of its boxes
_CLAP = struct.Struct(">IIIIiIiI")  # width, height, offsets from the centre, each a numerator and a denominator


class Margins(NamedTuple):
    """Luma samples to crop at each edge of a decoded picture."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """The part of decoded pictures that is shown, in luma samples.

    Attributes:
        left, top, width, height: of the part.
        decoded_width, decoded_height: of the pictures.
        margins: as stored in the container; the part begins and ends on whole chroma samples.
    """

    left: int
    top: int
    width: int
    height: int
    decoded_width: int
    decoded_height: int
    margins: Margins

    def __str__(self) -> str:
        left, top, right, bottom = self.margins
        asked = f"{self.decoded_width - left - right}x{self.decoded_height - top - bottom} at {left},{top}"
        part = f"{self.width}x{self.height} at {self.left},{self.top}"
        rounded = "" if part == asked else f", which is {asked} in whole chroma samples"
        return f"{part} of {self.decoded_width}x{self.decoded_height}{rounded}"


def window_of(margins: Margins, size: tuple[int, int], subsampling: tuple[int, int]) -> Window | None:
    """The window between margins, on whole chroma samples as ffmpeg rounds it; None when nothing is cropped.

    Args:
        margins: as stored in the container.
        size: (height, width) of the decoded pictures.
        subsampling: luma samples per chroma sample, (vertical, horizontal).

    Raises:
        DecodeError: nothing is left.
    """
    if not any(margins):
        return None
    (height, width), (sub_y, sub_x) = size, subsampling
    part_width = (width - margins.left - margins.right) // sub_x * sub_x
    part_height = (height - margins.top - margins.bottom) // sub_y * sub_y
    if min(part_width, part_height) < 1:
        left, top, right, bottom = margins
        raise DecodeError(
            f"the container crops {left} columns at the left, {right} at the right, {top} rows at the top and {bottom} "
            f"at the bottom of pictures of {width}x{height}: nothing is left"
        )
    left, top = margins.left // sub_x * sub_x, margins.top // sub_y * sub_y
    return Window(left, top, part_width, part_height, width, height, margins)


def container_crop(path: Path, container: str, *, track: int, number: int) -> Margins:
    """The cropping that a file stores for a video stream; no margins when it stores none.

    Args:
        path: the file.
        container: ffmpeg's names of its format.
        track: number of the stream's track in MP4, PyAV's ``stream.id``.
        number: index of the stream among the video streams without cover art, from 0.
    """
    if not path.is_file():
        return Margins()
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if container == "matroska,webm":
            return _pixel_crop(file, size, number)
        return _clean_aperture(file, size, track) if container.startswith("mov,mp4") else Margins()


def _pixel_crop(file: IO[bytes], size: int, number: int) -> Margins:
    for segment in _elements(file, _Part(b"", 0, size)):
        for tracks in _elements(file, segment) if segment.name == _SEGMENT else ():
            if tracks.name == _TRACKS:
                entries = (_track(file, entry) for entry in _elements(file, tracks) if entry.name == _TRACK_ENTRY)
                videos = [margins for margins in entries if margins is not None]
                return videos[number] if number < len(videos) else Margins()
    return Margins()


def _track(file: IO[bytes], entry: "_Part") -> Margins | None:
    """The cropping of a track; None when it is not a video track."""
    kind, has_codec, crop = 0, False, dict[str, int]()
    for part in _elements(file, entry):
        if part.name == _TRACK_TYPE:
            kind = _number(file, part)
        elif part.name == _CODEC_ID:
            has_codec = True
        elif part.name == _VIDEO:
            crop = {_PIXEL_CROP[p.name]: _number(file, p) for p in _elements(file, part) if p.name in _PIXEL_CROP}
    return Margins(**crop) if kind == _VIDEO_TRACK and has_codec else None


def _clean_aperture(file: IO[bytes], size: int, track: int) -> Margins:
    for movie in _boxes(file, _Part(b"", 0, size)):
        if movie.name != b"moov":
            continue
        for box in _boxes(file, movie):
            if box.name == b"trak" and _track_id(file, box) == track:
                return _of_sample_entry(file, box)
        return Margins()
    return Margins()


def _track_id(file: IO[bytes], track: "_Part") -> int | None:
    header = next((box for box in _boxes(file, track) if box.name == b"tkhd"), None)
    if header is None:
        return None
    data = _read(file, header.start, 24)
    at = 20 if data[:1] == b"\1" else 12  # after two times of 64 or 32 bits
    return int.from_bytes(data[at : at + 4], "big")


def _of_sample_entry(file: IO[bytes], track: "_Part") -> Margins:
    """The cropping in the first sample entry of a track."""
    box = track
    for name in (b"mdia", b"minf", b"stbl", b"stsd"):
        found = next((each for each in _boxes(file, box) if each.name == name), None)
        if found is None:
            return Margins()
        box = found
    entry = next(_boxes(file, box._replace(start=box.start + 8)), None)
    if entry is None:
        return Margins()
    fields = _read(file, entry.start, _SAMPLE_ENTRY_BYTES)
    width, height = int.from_bytes(fields[24:26], "big"), int.from_bytes(fields[26:28], "big")
    cut = Margins()
    for part in _boxes(file, entry._replace(start=entry.start + _SAMPLE_ENTRY_BYTES)):
        data = _read(file, part.start, _CLAP.size)
        if part.name == b"clap" and len(data) == _CLAP.size:
            margins = _aperture(_CLAP.unpack(data), width, height)
            cut = margins if any(margins) else cut  # of several, the last that crops anything
    return cut


def _aperture(numbers: tuple[int, ...], width: int, height: int) -> Margins:
    """Margins of an aperture of that size, centred in the picture and moved by the offsets; like ffmpeg, margins are
    rounded down to whole samples and an aperture that exceeds the picture is ignored."""
    if not all(numbers[1::2]):
        return Margins()
    across, down, right_by, down_by = (Fraction(a, b) for a, b in zip(numbers[::2], numbers[1::2], strict=True))
    edges = []
    for length, aperture, offset in ((width, across, right_by), (height, down, down_by)):
        centre, half = Fraction(length - 1, 2) + offset, (aperture - 1) / 2
        if half < 0 or centre - half < 0 or centre + half > length - 1:
            return Margins()
        edges += [floor(centre - half), length - 1 - floor(centre + half)]
    left, right, top, bottom = edges
    return Margins(left, top, right, bottom)


class _Part(NamedTuple):
    """An element of Matroska or a box of MP4: its name, and the offsets of its content in the file."""

    name: bytes
    start: int
    end: int


def _elements(file: IO[bytes], whole: _Part) -> Iterator[_Part]:
    """The elements in an element, up to the first broken one."""
    return _parts(file, whole, element_header)


def _boxes(file: IO[bytes], whole: _Part) -> Iterator[_Part]:
    """The boxes in a box, up to the first broken one."""
    return _parts(file, whole, box_header)


def _parts(file: IO[bytes], whole: _Part, header_of: Callable[[bytes], Header | None]) -> Iterator[_Part]:
    at = whole.start
    while at < whole.end and (header := header_of(_read(file, at, HEADER_BYTES))) is not None:
        end = whole.end if header.length is None else at + header.length
        if not at + header.size <= end <= whole.end:
            return
        yield _Part(header.name, at + header.size, end)
        at = end


def _number(file: IO[bytes], part: _Part) -> int:
    """The unsigned integer in an element."""
    return int.from_bytes(_read(file, part.start, min(part.end - part.start, 8)), "big")


def _read(file: IO[bytes], start: int, count: int) -> bytes:
    file.seek(start)
    return file.read(count)

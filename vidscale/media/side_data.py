"""Side data of pictures: what is kept, and what encoding loses."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, cast

import av
from av.sidedata.sidedata import SideDataContainer

from vidscale.media.frames import ContentLight, MasteringDisplay, VideoInfo
from vidscale.media.side_data_kinds import SideData

CAPTIONS = "closed captions (A53)"
STEREO = "stereo 3D layout"
_LOST = {
    SideData.DYNAMIC_HDR_PLUS: "HDR10+ metadata",
    SideData.DYNAMIC_HDR_VIVID: "HDR Vivid metadata",
    SideData.DOVI_METADATA: "Dolby Vision metadata",
    SideData.DOVI_RPU_BUFFER: "Dolby Vision metadata",
    SideData.A53_CC: CAPTIONS,
    SideData.S12M_TIMECODE: "timecode (SMPTE 12M)",
    SideData.GOP_TIMECODE: "timecode (GOP)",
    SideData.AMBIENT_VIEWING_ENVIRONMENT: "ambient viewing environment",
    SideData.STEREO3D: STEREO,
    SideData.SPHERICAL: "spherical projection",
    SideData.AFD: "active format description",
    SideData.FILM_GRAIN_PARAMS: "film grain parameters",
}
_LASTING = {SideData.DISPLAYMATRIX, SideData.MASTERING_DISPLAY_METADATA, SideData.CONTENT_LIGHT_LEVEL}
_CAPTION_CODECS = {"h264", "hevc", "av1"}  # `vidscale.media.captions` writes them


@dataclass(frozen=True, slots=True)
class Lasting:
    """Side data of the whole video, which is written once; None when a picture does not have it.

    Attributes:
        display_matrix: nine integers: how players rotate the picture, see `vidscale.media.frames.VideoInfo`.
        mastering_display, content_light: static HDR metadata.
    """

    display_matrix: tuple[int, ...] | None = None
    mastering_display: MasteringDisplay | None = None
    content_light: ContentLight | None = None


def lasting(frame: av.VideoFrame) -> Lasting:
    """The side data of the whole video in one picture."""
    data = {entry.type: bytes(entry) for entry in _entries(frame) if entry.type in _LASTING}
    return Lasting(
        display_matrix=_display_matrix(data.get(SideData.DISPLAYMATRIX)),
        mastering_display=_mastering_display(data.get(SideData.MASTERING_DISPLAY_METADATA)),
        content_light=_content_light(data.get(SideData.CONTENT_LIGHT_LEVEL)),
    )


def captions(frame: av.VideoFrame) -> bytes:
    """Closed captions of a picture: CTA-708 constructs of three bytes; empty when it has none."""
    return b"".join(bytes(entry) for entry in _entries(frame) if entry.type == SideData.A53_CC)


def carried(frame: av.VideoFrame) -> tuple[str, ...]:
    """Side data of a picture that raw pictures lose, in words."""
    kinds = {entry.type for entry in _entries(frame)}
    return tuple(dict.fromkeys(words for kind, words in _LOST.items() if kind in kinds))


def changed(frame: av.VideoFrame, video: VideoInfo) -> tuple[str, ...]:
    """Side data of the whole video that differs from that of the first pictures, in words."""
    current = lasting(frame)
    names = {"rotation": "display_matrix", "mastering display": "mastering_display", "content light": "content_light"}
    return tuple(
        f"another {words}" if getattr(video, name) is not None else words
        for words, name in names.items()
        if getattr(current, name) not in (None, getattr(video, name))
    )


def lost(words: Iterable[str], codec: str) -> tuple[str, ...]:
    """The part of `carried` that the encoded stream loses: H.264, H.265 and AV1 get the captions back."""
    return tuple(word for word in words if word != CAPTIONS or codec not in _CAPTION_CODECS)


def _entries(frame: av.VideoFrame) -> list[Any]:
    """The entries of a frame's side data.

    `frame.side_data` would keep its container in the frame, and the container refers to the frame: a cycle, so that
    pictures stay in memory until Python's cyclic collector runs, which is a hundred pictures later.
    """
    return list(cast("Any", SideDataContainer)(frame))


@lru_cache
def _display_matrix(data: bytes | None) -> tuple[int, ...] | None:
    if data is None or len(data) < 36:
        return None
    matrix = struct.unpack("=9i", data[:36])
    identity = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    return None if matrix == identity else matrix


@lru_cache
def _mastering_display(data: bytes | None) -> MasteringDisplay | None:
    """From the C structure: ten rationals (R, G, B, white point as x, y; min, max luminance), then two flags."""
    if data is None or len(data) < 88:
        return None
    numbers = struct.unpack("=22i", data[:88])
    values = [Fraction(numbers[i], numbers[i + 1] or 1) for i in range(0, 20, 2)]
    has_primaries, has_luminance = numbers[20], numbers[21]
    points = [(values[i], values[i + 1]) for i in range(0, 8, 2)]
    return MasteringDisplay(
        primaries=tuple(points[:3]) if has_primaries else None,
        white_point=points[3] if has_primaries else None,
        luminance=(values[8], values[9]) if has_luminance else None,
    )


@lru_cache
def _content_light(data: bytes | None) -> ContentLight | None:
    if data is None or len(data) < 8:
        return None
    return ContentLight(*struct.unpack("=2I", data[:8]))

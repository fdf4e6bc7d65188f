"""Stills for the page: the same region of each, as large and with as little loss as the size of the page allows."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vidscale.compare.points import Still
from vidscale.media.regions import detail, region_of_largest_sum
from vidscale.web.pictures import EncodedImage, encode_image

if TYPE_CHECKING:
    import av

BUDGET_BYTES = 12_000_000
_SOURCE_SHARE = 0.4  # restored stills are expected to take at least this share of their source's bytes

RGB = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Step:
    """How to show stills: largest width and height, None for all of it; WebP quality, None for lossless."""

    width: int | None
    height: int | None
    quality: int | None


# Best first; the first that fits the budget is used.
_STEPS = (
    _Step(None, None, None),
    _Step(960, 540, None),
    _Step(640, 360, None),
    _Step(960, 540, 95),
    _Step(640, 360, 95),
    _Step(480, 270, 92),
    _Step(320, 180, 90),
)


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """The stills of one frame of a movie, all cropped and compressed in the same way.

    Attributes:
        movie: name.
        pts_s: time of the frame, seconds.
        stills: the source first.
        pictures: one for each still, all of one size, not rescaled.
        lossless: the pictures are compressed without loss.
    """

    movie: str
    pts_s: Fraction
    stills: tuple[Still, ...]
    pictures: tuple[EncodedImage, ...]
    lossless: bool


def shown_frames(stills: Sequence[Still], budget: int = BUDGET_BYTES) -> list[ShownFrame]:
    """Stills grouped by frame, each frame within its share of the budget.

    Args:
        stills: of any movies.
        budget: bytes of all pictures together.

    Returns:
        One for each frame with more than one still; frames that exceed their share even at the smallest size and the
        lowest quality are left out.
    """
    grouped: dict[tuple[str, Fraction], list[Still]] = {}
    for still in stills:
        group = grouped.setdefault((still.movie, still.pts_s), [])
        if all(still.candidate != other.candidate for other in group):  # the source is there once for each encoder
            group.append(still)
    frames = [group for group in grouped.values() if len(group) > 1]
    found: list[ShownFrame] = []
    for at, group in enumerate(frames):
        frame = _shown_frame(sorted(group, key=lambda still: still.candidate is not None), budget // (len(frames) - at))
        if frame is not None:
            found.append(frame)
            budget -= sum(len(picture.data) for picture in frame.pictures)
    return found


def _shown_frame(stills: Sequence[Still], budget: int) -> ShownFrame | None:
    whole = [_read(still.path) for still in stills]
    height, width = whole[0].shape[:2]
    source_detail = detail(whole[0].sum(axis=2, dtype=np.int32))
    for step in _STEPS:
        region = region_of_largest_sum(source_detail, step.height or height, step.width or width)
        crops = [np.ascontiguousarray(pixels[region.slices]) for pixels in whole]
        pictures = _within(crops, step.quality, budget)
        if pictures:
            lossless = step.quality is None or pictures[0].media_type == "image/png"
            return ShownFrame(stills[0].movie, stills[0].pts_s, tuple(stills), pictures, lossless)
    return None


def _within(crops: Sequence[RGB], quality: int | None, budget: int) -> tuple[EncodedImage, ...] | None:
    """The compressed crops; None as soon as they are expected to exceed the budget."""
    pictures: list[EncodedImage] = []
    spent = 0
    for pixels in crops:
        pictures.append(encode_image(_frame(pixels), quality))
        spent += len(pictures[-1].data)
        rest = len(crops) - len(pictures)
        if (spent + rest * _SOURCE_SHARE * len(pictures[0].data) > budget and rest) or spent > budget:
            return None
    return tuple(pictures)


def _read(path: Path) -> RGB:
    import av

    with av.open(path) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def _frame(pixels: RGB) -> "av.VideoFrame":
    import av

    return av.VideoFrame.from_ndarray(pixels, format="rgb24")

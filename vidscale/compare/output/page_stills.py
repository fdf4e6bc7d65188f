"""Stills for the page: the same part of each, as large and as true as the page's size allows."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vidscale.compare.points import Still
from vidscale.web.pictures import Picture, encoded_picture

if TYPE_CHECKING:
    import av

BUDGET_BYTES = 12_000_000
_SOURCE_SHARE = 0.4  # restored pictures are taken for at least this share of their source's bytes, to give up early

RGB = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Step:
    """A way to show stills: crop of at most that many pixels, WebP quality (None: lossless)."""

    width: int | None
    height: int | None
    quality: int | None


# From the truest on; the first that fits the budget is taken.
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
    """The stills of one frame of a movie, cropped and coded alike.

    Attributes:
        movie: name.
        pts_s: time of the frame, seconds.
        stills: the source first.
        pictures: one for each still, all of one size, at the source's sampling.
        lossless: nothing was lost in coding them.
    """

    movie: str
    pts_s: Fraction
    stills: tuple[Still, ...]
    pictures: tuple[Picture, ...]
    lossless: bool


def shown_frames(stills: Sequence[Still], budget: int = BUDGET_BYTES) -> list[ShownFrame]:
    """Stills grouped by frame, each frame within its share of the budget.

    Args:
        stills: of any movies.
        budget: bytes of all pictures together.

    Returns:
        One for each frame of which there is more than one still; a frame that does not fit its share even as the
        smallest crops of the lowest quality is left out.
    """
    grouped: dict[tuple[str, Fraction], list[Still]] = {}
    for still in stills:
        group = grouped.setdefault((still.movie, still.pts_s), [])
        if all(still.way != other.way for other in group):  # each encoder's stills come with a source of their own
            group.append(still)
    frames = [group for group in grouped.values() if len(group) > 1]
    found: list[ShownFrame] = []
    for at, group in enumerate(frames):
        frame = _shown_frame(sorted(group, key=lambda still: still.way is not None), budget // (len(frames) - at))
        if frame is not None:
            found.append(frame)
            budget -= sum(len(picture.data) for picture in frame.pictures)
    return found


def detailed_part(picture: RGB, width: int, height: int) -> tuple[int, int]:
    """Left and top of the part of that size with the most detail: the largest sum of differences of neighbours.

    Args:
        picture: [H, W, 3].
        width, height: of the part, at most those of the picture.
    """
    luma = picture.astype(np.float64).sum(axis=2)
    detail = np.zeros_like(luma)
    detail[:, 1:] += np.abs(np.diff(luma, axis=1))
    detail[1:] += np.abs(np.diff(luma, axis=0))
    summed = np.pad(detail.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    parts = summed[height:, width:] - summed[:-height, width:] - summed[height:, :-width] + summed[:-height, :-width]
    top, left = np.unravel_index(int(parts.argmax()), parts.shape)
    return int(left), int(top)


def _shown_frame(stills: Sequence[Still], budget: int) -> ShownFrame | None:
    sources = [_read(still.path) for still in stills]
    full_height, full_width = sources[0].shape[:2]
    for step in _STEPS:
        width, height = min(step.width or full_width, full_width), min(step.height or full_height, full_height)
        left, top = detailed_part(sources[0], width, height)
        parts = [np.ascontiguousarray(source[top : top + height, left : left + width]) for source in sources]
        pictures = _within(parts, step.quality, budget)
        if pictures:
            lossless = step.quality is None or pictures[0].media_type == "image/png"
            return ShownFrame(stills[0].movie, stills[0].pts_s, tuple(stills), pictures, lossless)
    return None


def _within(parts: Sequence[RGB], quality: int | None, budget: int) -> tuple[Picture, ...] | None:
    """The parts as pictures, or None as soon as they cannot stay within the budget."""
    pictures: list[Picture] = []
    spent = 0
    for part in parts:
        pictures.append(encoded_picture(_frame(part), quality))
        spent += len(pictures[-1].data)
        rest = len(parts) - len(pictures)
        if (spent + rest * _SOURCE_SHARE * len(pictures[0].data) > budget and rest) or spent > budget:
            return None
    return tuple(pictures)


def _read(path: Path) -> RGB:
    import av

    with av.open(path) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def _frame(part: RGB) -> "av.VideoFrame":
    import av

    return av.VideoFrame.from_ndarray(part, format="rgb24")

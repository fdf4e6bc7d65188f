"""Segments: parts of a movie that share an update of the upscaler. Each begins at a keyframe."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from vidscale.report.rows import Shot

SHORTEST = 24  # frames: a shorter shot does not pay for a keyframe and an update of its own


class Segment(NamedTuple):
    """Frames ``start`` to below ``end``, by their index, and how many of them are keyframes."""

    start: int
    end: int
    keyframes: int


def long_shots(shots: Sequence[Shot]) -> list[Shot]:
    """The shots that a segment may begin with: the first, and each long one that starts far enough after the last."""
    kept: list[Shot] = []
    for shot in shots:
        if not kept or (shot.frames >= SHORTEST and shot.start_index - kept[-1].start_index >= SHORTEST):
            kept.append(shot)
    return kept


def segments_of(starts: Sequence[int], keyframes: Collection[int], frames: int) -> list[Segment]:
    """The segments of an encoded movie.

    Args:
        starts: indices of the frames that they should begin with, in order, the first 0; of the others, those that are
            not keyframes are left out.
        keyframes: indices of all keyframes, in presentation order.
        frames: in the movie.
    """
    begins = [start for start in starts if not start or start in keyframes]
    ends = [*begins[1:], frames]
    return [
        Segment(begin, end, sum(begin <= key < end for key in keyframes))
        for begin, end in zip(begins, ends, strict=True)
    ]

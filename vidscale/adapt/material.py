"""The frames that segments are adapted to, read once as far as they fit in memory."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vidscale.adapt.samples import Sample, sampled
from vidscale.adapt.segments import Segment
from vidscale.media.frames import Frame
from vidscale.media.geometry import Geometry
from vidscale.system.threads import core_count

FramePairs = Iterator[tuple[Frame, Frame]]
"""Decoded small frames, each with its source frame."""

KEPT_PER_CORE = 256 << 20  # bytes of luma that wait to be restored: 100 frames of 1080p
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Material:
    """Luma of a segment.

    Attributes:
        segment: the segment.
        samples: the frames that its network is trained on.
        frames: all frames; None if they did not fit into memory.
        bit_depth: of the codes.
    """

    segment: Segment
    samples: list[Sample]
    frames: list[Sample] | None
    bit_depth: int


class Memory:
    """A memory budget that segments share.

    Args:
        most: bytes in all; None is `KEPT_PER_CORE` for each core.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = core_count() * KEPT_PER_CORE if most is None else most
        self._taken: dict[Segment, int] = {}
        self._changed = threading.Condition()

    def take(self, segment: Segment, size: int) -> bool:
        """Takes ``size`` more bytes for a segment. Waits until the others have freed enough.

        Returns:
            False, without taking any, if the segment is too large by itself.
        """
        with self._changed:
            while sum(self._taken.values()) + size > self._most:
                if self._taken.keys() <= {segment}:
                    return False
                self._changed.wait(_POLL_S)
            self._taken[segment] = self._taken.get(segment, 0) + size
            return True

    def free(self, segment: Segment) -> None:
        """Frees what was taken for a segment."""
        with self._changed:
            self._taken.pop(segment, None)
            self._changed.notify_all()


def read_materials(
    segments: Sequence[Segment], frames: FramePairs, geometry: Geometry, memory: Memory, advanced: Callable[[], None]
) -> Iterator[Material]:
    """The material of each segment.

    Args:
        segments: of the movie, in order, which cover it.
        frames: of the movie.
        geometry: of the movie; the small frames may have padding.
        memory: for the frames; the consumer frees that of a segment.
        advanced: called for every frame.
    """
    for segment, some in by_segment(segments, frames):
        samples: list[Sample] = []
        kept: list[Sample] | None = []
        depth = 8
        for index, (small, source) in some:
            advanced()
            wanted = sampled(segment, index)
            if kept is None and not wanted:
                continue
            both = sample_of(small, source, geometry)
            if wanted:
                samples.append(both)
                depth = small.format.bit_depth
            if kept is not None and memory.take(segment, both.lr.nbytes + both.hr.nbytes):
                kept.append(both)
            elif kept is not None:
                kept = None
                memory.free(segment)
        yield Material(segment, samples, kept, depth)


def sample_of(small: Frame, source: Frame, geometry: Geometry) -> Sample:
    """Luma of a frame, copied: the planes of a frame share their memory."""
    luma = small.planes[0][: geometry.small_height, : geometry.small_width]
    return Sample(luma.copy(), source.planes[0].copy())


def by_segment(
    segments: Sequence[Segment], frames: FramePairs
) -> Iterator[tuple[Segment, Iterator[tuple[int, tuple[Frame, Frame]]]]]:
    """Each segment with its frames and their indices."""
    numbered = iter(enumerate(frames))
    for segment in segments:
        yield segment, (next(numbered) for _ in range(segment.start, segment.end))

"""The upscaling stage: decoded small frames to frames of the source's size."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from vidscale.media.frames import Frame
from vidscale.media.geometry import Geometry
from vidscale.models.pair import Pair
from vidscale.system.threads import Clock, in_order


def upscale(
    frames: Iterable[Frame], *, pair: Pair, geometry: Geometry, strength: float, clock: Clock
) -> Iterator[Frame]:
    """Frames of exactly the source's size, one for one, timestamps kept.

    Args:
        frames: decoded small frames of the coded size; each says which update of the network it is for.
        pair: the pair that made them.
        geometry: of the source and the small picture.
        strength: coding strength (crf) of the small frames.
        clock: counts pictures and time.
    """

    def upscaled(frame: Frame) -> Frame:
        with clock.measure():
            true_sizes = frame.format.plane_shapes(geometry.small_height, geometry.small_width)
            small = tuple(plane[:h, :w] for plane, (h, w) in zip(frame.planes, true_sizes, strict=True))
            planes = pair.upscale(replace(frame, planes=small), geometry, strength, frame.update)
        return replace(frame, planes=tuple(planes))

    yield from in_order(upscaled, frames, pair.parallel_frames)

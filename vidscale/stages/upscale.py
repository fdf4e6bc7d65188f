"""The upscaling stage: decoded small frames to frames of the source's size."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from vidscale.media.frames import Color, Frame
from vidscale.media.geometry import Geometry
from vidscale.models.pairs import Pair
from vidscale.system.threads import Clock, in_order


def upscale(
    frames: Iterable[Frame], *, pair: Pair, geometry: Geometry, color: Color, strength: float, clock: Clock
) -> Iterator[Frame]:
    """Frames of exactly the source's size, one for one, timestamps kept.

    Args:
        frames: decoded small frames of the coded size.
        pair: the pair that made them.
        geometry: of the source and the small picture.
        color: colour description of the video.
        strength: coding strength (crf) that the small frames went through.
        clock: counts pictures and time.
    """

    def enlarged(frame: Frame) -> Frame:
        with clock.measure():
            true_sizes = frame.format.plane_shapes(geometry.small_height, geometry.small_width)
            small = [plane[:h, :w] for plane, (h, w) in zip(frame.planes, true_sizes, strict=True)]
            planes = pair.enlarge(small, frame.format, color, geometry, strength)
        return replace(frame, planes=tuple(planes))

    yield from in_order(enlarged, frames, pair.at_once)

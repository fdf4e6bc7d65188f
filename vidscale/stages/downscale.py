"""The downscaling stage: source frames to small frames for the encoder."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from vidscale.media.frames import Frame, Plane
from vidscale.media.geometry import Geometry
from vidscale.models.pair import Pair
from vidscale.system.threads import Clock, in_order


def downscale(
    frames: Iterable[Frame], *, pair: Pair, geometry: Geometry, strength: float, clock: Clock
) -> Iterator[Frame]:
    """Small frames, one per source frame, with its timestamp; padded to the coded size by edge replication.

    Args:
        frames: source frames; each says which update of the upscaler will restore it.
        pair: the pair that downscales.
        geometry: of the source and the small picture.
        strength: coding strength (crf) at which the small frames will be encoded.
        clock: counts pictures and time.
    """

    def downscaled(frame: Frame) -> Frame:
        with clock.measure():
            planes = pair.downscale(frame, strength, frame.update)
            coded = frame.format.plane_shapes(geometry.coded_height, geometry.coded_width)
            small = tuple(_padded(plane, size) for plane, size in zip(planes, coded, strict=True))
        return replace(frame, planes=small, coded_bytes=None, update=b"")

    if pair.parallel_downscales == 1:  # no thread of its own
        yield from map(downscaled, frames)
    else:
        yield from in_order(downscaled, frames, pair.parallel_downscales)


def _padded(plane: Plane, size: tuple[int, int]) -> Plane:
    if plane.shape == size:
        return plane
    padding = [(0, target - current) for target, current in zip(size, plane.shape, strict=True)]
    padded: Plane = np.pad(plane, padding, mode="edge")  # type: ignore[assignment]
    return padded

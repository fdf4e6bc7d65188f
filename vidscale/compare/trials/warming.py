"""Scalers that run once before their first take, so that its time is that of every other take."""

import threading
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from vidscale.compare.points import Way
from vidscale.compare.trials.ways import pair_of
from vidscale.media.encoders import ENCODERS
from vidscale.media.frames import Frame, PixelFormat, VideoInfo
from vidscale.media.geometry import Geometry
from vidscale.stages.downscale import downscale
from vidscale.stages.upscale import upscale
from vidscale.system.devices import Device
from vidscale.system.threads import Clock

_SIDE = 96  # luma samples; what is compiled does not depend on it


@dataclass(slots=True)
class Warmth:
    """Which scalers have run. The first picture compiles filters, or reads what was compiled; networks start threads.

    Attributes:
        device: where pairs run.
    """

    device: Device
    _done: set[tuple[str, str, Fraction, PixelFormat]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run_once(self, way: Way, video: VideoInfo) -> None:
        """Takes a small picture of the movie's format down and up, unless that was done; others wait meanwhile."""
        key = way.down, way.up, way.scale, video.format
        with self._lock:
            if key in self._done:
                return
            self._done.add(key)
            geometry = Geometry.for_encoder(_SIDE, _SIDE, way.scale, ENCODERS[way.codec], video.format)
            small = _picture(video, geometry.coded_height, geometry.coded_width)
            down, up = (pair_of(family, way.scale, self.device) for family in (way.down, way.up))
            clock = Clock("warming")
            if down is not None:
                large = _picture(video, _SIDE, _SIDE)
                small = next(downscale([large], pair=down, geometry=geometry, clock=clock))
            if up is not None:
                next(upscale([small], pair=up, geometry=geometry, strength=0.0, clock=clock))


def _picture(video: VideoInfo, height: int, width: int) -> Frame:
    planes = tuple(np.zeros(shape, video.format.dtype) for shape in video.format.plane_shapes(height, width))
    return Frame(planes, video.format, 0, Fraction(1, 25), color=video.color)

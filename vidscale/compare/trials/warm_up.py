"""Runs each scaler once before its first trial, so that one-time costs are not in measured times."""

import threading
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from vidscale.compare.points import Candidate
from vidscale.compare.trials.candidates import pair_of
from vidscale.media.encoders import ENCODERS
from vidscale.media.frames import Frame, PixelFormat, VideoInfo
from vidscale.media.geometry import Geometry
from vidscale.stages.downscale import downscale
from vidscale.stages.upscale import upscale
from vidscale.system.devices import Device
from vidscale.system.threads import Clock

_SIDE = 96  # luma samples; what is compiled does not depend on it


@dataclass(slots=True)
class WarmUp:
    """Which scalers have run. A first frame compiles the filters, or loads them from a cache, and starts threads.

    Attributes:
        device: where pairs run.
    """

    device: Device
    _done: set[tuple[str, str, Fraction, PixelFormat]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run_once(self, candidate: Candidate, video: VideoInfo) -> None:
        """Scales a small frame of the movie's format down and up, unless that was done; other threads wait."""
        key = candidate.down, candidate.up, candidate.scale, video.format
        with self._lock:
            if key in self._done:
                return
            self._done.add(key)
            geometry = Geometry.for_encoder(_SIDE, _SIDE, candidate.scale, ENCODERS[candidate.codec], video.format)
            small = _frame(video, geometry.coded_height, geometry.coded_width)
            down, up = (pair_of(family, candidate.scale, self.device) for family in (candidate.down, candidate.up))
            clock = Clock("warm-up")
            if down is not None:
                source = _frame(video, _SIDE, _SIDE)
                small = next(downscale([source], pair=down, geometry=geometry, strength=0.0, clock=clock))
            if up is not None:
                next(upscale([small], pair=up, geometry=geometry, strength=0.0, clock=clock))


def _frame(video: VideoInfo, height: int, width: int) -> Frame:
    planes = tuple(np.zeros(shape, video.format.dtype) for shape in video.format.plane_shapes(height, width))
    return Frame(planes, video.format, 0, Fraction(1, 25), color=video.color)

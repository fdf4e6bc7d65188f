"""Rate and quality of one way as functions of crf: PCHIP through the probes, a line through two of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, isfinite, log
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.media.encoders import STRONGEST
from vidscale.quality import VMAF_METRICS, Metric, highest
from vidscale.triton_kernels.metrics import psnr

_BISECTIONS = 40
# Of 8 clips with x264 and x265 medium at VMAF NEG 60 to 94 (benchmarks/results/compare*), per step of crf.
_LOG_RATE_SLOPE = -0.12
_DECIBELS = -0.5
_SSIM_ERROR = 0.1  # share of what is missing to 1
_CRF_PER_VMAF, _CRF_PER_VMAF_AT_90 = 0.24, 0.66


@dataclass(frozen=True, slots=True)
class RatePoint:
    """A way at one crf.

    Attributes:
        crf: constant rate factor.
        quality: by metric, finite.
        video_bytes: of the whole movie, greater than 0.
    """

    crf: float
    quality: Mapping[Metric, float]
    video_bytes: float


def finite_quality(metric: Metric, value: float) -> float:
    """A quality with which to compute: a perfect copy has the highest one."""
    return value if isfinite(value) else highest(metric)


def pooled(metric: Metric, values: npt.NDArray[np.float64], percentile: float | None, bit_depth: int) -> float:
    """Quality of a movie from that of its frames; PSNR may be inf.

    Args:
        metric: which.
        values: [N], N > 0, without nan: its value for each frame; for PSNR the mean squared error instead.
        percentile: of the frames, nearest rank: the value of a real frame; None for the mean, for PSNR that of the
            mean of the errors.
        bit_depth: of luma.
    """
    if metric == "psnr_y":  # the worst frames have the largest errors
        error = values.mean() if percentile is None else -_nearest_rank(-values, percentile)
        return psnr(float(error), bit_depth)
    finite = np.minimum(values, 100.0)
    return float(finite.mean() if percentile is None else _nearest_rank(finite, percentile))


def _nearest_rank(values: npt.NDArray[np.float64], percentile: float) -> float:
    return float(np.percentile(values, percentile, method="inverted_cdf"))


class RateCurve:
    """Rate and quality of one way, between and beyond the probed crfs.

    Args:
        points: at least one.
        crf_max: highest crf of the encoder.
    """

    def __init__(self, points: Sequence[RatePoint], crf_max: float) -> None:
        self.points = sorted(points, key=lambda point: point.crf)
        self.crf_max = crf_max
        self._cached: dict[Metric | None, Callable[[float], float]] = {}

    def quality(self, metric: Metric, crf: float) -> float:
        """Quality at a crf."""
        return min(self._function(metric)(crf), highest(metric))

    def video_bytes(self, crf: float) -> float:
        """Bytes of the movie at a crf."""
        return exp(self._function(None)(crf))

    def crf_of_quality(self, metric: Metric, value: float) -> float:
        """The highest crf with at least this quality; 0 if there is none."""
        return self._root(lambda crf: self.quality(metric, crf) - value)

    def crf_of_bytes(self, count: float) -> float:
        """The lowest crf with at most these bytes; the encoder's highest if there is none."""
        return self._root(lambda crf: self._function(None)(crf) - log(count))

    def distance(self, crf: float) -> float:
        """From a crf to the nearest probed one."""
        return min(abs(point.crf - crf) for point in self.points)

    def bracket(self, crf: float) -> float:
        """Distance of the two probes around a crf; infinite outside of them."""
        below = [point.crf for point in self.points if point.crf <= crf]
        above = [point.crf for point in self.points if point.crf >= crf]
        return min(above) - max(below) if below and above else float("inf")

    def _root(self, falling: Callable[[float], float]) -> float:
        """Where a function that falls with crf becomes negative."""
        low, high = 0.0, self.crf_max
        if falling(low) < 0:
            return low
        if falling(high) >= 0:
            return high
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if falling(middle) >= 0 else (low, middle)
        return low

    def _function(self, metric: Metric | None) -> Callable[[float], float]:
        """A metric, or the logarithm of the bytes, as a function of crf."""
        if metric not in self._cached:
            crfs = [point.crf for point in self.points]
            values = [
                log(point.video_bytes) if metric is None else finite_quality(metric, point.quality[metric])
                for point in self.points
            ]
            slopes = tuple(typical_slope(metric, value, self.crf_max) for value in (values[0], values[-1]))
            self._cached[metric] = _interpolated(crfs, values, slopes)
        return self._cached[metric]


def typical_slope(metric: Metric | None, value: float, crf_max: float = STRONGEST) -> float:
    """Usual change of a metric, or of the logarithm of the bytes (None), per step of crf, at a value of it.

    Args:
        metric, value: what changes, and where.
        crf_max: highest crf of the encoder; by default that of x264 and x265.
    """
    return _typical_slope(metric, value) * STRONGEST / crf_max


def _typical_slope(metric: Metric | None, value: float) -> float:
    """Of x264 and x265."""
    if metric is None:
        return _LOG_RATE_SLOPE
    if metric in VMAF_METRICS:
        above = max(0.0, value - 60) / 30
        return -1 / (_CRF_PER_VMAF + (_CRF_PER_VMAF_AT_90 - _CRF_PER_VMAF) * above**2)
    return -_SSIM_ERROR * max(1e-3, 1 - value) if metric == "ssim_y" else _DECIBELS


def _interpolated(crfs: list[float], values: list[float], typical: Sequence[float]) -> Callable[[float], float]:
    """Through the points; beyond them a line with the slope at the end, or with the typical one of a single point."""
    if len(crfs) == 1:
        return lambda crf: values[0] + typical[0] * (crf - crfs[0])
    inside: Any
    if len(crfs) == 2:
        slope = (values[1] - values[0]) / (crfs[1] - crfs[0])
        return lambda crf: values[0] + min(slope, 0.0) * (crf - crfs[0])
    from scipy.interpolate import PchipInterpolator

    inside = PchipInterpolator(crfs, values)
    first = min(0.0, (values[1] - values[0]) / (crfs[1] - crfs[0]))
    last = min(0.0, (values[-1] - values[-2]) / (crfs[-1] - crfs[-2]))

    def value_at(crf: float) -> float:
        if crf < crfs[0]:
            return values[0] + first * (crf - crfs[0])
        if crf > crfs[-1]:
            return values[-1] + last * (crf - crfs[-1])
        return float(inside(crf))

    return value_at

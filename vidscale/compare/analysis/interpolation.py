"""Rate-distortion curves as functions: PCHIP through the points that rise in bitrate and in quality."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.compare.points import Curve
from vidscale.quality import METRIC_TEXT, Metric

Poly = Any  # scipy.interpolate.PPoly; scipy is imported where it is needed, and has no types
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Front:
    """The points of a curve that can be interpolated: both bitrate and quality rise from point to point.

    Attributes:
        name: name of the curve's scalers.
        log_rate: log10 of kbit/s.
        quality: units of the metric, finite.
        notes: points that were left out, one line for each reason.
    """

    name: str
    log_rate: Numbers
    quality: Numbers
    notes: tuple[str, ...]

    @property
    def shortage(self) -> str | None:
        """Why the curve cannot be interpolated; None if it can."""
        if len(self.quality) >= 2:
            return None
        return "; ".join([f"{self.name} has fewer than two points that can be compared", *self.notes])

    def spans(self, low: float, high: float) -> bool:
        """Whether quality was measured over the whole range from ``low`` to ``high``."""
        return bool(self.quality[0] <= low < high <= self.quality[-1])

    def quality_text(self) -> str:
        """The range of quality, as text."""
        return f"{self.name} covers {self.quality[0]:.4g} to {self.quality[-1]:.4g}"

    def rate_text(self) -> str:
        """The range of bitrates, as text."""
        return f"{self.name} has {10 ** self.log_rate[0]:.4g} to {10 ** self.log_rate[-1]:.4g} kbit/s"

    def rate_at(self) -> Poly:
        """log10 of the bitrate as a function of quality; nan outside the measured range."""
        return _pchip(tuple(self.quality.tolist()), tuple(self.log_rate.tolist()))

    def quality_at(self) -> Poly:
        """Quality as a function of log10 of the bitrate; nan outside the measured range."""
        return _pchip(tuple(self.log_rate.tolist()), tuple(self.quality.tolist()))


def front_of(curve: Curve, metric: Metric) -> Front:
    """The points of a curve by rising bitrate, without those that cannot be interpolated.

    Left out are points without the metric, with an infinite one (perfect copies), and points that need more bits than
    another for no better quality.
    """
    name, label = curve.candidate.scaling, METRIC_TEXT[metric].label
    measured = [(p.bitrate_kbps, p.metrics[metric]) for p in curve.points if metric in p.metrics]
    finite = sorted({(rate, quality) for rate, quality in measured if rate > 0 and np.isfinite(quality)})
    notes = []
    if any(not np.isfinite(quality) for _, quality in measured):
        notes.append(f"{name}: points without a finite {label}, such as perfect copies, are left out")
    kept: list[tuple[float, float]] = []
    for rate, quality in finite:
        if kept and rate == kept[-1][0]:
            kept.pop()  # sorted: of two at one bitrate the better one comes second
        if not kept or quality > kept[-1][1]:
            kept.append((rate, quality))
    if lost := len({rate for rate, _ in finite}) - len(kept):
        points = "1 point is" if lost == 1 else f"{lost} points are"
        notes.append(f"{name}: {points} left out, of more bits but no better {label} than another")
    numbers = np.array(kept, dtype=np.float64).reshape(-1, 2)
    return Front(name, np.log10(numbers[:, 0]), numbers[:, 1], tuple(notes))


def difference(test: Poly, anchor: Poly, low: float, high: float) -> Poly:
    """Test minus anchor between ``low`` and ``high``; exact, since between neighbouring knots of both each is cubic.

    Args:
        test, anchor: results of `Front.rate_at` or of `Front.quality_at`, defined over the whole range.
        low, high: range of their argument.
    """
    from scipy.interpolate import CubicHermiteSpline

    every = np.union1d(anchor.x, test.x)
    knots = np.concatenate([[low], every[(every > low) & (every < high)], [high]])
    slopes = test(knots, nu=1) - anchor(knots, nu=1)
    return CubicHermiteSpline(knots, test(knots) - anchor(knots), slopes, extrapolate=False)


def percent(log_ratio: float) -> float:
    """A difference in %, from log10 of a ratio of bitrates."""
    return float((10**log_ratio - 1) * 100)


@lru_cache(maxsize=4096)  # each curve is compared with every other, and building a spline costs more than using it
def _pchip(x: tuple[float, ...], y: tuple[float, ...]) -> Poly:
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(x, y, extrapolate=False)

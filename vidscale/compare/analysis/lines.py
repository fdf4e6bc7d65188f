"""Curves as polylines to draw: samples of exactly what BD-rate integrates."""

from dataclasses import dataclass

import numpy as np

from vidscale.compare.analysis.bd_rate import NoFigure, common_quality
from vidscale.compare.analysis.interpolation import Numbers, Poly, difference, front_of
from vidscale.compare.points import Curve
from vidscale.quality import Metric

SAMPLES = 49
_FINE = 64 * SAMPLES  # samples from which these are chosen


@dataclass(frozen=True, slots=True)
class Line:
    """Samples by rising bitrate; empty if the curve cannot be interpolated.

    Attributes:
        kbps: bitrate, 1000 bit/s.
        values: units of the metric (`rate_line`), or % (`relative_line`).
    """

    kbps: tuple[float, ...]
    values: tuple[float, ...]


def rate_line(curve: Curve, metric: Metric) -> Line:
    """Quality over bitrate."""
    front = front_of(curve, metric)
    if front.shortage:
        return Line((), ())
    quality = _spread(front.rate_at(), front.quality[0], front.quality[-1])
    return Line(tuple((10 ** front.rate_at()(quality)).tolist()), tuple(quality.tolist()))


def relative_line(anchor: Curve, test: Curve, metric: Metric) -> Line:
    """How many more bits the test needs than the anchor at equal quality, in %, over the anchor's bitrate."""
    a, t = front_of(anchor, metric), front_of(test, metric)
    common = None if a.shortage or t.shortage else common_quality(a, t, metric)
    if common is None or isinstance(common, NoFigure):
        return Line((), ())
    quality = _spread(a.rate_at(), *common)
    more = difference(t.rate_at(), a.rate_at(), *common)(quality)
    return Line(tuple((10 ** a.rate_at()(quality)).tolist()), tuple(((10**more - 1) * 100).tolist()))


def _spread(rate_at: Poly, low: float, high: float) -> Numbers:
    """Values of quality from ``low`` to ``high``: evenly spaced where the curve is steep, and at evenly spaced bitrates
    where it is flat."""
    fine = np.linspace(low, high, _FINE)
    rates = rate_at(fine)
    place = (fine - low) / (high - low) + (rates - rates[0]) / (rates[-1] - rates[0])
    return np.interp(np.linspace(0, 2, SAMPLES), place, fine)

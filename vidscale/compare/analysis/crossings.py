"""Where two rate-distortion curves cross, as data and as a sentence."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from vidscale.compare.analysis.bd_rate import NoFigure, common_quality
from vidscale.compare.analysis.interpolation import difference, front_of, percent
from vidscale.compare.points import Curve
from vidscale.quality import Metric

Verdict = Literal["saves", "level", "costs"]

LEVEL_PERCENT = 0.5  # a smaller mean difference is neither a saving nor a cost


@dataclass(frozen=True, slots=True)
class RateInterval:
    """An interval between crossings of two curves, in which one of them is better throughout.

    Attributes:
        low, high: quality at both ends.
        low_kbps, high_kbps: the anchor's bitrate there, 1000 bit/s; at a crossing also the test's.
        rate: mean difference within the interval, % of the anchor's bits; negative if the test is better.
    """

    low: float
    high: float
    low_kbps: float
    high_kbps: float
    rate: float

    @property
    def verdict(self) -> Verdict:
        """Whether the test saves bits."""
        return verdict_of(self.rate)


def verdict_of(rate: float) -> Verdict:
    """The verdict on a difference in bitrate, in %; below `LEVEL_PERCENT` it is "level"."""
    if abs(rate) < LEVEL_PERCENT:
        return "level"
    return "saves" if rate < 0 else "costs"


def rate_intervals(anchor: Curve, test: Curve, metric: Metric) -> tuple[RateInterval, ...] | NoFigure:
    """The common range of quality, split where the curves cross, by rising bitrate.

    Returns:
        A single interval if the curves do not cross; or why there is none.
    """
    a, t = front_of(anchor, metric), front_of(test, metric)
    if shortage := a.shortage or t.shortage:
        return NoFigure(shortage)
    common = common_quality(a, t, metric)
    if isinstance(common, NoFigure):
        return common
    low, high = common
    anchor_rate = a.rate_at()
    delta = difference(t.rate_at(), anchor_rate, low, high)
    crossed = sorted({float(root) for root in delta.roots(extrapolate=False) if low < root < high})
    found: list[RateInterval] = []
    for left, right in pairwise([low, *crossed, high]):
        rate = percent(float(delta.integrate(left, right)) / (right - left))
        first, last = (float(10**log_rate) for log_rate in anchor_rate([left, right]))
        interval = RateInterval(left, right, first, last, rate)
        if found and (found[-1].rate < 0) == (rate < 0):  # the curves only touched
            interval = _joined(found.pop(), interval)
        found.append(interval)
    return tuple(found)


def crossing_sentence(anchor: Curve, test: Curve, metric: Metric) -> str:
    """Where the test saves bits: "below 1.9 Mbit/s lanczos-x2 saves bits against full size, above it costs bits"."""
    found = rate_intervals(anchor, test, metric)
    name, other = test.candidate.scaling, anchor.candidate.scaling
    if isinstance(found, NoFigure):
        return f"{name} cannot be compared with {other}: {found.reason}"
    intervals: list[RateInterval] = []
    for interval in found:
        if intervals and intervals[-1].verdict == interval.verdict:
            interval = _joined(intervals.pop(), interval)
        intervals.append(interval)
    clauses = []
    for at, interval in enumerate(intervals):
        verb = {"saves": "saves bits", "costs": "costs bits", "level": "is level"}[interval.verdict]
        subject = f"{name} {verb} against {other}" if at == 0 else verb
        if interval.verdict == "level" and at == 0:
            subject = f"{name} is level with {other}"
        clauses.append(f"{_where(at, intervals)} {subject}")
    return ", ".join(clauses)


def _where(at: int, intervals: list[RateInterval]) -> str:
    first, last = intervals[at].low_kbps, intervals[at].high_kbps
    if len(intervals) == 1:
        return f"from {rate_text(first)} to {rate_text(last)}"
    if at == 0:
        return f"below {rate_text(last)}"
    return "above it" if at == len(intervals) - 1 else f"from there to {rate_text(last)}"


def rate_text(kbps: float) -> str:
    """A bitrate with two significant digits: "850 kbit/s", "1.9 Mbit/s"."""
    if kbps < 999.5:
        return f"{float(f'{kbps:.2g}'):g} kbit/s"
    return f"{float(f'{kbps / 1000:.2g}'):g} Mbit/s"


def _joined(left: RateInterval, right: RateInterval) -> RateInterval:
    lengths = left.high - left.low, right.high - right.low
    logs = np.log10(1 + np.array([left.rate, right.rate]) / 100)
    rate = percent(float(np.average(logs, weights=lengths)))
    return RateInterval(left.low, right.high, left.low_kbps, right.high_kbps, rate)

"""Where one rate-distortion curve overtakes another, as data and as a sentence."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from vidscale.compare.analysis.bd_rate import NoFigure, common_quality
from vidscale.compare.analysis.interpolation import difference, front_of, percent
from vidscale.compare.metrics import Metric
from vidscale.compare.points import Curve

Verdict = Literal["saves", "level", "costs"]

LEVEL_PERCENT = 0.5  # a curve that is this near to the other, on average, neither saves nor costs


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the common quality range in which one curve is better throughout.

    Attributes:
        low, high: quality.
        low_kbps, high_kbps: the anchor's bitrate there, 1000 bit/s; where curves cross, the test's as well.
        rate: mean difference in it in % of the anchor's bits; negative: the test wins.
    """

    low: float
    high: float
    low_kbps: float
    high_kbps: float
    rate: float

    @property
    def verdict(self) -> Verdict:
        """What the test does to the bits."""
        return verdict_of(self.rate)


def verdict_of(rate: float) -> Verdict:
    """What a difference in bitrate, in %, comes to: it is level within half a percent."""
    if abs(rate) < LEVEL_PERCENT:
        return "level"
    return "saves" if rate < 0 else "costs"


def stretches(anchor: Curve, test: Curve, metric: Metric) -> tuple[Stretch, ...] | NoFigure:
    """The common quality range, cut where the curves cross, by rising bitrate.

    Returns:
        One stretch when they do not cross; or why nothing can be said.
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
    found: list[Stretch] = []
    for left, right in pairwise([low, *crossed, high]):
        rate = percent(float(delta.integrate(left, right)) / (right - left))
        first, last = (float(10**log_rate) for log_rate in anchor_rate([left, right]))
        stretch = Stretch(left, right, first, last, rate)
        if found and (found[-1].rate < 0) == (rate < 0):  # the curves only touched
            stretch = _joined(found.pop(), stretch)
        found.append(stretch)
    return tuple(found)


def crossing_sentence(anchor: Curve, test: Curve, metric: Metric) -> str:
    """One sentence for people: "below 1.9 Mb/s lanczos-x2 saves bits against full size, above it costs"."""
    found = stretches(anchor, test, metric)
    name, other = test.way.scaling, anchor.way.scaling
    if isinstance(found, NoFigure):
        return f"{name} cannot be compared with {other}: {found.reason}"
    pieces: list[Stretch] = []
    for stretch in found:
        if pieces and pieces[-1].verdict == stretch.verdict:
            stretch = _joined(pieces.pop(), stretch)
        pieces.append(stretch)
    clauses = []
    for at, piece in enumerate(pieces):
        verb = {"saves": "saves bits", "costs": "costs bits", "level": "is level"}[piece.verdict]
        subject = f"{name} {verb} against {other}" if at == 0 else verb
        if piece.verdict == "level" and at == 0:
            subject = f"{name} is level with {other}"
        clauses.append(f"{_where(at, pieces)} {subject}")
    return ", ".join(clauses)


def _where(at: int, pieces: list[Stretch]) -> str:
    first, last = pieces[at].low_kbps, pieces[at].high_kbps
    if len(pieces) == 1:
        return f"from {rate_text(first)} to {rate_text(last)}"
    if at == 0:
        return f"below {rate_text(last)}"
    return "above it" if at == len(pieces) - 1 else f"from there to {rate_text(last)}"


def rate_text(kbps: float) -> str:
    """A bitrate for people, two digits: "850 kb/s", "1.9 Mb/s"."""
    if kbps < 999.5:
        return f"{float(f'{kbps:.2g}'):g} kb/s"
    return f"{float(f'{kbps / 1000:.2g}'):g} Mb/s"


def _joined(left: Stretch, right: Stretch) -> Stretch:
    lengths = left.high - left.low, right.high - right.low
    logs = np.log10(1 + np.array([left.rate, right.rate]) / 100)
    rate = percent(float(np.average(logs, weights=lengths)))
    return Stretch(left.low, right.high, left.low_kbps, right.high_kbps, rate)

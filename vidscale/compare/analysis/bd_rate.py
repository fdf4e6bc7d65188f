"""Bjøntegaard's differences of two rate-distortion curves.

Curves are interpolated by PCHIP, log10 of the bitrate over quality (VCEG-M33, with the interpolation of the common test
conditions of HEVC and VVC, JCTVC-L1100 and JVET-T2010), and compared only where both were measured: what does not
overlap is an answer, `NoFigure`, never a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from vidscale.compare.analysis.interpolation import Front, Numbers, difference, front_of, percent
from vidscale.compare.metrics import Metric, Within
from vidscale.compare.points import Curve


@dataclass(frozen=True, slots=True)
class Delta:
    """Mean difference between two curves.

    Attributes:
        value: of `bd_rate` in % of the anchor's bits, negative when the test saves; of `bd_quality` in units of the
            metric, positive when the test is better.
        low, high: range in which the curves were compared; quality for `bd_rate`, kbit/s for `bd_quality`.
        overlap: length of the range that both curves cover over that which either covers, 0 to 1; of quality for
            `bd_rate`, of log bitrate for `bd_quality`.
        notes: what a person should know, such as points that were left out.
    """

    value: float
    low: float
    high: float
    overlap: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NoFigure:
    """There is no number, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class MeanDelta:
    """Arithmetic mean of a `Delta` over movies.

    Attributes:
        value: mean of the movies that have a figure.
        movies: how many have one.
        total: how many were compared.
    """

    value: float
    movies: int
    total: int


def bd_rate(anchor: Curve, test: Curve, metric: Metric, *, within: Within | None = None) -> Delta | NoFigure:
    """How many more bits the test needs for the anchor's quality, on average over the quality that both reach.

    Args:
        anchor: what is compared with.
        test: what is compared.
        metric: measure of quality.
        within: compare only where the anchor's metric of that name lies in that range, low before high. Another
            metric than that is then compared over the same part of the anchor's curve.

    Returns:
        The difference in %, or why there is none: too few points, no overlap, or a curve that does not span ``within``.
    """
    a, t = front_of(anchor, metric), front_of(test, metric)
    if shortage := a.shortage or t.shortage:
        return NoFigure(shortage)
    wanted = common_quality(a, t, metric) if within is None else _spanned_range(anchor, a, t, metric, within)
    if isinstance(wanted, NoFigure):
        return wanted
    low, high = wanted
    area = float(difference(t.rate_at(), a.rate_at(), low, high).integrate(low, high))
    return Delta(percent(area / (high - low)), low, high, _overlap(a.quality, t.quality), (*a.notes, *t.notes))


def bd_quality(anchor: Curve, test: Curve, metric: Metric, *, within: Within | None = None) -> Delta | NoFigure:
    """How much better the test is at the anchor's bitrate, on average over log bitrate where both were measured.

    Args:
        anchor, test, metric: as of `bd_rate`.
        within: compare only at bitrates at which the anchor's metric of that name lies in that range.

    Returns:
        The difference in units of the metric, or why there is none.
    """
    a, t = front_of(anchor, metric), front_of(test, metric)
    if shortage := a.shortage or t.shortage:
        return NoFigure(shortage)
    low, high = float(max(a.log_rate[0], t.log_rate[0])), float(min(a.log_rate[-1], t.log_rate[-1]))
    if within is not None:
        rates = _anchor_rates(anchor, within)
        if isinstance(rates, NoFigure):
            return rates
        low, high = max(low, rates[0]), min(high, rates[1])
    if low >= high:
        return NoFigure(f"no common bitrate: {a.rate_text()}, {t.rate_text()}")
    area = float(difference(t.quality_at(), a.quality_at(), low, high).integrate(low, high))
    overlap = _overlap(a.log_rate, t.log_rate)
    return Delta(area / (high - low), 10**low, 10**high, overlap, (*a.notes, *t.notes))


def mean_delta(figures: Sequence[Delta | NoFigure]) -> MeanDelta | NoFigure:
    """Mean over movies; those without a figure are counted, not guessed."""
    values = [figure.value for figure in figures if isinstance(figure, Delta)]
    if not values:
        return NoFigure("no movie has a figure")
    return MeanDelta(fmean(values), len(values), len(figures))


def common_quality(anchor: Front, test: Front, metric: Metric) -> tuple[float, float] | NoFigure:
    """The quality that both curves reach."""
    low, high = max(anchor.quality[0], test.quality[0]), min(anchor.quality[-1], test.quality[-1])
    if low >= high:
        return NoFigure(f"no overlap in {metric}: {anchor.quality_text()}, {test.quality_text()}")
    return float(low), float(high)


def _spanned_range(
    curve: Curve, anchor: Front, test: Front, metric: Metric, within: Within
) -> tuple[float, float] | NoFigure:
    """The range of a metric that belongs to a range of ``within[0]`` by the anchor, if both fronts span it."""
    low, high = within[1:]
    if metric != within[0]:
        rates = _anchor_rates(curve, within)
        if isinstance(rates, NoFigure):
            return rates
        if not anchor.log_rate[0] <= rates[0] < rates[1] <= anchor.log_rate[-1]:
            return NoFigure(f"{metric} was not measured over all of {within[0]} {within[1]:g} to {within[2]:g}")
        low, high = (float(quality) for quality in anchor.quality_at()(rates))
    for front in (anchor, test):
        if not front.spans(low, high):
            return NoFigure(f"does not span {metric} {low:.4g} to {high:.4g}: {front.quality_text()}")
    return low, high


def _anchor_rates(anchor: Curve, within: Within) -> tuple[float, float] | NoFigure:
    """log10 of the anchor's bitrates at both ends of the range."""
    metric, low, high = within
    front = front_of(anchor, metric)
    if front.shortage:
        return NoFigure(front.shortage)
    if not front.spans(low, high):
        return NoFigure(f"does not span {metric} {low:g} to {high:g}: {front.quality_text()}")
    first, last = front.rate_at()([low, high])
    return float(first), float(last)


def _overlap(anchor: Numbers, test: Numbers) -> float:
    common = min(anchor[-1], test[-1]) - max(anchor[0], test[0])
    return float(max(0.0, common) / (max(anchor[-1], test[-1]) - min(anchor[0], test[0])))

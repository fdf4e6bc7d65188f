"""Bjøntegaard delta rate and quality of two rate-distortion curves.

Curves are interpolated by PCHIP, log10 of the bitrate over quality (VCEG-M33, with the interpolation of the common test
conditions of HEVC and VVC, JCTVC-L1100 and JVET-T2010), and compared only where both were measured: curves that do not
overlap give `NoFigure`, never an extrapolated number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from vidscale.compare.analysis.interpolation import Front, Numbers, difference, front_of, percent
from vidscale.compare.points import Curve
from vidscale.quality import METRIC_TEXT, Metric, Within


@dataclass(frozen=True, slots=True)
class Delta:
    """Mean difference between two curves.

    Attributes:
        value: `bd_rate`: % of the anchor's bits, negative if the test saves bits; `bd_quality`: units of the metric,
            positive if the test is better.
        low, high: range that was compared, in quality (`bd_rate`) or kbit/s (`bd_quality`).
        overlap: range that both curves cover, divided by the range that either covers, 0 to 1; in quality (`bd_rate`)
            or log bitrate (`bd_quality`).
        notes: remarks for the reader, such as points that were left out.
    """

    value: float
    low: float
    high: float
    overlap: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NoFigure:
    """Why there is no number."""

    reason: str


@dataclass(frozen=True, slots=True)
class MeanDelta:
    """Arithmetic mean of a `Delta` over movies.

    Attributes:
        value: mean of the movies that have a figure.
        movies: number of movies that have a figure.
        total: number of movies that were compared.
    """

    value: float
    movies: int
    total: int


def bd_rate(anchor: Curve, test: Curve, metric: Metric, *, within: Within | None = None) -> Delta | NoFigure:
    """How many more bits the test needs than the anchor at equal quality, averaged over the quality that both cover.

    Args:
        anchor: the reference.
        test: the curve that is rated.
        metric: measure of quality.
        within: compare only where this metric of the anchor is in this range. If it is not ``metric``, the comparison
            covers the same part of the anchor's curve.

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
    """How much better the test is than the anchor at equal bitrate, averaged over the log bitrate that both cover.

    Args:
        anchor, test, metric: see `bd_rate`.
        within: compare only at bitrates at which this metric of the anchor is in this range.

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
    """Mean over the movies that have a figure; the others only count in the total."""
    values = [figure.value for figure in figures if isinstance(figure, Delta)]
    if not values:
        return NoFigure("no movie has a figure")
    return MeanDelta(fmean(values), len(values), len(figures))


def common_quality(anchor: Front, test: Front, metric: Metric) -> tuple[float, float] | NoFigure:
    """The range of quality that both curves cover."""
    low, high = max(anchor.quality[0], test.quality[0]), min(anchor.quality[-1], test.quality[-1])
    if low >= high:
        return NoFigure(f"no overlap in {METRIC_TEXT[metric].label}: {anchor.quality_text()}, {test.quality_text()}")
    return float(low), float(high)


def _spanned_range(
    curve: Curve, anchor: Front, test: Front, metric: Metric, within: Within
) -> tuple[float, float] | NoFigure:
    """The range of a metric over the part of the anchor's curve that ``within`` selects, if both fronts span it."""
    low, high = within[1:]
    if metric != within[0]:
        rates = _anchor_rates(curve, within)
        if isinstance(rates, NoFigure):
            return rates
        if not anchor.log_rate[0] <= rates[0] < rates[1] <= anchor.log_rate[-1]:
            whole = f"{METRIC_TEXT[within[0]].label} {within[1]:g} to {within[2]:g}"
            return NoFigure(f"{METRIC_TEXT[metric].label} was not measured over all of {whole}")
        low, high = (float(quality) for quality in anchor.quality_at()(rates))
    for front in (anchor, test):
        if not front.spans(low, high):
            return NoFigure(
                f"does not span {METRIC_TEXT[metric].label} {low:.4g} to {high:.4g}: {front.quality_text()}"
            )
    return low, high


def _anchor_rates(anchor: Curve, within: Within) -> tuple[float, float] | NoFigure:
    """log10 of the anchor's bitrates at both ends of ``within``."""
    metric, low, high = within
    front = front_of(anchor, metric)
    if front.shortage:
        return NoFigure(front.shortage)
    if not front.spans(low, high):
        return NoFigure(f"does not span {METRIC_TEXT[metric].label} {low:g} to {high:g}: {front.quality_text()}")
    first, last = front.rate_at()([low, high])
    return float(first), float(last)


def _overlap(anchor: Numbers, test: Numbers) -> float:
    common = min(anchor[-1], test[-1]) - max(anchor[0], test[0])
    return float(max(0.0, common) / (max(anchor[-1], test[-1]) - min(anchor[0], test[0])))

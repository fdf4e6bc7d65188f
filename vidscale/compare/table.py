"""What a comparison comes to: each way against the full size and against the first scaled way, as rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from vidscale.compare.bd_rate import Delta, MeanDelta, NoFigure, bd_quality, bd_rate, mean_delta
from vidscale.compare.crossings import crossing_sentence
from vidscale.compare.points import Comparison, Curve, Metric, Way


@dataclass(frozen=True, slots=True)
class Row:
    """One way against another by one metric.

    Attributes:
        anchor, test: the ways.
        metric: measure of quality.
        movie: name; None for the mean over movies.
        rate: BD-rate, % of the anchor's bits.
        quality: BD-quality, units of the metric.
        encode_s, decode_s: the test's wall time for a second of video, mean over all points.
        sentence: where the test saves bits; "" in a mean.
    """

    anchor: Way
    test: Way
    metric: Metric
    movie: str | None
    rate: Delta | MeanDelta | NoFigure
    quality: Delta | MeanDelta | NoFigure
    encode_s: float
    decode_s: float
    sentence: str = ""


def rows_of(comparison: Comparison) -> list[Row]:
    """By encoder and metric: each movie, then the mean where there are several movies."""
    curves = {(curve.movie, curve.way): curve for curve in comparison.curves}
    ways = list(dict.fromkeys(curve.way for curve in comparison.curves))
    rows = []
    for codec in dict.fromkeys(way.codec for way in ways):
        pairs = _against([way for way in ways if way.codec == codec])
        for metric in comparison.metrics:
            for anchor, test in pairs:
                rows += _rows(comparison, curves, anchor, test, metric)
    return rows


def _against(ways: Sequence[Way]) -> list[tuple[Way, Way]]:
    """(anchor, test): everything against the full size, then what is scaled against the first of it."""
    full = [way for way in ways if way.is_full]
    scaled = [way for way in ways if not way.is_full]
    return [(anchor, test) for anchor in full for test in scaled] + [(scaled[0], test) for test in scaled[1:]]


def _rows(
    comparison: Comparison, curves: dict[tuple[str, Way], Curve], anchor: Way, test: Way, metric: Metric
) -> list[Row]:
    rows: list[Row] = []
    tests = []
    rates, qualities = list[Delta | NoFigure](), list[Delta | NoFigure]()
    for movie in comparison.movies:
        a, t = curves.get((movie.name, anchor)), curves.get((movie.name, test))
        if a is None or t is None:
            continue
        rates.append(bd_rate(a, t, metric, within=comparison.within))
        qualities.append(bd_quality(a, t, metric, within=comparison.within))
        sentence = crossing_sentence(a, t, metric)
        rows.append(Row(anchor, test, metric, movie.name, rates[-1], qualities[-1], *_seconds([t]), sentence))
        tests.append(t)
    if len(rows) > 1:
        mean = mean_delta(rates), mean_delta(qualities)
        rows.append(Row(anchor, test, metric, None, *mean, *_seconds(tests)))
    return rows


def _seconds(curves: Sequence[Curve]) -> tuple[float, float]:
    """Wall time of coding and of restoring, per second of video."""
    points = [point for curve in curves for point in curve.points]
    length = float(sum(point.duration_s for point in points))
    return sum(point.encode_s for point in points) / length, sum(point.decode_s for point in points) / length

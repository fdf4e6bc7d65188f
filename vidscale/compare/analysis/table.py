"""What a comparison comes to: each way against the full size and against the first that was named, as rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from vidscale.compare.analysis.bd_rate import Delta, MeanDelta, NoFigure
from vidscale.compare.analysis.crossings import crossing_sentence
from vidscale.compare.analysis.figures import Figures
from vidscale.compare.metrics import Metric
from vidscale.compare.points import Comparison, Curve, Way


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
    figures = Figures(comparison)
    rows = []
    for encoder in figures.encoders:
        pairs = _against(figures.ways_of(encoder))
        for metric in comparison.metrics:
            for anchor, test in pairs:
                rows += _rows(comparison, figures, anchor, test, metric)
    return rows


def _against(ways: Sequence[Way]) -> list[tuple[Way, Way]]:
    """(anchor, test): everything against the full size, then what is scaled against the first of it."""
    full = [way for way in ways if way.is_full]
    scaled = [way for way in ways if not way.is_full]
    return [(anchor, test) for anchor in full for test in scaled] + [(scaled[0], test) for test in scaled[1:]]


def _rows(comparison: Comparison, figures: Figures, anchor: Way, test: Way, metric: Metric) -> list[Row]:
    rows: list[Row] = []
    tests = []
    for movie in comparison.movies:
        a, t = figures.curve(movie.name, anchor), figures.curve(movie.name, test)
        if a is None or t is None:
            continue
        found = figures.pairing(movie.name, anchor, test, metric)
        sentence = crossing_sentence(a, t, metric)
        rows.append(Row(anchor, test, metric, movie.name, found.rate, found.quality, *_seconds([t]), sentence))
        tests.append(t)
    if len(rows) > 1:
        mean = figures.mean(anchor, test, metric)
        rows.append(Row(anchor, test, metric, None, mean.rate, mean.quality, *_seconds(tests)))
    return rows


def _seconds(curves: Sequence[Curve]) -> tuple[float, float]:
    """Wall time of coding and of restoring, per second of video."""
    points = [point for curve in curves for point in curve.points]
    length = float(sum(point.duration_s for point in points))
    return sum(point.encode_s for point in points) / length, sum(point.decode_s for point in points) / length

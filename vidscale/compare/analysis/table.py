"""The BD table of a comparison: each candidate against the full size and against the first pair that was named."""

from collections.abc import Sequence
from dataclasses import dataclass

from vidscale.compare.analysis.bd_rate import Delta, MeanDelta, NoFigure
from vidscale.compare.analysis.crossings import crossing_sentence
from vidscale.compare.analysis.figures import Figures
from vidscale.compare.points import Candidate, Comparison, Curve
from vidscale.quality import Metric


@dataclass(frozen=True, slots=True)
class BdRow:
    """One candidate against another by one metric.

    Attributes:
        anchor, test: the candidates.
        metric: measure of quality.
        movie: name; None for the mean over movies.
        rate: BD-rate, % of the anchor's bits.
        quality: BD-quality, units of the metric.
        encode_s, decode_s: the test's wall time per second of video, mean over all points.
        sentence: where the test saves bits; "" for the mean.
    """

    anchor: Candidate
    test: Candidate
    metric: Metric
    movie: str | None
    rate: Delta | MeanDelta | NoFigure
    quality: Delta | MeanDelta | NoFigure
    encode_s: float
    decode_s: float
    sentence: str = ""


def bd_rows(comparison: Comparison) -> list[BdRow]:
    """Rows by encoder and metric: one for each movie, then the mean if there are several movies."""
    figures = Figures(comparison)
    rows = []
    for encoder in figures.encoders:
        pairs = _against(figures.candidates_of(encoder))
        for metric in comparison.metrics:
            for anchor, test in pairs:
                rows += _rows(comparison, figures, anchor, test, metric)
    return rows


def _against(candidates: Sequence[Candidate]) -> list[tuple[Candidate, Candidate]]:
    """(anchor, test): scaled candidates against the full size, then against the first scaled one."""
    full = [candidate for candidate in candidates if candidate.is_full]
    scaled = [candidate for candidate in candidates if not candidate.is_full]
    return [(anchor, test) for anchor in full for test in scaled] + [(scaled[0], test) for test in scaled[1:]]


def _rows(comparison: Comparison, figures: Figures, anchor: Candidate, test: Candidate, metric: Metric) -> list[BdRow]:
    rows: list[BdRow] = []
    tests = []
    for movie in comparison.movies:
        a, t = figures.curve(movie.name, anchor), figures.curve(movie.name, test)
        if a is None or t is None:
            continue
        found = figures.deltas(movie.name, anchor, test, metric)
        sentence = crossing_sentence(a, t, metric)
        rows.append(BdRow(anchor, test, metric, movie.name, found.rate, found.quality, *_seconds([t]), sentence))
        tests.append(t)
    if len(rows) > 1:
        mean = figures.mean(anchor, test, metric)
        rows.append(BdRow(anchor, test, metric, None, mean.rate, mean.quality, *_seconds(tests)))
    return rows


def _seconds(curves: Sequence[Curve]) -> tuple[float, float]:
    """Wall time of encoding and of restoring, per second of video."""
    points = [point for curve in curves for point in curve.points]
    length = float(sum(point.duration_s for point in points))
    return sum(point.encode_s for point in points) / length, sum(point.decode_s for point in points) / length

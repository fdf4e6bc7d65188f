"""The data of the page's plots and table, as JSON values.

Movies, candidates and metrics are referred to by index: ``curves[movie][candidate]``,
``figures[movie][anchor][test][metric]``. Missing values are null, infinity is the string "inf".
"""

import math
from dataclasses import asdict
from typing import Any

from vidscale.compare.analysis.bd_rate import Delta, MeanDelta, NoFigure
from vidscale.compare.analysis.crossings import LEVEL_PERCENT, crossing_sentence
from vidscale.compare.analysis.figures import Deltas, Figures, MeanDeltas
from vidscale.compare.analysis.interpolation import front_of
from vidscale.compare.analysis.lines import Line, rate_line, relative_line
from vidscale.compare.output.styles import curve_styles
from vidscale.compare.points import Candidate, Comparison, Curve, Point
from vidscale.quality import METRIC_TEXT, Metric
from vidscale.text import capitalized


def page_data(comparison: Comparison, figures: Figures) -> dict[str, Any]:
    """All data for the page's scripts, except the stills."""
    movies = [movie.name for movie in comparison.movies]
    candidates, metrics = figures.candidates, comparison.metrics
    return {
        "metrics": [asdict(METRIC_TEXT[metric]) | {"key": metric} for metric in metrics],
        "encoders": figures.encoders,
        "level_percent": LEVEL_PERCENT,
        "movies": movies,
        "candidates": _candidates(figures),
        "curves": [[_curve(comparison, figures, movie, candidate) for candidate in candidates] for movie in movies],
        "figures": [
            [
                [[_deltas(figures.deltas(movie, a, t, m)) for m in metrics] if a != t else None for t in candidates]
                for a in candidates
            ]
            for movie in movies
        ],
        "means": [
            [[_mean(figures.mean(a, t, m)) for m in metrics] if a != t else None for t in candidates]
            for a in candidates
        ],
    }


def _candidates(figures: Figures) -> list[dict[str, Any]]:
    styles = curve_styles(figures.candidates)
    return [
        {
            "name": candidate.scaling,
            "encoder": figures.encoders.index(candidate.encoder),
            "full": candidate.is_full,
            "color": "ink" if styles[candidate].color is None else f"curve{styles[candidate].color}",
            "symbol": styles[candidate].symbol[0],
            "dash": styles[candidate].dash[0],
        }
        for candidate in figures.candidates
    ]


def _curve(comparison: Comparison, figures: Figures, movie: str, candidate: Candidate) -> dict[str, Any] | None:
    curve = figures.curve(movie, candidate)
    if curve is None:
        return None
    full = figures.full_size(candidate.encoder)
    anchor = figures.curve(movie, full) if full and full != candidate else None
    metrics = comparison.metrics
    return {
        "points": [_point(point, comparison) for point in curve.points],
        "lines": [_line(rate_line(curve, metric)) for metric in metrics],
        "relative": [_line(relative_line(anchor, curve, metric)) for metric in metrics] if anchor else None,
        "notes": [_notes(anchor, curve, metric) for metric in metrics],
        "encode_s": math.fsum(point.encode_s for point in curve.points),
        "decode_s": math.fsum(point.decode_s for point in curve.points),
        "video_s": math.fsum(point.duration_s for point in curve.points),
    }


def _notes(anchor: Curve | None, curve: Curve, metric: Metric) -> list[str]:
    """Sentences: where the curve crosses that of the full size, and which points were left out of it."""
    notes = [*([crossing_sentence(anchor, curve, metric)] if anchor else []), *front_of(curve, metric).notes]
    pair = None if curve.candidate.is_full else curve.candidate.scaling
    return [f"{note if pair and note.startswith(pair) else capitalized(note)}." for note in notes]


def _point(point: Point, comparison: Comparison) -> dict[str, Any]:
    """A point; times are per second of video."""
    return {
        "crf": point.crf,
        "kbps": _short(point.bitrate_kbps),
        "quality": [_number(point.metrics.get(metric)) for metric in comparison.metrics],
        "encode_s": _short(point.encode_s / point.duration_s),
        "decode_s": _short(point.decode_s / point.duration_s),
    }


def _deltas(deltas: Deltas) -> list[Any]:
    overlap = {} if isinstance(deltas.rate, NoFigure) else {"overlap": round(deltas.rate.overlap, 3)}
    return [_figure(deltas.rate, overlap), _figure(deltas.quality, {})]


def _mean(mean: MeanDeltas) -> list[Any]:
    counted = {} if isinstance(mean.rate, NoFigure) else {"movies": mean.rate.movies, "total": mean.rate.total}
    return [_figure(mean.rate, {"overlap": round(mean.overlap, 3), **counted}), _figure(mean.quality, {})]


def _figure(found: Delta | MeanDelta | NoFigure, more: dict[str, Any]) -> dict[str, Any] | str:
    return found.reason if isinstance(found, NoFigure) else {"value": _short(found.value), **more}


def _line(line: Line) -> list[list[float]]:
    return [[_short(value) for value in line.kbps], [_short(value) for value in line.values]]


def _short(value: float) -> float:
    """Six significant digits, enough for everything that is shown."""
    return float(f"{value:.6g}")


def _number(value: float | None) -> float | str | None:
    if value is None or math.isnan(value):
        return None
    return _short(value) if math.isfinite(value) else "inf"

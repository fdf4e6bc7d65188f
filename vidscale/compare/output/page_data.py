"""The numbers behind the page's plots and table, in plain lists as JSON has them.

Movies, ways and metrics are named once and then meant by their place: ``curves[movie][way]``,
``figures[movie][anchor][test][metric]``. What is missing is null; infinity is the word "inf".
"""

import math
from dataclasses import asdict
from typing import Any

from vidscale.compare.analysis.bd_rate import Delta, MeanDelta, NoFigure
from vidscale.compare.analysis.crossings import LEVEL_PERCENT, crossing_sentence
from vidscale.compare.analysis.figures import Figures, MeanPairing, Pairing
from vidscale.compare.analysis.interpolation import front_of
from vidscale.compare.analysis.lines import Line, rate_line, relative_line
from vidscale.compare.metrics import METRIC_TEXT
from vidscale.compare.output.styles import way_styles
from vidscale.compare.points import Comparison, Curve, Point, Way, encoder_text


def page_data(comparison: Comparison, figures: Figures) -> dict[str, Any]:
    """Everything that the page's scripts draw and tell, but its pictures."""
    movies = [movie.name for movie in comparison.movies]
    ways, metrics = figures.ways, comparison.metrics
    return {
        "metrics": [asdict(METRIC_TEXT[metric]) | {"key": metric} for metric in metrics],
        "encoders": figures.encoders,
        "level_percent": LEVEL_PERCENT,
        "movies": movies,
        "ways": _ways(figures),
        "curves": [[_curve(comparison, figures, movie, way) for way in ways] for movie in movies],
        "figures": [
            [
                [[_pairing(figures.pairing(movie, a, t, m)) for m in metrics] if a != t else None for t in ways]
                for a in ways
            ]
            for movie in movies
        ],
        "means": [[[_mean(figures.mean(a, t, m)) for m in metrics] if a != t else None for t in ways] for a in ways],
    }


def _ways(figures: Figures) -> list[dict[str, Any]]:
    styles = way_styles(figures.ways)
    return [
        {
            "name": way.scaling,
            "encoder": figures.encoders.index(encoder_text(way)),
            "full": way.is_full,
            "color": "ink" if styles[way].color is None else f"way{styles[way].color}",
            "symbol": styles[way].symbol[0],
            "dash": styles[way].dash[0],
        }
        for way in figures.ways
    ]


def _curve(comparison: Comparison, figures: Figures, movie: str, way: Way) -> dict[str, Any] | None:
    curve = figures.curve(movie, way)
    if curve is None:
        return None
    full = figures.full_size(encoder_text(way))
    anchor = figures.curve(movie, full) if full and full != way else None
    metrics = comparison.metrics
    return {
        "points": [_point(point, comparison) for point in curve.points],
        "lines": [_line(rate_line(curve, metric)) for metric in metrics],
        "relative": [_line(relative_line(anchor, curve, metric)) for metric in metrics] if anchor else None,
        "told": [_told(anchor, curve, metric) for metric in metrics],
        "encode_s": math.fsum(point.encode_s for point in curve.points),
        "decode_s": math.fsum(point.decode_s for point in curve.points),
        "video_s": math.fsum(point.duration_s for point in curve.points),
    }


def _told(anchor: Curve | None, curve: Curve, metric: Any) -> list[str]:
    """Where the curve crosses the full size's, and what was left out of it."""
    notes = list(front_of(curve, metric).notes)
    return [crossing_sentence(anchor, curve, metric), *notes] if anchor else notes


def _point(point: Point, comparison: Comparison) -> dict[str, Any]:
    """A point; times are for a second of video."""
    return {
        "crf": point.crf,
        "kbps": _short(point.bitrate_kbps),
        "quality": [_number(point.metrics.get(metric)) for metric in comparison.metrics],
        "encode_s": _short(point.encode_s / point.duration_s),
        "decode_s": _short(point.decode_s / point.duration_s),
    }


def _pairing(pairing: Pairing) -> list[Any]:
    overlap = {} if isinstance(pairing.rate, NoFigure) else {"overlap": round(pairing.rate.overlap, 3)}
    return [_figure(pairing.rate, overlap), _figure(pairing.quality, {})]


def _mean(mean: MeanPairing) -> list[Any]:
    counted = {} if isinstance(mean.rate, NoFigure) else {"movies": mean.rate.movies, "total": mean.rate.total}
    return [_figure(mean.rate, {"overlap": round(mean.overlap, 3), **counted}), _figure(mean.quality, {})]


def _figure(found: Delta | MeanDelta | NoFigure, more: dict[str, Any]) -> dict[str, Any] | str:
    return found.reason if isinstance(found, NoFigure) else {"value": _short(found.value), **more}


def _line(line: Line) -> list[list[float]]:
    return [[_short(value) for value in line.kbps], [_short(value) for value in line.values]]


def _short(value: float) -> float:
    """Six digits: enough for every figure that is shown."""
    return float(f"{value:.6g}")


def _number(value: float | None) -> float | str | None:
    if value is None or math.isnan(value):
        return None
    return _short(value) if math.isfinite(value) else "inf"

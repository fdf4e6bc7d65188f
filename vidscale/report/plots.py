"""Plots a report over time, as a plotly figure in plain JSON types.

All plots share a time axis in milliseconds. Traces have a colour name, ``meta.color``, that the page resolves for light
and dark.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidscale.report.rows import Report
from vidscale.report.totals import Column, FloatColumn, psnr

MAX_POINTS = 4000
BINS = 1300
_GAP_PX = 52
_MARGIN_PX = {"l": 64, "r": 16, "t": 36, "b": 40}


@dataclass(frozen=True, slots=True)
class _Series:
    column: str
    label: str
    hover: str
    color: str
    width_px: float = 1.1


@dataclass(frozen=True, slots=True)
class _Plot:
    """One of the stacked plots; its first series is drawn on top of the others."""

    title: str
    height_px: int
    digits: int
    series: tuple[_Series, ...]


_PLOTS = (
    _Plot(
        "PSNR, dB",
        230,
        3,
        (
            _Series("psnr_y", "Y", "PSNR-Y", "y", 1.8),
            _Series("psnr_u", "U", "PSNR-U", "u"),
            _Series("psnr_v", "V", "PSNR-V", "v"),
        ),
    ),
    _Plot(
        "SSIM",
        190,
        5,
        (
            _Series("ssim_y", "Y", "SSIM-Y", "y", 1.8),
            _Series("ssim_u", "U", "SSIM-U", "u"),
            _Series("ssim_v", "V", "SSIM-V", "v"),
        ),
    ),
    _Plot(
        "VMAF",
        160,
        2,
        (_Series("vmaf", "VMAF", "VMAF", "vmaf", 1.8), _Series("vmaf_neg", "NEG", "VMAF NEG", "neg")),
    ),
    _Plot("XPSNR-Y, dB", 160, 3, (_Series("xpsnr_y", "Y", "XPSNR-Y", "y", 1.8),)),
    _Plot("Bitrate over one second, kbit/s", 160, 1, (_Series("bitrate_kbps", "", "kbit/s", "bitrate", 1.8),)),
    _Plot("Bytes per frame, by type", 170, 0, (_Series("bytes", "", "", ""),)),
)
_TYPES = {"I": "type_i", "P": "type_p", "B": "type_b"}


def figure(report: Report, table: Mapping[str, Column]) -> dict[str, Any]:
    """The figure: ``data`` and ``layout`` for plotly.js, without NaN or infinity.

    Args:
        report: source of the worst frames.
        table: `columns(report)`.
    """
    plots = [plot for plot in _PLOTS if any(_plottable(table, series) for series in plot.series)]
    data: list[dict[str, Any]] = []
    for number, plot in enumerate(plots, start=1):
        main = plot.series[0].column
        if main == "bytes":
            traces = _sizes(table)
        else:
            drawn = [series for series in plot.series if _plottable(table, series)]
            traces = [trace for series in drawn for trace in _lines(table, series, plot)]
        if main == "psnr_y":
            traces += _perfect(table) + _worst(report)
        axis = "" if number == 1 else str(number)
        place = {"xaxis": "x", "yaxis": f"y{axis}", "legend": f"legend{axis}"}
        data += [trace | place | {"legendrank": 100 * number + rank} for rank, trace in enumerate(traces)]
    return {"data": data, "layout": _layout(plots, table)}


def _plottable(table: Mapping[str, Column], series: _Series) -> bool:
    return series.column in table and bool(np.isfinite(table[series.column]).any())


def _lines(table: Mapping[str, Column], series: _Series, plot: _Plot) -> list[dict[str, Any]]:
    """A line; for long videos the mean per bin, with a band from its lowest to its highest value."""
    column = table[series.column]
    values = np.where(np.isfinite(column), column, np.nan)
    starts = _bin_starts(values.size)
    main = series is plot.series[0]
    shared = {
        "x": _milliseconds(table["pts_s"][starts]),
        "type": "scatter",
        "mode": "lines" if values.size > 1 else "markers",
        "meta": {"color": series.color, "series": series.column},
        "name": series.label,
        "legendgroup": series.column,
        "zorder": 1 if main else 0,
    }
    mean = shared | {
        "y": _plain(_bin_means(values, starts), plot.digits),
        "line": {"width": series.width_px},
        "marker": {"size": 6},
        "showlegend": len(plot.series) > 1,
        "hovertemplate": f"{series.hover} %{{y:.{plot.digits}f}}<extra></extra>",
    }
    if series.column == "psnr_y":
        mean |= {"customdata": _frame_labels(table, starts)}
        mean["hovertemplate"] = f"%{{customdata}}<br>{mean['hovertemplate']}"
    if starts.size == values.size:
        return [mean]
    band = shared | {"hoverinfo": "skip", "showlegend": False, "line": {"width": 0}}
    low = band | {"y": _plain(np.fmin.reduceat(values, starts), plot.digits)}
    high = band | {"y": _plain(np.fmax.reduceat(values, starts), plot.digits), "fill": "tonexty"}
    return [low, high, mean]


def _frame_labels(table: Mapping[str, Column], starts: Column) -> list[str]:
    """Hover labels of the frames or bins, without metrics."""
    if starts.size < table["index"].size:
        stops = np.append(starts[1:], table["index"].size) - 1
        return [
            f"frames {table['index'][first]} to {table['index'][last]}"
            for first, last in zip(starts, stops, strict=True)
        ]
    labels = []
    for index, kind, size in zip(table["index"], table["pict_type"], table["bytes"], strict=True):
        coded = "" if np.isnan(size) else f", {size:,.0f} bytes"
        labels.append(f"frame {index}{kind and ', ' + kind}{coded}")
    return labels


def _sizes(table: Mapping[str, Column]) -> list[dict[str, Any]]:
    """Frame sizes as points by picture type; for long videos the largest of each type per bin."""
    types, sizes = table["pict_type"], np.where(table["bytes"] > 0, table["bytes"], np.nan)
    starts = _bin_starts(sizes.size)
    found = []
    for name in dict.fromkeys([*_TYPES, *types.tolist()]):
        largest = np.fmax.reduceat(np.where(types == name, sizes, np.nan), starts)
        kept = np.isfinite(largest)
        if kept.any():
            marks = _marks(table["pts_s"][starts][kept], largest[kept], 0)
            color = _TYPES.get(name, "type_b")
            found.append(
                marks
                | {
                    "name": name or "unknown type",
                    "meta": {"color": color, "series": "bytes"},
                    "marker": {"size": 6 if name == "I" else 4},
                    "hoverinfo": "skip",
                }
            )
    return found


def _perfect(table: Mapping[str, Column]) -> list[dict[str, Any]]:
    """Marks at the top of the PSNR plot for frames with infinite PSNR-Y."""
    perfect = np.isinf(table["psnr_y"])
    if not perfect.any():
        return []
    starts = _bin_starts(perfect.size)
    here = np.logical_or.reduceat(perfect, starts)
    finite = [table[name][np.isfinite(table[name])] for name in ("psnr_y", "psnr_u", "psnr_v") if name in table]
    top = max((float(values.max()) for values in finite if values.size), default=0.0) + 1.0
    return [
        _marks(table["pts_s"][starts][here], np.full(here.sum(), top), 2)
        | {
            "name": "perfect (Y infinite)",
            "meta": {"color": "y", "series": "perfect"},
            "marker": {"symbol": "triangle-up", "size": 7},
            "customdata": [label for label, kept in zip(_frame_labels(table, starts), here, strict=True) if kept],
            "hovertemplate": "%{customdata}<br>PSNR-Y ∞<extra></extra>",
        }
    ]


def _worst(report: Report) -> list[dict[str, Any]]:
    if not report.worst:
        return []
    scores = [frame.score for frame in report.worst]
    times = np.array([float(score.pts_s) for score in scores])
    return [
        _marks(times, psnr([score.mse[0] for score in scores], report.source.format.peak), 3)
        | {
            "name": "shown below",
            "meta": {"color": "worst", "series": "worst"},
            "marker": {"symbol": "circle-open", "size": 11, "line": {"width": 2}},
            "hoverinfo": "skip",
        }
    ]


def _marks(times: FloatColumn, values: FloatColumn, digits: int) -> dict[str, Any]:
    return {"x": _milliseconds(times), "y": _plain(values, digits), "type": "scatter", "mode": "markers", "zorder": 2}


def _y_axis(plot: _Plot, table: Mapping[str, Column]) -> dict[str, Any]:
    """Type or range of a plot's axis, where plotly's own choice does not fit."""
    if plot.series[0].column == "bytes":
        return {"type": "log", "exponentformat": "SI", "dtick": 1}
    values = np.concatenate([table[series.column] for series in plot.series if _plottable(table, series)])
    if plot.title == "SSIM" and np.nanmin(values) == np.nanmax(values):  # a range of two would be drawn around it
        return {"range": [float(values[0]) - 0.01, float(values[0]) + 0.002]}
    return {}


def _layout(plots: list[_Plot], table: Mapping[str, Column]) -> dict[str, Any]:
    height = sum(plot.height_px for plot in plots) + _GAP_PX * (len(plots) - 1)
    layout: dict[str, Any] = {
        "height": height + _MARGIN_PX["t"] + _MARGIN_PX["b"],
        "margin": _MARGIN_PX,
        "hovermode": "x unified",
        "hoversubplots": "axis",
        "annotations": [],
        "xaxis": _time_axis(table["pts_s"]) | {"anchor": f"y{len(plots)}" if len(plots) > 1 else "y"},
    }
    top = height
    for number, plot in enumerate(plots, start=1):
        axis = "" if number == 1 else str(number)
        domain = [(top - plot.height_px) / height, top / height]
        above = {"y": domain[1], "yanchor": "bottom"}
        layout[f"yaxis{axis}"] = {"domain": domain, **_y_axis(plot, table)}
        layout[f"legend{axis}"] = {"orientation": "h", "x": 1, "xanchor": "right", **above}
        layout["annotations"].append(
            {
                "text": plot.title,
                "xref": "paper",
                "yref": "paper",
                "x": 0,
                "xanchor": "left",
                "yshift": 4,
                "showarrow": False,
                **above,
            }
        )
        top -= plot.height_px + _GAP_PX
    return layout


def _time_axis(seconds: FloatColumn) -> dict[str, Any]:
    """A date axis, which has round ticks at every zoom; range in milliseconds with a margin of 1 % on both sides."""
    first, last = (float(seconds.min()), float(seconds.max())) if seconds.size else (0.0, 0.0)
    last = max(last, first + 0.1)
    margin = (last - first) / 100
    clock = "%-H:%M:%S" if last >= 3600 else "%-M:%S"
    return {
        "type": "date",
        "range": [round(time * 1000, 3) for time in (first - margin, last + margin)],
        "hoverformat": f"{clock}.%L",
        "tickformatstops": [
            {"dtickrange": [None, 999], "value": f"{clock}.%L"},
            {"dtickrange": [999, None], "value": clock},
        ],
    }


def _bin_starts(count: int) -> Column:
    """First row of each bin; one bin per row up to `MAX_POINTS`."""
    return np.arange(count) if count <= MAX_POINTS else np.arange(BINS) * count // BINS


def _bin_means(values: FloatColumn, starts: Column) -> FloatColumn:
    known = np.add.reduceat(np.isfinite(values).astype(np.float64), starts)
    total = np.add.reduceat(np.nan_to_num(values), starts)
    means = np.full(starts.size, np.nan)
    np.divide(total, known, out=means, where=known > 0)
    return means


def _milliseconds(seconds: FloatColumn) -> list[float]:
    return [round(value, 3) for value in (seconds * 1000).tolist()]


def _plain(values: FloatColumn, digits: int) -> list[float | None]:
    return [round(value, digits) if np.isfinite(value) else None for value in values.tolist()]

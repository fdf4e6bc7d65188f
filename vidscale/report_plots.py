"""Plots of a report over time, as a plotly figure in plain lists and numbers.

All plots share one time axis, in milliseconds. A trace names its colour in ``meta.color``; the page knows what that is
in light and in dark.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vidscale.report import Report
from vidscale.report_totals import Column, FloatColumn, psnr

MAX_POINTS = 4000
BINS = 1300
_GAP_PX = 52
_MARGIN_PX = {"l": 64, "r": 16, "t": 36, "b": 40}


@dataclass(frozen=True, slots=True)
class _Plot:
    """One of the plots, from the top; `series` are (column, label, colour)."""

    title: str
    height_px: int
    series: tuple[tuple[str, str, str], ...]
    digits: int
    log: bool = False


_PLOTS = (
    _Plot("PSNR, dB", 230, (("psnr_u", "U", "u"), ("psnr_v", "V", "v"), ("psnr_y", "Y", "y")), 3),
    _Plot("SSIM", 190, (("ssim_u", "U", "u"), ("ssim_v", "V", "v"), ("ssim_y", "Y", "y")), 5),
    _Plot("VMAF", 160, (("vmaf_neg", "NEG", "neg"), ("vmaf", "VMAF", "vmaf")), 2),
    _Plot("XPSNR, dB", 160, (("xpsnr_y", "Y", "y"),), 3),
    _Plot("Bitrate over one second, kbit/s", 160, (("bitrate_kbps", "bitrate", "bitrate"),), 1),
    _Plot("Bytes per frame, by type", 170, (("bytes", "", ""),), 0, log=True),
)
_TYPES = {"I": "type_i", "P": "type_p", "B": "type_b"}


def figure(report: Report, table: Mapping[str, Column]) -> dict[str, Any]:
    """The figure: ``data`` and ``layout`` as plotly.js takes them, without NaN or infinity.

    Args:
        report: for its worst frames.
        table: `columns(report)`.
    """
    plots = [plot for plot in _PLOTS if any(name in table and _plottable(table[name]) for name, _, _ in plot.series)]
    data: list[dict[str, Any]] = []
    for number, plot in enumerate(plots, start=1):
        if plot.log:
            traces = _sizes(table)
        else:
            traces = [
                t
                for name, label, color in plot.series
                if name in table
                for t in _lines(table, name, label, color, plot)
            ]
        if plot.title.startswith("PSNR"):
            traces += _perfect(table) + _worst(report)
        axis = "" if number == 1 else str(number)
        for rank, trace in enumerate(reversed(traces)):
            trace["legendrank"] = 100 * number + rank
        data += [trace | {"xaxis": "x", "yaxis": f"y{axis}", "legend": f"legend{axis}"} for trace in traces]
    return {"data": data, "layout": _layout(plots, table)}


def _plottable(column: FloatColumn) -> bool:
    return bool(np.isfinite(column).any())


def _lines(table: Mapping[str, Column], name: str, label: str, color: str, plot: _Plot) -> list[dict[str, Any]]:
    """A line; for long videos the mean of each bin in a band from its lowest to its highest value."""
    values = np.where(np.isfinite(table[name]), table[name], np.nan)
    starts = _bin_starts(values.size)
    shared = {
        "x": _milliseconds(table["pts_s"][starts]),
        "type": "scatter",
        "mode": "lines",
        "meta": {"color": color, "series": name},
        "name": label,
        "legendgroup": name,
        "showlegend": len(plot.series) > 1,
    }
    mean = shared | {
        "y": _plain(_bin_means(values, starts), plot.digits),
        "customdata": table["index"][starts].tolist(),
        "hovertemplate": f"%{{y:.{plot.digits}f}}" + (" (frame %{customdata})" if name == "psnr_y" else ""),
        "line": {"width": 1.8 if color in ("y", "bitrate", "vmaf") else 1.1},
    }
    if starts.size == values.size:
        return [mean]
    band = shared | {"hoverinfo": "skip", "showlegend": False, "line": {"width": 0}}
    low = band | {"y": _plain(np.fmin.reduceat(values, starts), plot.digits)}
    high = band | {"y": _plain(np.fmax.reduceat(values, starts), plot.digits), "fill": "tonexty"}
    return [low, high, mean]


def _sizes(table: Mapping[str, Column]) -> list[dict[str, Any]]:
    """Frame sizes as points by coded type; for long videos the largest of each type in each bin."""
    types, sizes = table["pict_type"], np.where(table["bytes"] > 0, table["bytes"], np.nan)
    starts = _bin_starts(sizes.size)
    found = []
    for name in dict.fromkeys([*_TYPES, *types.tolist()]):
        largest = np.fmax.reduceat(np.where(types == name, sizes, np.nan), starts)
        kept = np.isfinite(largest)
        if kept.any():
            found.append(
                {
                    "x": _milliseconds(table["pts_s"][starts][kept]),
                    "y": _plain(largest[kept], 0),
                    "type": "scatter",
                    "mode": "markers",
                    "name": name or "unknown type",
                    "meta": {"color": _TYPES.get(name, "type_b"), "series": "bytes"},
                    "marker": {"size": 6 if name == "I" else 4},
                    "hovertemplate": "%{y:,} bytes",
                }
            )
    return found


def _perfect(table: Mapping[str, Column]) -> list[dict[str, Any]]:
    """Marks at the top of the PSNR plot where the luma has no error, for infinity has no place on an axis."""
    perfect = np.isinf(table["psnr_y"])
    if not perfect.any():
        return []
    starts = _bin_starts(perfect.size)
    here = np.logical_or.reduceat(perfect, starts)
    finite = [table[name][np.isfinite(table[name])] for name in ("psnr_y", "psnr_u", "psnr_v") if name in table]
    top = max((float(values.max()) for values in finite if values.size), default=0.0) + 1.0
    return [
        {
            "x": _milliseconds(table["pts_s"][starts][here]),
            "y": [round(top, 2)] * int(here.sum()),
            "type": "scatter",
            "mode": "markers",
            "name": "perfect (Y infinite)",
            "meta": {"color": "y", "series": "perfect"},
            "marker": {"symbol": "triangle-up", "size": 7},
            "hovertemplate": "∞",
        }
    ]


def _worst(report: Report) -> list[dict[str, Any]]:
    if not report.worst:
        return []
    scores = [frame.score for frame in report.worst]
    return [
        {
            "x": _milliseconds(np.array([float(score.pts_s) for score in scores])),
            "y": _plain(psnr([score.mse[0] for score in scores], report.source.format.peak), 3),
            "type": "scatter",
            "mode": "markers",
            "name": "shown below",
            "meta": {"color": "worst", "series": "worst"},
            "marker": {"symbol": "circle-open", "size": 11, "line": {"width": 2}},
            "hoverinfo": "skip",
        }
    ]


def _layout(plots: list[_Plot], table: Mapping[str, Column]) -> dict[str, Any]:
    height = sum(plot.height_px for plot in plots) + _GAP_PX * (len(plots) - 1)
    long = table["pts_s"].size > 0 and float(table["pts_s"].max()) >= 3600
    seconds = "%-H:%M:%S" if long else "%-M:%S"
    layout: dict[str, Any] = {
        "height": height + _MARGIN_PX["t"] + _MARGIN_PX["b"],
        "margin": _MARGIN_PX,
        "hovermode": "x unified",
        "hoversubplots": "axis",
        "annotations": [],
        "xaxis": {
            "type": "date",
            "range": _time_range(table["pts_s"]),
            "anchor": f"y{len(plots)}" if len(plots) > 1 else "y",
            "hoverformat": f"{seconds}.%L",
            "tickformatstops": [
                {"dtickrange": [None, 999], "value": f"{seconds}.%L"},
                {"dtickrange": [999, None], "value": seconds},
            ],
        },
    }
    top = float(height)
    for number, plot in enumerate(plots, start=1):
        axis = "" if number == 1 else str(number)
        domain = [max(0.0, (top - plot.height_px) / height), min(1.0, top / height)]
        layout[f"yaxis{axis}"] = {"domain": domain, "type": "log" if plot.log else "linear", "automargin": False}
        if plot.log:
            layout[f"yaxis{axis}"] |= {"exponentformat": "SI", "dtick": 1}
        layout[f"legend{axis}"] = {
            "orientation": "h",
            "x": 1,
            "xanchor": "right",
            "y": domain[1],
            "yanchor": "bottom",
        }
        layout["annotations"].append(
            {
                "text": plot.title,
                "xref": "paper",
                "yref": "paper",
                "x": 0,
                "y": domain[1],
                "xanchor": "left",
                "yanchor": "bottom",
                "showarrow": False,
                "yshift": 4,
            }
        )
        top -= plot.height_px + _GAP_PX
    return layout


def _bin_starts(count: int) -> Column:
    """First row of each bin; one bin per row up to `MAX_POINTS`."""
    return np.arange(count) if count <= MAX_POINTS else np.arange(BINS) * count // BINS


def _bin_means(values: FloatColumn, starts: Column) -> FloatColumn:
    known = np.add.reduceat(np.isfinite(values).astype(np.float64), starts)
    total = np.add.reduceat(np.nan_to_num(values), starts)
    means = np.full(starts.size, np.nan)
    np.divide(total, known, out=means, where=known > 0)
    return means


def _time_range(seconds: FloatColumn) -> list[float]:
    """The axis in milliseconds, a hundredth of air on both sides."""
    if not seconds.size:
        return [0, 1000]
    first, last = float(seconds.min()), float(seconds.max())
    air = max(last - first, 0.1) / 100
    return [round(time * 1000, 3) for time in (first - air, last + air)]


def _milliseconds(seconds: FloatColumn) -> list[float]:
    return [round(value, 3) for value in (seconds * 1000).tolist()]


def _plain(values: FloatColumn, digits: int) -> list[float | None]:
    return [round(value, digits) if np.isfinite(value) else None for value in values.tolist()]

"""Curves as a figure for papers: PNG, SVG or PDF by matplotlib, an optional dependency."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidscale.compare.analysis.figures import Figures
from vidscale.compare.analysis.lines import rate_line
from vidscale.compare.output.styles import PALETTE, CurveStyle, curve_styles
from vidscale.compare.points import Comparison, Curve
from vidscale.errors import ConfigError, VidscaleError, reason_of
from vidscale.quality import METRIC_TEXT, Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Formats, each with the metadata that keeps the date out of the file: the same curves give the same bytes.
_UNDATED: Any = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
FORMATS = tuple(_UNDATED)
_PANEL_INCHES = (3.4, 2.5)
_LEGEND_INCHES = 0.5
_DPI = 200
_MAX_PIXELS = 60_000  # per side, a little less than the renderer's limit
_INK = "#1a1f26"
# TrueType fonts, since publishers reject Type 3; a fixed salt makes SVG files reproducible.
_RC: Any = {"pdf.fonttype": 42, "svg.hashsalt": "vidscale", "font.size": 8, "axes.titlesize": 8, "legend.fontsize": 8}


def check_plot(path: Path, *, coming: Path | None = None) -> None:
    """Checks, before work starts, that a plot can be written.

    Args:
        path: of the plot.
        coming: a folder that will exist by then.

    Raises:
        ConfigError: the format is unknown, or the folder or matplotlib is missing.
    """
    from importlib.util import find_spec

    if _format(path) not in FORMATS:
        raise ConfigError(f"cannot draw {path}: its name must end in .{', .'.join(FORMATS)}")
    parent = path.absolute().parent
    if not parent.is_dir() and (coming is None or parent != coming.absolute()):
        raise ConfigError(f"the folder {path.parent} does not exist")
    if find_spec("matplotlib") is None:
        raise ConfigError(f"{path} needs matplotlib: pip install 'vidscale[plot]'")


def plot_curves(comparison: Comparison, path: Path) -> None:
    """Draws all curves: a row for each movie and encoder, a column for each metric, bitrate on a log axis.

    Args:
        comparison: with at least one curve.
        path: file to write, with a suffix of `FORMATS`; an existing file is replaced.

    Raises:
        ConfigError: see `check_plot`, or there is nothing to draw.
        VidscaleError: the file cannot be written.
    """
    check_plot(path)
    from matplotlib import rc_context

    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with rc_context(_RC):
            figure = _figure(comparison)
            dpi = min(_DPI, _MAX_PIXELS / max(figure.get_size_inches()))
            kind = _format(path)
            figure.savefig(temporary, format=kind, dpi=dpi, metadata=_UNDATED[kind])
        temporary.replace(path)
    except OSError as exc:
        raise VidscaleError(f"the plot {path} cannot be written: {reason_of(exc)}") from exc
    finally:
        temporary.unlink(missing_ok=True)


def _format(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


def _figure(comparison: Comparison) -> "Figure":
    from matplotlib.figure import Figure as NewFigure

    figures = Figures(comparison)
    styles = curve_styles(figures.candidates)
    rows: dict[tuple[str, str], list[Curve]] = {}
    for movie in comparison.movies:
        for candidate in figures.candidates:
            if curve := figures.curve(movie.name, candidate):
                rows.setdefault((movie.name, candidate.encoder), []).append(curve)
    if not rows or not comparison.metrics:
        raise ConfigError("there is nothing to draw: no movie has a curve")
    width, height = _PANEL_INCHES[0] * len(comparison.metrics), _PANEL_INCHES[1] * len(rows) + _LEGEND_INCHES
    figure = NewFigure(figsize=(max(width, 4.0), height), layout="constrained")
    axes = figure.subplots(len(rows), len(comparison.metrics), squeeze=False)
    for line, ((movie_name, encoder), curves) in zip(axes, rows.items(), strict=True):
        for panel, metric in zip(line, comparison.metrics, strict=True):
            _draw_panel(panel, [(curve, styles[curve.candidate]) for curve in curves], metric)
            panel.set_title(f"{movie_name}, {encoder}", loc="left", parse_math=False)
    handles = {
        label: handle for panel in axes.flat for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    if handles:
        columns = min(len(handles), max(2, int(width // 1.7)))
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=columns, frameon=False)
    return figure


def _draw_panel(panel: "Axes", curves: list[tuple[Curve, CurveStyle]], metric: Metric) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for curve, style in curves:
        color = _INK if style.color is None else PALETTE[style.color][0]
        line, symbol, width = style.dash[1], style.symbol[1], 1.8 if style.color is None else 1.2
        points = [
            (p.bitrate_kbps, p.metrics[metric]) for p in curve.points if math.isfinite(p.metrics.get(metric, math.nan))
        ]
        if points:
            sampled = rate_line(curve, metric)
            panel.plot(sampled.kbps, sampled.values, color=color, linestyle=line, linewidth=width)
            panel.plot(*zip(*points, strict=True), color=color, linestyle="none", marker=symbol, markersize=4)
            panel.plot(
                [],
                [],
                color=color,
                linestyle=line,
                linewidth=width,
                marker=symbol,
                markersize=4,
                label=curve.candidate.scaling,
            )
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda kbps, _: f"{kbps:,g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel("Bitrate, kbit/s")
    panel.set_ylabel(METRIC_TEXT[metric].title)
    panel.grid(color="#d9dee5", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)

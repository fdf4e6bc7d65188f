"""Renders a report as a self-contained page: numbers, plots over time, and pictures of the worst frames.

The template is templates/report.html.j2. Plots are plotly figures in plain JSON. Traces have a colour name
(``meta.color``) that the page resolves, so that light, dark and print have their own colours.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vidscale.quality import METRIC_TEXT, Metric
from vidscale.report.plots import BINS, MAX_POINTS, figure
from vidscale.report.rows import Report, WorstFrame
from vidscale.report.summary import MetricTotals, PsnrTotals, Totals
from vidscale.report.totals import Column, columns, psnr, remarks, shot_totals, totals, unpaired_warning
from vidscale.report.verdict import Verdict
from vidscale.report.worst_frames import AMPLIFICATION, HEAT, color_notes, pictures
from vidscale.text import capitalized, format_bytes, plural, shown, timecode
from vidscale.web.page import Table, Tile, render_template

UNPAIRED_SHOWN = 40
SHOTS_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Triple:
    """Source, restored and error picture of a frame, each as (label, data URI, width, height)."""

    title: str
    facts: str
    images: tuple[tuple[str, str, int, int], ...]


def render_html(report: Report) -> str:
    """Renders the page. All values are escaped; scripts, styles and pictures are embedded."""
    table = columns(report)
    sums = totals(report, table)
    drawn = figure(report, table)
    notes = remarks(report, sums) + (color_notes(report.source) if report.worst else [])
    return render_template(
        "report.html.j2",
        source=report.source,
        distorted=report.distorted,
        verdict=_verdict(report, sums),
        tiles=_tiles(report, sums),
        notes=notes,
        figure=drawn,
        perfect=any(trace["meta"]["series"] == "perfect" for trace in drawn["data"]),
        decimated=f"{BINS} points, each the mean of several frames, with a band from their lowest to highest value"
        if sums.frames > MAX_POINTS
        else "",
        triples=[_triple(frame, report) for frame in report.worst],
        heat=", ".join(f"rgb{color}" for color in HEAT),
        heat_top=f"{report.source.format.peak / AMPLIFICATION:.0f}",
        quality=_quality_table(report, sums),
        files=_files_table(report),
        shots=_shots_table(report, table) if len(report.shots) > 1 else None,
        more_shots=max(0, len(report.shots) - SHOTS_SHOWN),
        unpaired=_unpaired(report),
        stages=_stage_table(report) if report.stages else None,
        wall=f"{report.wall_s:.1f} s" if report.wall_s is not None else "",
        settings=_settings_table(report.settings),
        commands=report.commands,
        versions=Table(("Program or library", "Version"), tuple(report.versions.items())),
    )


def _verdict(report: Report, sums: Totals) -> str:
    coded, source = report.distorted, report.source
    lead = f"{capitalized(report.verdict.sentence)}. " if report.verdict else ""
    size = "" if sums.size_ratio is None else f"At {_percent(sums.size_ratio)} of the source's size, "
    shape = f"coded at {coded.coded_width}×{coded.coded_height}"
    if (coded.coded_width, coded.coded_height) != (source.width, source.height):
        shape += f" and shown at {source.width}×{source.height}"
    text = f"{size}{shape}: PSNR-Y {shown(sums.psnr_y.of_mean_mse, 2)} dB, SSIM-Y {shown(sums.ssim_y.mean, 4)}"
    if sums.vmaf:
        text += f", VMAF {shown(sums.vmaf.mean, 2)}"
    if not sums.frames:
        return "No frames could be paired: nothing was compared."
    return f"{lead}{capitalized(text)} over {plural(sums.frames, 'frame')}."


def _verdict_tile(verdict: Verdict) -> Tile:
    """Bits against the full size."""
    if verdict.is_full:
        return Tile("Against full size", "0", "%", "this is the full size")
    percent = f"{100 * verdict.bits:+z.0f}".replace("-", "\N{MINUS SIGN}")
    beside = f" ({verdict.beside})" if verdict.beside else ""
    detail = f"bits at equal {verdict.metric}{beside}; {verdict.interval} estimated from {verdict.basis}"
    return Tile("Against full size", percent, "%", detail, "saves" if verdict.bits < 0 else "costs")


def _tiles(report: Report, sums: Totals) -> list[Tile]:
    luma, ssim, unpaired = sums.psnr_y, sums.ssim_y, report.unpaired
    mean = shown(luma.mean_of_frames_finite, 2)
    if luma.perfect_frames:
        mean = (
            f"{mean} without {luma.perfect_frames} perfect" if luma.perfect_frames < sums.frames else "∞, all perfect"
        )
    tiles = [Tile("PSNR-Y", shown(luma.of_mean_mse, 2), "dB", f"of the mean MSE; mean of frames {mean}")]
    tiles.append(Tile("SSIM-Y", shown(ssim.mean, 4), "", f"mean of frames; 1st percentile {shown(ssim.p1, 4)}"))
    perceptual: dict[Metric, MetricTotals | None] = {
        "vmaf": sums.vmaf,
        "vmaf_neg": sums.vmaf_neg,
        "xpsnr_y": sums.xpsnr_y,
    }
    for metric, values in perceptual.items():
        if values:
            text = METRIC_TEXT[metric]
            detail = f"mean of frames; 1st percentile {shown(values.p1, text.digits)}"
            tiles.append(Tile(text.label, shown(values.mean, text.digits), text.unit, detail))
    if sums.bitrate_kbps is not None:
        bpp = "" if sums.bpp is None else f"{sums.bpp:.4f} bit per source pixel"
        tiles.append(Tile("Video bitrate", f"{sums.bitrate_kbps:,.0f}", "kbit/s", bpp))
    if report.distorted.size_bytes is not None:
        size = format_bytes(report.distorted.size_bytes)
        of = "" if report.source.size_bytes is None else f"{size} of {format_bytes(report.source.size_bytes)}"
        share = size if sums.size_ratio is None else _percent(sums.size_ratio)
        tiles.append(Tile("File size", share, "", of))
    if luma.perfect_frames < sums.frames:
        worst = max(report.rows, key=lambda row: row.mse[0])
        tiles.append(
            Tile("Worst frame", shown(luma.minimum, 2), "dB", f"frame {worst.index} at {timecode(worst.pts_s)}")
        )
    missing = unpaired.count
    pairs = f"{plural(missing, 'frame')} unpaired" if missing else "all frames paired"
    compared = Tile("Frames compared", f"{sums.frames:,}", "", pairs, "warning" if missing else "")
    first = [_verdict_tile(report.verdict)] if report.verdict else []
    return [*first, compared, *tiles] if unpaired_warning(report) else [*first, *tiles, compared]


def _quality_table(report: Report, sums: Totals) -> Table:
    rows: list[tuple[str, ...]] = []
    for label, ratio in (
        ("PSNR-Y, dB", sums.psnr_y),
        ("PSNR-U, dB", sums.psnr_u),
        ("PSNR-V, dB", sums.psnr_v),
        ("PSNR-YUV, dB", sums.psnr_yuv),
    ):
        if ratio:
            rows.append((label, *_psnr_cells(ratio)))
    window = report.ssim_window
    for label, metric, digits in (
        (f"SSIM-Y ({window})", sums.ssim_y, 5),
        (f"SSIM-U ({window})", sums.ssim_u, 5),
        (f"SSIM-V ({window})", sums.ssim_v, 5),
        ("VMAF", sums.vmaf, 3),
        ("VMAF NEG", sums.vmaf_neg, 3),
        ("XPSNR-Y, dB", sums.xpsnr_y, 3),
    ):
        if metric:
            rows.append((label, *_metric_cells(metric, digits)))
    head = (
        "Metric",
        "Mean of frames",
        "PSNR of mean MSE",
        "Minimum",
        "1st percentile",
        "5th percentile",
        "Perfect frames",
        "Mean without them",
    )
    return Table(head, tuple(rows))


def _psnr_cells(sums: PsnrTotals) -> tuple[str, ...]:
    values = (sums.mean_of_frames, sums.of_mean_mse, sums.minimum, sums.p1, sums.p5)
    has_both = sums.perfect_frames and math.isfinite(sums.mean_of_frames_finite)
    finite = shown(sums.mean_of_frames_finite, 3) if has_both else "–"
    return (*(shown(value, 3) for value in values), str(sums.perfect_frames), finite)


def _metric_cells(metric: MetricTotals, digits: int) -> tuple[str, ...]:
    mean, low, p1, p5 = (shown(value, digits) for value in (metric.mean, metric.minimum, metric.p1, metric.p5))
    return (mean, "–", low, p1, p5, "–", "–")


def _files_table(report: Report) -> Table:
    source, coded, color = report.source, report.distorted, report.source.color
    said = [value for value in (color.color_range, color.matrix, color.primaries, color.transfer) if value]
    rows = (
        ("Name", source.name, coded.name),
        ("Picture", f"{source.width}×{source.height}", f"{coded.coded_width}×{coded.coded_height}, coded"),
        ("Codec", source.codec or "–", coded.codec or "raw"),
        ("Compared as", f"{source.format.name}, {source.format.bit_depth} bit", "the same"),
        ("Range, matrix, primaries, transfer", ", ".join(said) or "unspecified", "the same"),
        ("Duration", *(timecode(d) if d is not None else "–" for d in (source.duration_s, coded.duration_s))),
        ("File", *(format_bytes(n) if n is not None else "–" for n in (source.size_bytes, coded.size_bytes))),
        (
            "Video packets",
            *(format_bytes(n) if n is not None else "–" for n in (source.video_bytes, coded.video_bytes)),
        ),
        (
            "Video bitrate",
            *(f"{r:,.1f} kbit/s" if r is not None else "–" for r in (source.bitrate_kbps, coded.bitrate_kbps)),
        ),
    )
    return Table(("", "Source", "Coded"), rows)


def _shots_table(report: Report, table: Mapping[str, Column]) -> Table:
    """The shots in order; if there are many, those with the lowest PSNR-Y."""
    shots = shot_totals(report, table)
    worst = {id(one) for one in sorted(shots, key=lambda one: (math.isnan(one.psnr_y), one.psnr_y))[:SHOTS_SHOWN]}
    rows = tuple(
        (
            str(number),
            timecode(one.shot.start_s),
            f"{one.shot.frames:,}",
            shown(one.psnr_y, 3),
            shown(one.ssim_y, 5),
            "–" if math.isnan(one.bitrate_kbps) else f"{one.bitrate_kbps:,.1f}",
            "–" if one.worst_index is None else f"{one.worst_index} ({shown(one.worst_psnr_y, 2)} dB)",
        )
        for number, one in enumerate(shots, start=1)
        if id(one) in worst
    )
    return Table(("Shot", "Start", "Frames", "PSNR-Y, dB", "SSIM-Y", "Bitrate, kbit/s", "Worst frame"), rows)


def _unpaired(report: Report) -> list[tuple[str, str]]:
    """(heading, times) for each side with unpaired frames."""
    found = []
    for side, times in (("the source", report.unpaired.ref_only), ("the restored video", report.unpaired.dist_only)):
        if times:
            some = ", ".join(timecode(time) for time in times[:UNPAIRED_SHOWN])
            rest = len(times) - UNPAIRED_SHOWN
            more = f" and {rest} more (see report.json)" if rest > 0 else ""
            found.append((f"{plural(len(times), 'frame')} only in {side}", f"{some}{more}"))
    return found


def _stage_table(report: Report) -> Table:
    rows = tuple(
        (
            stage.name,
            stage.device,
            stage.implementation,
            f"{stage.frames:,}",
            f"{stage.seconds:,.2f}",
            shown(stage.fps, 1),
        )
        for stage in report.stages
    )
    return Table(("Stage", "Device", "Implementation", "Frames", "Busy, s", "Frames per s"), rows)


def _settings_table(settings: Mapping[str, Any], prefix: str = "") -> Table:
    rows: list[tuple[str, ...]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            rows += _settings_table(value, f"{prefix}{key}.").rows
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
            rows.append((f"{prefix}{key}", text))
    return Table(("Setting", "Value"), tuple(rows))


def _triple(frame: WorstFrame, report: Report) -> Triple:
    score = frame.score
    facts = [f"SSIM-Y {shown(score.ssim[0], 4)}", f"{score.pict_type} frame" if score.pict_type else ""]
    facts.append("" if score.bytes is None else format_bytes(score.bytes))
    decibel = float(psnr(score.mse[0], report.source.format.peak))
    images = tuple(
        (label, picture.data_uri, picture.width, picture.height)
        for label, picture in zip(("Source", "Restored", "Error"), pictures(frame, report.source), strict=True)
    )
    title = f"Frame {score.index} at {timecode(score.pts_s)}: PSNR-Y {shown(decibel, 2)} dB"
    return Triple(title, ", ".join(fact for fact in facts if fact), images)


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.3g} %" if ratio < 10 else f"{ratio:.3g} ×"

"""Computes the numbers of a report: a column per metric, totals, and remarks on them.

PSNR is derived from the measured squared errors:

    psnr = 10 log10(peak**2 / mse),  peak = 2**bit_depth - 1,  inf for mse = 0
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.report.rows import Report
from vidscale.report.summary import MetricTotals, PsnrTotals, ShotTotals, Totals
from vidscale.text import format_bytes, plural, timecode

SLIDING_WINDOW_S = 1.0
MANY_UNPAIRED = 0.1  # of the frames of a video: with more, the measured ones may not represent the whole
PLANE_NAMES = ("y", "u", "v")

Column = npt.NDArray[Any]
FloatColumn = npt.NDArray[np.float64]


def psnr(mse: npt.ArrayLike, peak: int) -> FloatColumn:
    """PSNR in dB of mean squared errors (code values squared); inf for 0."""
    error = np.asarray(mse, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * np.log10(peak * peak / error), dtype=np.float64)


def sliding_bitrate_kbps(pts_s: npt.ArrayLike, frame_bytes: npt.ArrayLike, end_s: float | None = None) -> FloatColumn:
    """Bitrate in a one-second window around each frame, 1000 bit/s.

    Args:
        pts_s: [N] presentation times in seconds, any order.
        frame_bytes: [N] sizes of the coded frames, nan when unknown.
        end_s: end of the last frame, seconds; None assumes the median frame duration.

    Returns:
        [N]; bytes between t - 1/2 and t + 1/2 over the part of that second inside the video. A frame's bytes are
        spread evenly until the next frame. nan if the window overlaps a frame of unknown size, and for a single frame,
        whose duration is unknown.
    """
    times = np.asarray(pts_s, dtype=np.float64)
    sizes = np.asarray(frame_bytes, dtype=np.float64)
    if times.size < 2:
        return np.full(times.size, np.nan)
    order = np.argsort(times, kind="stable")
    times, sizes = times[order], sizes[order]
    last = times[-1] + np.median(np.diff(times)) if end_s is None or end_s <= times[-1] else end_s
    knots = np.append(times, last)
    start = np.maximum(times - SLIDING_WINDOW_S / 2, knots[0])
    end = np.minimum(times + SLIDING_WINDOW_S / 2, knots[-1])
    total, unknown = (
        np.interp(end, knots, running) - np.interp(start, knots, running)
        for running in (_cumulative(np.nan_to_num(sizes)), _cumulative(np.isnan(sizes)))
    )
    known = (unknown < 1e-6) & (end > start)
    result = np.full(times.size, np.nan)
    result[order[known]] = total[known] * 8 / 1000 / (end - start)[known]
    return result


def columns(report: Report) -> dict[str, Column]:
    """The frames as columns by name, in the order of the CSV; nan for missing numbers.

    There are no columns for planes that do not exist and metrics that were not measured.
    """
    rows, peak = report.rows, report.source.format.peak
    plane_shapes = report.source.format.plane_shapes(report.source.height, report.source.width)
    planes = PLANE_NAMES[: len(plane_shapes)]
    table: dict[str, Column] = {
        "index": np.array([row.index for row in rows], dtype=np.int64),
        "pts_s": _floats(row.pts_s for row in rows),
        "pict_type": np.array([row.pict_type for row in rows], dtype=object),
        "bytes": _floats(row.bytes for row in rows),
    }
    table["bitrate_kbps"] = _bitrates(report, table)
    mse = {name: _floats(row.mse[i] for row in rows) for i, name in enumerate(planes)}
    if len(planes) == 3:
        samples = np.array([h * w for h, w in plane_shapes], dtype=np.float64)
        mse["yuv"] = np.stack(list(mse.values()), axis=1) @ (samples / samples.sum())
    table |= {f"mse_{name}": column for name, column in mse.items()}
    table |= {f"psnr_{name}": psnr(column, peak) for name, column in mse.items()}
    table |= {f"ssim_{name}": _floats(row.ssim[i] for row in rows) for i, name in enumerate(planes)}
    for name in ("vmaf", "vmaf_neg", "xpsnr_y"):
        if any(getattr(row, name) is not None for row in rows):
            table[name] = _floats(getattr(row, name) for row in rows)
    return table


def _bitrates(report: Report, table: Mapping[str, Column]) -> FloatColumn:
    """Sliding bitrate; the bytes of unmeasured and unpaired frames count towards the measured frame before them."""
    if not report.has_spans:
        return sliding_bitrate_kbps(table["pts_s"], table["bytes"])
    duration, spans = report.distorted.duration_s, _floats(row.span_bytes for row in report.rows)
    end_s = None if duration is None or not report.rows else float(report.rows[0].pts_s + duration)
    return sliding_bitrate_kbps(table["pts_s"], spans, end_s)


def shot_totals(report: Report, table: Mapping[str, Column]) -> list[ShotTotals]:
    """Totals of each shot; `table` is `columns(report)`."""
    peak, shots = report.source.format.peak, report.shots
    ends = [shot.start_s for shot in shots[1:]]
    if shots and report.distorted.duration_s is not None:
        ends.append(shots[0].start_s + report.distorted.duration_s)
    found = []
    for number, shot in enumerate(shots):
        inside = (table["index"] >= shot.start_index) & (table["index"] < shot.start_index + shot.frames)
        mse, ssim = table["mse_y"][inside], table["ssim_y"][inside]
        known = ssim[~np.isnan(ssim)]
        seconds = float(ends[number] - shot.start_s) if number < len(ends) else 0.0
        worst = int(mse.argmax()) if mse.size and mse.max() > 0 else None
        found.append(
            ShotTotals(
                shot=shot,
                psnr_y=float(psnr(mse.mean(), peak)) if mse.size else np.nan,
                ssim_y=float(known.mean()) if known.size else np.nan,
                bitrate_kbps=shot.bytes * 8 / 1000 / seconds if shot.bytes is not None and seconds > 0 else np.nan,
                worst_index=None if worst is None else int(table["index"][inside][worst]),
                worst_psnr_y=np.nan if worst is None else float(psnr(mse[worst], peak)),
            )
        )
    return found


def totals(report: Report, table: Mapping[str, Column] | None = None) -> Totals:
    """Totals of a report; `table` is `columns(report)`, computed if None."""
    table = columns(report) if table is None else table
    peak = report.source.format.peak
    frames = len(report.rows)
    quality: dict[str, Any] = {
        f"psnr_{name}": _psnr_totals(table[f"mse_{name}"], peak) if f"mse_{name}" in table else None
        for name in (*PLANE_NAMES, "yuv")
    }
    for name in (*(f"ssim_{plane}" for plane in PLANE_NAMES), "vmaf", "vmaf_neg", "xpsnr_y"):
        quality[name] = _metric_totals(table[name]) if name in table else None
    coded, source = report.distorted, report.source
    pixels = source.width * source.height * report.coded_frames
    return Totals(
        frames=frames,
        **quality,
        bitrate_kbps=coded.bitrate_kbps,
        bpp=coded.video_bytes * 8 / pixels if coded.video_bytes is not None and pixels else None,
        size_ratio=coded.size_bytes / source.size_bytes if coded.size_bytes is not None and source.size_bytes else None,
    )


def remarks(report: Report, sums: Totals) -> list[str]:
    """The report's notes, and remarks on its numbers: HDR, perfect frames, missing SSIM."""
    warning = unpaired_warning(report)
    found = [*([warning] if warning else []), *report.notes, *_pairing_remarks(report)]
    if report.source.color.is_hdr:
        found.append(f"HDR ({report.source.color.transfer}): PSNR and SSIM are computed on code values, not on light.")
    perfect = sums.psnr_y.perfect_frames
    if perfect:
        finite = sums.psnr_y.mean_of_frames_finite
        rest = "" if perfect == sums.frames else f"; the mean of the others is {finite:.3f} dB"
        found.append(f"{perfect} of {plural(sums.frames, 'frame')} without luma error: PSNR-Y is inf{rest}.")
    if sums.ssim_y.missing_frames:
        found.append(f"{plural(sums.ssim_y.missing_frames, 'frame')} without SSIM: smaller than the window.")
    return list(dict.fromkeys(found))


def unpaired_warning(report: Report) -> str:
    """What to say when many frames of a video have no partner; "" when few."""
    counts = [
        f"{count:,} of {count + report.pairs:,} frames of {name} ({100 * share:.1f} %)"
        for name, count, share in zip(
            (report.source.name, report.distorted.name),
            (len(report.unpaired.ref_only), len(report.unpaired.dist_only)),
            report.unpaired_shares,
            strict=True,
        )
        if share > MANY_UNPAIRED
    ]
    return f"Unpaired: {' and '.join(counts)}; the figures are of the other frames only." if counts else ""


def _pairing_remarks(report: Report) -> list[str]:
    pairing, found = report.pairing, []
    if pairing.offset_s is not None:
        late = float(pairing.offset_s)
        where = f"{abs(late):.6f} s {'later' if late > 0 else 'earlier'} than" if late else "the same as"
        found.append(f"By content, the timestamps of {report.distorted.name} are {where} the source's.")
    if pairing.every > 1:
        measured = f"{len(report.rows)} of {plural(report.pairs, 'frame pair')} were measured"
        found.append(f"{measured}, one in {pairing.every}; bitrates cover all frames.")
    return found


def summary_lines(report: Report) -> list[str]:
    """The summary for a terminal: a few aligned lines without colour or markup."""
    table = columns(report)
    sums = totals(report, table)
    ref_only, dist_only = len(report.unpaired.ref_only), len(report.unpaired.dist_only)
    only = f"{ref_only} only in the source, {dist_only} only in the restored video"
    warning = unpaired_warning(report)
    cells = [("bits", report.verdict.sentence)] if report.verdict else []
    cells += [("WARNING", warning)] if warning else []
    cells.append(("frames", f"{sums.frames} compared, {only}"))
    for label, psnr_sums in (("PSNR-Y", sums.psnr_y), ("PSNR-YUV", sums.psnr_yuv)):
        if psnr_sums:
            has_both = 0 < psnr_sums.perfect_frames < sums.frames
            perfect = f" ({psnr_sums.mean_of_frames_finite:.3f} without perfect ones)" if has_both else ""
            means = f"{psnr_sums.of_mean_mse:.3f} dB of mean MSE, {psnr_sums.mean_of_frames:.3f} mean of frames"
            cells.append((label, f"{means}{perfect}, {_low_end(psnr_sums, 2)}"))
    for label, metric, digits in (
        (f"SSIM-Y {report.ssim_window}", sums.ssim_y, 5),
        ("VMAF", sums.vmaf, 3),
        ("VMAF NEG", sums.vmaf_neg, 3),
        ("XPSNR-Y", sums.xpsnr_y, 3),
    ):
        if metric and not np.isnan(metric.mean):
            cells.append((label, f"{metric.mean:.{digits}f} mean, {_low_end(metric, digits)}"))
    if sums.bitrate_kbps is not None:
        bpp = "" if sums.bpp is None else f", {sums.bpp:.4f} bit per source pixel"
        cells.append(("bitrate", f"{sums.bitrate_kbps:.1f} kbit/s of video{bpp}"))
    if report.distorted.size_bytes is not None:
        share = "" if sums.size_ratio is None else f", {100 * sums.size_ratio:.1f} % of the source"
        cells.append(("size", f"{format_bytes(report.distorted.size_bytes)}{share}"))
    if len(report.shots) > 1:
        cells.append(("shots", _shots_text(shot_totals(report, table))))
    if report.stages:
        cells.append(("fps", ", ".join(f"{stage.name} {stage.fps:.1f}" for stage in report.stages)))
    cells += [("note", sentence) for sentence in remarks(report, sums) if sentence != warning]
    width = max(len(label) for label, _ in cells)
    return [f"{label:<{width}}  {text}" for label, text in cells]


def _shots_text(shots: list[ShotTotals]) -> str:
    measured = [one for one in shots if not np.isnan(one.psnr_y)]
    low, high = min(measured, key=lambda one: one.psnr_y), max(measured, key=lambda one: one.psnr_y)
    where = f"at {timecode(low.shot.start_s)}, {plural(low.shot.frames, 'frame')}"
    return f"{len(shots)}, PSNR-Y from {low.psnr_y:.3f} dB ({where}) to {high.psnr_y:.3f}"


def _low_end(sums: MetricTotals | PsnrTotals, digits: int) -> str:
    return f"min {sums.minimum:.{digits}f}, 1 % {sums.p1:.{digits}f}, 5 % {sums.p5:.{digits}f}"


def _floats(values: Iterable[Fraction | float | None]) -> FloatColumn:
    return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)


def _cumulative(values: Column) -> FloatColumn:
    return np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))


def _percentile(values: FloatColumn, percent: float) -> float:
    return float(np.percentile(values, percent, method="inverted_cdf"))


def _metric_totals(column: FloatColumn) -> MetricTotals:
    values = column[~np.isnan(column)]
    missing = column.size - values.size
    if not values.size:
        return MetricTotals(np.nan, np.nan, np.nan, np.nan, missing)
    return MetricTotals(
        float(values.mean()), float(values.min()), _percentile(values, 1), _percentile(values, 5), missing
    )


def _psnr_totals(mse: FloatColumn, peak: int) -> PsnrTotals:
    if not mse.size:
        return PsnrTotals(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, 0)
    values = psnr(mse, peak)
    finite = values[np.isfinite(values)]
    return PsnrTotals(
        mean_of_frames=float(values.mean()),
        mean_of_frames_finite=float(finite.mean()) if finite.size else np.inf,
        of_mean_mse=float(psnr(mse.mean(), peak)),
        minimum=float(values.min()),
        p1=_percentile(values, 1),
        p5=_percentile(values, 5),
        perfect_frames=values.size - finite.size,
    )

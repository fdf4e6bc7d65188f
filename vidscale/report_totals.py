"""The numbers of a report: a column per metric, totals, and the sentences that follow from them.

Only squared errors are measured; every PSNR is derived from them:

    psnr = 10 log10(peak**2 / mse),  peak = 2**bit_depth - 1,  inf for mse = 0
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.report import MetricTotals, PsnrTotals, Report, Totals

SLIDING_WINDOW_S = 1.0
PLANE_NAMES = ("y", "u", "v")

Column = npt.NDArray[Any]
FloatColumn = npt.NDArray[np.float64]


def psnr(mse: npt.ArrayLike, peak: int) -> FloatColumn:
    """PSNR in dB from mean squared errors (code values squared); inf where the error is 0."""
    error = np.asarray(mse, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * np.log10(peak * peak / error), dtype=np.float64)


def sliding_bitrate_kbps(pts_s: npt.ArrayLike, frame_bytes: npt.ArrayLike) -> FloatColumn:
    """Bitrate over one second around each frame, 1000 bit/s.

    Args:
        pts_s: [N] presentation times in seconds, any order.
        frame_bytes: [N] sizes of the coded frames, nan where unknown.

    Returns:
        [N]; bytes between t - 1/2 and t + 1/2 over the part of that second which the video covers. A frame's bytes
        are spread evenly until the next frame, and the last one lasts as long as the median frame. nan where the
        window touches a frame of unknown size, and for a single frame, whose duration nobody knows.
    """
    times = np.asarray(pts_s, dtype=np.float64)
    sizes = np.asarray(frame_bytes, dtype=np.float64)
    if times.size < 2:
        return np.full(times.size, np.nan)
    order = np.argsort(times, kind="stable")
    times, sizes = times[order], sizes[order]
    knots = np.append(times, times[-1] + np.median(np.diff(times)))
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
    """The frames as a table, by column name in the order of the CSV; nan where a number is missing.

    Columns of planes that the video lacks, and of metrics that were not measured, are absent.
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
    table["bitrate_kbps"] = sliding_bitrate_kbps(table["pts_s"], table["bytes"])
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


def totals(report: Report, table: Mapping[str, Column] | None = None) -> Totals:
    """Totals of a report; `table` is `columns(report)` where the caller has it already."""
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
    pixels = source.width * source.height * (frames + len(report.unpaired.dist_only))
    return Totals(
        frames=frames,
        **quality,
        bitrate_kbps=coded.bitrate_kbps,
        bpp=coded.video_bytes * 8 / pixels if coded.video_bytes is not None and pixels else None,
        size_ratio=coded.size_bytes / source.size_bytes if coded.size_bytes is not None and source.size_bytes else None,
    )


def remarks(report: Report, sums: Totals) -> list[str]:
    """The report's notes, and the sentences that follow from its numbers: HDR, perfect frames, no SSIM."""
    found = list(report.notes)
    if report.source.color.is_hdr:
        found.append(f"HDR ({report.source.color.transfer}): PSNR and SSIM are measured in code values, not in light.")
    perfect = sums.psnr_y.perfect_frames
    if perfect:
        finite = sums.psnr_y.mean_of_frames_finite
        rest = "" if perfect == sums.frames else f", the mean of the others is {finite:.3f} dB"
        found.append(f"{perfect} of {plural(sums.frames, 'frame')} without any error in luma: PSNR-Y is inf{rest}.")
    if sums.ssim_y.missing_frames:
        found.append(f"{plural(sums.ssim_y.missing_frames, 'frame')} without SSIM: smaller than the window.")
    return list(dict.fromkeys(found))


def summary_lines(report: Report) -> list[str]:
    """What a terminal shows at the end: a handful of aligned lines without colour or markup."""
    sums = totals(report)
    ref_only, dist_only = len(report.unpaired.ref_only), len(report.unpaired.dist_only)
    cells = [("frames", f"{sums.frames} compared, {ref_only} only in the source, {dist_only} only in the restored")]
    for label, psnr_sums in (("PSNR-Y", sums.psnr_y), ("PSNR-YUV", sums.psnr_yuv)):
        if psnr_sums:
            perfect = f" ({psnr_sums.mean_of_frames_finite:.3f} without perfect)" if psnr_sums.perfect_frames else ""
            means = f"{psnr_sums.of_mean_mse:.3f} dB of the mean MSE, {psnr_sums.mean_of_frames:.3f} mean of frames"
            cells.append((label, f"{means}{perfect}, {_low_end(psnr_sums, 2)}"))
    for label, metric, digits in (
        (f"SSIM-Y {report.ssim_window}", sums.ssim_y, 5),
        ("VMAF", sums.vmaf, 3),
        ("VMAF NEG", sums.vmaf_neg, 3),
        ("XPSNR-Y", sums.xpsnr_y, 3),
    ):
        if metric:
            cells.append((label, f"{metric.mean:.{digits}f} mean, {_low_end(metric, digits)}"))
    if sums.bitrate_kbps is not None:
        bpp = "" if sums.bpp is None else f", {sums.bpp:.4f} bit per source pixel"
        cells.append(("bitrate", f"{sums.bitrate_kbps:.1f} kbit/s of video{bpp}"))
    if report.distorted.size_bytes is not None:
        share = "" if sums.size_ratio is None else f", {100 * sums.size_ratio:.1f} % of the source"
        cells.append(("size", f"{format_bytes(report.distorted.size_bytes)}{share}"))
    if report.stages:
        cells.append(("fps", ", ".join(f"{stage.name} {stage.fps:.1f}" for stage in report.stages)))
    cells += [("note", sentence) for sentence in remarks(report, sums)]
    width = max(len(label) for label, _ in cells)
    return [f"{label:<{width}}  {text}" for label, text in cells]


def format_bytes(count: int) -> str:
    """Bytes for people, in steps of 1000: ``640 B``, ``1.23 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} B" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.2f} TB"


def plural(count: int, noun: str) -> str:
    """``1 frame``, ``2 frames``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


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

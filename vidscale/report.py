"""How a restored video compares with its source: one row per frame, totals, and what made it so.

This room holds the data and the arithmetic. `report_files` writes and reads it (JSON, CSV, HTML), `report_html` draws
the page, `report_pictures` keeps the worst frames. Only squared errors are stored; every PSNR is derived from them:

    psnr = 10 log10(peak**2 / mse),  peak = 2**bit_depth - 1,  inf for mse = 0
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.frames import Color, PixelFormat, Plane

SCHEMA_VERSION = 1
SLIDING_WINDOW_S = 1.0
PLANE_NAMES = ("y", "u", "v")

Column = npt.NDArray[Any]
FloatColumn = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One compared frame.

    Attributes:
        index: number of the frame among the compared ones, from 0, in order of presentation.
        pts_s: presentation time of the source's frame, seconds, exact.
        pict_type: coded type of the frame, "I", "P", "B", "" when unknown.
        bytes: size of the coded frame, None when unknown.
        mse: mean squared error per plane, (Y,) or (Y, U, V), code values squared.
        ssim: per plane, -1 to 1; nan where the plane is smaller than the window.
        vmaf, vmaf_neg: 0 to 100; None when not measured.
        xpsnr_y: dB, may be inf; None when not measured.
    """

    index: int
    pts_s: Fraction
    pict_type: str
    bytes: int | None
    mse: tuple[float, ...]
    ssim: tuple[float, ...]
    vmaf: float | None = None
    vmaf_neg: float | None = None
    xpsnr_y: float | None = None


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """The video that was compared against.

    Attributes:
        name: file name, as it is shown.
        width, height: luma samples.
        format: pixel format in which was compared.
        color: colour description.
        duration_s: length of the compared part in seconds, exact; None when unknown.
        size_bytes: size of the whole file; None when unknown or when only a part of it was coded.
        video_bytes: bytes of the video packets in `duration_s`; None when unknown.
    """

    name: str
    width: int
    height: int
    format: PixelFormat
    color: Color = Color()
    duration_s: Fraction | None = None
    size_bytes: int | None = None
    video_bytes: int | None = None

    @property
    def bitrate_kbps(self) -> float | None:
        """Video packets only, 1000 bit/s; None when unknown."""
        return _bitrate_kbps(self.video_bytes, self.duration_s)


@dataclass(frozen=True, slots=True)
class DistortedFacts:
    """The coded video whose restored frames were compared.

    Attributes:
        name: file name, as it is shown.
        coded_width, coded_height: luma samples of the coded picture, before upscaling.
        codec: ffmpeg's name, such as "h264"; "" for raw video.
        duration_s: length in seconds, exact; None when unknown.
        size_bytes: size of the whole file, None when unknown.
        video_bytes: bytes of the video packets, None when unknown.
    """

    name: str
    coded_width: int
    coded_height: int
    codec: str = ""
    duration_s: Fraction | None = None
    size_bytes: int | None = None
    video_bytes: int | None = None

    @property
    def bitrate_kbps(self) -> float | None:
        """Video packets only, 1000 bit/s; None when unknown."""
        return _bitrate_kbps(self.video_bytes, self.duration_s)


@dataclass(frozen=True, slots=True)
class Unpaired:
    """Frames without a partner.

    Attributes:
        ref_only: presentation times, seconds, of frames that only the source has.
        dist_only: presentation times, seconds, of frames that only the restored video has.
    """

    ref_only: tuple[Fraction, ...] = ()
    dist_only: tuple[Fraction, ...] = ()


@dataclass(frozen=True, slots=True)
class StageTiming:
    """Work of one stage.

    Attributes:
        name: such as "downscale".
        seconds: time the stage was busy, without waiting for its neighbours.
        frames: frames that went through.
        device: such as "cpu" or "cuda:0 NVIDIA H200".
        implementation: what ran, such as "triton", "torch" or "libx265 medium".
    """

    name: str
    seconds: float
    frames: int
    device: str = "cpu"
    implementation: str = ""

    @property
    def fps(self) -> float:
        """Frames per busy second; inf when the clock saw no time pass."""
        return self.frames / self.seconds if self.seconds > 0 else float("inf")


@dataclass(frozen=True, slots=True)
class WorstFrame:
    """Pictures of a frame that came out badly, reduced by a whole factor to bound memory.

    Attributes:
        score: its row.
        ref, dist: planes of source and restored video, averaged over `reduction` x `reduction` samples, in code values.
        error: [h, w] float32, root of the mean squared luma error over the same samples, in code values.
        reduction: 1 or more.
    """

    score: FrameScore
    ref: tuple[Plane, ...] = field(repr=False)
    dist: tuple[Plane, ...] = field(repr=False)
    error: npt.NDArray[np.float32] = field(repr=False)
    reduction: int = 1


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is told about one comparison.

    Attributes:
        source, distorted: the two videos.
        rows: one per compared frame, in order of presentation.
        ssim_window: "gaussian11" (11x11, sigma 1.5) or "ffmpeg8x8" (ffmpeg's ssim filter).
        unpaired: frames that only one side has.
        stages: timings.
        wall_s: seconds from start to end (stages run side by side); None when not taken.
        settings: resolved settings, values as JSON knows them.
        commands: ffmpeg command lines as one would type them.
        versions: name of program or library to version.
        notes: sentences; those that follow from the numbers are added by `remarks`.
        worst: pictures, worst first; not part of the JSON and not compared.
    """

    source: SourceFacts
    distorted: DistortedFacts
    rows: Sequence[FrameScore]
    ssim_window: str = "gaussian11"
    unpaired: Unpaired = Unpaired()
    stages: tuple[StageTiming, ...] = ()
    wall_s: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    worst: tuple[WorstFrame, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class MetricTotals:
    """One metric over all frames. Percentiles are nearest-rank: the value of a real frame.

    Attributes:
        mean: over frames that have a value; inf as soon as one of them is.
        minimum, p1, p5: lowest value, 1st and 5th percentile.
        missing_frames: frames without a value, left out of all the others.
    """

    mean: float
    minimum: float
    p1: float
    p5: float
    missing_frames: int


@dataclass(frozen=True, slots=True)
class PsnrTotals:
    """PSNR over all frames, dB. The two means differ: the second is what one gets from all frames as one picture.

    Attributes:
        mean_of_frames: mean of the frames' PSNR; inf as soon as one frame is perfect.
        mean_of_frames_finite: the same without perfect frames; inf when all are perfect.
        of_mean_mse: PSNR of the mean squared error over all frames.
        minimum, p1, p5: lowest value, 1st and 5th percentile (nearest rank).
        perfect_frames: number of frames without any error, whose PSNR is inf.
    """

    mean_of_frames: float
    mean_of_frames_finite: float
    of_mean_mse: float
    minimum: float
    p1: float
    p5: float
    perfect_frames: int


@dataclass(frozen=True, slots=True)
class Totals:
    """The report in a few numbers.

    Attributes:
        frames: number of compared frames.
        psnr_y, psnr_u, psnr_v, psnr_yuv: None for planes the video does not have. `psnr_yuv` is what ffmpeg's psnr
            filter calls average: squared errors of all samples of all planes together.
        ssim_y, ssim_u, ssim_v: window as in `Report.ssim_window`; None for planes the video does not have.
        vmaf, vmaf_neg, xpsnr_y: None when not measured.
        bitrate_kbps: of the coded video packets, 1000 bit/s; None when unknown.
        bpp: bits of the coded video packets per pixel of the source; None when unknown.
        size_ratio: size of the coded file over size of the source's file; None when unknown.
    """

    frames: int
    psnr_y: PsnrTotals
    psnr_u: PsnrTotals | None
    psnr_v: PsnrTotals | None
    psnr_yuv: PsnrTotals | None
    ssim_y: MetricTotals
    ssim_u: MetricTotals | None
    ssim_v: MetricTotals | None
    vmaf: MetricTotals | None
    vmaf_neg: MetricTotals | None
    xpsnr_y: MetricTotals | None
    bitrate_kbps: float | None
    bpp: float | None
    size_ratio: float | None


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
        [N]; frames with t - 1/2 <= pts < t + 1/2 over the part of that second which the video covers (the last frame
        lasts as long as the median frame); nan where the window holds a frame of unknown size.
    """
    times = np.asarray(pts_s, dtype=np.float64)
    sizes = np.asarray(frame_bytes, dtype=np.float64)
    if times.size == 0:
        return np.empty(0)
    order = np.argsort(times, kind="stable")
    times, sizes = times[order], sizes[order]
    last_frame_s = float(np.median(np.diff(times))) if times.size > 1 else SLIDING_WINDOW_S
    start, end = times - SLIDING_WINDOW_S / 2, times + SLIDING_WINDOW_S / 2
    # A nanosecond early on both sides, so that a frame exactly on an edge falls on the same side in every window.
    first, stop = (np.searchsorted(times, edge - 1e-9) for edge in (start, end))
    unknown = _cumulative(np.isnan(sizes))
    total = _cumulative(np.nan_to_num(sizes))
    covered = np.minimum(end, times[-1] + last_frame_s) - np.maximum(start, times[0])
    rate = np.where(
        unknown[stop] > unknown[first], np.nan, (total[stop] - total[first]) * 8 / 1000 / np.maximum(covered, 1e-9)
    )
    result = np.empty_like(rate)
    result[order] = rate
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
    """The report's notes, and the sentences that follow from its numbers: HDR, perfect frames, unpaired frames."""
    found = list(report.notes)
    if report.source.color.is_hdr:
        found.append(f"HDR ({report.source.color.transfer}): PSNR and SSIM are measured in code values, not in light.")
    perfect = sums.psnr_y.perfect_frames
    if perfect:
        finite = sums.psnr_y.mean_of_frames_finite
        rest = "all of them" if perfect == sums.frames else f"the mean of the others is {finite:.3f} dB"
        found.append(f"{perfect} of {sums.frames} frames have no error in luma: their PSNR-Y is inf, {rest}.")
    for times, side in ((report.unpaired.ref_only, "the source"), (report.unpaired.dist_only, "the restored video")):
        if times:
            found.append(f"{plural(len(times), 'frame')} only in {side}, the first at {float(times[0]):.3f} s.")
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
            means = f"{psnr_sums.mean_of_frames:.3f} dB mean of frames, {psnr_sums.of_mean_mse:.3f} dB of the mean MSE"
            cells.append((label, f"{means}, {_low_end(psnr_sums, 2)}"))
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
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _low_end(sums: MetricTotals | PsnrTotals, digits: int) -> str:
    return f"min {sums.minimum:.{digits}f}, 1 % {sums.p1:.{digits}f}, 5 % {sums.p5:.{digits}f}"


def _bitrate_kbps(video_bytes: int | None, duration_s: Fraction | None) -> float | None:
    return float(video_bytes * 8 / duration_s / 1000) if video_bytes is not None and duration_s else None


def _floats(values: Any) -> FloatColumn:
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

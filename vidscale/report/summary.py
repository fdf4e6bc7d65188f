"""Totals of a report, which `vidscale.report.totals` computes."""

from dataclasses import dataclass

from vidscale.report.rows import Shot


@dataclass(frozen=True, slots=True)
class ShotTotals:
    """Totals of one shot.

    Attributes:
        shot: the shot.
        psnr_y: PSNR of the mean squared error of its measured frames, dB, may be inf; nan if none was measured.
        ssim_y: mean; nan if there is none.
        bitrate_kbps: of the coded video packets, 1000 bit/s; nan when unknown.
        worst_index: index of the pair with the largest luma error; None if none was measured or all are perfect.
        worst_psnr_y: its PSNR, dB; nan if there is none.
    """

    shot: Shot
    psnr_y: float
    ssim_y: float
    bitrate_kbps: float
    worst_index: int | None
    worst_psnr_y: float


@dataclass(frozen=True, slots=True)
class MetricTotals:
    """Totals of one metric. Percentiles are nearest-rank.

    Attributes:
        mean: over the frames with a value; inf if any value is.
        minimum, p1, p5: lowest value, 1st and 5th percentile.
        missing_frames: number of frames without a value, excluded from the other totals.
    """

    mean: float
    minimum: float
    p1: float
    p5: float
    missing_frames: int


@dataclass(frozen=True, slots=True)
class PsnrTotals:
    """PSNR totals, dB. The mean of the frames' PSNR differs from the PSNR of the mean MSE.

    Attributes:
        mean_of_frames: mean of the frames' PSNR; inf if any frame is perfect.
        mean_of_frames_finite: the same without perfect frames; inf if all are perfect.
        of_mean_mse: PSNR of the mean squared error over all frames, as if they were a single picture.
        minimum, p1, p5: lowest value, 1st and 5th percentile (nearest rank).
        perfect_frames: number of frames without error, whose PSNR is inf.
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
    """Totals of a report.

    Attributes:
        frames: number of compared frames.
        psnr_y, psnr_u, psnr_v, psnr_yuv: None for planes that do not exist. `psnr_yuv` is the "average" of ffmpeg's
            psnr filter: the squared errors of all samples of all planes pooled.
        ssim_y, ssim_u, ssim_v: window as in `Report.ssim_window`; None for planes that do not exist.
        vmaf, vmaf_neg, xpsnr_y: None when not measured.
        bitrate_kbps: of the coded video packets, 1000 bit/s; None when unknown.
        bpp: bits of the coded video packets per source pixel; None when unknown.
        size_ratio: size of the coded file over size of the source file; None when unknown.
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

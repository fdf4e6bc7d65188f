"""How a restored video compares with its source: one row per frame, totals, and what made it so.

Here is the data. `report_totals` does the arithmetic, `report_files` writes and reads JSON, CSV and the page,
`report_html` draws the page, `report_pictures` keeps the worst frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.media.frames import Color, PixelFormat, Plane


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One compared frame.

    Attributes:
        index: number of the pair of frames, from 0, in order of presentation.
        pts_s: presentation time of the source's frame, seconds, exact.
        pict_type: coded type of the frame, "I", "P", "B", "" when unknown.
        bytes: size of the coded frame, None when unknown.
        mse: mean squared error per plane, (Y,) or (Y, U, V), code values squared.
        ssim: per plane, -1 to 1; nan where the plane is smaller than the window.
        vmaf, vmaf_neg: 0 to 100; None when not measured.
        xpsnr_y: dB, may be inf; None when not measured.
        span_bytes: size of the coded frame and of those behind it that were not measured; None when all were.
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
    span_bytes: int | None = None


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
    color: Color
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

    ref_only: list[Fraction] = field(default_factory=list)
    dist_only: list[Fraction] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many there are on both sides."""
        return len(self.ref_only) + len(self.dist_only)


@dataclass(frozen=True, slots=True)
class Pairing:
    """How frames were brought together.

    Attributes:
        pairs: number of pairs; None when all of them were measured.
        every: every Nth pair was measured.
        offset_s: by how much the restored video's times were later than the source's, seconds, exact; None when that
            was not looked for.
    """

    pairs: int | None = None
    every: int = 1
    offset_s: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Shot:
    """Frames between two cuts of the source.

    Attributes:
        start_index: number of its first pair.
        start_s: presentation time of its first frame, seconds, exact.
        frames: pairs, whether measured or not.
        bytes: of its coded frames; None when unknown.
    """

    start_index: int
    start_s: Fraction
    frames: int
    bytes: int | None


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
        pairing: how frames were brought together.
        shots: in order, together all pairs.
        worst: pictures, worst first; not part of the JSON and not compared.
    """

    source: SourceFacts
    distorted: DistortedFacts
    rows: Sequence[FrameScore]
    ssim_window: str = "gaussian11"
    unpaired: Unpaired = field(default_factory=Unpaired)
    stages: tuple[StageTiming, ...] = ()
    wall_s: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pairing: Pairing = Pairing()
    shots: tuple[Shot, ...] = ()
    worst: tuple[WorstFrame, ...] = field(default=(), compare=False, repr=False)

    @property
    def pairs(self) -> int:
        """Number of pairs, measured or not."""
        return len(self.rows) if self.pairing.pairs is None else self.pairing.pairs

    @property
    def unpaired_shares(self) -> tuple[float, float]:
        """How many of the frames of the source, and of the restored video, have no partner: 0 to 1."""
        alone = len(self.unpaired.ref_only), len(self.unpaired.dist_only)
        ref, dist = (count / max(1, count + self.pairs) for count in alone)
        return ref, dist


@dataclass(frozen=True, slots=True)
class ShotTotals:
    """One shot in a few numbers.

    Attributes:
        shot: which.
        psnr_y: PSNR of the mean squared error of its measured frames, dB, may be inf; nan when none was measured.
        ssim_y: mean; nan when there is none.
        bitrate_kbps: of the coded video packets, 1000 bit/s; nan when unknown.
        worst_index: pair with the largest luma error; None when none was measured or all are perfect.
        worst_psnr_y: its PSNR, dB; nan when there is none.
    """

    shot: Shot
    psnr_y: float
    ssim_y: float
    bitrate_kbps: float
    worst_index: int | None
    worst_psnr_y: float


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


def _bitrate_kbps(video_bytes: int | None, duration_s: Fraction | None) -> float | None:
    return float(video_bytes * 8 / duration_s / 1000) if video_bytes is not None and duration_s else None

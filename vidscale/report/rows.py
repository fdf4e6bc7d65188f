"""Data of a report: how a restored video compares with its source.

`totals` computes the figures in `summary`, `files` writes and reads reports, `page` renders the page, and
`worst_frames` keeps the pictures of the worst frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.media.frames import Color, PixelFormat, Plane
from vidscale.report.verdict import Verdict


@dataclass(frozen=True, slots=True)
class FrameScore:
    """Scores of one frame.

    Attributes:
        index: number of the frame pair, from 0, in presentation order.
        pts_s: presentation time of the source frame, seconds, exact.
        pict_type: picture type, "I", "P", "B", or "" when unknown.
        bytes: size of the coded frame, None when unknown.
        mse: mean squared error per plane, (Y,) or (Y, U, V), code values squared.
        ssim: per plane, -1 to 1; nan if the plane is smaller than the window.
        vmaf, vmaf_neg: 0 to 100; None when not measured.
        xpsnr_y: dB, may be inf; None when not measured.
        span_bytes: size of the coded frame and of the unmeasured and unpaired ones after it; None if there are none
            after any frame, or one's size is unknown.
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
    """The source video.

    Attributes:
        name: file name for display.
        width, height: luma samples.
        format: pixel format of the comparison.
        color: colour description.
        duration_s: length of the compared part in seconds, exact; None when unknown.
        size_bytes: size of the whole file; None when unknown or when only a part of it was encoded.
        video_bytes: bytes of the video packets in `duration_s`; None when unknown.
        codec: ffmpeg's name, such as "prores"; "" when unknown.
    """

    name: str
    width: int
    height: int
    format: PixelFormat
    color: Color
    duration_s: Fraction | None = None
    size_bytes: int | None = None
    video_bytes: int | None = None
    codec: str = ""

    @property
    def bitrate_kbps(self) -> float | None:
        """Video packets only, 1000 bit/s; None when unknown."""
        return _bitrate_kbps(self.video_bytes, self.duration_s)


@dataclass(frozen=True, slots=True)
class DistortedFacts:
    """The coded video whose restored frames were compared.

    Attributes:
        name: file name for display.
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
    """Unpaired frames.

    Attributes:
        ref_only: presentation times of frames only in the source, seconds.
        dist_only: presentation times of frames only in the restored video, seconds.
    """

    ref_only: list[Fraction] = field(default_factory=list)
    dist_only: list[Fraction] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Number of unpaired frames on both sides."""
        return len(self.ref_only) + len(self.dist_only)


@dataclass(frozen=True, slots=True)
class Pairing:
    """How frames were paired.

    Attributes:
        pairs: number of pairs; None if all of them were measured.
        every: every Nth pair was measured.
        offset_s: delay of the restored video relative to the source, seconds, exact; None if it was not searched for.
    """

    pairs: int | None = None
    every: int = 1
    offset_s: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Shot:
    """Frames between two cuts of the source.

    Attributes:
        start_index: index of its first pair.
        start_s: presentation time of its first frame, seconds, exact.
        frames: number of pairs, measured or not.
        bytes: size of its coded frames; None when unknown.
    """

    start_index: int
    start_s: Fraction
    frames: int
    bytes: int | None


@dataclass(frozen=True, slots=True)
class StageTiming:
    """Timing of one stage.

    Attributes:
        name: such as "downscale".
        seconds: busy time, without waiting for other stages.
        frames: number of frames processed.
        device: such as "cpu" or "cuda:0 NVIDIA H200".
        implementation: such as "triton", "torch" or "libx265 medium".
    """

    name: str
    seconds: float
    frames: int
    device: str = "cpu"
    implementation: str = ""

    @property
    def fps(self) -> float:
        """Frames per busy second; inf if no time was measured."""
        return self.frames / self.seconds if self.seconds > 0 else float("inf")


@dataclass(frozen=True, slots=True)
class WorstFrame:
    """Pictures of one of the worst frames, downscaled by an integer factor to limit memory.

    Attributes:
        score: its scores.
        ref, dist: planes of source and restored video, averaged over `reduction` x `reduction` samples, code values.
        error: [h, w] float32, root mean squared luma error over the same samples, code values.
        reduction: downscaling factor, 1 or more.
    """

    score: FrameScore
    ref: tuple[Plane, ...] = field(repr=False)
    dist: tuple[Plane, ...] = field(repr=False)
    error: npt.NDArray[np.float32] = field(repr=False)
    reduction: int = 1


@dataclass(frozen=True, slots=True)
class Report:
    """A complete report.

    Attributes:
        source, distorted: the two videos.
        rows: one per compared frame, in presentation order.
        ssim_window: "gaussian11" (11x11, sigma 1.5) or "ffmpeg8x8" (ffmpeg's ssim filter).
        unpaired: frames that exist on one side only.
        stages: timing of each stage.
        wall_s: seconds from start to end (stages run in parallel); None if not measured.
        settings: resolved settings, JSON values.
        commands: ffmpeg command lines, quoted for a shell.
        versions: versions by name of program or library.
        notes: sentences; `remarks` adds those that follow from the numbers.
        pairing: how frames were paired.
        shots: in order, covering all pairs.
        verdict: what the full size would have needed; None if that was not estimated.
        decision: how the scale or the crf was chosen, JSON values; None if the settings named them.
        worst: pictures, worst first; neither written to JSON nor compared.
    """

    source: SourceFacts
    distorted: DistortedFacts
    rows: Sequence[FrameScore] = field(repr=False)  # there may be thousands
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
    verdict: Verdict | None = None
    decision: Mapping[str, Any] | None = None
    worst: tuple[WorstFrame, ...] = field(default=(), compare=False, repr=False)

    @property
    def pairs(self) -> int:
        """Number of pairs, measured or not."""
        return len(self.rows) if self.pairing.pairs is None else self.pairing.pairs

    @property
    def coded_frames(self) -> int:
        """Number of coded frames in the compared part, with or without a partner."""
        if not self.rows or self.distorted.duration_s is None:
            return self.pairs
        start_s = self.rows[0].pts_s
        end_s = start_s + self.distorted.duration_s
        return self.pairs + sum(start_s <= time < end_s for time in self.unpaired.dist_only)

    @property
    def has_spans(self) -> bool:
        """Whether rows stand for more than one coded frame."""
        return self.pairing.every > 1 or any(row.span_bytes is not None for row in self.rows)

    @property
    def unpaired_shares(self) -> tuple[float, float]:
        """How many of the frames of the source, and of the restored video, have no partner: 0 to 1."""
        alone = len(self.unpaired.ref_only), len(self.unpaired.dist_only)
        ref, dist = (count / max(1, count + self.pairs) for count in alone)
        return ref, dist


def _bitrate_kbps(video_bytes: int | None, duration_s: Fraction | None) -> float | None:
    return float(video_bytes * 8 / duration_s / 1000) if video_bytes is not None and duration_s else None

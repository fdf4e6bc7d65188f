"""Measures the encoded file of a trial against its source: luma, at the source's size, one decode of each file."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from statistics import fmean

from vidscale.compare.metrics import Metric
from vidscale.compare.trials.restoring import CodedTrial, ffmpeg_seconds, restored
from vidscale.config import Interlaced, MeasureSettings, TimeRange
from vidscale.errors import MeasureError
from vidscale.media.frames import Frame, PixelFormat
from vidscale.media.probe import open_container
from vidscale.report.rows import FrameScore
from vidscale.stages.decode import ReadLog, decode_frames
from vidscale.stages.measure import Lonely, paired, score
from vidscale.stages.perceptual import PerceptualMeter, with_scores
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock, Prefetch, queue_depth

# What is stored for each metric: a name and the frame's value. PSNR is that of the mean squared error.
_STORED: dict[Metric, tuple[str, Callable[[FrameScore], float | None]]] = {
    "psnr_y": ("mse_y", lambda row: row.mse[0]),
    "ssim_y": ("ssim_y", lambda row: row.ssim[0]),
    "vmaf": ("vmaf", lambda row: row.vmaf),
    "vmaf_neg": ("vmaf_neg", lambda row: row.vmaf_neg),
    "xpsnr_y": ("xpsnr_y", lambda row: row.xpsnr_y),
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured.

    Attributes:
        means: mean over frames, by stored name.
        frames: number of compared frames.
        duration_s: of the segment, seconds, exact.
        decode_s: seconds of decoding and upscaling, see `vidscale.compare.points.Point`.
    """

    means: Mapping[str, float]
    frames: int
    duration_s: Fraction
    decode_s: float


def stored_name(metric: Metric) -> str:
    """The name under which a result stores what a metric is computed from."""
    return _STORED[metric][0]


def measure_trial(
    trial: CodedTrial,
    segment: TimeRange | None,
    metrics: Sequence[Metric],
    *,
    interlaced: Interlaced,
    progress: Progress,
) -> Measurement:
    """Restores the encoded file of a trial and measures it.

    Args:
        trial: the encoded file.
        segment: the time range of the source that it holds; None for all of it.
        metrics: which to measure.
        interlaced: how the source is read.
        progress: told about every frame.

    Raises:
        VidscaleError: a file cannot be read, or frames are missing.
    """
    clocks = Clock("decode"), Clock("upscale")
    with ExitStack() as stack:
        video = trial.source.video
        source = decode_frames(
            trial.source, log=ReadLog(), clock=Clock("source"), time_range=segment, interlaced=interlaced
        )
        gray = PixelFormat("gray", video.format.bit_depth)
        depth = queue_depth(video.format.frame_bytes(video.height, video.width))
        refs = stack.enter_context(Prefetch(source, depth))
        dists = stack.enter_context(Prefetch(stack.enter_context(restored(trial, *clocks)), depth))
        wanted = MeasureSettings(vmaf="vmaf" in metrics or "vmaf_neg" in metrics, xpsnr="xpsnr_y" in metrics)
        meter = None
        if wanted.vmaf or wanted.xpsnr:
            meter = stack.enter_context(PerceptualMeter(trial.ffmpeg, wanted, video))
        lonely, rows = Lonely(), list[FrameScore]()
        for ref, dist in paired(refs, dists, lonely):
            luma = _luma(ref, gray), _luma(dist, gray)
            rows.append(score(len(rows), *luma, wanted.ssim, Clock("measure")))
            if meter is not None:
                meter.feed(*(luma if video.format == gray else (ref, dist)))
            progress.advance()
        if lonely.ref or lonely.dist or not rows:
            unpaired = len(lonely.ref) + len(lonely.dist)
            raise MeasureError(f"{unpaired} frames of {trial.source.path} and of its encoded file could not be paired")
        if meter is not None:
            rows = with_scores(rows, meter.scores())
    seconds = ffmpeg_seconds(trial) if trial.upscaled_by_ffmpeg else sum(clock.busy_s for clock in clocks)
    return Measurement(_means(rows, metrics), len(rows), _duration(rows, video.frame_rate), seconds)


def video_bytes(path: Path) -> int:
    """Bytes of a file's video packets."""
    with open_container(path) as container:
        return sum(packet.size for packet in container.demux(container.streams.video[0]))


def _luma(frame: Frame, gray: PixelFormat) -> Frame:
    return replace(frame, planes=frame.planes[:1], format=gray)


def _means(rows: Sequence[FrameScore], metrics: Sequence[Metric]) -> dict[str, float]:
    means = {}
    for metric in metrics:
        name, value_of = _STORED[metric]
        values = [value for row in rows if (value := value_of(row)) is not None]
        means[name] = fmean(values)
    return means


def _duration(rows: Sequence[FrameScore], frame_rate: Fraction | None) -> Fraction:
    """From the start of the first frame to the end of the last, which is given the mean duration."""
    if len(rows) > 1:
        return (rows[-1].pts_s - rows[0].pts_s) * len(rows) / (len(rows) - 1)
    return 1 / frame_rate if frame_rate else Fraction(1, 25)

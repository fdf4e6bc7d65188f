"""A coded part measured against its source: luma, at the source's size, from one decode of each."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import fmean

from vidscale.compare.metrics import Metric
from vidscale.compare.trials.restoring import CodedPart, ffmpeg_seconds, restored
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

# What a part stores of each metric; the mean squared error as a part of the squared peak, whatever the bit depth.
_VALUES: dict[Metric, tuple[str, Callable[[FrameScore, int], float | None]]] = {
    "psnr_y": ("mse_y", lambda row, peak: row.mse[0] / peak**2),
    "ssim_y": ("ssim_y", lambda row, peak: row.ssim[0]),
    "vmaf": ("vmaf", lambda row, peak: row.vmaf),
    "vmaf_neg": ("vmaf_neg", lambda row, peak: row.vmaf_neg),
    "xpsnr_y": ("xpsnr_y", lambda row, peak: row.xpsnr_y),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A part that was measured.

    Attributes:
        means: by name the mean over frames.
        frames: how many were compared.
        duration_s: of the part, seconds, exact.
        decode_s: seconds of decoding and upscaling, see `points.Point`.
    """

    means: Mapping[str, float]
    frames: int
    duration_s: Fraction
    decode_s: float


def stored_name(metric: Metric) -> str:
    """Under which name a part stores what a metric is made from."""
    return _VALUES[metric][0]


def measure_part(
    part: CodedPart,
    time_range: TimeRange | None,
    metrics: Sequence[Metric],
    *,
    interlaced: Interlaced,
    progress: Progress,
) -> Measured:
    """Restores a coded part and measures it.

    Args:
        part: what is measured.
        time_range: the part of the movie that it was made from.
        metrics: what of it is wanted.
        interlaced: how the source was read.
        progress: told about every frame.

    Raises:
        VidscaleError: it cannot be read, or frames are missing.
    """
    clocks = Clock("decode"), Clock("upscale")
    with ExitStack() as stack:
        video = part.original.video
        source = decode_frames(
            part.original,
            log=ReadLog(),
            clock=Clock("source"),
            time_range=time_range,
            interlaced=interlaced,
            alpha="drop",  # refused before, where it was to be
        )
        gray = PixelFormat("gray", video.format.bit_depth)
        depth = queue_depth(video.format.frame_bytes(video.height, video.width))
        refs = stack.enter_context(Prefetch(source, depth))
        dists = stack.enter_context(Prefetch(stack.enter_context(restored(part, *clocks)), depth))
        wanted = MeasureSettings(vmaf="vmaf" in metrics or "vmaf_neg" in metrics, xpsnr="xpsnr_y" in metrics)
        meter = None
        if wanted.vmaf or wanted.xpsnr:
            meter = stack.enter_context(PerceptualMeter(part.ffmpeg, wanted, video))
        lonely, rows = Lonely(), list[FrameScore]()
        for ref, dist in paired(refs, dists, lonely):
            luma = _luma(ref, gray), _luma(dist, gray)
            rows.append(score(len(rows), *luma, wanted.ssim, Clock("measure")))
            if meter is not None:
                meter.feed(*(luma if video.format == gray else (ref, dist)))
            progress.advance()
        if lonely.ref or lonely.dist or not rows:
            lost = len(lonely.ref) + len(lonely.dist)
            raise MeasureError(f"{lost} frames of {part.original.path} and of what was coded have no partner")
        if meter is not None:
            rows = with_scores(rows, meter.scores())
    seconds = ffmpeg_seconds(part) if part.by_ffmpeg else sum(clock.busy_s for clock in clocks)
    return Measured(_means(rows, metrics, gray.peak), len(rows), _duration(rows, video.frame_rate), seconds)


def video_bytes(part: CodedPart) -> int:
    """Bytes of the coded video packets."""
    with open_container(part.path) as container:
        return sum(packet.size for packet in container.demux(container.streams.video[0]))


def _luma(frame: Frame, gray: PixelFormat) -> Frame:
    return replace(frame, planes=frame.planes[:1], format=gray)


def _means(rows: Sequence[FrameScore], metrics: Sequence[Metric], peak: int) -> dict[str, float]:
    means = {}
    for metric in metrics:
        name, value = _VALUES[metric]
        values = [found for row in rows if (found := value(row, peak)) is not None]
        means[name] = fmean(values)
    return means


def _duration(rows: Sequence[FrameScore], frame_rate: Fraction | None) -> Fraction:
    """From the first frame to the end of the last, which lasts as long as the mean one."""
    if len(rows) > 1:
        return (rows[-1].pts_s - rows[0].pts_s) * len(rows) / (len(rows) - 1)
    return 1 / frame_rate if frame_rate else Fraction(1, 25)

"""A coded part measured against its source: luma, at the source's size, from one decode of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import fmean

from vidscale.compare.metrics import Metric
from vidscale.compare.trials.restoring import CodedPart, ffmpeg_seconds, restored
from vidscale.config import Interlaced, MeasureSettings, TimeRange
from vidscale.errors import MeasureError
from vidscale.jobs.measurement import Measurement
from vidscale.media.probe import open_container
from vidscale.report.rows import FrameScore
from vidscale.stages.decode import ReadLog, decode_frames
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock

# What a part stores of each metric; the mean squared error as a part of the squared peak, whatever the bit depth.
_VALUES: dict[Metric, tuple[str, Callable[[FrameScore, int], float | None]]] = {
    "psnr_y": ("mse_y", lambda row, peak: row.mse[0] / peak**2),
    "ssim_y": ("ssim_y", lambda row, peak: row.ssim[0]),
    "vmaf": ("vmaf", lambda row, peak: row.vmaf),
    "vmaf_neg": ("vmaf_neg", lambda row, peak: row.vmaf_neg),
    "xpsnr_y": ("xpsnr_y", lambda row, peak: row.xpsnr_y),
}

_UNKNOWN_FRAME_S = Fraction(1, 25)  # how long a single frame without a frame rate lasts


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
    video = part.original.video
    decoding, upscaling = Clock("decode"), Clock("upscale")
    measured = Measurement(luma_only=True)
    wanted = MeasureSettings(vmaf="vmaf" in metrics or "vmaf_neg" in metrics, xpsnr="xpsnr_y" in metrics)
    source = decode_frames(
        part.original, log=ReadLog(), clock=Clock("source"), time_range=time_range, interlaced=interlaced
    )
    with restored(part, decoding, upscaling) as frames:
        measured.run(source, frames, video, wanted, part.ffmpeg, progress)
    if lost := measured.unpaired.count:
        raise MeasureError(f"{lost} frames of {part.original.path} and of what was coded have no partner")
    seconds = ffmpeg_seconds(part) if part.by_ffmpeg else decoding.busy_s + upscaling.busy_s
    duration = measured.duration_s(video) or _UNKNOWN_FRAME_S
    return Measured(_means(measured.rows, metrics, video.format.peak), len(measured.rows), duration, seconds)


def video_bytes(part: CodedPart) -> int:
    """Bytes of the coded video packets."""
    with open_container(part.path) as container:
        return sum(packet.size for packet in container.demux(container.streams.video[0]))


def _means(rows: Sequence[FrameScore], metrics: Sequence[Metric], peak: int) -> dict[str, float]:
    means = {}
    for metric in metrics:
        name, value = _VALUES[metric]
        values = [found for row in rows if (found := value(row, peak)) is not None]
        means[name] = fmean(values)
    return means

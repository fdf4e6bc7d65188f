"""Measures the encoded file of a trial against its source: luma, at the source's size, one decode of each file."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import fmean

from vidscale.compare.trials.decoded import DecodedSegments
from vidscale.compare.trials.restoring import CodedTrial, ffmpeg_seconds, restored
from vidscale.compare.trials.window import WHOLE, Window
from vidscale.config import Interlaced, MeasureSettings, TimeRange
from vidscale.errors import MeasureError
from vidscale.jobs.measurement import Measurement
from vidscale.jobs.restore import part_of
from vidscale.media.frames import ASSUMED_FRAME_RATE, Frame
from vidscale.media.opening import open_container
from vidscale.quality import Metric, measuring
from vidscale.report.rows import FrameScore
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock

# What is stored for each metric: a name and the frame's value. PSNR is that of the mean squared error.
_STORED: dict[Metric, tuple[str, Callable[[FrameScore], float | None]]] = {
    "psnr_y": ("mse_y", lambda row: row.mse[0]),
    "ssim_y": ("ssim_y", lambda row: row.ssim[0]),
    "vmaf": ("vmaf", lambda row: row.vmaf),
    "vmaf_neg": ("vmaf_neg", lambda row: row.vmaf_neg),
    "xpsnr_y": ("xpsnr_y", lambda row: row.xpsnr_y),
}


@dataclass(frozen=True, slots=True)
class TrialMeasurement:
    """What was measured.

    Attributes:
        scores: per measured frame, by stored name.
        frames: number of compared frames.
        duration_s: of the segment, seconds, exact.
        decode_s: seconds of decoding and upscaling, see `vidscale.compare.points.Point`.
    """

    scores: Mapping[str, tuple[float, ...]]
    frames: int
    duration_s: Fraction
    decode_s: float

    @property
    def means(self) -> dict[str, float]:
        """Mean over frames, by stored name."""
        return {name: fmean(values) for name, values in self.scores.items()}


@dataclass(frozen=True, slots=True)
class CodedFrames:
    """The frames of an encoded file.

    Attributes:
        sizes: bytes of each frame's packet, in presentation order.
        keys: indices of the keyframes.
    """

    sizes: tuple[int, ...]
    keys: tuple[int, ...]


def stored_name(metric: Metric) -> str:
    """The name under which a result stores what a metric is computed from."""
    return _STORED[metric][0]


def frame_values(rows: Iterable[FrameScore], metric: Metric) -> tuple[float, ...]:
    """What a metric is computed from, for each frame that has it: for PSNR the mean squared error of luma."""
    value_of = _STORED[metric][1]
    return tuple(value for row in rows if (value := value_of(row)) is not None)


def measure_trial(
    trial: CodedTrial,
    segment: TimeRange | None,
    metrics: Sequence[Metric],
    *,
    interlaced: Interlaced,
    progress: Progress,
    window: Window = WHOLE,
    decoded: DecodedSegments | None = None,
) -> TrialMeasurement:
    """Restores the encoded file of a trial and measures it.

    Args:
        trial: the encoded file.
        segment: the time range of the source that it holds; None for all of it.
        metrics: which to measure.
        interlaced: how the source is read.
        progress: receives every frame.
        window: the frames of the segment that are measured.
        decoded: frames of the source that other trials share; None decodes the segment.

    Raises:
        VidscaleError: a file cannot be read, or frames are missing.
    """
    video = trial.source.video
    decoding, upscaling = Clock("decode"), Clock("upscale")
    measured = Measurement(every=window.every, luma_only=True)
    wanted = MeasureSettings.resolve(measuring(metrics))
    kept = None if decoded is None else decoded.of(trial.source, segment)
    source = iter(kept.frames) if kept else _source_frames(trial, segment, interlaced)
    with restored(trial, decoding, upscaling, window) as frames:
        measured.run(part_of(source, window.part), frames, video, wanted, trial.ffmpeg, progress)
    if unpaired := measured.unpaired.count:
        raise MeasureError(f"{unpaired} frames of {trial.source.path} and of its encoded file could not be paired")
    seconds = ffmpeg_seconds(trial) if trial.upscaled_by_ffmpeg else decoding.busy_s + upscaling.busy_s
    duration = measured.duration_s(video) or 1 / ASSUMED_FRAME_RATE  # of a single frame
    return TrialMeasurement(_scores(measured.rows, metrics), len(measured.rows), duration, seconds)


def _source_frames(trial: CodedTrial, segment: TimeRange | None, interlaced: Interlaced) -> Iterator[Frame]:
    return decode_frames(
        trial.source,
        log=ReadLog(),
        clock=Clock("source"),
        time_range=segment,
        interlaced=interlaced,
        alpha="drop",  # checked when the movie was opened
    )


def coded_frames(path: Path) -> CodedFrames:
    """The video packets of an encoded file."""
    with open_container(path) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
    packets.sort(key=lambda packet: packet.pts or 0)
    keys = tuple(index for index, packet in enumerate(packets) if packet.is_keyframe)
    return CodedFrames(tuple(packet.size for packet in packets), keys)


def _scores(rows: Sequence[FrameScore], metrics: Sequence[Metric]) -> dict[str, tuple[float, ...]]:
    return {stored_name(metric): frame_values(rows, metric) for metric in metrics}

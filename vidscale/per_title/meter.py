"""What is measured of a movie, and by which ffmpeg."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vidscale.compare.trials.programs import FILTERS, trial_ffmpeg
from vidscale.config import EncodeSettings
from vidscale.errors import ConfigError
from vidscale.media.ffmpeg import Ffmpeg
from vidscale.media.probe import Source
from vidscale.quality import VMAF_METRICS, Metric
from vidscale.stages.perceptual import LEAST_SIDE


@dataclass(frozen=True, slots=True)
class Meter:
    """What is measured, and by which ffmpeg.

    Attributes:
        judge: the metric by which ways are equal.
        metrics: all that are measured.
        ffmpeg: with the encoder and the filters.
        notes: one line if the judge is not the usual one.
    """

    judge: Metric
    metrics: tuple[Metric, ...]
    ffmpeg: Ffmpeg
    notes: tuple[str, ...] = ()


def meter_for(source: Source, settings: EncodeSettings) -> Meter:
    """Chooses the judge: the requested metric, else VMAF NEG where an ffmpeg has it and the pictures are large enough.

    Raises:
        ConfigError: no ffmpeg has what a requested metric needs.
    """
    video = source.video
    wanted = [metric for metric in (settings.target and settings.target.metric, settings.judge) if metric]
    is_small = min(video.width, video.height) < LEAST_SIDE
    if is_small and any(metric in VMAF_METRICS for metric in wanted):
        size = f"{video.width}x{video.height}"
        raise ConfigError(f"VMAF needs pictures of {LEAST_SIDE}x{LEAST_SIDE} or more, these are {size}; use ssim")
    if not is_small:
        try:
            return _meter(settings, "vmaf_neg", [*wanted, "vmaf_neg", "vmaf"])
        except ConfigError:
            if any(metric in FILTERS for metric in wanted):
                raise
    note = "no ffmpeg here has libvmaf, so ways are compared by SSIM-Y instead of VMAF NEG"
    return replace(_meter(settings, "ssim_y", wanted), notes=() if is_small else (note,))


def _meter(settings: EncodeSettings, judge: Metric, metrics: Sequence[Metric]) -> Meter:
    """Measures these metrics, and in any case PSNR and SSIM; the settings may name another judge."""
    measured: tuple[Metric, ...] = tuple(dict.fromkeys([*metrics, judge, "psnr_y", "ssim_y"]))
    return Meter(settings.judge or judge, measured, trial_ffmpeg(settings.ffmpeg, [settings.codec], measured))

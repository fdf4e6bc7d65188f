"""The ffmpeg that encodes and measures trials."""

from collections.abc import Iterable
from pathlib import Path

from vidscale.media.encoders import ENCODERS, CodecName
from vidscale.media.ffmpeg import Ffmpeg, find_ffmpeg
from vidscale.quality import Metric

FILTERS: dict[Metric, str] = {"vmaf": "libvmaf", "vmaf_neg": "libvmaf", "xpsnr_y": "xpsnr"}
"""ffmpeg's filters for the metrics that it measures."""


def trial_ffmpeg(binary: Path | None, codecs: Iterable[CodecName], metrics: Iterable[Metric]) -> Ffmpeg:
    """The named ffmpeg, or the first that has what is needed.

    Raises:
        ConfigError: it lacks an encoder or a filter.
    """
    measuring = dict.fromkeys(FILTERS[metric] for metric in metrics if metric in FILTERS)
    encoders = [ENCODERS[codec].ffmpeg_name for codec in codecs]
    return find_ffmpeg(binary, encoders=encoders, filters=["setparams", "setsar", "scale", *measuring])

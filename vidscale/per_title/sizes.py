"""Sizes of a file: what there is besides the video, and how often the encoder writes keyframes."""

import contextlib
from fractions import Fraction
from itertools import pairwise

import av

from vidscale.config import EncodeSettings
from vidscale.errors import ConfigError
from vidscale.jobs.plans import EncodePlan
from vidscale.media.encoders import parsed_params
from vidscale.media.frames import ASSUMED_FRAME_RATE
from vidscale.media.opening import open_container
from vidscale.media.packets import Demuxed
from vidscale.media.probe import Source

_PACKET_BYTES = 16  # of the container per packet: sizes, times, block headers
_HEADER_BYTES = 4096
_MARGIN = 0.995  # of a size limit
_KEYINT = 250  # of x264 and x265
_SVTAV1_KEYINT_S = 5
_REGULAR = 0.9  # of the longest distance of keyframes: shorter ones are cuts
_FEW = 3


def video_budget(plan: EncodePlan, settings: EncodeSettings, frames: int, seconds: Fraction) -> float:
    """Largest number of bytes of the video, for the limits in the settings.

    Args:
        plan: of the encode.
        settings: with ``max_size``, ``max_bitrate`` or both.
        frames, seconds: length of the movie.

    Raises:
        ConfigError: nothing is left for the video.
    """
    limits = []
    if settings.max_bitrate is not None:
        limits.append(float(settings.max_bitrate * seconds / 8))
    if settings.max_size is not None:
        besides = _besides(plan) + _HEADER_BYTES + _PACKET_BYTES * frames
        left = settings.max_size * _MARGIN - besides
        if left <= 0:
            what = f"audio, subtitles and container, {besides:,} bytes"
            raise ConfigError(f"--max-size {settings.max_size:,} bytes leaves no room for video beside {what}")
        limits.append(left)
    return min(limits)


def _besides(plan: EncodePlan) -> int:
    """Bytes of the packets of all kept streams but the encoded one, with what the container adds."""
    kept = {stream.index for stream in plan.output.kept} - {plan.source.stream_index}
    if not kept:
        return 0
    time_range = plan.time_range
    start = plan.source.start_s + (time_range.start if time_range else 0)
    end = None if time_range is None or time_range.end is None else plan.source.start_s + time_range.end
    total = 0
    with contextlib.suppress(av.FFmpegError), open_container(plan.source.path) as container:
        for packet in Demuxed(container):
            if packet.stream.index not in kept:
                continue
            time = None if packet.pts is None else packet.pts * packet.time_base
            if time is None or (time >= start and (end is None or time < end)):
                total += packet.size + _PACKET_BYTES
    return total


def expected_keyframes(source: Source, settings: EncodeSettings, frames: int) -> float:
    """Number of keyframes that the encoder will write: one per interval, and one for each cut that the source's own
    keyframes show, as far as its index tells."""
    interval = _interval(settings, source)
    return min(float(frames), max(1.0, frames / interval) + _cuts(source) * _share(source, frames))


def _interval(settings: EncodeSettings, source: Source) -> float:
    params = dict(parsed_params(settings.encoder_params))
    for name in ("keyint", "keyint-max"):
        with contextlib.suppress(ValueError):
            if (given := int(params.get(name, ""))) > 0:
                return given
    if settings.codec != "svtav1":
        return _KEYINT
    return float(_SVTAV1_KEYINT_S * (source.video.frame_rate or ASSUMED_FRAME_RATE))


def _share(source: Source, frames: int) -> float:
    """How much of the source is encoded."""
    return min(1.0, frames / source.video.frame_count) if source.video.frame_count else 1.0


def _cuts(source: Source) -> int:
    """Keyframes in the source's index that come earlier than the regular ones."""
    with contextlib.suppress(av.FFmpegError), open_container(source.path) as container:
        stream = container.streams[source.stream_index]
        times = sorted(entry.timestamp for entry in stream.index_entries if entry.flags & 1)
        distances = [after - before for before, after in pairwise(times)]
        if len(distances) >= _FEW:
            return sum(distance < _REGULAR * max(distances) for distance in distances)
    return 0

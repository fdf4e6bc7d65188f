"""Estimates of a job before it starts: its number of frames, and the time that slow networks take."""

from fractions import Fraction

from vidscale.config import EncodeSettings, TimeRange
from vidscale.jobs.restore import SmallFile
from vidscale.media.geometry import Geometry
from vidscale.media.probe import Source
from vidscale.models.pair import Pair


def expected_frames(source: Source, time_range: TimeRange | None) -> int | None:
    """Expected number of frames in a source or a part of it; None when unknown."""
    video = source.video
    if time_range is None and video.frame_count:
        return video.frame_count
    if not video.frame_rate or not video.duration_s:
        return None
    end = video.duration_s
    start = Fraction(0)
    if time_range is not None:
        start, end = time_range.start, min(end, time_range.end or end)
    return max(1, round((end - start) * video.frame_rate))


def encoding_notes(source: Source, pair: Pair, geometry: Geometry, settings: EncodeSettings) -> tuple[str, ...]:
    """The estimated time of slow networks, as a warning before a job that takes days."""
    size = geometry.height, geometry.width
    downscaling = pair.downscale_seconds(*size)
    restoring = pair.upscale_seconds(*size) if settings.report else None
    parts = []
    if downscaling is not None:
        parts.append(f"{_duration(downscaling)} per frame to downscale")
    if restoring is not None:
        parts.append(f"{_duration(restoring)} {'per frame ' * (downscaling is None)}to restore it for the report")
    if not parts:
        return ()
    backend = pair.upscale_backend if downscaling is None else pair.downscale_backend
    frames = expected_frames(source, settings.range)
    text = f"{pair.name} on {backend.device}: about {' and '.join(parts)}"
    return (text + _total(frames, (downscaling or 0) + (restoring or 0)),)


def restoring_notes(small: SmallFile) -> tuple[str, ...]:
    """The same for restoring a small file."""
    seconds = small.pair.upscale_seconds(small.geometry.height, small.geometry.width)
    if seconds is None:
        return ()
    text = f"{small.pair.name} on {small.pair.upscale_backend.device}: about {_duration(seconds)} per frame to restore"
    return (text + _total(expected_frames(small.source, None), seconds),)


def _total(frames: int | None, seconds: float) -> str:
    return f", {_duration(frames * seconds)} in total" if frames else ""


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:{'.0f' if seconds > 0.01 else '.2g'}} ms"
    for limit, unit, length in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 86400:.3g} days"

"""Stills: one frame of a movie as each candidate restores it, at about equal bitrate, and as it is in the source."""

import hashlib
import math
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av

from vidscale.compare.points import Candidate, Curve, Point, Still
from vidscale.compare.trials.movies import Movie
from vidscale.compare.trials.restoring import restored_frame
from vidscale.compare.trials.runner import Trial, TrialRunner
from vidscale.config import Interlaced
from vidscale.jobs.estimates import expected_frames
from vidscale.media.frames import Frame, Plane
from vidscale.media.regions import detail, region_of_largest_sum
from vidscale.report.rows import SourceFacts
from vidscale.report.worst_frames import shown_rgb
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

SIZE = (540, 960)  # largest height and width of a still, in luma samples
_GRID = 16  # luma samples; the corner of a still lies on a chroma sample in every format


def stills_of(runner: TrialRunner, movie: Movie, curves: Sequence[Curve], folder: Path) -> list[Still]:
    """Stills of the middle frame of a movie's middle segment: the source, then every candidate.

    Args:
        runner: that ran the trials.
        movie: the movie.
        curves: its curves with one encoder.
        folder: for the PNG files; created if missing.

    Raises:
        VidscaleError: a video cannot be read.
        OSError: a still cannot be written.
    """
    index = len(movie.segments) // 2
    segment = movie.segments[index]
    number, source = _middle_frame(movie, index, runner.settings.interlaced)
    region = region_of_largest_sum(detail(source.planes[0]), *SIZE, step=_GRID)
    video = movie.source.video
    facts = SourceFacts(movie.name, video.width, video.height, source.format, video.color)
    name = _file_stem(movie.name)
    time = source.time + (segment.start if segment is not None else 0)
    folder.mkdir(parents=True, exist_ok=True)

    def still(at: int, frame: Frame, candidate: Candidate | None, point: Point | None) -> Still:
        path = folder / f"{name}.{curves[0].candidate.codec}.{at}.png"
        partial = path.with_name(f".{path.name}")
        partial.write_bytes(_png(region.crop(frame), replace(facts, format=frame.format)))
        partial.replace(path)
        return Still(movie.name, Fraction(time), candidate, point, path)

    stills = [still(0, source, None, None)]
    for at, (curve, point) in enumerate(at_equal_rate(curves), start=1):
        frame = restored_frame(runner.coded(Trial(movie, index, curve.candidate, point.crf)), number)
        # Gray is encoded as 4:2:0.
        layout = replace(source.format, bit_depth=frame.format.bit_depth)
        same_format = replace(frame, planes=frame.planes[: len(source.planes)], format=layout)
        stills.append(still(at, same_format, curve.candidate, point))
    return stills


def at_equal_rate(curves: Sequence[Curve]) -> list[tuple[Curve, Point]]:
    """The point of each curve that is nearest to a common bitrate: the middle of the range that all curves cover."""
    usable = [curve for curve in curves if curve.points]
    lows = [math.log(curve.points[0].bitrate_kbps) for curve in usable]
    highs = [math.log(curve.points[-1].bitrate_kbps) for curve in usable]
    if not usable:
        return []
    middle = (max(lows) + min(highs)) / 2
    return [(curve, min(curve.points, key=lambda p: abs(math.log(p.bitrate_kbps) - middle))) for curve in usable]


def _file_stem(name: str) -> str:
    """ASCII and short, for any locale and file system; different for different names."""
    stem = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:100]
    return stem if stem == name else f"{stem}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _middle_frame(movie: Movie, index: int, interlaced: Interlaced) -> tuple[int, Frame]:
    """Index in the segment and frame of the middle of a segment; its last frame if the segment ends early."""
    middle = (expected_frames(movie.source, movie.segments[index]) or 1) // 2
    frames = decode_frames(
        movie.source,
        log=ReadLog(),
        clock=Clock("decode"),
        time_range=movie.segments[index],
        interlaced=interlaced,
        alpha="drop",  # checked when the movie was opened
    )
    return deque(islice(enumerate(frames), middle + 1), maxlen=1).pop()


def _png(planes: tuple[Plane, ...], facts: SourceFacts) -> bytes:
    rgb = shown_rgb(planes, facts)
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = rgb.width, rgb.height, "rgb24"
    encoder.time_base = Fraction(1, 25)
    return b"".join(bytes(packet) for packet in [*encoder.encode(rgb), *encoder.encode(None)])

"""One picture of a movie as it came out of every way, at about equal bitrates, and the source's."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

from vidscale.compare.points import Curve, Point, Still, Way
from vidscale.compare.trials.movies import Movie
from vidscale.compare.trials.restoring import restored_frame
from vidscale.compare.trials.workshop import Take, Workshop
from vidscale.config import Interlaced
from vidscale.jobs.planning import expected_frames
from vidscale.media.frames import Frame, Plane
from vidscale.report.rows import SourceFacts
from vidscale.report.worst_frames import shown_rgb
from vidscale.stages.decode import ReadLog, decode_frames
from vidscale.system.threads import Clock

CROP = (540, 960)  # rows and columns of luma that a still shows at most
_GRID = 16  # luma samples; a crop begins on whole chroma samples of every format


@dataclass(frozen=True, slots=True)
class _Crop:
    """The part of a picture that is shown, in luma samples."""

    top: int
    left: int
    height: int
    width: int

    def of(self, frame: Frame) -> tuple[Plane, ...]:
        """The part of every plane."""
        sub_y, sub_x = frame.format.subsampling
        shapes = frame.format.plane_shapes(self.height, self.width)
        corners = [(0, 0)] + [(self.top // sub_y, self.left // sub_x)] * (len(shapes) - 1)
        corners[0] = (self.top, self.left)
        return tuple(
            plane[y : y + h, x : x + w] for plane, (y, x), (h, w) in zip(frame.planes, corners, shapes, strict=True)
        )


def stills_of(workshop: Workshop, movie: Movie, curves: Sequence[Curve], folder: Path) -> list[Still]:
    """Stills of the picture in the middle of the movie's middle part: the source, then every way.

    Args:
        workshop: has the coded parts.
        movie: the movie.
        curves: its curves of one encoder.
        folder: where PNG files go; made when missing.

    Raises:
        VidscaleError: something cannot be read.
        OSError: a picture cannot be written.
    """
    index = len(movie.parts) // 2
    part = movie.parts[index]
    number, source = _middle_frame(movie, index, workshop.settings.interlaced)
    crop = _most_detailed(source)
    video = movie.source.video
    facts = SourceFacts(movie.name, video.width, video.height, source.format, video.color)
    name = re.sub(r"[^\w.-]", "_", movie.name)
    time = source.time + (part.start if part is not None else 0)
    folder.mkdir(parents=True, exist_ok=True)

    def still(at: int, frame: Frame, way: Way | None, point: Point | None) -> Still:
        path = folder / f"{name}.{curves[0].way.codec}.{at}.png"
        partial = path.with_name(f".{path.name}")
        partial.write_bytes(_png(crop.of(frame), replace(facts, format=frame.format)))
        partial.replace(path)
        return Still(movie.name, Fraction(time), way, point, path)

    stills = [still(0, source, None, None)]
    for at, (curve, point) in enumerate(at_equal_rate(curves), start=1):
        frame = restored_frame(workshop.coded(Take(movie, index, curve.way, point.crf)), number)
        layout = replace(source.format, bit_depth=frame.format.bit_depth)
        alike = replace(frame, planes=frame.planes[: len(source.planes)], format=layout)  # gray comes as 4:2:0
        stills.append(still(at, alike, curve.way, point))
    return stills


def at_equal_rate(curves: Sequence[Curve]) -> list[tuple[Curve, Point]]:
    """Of each curve the point that lies nearest to one bitrate: the middle of what all curves cover, or nearly do."""
    usable = [curve for curve in curves if curve.points]
    lows = [math.log(curve.points[0].bitrate_kbps) for curve in usable]
    highs = [math.log(curve.points[-1].bitrate_kbps) for curve in usable]
    if not usable:
        return []
    middle = (max(lows) + min(highs)) / 2
    return [(curve, min(curve.points, key=lambda p: abs(math.log(p.bitrate_kbps) - middle))) for curve in usable]


def _middle_frame(movie: Movie, index: int, interlaced: Interlaced) -> tuple[int, Frame]:
    """Number and picture of the frame in the middle of a part, of the last one where the part ends before that."""
    middle = (expected_frames(movie.source, movie.parts[index]) or 1) // 2
    frames = decode_frames(
        movie.source,
        log=ReadLog(),
        clock=Clock("decode"),
        time_range=movie.parts[index],
        interlaced=interlaced,
        alpha="drop",  # refused before, where it was to be
    )
    *_, found = islice(enumerate(frames), middle + 1)
    return found


def _most_detailed(frame: Frame) -> _Crop:
    """The part of a picture whose luma changes most from sample to sample; all of a small picture."""
    height, width = min(frame.height, CROP[0]), min(frame.width, CROP[1])
    luma = frame.planes[0].astype(np.float32)
    change = np.abs(np.diff(luma, axis=0, append=luma[-1:])) + np.abs(np.diff(luma, axis=1, append=luma[:, -1:]))
    sums = np.pad(change.cumsum(axis=0, dtype=np.float64).cumsum(axis=1), ((1, 0), (1, 0)))
    corners = [
        (sums[y + height, x + width] - sums[y, x + width] - sums[y + height, x] + sums[y, x], y, x)
        for y in range(0, frame.height - height + 1, _GRID)
        for x in range(0, frame.width - width + 1, _GRID)
    ]
    _, top, left = max(corners)
    return _Crop(top, left, height, width)


def _png(planes: tuple[Plane, ...], facts: SourceFacts) -> bytes:
    rgb = shown_rgb(planes, facts)
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = rgb.width, rgb.height, "rgb24"
    encoder.time_base = Fraction(1, 25)
    return b"".join(bytes(packet) for packet in [*encoder.encode(rgb), *encoder.encode(None)])

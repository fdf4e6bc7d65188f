"""Comparisons computed from a rate-distortion model instead of an encoder: curves whose differences are known.

Quality is linear in log bitrate, so that interpolation is exact.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from vidscale.compare.points import Candidate, Comparison, Curve, MovieFacts, Point
from vidscale.quality import Metric

FULL = Candidate("", "", Fraction(1), "x265", "medium")
LANCZOS = Candidate("lanczos", "lanczos", Fraction(2), "x265", "medium")
AREA = Candidate("area", "lanczos", Fraction(3, 2), "x265", "medium")
FULL_X264 = Candidate("", "", Fraction(1), "x264", "slow")


def modelled_point(kbps: float, quality: dict[Metric, float], crf: float = 30, frames: int = 50) -> Point:
    """A point measured over two seconds."""
    commands = (f"vidscale encode film.mp4 --crf {crf:g}",)
    return Point(crf, round(kbps * 250), Fraction(2), frames, quality, 2.0, 0.5, commands)


def modelled_curve(
    candidate: Candidate,
    *,
    movie: str = "film.mp4",
    bits: float = 1.0,
    slope: float = 1.0,
    psnr: Sequence[float] = (30, 33, 36, 39, 42),
) -> Curve:
    """A curve; the full size needs 1000 kbit/s for 36 dB, and twice as much for every 3 dB more.

    Args:
        candidate, movie: of the curve.
        bits: factor for all bitrates.
        slope: factor for the slope of log bitrate over PSNR, around 36 dB.
        psnr: of the points, increasing; VMAF is 2 * PSNR.
    """
    rates = 1000 * bits * 2 ** (slope * (np.asarray(psnr) - 36) / 3)
    points = [
        modelled_point(float(rate), {"psnr_y": quality, "vmaf": 2 * quality}, crf=50 - quality)
        for rate, quality in zip(rates, psnr, strict=True)
    ]
    return Curve(movie, candidate, points)


def modelled_comparison(
    *curves: Curve, metrics: Sequence[Metric] = ("psnr_y", "vmaf"), **changes: object
) -> Comparison:
    """A comparison with these curves, and the movies they name."""
    movies = [MovieFacts(name, 64, 48, Fraction(25)) for name in dict.fromkeys(curve.movie for curve in curves)]
    return Comparison(**{"movies": movies, "curves": curves, "metrics": metrics} | changes)

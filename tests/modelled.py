"""Comparisons from a model of rate and distortion, not from any encoder: curves whose differences are known.

Quality is a straight line over log bitrate, so that everything that is interpolated is exact.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from vidscale.compare.metrics import Metric
from vidscale.compare.points import Candidate, Comparison, Curve, MovieFacts, Point

FULL = Candidate("", "", Fraction(1), "x265", "medium")
LANCZOS = Candidate("lanczos", "lanczos", Fraction(2), "x265", "medium")
AREA = Candidate("area", "lanczos", Fraction(3, 2), "x265", "medium")
FULL_X264 = Candidate("", "", Fraction(1), "x264", "slow")


def modelled_point(kbps: float, quality: dict[Metric, float], crf: float = 30, frames: int = 50) -> Point:
    """A point of two seconds."""
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
    """The full size spends 1000 kbit/s on 36 dB and twice as much on every 3 dB more.

    Args:
        candidate, movie: of the curve.
        bits: factor of its bitrates.
        slope: how many times as fast its log bitrate rises, turned around 36 dB.
        psnr: of the points, rising; VMAF is 2 * PSNR.
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
    """All of them, movies named by the curves."""
    movies = [MovieFacts(name, 64, 48, Fraction(25)) for name in dict.fromkeys(curve.movie for curve in curves)]
    return Comparison(**{"movies": movies, "curves": curves, "metrics": metrics} | changes)

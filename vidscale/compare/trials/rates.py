"""Which crfs to encode at so that curves overlap: a few to start with, then more where a curve ends too early."""

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from math import isfinite, log2

from vidscale.media.encoders import ENCODERS, CodecName

# For the full size, from good to poor quality; six steps of crf are about a factor of two in bits.
_START: dict[CodecName, tuple[int, ...]] = {
    "x264": (24, 30, 36, 42),
    "x265": (22, 28, 34, 40),
    "svtav1": (28, 38, 48, 58),
}
_PER_OCTAVE = {"x264": 6, "x265": 6, "svtav1": 10}  # crf steps by which small files start lower, per halving of size
_LOWEST_AUTO = 10  # below this, bits go into noise; only an explicit range goes further
_MIN_STEP, _MAX_STEP = 2, 8
_MARGIN = 1.2  # overshoot: aim at this many times the missing quality
_FLAT = 0.008  # share of the wanted range per step of crf: a curve that rises less is saturated
WITHIN_POINTS = 4

Range = tuple[float, float]


def start_rates(codec: CodecName, scale: Fraction) -> tuple[float, ...]:
    """The first crfs of a curve.

    Args:
        codec: encoder.
        scale: source size over coded size; a small file needs a lower crf for the same quality.
    """
    better = round(_PER_OCTAVE[codec] * log2(scale))
    return tuple(float(max(0, crf - better)) for crf in _START[codec])


def rates_to_span(
    measured: Mapping[float, float], wanted: Range, codec: CodecName, *, left: int, strict: bool
) -> tuple[float, ...]:
    """The next crfs of a curve that does not span a range of quality yet; none if it does or never will.

    Args:
        measured: quality by crf, so far.
        wanted: lowest and highest quality to reach.
        codec: encoder.
        left: how many more points may be measured.
        strict: the range is explicit: use all crfs that the codec has, and put `WITHIN_POINTS` points within the range
            or next to it. Otherwise a curve that will not reach the highest quality gets one last point at
            `_LOWEST_AUTO`, or none if it is saturated.
    """
    points = sorted((crf, quality) for crf, quality in measured.items() if isfinite(quality))
    if len(points) < 2 or left <= 0:
        return ()
    lowest, highest = (0 if strict else _LOWEST_AUTO), ENCODERS[codec].crf_max
    span = wanted[1] - wanted[0]
    found = []
    best = points[0]
    if best[1] < wanted[1] and best[0] > lowest and (strict or _slope(points) > _FLAT * span):
        farthest = max(lowest, best[0] - _MAX_STEP) if strict else lowest
        found.append(_better(points, wanted[1], farthest))
    worst, next_worst = points[-1], points[-2]
    if worst[1] > wanted[0] and worst[0] < highest:
        fall = (next_worst[1] - worst[1]) / (worst[0] - next_worst[0])
        found.append(min(highest, worst[0] + _step(worst[1] - wanted[0], fall)))
    if strict and not found:
        found += _between(points, wanted)
    return tuple(float(crf) for crf in found if crf not in measured)[:left]


def _better(points: list[tuple[float, float]], wanted: float, farthest: float) -> float:
    """The crf at which a curve that keeps flattening as before should exceed a quality, or ``farthest``."""
    crf, quality = points[0]
    slope = _slope(points)
    decay = 1.0  # factor by which the slope falls with each step of crf
    if len(points) > 2 and 0 < slope < (before := _slope(points[1:])):
        decay = (slope / before) ** (2 / (points[2][0] - crf))
    slope *= decay ** ((points[1][0] - crf + 1) / 2)  # from halfway between the points to the next step
    missing = (wanted - quality) * _MARGIN
    while missing > 0 and crf > farthest:
        missing -= slope
        slope *= decay
        crf -= 1
    found = min(crf, points[0][0] - _MIN_STEP)
    return farthest if found - farthest < _MIN_STEP else found


def _slope(points: list[tuple[float, float]]) -> float:
    """Quality per step of crf between the first two points."""
    (crf, quality), (next_crf, next_quality) = points[:2]
    return (quality - next_quality) / (next_crf - crf)


def _step(missing: float, slope: float) -> int:
    """Steps of crf that should bring a little more than the missing quality, by the slope at the end of the curve."""
    steps = missing / slope * 1.1 + 0.5 if slope > 0 else _MAX_STEP
    return round(min(max(steps, _MIN_STEP), _MAX_STEP))


def _between(points: list[tuple[float, float]], wanted: Range) -> list[float]:
    """A crf in the middle of the widest gap, if the range has too few points."""
    inside = [point for point in points if wanted[0] <= point[1] <= wanted[1]]
    below = [point for point in points if point[1] < wanted[0]][:1]
    above = [point for point in points if point[1] > wanted[1]][-1:]
    near = [*above, *inside, *below]
    if len(near) >= WITHIN_POINTS:
        return []
    gaps = [(worse[0] - better[0], better[0]) for better, worse in pairwise(near)]
    width, start = max(gaps, default=(0.0, 0.0))
    return [start + round(width / 2)] if width >= 2 else []


def common_target(full: Range, others: list[Range]) -> tuple[Range, Range]:
    """The ranges of quality that the full size and the other candidates should cover to be comparable.

    The others should cover the range of the full size. If one of them overlaps less than half of it, the full size
    should go down to the lowest quality of that one.

    Args:
        full: range of quality of the full size.
        others: range of quality of each other candidate.
    """
    lows = [low for low, high in others if high - max(low, full[0]) < (full[1] - full[0]) / 2]
    return (min([full[0], *lows]), full[1]), full

"""Which rates to code at, so that curves overlap: a few to begin with, then more where a curve ends too early."""

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from math import isfinite, log2

from vidscale.media.encoders import ENCODERS, CodecName

# Full size at qualities that people watch, good to poor; six steps of crf are about a factor of two in bits.
_START: dict[CodecName, tuple[int, ...]] = {
    "x264": (24, 30, 36, 42),
    "x265": (22, 28, 34, 40),
    "svtav1": (28, 38, 48, 58),
}
_PER_OCTAVE = {"x264": 6, "x265": 6, "svtav1": 10}  # crf steps by which a small picture starts better, per halving
_LOWEST_AUTO = 10  # below, the bits go into noise; only a range that was asked for goes there
_MIN_STEP, _MAX_STEP = 2, 8
_MARGIN = 1.2  # more than what is missing is aimed at
_FLAT = 0.008  # of the wanted range per step of crf: a curve that rises no more has reached its end
WITHIN_POINTS = 4

Range = tuple[float, float]


def start_rates(codec: CodecName, scale: Fraction) -> tuple[float, ...]:
    """The first rates of a curve.

    Args:
        codec: encoder.
        scale: source over coded size: what is coded small has to be coded better to come out as well.
    """
    better = round(_PER_OCTAVE[codec] * log2(scale))
    return tuple(float(max(0, crf - better)) for crf in _START[codec])


def rates_to_span(
    measured: Mapping[float, float], wanted: Range, codec: CodecName, *, left: int, strict: bool
) -> tuple[float, ...]:
    """The next rates of a curve that does not yet reach from end to end of a range; none when it does or cannot.

    Args:
        measured: quality by crf, of what was measured so far.
        wanted: lowest and highest quality to reach.
        codec: encoder.
        left: how many more points may be measured.
        strict: the range was asked for: try all that the codec has, and see to it that `WITHIN_POINTS` lie within the
            range or next to it. Otherwise a curve that will not reach the highest quality gets one last point, at the
            end, and none where more bits bring nearly nothing.
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
    """The crf at which a curve that flattens as it did should reach a quality and a little more, else the farthest."""
    crf, quality = points[0]
    slope = _slope(points)
    shrinks = 1.0  # by this factor the slope falls with each step of crf
    if len(points) > 2 and 0 < slope < (before := _slope(points[1:])):
        shrinks = (slope / before) ** (2 / (points[2][0] - crf))
    slope *= shrinks ** ((points[1][0] - crf + 1) / 2)  # that of the next step: until now it was between two points
    missing = (wanted - quality) * _MARGIN
    while missing > 0 and crf > farthest:
        missing -= slope
        slope *= shrinks
        crf -= 1
    found = min(crf, points[0][0] - _MIN_STEP)
    return farthest if found - farthest < _MIN_STEP else found


def _slope(points: list[tuple[float, float]]) -> float:
    """Quality per step of crf between the first two points."""
    (crf, quality), (next_crf, next_quality) = points[:2]
    return (quality - next_quality) / (next_crf - crf)


def _step(missing: float, slope: float) -> int:
    """Steps of crf that should bring the missing quality and a little more, judged by the slope at the end."""
    steps = missing / slope * 1.1 + 0.5 if slope > 0 else _MAX_STEP
    return round(min(max(steps, _MIN_STEP), _MAX_STEP))


def _between(points: list[tuple[float, float]], wanted: Range) -> list[float]:
    """A rate in the middle of the widest gap, where too few points describe the range."""
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
    """What the full size shall cover, and what the others shall, so that they can be compared.

    The others shall cover what the full size does. Where one of them overlaps less than half of that, the full size
    shall reach down to where that one ends.

    Args:
        full: quality that the full size covers.
        others: quality that each of the others covers.
    """
    lows = [low for low, high in others if high - max(low, full[0]) < (full[1] - full[0]) / 2]
    return (min([full[0], *lows]), full[1]), full

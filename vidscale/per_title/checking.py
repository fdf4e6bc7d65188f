"""Whether a finished file meets its goal, and the crf that would."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np

from vidscale.compare.trials.measuring import frame_values
from vidscale.media.encoders import ENCODERS
from vidscale.per_title.curves import pooled, typical_slope
from vidscale.per_title.decision import Decision
from vidscale.quality import METRIC_TEXT, Metric
from vidscale.report.rows import Report

_TOLERANCE: dict[Metric, float] = {"vmaf": 0.5, "vmaf_neg": 0.5, "psnr_y": 0.1, "xpsnr_y": 0.1, "ssim_y": 0.002}
_TRIES = 3  # encodes: a size limit must hold; a target is corrected once, and again between two that missed it
_UNUSED = 0.05  # of a size limit that may be left unused
_AIM = 0.985  # of a size limit, when the first encode missed it
_LEAST_STEP = 0.4  # of the usual slope: flatter ones, near a perfect copy, would ask for absurd steps
_LEAST_RATE_SLOPE = 0.02  # of the logarithm of the rate per crf, for the same


@dataclass(frozen=True, slots=True)
class Check:
    """A finished file against its goal.

    Attributes:
        goal: in words: "vmaf=93", "at most 700,000,000 bytes".
        wanted, predicted, measured: quality, or bytes of the file.
        is_met: within the tolerance.
        crf: constant rate factor of the file.
        next_crf: the one that should meet the goal.
        is_kept: of several files, this is the result.
    """

    goal: str
    wanted: float
    predicted: float
    measured: float
    is_met: bool
    crf: float
    next_crf: float
    is_kept: bool = False

    @property
    def text(self) -> str:
        """One line: predicted against true."""
        digits = ".2f" if self.wanted <= 100 else ",.0f"
        digits = ".4f" if self.wanted <= 1 else digits
        return f"{self.goal}: {self.measured:{digits}} measured, {self.predicted:{digits}} predicted"


@dataclass(frozen=True, slots=True)
class _Limit:
    """A limit of a size or a bitrate, what was measured and predicted of it, and bytes that it leaves for video."""

    value: int
    unit: str
    measured: float
    predicted: float
    room: float


def check(decision: Decision, crf: float, report: Report, path: Path) -> Check:
    """Compares a finished encode with the goal of its decision.

    Args:
        decision: with a target or a limit.
        crf: that the file was encoded with.
        report: of the file; has the metric of the target.
        path: the file.
    """
    return (
        _size_check(decision, crf, report, path)
        if decision.goal.quality is None
        else _target_check(decision, crf, report)
    )


def _target_check(decision: Decision, crf: float, report: Report) -> Check:
    goal, chosen, target = decision.goal, decision.chosen, decision.settings.target
    wanted = goal.quality or 0.0
    measured = measured_quality(report, goal.metric, goal.percentile)
    encoder = ENCODERS[chosen.way.codec]
    usual = typical_slope(goal.metric, measured, encoder.crf_max)
    slope = min(chosen.slopes[goal.metric], _LEAST_STEP * usual)
    missing = wanted - measured
    is_extreme = not chosen.is_reached if missing > 0 else crf == encoder.crf_max
    which = "" if goal.percentile is None else f", percentile {goal.percentile:g}"
    return Check(
        f"{target}{which}",
        wanted,
        chosen.quality[goal.metric],
        measured,
        abs(missing) <= _TOLERANCE[goal.metric] or is_extreme,
        crf,
        encoder.nearest_crf(crf + missing / slope),
    )


def _size_check(decision: Decision, crf: float, report: Report, path: Path) -> Check:
    """The size of the file, and the bitrate, whichever is closer to its limit."""
    settings, chosen = decision.settings, decision.chosen
    size, video = path.stat().st_size, report.distorted.video_bytes or 0
    limits: list[_Limit] = []
    if settings.max_size is not None:
        besides = max(0, size - video)
        limits.append(
            _Limit(settings.max_size, "bytes", size, chosen.video_bytes + besides, settings.max_size - besides)
        )
    if settings.max_bitrate is not None and report.distorted.duration_s:
        per_byte = 8 / float(report.distorted.duration_s)
        rate = settings.max_bitrate
        limits.append(_Limit(rate, "bit/s", video * per_byte, chosen.video_bytes * per_byte, rate / per_byte))
    one = max(limits, key=lambda each: each.measured / each.value)
    is_met = one.value * (1 - _UNUSED) <= one.measured <= one.value or (one.measured < one.value and crf == 0)
    slope = min(chosen.log_rate_slope, -_LEAST_RATE_SLOPE)
    next_crf = ENCODERS[chosen.way.codec].nearest_crf(crf + log(max(1.0, one.room * _AIM) / max(1, video)) / slope)
    return Check(f"at most {one.value:,} {one.unit}", one.value, one.predicted, one.measured, is_met, crf, next_crf)


def better_crf(decision: Decision, checks: Sequence[Check]) -> float | None:
    """The crf of another encode if the last one missed the goal; None if it did not, or no crf is better.

    Args:
        decision: with a target or a limit.
        checks: one for each encode so far.
    """
    last, first = checks[-1], checks[0]
    is_limit = decision.goal.quality is None
    is_between = (first.measured - first.wanted) * (last.measured - last.wanted) < 0
    tries = _TRIES if (last.measured > last.wanted if is_limit else is_between) else 2
    if last.is_met or len(checks) >= tries:
        return None
    crf = _between(first, last, decision) if is_between and not is_limit else last.next_crf
    return None if crf == last.crf else crf


def closest(decision: Decision, checks: Sequence[Check]) -> int:
    """Which of the files comes closest to the goal: to a target in either direction, to a limit from below if one does.

    Args:
        decision: with a target or a limit.
        checks: one for each encode.
    """

    def distance(number: int) -> tuple[bool, float]:
        over = checks[number].measured - checks[number].wanted
        return decision.goal.quality is None and over > 0, abs(over)

    return min(range(len(checks)), key=distance)


def _between(one: Check, other: Check, decision: Decision) -> float:
    """The crf between two files of which one is above the goal and one below, by a line through both."""
    share = (one.wanted - one.measured) / (other.measured - one.measured)
    encoder = ENCODERS[decision.chosen.way.codec]
    return encoder.nearest_crf(one.crf + share * (other.crf - one.crf))


def measured_quality(report: Report, metric: Metric, percentile: float | None) -> float:
    """A metric of a report: its mean, or a percentile of its frames; PSNR is that of the mean squared error.

    Args:
        report: with the metric.
        metric: which.
        percentile: of the frames; None for the mean.
    """
    values = frame_values(report.rows, metric)
    if not values:
        raise ValueError(f"the report has no {METRIC_TEXT[metric].label}")
    return pooled(metric, np.array(values), percentile, report.source.format.bit_depth)

"""A decision: what each way would need, and which one is taken."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from vidscale.compare.points import Candidate
from vidscale.config import EncodeSettings, TimeRange
from vidscale.media.encoders import ENCODERS
from vidscale.per_title.curves import RateCurve, RatePoint
from vidscale.per_title.evidence import Difference, Evidence, Goal
from vidscale.quality import METRIC_TEXT, Metric
from vidscale.text import format_bytes, plural

_REACHED: dict[Metric, float] = {"ssim_y": 0.0005}  # so far below a goal it counts as reached; 0.05 for the others
_TABLE_STEPS = (-4, -2, 0, 2, 4)  # crf around the goal
# What a way may lose at equal quality by the judge. Pairs tuned for VMAF lose up to 3.9 dB and 0.07 where they save
# bits; on noise, which VMAF NEG hardly sees, 9.5 dB and 0.58.
_MOST_LOST: dict[Metric, float] = {"psnr_y": 4.0, "ssim_y": 0.1}
_FASTER = 1.3  # times; smaller differences of measured times mean nothing


@dataclass(frozen=True, slots=True)
class WayEstimate:
    """One way where it meets the goal.

    Attributes:
        way: how the movie is encoded.
        crf: constant rate factor, in steps of the encoder.
        quality: by metric.
        video_bytes: of the movie's video.
        bits: against the full size at equal quality, by the goal's metric.
        judged: the same by the judge.
        lost: PSNR-Y (dB) and SSIM-Y below the full size's at equal quality by the judge.
        encode_s, restore_s: wall time for the movie, from the probes.
        points: the probes, by falling quality.
        slopes: change of each metric per step of crf.
        log_rate_slope: change of the logarithm of the bytes per step of crf.
        is_reached: the way can meet the goal.
        is_known: it was probed near the goal; otherwise it was given up, and the estimate is rough.
    """

    way: Candidate
    crf: float
    quality: Mapping[Metric, float]
    video_bytes: float
    bits: Difference
    judged: Difference
    lost: Mapping[Metric, float]
    encode_s: float
    restore_s: float
    points: tuple[RatePoint, ...]
    slopes: Mapping[Metric, float]
    log_rate_slope: float
    is_reached: bool
    is_known: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """Which way a movie is encoded, and the evidence.

    Attributes:
        name: of the movie.
        width, height: luma samples.
        settings: of the encode, goals included.
        goal, judge: where ways are compared, and by which metric.
        metrics: what was measured.
        ways: the probed ones, the anchor first, then by scale.
        chosen: one of them.
        frames, duration_s: of the movie, seconds, exact.
        parts: the probed time ranges; empty for the whole movie.
        probes, probed_frames, seconds: cost of deciding: number of probes, of encoded and measured frames, wall time.
        notes: one line each.
    """

    name: str
    width: int
    height: int
    settings: EncodeSettings
    goal: Goal
    judge: Metric
    metrics: tuple[Metric, ...]
    ways: tuple[WayEstimate, ...]
    chosen: WayEstimate
    frames: int
    duration_s: Fraction
    parts: tuple[TimeRange, ...]
    probes: int
    probed_frames: int
    seconds: float
    notes: tuple[str, ...]

    @property
    def full(self) -> WayEstimate | None:
        """The full size; None if the settings name another way."""
        return next((one for one in self.ways if one.way.is_full), None)

    @property
    def is_verified(self) -> bool:
        """Whether the finished file is measured against the goal."""
        return self.settings.has_goal and self.settings.verify is not False

    @property
    def basis(self) -> str:
        """What the estimate is from: "3 parts", "the whole movie"."""
        return plural(len(self.parts), "part") if self.parts else "the whole movie"

    def bitrate_kbps(self, one: WayEstimate) -> float:
        """Predicted bitrate of a way, video only, 1000 bit/s."""
        return one.video_bytes * 8 / 1000 / float(self.duration_s)


def estimate(way: Candidate, evidence: Evidence, judge: Metric, *, is_known: bool) -> WayEstimate:
    """What a way needs at the goal.

    Args:
        way: probed at least once.
        evidence: all probes.
        judge: metric of the judge.
        is_known: see `WayEstimate`.
    """
    curve, exact = evidence.curve(way), evidence.crf(way)
    crf = ENCODERS[way.codec].nearest_crf(exact)
    nearest = min(evidence.probes[way], key=lambda probe: abs(probe.crf - crf)).parts
    coded, restored = sum(part.coded_frames for part in nearest), sum(part.restored_frames for part in nearest)
    below, above = crf - 0.5, crf + 0.5
    bits = evidence.difference(way)
    return WayEstimate(
        way=way,
        crf=crf,
        quality={metric: curve.quality(metric, crf) for metric in evidence.metrics},
        video_bytes=curve.video_bytes(crf),
        bits=bits,
        judged=bits if judge == evidence.goal.metric else evidence.difference(way, metric=judge),
        lost=evidence.lost(way, judge),
        encode_s=sum(part.encode_s for part in nearest) / max(1, coded) * evidence.movie.frames,
        restore_s=sum(part.decode_s for part in nearest) / max(1, restored) * evidence.movie.frames,
        points=tuple(evidence.point(probe) for probe in sorted(evidence.probes[way], key=lambda probe: probe.crf)),
        slopes={metric: curve.quality(metric, above) - curve.quality(metric, below) for metric in evidence.metrics},
        log_rate_slope=curve.video_bytes(above) / curve.video_bytes(below) - 1,
        is_reached=_is_reached(way, evidence, exact),
        is_known=is_known,
    )


def _is_reached(way: Candidate, evidence: Evidence, crf: float) -> bool:
    curve, goal = evidence.curve(way), evidence.goal
    wanted = evidence.wanted()
    if wanted is None:
        return curve.video_bytes(crf) <= (goal.video_bytes or 0.0) * 1.001
    return curve.quality(goal.metric, crf) >= wanted - _REACHED.get(goal.metric, 0.05)


def choose(ways: Sequence[WayEstimate], evidence: Evidence) -> WayEstimate | None:
    """The way with the fewest bits, where that is certain; None if none meets the goal.

    A way is only taken in place of the anchor if the whole interval of its estimate is below it, by the judge as well,
    and if it does not lose too much PSNR and SSIM. Of those that are closer to each other than the estimate is sure, an
    adapted one is taken (there are such only if the user asked for them), else the one that restores fastest.

    Args:
        ways: the anchor first.
        evidence: that they are from.
    """
    reached = [one for one in ways if one.is_reached]
    anchor = ways[0]
    if not anchor.is_reached:
        return min(reached, key=lambda one: one.video_bytes, default=None)
    better = [one for one in reached[1:] if _is_better(one) and not loses_too_much(one.lost)]
    if not better:
        return anchor
    best = min(better, key=lambda one: one.bits.bits)
    equal = [one for one in better if evidence.difference(one.way, best.way).low <= 0]
    if adapted := [one for one in equal if one.way.is_adapted]:
        return min(adapted, key=lambda one: one.bits.bits)
    faster = min(equal, key=lambda one: one.restore_s)
    return faster if faster.restore_s * _FASTER < best.restore_s else best


def _is_better(one: WayEstimate) -> bool:
    return one.is_known and one.bits.high < 0 and one.judged.bits < 0


def loses_too_much(lost: Mapping[Metric, float]) -> bool:
    """Whether the judge misses what a way leaves out; argument as `WayEstimate.lost`."""
    return any(value > _MOST_LOST[metric] for metric, value in lost.items())


def refused_notes(ways: Sequence[WayEstimate], chosen: WayEstimate, judge: Metric) -> Iterator[str]:
    """A line for each way that needs fewer bits than the chosen one, but loses too much by other metrics."""
    for one in ways:
        if one.is_reached and _is_better(one) and loses_too_much(one.lost) and one.bits.bits < chosen.bits.bits:
            lost = ", ".join(METRIC_TEXT[metric].named(-value, "+z") for metric, value in one.lost.items())
            yield (
                f"{one.way.scaling} is not chosen, though it needs {-100 * one.bits.bits:.0f} % fewer bits: "
                f"compared with full size at equal {METRIC_TEXT[judge].label} it has {lost}"
            )


def goal_text(decision: Decision) -> str:
    """Where ways are compared, in words."""
    goal, label = decision.goal, METRIC_TEXT[decision.goal.metric].label
    if goal.crf is not None:
        return f"equal {label} to {decision.ways[0].way.scaling} at crf {goal.crf:g}"
    if goal.quality is not None:
        which = "" if goal.percentile is None else f"percentile {goal.percentile:g} of "
        return f"{which}{label} {goal.quality:g}"
    return f"{format_bytes(round(goal.video_bytes or 0))} of video"


def bits_text(bits: Difference, basis: str) -> str:
    """A difference in words: "23 % fewer bits than full size (estimated from 3 parts: -27 to -19 %)"."""
    percent = 100 * bits.bits
    how = f"{abs(percent):.0f} % {'fewer' if percent < 0 else 'more'} bits than full size"
    if abs(percent) < 0.5:
        how = "as many bits as full size"
    return f"{how} (estimated from {basis}: {100 * bits.low:+.0f} to {100 * bits.high:+.0f} %)"


def sentence(decision: Decision) -> str:
    """The decision in one sentence."""
    chosen = decision.chosen
    text = f"{chosen.way.scaling} at crf {chosen.crf:g}, for {goal_text(decision)}"
    if decision.full is None:
        return text
    if chosen.way.is_full and decision.goal.crf is not None:  # it is the goal itself
        text = f"{chosen.way.scaling} at crf {chosen.crf:g}"
    if chosen.way.is_full:
        label = METRIC_TEXT[decision.goal.metric].label
        alone = f"{text}: no other way is certain to need fewer bits at equal {label}"
        return alone if len(decision.ways) > 1 else text
    return f"{text}: {bits_text(chosen.bits, decision.basis)}; {_beside(decision, decision.full, chosen)}"


def _beside(decision: Decision, full: WayEstimate, chosen: WayEstimate) -> str:
    """The chosen way's difference to the full size by the other metrics."""
    others = [metric for metric in decision.metrics if metric != decision.goal.metric]
    found = [METRIC_TEXT[metric].named(chosen.quality[metric] - full.quality[metric], "+z") for metric in others]
    return f"other metrics: {', '.join(found)}"


def crf_table(decision: Decision) -> Iterator[tuple[WayEstimate, RatePoint, bool]]:
    """Each way at crfs around the goal: (way, point, whether it was probed; the others are interpolated)."""
    for one in decision.ways:
        encoder = ENCODERS[one.way.codec]
        curve = RateCurve(one.points, encoder.crf_max)
        probed = {point.crf: point for point in one.points}
        around = {float(round(one.crf) + step) for step in _TABLE_STEPS}
        for crf in sorted(around | set(probed)):
            if 0 <= crf <= encoder.crf_max:
                quality = {metric: curve.quality(metric, crf) for metric in decision.metrics}
                point = probed.get(crf) or RatePoint(crf, quality, curve.video_bytes(crf))
                yield one, point, crf in probed

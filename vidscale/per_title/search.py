"""Which ways to probe at which crf, so that few probes find the best way."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import copysign, log, log2

from vidscale.compare.points import Candidate
from vidscale.media.encoders import ENCODERS, STRONGEST
from vidscale.per_title.curves import typical_slope
from vidscale.per_title.decision import loses_too_much
from vidscale.per_title.evidence import Evidence, Goal, SampledMovie
from vidscale.per_title.probes import Prober, Request
from vidscale.quality import VMAF_METRICS, Metric

_MOST_PROBES = 5  # of one way
_NEAR = 0.6  # crf from a probe to the goal, below which another probe would say no more
_POLISHED = 0.15  # crf, for the same where a target is to be met
_AROUND = 5.0  # crf from the goal to the other points of a curve
_BESIDE = 1.5  # crf from the first probe to the second at least
_NARROW = 4.0  # crf between the probes around the goal, for the same
_FARTHEST = 9.0  # crf from one probe to the next: typical slopes lead astray beyond
_UNSURE = 0.35  # of the change of rate from a single probe to the goal
_FLAT, _FLAT_ABOVE = 0.25, 90.0  # of the rate; VMAF above which a small picture's slopes are far from the usual ones
_MARGIN = 0.02  # of the rate: a way that seems worse by more than this is not probed again
# A small file needs a lower crf for equal quality: by _LOWER for half the size, more with high quality. This and the
# rules below are of 8 clips with x264 and x265 medium at VMAF and VMAF NEG 60 to 94 (benchmarks/results/compare*).
_LOWER, _SCALE_POWER = 7.4, 1.15
_HIGH_QUALITY, _HIGH_CRF = 85.0, 28.5  # above this quality, below this crf, less than halving is tried first
_HALVE_BELOW, _LESS_ABOVE, _MORE_BELOW, _FILTER_ABOVE = log(1.02), log(0.72), log(0.75), log(0.86)
_GUESS = 28.0  # crf of the full size, where nothing is known
_USUAL: dict[Metric, tuple[float, float]] = {  # quality at a crf
    "vmaf": (87.0, 28.0),
    "vmaf_neg": (86.0, 28.0),
    "psnr_y": (35.0, 28.0),
    "xpsnr_y": (35.0, 28.0),
    "ssim_y": (0.93, 28.0),
}


Probing = Callable[[Sequence[Request]], Evidence]
"""Runs probes; returns what all probes so far have found."""


class Search:
    """Asks for probes until the ways that may be best are known at the goal.

    The scale is found by climbing: from a middle one to its neighbours as long as they may need fewer bits.

    Args:
        ways: to consider; the first is the anchor.
        goal: where they are compared.
        judge: metric by which a way must save bits as well, or it is not taken; None is that of the goal.
        exhaustive: probe every way, and each until it is known.
        with_curves: at the end probe each known way on both sides of the goal as well, to draw its curve.
    """

    def __init__(
        self,
        ways: Sequence[Candidate],
        goal: Goal,
        *,
        judge: Metric | None = None,
        exhaustive: bool = False,
        with_curves: bool = False,
    ) -> None:
        self._ways, self._goal, self._judge = list(ways), goal, judge
        self._exhaustive, self._with_curves = exhaustive, with_curves
        self._encoder = ENCODERS[ways[0].codec]
        self._unit = self._encoder.crf_max / STRONGEST  # crf of the encoder for one of x264 and x265
        self._started: list[Candidate] = []
        self._asked: set[Candidate] = set()

    def first(self) -> list[Request]:
        """The probes to start with: the anchor, and the scale that is best most often."""
        anchor = self._ways[0]
        crf = self._anchor_guess()
        first = self._first_scaled(crf)
        self._started = [anchor, *first]
        self._asked = set(self._started)
        return [(anchor, crf), *((way, self._guess(way, crf)) for way in first)]

    def also(self, requests: Sequence[Request]) -> list[Request]:
        """Considers further ways, from these probes on."""
        added = [(way, self._encoder.nearest_crf(crf)) for way, crf in requests]
        self._ways += [way for way, _ in added]
        self._started += [way for way, _ in added]
        self._asked.update(way for way, _ in added)
        return added

    def next(self, evidence: Evidence) -> list[Request]:
        """The next probes; none when the search has ended.

        Args:
            evidence: of all probes so far.
        """
        self._started = [way for way in self._started if way in evidence.probes]  # the others cannot be encoded
        requests = [(way, crf) for way in self._started if (crf := self._refined(way, evidence)) is not None]
        if requests:
            return requests
        further = self._further(evidence)
        if not further:
            return self._around(evidence)
        self._started += further
        self._asked.update(further)
        anchor_crf = evidence.crf(self._ways[0])
        return [(way, self._guess(way, anchor_crf, evidence)) for way in further]

    def is_known(self, way: Candidate, evidence: Evidence) -> bool:
        """Whether a way was probed near the goal."""
        curve, crf = evidence.curve(way), evidence.crf(way)
        if len(curve.points) == 1 and way.scale > 1 and curve.distance(crf) > 0:
            return False  # a small picture's quality saturates, so that the usual slope may be far off
        near = _NEAR if len(curve.points) > 1 else _NEAR / 2
        return curve.distance(crf) <= near * self._unit or curve.bracket(crf) <= _NARROW * self._unit

    def _refined(self, way: Candidate, evidence: Evidence) -> float | None:
        """The next crf of a way; None if it is known well enough, or cannot be the best."""
        curve, crf = evidence.curve(way), evidence.crf(way)
        if self.is_known(way, evidence) or len(curve.points) >= _MOST_PROBES:
            return None
        if way != self._ways[0] and not self._exhaustive and not self._may_be_best(way, evidence):
            return None
        nearest = min(curve.points, key=lambda point: abs(point.crf - crf)).crf
        reach = _FARTHEST * self._unit
        if len(curve.points) == 1 and abs(crf - nearest) < _BESIDE * self._unit:  # two probes this close give no slope
            crf = nearest + copysign(_BESIDE * self._unit, crf - nearest)
        wanted = self._encoder.nearest_crf(min(max(crf, nearest - reach), nearest + reach))
        return None if any(point.crf == wanted for point in curve.points) else wanted

    def polished(self, way: Candidate, evidence: Evidence) -> list[Request]:
        """A last probe of the chosen way, where it decides how well a target is met."""
        crf = self._encoder.nearest_crf(evidence.crf(way))
        is_near = evidence.curve(way).distance(crf) <= _POLISHED * self._unit
        if self._goal.quality is None or not evidence.movie.is_whole or is_near:
            return []
        return [(way, crf)] if len(evidence.probes[way]) < _MOST_PROBES else []

    def _around(self, evidence: Evidence) -> list[Request]:
        """Probes on both sides of the goal, where there are none yet."""
        requests = []
        for way in self._started if self._with_curves else []:
            if way.is_adapted:  # each probe trains
                continue
            curve, crf = evidence.curve(way), evidence.crf(way)
            for side in (-_AROUND, _AROUND):
                beside = self._encoder.nearest_crf(crf + side * self._unit)
                if self.is_known(way, evidence) and curve.distance(beside) > _AROUND / 2 * self._unit:
                    requests.append((way, beside))
        return requests

    def _may_be_best(self, way: Candidate, evidence: Evidence) -> bool:
        uncertain = self._uncertainty(way, evidence)
        others = [
            evidence.log_ratio(other) + self._uncertainty(other, evidence)
            for other in self._kept(evidence)
            if other != way
        ]
        return evidence.log_ratio(way) - uncertain < min(others, default=0.0)

    def _kept(self, evidence: Evidence) -> list[Candidate]:
        """The ways that were started, without those that will not be taken for what they lose by other metrics."""
        return [way for way in self._started if not loses_too_much(evidence.lost(way, self._judge))]

    def _uncertainty(self, way: Candidate, evidence: Evidence) -> float:
        """Of the logarithm of a way's rate: grows with the distance from the nearest probe."""
        if way == self._ways[0]:
            return 0.0
        curve, metric = evidence.curve(way), self._goal.metric
        steps = curve.distance(evidence.crf(way)) / self._unit
        by_distance = steps * -typical_slope(None, 0.0)
        if len(curve.points) > 1:
            return _MARGIN + _UNSURE / 3 * by_distance
        is_high = metric in VMAF_METRICS and curve.points[0].quality[metric] > _FLAT_ABOVE
        return _MARGIN + _UNSURE * by_distance + (_FLAT if is_high and steps > 1 and way.scale > 1 else 0.0)

    def _further(self, evidence: Evidence) -> list[Candidate]:
        """The next ways to start."""
        left = [way for way in self._ways if way not in self._asked]
        if self._exhaustive:
            return left
        started = [way for way in self._started if not (way.is_full or way.is_adapted)]
        kept = set(self._kept(evidence))
        ratio = {float(way.scale): evidence.log_ratio(way) if way in kept else 0.0 for way in started}
        judged = [max(evidence.log_ratio(way), evidence.log_ratio(way, self._judge)) for way in started if way in kept]
        wanted = []
        less, half, third = ratio.get(1.5), ratio.get(2.0), ratio.get(3.0)
        if half is None:
            wanted += [2.0] if less is None or less < _HALVE_BELOW else []
        else:
            wanted += [1.5] if half > _LESS_ABOVE else []
            wanted += [3.0] if half < _MORE_BELOW and half <= (less or 0.0) else []
            wanted += [4.0] if third is not None and third < half else []
        if min(judged, default=0.0) > _FILTER_ABOVE:
            wanted.append(1.0)
        return [way for way in left if float(way.scale) in wanted]

    def _first_scaled(self, crf: float) -> list[Candidate]:
        others = self._ways[1:]
        quality = self._goal.quality if self._goal.metric in VMAF_METRICS else None
        is_high = crf <= _HIGH_CRF * self._unit if quality is None else quality >= _HIGH_QUALITY
        for scale in (1.5, 2.0) if is_high else (2.0, 1.5):
            if found := [way for way in others if float(way.scale) == scale]:
                return found
        return others[:1]

    def _anchor_guess(self) -> float:
        """The first crf of the anchor."""
        if self._goal.crf is not None:
            return self._goal.crf
        if self._goal.quality is None:
            return self._encoder.nearest_crf(_GUESS * self._unit)
        quality, crf = _USUAL[self._goal.metric]
        slope = typical_slope(self._goal.metric, (quality + self._goal.quality) / 2)
        wanted = min(max(crf + (self._goal.quality - quality) / slope, 12.0), 42.0)
        return self._encoder.nearest_crf(wanted * self._unit)

    def _guess(self, way: Candidate, anchor_crf: float, evidence: Evidence | None = None) -> float:
        """The first crf of another way."""
        quality = self._goal.quality
        if evidence is not None and self._goal.metric in VMAF_METRICS:
            quality = evidence.wanted()
        lower = _lower(way.scale, quality) - _lower(self._ways[0].scale, quality)
        return self._encoder.nearest_crf(max(1.0, anchor_crf - lower * self._unit))


def _lower(scale: Fraction, quality: float | None) -> float:
    """By how much the crf is lower at a scale, for x264 and x265."""
    octaves = log2(scale)
    high = 0.0 if quality is None or quality <= 1 else min(max((quality - 75) / 15, 0.0), 1.0)
    return float(_LOWER * octaves**_SCALE_POWER * (1 + high / 2))


def probing_by(
    runner: Prober, anchor: Candidate, goal: Goal, movie: SampledMovie, metrics: Sequence[Metric]
) -> Probing:
    """The probes of a movie as evidence; arguments as of `Evidence`."""

    def run(requests: Sequence[Request]) -> Evidence:
        runner.run(requests)
        return Evidence(anchor, goal, movie, metrics, runner.probes())

    return run


def run_search(search: Search, probe: Probing, requests: Sequence[Request] = ()) -> Evidence:
    """Probes until the search has ended, from these requests on or from the first; returns what was found."""
    requests = requests or search.first()
    while True:
        evidence = probe(requests)
        requests = search.next(evidence)
        if not requests:
            return evidence

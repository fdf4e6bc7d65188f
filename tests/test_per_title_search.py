"""`vidscale.per_title.search` on stored measurements: the points of real clips, as if they were probed again."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from scipy.interpolate import PchipInterpolator

from vidscale.compare.output.files import read_comparison
from vidscale.compare.points import Candidate, Curve
from vidscale.per_title.decision import choose, estimate
from vidscale.per_title.evidence import Evidence, Goal, Movie
from vidscale.per_title.probes import PartProbe, Probe
from vidscale.per_title.search import Search

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
WAYS = ("full size", "restore-vmaf-x1", "adaptive-vmaf-x1.5", "adaptive-vmaf-x2", "adaptive-x3", "adaptive-x4")
LEFT_OUT = "adaptive-x2"  # not considered when VMAF NEG judges, and with x265 never much better than what is
FRAMES = 60
MOVIE = Movie(FRAMES, 1, is_whole=True, bit_depth=8)


@dataclass
class Stored:
    """Curves of one clip with one encoder, in place of encodes."""

    name: str
    curves: dict[Candidate, Curve]

    def __post_init__(self) -> None:
        self.functions: dict[Candidate, tuple[Any, Any, float, float]] = {}
        for way, curve in self.curves.items():
            points = sorted(curve.points, key=lambda point: point.crf)
            crfs = [point.crf for point in points]
            rates = PchipInterpolator(crfs, [log(point.video_bytes) for point in points])
            neg = PchipInterpolator(crfs, [point.metrics["vmaf_neg"] for point in points])
            self.functions[way] = rates, neg, crfs[0], crfs[-1]

    def probe(self, way: Candidate, crf: float) -> Probe:
        rates, neg, low, high = self.functions[way]
        inside = min(max(crf, low), high)
        size = exp(float(rates(inside)) - 0.12 * (crf - inside))
        score = float(neg(inside)) - 2 * (crf - inside)
        part = PartProbe((), 0, 0, round(size), {"vmaf_neg": (score,)}, 1.0, FRAMES, float(way.scale), FRAMES)
        return Probe(way, crf, (part,))

    def bits(self, way: Candidate, quality: float) -> float | None:
        """Exact bytes at a quality; None where it was not measured."""
        rates, neg, low, high = self.functions[way]
        if not float(neg(high)) <= quality <= float(neg(low)):
            return None
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if float(neg(middle)) >= quality else (low, middle)
        return exp(float(rates(low)))


def stored() -> Iterator[Stored]:
    for name in ("compare", "compare_1080p"):
        comparison = read_comparison(RESULTS / name)
        for movie in comparison.movies:
            for codec in ("x264", "x265"):
                found = {
                    curve.candidate: curve
                    for curve in comparison.curves
                    if curve.movie == movie.name
                    and curve.candidate.codec == codec
                    and curve.candidate.scaling in (*WAYS, LEFT_OUT)
                    and (codec == "x265" or curve.candidate.scaling != LEFT_OUT)
                    and len(curve.points) > 2
                }
                ordered = dict(sorted(found.items(), key=lambda item: (*WAYS, LEFT_OUT).index(item[0].scaling)))
                yield Stored(f"{movie.name} {codec}", ordered)


def decided(clip: Stored, goal: Goal) -> tuple[Candidate, int]:
    """The chosen way, and the number of probes."""
    ways = [way for way in clip.curves if way.scaling != LEFT_OUT]
    search = Search(ways, goal)
    probes: dict[Candidate, list[Probe]] = {}
    requests = search.first()
    while requests:
        for way, crf in requests:
            probes.setdefault(way, []).append(clip.probe(way, crf))
        evidence = Evidence(ways[0], goal, MOVIE, ("vmaf_neg",), probes)
        requests = search.next(evidence)
    found = [
        estimate(way, evidence, "vmaf_neg", is_known=search.is_known(way, evidence)) for way in ways if way in probes
    ]
    chosen = choose(found, evidence)
    return (chosen or found[0]).way, sum(map(len, probes.values()))


@pytest.mark.parametrize("by", ["target", "crf"])
def test_choice_is_as_good_as_the_exhaustive_one(by: str) -> None:
    """Against every way at exactly equal quality, by PCHIP through all stored points."""
    losses, savings, probes, same = [], [], [], []
    for clip in stored():
        full = next(iter(clip.curves))
        _, neg, low, high = clip.functions[full]
        for quality in (60.0, 70.0, 80.0, 90.0, 94.0):
            exact = {way: bits for way in clip.curves if (bits := clip.bits(way, quality)) is not None}
            if full not in exact:
                continue
            best = min(exact, key=lambda way: exact[way])
            if by == "crf":
                crf = min((abs(float(neg(c / 10)) - quality), c / 10) for c in range(int(low * 10), int(high * 10)))[1]
                goal = Goal("vmaf_neg", crf=crf)
            else:
                goal = Goal("vmaf_neg", quality=quality)
            chosen, count = decided(clip, goal)
            losses.append(100 * (exact[chosen] - exact[best]) / exact[full])
            savings.append(100 * (exact[chosen] / exact[full] - 1))
            probes.append(count)
            same.append(chosen == best)
    assert len(losses) > 60
    assert fmean(losses) <= 0.3
    assert max(losses) <= 2
    assert max(savings) <= 0
    assert fmean(same) >= 0.85
    assert fmean(probes) <= 7

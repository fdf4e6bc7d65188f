"""`vidscale.per_title.search` on stored measurements: the points of real clips, as if they were probed again."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import exp, log
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from scipy.interpolate import PchipInterpolator

from vidscale.compare.output.files import read_comparison
from vidscale.compare.points import Candidate, Curve
from vidscale.compare.trials.measuring import stored_name
from vidscale.per_title.decision import WayEstimate, choose, estimate, refused_notes
from vidscale.per_title.evidence import Evidence, Goal, SampledMovie
from vidscale.per_title.probes import PartProbe, Probe
from vidscale.per_title.search import Search
from vidscale.quality import Metric

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
WAYS = ("full size", "restore-vmaf-x1", "adaptive-vmaf-x1.5", "adaptive-vmaf-x2", "adaptive-x3", "adaptive-x4")
METRICS: tuple[Metric, ...] = ("vmaf", "vmaf_neg", "psnr_y")
LEFT_OUT = "adaptive-x2"  # not considered when VMAF NEG judges, and never better then
FRAMES = 60
MOVIE = SampledMovie(FRAMES, 1, is_whole=True, bit_depth=8)


@dataclass
class Stored:
    """Curves of one clip with one encoder, in place of encodes."""

    name: str
    curves: dict[Candidate, Curve]
    lost: dict[str, float] = field(default_factory=dict)  # dB of PSNR-Y that ways have less than was measured

    def __post_init__(self) -> None:
        self.functions: dict[Candidate, tuple[Any, dict[str, Any], float, float]] = {}
        for way, curve in self.curves.items():
            points = sorted(curve.points, key=lambda point: point.crf)
            crfs = [point.crf for point in points]
            rates = PchipInterpolator(crfs, [log(point.video_bytes) for point in points])
            scores = {
                metric: PchipInterpolator(crfs, [point.metrics[metric] for point in points]) for metric in METRICS
            }
            self.functions[way] = rates, scores, crfs[0], crfs[-1]

    def probe(self, way: Candidate, crf: float) -> Probe:
        """As measured at a crf, but for `lost`."""
        rates, scores, low, high = self.functions[way]
        inside = min(max(crf, low), high)
        size = exp(float(rates(inside)) - 0.12 * (crf - inside))
        found = {metric: (float(score(inside)) - 2 * (crf - inside),) for metric, score in scores.items()}
        found[stored_name("psnr_y")] = (
            255**2 / 10 ** ((found.pop("psnr_y")[0] - self.lost.get(way.scaling, 0.0)) / 10),
        )
        part = PartProbe((), 0, 0, round(size), found, 1.0, FRAMES, float(way.scale), FRAMES)
        return Probe(way, crf, (part,))

    def bits(self, way: Candidate, quality: float, metric: Metric = "vmaf_neg") -> float | None:
        """Exact bytes at a quality; None where it was not measured."""
        rates, scores, low, high = self.functions[way]
        score = scores[metric]
        if not float(score(high)) <= quality <= float(score(low)):
            return None
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if float(score(middle)) >= quality else (low, middle)
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
                    and len(curve.points) > 2
                }
                ordered = dict(sorted(found.items(), key=lambda item: (*WAYS, LEFT_OUT).index(item[0].scaling)))
                yield Stored(f"{movie.name} {codec}", ordered)


def decided(clip: Stored, goal: Goal, *, exhaustive: bool = False) -> tuple[Candidate, int]:
    """The chosen way, and the number of probes."""
    ways = [way for way in clip.curves if way.scaling != LEFT_OUT]
    search = Search(ways, goal, judge="vmaf_neg", exhaustive=exhaustive)
    probes: dict[Candidate, list[Probe]] = {}
    requests = search.first()
    while requests:
        for way, crf in requests:
            probes.setdefault(way, []).append(clip.probe(way, crf))
        evidence = Evidence(ways[0], goal, MOVIE, METRICS, probes)
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
        _, scores, low, high = clip.functions[full]
        score = scores["vmaf_neg"]
        for quality in (60.0, 70.0, 80.0, 90.0, 94.0):
            exact = {way: bits for way in clip.curves if (bits := clip.bits(way, quality)) is not None}
            if full not in exact:
                continue
            best = min(exact, key=lambda way: exact[way])
            if by == "crf":
                crfs = [step / 10 for step in range(int(low * 10), int(high * 10))]
                crf = crfs[int(abs(score(crfs) - quality).argmin())]
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


def test_choice_for_a_target_by_vmaf_is_the_exhaustive_one() -> None:
    """By VMAF, pairs gain more than by VMAF NEG, by which they must save as well."""
    losses, probes = [], []
    for clip in stored():
        full = next(iter(clip.curves))
        for quality in (60.0, 70.0, 80.0, 85.0, 90.0, 94.0):
            if (anchor := clip.bits(full, quality, "vmaf")) is None:
                continue
            goal = Goal("vmaf", quality=quality)
            (chosen, count), (best, _) = decided(clip, goal), decided(clip, goal, exhaustive=True)
            exact = [clip.bits(way, quality, "vmaf") for way in (chosen, best)]
            if exact[0] is not None and exact[1] is not None:
                losses.append(100 * (exact[0] - exact[1]) / anchor)
                probes.append(count)
    assert len(losses) > 80
    assert fmean(losses) <= 0.3
    assert max(losses) <= 2
    assert fmean(probes) <= 7


def test_way_that_the_judge_alone_prefers_is_refused() -> None:
    """A picture of noise without its noise: fewer bits at equal VMAF NEG, but far from the source by PSNR."""
    clip = next(clip for clip in stored() if clip.name == "kitesurf x265")
    full = next(iter(clip.curves))
    way = next(way for way in clip.curves if way.scaling == "adaptive-vmaf-x2")

    def estimates(lost: float) -> tuple[list[WayEstimate], WayEstimate | None]:
        clip.lost = {way.scaling: lost}
        probes = {one: [clip.probe(one, crf) for crf in (22.0, 26.0, 30.0)] for one in (full, way)}
        evidence = Evidence(full, Goal("vmaf_neg", crf=30.0), MOVIE, METRICS, probes)
        found = [estimate(one, evidence, "vmaf_neg", is_known=True) for one in (full, way)]
        return found, choose(found, evidence)

    measured, chosen = estimates(0.0)
    assert chosen is measured[1]
    assert not list(refused_notes(measured, measured[1], "vmaf_neg"))
    found, chosen = estimates(9.0)
    assert chosen is found[0]
    assert found[1].lost["psnr_y"] == pytest.approx(measured[1].lost["psnr_y"] + 9, abs=0.01)
    (note,) = refused_notes(found, found[0], "vmaf_neg")
    assert "adaptive-vmaf-x2 is not chosen" in note
    assert f"PSNR-Y -{found[1].lost['psnr_y']:.2f} dB" in note


def test_best_of_the_other_ways_is_found_where_some_are_refused() -> None:
    losses = []
    for clip in stored():
        full = next(iter(clip.curves))
        clip.lost = {way.scaling: 9.0 for way in clip.curves if way.scale > 1}
        for quality in (60.0, 70.0, 80.0, 90.0, 94.0):
            exact = {way: bits for way in clip.curves if way.scale == 1 and (bits := clip.bits(way, quality))}
            if full in exact:
                chosen, _ = decided(clip, Goal("vmaf_neg", quality=quality))
                losses.append(100 * (exact[chosen] - min(exact.values())) / exact[full])
    assert len(losses) > 60
    assert fmean(losses) <= 0.3
    assert max(losses) <= 2


def test_adapted_way_is_taken_where_it_is_as_good_as_another() -> None:
    clip = next(clip for clip in stored() if clip.name.startswith("kitesurf") and clip.name.endswith("x265"))
    full = next(iter(clip.curves))
    plain = next(way for way in clip.curves if way.scaling == "adaptive-vmaf-x2")
    adapted = replace(plain, down="adaptive+adapt", up="adaptive+adapt")
    probes = {way: [clip.probe(way, crf) for crf in (22.0, 26.0, 30.0, 32.0)] for way in (full, plain)}
    equal = [Probe(adapted, probe.crf, probe.parts) for probe in probes[plain]]
    evidence = Evidence(full, Goal("vmaf_neg", crf=30.0), MOVIE, METRICS, {**probes, adapted: equal})
    found = [estimate(way, evidence, "vmaf_neg", is_known=True) for way in (full, plain, adapted)]
    assert found[1].bits.high < 0
    chosen = choose(found, evidence)
    assert chosen is found[2]

"""The curves of one movie with one encoder: the trials that they still need, and their points."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isfinite

from vidscale.compare.points import Candidate, Curve, Point
from vidscale.compare.settings import CompareSettings
from vidscale.compare.trials.measuring import stored_name
from vidscale.compare.trials.movies import Movie
from vidscale.compare.trials.rates import Range, common_target, rates_to_span, start_rates
from vidscale.compare.trials.runner import Trial
from vidscale.compare.trials.store import TrialResult
from vidscale.quality import Metric
from vidscale.triton_kernels.metrics import psnr

_EXTRA_POINTS = 3  # per curve, with automatic rates
_EXTRA_WITHIN = 8  # per curve, with automatic rates and a range to span


class CurveSet:
    """All trials of one movie with one encoder. Their curves are compared with each other.

    Attributes:
        movie: the movie.
        candidates: the full size first.
    """

    def __init__(self, movie: Movie, candidates: Sequence[Candidate], settings: CompareSettings) -> None:
        self.movie = movie
        self.candidates = list(candidates)
        self._settings = settings
        self._results: dict[Candidate, dict[float, dict[int, TrialResult]]] = {
            candidate: defaultdict(dict) for candidate in candidates
        }
        self._requested: dict[Candidate, list[float]] = {candidate: [] for candidate in candidates}

    def first_trials(self) -> list[Trial]:
        """The trials to start with."""
        return [
            trial
            for candidate in self.candidates
            for trial in self._request(candidate, self._settings.rates or start_rates(candidate.codec, candidate.scale))
        ]

    def add(self, trial: Trial, result: TrialResult) -> None:
        """Records the result of a trial."""
        self._results[trial.candidate][trial.crf][trial.index] = result

    def next_trials(self) -> list[Trial]:
        """The trials to run once all requested ones have results; none when the curves are complete."""
        if self._settings.rates is not None:
            return []
        qualities = {candidate: self._qualities(candidate) for candidate in self.candidates}
        strict = self._settings.within is not None
        trials = []
        for candidate, target in self._targets(qualities).items():
            budget = len(start_rates(candidate.codec, candidate.scale)) + (_EXTRA_WITHIN if strict else _EXTRA_POINTS)
            left = budget - len(self._requested[candidate])
            rates = rates_to_span(qualities[candidate], target, candidate.codec, left=left, strict=strict)
            trials += self._request(candidate, rates)
        return trials

    def curves(self) -> list[Curve]:
        """A curve for each candidate, points by rising bitrate."""
        curves = []
        for candidate in self.candidates:
            points = [self._point(candidate, crf, self._settings.measured) for crf in self._results[candidate]]
            points.sort(key=lambda point: point.bitrate_kbps)
            curves.append(Curve(self.movie.name, candidate, tuple(points)))
        return curves

    def _request(self, candidate: Candidate, rates: Sequence[float]) -> list[Trial]:
        new = [crf for crf in dict.fromkeys(rates) if crf not in self._requested[candidate]]
        self._requested[candidate] += new
        return [Trial(self.movie, index, candidate, crf) for crf in new for index in range(len(self.movie.segments))]

    def _point(self, candidate: Candidate, crf: float, metrics: Sequence[Metric]) -> Point:
        by_segment = self._results[candidate][crf]
        results = [by_segment[index] for index in sorted(by_segment)]
        source = Trial(self.movie, 0, candidate, crf).source  # as it is read for the encoder
        return point_of(crf, results, metrics, bit_depth=source.video.format.bit_depth)

    def _qualities(self, candidate: Candidate) -> dict[float, float]:
        leading = self._settings.leading
        return {crf: self._point(candidate, crf, [leading]).metrics[leading] for crf in self._results[candidate]}

    def _targets(self, qualities: Mapping[Candidate, Mapping[float, float]]) -> dict[Candidate, Range]:
        """The range of quality that each candidate's curve should cover."""
        if self._settings.within is not None:
            low, high = self._settings.within[1:]
            return dict.fromkeys(self.candidates, (low, high))
        ranges = {
            candidate: (min(finite), max(finite))
            for candidate, found in qualities.items()
            if len(finite := [quality for quality in found.values() if isfinite(quality)]) > 1
        }
        full = next((candidate for candidate in self.candidates if candidate.is_full and candidate in ranges), None)
        if full is None:
            return {}
        others = [ranges[candidate] for candidate in ranges if candidate != full]
        for_full, for_others = common_target(ranges[full], others)
        return {candidate: for_full if candidate == full else for_others for candidate in ranges}


def point_of(crf: float, results: Sequence[TrialResult], metrics: Sequence[Metric], *, bit_depth: int) -> Point:
    """One point from the results of all segments: bytes and seconds add up, metrics are means over all frames.

    Args:
        crf: constant rate factor of the trials.
        results: one for each segment, in order.
        metrics: those that the point gets; all results have them.
        bit_depth: of the luma that was compared; PSNR refers to its peak.
    """
    frames = sum(result.frames for result in results)

    def mean(metric: Metric) -> float:
        name = stored_name(metric)
        return sum(result.means[name] * result.frames for result in results) / frames

    means = {metric: mean(metric) for metric in metrics}
    return Point(
        crf=crf,
        video_bytes=sum(result.video_bytes for result in results),
        duration_s=sum((result.duration_s for result in results[1:]), start=results[0].duration_s),
        frames=frames,
        metrics={metric: psnr(value, bit_depth) if metric == "psnr_y" else value for metric, value in means.items()},
        encode_s=sum(result.encode_s for result in results),
        decode_s=sum(result.decode_s for result in results),
        commands=tuple(dict.fromkeys(command for result in results for command in result.commands)),
    )

"""BD-rate and BD-quality of any two candidates, per movie and as means over movies."""

from dataclasses import dataclass, replace

from vidscale.compare.analysis.bd_rate import Delta, MeanDelta, NoFigure, bd_quality, bd_rate, mean_delta
from vidscale.compare.points import Candidate, Comparison, Curve, ordered_candidates
from vidscale.quality import Metric


@dataclass(frozen=True, slots=True)
class Deltas:
    """One candidate against another, by one metric, on one movie.

    Attributes:
        rate: BD-rate, % of the anchor's bits.
        quality: BD-quality, units of the metric.
    """

    rate: Delta | NoFigure
    quality: Delta | NoFigure


@dataclass(frozen=True, slots=True)
class MeanDeltas:
    """One candidate against another, by one metric: arithmetic means over the movies encoded as both.

    Attributes:
        rate, quality: means of those of `Deltas`.
        overlap: smallest overlap of a BD-rate among the movies, 0 to 1.
    """

    rate: MeanDelta | NoFigure
    quality: MeanDelta | NoFigure
    overlap: float


class Figures:
    """The figures of a comparison, each computed when it is first needed.

    Attributes:
        candidates: all, grouped by encoder, the full size of each first, otherwise in the order of the comparison.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._curves = {(curve.movie, curve.candidate): curve for curve in comparison.curves}
        self._known: dict[tuple[str, Candidate, Candidate, Metric], Deltas] = {}
        self.candidates = ordered_candidates(curve.candidate for curve in comparison.curves)

    @property
    def encoders(self) -> list[str]:
        """Encoders with presets, without duplicates."""
        return list(dict.fromkeys(candidate.encoder for candidate in self.candidates))

    def candidates_of(self, encoder: str) -> list[Candidate]:
        """The candidates with an encoder, the full size first."""
        return [candidate for candidate in self.candidates if candidate.encoder == encoder]

    def full_size(self, encoder: str) -> Candidate | None:
        """The full size with an encoder; None if it was not encoded."""
        return next((candidate for candidate in self.candidates_of(encoder) if candidate.is_full), None)

    def curve(self, movie: str, candidate: Candidate) -> Curve | None:
        """The curve of a movie and a candidate; None if there is none."""
        return self._curves.get((movie, candidate))

    def deltas(self, movie: str, anchor: Candidate, test: Candidate, metric: Metric) -> Deltas:
        """The test against the anchor."""
        key = (movie, anchor, test, metric)
        if key not in self._known:
            # ``within`` refers to the anchor's curve: then the figures cannot be taken from the opposite direction.
            opposite = None if self._comparison.within else self._known.get((movie, test, anchor, metric))
            self._known[key] = _swapped(opposite) if opposite else self._compared(*key)
        return self._known[key]

    def mean(self, anchor: Candidate, test: Candidate, metric: Metric) -> MeanDeltas:
        """The test against the anchor, mean over the movies encoded as both."""
        both = [movie.name for movie in self._comparison.movies if self.curve(movie.name, anchor)]
        found = [self.deltas(movie, anchor, test, metric) for movie in both if self.curve(movie, test)]
        overlap = min((one.rate.overlap for one in found if isinstance(one.rate, Delta)), default=0.0)
        return MeanDeltas(mean_delta([one.rate for one in found]), mean_delta([one.quality for one in found]), overlap)

    def _compared(self, movie: str, anchor: Candidate, test: Candidate, metric: Metric) -> Deltas:
        a, t = self.curve(movie, anchor), self.curve(movie, test)
        if a is None or t is None:
            missing = NoFigure(f"{movie} was not encoded as {anchor if a is None else test}")
            return Deltas(missing, missing)
        within = self._comparison.within
        return Deltas(bd_rate(a, t, metric, within=within), bd_quality(a, t, metric, within=within))


def _swapped(deltas: Deltas) -> Deltas:
    """The anchor against the test: the same areas with the opposite sign."""
    rate, quality = deltas.rate, deltas.quality
    if isinstance(rate, Delta):
        rate = replace(rate, value=100 * (1 / (1 + rate.value / 100) - 1))
    if isinstance(quality, Delta):
        quality = replace(quality, value=-quality.value)
    return Deltas(rate, quality)

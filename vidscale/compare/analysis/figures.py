"""Every way against every other: on each movie, and in the mean over movies."""

from dataclasses import dataclass, replace

from vidscale.compare.analysis.bd_rate import Delta, MeanDelta, NoFigure, bd_quality, bd_rate, mean_delta
from vidscale.compare.metrics import Metric
from vidscale.compare.points import Comparison, Curve, Way, encoder_text, ordered_ways


@dataclass(frozen=True, slots=True)
class Pairing:
    """One way against another by one metric on one movie.

    Attributes:
        rate: BD-rate, % of the anchor's bits.
        quality: BD-quality, units of the metric.
    """

    rate: Delta | NoFigure
    quality: Delta | NoFigure


@dataclass(frozen=True, slots=True)
class MeanPairing:
    """One way against another by one metric, arithmetic means over the movies that were coded in both ways.

    Attributes:
        rate, quality: as of `Pairing`.
        overlap: the smallest overlap of a BD-rate among the movies, 0 to 1.
    """

    rate: MeanDelta | NoFigure
    quality: MeanDelta | NoFigure
    overlap: float


class Figures:
    """What can be asked of a comparison; each figure is worked out once, when it is asked for.

    Attributes:
        ways: all of them, by encoder, the full size of each first, then as they were named.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._curves = {(curve.movie, curve.way): curve for curve in comparison.curves}
        self._known: dict[tuple[str, Way, Way, Metric], Pairing] = {}
        self.ways = ordered_ways(curve.way for curve in comparison.curves)

    @property
    def encoders(self) -> list[str]:
        """Encoder and preset, each once."""
        return list(dict.fromkeys(encoder_text(way) for way in self.ways))

    def ways_of(self, encoder: str) -> list[Way]:
        """The ways of an encoder, the full size first."""
        return [way for way in self.ways if encoder_text(way) == encoder]

    def full_size(self, encoder: str) -> Way | None:
        """The full size coded by an encoder; None where nobody coded it."""
        return next((way for way in self.ways_of(encoder) if way.is_full), None)

    def curve(self, movie: str, way: Way) -> Curve | None:
        """The curve of a movie coded in a way; None where there is none."""
        return self._curves.get((movie, way))

    def pairing(self, movie: str, anchor: Way, test: Way, metric: Metric) -> Pairing:
        """The test against the anchor."""
        key = (movie, anchor, test, metric)
        if key not in self._known:
            turned = self._known.get((movie, test, anchor, metric))
            # With a range of quality it matters whose curve the range is taken from.
            self._known[key] = _turned(turned) if turned and self._comparison.within is None else self._compared(*key)
        return self._known[key]

    def mean(self, anchor: Way, test: Way, metric: Metric) -> MeanPairing:
        """The test against the anchor, mean over the movies that were coded in both ways."""
        both = [movie.name for movie in self._comparison.movies if self.curve(movie.name, anchor)]
        found = [self.pairing(movie, anchor, test, metric) for movie in both if self.curve(movie, test)]
        overlap = min((one.rate.overlap for one in found if isinstance(one.rate, Delta)), default=0.0)
        return MeanPairing(mean_delta([one.rate for one in found]), mean_delta([one.quality for one in found]), overlap)

    def _compared(self, movie: str, anchor: Way, test: Way, metric: Metric) -> Pairing:
        a, t = self.curve(movie, anchor), self.curve(movie, test)
        if a is None or t is None:
            missing = NoFigure(f"{movie} was not coded as {anchor if a is None else test}")
            return Pairing(missing, missing)
        within = self._comparison.within
        return Pairing(bd_rate(a, t, metric, within=within), bd_quality(a, t, metric, within=within))


def _turned(pairing: Pairing) -> Pairing:
    """The anchor against the test: the same areas with the other sign."""
    rate, quality = pairing.rate, pairing.quality
    if isinstance(rate, Delta):
        rate = replace(rate, value=100 * (1 / (1 + rate.value / 100) - 1))
    if isinstance(quality, Delta):
        quality = replace(quality, value=-quality.value)
    return Pairing(rate, quality)

"""One movie before one encoder: which takes are needed next, and the curves in the end."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isfinite

from vidscale.compare.points import Curve, Way
from vidscale.compare.settings import CompareSettings
from vidscale.compare.trials.cache import Part
from vidscale.compare.trials.movies import Movie
from vidscale.compare.trials.rates import Range, common_target, rates_to_span, start_rates
from vidscale.compare.trials.workshop import Take, point_of

_EXTRA_POINTS = 3  # per curve, where rates are chosen so that ranges overlap
_EXTRA_WITHIN = 8  # where a range was asked for


class Group:
    """All ways in which one movie is coded with one encoder. Its curves are compared with each other.

    Attributes:
        movie: the movie.
        ways: the full size first.
    """

    def __init__(self, movie: Movie, ways: Sequence[Way], settings: CompareSettings) -> None:
        self.movie = movie
        self.ways = list(ways)
        self._settings = settings
        self._parts: dict[Way, dict[float, dict[int, Part]]] = {way: defaultdict(dict) for way in ways}
        self._asked: dict[Way, list[float]] = {way: [] for way in ways}

    def first_takes(self) -> list[Take]:
        """What is needed in any case."""
        return [
            take
            for way in self.ways
            for take in self._ask(way, self._settings.rates or start_rates(way.codec, way.scale))
        ]

    def add(self, take: Take, part: Part) -> None:
        """Takes down a result."""
        self._parts[take.way][take.crf][take.index] = part

    def next_takes(self) -> list[Take]:
        """What is needed now that all that was asked for is there; nothing when the curves are complete."""
        if self._settings.rates is not None:
            return []
        qualities = {way: self._qualities(way) for way in self.ways}
        targets = self._targets(qualities)
        strict = self._settings.within is not None
        takes = []
        for way, target in targets.items():
            begun = len(start_rates(way.codec, way.scale))
            left = begun + (_EXTRA_WITHIN if strict else _EXTRA_POINTS) - len(self._asked[way])
            takes += self._ask(way, rates_to_span(qualities[way], target, way.codec, left=left, strict=strict))
        return takes

    def curves(self) -> list[Curve]:
        """A curve for each way, points by rising bitrate."""
        curves = []
        for way in self.ways:
            points = [
                point_of(crf, [parts[index] for index in sorted(parts)], self._settings.measured)
                for crf, parts in self._parts[way].items()
            ]
            points.sort(key=lambda point: point.bitrate_kbps)
            curves.append(Curve(self.movie.name, way, tuple(points)))
        return curves

    def _ask(self, way: Way, rates: Sequence[float]) -> list[Take]:
        new = [crf for crf in dict.fromkeys(rates) if crf not in self._asked[way]]
        self._asked[way] += new
        return [Take(self.movie, index, way, crf) for crf in new for index in range(len(self.movie.parts))]

    def _qualities(self, way: Way) -> dict[float, float]:
        leading = self._settings.leading
        return {
            crf: point_of(crf, [parts[index] for index in sorted(parts)], [leading]).metrics[leading]
            for crf, parts in self._parts[way].items()
        }

    def _targets(self, qualities: Mapping[Way, Mapping[float, float]]) -> dict[Way, Range]:
        """What each way shall cover."""
        if self._settings.within is not None:
            low, high = self._settings.within[1:]
            return dict.fromkeys(self.ways, (low, high))
        ranges = {
            way: (min(finite), max(finite))
            for way, found in qualities.items()
            if len(finite := [quality for quality in found.values() if isfinite(quality)]) > 1
        }
        full = next((way for way in self.ways if way.is_full and way in ranges), None)
        if full is None:
            return {}
        for_full, for_others = common_target(ranges[full], [ranges[way] for way in ranges if way != full])
        return {way: for_full if way == full else for_others for way in ranges}

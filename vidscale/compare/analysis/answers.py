"""The answer in sentences: which way is the best with each encoder, whether it saves bits, and at which bitrates."""

from dataclasses import dataclass

from vidscale.compare.analysis.bd_rate import Delta, MeanDelta
from vidscale.compare.analysis.crossings import Verdict, crossing_sentence, verdict_of
from vidscale.compare.analysis.figures import Figures
from vidscale.compare.metrics import METRIC_TEXT, Metric
from vidscale.compare.points import Comparison, Way


@dataclass(frozen=True, slots=True)
class Best:
    """The best way of an encoder by one metric, against the full size.

    Attributes:
        metric: by which.
        way: the one with the lowest mean BD-rate among those that have a figure on the most movies.
        rate: its mean BD-rate.
        overlap: the smallest share of quality, of any movie, that both curves covered, 0 to 1.
        rivals: how many ways it was chosen from.
    """

    metric: Metric
    way: Way
    rate: MeanDelta
    overlap: float
    rivals: int

    @property
    def verdict(self) -> Verdict:
        """What the way does to the bits."""
        return verdict_of(self.rate.value)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the comparison says of one encoder.

    Attributes:
        encoder: its name and preset.
        sentences: the verdict.
        best: one for each metric that has a figure.
        crossings: per movie, where its best way saves bits and where it costs, a sentence for each metric.
    """

    encoder: str
    sentences: tuple[str, ...]
    best: tuple[Best, ...]
    crossings: tuple[tuple[str, tuple[str, ...]], ...]


def answers(comparison: Comparison, figures: Figures) -> list[Answer]:
    """One for each encoder."""
    return [_answer(comparison, figures, encoder) for encoder in figures.encoders]


def _answer(comparison: Comparison, figures: Figures, encoder: str) -> Answer:
    full = figures.full_size(encoder)
    rivals = [way for way in figures.ways_of(encoder) if not way.is_full]
    if full is None or not rivals:
        missing = "the full size" if full is None else "anything smaller"
        return Answer(encoder, (f"Nothing to answer: {missing} was not coded with {encoder}.",), (), ())
    found = [_best(figures, full, rivals, metric) for metric in comparison.metrics]
    best = tuple(one for one in found if one)
    crossings = tuple(
        (movie.name, tuple(_crossing(figures, movie.name, full, rivals, metric) for metric in comparison.metrics))
        for movie in comparison.movies
        if any(figures.curve(movie.name, way) for way in (full, *rivals))
    )
    return Answer(encoder, tuple(_verdict(best, comparison)), best, crossings)


def _best(figures: Figures, full: Way, rivals: list[Way], metric: Metric) -> Best | None:
    means = [(way, figures.mean(full, way, metric)) for way in rivals]
    known = [(way, mean.rate, mean.overlap) for way, mean in means if isinstance(mean.rate, MeanDelta)]
    most = max((rate.movies for _, rate, _ in known), default=0)
    fair = [one for one in known if one[1].movies == most]
    if not fair:
        return None
    way, rate, overlap = min(fair, key=lambda one: one[1].value)
    return Best(metric, way, rate, overlap, len(rivals))


def _verdict(best: tuple[Best, ...], comparison: Comparison) -> list[str]:
    """A sentence for each way that is the best by some metrics, and for each of what it does to the bits by them."""
    sentences = []
    for way in dict.fromkeys(one.way for one in best):
        of_way = [one for one in best if one.way == way]
        saving, level, costing = (
            [one for one in of_way if one.verdict == said] for said in ("saves", "level", "costs")
        )
        if saving:
            sentences.append(
                f"{way.scaling} needs fewer bits than the full size for equal quality on average: {_amounts(saving)}."
            )
        if level:
            sentences.append(f"By {_metrics(level)} {way.scaling} needs as many bits as the full size on average.")
        if costing:
            nearest = "costs bits" if costing[0].rivals == 1 else "comes nearest and costs bits"
            no = f"By {_metrics(costing)} downscaling does not pay on average"
            sentences.append(f"{no}: {way.scaling} {nearest}, {_amounts(costing)}.")
    silent = [METRIC_TEXT[metric].label for metric in comparison.metrics if metric not in {one.metric for one in best}]
    if silent:
        sentences.append(f"By {_listed(silent)} there is no figure.")
    return sentences


def _metrics(found: list[Best]) -> str:
    return _listed([METRIC_TEXT[one.metric].label for one in found])


def _amounts(found: list[Best]) -> str:
    """For example: 12.3 % by PSNR-Y and 8.0 % by VMAF (mean of 3 of 4 movies)."""
    parts = []
    for one in found:
        text = f"{abs(one.rate.value):.1f} % by {METRIC_TEXT[one.metric].label}"
        if one.rate.movies < one.rate.total:
            text += f" (mean of {one.rate.movies} of {one.rate.total} movies)"
        parts.append(text)
    return _listed(parts)


def _crossing(figures: Figures, movie: str, full: Way, rivals: list[Way], metric: Metric) -> str:
    """Of the way with the lowest BD-rate on the movie."""
    label = METRIC_TEXT[metric].label
    rated = [(figures.pairing(movie, full, way, metric).rate, way) for way in rivals]
    known = [(rate.value, way) for rate, way in rated if isinstance(rate, Delta)]
    if not known:
        return f"By {label}, nothing can be compared with the full size."
    curves = [figures.curve(movie, way) for way in (full, min(known)[1])]
    anchor, test = (curve for curve in curves if curve)
    return f"By {label}, {crossing_sentence(anchor, test, metric)}."


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

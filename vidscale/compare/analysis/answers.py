"""The answer in sentences: the best candidate of each encoder, whether it saves bits, and at which bitrates."""

from dataclasses import dataclass

from vidscale.compare.analysis.bd_rate import Delta, MeanDelta
from vidscale.compare.analysis.crossings import Verdict, crossing_sentence, verdict_of
from vidscale.compare.analysis.figures import Figures
from vidscale.compare.points import Candidate, Comparison
from vidscale.quality import METRIC_TEXT, Metric


@dataclass(frozen=True, slots=True)
class Best:
    """The best candidate of an encoder by one metric, against the full size.

    Attributes:
        metric: measure of quality.
        candidate: the one with the lowest mean BD-rate among those that have a figure on the most movies.
        rate: its mean BD-rate.
        overlap: smallest overlap of its curve and the full size's among the movies, 0 to 1.
        considered: number of candidates that it was chosen from.
    """

    metric: Metric
    candidate: Candidate
    rate: MeanDelta
    overlap: float
    considered: int

    @property
    def verdict(self) -> Verdict:
        """Whether the candidate saves bits."""
        return verdict_of(self.rate.value)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one encoder.

    Attributes:
        encoder: name and preset.
        sentences: the answer.
        best: one for each metric that has a figure.
        crossings: movie, and for each metric a sentence on where its best candidate saves bits.
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
    scaled = [candidate for candidate in figures.candidates_of(encoder) if not candidate.is_full]
    if full is None or not scaled:
        missing = "the full size" if full is None else "no pair of scalers"
        was = "was not" if full is None else "was"
        return Answer(encoder, (f"No answer: {missing} {was} encoded with {encoder}.",), (), ())
    found = [_best(figures, full, scaled, metric) for metric in comparison.metrics]
    best = tuple(one for one in found if one)
    crossings = tuple(
        (movie.name, tuple(_crossing(figures, movie.name, full, scaled, metric) for metric in comparison.metrics))
        for movie in comparison.movies
        if any(figures.curve(movie.name, candidate) for candidate in (full, *scaled))
    )
    return Answer(encoder, tuple(_verdict(best, comparison)), best, crossings)


def _best(figures: Figures, full: Candidate, scaled: list[Candidate], metric: Metric) -> Best | None:
    means = [(candidate, figures.mean(full, candidate, metric)) for candidate in scaled]
    known = [(candidate, mean.rate, mean.overlap) for candidate, mean in means if isinstance(mean.rate, MeanDelta)]
    most = max((rate.movies for _, rate, _ in known), default=0)
    fair = [one for one in known if one[1].movies == most]
    if not fair:
        return None
    candidate, rate, overlap = min(fair, key=lambda one: one[1].value)
    return Best(metric, candidate, rate, overlap, len(scaled))


def _verdict(best: tuple[Best, ...], comparison: Comparison) -> list[str]:
    """For each candidate that is best by some metrics, a sentence for those by which it saves, is level, or costs."""
    sentences = []
    for candidate in dict.fromkeys(one.candidate for one in best):
        of_candidate = [one for one in best if one.candidate == candidate]
        saving, level, costing = (
            [one for one in of_candidate if one.verdict == verdict] for verdict in ("saves", "level", "costs")
        )
        name = candidate.scaling
        if saving:
            amounts = _amounts(saving)
            sentences.append(f"{name} needs fewer bits than the full size for equal quality on average: {amounts}.")
        if level:
            sentences.append(f"By {_metrics(level)}, {name} needs as many bits as the full size on average.")
        if costing:
            needs = "needs" if costing[0].considered == 1 else "comes closest but needs"
            by = _metrics(costing)
            sentences.append(
                f"By {by}, downscaling does not pay on average: {name} {needs} more bits, {_amounts(costing)}."
            )
    missing = [METRIC_TEXT[metric].label for metric in comparison.metrics if metric not in {one.metric for one in best}]
    if missing:
        sentences.append(f"There is no figure for {_listed(missing)}.")
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


def _crossing(figures: Figures, movie: str, full: Candidate, scaled: list[Candidate], metric: Metric) -> str:
    """Where the candidate with the lowest BD-rate on the movie saves bits."""
    label = METRIC_TEXT[metric].label
    rated = [(figures.deltas(movie, full, candidate, metric).rate, candidate) for candidate in scaled]
    known = [(rate.value, candidate) for rate, candidate in rated if isinstance(rate, Delta)]
    if not known:
        return f"By {label}, nothing can be compared with the full size."
    curves = [figures.curve(movie, candidate) for candidate in (full, min(known)[1])]
    anchor, test = (curve for curve in curves if curve)
    return f"By {label}, {crossing_sentence(anchor, test, metric)}."


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

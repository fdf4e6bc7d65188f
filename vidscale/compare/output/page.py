"""A comparison as a self-contained HTML page: the answer, curves, a table of all candidates, stills.

The template is compare.html.j2; the data of its scripts come from `page_data`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vidscale.compare.analysis.answers import Answer, answers
from vidscale.compare.analysis.crossings import rate_text
from vidscale.compare.analysis.figures import Figures
from vidscale.compare.output.page_data import page_data
from vidscale.compare.output.page_stills import ShownFrame, shown_frames
from vidscale.compare.output.styles import PALETTE
from vidscale.compare.points import Candidate, Comparison, Curve, MovieFacts, Point, Still
from vidscale.quality import METRIC_TEXT, Metric
from vidscale.text import plural, shown, timecode
from vidscale.web.page import Table, Tile, render_template

_LITTLE_OVERLAP = 0.5  # below, the page warns that a figure covers little of the curves


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision at the top of the page, in place of the answers of a comparison.

    Attributes:
        movie: name.
        sentence: what was chosen, and what it saves.
        ways: each way to encode the movie.
        notes: what else to know, a line each.
    """

    movie: str
    sentence: str
    ways: Table
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The top of the page for one encoder."""

    answer: Answer
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class _CurveFacts:
    """The points of one curve as a table, and the commands that reproduce each: (crf, commands)."""

    title: str
    points: Table
    commands: tuple[tuple[str, tuple[str, ...]], ...]


def render_page(comparison: Comparison, decisions: Sequence[Decided] = ()) -> str:
    """The page as text. Every value is escaped; scripts, styles and pictures are embedded.

    Args:
        comparison: what was measured.
        decisions: one for each movie, if the comparison was made to decide how to encode them.
    """
    figures = Figures(comparison)
    names = [movie.name for movie in comparison.movies]
    frames = shown_frames([still for still in comparison.stills if still.movie in names])
    return render_template(
        "compare.html.j2",
        title=names[0] if len(names) == 1 else plural(len(names), "movie") if names else "no movie",
        movies=names if len(names) > 1 else [],
        metrics=[METRIC_TEXT[metric] for metric in comparison.metrics],
        encoders=figures.encoders,
        decisions=decisions,
        verdicts=[] if decisions else [_Verdict(answer, _tiles(answer)) for answer in answers(comparison, figures)],
        notes=_notes(comparison, frames),
        failures=comparison.failures,
        palette=PALETTE,
        data=page_data(comparison, figures),
        frames=[_frame_data(frame, comparison, figures) for frame in frames],
        curves=[(name, _curve_facts(comparison, figures, name)) for name in names],
        versions=Table(("Program or library", "Version"), tuple(comparison.versions.items())),
    )


def _tiles(answer: Answer) -> tuple[Tile, ...]:
    needs = {"saves": "fewer bits than", "level": "as many bits as", "costs": "more bits than"}
    tiles = []
    for best in answer.best:
        movies, total = best.rate.movies, best.rate.total
        among = f", the best of {best.considered}," if best.considered > 1 else ""
        detail = f"{best.candidate.scaling}{among} needs {needs[best.verdict]} the full size"
        if total > 1:
            detail += f"; mean of {movies}{f' of {total}' if movies < total else ''} movies"
        if best.overlap < _LITTLE_OVERLAP:
            detail += f"; the curves share only {100 * best.overlap:.0f} % of their range of quality"
        label = f"BD-rate by {METRIC_TEXT[best.metric].label}"
        tiles.append(
            Tile(label, _signed(best.rate.value), "%", detail, "" if best.verdict == "level" else best.verdict)
        )
    return tuple(tiles)


def _signed(percent: float) -> str:
    """A signed number: "+1.5", "−12.3"."""
    return f"{percent:+.1f}".replace("-", "\N{MINUS SIGN}")


def _notes(comparison: Comparison, frames: list[ShownFrame]) -> list[str]:
    notes = [note for movie in comparison.movies for note in _movie_notes(movie)]
    if comparison.within:
        metric, low, high = comparison.within
        notes.append(
            f"BD-rate and BD-quality only cover rates at which {METRIC_TEXT[metric].label} of the anchor is between "
            f"{low:g} and {high:g}."
        )
    shown_movies = {frame.movie for frame in frames}
    missing = list(dict.fromkeys(still.movie for still in comparison.stills if still.movie not in shown_movies))
    if missing:
        notes.append(f"No stills, to keep this page small: {', '.join(missing)}.")
    return notes


def _movie_notes(movie: MovieFacts) -> list[str]:
    notes = [f"{movie.name}: {movie.note}."] if movie.note else []
    if movie.samples:
        times = ", ".join(f"{timecode(start)} to {timecode(end)}" for start, end in movie.samples)
        notes.append(f"{movie.name}: only {plural(len(movie.samples), 'sample')} encoded, {times}.")
    return notes


def _curve_facts(comparison: Comparison, figures: Figures, movie: str) -> list[_CurveFacts]:
    curves = [figures.curve(movie, candidate) for candidate in figures.candidates]
    return [_facts(curve, comparison) for curve in curves if curve]


def _facts(curve: Curve, comparison: Comparison) -> _CurveFacts:
    head = ("crf", "kbit/s", *(METRIC_TEXT[metric].title for metric in comparison.metrics), "Encode, s", "Decode, s")
    rows = tuple(
        (
            f"{point.crf:g}",
            f"{point.bitrate_kbps:,.1f}",
            *(_quality(point, metric) for metric in comparison.metrics),
            f"{point.encode_s:,.2f}",
            f"{point.decode_s:,.2f}",
        )
        for point in curve.points
    )
    commands = tuple((f"{point.crf:g}", point.commands) for point in curve.points if point.commands)
    return _CurveFacts(str(curve.candidate), Table(head, rows), commands)


def _quality(point: Point, metric: Metric) -> str:
    return shown(point.metrics.get(metric, float("nan")), METRIC_TEXT[metric].digits)


def _frame_data(frame: ShownFrame, comparison: Comparison, figures: Figures) -> dict[str, Any]:
    first = frame.pictures[0]
    return {
        "movie": [movie.name for movie in comparison.movies].index(frame.movie),
        "time": timecode(frame.pts_s),
        "caption": _caption(frame, comparison),
        "width": first.width,
        "height": first.height,
        "pictures": [
            {
                "name": str(still.candidate) if still.candidate else "source",
                "candidate": _index(figures.candidates, still.candidate),
                "kbps": still.point.bitrate_kbps if still.point else None,
                "facts": _still_facts(still, comparison),
                "src": picture.data_uri,
            }
            for still, picture in zip(frame.stills, frame.pictures, strict=True)
        ],
    }


def _index(candidates: list[Candidate], candidate: Candidate | None) -> int | None:
    return candidates.index(candidate) if candidate in candidates else None


def _caption(frame: ShownFrame, comparison: Comparison) -> str:
    first = frame.pictures[0]
    movie = next(movie for movie in comparison.movies if movie.name == frame.movie)
    region = "The whole frame"
    if (first.width, first.height) != (movie.width, movie.height):
        of = f"{first.width}×{first.height} of {movie.width}×{movie.height} pixels"
        region = f"{of}, the region with the most detail"
    return f"{region}, {'lossless' if frame.lossless else 'slightly compressed to keep this page small'}."


def _still_facts(still: Still, comparison: Comparison) -> str:
    """The point of a still: crf, bitrate and metrics of all frames, not of this one."""
    point = still.point
    if point is None:
        return ""
    facts = [f"crf {point.crf:g}", rate_text(point.bitrate_kbps)]
    for metric in comparison.metrics:
        if metric in point.metrics:
            text = METRIC_TEXT[metric]
            facts.append(f"{text.label} {_quality(point, metric)}{' ' + text.unit if text.unit else ''}")
    return ", ".join(facts)

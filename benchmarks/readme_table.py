"""The README's table as text, from the stored points of a comparison alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from textwrap import fill

from vidscale.compare.analysis.bd_rate import NoFigure
from vidscale.compare.analysis.crossings import rate_intervals
from vidscale.compare.analysis.figures import Figures
from vidscale.compare.metrics import METRIC_TEXT, Metric
from vidscale.compare.points import Candidate, Comparison

BEGIN, END = "<!-- table -->", "<!-- /table -->"
_WIDTH = 120  # of lines in documents
YARDSTICK = "ffmpeg-lanczos"  # what one does without vidscale


@dataclass(frozen=True, slots=True)
class Origin:
    """Where stored points come from.

    Attributes:
        commit: of the program that measured them.
        cpu, cores: the machine.
        note: what a person should know of the run; "" for nothing.
    """

    commit: str
    cpu: str
    cores: int
    note: str


def table_text(comparison: Comparison, origin: Origin) -> str:
    """Everything between the markers: two tables and what is to be said of them."""
    figures = Figures(comparison)
    lines = [_legend(comparison), "", *_against_full_size(comparison, figures), ""]
    lines += ["Against ffmpeg's scale filter with Lanczos, down and up, at the same scale:", ""]
    lines += [*_against_yardstick(comparison, figures), "", _when_not(comparison, figures), ""]
    lines.append(_colophon(comparison, origin))
    return "\n".join(line if line.startswith("|") else fill(line, _WIDTH, break_on_hyphens=False) for line in lines)


def frame_of(readme: Path) -> tuple[str, str]:
    """What stands before the table and behind it, markers included.

    Raises:
        ValueError: the file has not each marker once, in order, on a line of its own.
    """
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(f"{END}\n")
    if not begin or not end or text.count(BEGIN) + text.count(END) > 2:
        raise ValueError(f"{readme} has not the lines {BEGIN} and {END}, once each")
    return before + begin, end + after


def rewrite(readme: Path, table: str) -> None:
    """Puts a table between the markers of a file."""
    before, after = frame_of(readme)
    readme.write_text(f"{before}\n{table}\n\n{after}", encoding="utf-8")


def _legend(comparison: Comparison) -> str:
    movies = len(comparison.movies)
    names = ", ".join(f"{movie.name} ({movie.note})" if movie.note else movie.name for movie in comparison.movies)
    return (
        f"BD-rate: how many more bits for equal quality, negative saves. Mean over {movies} movies ({names}), or over "
        "as many as stand in brackets where the others have no figure. Encode and decode: time as a ratio to coding "
        "the full size, median over movies."
    )


def _against_full_size(comparison: Comparison, figures: Figures) -> Iterator[str]:
    yield from _head("Against full size", comparison, ("encode", "decode"))
    for encoder in figures.encoders:
        full = figures.full_size(encoder)
        if full is None:
            continue
        yield _group(encoder, len(comparison.metrics) + 2)
        for way in _by_scale(figures.candidates_of(encoder)):
            rates = [
                "" if way.is_full else _rate(comparison, figures, full, way, metric) for metric in comparison.metrics
            ]
            yield _line([way.scaling, *rates, *_times(comparison, figures, full, way)])


def _against_yardstick(comparison: Comparison, figures: Figures) -> Iterator[str]:
    yield from _head("", comparison, ())
    for encoder in figures.encoders:
        ways = [way for way in _by_scale(figures.candidates_of(encoder)) if not way.is_full]
        anchors = {way.scale: way for way in ways if way.down == way.up == YARDSTICK}
        compared = [way for way in ways if way.scale in anchors and way not in anchors.values()]
        if not compared:
            continue
        yield _group(encoder, len(comparison.metrics))
        for way in compared:
            anchor = anchors[way.scale]
            yield _line(
                [way.scaling, *(_rate(comparison, figures, anchor, way, metric) for metric in comparison.metrics)]
            )


def _by_scale(ways: Sequence[Candidate]) -> list[Candidate]:
    """Like beside like, the full size first."""
    return sorted(ways, key=lambda way: (not way.is_full, way.scale))


def _head(title: str, comparison: Comparison, more: Sequence[str]) -> Iterator[str]:
    columns = [*(METRIC_TEXT[metric].label for metric in comparison.metrics), *more]
    yield _line([title, *columns])
    yield _line(["---", *("---:" for _ in columns)])


def _group(encoder: str, columns: int) -> str:
    return _line([f"**{encoder}**", *("" for _ in range(columns))])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rate(comparison: Comparison, figures: Figures, anchor: Candidate, test: Candidate, metric: Metric) -> str:
    """A mean BD-rate, with the number of movies behind it where that is not all; or that there is none."""
    mean = figures.mean(anchor, test, metric).rate
    if not isinstance(mean, NoFigure):
        movies = "" if mean.movies == len(comparison.movies) else f" ({mean.movies})"
        return f"{round(mean.value, 1) + 0.0:+.1f} %{movies}"  # no "-0.0"
    found = [figures.deltas(movie.name, anchor, test, metric).rate for movie in comparison.movies]
    reasons = [one.reason for one in found if isinstance(one, NoFigure)]
    return "no overlap" if all(reason.startswith("no overlap") for reason in reasons) else "no figure"


def _times(comparison: Comparison, figures: Figures, full: Candidate, way: Candidate) -> list[str]:
    """Encode and decode time of a way as ratios to the encode time of the full size."""
    ratios = []
    for movie in comparison.movies:
        ours, theirs = figures.curve(movie.name, way), figures.curve(movie.name, full)
        if ours is None or theirs is None:
            continue
        unit = median(point.encode_s for point in theirs.points)
        ratios.append([median(getattr(p, name) for p in ours.points) / unit for name in ("encode_s", "decode_s")])
    return [f"{median(column):.2f}" for column in zip(*ratios, strict=True)]


def _when_not(comparison: Comparison, figures: Figures) -> str:
    """Up to which quality the best way of each encoder saves bits, and on how many movies."""
    metric: Metric = "vmaf" if "vmaf" in comparison.metrics else comparison.metrics[0]
    clauses, movies = [], len(comparison.movies)
    for encoder in figures.encoders:
        full, scaled = figures.full_size(encoder), [way for way in figures.candidates_of(encoder) if not way.is_full]
        means = {} if full is None else {way: figures.mean(full, way, metric).rate for way in scaled}
        values = {way: mean.value for way, mean in means.items() if not isinstance(mean, NoFigure)}
        if full is None or not values:
            continue
        best = min(values, key=lambda way: values[way])
        limits = _limits(comparison, figures, full, best, metric)
        clause = f"before {encoder} the best of these, {best.scaling}, saves bits on {len(limits)} of {movies} movies"
        if limits:
            clause += f", up to {METRIC_TEXT[metric].label} {median(limits):.3g} in the median"
        clauses.append(clause)
    rest = "Above that, and on the other movies, the full size needs fewer bits."
    return f"**When not to downscale:** {'; '.join(clauses)}. {rest}"


def _limits(comparison: Comparison, figures: Figures, full: Candidate, way: Candidate, metric: Metric) -> list[float]:
    """The quality up to which a way saves bits, of each movie on which it does at the lowest quality, rising."""
    limits = []
    for movie in comparison.movies:
        ours, theirs = figures.curve(movie.name, way), figures.curve(movie.name, full)
        found = None if ours is None or theirs is None else rate_intervals(theirs, ours, metric)
        if isinstance(found, tuple) and found[0].rate < 0:
            limits.append(found[0].high)
    return sorted(limits)


def _colophon(comparison: Comparison, origin: Origin) -> str:
    programs = ", ".join(
        f"{name} {comparison.versions[name]}" for name in ("ffmpeg", "x264", "x265") if name in comparison.versions
    )
    points = sum(len(curve.points) for curve in comparison.curves)
    note = f" {origin.note}" if origin.note else ""
    return (
        f"{points} points, vidscale at commit {origin.commit}, {programs}, {origin.cores} cores of {origin.cpu}.{note}"
    )

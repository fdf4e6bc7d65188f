"""BD-rate tables as Markdown, from the stored points of a comparison alone."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median
from textwrap import fill

from stored_points import Stored

from vidscale.compare.analysis.bd_rate import NoFigure
from vidscale.compare.analysis.crossings import rate_intervals
from vidscale.compare.analysis.figures import Figures
from vidscale.compare.points import Candidate, Comparison
from vidscale.quality import METRIC_TEXT, Metric, Within

YARDSTICK = "ffmpeg-lanczos"  # the plain ffmpeg job
_WIDTH = 120  # of lines in documents


def full_report(stored: Stored, within: Within | None = None) -> str:
    """Both tables, with encode and decode times, and what there is to say about them.

    Args:
        stored: the points.
        within: the range of quality to compare in; None for all of the common range.
    """
    comparison = replace(stored.comparison, within=within)
    figures = Figures(comparison)
    lines = [legend(comparison, times=True), "", *_against_full_size(comparison, figures, times=True), ""]
    lines += [f"Against {YARDSTICK} (ffmpeg's scale filter, down and up) at the same scale:", ""]
    lines += [*_against_yardstick(comparison, figures), ""]
    if within is None:
        lines += [_when_not(comparison, figures), ""]
    return wrapped([*lines, _colophon(stored)])


def full_size_report(stored: Stored, within: Within) -> str:
    """The table against the full size in a range of quality, without times."""
    comparison = replace(stored.comparison, within=within)
    table = _against_full_size(comparison, Figures(comparison), times=False)
    return wrapped([legend(comparison, times=False), "", *table])


def wrapped(lines: Sequence[str]) -> str:
    """Lines as Markdown, prose wrapped; an empty line ends a paragraph."""
    return "\n".join(line if line.startswith("|") else _filled(line) for line in lines)


def _filled(line: str) -> str:
    indent = "  " if line.startswith("- ") else ""
    return fill(line, _WIDTH, break_on_hyphens=False, break_long_words=False, subsequent_indent=indent)


def row(cells: Sequence[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def head(title: str, columns: Sequence[str]) -> Iterator[str]:
    """The first two rows of a table whose columns are numbers."""
    yield row([title, *columns])
    yield row(["---", *("---:" for _ in columns)])


def legend(comparison: Comparison, *, times: bool) -> str:
    """What the figures are, and of which clips."""
    notes = {movie.note for movie in comparison.movies}
    names = ", ".join(movie.name for movie in comparison.movies)
    names += "".join(f"; {note}" for note in sorted(notes) if note)
    within = comparison.within
    where = f", {METRIC_TEXT[within[0]].label} {within[1]:g} to {within[2]:g} of the anchor" if within else ""
    text = (
        f"BD-rate: bits needed for equal quality, negative saves. Mean over {len(comparison.movies)} clips ({names})"
        f"{where}; (n) is a mean over the n clips that have a figure."
    )
    return f"{text} Encode, decode: wall time relative to the full-size encode, median over clips." if times else text


def rate_text(comparison: Comparison, figures: Figures, anchor: Candidate, test: Candidate, metric: Metric) -> str:
    """A mean BD-rate, with the number of clips behind it where that is not all; or that there is none."""
    mean = figures.mean(anchor, test, metric).rate
    if not isinstance(mean, NoFigure):
        movies = "" if mean.movies == len(comparison.movies) else f" ({mean.movies})"
        return f"{round(mean.value, 1) + 0.0:+.1f} %{movies}"  # no "-0.0"
    found = [figures.deltas(movie.name, anchor, test, metric).rate for movie in comparison.movies]
    reasons = [one.reason for one in found if isinstance(one, NoFigure)]
    return "no overlap" if all(reason.startswith("no overlap") for reason in reasons) else "no figure"


def limits(
    comparison: Comparison, figures: Figures, full: Candidate, candidate: Candidate, metric: Metric
) -> list[float]:
    """The quality up to which a candidate saves bits, for each clip on which it does at the lowest quality, rising."""
    found = []
    for movie in comparison.movies:
        ours, theirs = figures.curve(movie.name, candidate), figures.curve(movie.name, full)
        parts = None if ours is None or theirs is None else rate_intervals(theirs, ours, metric)
        if isinstance(parts, tuple) and parts[0].rate < 0:
            found.append(parts[0].high)
    return sorted(found)


def _against_full_size(comparison: Comparison, figures: Figures, *, times: bool) -> Iterator[str]:
    labels = [METRIC_TEXT[metric].label for metric in comparison.metrics]
    columns = [*labels, "encode", "decode"] if times else labels
    yield from head("Against full size", columns)
    for encoder in figures.encoders:
        full = figures.full_size(encoder)
        if full is None:
            continue
        yield _group(encoder, len(columns))
        for candidate in _by_scale(figures.candidates_of(encoder)):
            if candidate.is_full and not times:
                continue
            rates = [
                "" if candidate.is_full else rate_text(comparison, figures, full, candidate, metric)
                for metric in comparison.metrics
            ]
            yield row([candidate.scaling, *rates, *(_times(comparison, figures, full, candidate) if times else [])])


def _against_yardstick(comparison: Comparison, figures: Figures) -> Iterator[str]:
    yield from head("", [METRIC_TEXT[metric].label for metric in comparison.metrics])
    for encoder in figures.encoders:
        candidates = [candidate for candidate in _by_scale(figures.candidates_of(encoder)) if not candidate.is_full]
        anchors = {
            candidate.scale: candidate for candidate in candidates if candidate.down == candidate.up == YARDSTICK
        }
        compared = [
            candidate for candidate in candidates if candidate.scale in anchors and candidate not in anchors.values()
        ]
        if not compared:
            continue
        yield _group(encoder, len(comparison.metrics))
        for candidate in compared:
            anchor = anchors[candidate.scale]
            yield row(
                [
                    candidate.scaling,
                    *(rate_text(comparison, figures, anchor, candidate, metric) for metric in comparison.metrics),
                ]
            )


def _by_scale(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Like beside like, the full size first."""
    return sorted(candidates, key=lambda candidate: (not candidate.is_full, candidate.scale))


def _group(encoder: str, columns: int) -> str:
    return row([f"**{encoder}**", *("" for _ in range(columns))])


def _times(comparison: Comparison, figures: Figures, full: Candidate, candidate: Candidate) -> list[str]:
    """Encode and decode time of a candidate as ratios to the encode time of the full size."""
    ratios = []
    for movie in comparison.movies:
        ours, theirs = figures.curve(movie.name, candidate), figures.curve(movie.name, full)
        if ours is None or theirs is None:
            continue
        unit = median(point.encode_s for point in theirs.points)
        ratios.append([median(getattr(p, name) for p in ours.points) / unit for name in ("encode_s", "decode_s")])
    return [f"{median(column):.2f}" for column in zip(*ratios, strict=True)]


def _when_not(comparison: Comparison, figures: Figures) -> str:
    """Up to which quality the best candidate of each encoder saves bits, and on how many clips."""
    metric: Metric = "vmaf" if "vmaf" in comparison.metrics else comparison.metrics[0]
    label, clauses = METRIC_TEXT[metric].label, []
    for encoder in figures.encoders:
        full, scaled = (
            figures.full_size(encoder),
            [candidate for candidate in figures.candidates_of(encoder) if not candidate.is_full],
        )
        means = {} if full is None else {candidate: figures.mean(full, candidate, metric).rate for candidate in scaled}
        values = {candidate: mean.value for candidate, mean in means.items() if not isinstance(mean, NoFigure)}
        if full is None or not values:
            continue
        best = min(values, key=lambda candidate: values[candidate])
        found = limits(comparison, figures, full, best, metric)
        clause = f"with {encoder}, {best.scaling} saves bits on {len(found)} of {len(comparison.movies)} clips"
        clauses.append(f"{clause}, up to {label} {median(found):.3g} (median)" if found else clause)
    return (
        f"**When not to downscale.** The best pair by {label}: {'; '.join(clauses)}. "
        "Above that, and on the other clips, the full size needs fewer bits."
    )


def _colophon(stored: Stored) -> str:
    comparison, where = stored.comparison, stored.origin
    programs = ", ".join(
        f"{name} {comparison.versions[name]}" for name in ("ffmpeg", "x264", "x265") if name in comparison.versions
    )
    points = sum(len(curve.points) for curve in comparison.curves)
    note = f" {where.note}" if where.note else ""
    return f"{points} points, vidscale at commit {where.commit}, {programs}, {where.cores} cores of {where.cpu}.{note}"

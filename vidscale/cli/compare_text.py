"""The rows of a comparison as text and as JSON records."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from vidscale.cli.console import aligned

if TYPE_CHECKING:
    from vidscale.compare.analysis.table import BdRow
    from vidscale.compare.points import Comparison

LEGEND = (
    "BD-rate: bits at equal quality, negative saves; BD-quality: quality at equal bitrate; overlap: share of the range "
    "of quality that both curves cover; encode, decode: time per second of video"
)
_HEAD = ("", "BD-rate", "BD-quality", "overlap", "encode", "decode")


def answer_lines(comparison: "Comparison") -> Iterator[str]:
    """The answer for each encoder, as at the top of the page."""
    from vidscale.compare.analysis.answers import answers
    from vidscale.compare.analysis.figures import Figures

    for answer in answers(comparison, Figures(comparison)):
        yield f"{answer.encoder}: {' '.join(answer.sentences)}"
    yield ""


def table_lines(rows: "Sequence[BdRow]") -> Iterator[str]:
    """A table for each encoder, metric and anchor, followed by where each candidate saves bits."""
    from vidscale.quality import METRIC_TEXT

    for (anchor, metric), group in groupby(rows, key=lambda row: (row.anchor, row.metric)):
        found = list(group)
        yield f"{anchor.codec} {anchor.preset}, {METRIC_TEXT[metric].label}, against {anchor.scaling}"
        movies = {row.movie for row in found}
        cells = [list(_HEAD)]
        for row in found:
            label = row.test.scaling if len(movies) == 1 else f"{row.test.scaling}, {row.movie or _mean_text(row)}"
            cells.append([label, *_cells(row)])
        yield from (f"  {line}".rstrip() for line in aligned(cells))
        for row in found:
            if row.sentence:
                yield f"  {row.movie}: {row.sentence}"
            yield from (f"  {row.movie}: {note}" for note in getattr(row.rate, "notes", ()))
        yield ""


def _mean_text(row: "BdRow") -> str:
    from vidscale.compare.analysis.bd_rate import MeanDelta

    if isinstance(row.rate, MeanDelta) and row.rate.movies < row.rate.total:
        return f"mean of {row.rate.movies} of {row.rate.total}"
    return "mean"


def _cells(row: "BdRow") -> list[str]:
    from vidscale.compare.analysis.bd_rate import Delta, NoFigure
    from vidscale.quality import METRIC_TEXT

    text = METRIC_TEXT[row.metric]
    rate = "no figure" if isinstance(row.rate, NoFigure) else f"{row.rate.value:+z.1f} %"
    quality = "no figure" if isinstance(row.quality, NoFigure) else f"{row.quality.value:+z.{text.digits}f} {text.unit}"
    overlap = f"{100 * row.rate.overlap:.0f} %" if isinstance(row.rate, Delta) else ""
    return [rate, quality.rstrip(), overlap, f"{row.encode_s:.2f} s", f"{row.decode_s:.2f} s"]


def bd_record(row: "BdRow") -> dict[str, Any]:
    """A row as the JSON record `bd`, see docs/command-line.md."""
    from vidscale.compare.analysis.bd_rate import Delta, MeanDelta, NoFigure

    mean = row.rate if isinstance(row.rate, MeanDelta) else None
    single = row.rate if isinstance(row.rate, Delta) else None
    return {
        "event": "bd",
        "codec": row.test.codec,
        "preset": row.test.preset,
        "metric": row.metric,
        "movie": row.movie,
        "anchor": row.anchor.scaling,
        "test": row.test.scaling,
        "bd_rate": None if isinstance(row.rate, NoFigure) else row.rate.value,
        "no_figure": row.rate.reason if isinstance(row.rate, NoFigure) else None,
        "bd_quality": None if isinstance(row.quality, NoFigure) else row.quality.value,
        "low": single.low if single else None,
        "high": single.high if single else None,
        "overlap": single.overlap if single else None,
        "movies": mean.movies if mean else None,
        "encode_s": row.encode_s,
        "decode_s": row.decode_s,
        "sentence": row.sentence,
    }

"""The rows of a comparison as text and as JSON records."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidscale.compare.table import Row

_DIGITS = {"ssim_y": 4}  # of BD-quality; the others are dB and points of VMAF
_HEAD = ("", "BD-rate", "BD-quality", "overlap", "encode", "decode")


def table_lines(rows: "Sequence[Row]") -> Iterator[str]:
    """A table for each encoder, metric and anchor; below it where each way saves bits."""
    for (anchor, metric), group in groupby(rows, key=lambda row: (row.anchor, row.metric)):
        found = list(group)
        yield f"{anchor.codec} {anchor.preset}, {metric}, against {anchor.scaling}"
        movies = {row.movie for row in found}
        cells = [list(_HEAD)]
        for row in found:
            movie = "mean" if row.movie is None else row.movie
            label = row.test.scaling if len(movies) == 1 else f"{row.test.scaling}, {movie}"
            cells.append([label, *_cells(row)])
        widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
        for line in cells:
            rest = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            yield "  ".join(["  " + line[0].ljust(widths[0]), *rest]).rstrip()
        for row in found:
            if row.sentence:
                yield f"  {row.movie}: {row.sentence}"
            yield from (f"  {row.movie}: {note}" for note in getattr(row.rate, "notes", ()))
        yield ""


def _cells(row: "Row") -> list[str]:
    from vidscale.compare.bd_rate import Delta, MeanDelta, NoFigure

    rate = "no figure" if isinstance(row.rate, NoFigure) else f"{row.rate.value:+.1f} %"
    digits = _DIGITS.get(row.metric, 2)
    quality = "no figure" if isinstance(row.quality, NoFigure) else f"{row.quality.value:+.{digits}f}"
    overlap = ""
    if isinstance(row.rate, Delta):
        overlap = f"{100 * row.rate.overlap:.0f} %"
    elif isinstance(row.rate, MeanDelta) and row.rate.movies < row.rate.total:
        overlap = f"{row.rate.movies} of {row.rate.total}"
    return [rate, quality, overlap, f"{row.encode_s:.2f} s/s", f"{row.decode_s:.2f} s/s"]


def bd_record(row: "Row") -> dict[str, Any]:
    """A row as the record `bd`, see docs/command-line.md."""
    from vidscale.compare.bd_rate import Delta, MeanDelta, NoFigure

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

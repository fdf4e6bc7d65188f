"""The README's table: five rows, one anchor (the full size), one range of quality, both codecs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from bd_tables import head, limits, rate_text, row, wrapped
from stored_points import Stored

from vidscale.compare.analysis.figures import Figures
from vidscale.compare.points import Candidate, Comparison
from vidscale.quality import Within

WITHIN: Within = ("vmaf", 70.0, 85.0)  # no higher range is reached by all of `_ROWS` but the last on every clip
_ROWS = {
    "adaptive-x2": "`adaptive-x2`, the default at `--scale 2`",
    "adaptive-vmaf-x2": "`adaptive-vmaf-x2`, with `--tune vmaf`",
    "adaptive-x1.5": "`adaptive-x1.5`, the default at `--scale 1.5`",
    "restore-x1": "`restore-x1`, full size (`--pair restore`)",
    "ffmpeg-lanczos-x2": "ffmpeg's Lanczos by 2, without vidscale",
}
_EXAMPLE = "adaptive-x2"  # whose limits and PSNR-Y stand below the table
_PARTIAL = "(n): mean over the n clips on which it reaches the range."


@dataclass(frozen=True, slots=True)
class _Column:
    """One encoder on one set of clips."""

    title: str
    comparison: Comparison
    figures: Figures
    full: Candidate
    candidates: dict[str, Candidate]


def readme_table(sets: Sequence[tuple[str, Stored]]) -> str:
    """The table, and what must be known to read it.

    Args:
        sets: name of the clips and their points, in the order of the columns.
    """
    columns = [column for name, stored in sets for column in _columns(name, stored.comparison)]
    low, high = (f"{bound:g}" for bound in WITHIN[1:])
    rows = [
        row([text, *(_cell(column, name) for column in columns)])
        for name, text in _ROWS.items()
        if any(name in column.candidates for column in columns)
    ]
    lines = [*head(f"BD-rate, VMAF {low} to {high}", [column.title for column in columns]), *rows, ""]
    shown = [column for column in columns if _EXAMPLE in column.candidates]
    sentences = [_PARTIAL] if any("% (" in cells for cells in rows) else []
    sentences += [_limits_text(shown), _psnr_text(shown)] if shown else []
    return wrapped([*lines, " ".join(sentences)])


def _columns(name: str, comparison: Comparison) -> list[_Column]:
    ranged = replace(comparison, within=WITHIN)
    figures = Figures(ranged)
    found = []
    for encoder in figures.encoders:
        full = figures.full_size(encoder)
        if full is not None:
            candidates = {candidate.scaling: candidate for candidate in figures.candidates_of(encoder)}
            found.append(_Column(f"{name}, {full.codec}", ranged, figures, full, candidates))
    return found


def _cell(column: _Column, name: str) -> str:
    candidate = column.candidates.get(name)
    return rate_text(column.comparison, column.figures, column.full, candidate, "vmaf") if candidate else ""


def _limits_text(columns: Sequence[_Column]) -> str:
    parts = []
    for column in columns:
        found = limits(column.comparison, column.figures, column.full, column.candidates[_EXAMPLE], "vmaf")
        parts.append(f"{median(found):.0f} ({column.title})" if found else f"none ({column.title})")
    return (
        f"`{_EXAMPLE}` saves bits up to a VMAF of {', '.join(parts)}, medians over the clips; "
        "above that, the full size needs fewer bits."
    )


def _psnr_text(columns: Sequence[_Column]) -> str:
    cells = [
        (rate_text(column.comparison, column.figures, column.full, column.candidates[_EXAMPLE], "psnr_y"), column.title)
        for column in columns
    ]
    reached = [f"{cell} ({title})" for cell, title in cells if not cell.startswith("no ")]
    others = "in the other columns " if reached else ""
    unreached = f"{others}`{_EXAMPLE}` does not reach the full size's PSNR-Y at any rate measured"
    text = f"By PSNR-Y, over the same part of the full size's curve: {', '.join(reached)}"
    return f"{text}{'; ' if reached else ''}{unreached}." if len(reached) < len(cells) else f"{text}."

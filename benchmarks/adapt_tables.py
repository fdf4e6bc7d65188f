"""Writes the tables of docs/adapt.md from the rows of `bench_adapt.py`.

python benchmarks/adapt_tables.py
"""

import argparse
import json
from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from statistics import fmean, median
from typing import Any

from marked_page import rewrite

from vidscale.compare.analysis.bd_rate import NoFigure, bd_rate
from vidscale.compare.points import Candidate, Curve, Point
from vidscale.quality import Metric

ROOT = Path(__file__).parent.parent
ROWS = ROOT / "benchmarks" / "results" / "adapt.jsonl"
PAGE = ROOT / "docs" / "adapt.md"
MOVIE = "returning.mkv"
"""The movie of `returning_shots.py`."""

Row = dict[str, Any]

_METRICS: tuple[Metric, ...] = ("psnr_y", "ssim_y", "vmaf", "vmaf_neg")
_HEAD = "| pair, encoder | clip | PSNR-Y | SSIM-Y | VMAF | VMAF NEG |\n| --- | --- | ---: | ---: | ---: | ---: |"


def main() -> None:
    """Rewrites the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, default=PAGE)
    rewrite(parser.parse_args().page, blocks())


def blocks() -> dict[str, str]:
    """The tables by their names in the page."""
    rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    gains = merged([row for row in rows if row["benchmark"] == "adapt"])
    times = [row for row in rows if row["benchmark"] == "adapt times"]
    clips = [row for row in gains if row["movie"] != MOVIE]
    return {
        "gain": gain_table(clips, "off", "full"),
        "best": gain_table(clips, "off", "best"),
        "light": gain_table(clips, "off", "light"),
        "movie": gain_table([row for row in gains if row["movie"] == MOVIE], "off", "best"),
        "whole": gain_table(clips, "plain", "full"),
        "segments": segment_table(clips),
        "cost": cost_table(times),
        "times": times_table(times),
    }


def merged(rows: Sequence[Row]) -> list[Row]:
    """One row for each movie, way and crf, with what several runs measured; of the same, what the last one did."""
    found: dict[tuple[str, ...], Row] = {}
    for row in rows:
        key = (row["movie"], *_way(row), str(row["crf"]))
        found[key] = found.get(key, {}) | row
    return list(found.values())


def gain_table(rows: Sequence[Row], own: str, kind: str) -> str:
    """BD-rate of one way against another: a line for each clip, and their mean."""
    lines = [_HEAD]
    both = [row for row in rows if own in row and kind in row]
    for (pair, codec), some in groupby(sorted(both, key=_way), key=_way):
        figures = []
        for movie, points in groupby(sorted(some, key=_movie), key=_movie):
            figures.append(savings(list(points), own, kind))
            shown = " | ".join("–" if figure is None else f"{figure:+.1f} %" for figure in figures[-1])
            lines.append(f"| {pair}, {codec} | {name_of(movie)} | {shown} |")
        if len(figures) == 1:
            continue
        columns = [[figure for figure in column if figure is not None] for column in zip(*figures, strict=True)]
        means = " | ".join(f"**{fmean(column):+.1f} %**" if column else "–" for column in columns)
        lines.append(f"| **{pair}, {codec}** | **mean of {len(figures)}** | {means} |")
    return "\n".join(lines)


def savings(rows: Sequence[Row], own: str, kind: str) -> list[float | None]:
    """BD-rates by metric, %; None where the curves do not overlap."""
    found = [bd_rate(_curve(rows, own), _curve(rows, kind), metric) for metric in _METRICS]
    return [None if isinstance(one, NoFigure) else one.value for one in found]


def _curve(rows: Sequence[Row], kind: str) -> Curve:
    points = [
        Point(
            crf=row["crf"],
            video_bytes=row[kind]["video_bytes"],
            duration_s=Fraction(1),
            frames=1,
            metrics={metric: row[kind][metric] for metric in _METRICS},
            encode_s=0,
            decode_s=0,
        )
        for row in rows
    ]
    candidate = Candidate(kind, kind, Fraction(2), rows[0]["codec"], "medium")
    return Curve(rows[0]["movie"], candidate, sorted(points, key=lambda point: point.video_bytes))


def segment_table(rows: Sequence[Row]) -> str:
    """What updates are at each crf: means over clips."""
    lines = [
        "| pair, encoder | crf | kept | dB | bytes | part of the file |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
    ]
    key = lambda row: (*_way(row), row["crf"])  # noqa: E731
    adapted = [row for row in rows if {"off", "full"} <= row.keys()]
    for (pair, codec, crf), some in groupby(sorted(adapted, key=key), key=key):
        found = list(some)
        segments = [segment for row in found for segment in row["full"]["segments"]]
        kinds = [segment["kind"] for segment in segments]
        kept = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("full", "light", "none") if kind in kinds)
        share = fmean(_bytes(row) / row["off"]["video_bytes"] for row in found)
        gain, size = (fmean(segment[name] for segment in segments) for name in ("gain_db", "bytes"))
        lines.append(f"| {pair}, {codec} | {crf:g} | {kept} | {gain:+.2f} | {size:,.0f} | {share:.1%} |")
    return "\n".join(lines)


def _bytes(row: Row) -> int:
    return sum(segment["bytes"] for segment in row["full"]["segments"])


def cost_table(rows: Sequence[Row]) -> str:
    """Processor seconds of the encodes, and what adaptation adds, as a part of a plain encode at full size."""
    kinds = ("light", "full", "best")
    lines = [
        "| movie | full size | off | " + " | ".join(kinds) + " |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        found = row["encode_cpu_s"]
        added = [
            f"+{found[kind] - found['off']:.0f} s ({(found[kind] - found['off']) / found['plain']:.0%})"
            for kind in kinds
        ]
        cells = [f"{found['plain']:.0f} s", f"{found['off']:.0f} s", *added]
        lines.append(f"| {name_of(row['movie'])}, {row['codec']}, crf {row['crf']:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def times_table(rows: Sequence[Row]) -> str:
    """Processor seconds of decoding without and with updates: medians, and the median of the rounds' ratios."""
    lines = ["| movie | off | full | ratio |", "| --- | ---: | ---: | ---: |"]
    for row in rows:
        off, full = (row["decode_cpu_s"][kind] for kind in ("off", "full"))
        ratio = median(after / before for before, after in zip(off, full, strict=True))
        name = f"{name_of(row['movie'])}, {row['codec']}, crf {row['crf']:g}"
        lines.append(f"| {name} | {median(off):.2f} s | {median(full):.2f} s | {ratio:.3f} |")
    return "\n".join(lines)


def name_of(movie: str) -> str:
    """A clip in a table."""
    return movie.removesuffix(".mkv").removeprefix("davis_").removesuffix("_360p")


def _way(row: Row) -> tuple[str, str]:
    return row["pair"], row["codec"]


def _movie(row: Row) -> str:
    return str(row["movie"])


if __name__ == "__main__":
    main()

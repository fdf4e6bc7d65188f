"""Writes the tables of docs/auto.md from the rows of `bench_auto.py`.

python benchmarks/auto_table.py
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from bench_auto import encoder
from marked_page import rewrite

ROOT = Path(__file__).parent.parent
ROWS = ROOT / "benchmarks" / "results" / "auto.jsonl"
PAGE = ROOT / "docs" / "auto.md"

Row = dict[str, Any]


def main() -> None:
    """Rewrites the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, default=PAGE)
    rewrite(parser.parse_args().page, blocks())


def blocks() -> dict[str, str]:
    """The tables by their names in the page."""
    rows = read_rows()
    return {"auto-summary": "\n".join(summary(rows)), "auto-choices": "\n".join(choices(rows))}


def read_rows() -> list[Row]:
    """The stored rows."""
    return [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]


def summary(rows: Sequence[Row]) -> Iterator[str]:
    """A row for each encoder, effort and target, and for each encoder and effort."""
    yield (
        "| encoder | VMAF | clips | bits: mean, worst | best way taken | loss: mean, worst | VMAF missed by, first "
        "file | VMAF missed by: mean, worst | within 1 |"
    )
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for codec in sorted(set(map(encoder, rows))):
        targets = sorted({row["target"] for row in rows})
        for target in (*targets, None):
            some = [
                row
                for row in rows
                if encoder(row) == codec and target in (None, row["target"]) and "error_text" not in row
            ]
            bits, losses = [row["bits"] for row in some], [row["loss"] for row in some]
            first, errors = ([abs(row[name]) for row in some] for name in ("first_error", "error"))
            clips = len({row["clip"] for row in some})
            taken = sum(row["chosen"] == row["best"] for row in some)
            name = "all" if target is None else f"{target:g}"
            yield (
                f"| {codec} | {name} | {clips} | {mean(bits):+.1f} %, {max(bits):+.1f} % | {taken} of {len(some)} "
                f"| {mean(losses):.2f} %, {max(losses):.2f} % | {mean(first):.2f} "
                f"| {mean(errors):.2f}, {max(errors):.2f} | {sum(error <= 1 for error in errors) / len(some):.0%} |"
            )


def choices(rows: Sequence[Row]) -> Iterator[str]:
    """A row for each clip and encoder: the way taken at each target, and the best one where that is another."""
    targets = sorted({row["target"] for row in rows})
    yield f"| clip | encoder | {' | '.join(f'VMAF {target:g}' for target in targets)} | decided in |"
    yield f"| --- | --- | {' | '.join('---' for _ in targets)} | ---: |"
    for clip, codec in dict.fromkeys((row["clip"], encoder(row)) for row in rows):
        own = {row["target"]: row for row in rows if (row["clip"], encoder(row)) == (clip, codec)}
        cells = [_choice(own.get(target)) for target in targets]
        seconds = [row["decide_s"] for row in own.values() if "decide_s" in row]
        yield f"| {clip} | {codec} | {' | '.join(cells)} | {mean(seconds):.0f} s |"


def _choice(row: Row | None) -> str:
    if row is None:
        return ""
    if "error_text" in row:
        return "not reached"
    other = "" if row["chosen"] == row["best"] else f" ({row['best']} {row['best_bits']:+.1f} %)"
    return f"{row['chosen']} {row['bits']:+.1f} %{other}"


if __name__ == "__main__":
    main()

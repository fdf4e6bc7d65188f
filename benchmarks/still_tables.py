"""Writes the tables of docs/stills.md from the rows of `bench_stills.py` and of `vidscale images bench --json`.

python benchmarks/still_tables.py
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marked_page import rewrite

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "stills.md"

Row = dict[str, Any]

_REFINEMENTS = 3  # of the shipped pairs
_NAMES = {"bicubic-x2": "edsr-x2", "bicubic-x4": "edsr-x4", "edsr-x2": "EDSR x2, 64 channels"}


def main() -> None:
    """Rewrites the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, default=PAGE)
    rewrite(parser.parse_args().page, blocks())


def blocks() -> dict[str, str]:
    """The tables by their names in the page."""
    rows, set5 = read_rows(RESULTS / "stills.jsonl"), read_rows(RESULTS / "stills_set5.jsonl")
    bench = read_rows(RESULTS / "set5.jsonl")
    return {"validation": pairs_table(rows), "set5-pairs": pairs_table(set5), "set5": set5_table(set5, bench)}


def read_rows(path: Path) -> list[Row]:
    """The rows of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pairs_table(rows: Sequence[Row]) -> str:
    """Networks in order of their PSNR, the small picture without loss and as JPEG."""
    lines = [
        "| pair | PSNR-Y, dB | SSIM-Y | with JPEG q90 small, dB | small against bicubic, dB: mean, lowest |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    shown = [row for row in rows if row["jpeg_quality"] is None]
    for row in sorted(shown, key=lambda row: (row["name"][-1], row["psnr_y"])):
        coded = [f"{other['psnr_y']:.2f}" for other in rows if other["jpeg_quality"] and name_of(other) == name_of(row)]
        near = f"{row['lr_psnr']:.1f}, {row['lr_lowest']:.1f}" if "lr_psnr" in row else "–"
        ssim_y = f"{row['ssim_y']:.4f}" if "ssim_y" in row else "–"
        lines.append(f"| {name_of(row)} | {row['psnr_y']:.2f} | {ssim_y} | {coded[0] if coded else '–'} | {near} |")
    return "\n".join(lines)


def name_of(row: Row) -> str:
    """The pair, with its steps if they are not those shipped."""
    name = str(row["name"])
    if is_shipped(row):
        return _NAMES.get(name, name)
    corrections = "one correction" if row["repeats"] == 1 else f"{row['repeats']} corrections"
    return f"{name}, {corrections}, {row['refinements'] or 'no'} refinements"


def set5_table(rows: Sequence[Row], bench: Sequence[Row]) -> str:
    """Set5: fixed filters and ESPCN by `images bench`, networks in RGB by `bench_stills.py`."""
    lines = ["| scale | method | PSNR-Y, dB | SSIM-Y |", "| ---: | --- | ---: | ---: |"]
    for result in bench:
        scale = result["scale"]
        found = {name: (means["psnr_y"], means["ssim_y"]) for name, means in result["methods"].items()}
        found |= {
            name_of(row): (row["psnr_y"], row["ssim_y"])
            for row in rows
            if row["name"].endswith(f"-x{scale}") and row["jpeg_quality"] is None and is_shipped(row)
        }
        for name, (psnr_y, ssim_y) in sorted(found.items(), key=lambda item: item[1][0]):
            lines.append(f"| {scale} | {name} | {psnr_y:.2f} | {ssim_y:.4f} |")
    return "\n".join(lines)


def is_shipped(row: Row) -> bool:
    """Whether a row has the steps of the shipped pairs."""
    return "repeats" not in row or (row["repeats"] > 1 and row["refinements"] == _REFINEMENTS)


if __name__ == "__main__":
    main()

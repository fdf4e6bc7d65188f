"""Writes the tables of docs/stills.md from the rows of `bench_stills.py` and of `vidscale images bench --json`.

python benchmarks/still_tables.py
"""

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
    rewrite(PAGE, blocks())


def blocks() -> dict[str, str]:
    """The tables by their names in the page."""
    rows, set5 = read_rows(RESULTS / "stills.jsonl"), read_rows(RESULTS / "stills_set5.jsonl")
    bench = read_rows(RESULTS / "set5.jsonl")
    return {"validation": validation(rows), "steps": steps(rows), "set5": set5_table(set5, bench)}


def read_rows(path: Path) -> list[Row]:
    """The rows of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def validation(rows: Sequence[Row]) -> str:
    """Pairs on the validation photographs, the small picture as PNG and as JPEG."""
    lines = [
        "| pair | PSNR-Y, dB | SSIM-Y | with JPEG q90 small, dB | small against bicubic, dB: mean, lowest |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    shown = [row for row in rows if row["jpeg_quality"] is None and is_shipped(row)]
    for row in sorted(shown, key=lambda row: (row["name"][-1], row["psnr_y"])):
        (coded,) = (
            other["psnr_y"]
            for other in rows
            if other["name"] == row["name"] and other["jpeg_quality"] and is_shipped(other)
        )
        near = f"{row['lr_psnr']:.1f}, {row['lr_lowest']:.1f}" if "lr_psnr" in row else "–"
        name = _NAMES.get(row["name"], row["name"])
        lines.append(f"| {name} | {row['psnr_y']:.2f} | {row['ssim_y']:.4f} | {coded:.2f} | {near} |")
    return "\n".join(lines)


def steps(rows: Sequence[Row]) -> str:
    """CAR by the number of its steps."""
    lines = [
        "| pair | corrections | refinements | PSNR-Y, dB | small against bicubic, dB: mean, lowest |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    shown = [row for row in rows if "repeats" in row and row["jpeg_quality"] is None]
    for row in sorted(shown, key=lambda row: (row["name"], row["repeats"], row["refinements"])):
        near = f"{row['lr_psnr']:.1f}, {row['lr_lowest']:.1f}"
        lines.append(f"| {row['name']} | {row['repeats']} | {row['refinements']} | {row['psnr_y']:.2f} | {near} |")
    return "\n".join(lines)


def set5_table(rows: Sequence[Row], bench: Sequence[Row]) -> str:
    """Set5: fixed filters and ESPCN by `images bench`, networks in RGB by `bench_stills.py`."""
    lines = ["| scale | method | PSNR-Y, dB | SSIM-Y |", "| ---: | --- | ---: | ---: |"]
    for result in bench:
        scale = result["scale"]
        found = {name: (means["psnr_y"], means["ssim_y"]) for name, means in result["methods"].items()}
        found |= {
            _NAMES.get(row["name"], row["name"]): (row["psnr_y"], row["ssim_y"])
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

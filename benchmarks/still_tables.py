"""Writes the tables and bars of docs/stills.md from the stored rows.

The rows are of `bench_stills.py`, `vidscale images bench --json`, `still_colour.py`, `still_steps.py`,
`still_trainings.py` and `still_memory.py`.

python benchmarks/still_tables.py
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marked_page import rewrite
from still_bars import Bar, bars_svg

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "stills.md"
BARS = ROOT / "docs" / "images" / "set5.svg"

Row = dict[str, Any]

_COLOUR = ("psnr_rgb", "psnr_y", "psnr_chroma")
_REFINEMENTS = 3  # of the shipped pairs
_NAMES = {"bicubic-x2": "edsr-x2", "bicubic-x4": "edsr-x4", "edsr-x2": "EDSR x2, 64 channels"}


def main() -> None:
    """Rewrites the page and the picture of its bars."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--bars", type=Path, default=BARS)
    options = parser.parse_args()
    rewrite(options.page, blocks())
    options.bars.write_text(bars_svg(set5_bars(), "Set5, downscaled and restored"), encoding="utf-8")


def blocks() -> dict[str, str]:
    """The tables by their names in the page."""
    rows, set5 = read_rows(RESULTS / "stills.jsonl"), read_rows(RESULTS / "stills_set5.jsonl")
    colour = read_rows(RESULTS / "still_colour.jsonl")
    return {
        "validation": pairs_table(rows),
        "seeds": seeds_table(read_rows(RESULTS / "still_seeds.jsonl")),
        "set5-pairs": pairs_table(set5),
        "set5": set5_table(),
        "colour": colour_table([row for row in colour if "written" in row]),
        "colour-network": colour_network_table([row for row in colour if "upscaled" in row]),
        "steps": steps_table(read_rows(RESULTS / "still_steps.jsonl")),
        "footage": footage_table(read_rows(RESULTS / "still_footage.jsonl")),
        "losses": losses_table(read_rows(RESULTS / "still_losses.jsonl")),
        "memory": memory_table(read_rows(RESULTS / "still_memory.jsonl")),
    }


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


def seeds_table(rows: Sequence[Row]) -> str:
    """CAR against its baseline, seed by seed."""
    lines = [
        "| scale | seed | bicubic and EDSR, dB | refinements | CAR, dB | gain, dB | gain as JPEG q90, dB "
        "| small, dB: mean, lowest |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    found = {(row["name"], row["seed"], row.get("refinements"), row["jpeg_quality"]): row for row in rows}
    for name, seed, refinements, _ in sorted(key for key in found if key[0].startswith("car") and not key[-1]):
        plain, plain_coded = (found[name.replace("car", "bicubic"), seed, None, quality] for quality in (None, 90))
        car, car_coded = (found[name, seed, refinements, quality] for quality in (None, 90))
        gain, gain_coded = car["psnr_y"] - plain["psnr_y"], car_coded["psnr_y"] - plain_coded["psnr_y"]
        lines.append(
            f"| {name[-1]} | {seed} | {plain['psnr_y']:.2f} | {refinements} | {car['psnr_y']:.2f} | {gain:.2f} "
            f"| {gain_coded:.2f} | {car['lr_psnr']:.1f}, {car['lr_lowest']:.1f} |"
        )
    return "\n".join(lines)


def name_of(row: Row) -> str:
    """The pair, with its steps if they are not those shipped."""
    name = str(row["name"])
    if is_shipped(row):
        return _NAMES.get(name, name)
    corrections = "one correction" if row["repeats"] == 1 else f"{row['repeats']} corrections"
    return f"{name}, {corrections}, {row['refinements'] or 'no'} refinements"


def set5_table() -> str:
    """Interpolation against networks."""
    lines = ["| scale | method | PSNR-Y, dB | SSIM-Y |", "| ---: | --- | ---: | ---: |"]
    return "\n".join(
        [*lines, *(f"| {bar.scale} | {bar.name} | {bar.psnr_y:.2f} | {bar.ssim_y:.4f} |" for bar in set5_bars())]
    )


def set5_bars() -> list[Bar]:
    """Set5: fixed filters and networks on planes by `images bench`, networks in RGB by `bench_stills.py`."""
    bars = []
    for result in read_rows(RESULTS / "set5.jsonl"):
        scale = result["scale"]
        found = {name: (means["psnr_y"], means["ssim_y"]) for name, means in result["methods"].items()}
        found |= {
            name_of(row): (row["psnr_y"], row["ssim_y"])
            for row in read_rows(RESULTS / "stills_set5.jsonl")
            if row["name"].endswith(f"-x{scale}") and row["jpeg_quality"] is None and is_shipped(row)
        }
        bars += [Bar(int(scale), name, *scores) for name, scores in sorted(found.items(), key=lambda item: item[1][0])]
    return bars


def colour_table(rows: Sequence[Row]) -> str:
    """Written and read with a matrix and a range each."""
    lines = [
        "| written as | read as | RGB, dB | luma, dB | Cb and Cr, dB | RGB by zscale, dB |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        figures = " | ".join(f"{row[name]:.2f}" for name in (*_COLOUR, "zscale_psnr_rgb"))
        lines.append(
            f"| {row['written']} | {'the same' if row['written'] == row['read'] else row['read']} | {figures} |"
        )
    return "\n".join(lines)


def colour_network_table(rows: Sequence[Row]) -> str:
    """ESPCN on three channels or on luma."""
    lines = ["| upscaled by `espcn-x2` | RGB, dB | luma, dB | Cb and Cr, dB |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {row['upscaled']} | " + " | ".join(f"{row[name]:.2f}" for name in _COLOUR) + " |" for row in rows]
    return "\n".join(lines)


def steps_table(rows: Sequence[Row]) -> str:
    """Steps against one step."""
    lines = ["| scale | method | small picture | PSNR-Y, dB | SSIM-Y |", "| ---: | --- | --- | ---: | ---: |"]
    lines += [
        f"| {row['scale']} | {row['method']} | {row['small']} | {row['psnr_y']:.2f} | {row['ssim_y']:.4f} |"
        for row in sorted(rows, key=lambda row: (row["scale"], row["psnr_y"]))
    ]
    return "\n".join(lines)


def footage_table(rows: Sequence[Row]) -> str:
    """PSNR by what a network was trained on (columns) and what it was measured on (lines)."""
    kinds, measured = (list(dict.fromkeys(row[key] for row in rows)) for key in ("trained_on", "measured_on"))
    found = {(row["measured_on"], row["trained_on"]): row["psnr_y"] for row in rows}
    lines = [f"| measured on | {', dB | '.join(kinds)}, dB |", f"| --- |{' ---: |' * len(kinds)}"]
    for material in measured:
        generic = found[material, kinds[0]]
        gains = [f"{found[material, kind]:.2f} ({found[material, kind] - generic:+.2f})" for kind in kinds[1:]]
        lines.append(f"| {material} | {generic:.2f} | {' | '.join(gains)} |")
    return "\n".join(lines)


def losses_table(rows: Sequence[Row]) -> str:
    """Scores by the loss of the training."""
    lines = ["| loss | PSNR-Y, dB | SSIM-Y | VMAF | VMAF NEG |", "| --- | ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {row['loss']} | {row['psnr_y']:.2f} | {row['ssim_y']:.4f} | {row['vmaf']:.1f} | {row['vmaf_neg']:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def memory_table(rows: Sequence[Row]) -> str:
    """Peak memory of a tile."""
    lines = ["| | tile, samples | before, MB | peak, MB |", "| --- | ---: | ---: | ---: |"]
    for row in rows:
        tile, words = f"{row['tile']}x{row['tile']}", f"{row['pair']} {row['way']}"
        lines.append(f"| {words} | {tile} | {row['before_mb']} | {row['peak_mb']} |")
    return "\n".join(lines)


def is_shipped(row: Row) -> bool:
    """Whether a row has the steps of the shipped pairs."""
    return "repeats" not in row or (row["repeats"] > 1 and row["refinements"] == _REFINEMENTS)


if __name__ == "__main__":
    main()

"""CAR's claim on a small scale: joint training, against bicubic downscaling with the same upscaler.

    python benchmarks/train_car.py PHOTOS VALIDATION -o FOLDER [--seeds 3] [--jobs 2] [--rows car_small.jsonl]

Both see the same examples in the same number of steps, with the recipe ``car_small_x2``; each run has
one core. Interrupted runs resume; finished ones are skipped. The result is the luma PSNR on whole held-out photographs,
with 8-bit small pictures and no codec.
"""

import argparse
import json
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from command import vidscale
from machine import origin

_RECIPE = Path(__file__).parent.parent / "pipelines" / "car_small_x2.toml"
_WAYS = ("car", "bicubic")


def main() -> None:
    """Runs the remaining trainings, prints the table, and appends its rows to a file if given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rows", type=Path, help="append results as JSON lines")
    options = parser.parse_args()
    crops = options.output / "crops.npy"
    if not crops.exists():
        vidscale("train", "pack", options.photos, "-o", crops)
    runs = [(way, seed) for seed in range(options.seeds) for way in _WAYS]

    def run(way_and_seed: tuple[str, int]) -> dict[str, Any]:
        way, seed = way_and_seed
        folder = options.output / f"{way}-{seed}"
        settings = ["--set", f"down={way}", "--set", f"loop.seed={seed}"]
        words = ["train", "car", crops, "--validation", options.validation, "-o", folder, "--recipe", _RECIPE]
        record: dict[str, Any] = json.loads(vidscale(*words, *settings, "--json").splitlines()[-1])
        return {"benchmark": "CAR in small", "down": way, "seed": seed} | {
            key: record[key] for key in ("steps", "seconds", "best_step", "validation_db")
        }

    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(run, runs))
    print(_table(rows))
    if options.rows:
        with options.rows.open("a") as file:
            file.writelines(json.dumps(row | origin()) + "\n" for row in rows)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| seed | bicubic, dB | CAR, dB | gain, dB | minutes, bicubic / CAR |", "| --- | --- | --- | --- | --- |"]
    gains = []
    for seed in sorted({row["seed"] for row in rows}):
        way = {row["down"]: row for row in rows if row["seed"] == seed}
        figures = [way[name]["validation_db"] for name in ("bicubic", "car")]
        gains.append(figures[1] - figures[0])
        minutes = " / ".join(f"{way[name]['seconds'] / 60:.1f}" for name in ("bicubic", "car"))
        lines.append(f"| {seed} | {figures[0]:.2f} | {figures[1]:.2f} | {gains[-1]:+.2f} | {minutes} |")
    lines.append(f"| mean | | | {statistics.mean(gains):+.2f} | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

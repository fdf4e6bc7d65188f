"""Trains the networks for still pictures, each for the same time and in a process of its own.

    python benchmarks/train_stills.py --data FOLDER --out FOLDER --minutes 8 [--only car-x2 bicubic-x2] [--seeds 0 1 2]

The data folder has ``train`` (pictures of one size) and ``validation``. Each training writes ``NAME-SEED/`` with
``weights.safetensors`` (best validation so far), ``log.jsonl`` and ``result.json``. The time includes the start. Needs
only torch, numpy, Pillow and safetensors.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent))  # works without an installed vidscale

if TYPE_CHECKING:
    from vidscale.training.stills import StillTask

WALL_TIME_AT_START = time.perf_counter()

_SIZES = {
    "batch": "crops per step",
    "crop": "side of a crop",
    "blocks": "of the upscaler",
    "width": "of the upscaler",
    "repeats": "corrections of CAR",
    "refinements": "of CAR",
    "replays": "steps of CAR's upscaler alone after each step of both",
}


def main() -> None:
    """Runs one training in this process, or several in their own."""
    from vidscale.training.stills import RECIPES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--start",
        type=Path,
        help="folder of an earlier run to continue from; CAR without one starts from the upscaler of its baseline",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")
    parser.add_argument("--bfloat16", action="store_true", help="on a CPU as well; pays where it has AVX-512 BF16")
    parser.add_argument("--cpu-time", action="store_true", help="minutes are of CPU time, for a busy processor")
    parser.add_argument("--learning-rate", type=float, help="peak, instead of the recipe's; half of it with --start")
    for name, meaning in _SIZES.items():
        parser.add_argument(f"--{name}", type=int, help=f"{meaning}, instead of the recipe's")
    options = parser.parse_args()
    runs = [(name, seed) for seed in options.seeds for name in options.only]
    if len(runs) == 1:
        _train(*runs[0], options)
        return
    shared = sys.argv[1:]
    processes = [
        subprocess.Popen([sys.executable, __file__, *shared, "--only", name, "--seeds", str(seed)])
        for name, seed in runs
    ]
    failed = [run for run, process in zip(runs, processes, strict=True) if process.wait()]
    if failed:
        sys.exit(f"failed: {', '.join(f'{name}-{seed}' for name, seed in failed)}")


def _continue(task: "StillTask", start: Path, run: str) -> None:
    """Loads the best weights of a run, or those of its baseline (bicubic) into the upscaler."""
    from safetensors.torch import load_file

    from vidscale.training.timed import WEIGHTS

    if (start / run / WEIGHTS).exists():
        task.network.load_state_dict(load_file(start / run / WEIGHTS))
        return
    baseline = load_file(start / run.replace("car", "bicubic") / WEIGHTS)
    task.upscaler.load_state_dict({name.removeprefix("upscaler."): value for name, value in baseline.items()})


def _train(name: str, seed: int, options: argparse.Namespace) -> None:
    import torch

    from vidscale.training.crops import find_pictures, held_out_pictures
    from vidscale.training.resident import ResidentPictures
    from vidscale.training.stills import RECIPES, StillTask
    from vidscale.training.timed import TimedSettings, train_for

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda":
        torch.set_num_threads(1)
    changes = {key: value for key in (*_SIZES, "learning_rate") if (value := getattr(options, key)) is not None}
    recipe = replace(RECIPES[name], **changes)
    folder = options.out / f"{name}-{seed}"
    pictures = ResidentPictures(find_pictures(options.data / "train"), device)
    held_out = held_out_pictures(find_pictures(options.data / "validation"))
    task = StillTask(recipe, pictures, held_out, device, seed)
    if options.start:
        _continue(task, options.start, f"{name}-{seed}")
        if task.downscaler:
            task.downscaler.repeats.fill_(recipe.repeats)
            task.downscaler.refinements.fill_(recipe.refinements)
        pictures.seed(seed + 1_000_000)  # other examples than before
    spent = time.process_time() if options.cpu_time else time.perf_counter() - WALL_TIME_AT_START
    settings = TimedSettings(
        seconds=options.minutes * 60 - spent,
        learning_rate=recipe.learning_rate / (2 if options.start else 1),
        device=device,
        validate_every=60.0 if device == "cuda" else math.inf,
        clock=time.process_time if options.cpu_time else time.perf_counter,
        bfloat16=(device == "cuda" or options.bfloat16) and recipe.kind != "espcn",
    )

    def logged(row: dict[str, float]) -> None:
        print(f"{name}-{seed}: " + ", ".join(f"{key} {value:.6g}" for key, value in row.items()), flush=True)

    result = train_for(task, settings, folder, logged)
    record = {"name": name, "seed": seed, "recipe": asdict(recipe)} | result
    (folder / "result.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()

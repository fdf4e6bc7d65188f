"""Measures trainings of `train_stills.py` on held-out pictures, on a GPU if there is one.

    python benchmarks/bench_stills.py PICTURES RUN [RUN ...] -o benchmarks/results/stills.jsonl [--repeats 2]

A row per training, number of refinements (CAR only) and coding of the small picture: as PNG, and as JPEG of quality 90
(4:4:4). It has the means over the pictures and the lowest PSNR of the small picture against the bicubic one. Weights
are rounded to float16 first, as pairs keep them. Needs only torch, numpy, Pillow and safetensors.
"""

import argparse
import io
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent.parent))  # works without an installed vidscale

if TYPE_CHECKING:
    from vidscale.training.stills import StillTask

_JPEG_QUALITIES = (None, 90)


def main() -> None:
    """Appends the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of trainings")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--repeats", type=int, help="corrections of CAR, instead of those it was trained with")
    parser.add_argument("--refinements", type=int, nargs="+", default=[3], help="of CAR")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with options.output.open("a") as output:
        for run in options.runs:
            for row in _rows(run, options.pictures, options.repeats, options.refinements, device):
                output.write(json.dumps(row) + "\n")
                output.flush()


def _rows(
    run: Path, pictures: Path, repeats: int | None, refinements: Sequence[int], device: str
) -> Iterator[dict[str, Any]]:
    task, about = _task(run, pictures, device)
    if task.downscaler and repeats:
        task.downscaler.repeats.fill_(repeats)
    variants = refinements if task.downscaler else [0]
    for number in variants:
        if task.downscaler:
            task.downscaler.refinements.fill_(number)
        started = time.perf_counter()
        small = [task.downscale(hr) for hr in task.held_out]
        seconds = time.perf_counter() - started
        for quality in _JPEG_QUALITIES:
            coded = [lr if quality is None else _through_jpeg(lr, quality) for lr in small]
            row = about | {"pictures": len(small)}
            if task.downscaler:
                row |= {"repeats": int(task.downscaler.repeats), "refinements": number}
            row |= {"jpeg_quality": quality}
            row |= {"device": device, "torch": torch.__version__, "downscale_seconds": round(seconds, 2)}
            yield row | _scores(task, small, coded)


def _task(run: Path, pictures: Path, device: str) -> tuple["StillTask", dict[str, Any]]:
    from vidscale.training.crops import find_pictures, held_out_pictures
    from vidscale.training.stills import StillRecipe, StillTask
    from vidscale.training.timed import WEIGHTS

    result = json.loads((run / "result.json").read_text())
    recipe = StillRecipe(**result["recipe"])
    task = StillTask(recipe, None, held_out_pictures(find_pictures(pictures)), device)
    state = {key: value.half() for key, value in load_file(run / WEIGHTS).items()}
    task.network.load_state_dict(state)
    task.network.to(device).eval().requires_grad_(requires_grad=False)
    about = {"benchmark": "stills", "name": result["name"], "seed": result["seed"]}
    about |= {"blocks": recipe.blocks, "width": recipe.width}
    return task, about | {"step": result["step"], "training_seconds": round(result["seconds"], 1)}


def _scores(task: "StillTask", small: Sequence[Tensor], coded: Sequence[Tensor]) -> dict[str, float]:
    from vidscale.image_metrics import luma_psnr, luma_ssim
    from vidscale.models.networks.error_fed import bicubic

    scale = task.recipe.scale
    psnrs, ssims, near = [], [], []
    for hr, plain, lr in zip(task.held_out, small, coded, strict=True):
        sr = task.upscale(lr)
        psnrs.append(luma_psnr(sr[0], hr[0], shave=scale))
        ssims.append(luma_ssim(sr[0], hr[0], shave=scale))
        mse = float(F.mse_loss(plain, (bicubic(hr, scale).clamp(0, 1) * 255).round() / 255))
        near.append(-10 * math.log10(mse) if mse else math.inf)
    means = {key: round(sum(values) / len(values), 4) for key, values in (("psnr_y", psnrs), ("ssim_y", ssims))}
    if task.downscaler is None:
        return means
    return means | {"lr_psnr": round(sum(near) / len(near), 2), "lr_lowest": round(min(near), 2)}


def _through_jpeg(lr: Tensor, quality: int) -> Tensor:
    codes = (lr[0] * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(codes).save(file, "JPEG", quality=quality, subsampling=0)
    decoded = np.asarray(Image.open(file)).copy()
    return (torch.from_numpy(decoded).permute(2, 0, 1)[None].float() / 255).to(lr.device)


if __name__ == "__main__":
    main()

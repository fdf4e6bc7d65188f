"""Short trainings of `espcn-x2` on one core: familiar against unfamiliar footage, and three losses.

    python benchmarks/still_trainings.py footage TRAINING_CLIPS MEASURED_CLIPS PICTURES -o FILE
    python benchmarks/still_trainings.py losses TRAINING_PICTURES PICTURES -o FILE

All is luma, downscaled by 2 by bicubic interpolation and rounded to 8 bits. `footage` continues the shipped weights on
frames of one kind and measures frames of every kind; `losses` trains from scratch. A row per network and material. The
number of steps is fixed, so that results do not depend on what else the machine does; the CPU time is stored beside
them.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from machine import origin
from picture_vmaf import vmaf_of
from torch import Tensor
from torch.nn import functional as F

from vidscale.image_metrics import luma_psnr, luma_ssim
from vidscale.media.ffmpeg import Ffmpeg, find_ffmpeg
from vidscale.media.probe import probe
from vidscale.models.cards import installed
from vidscale.models.networks.error_fed import bicubic, luma
from vidscale.models.networks.espcn import ESPCN
from vidscale.models.pair_files import load_pair_dir
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock
from vidscale.training.crops import find_pictures, read_rgb

SCALE = 2
BATCH, CROP = 16, 24  # LR crops per step and their side
FRAMES_APART = 6
PICTURES = 64  # for training
# Clips by kind: what the network continues on, and what is measured. Bunny is another scene of the same film.
TRAINED = {"animation": ["bbb_overlay"], "live action, indoors": ["coffee", "bedroom"]}
MEASURED = {"bunny": "animation, another scene", "dog": "live action: dog, street", "palms": "live action: palms"}

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps, the peak learning rate of Adam (it decays to 0 along a cosine), and the seed of weights and examples."""

    steps: int
    learning_rate: float
    seed: int = 0


def main() -> None:
    """Appends the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, dest="experiment")
    footage, losses = commands.add_parser("footage"), commands.add_parser("losses")
    footage.add_argument("clips", type=Path, help="folder of training clips")
    footage.add_argument("measured", type=Path, help="folder of measured clips")
    losses.add_argument("training", type=Path, help="folder of training pictures")
    for command, steps in ((footage, 400), (losses, 400)):
        command.add_argument("pictures", type=Path, help="folder of measured pictures")
        command.add_argument("-o", "--output", type=Path, required=True)
        command.add_argument("--steps", type=int, default=steps)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = _footage(options) if options.experiment == "footage" else _losses(options)
    with options.output.open("a") as output:
        for row in rows:
            output.write(json.dumps({"benchmark": f"still {options.experiment}"} | row | origin()) + "\n")
            output.flush()


def _footage(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    clips = {path.name: path for path in sorted(options.measured.iterdir())}
    measured = {kind: _frames([clips[f"{name}.mkv"]]) for name, kind in MEASURED.items()}
    measured["photographs"] = _lumas(options.pictures)
    generic = load_pair_dir(installed()["espcn-x2"]).upscaler
    assert isinstance(generic, ESPCN)
    networks = {"generic": (generic, 0.0)}
    recipe = Recipe(options.steps, 2e-4)
    for kind, names in TRAINED.items():
        material = _frames([path for name in names for path in options.clips.glob(f"*{name}*")])
        networks[kind] = trained(copy.deepcopy(generic), material, F.l1_loss, recipe)
    for kind, (network, seconds) in networks.items():
        for name, planes in measured.items():
            about = {"trained_on": kind, "steps": options.steps if seconds else 0, "cpu_seconds": round(seconds, 1)}
            yield about | {"measured_on": name, "pictures": len(planes)} | _scores(network, planes)


def _losses(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    material = _lumas(options.training, PICTURES)
    measured = _lumas(options.pictures)
    recipe = Recipe(options.steps, 1e-3)
    for name, loss in (("L1", F.l1_loss), ("L2", F.mse_loss), ("SSIM and L1", structural_loss)):
        torch.manual_seed(recipe.seed)
        network, seconds = trained(ESPCN(SCALE), material, loss, recipe)
        about = {"loss": name, "steps": recipe.steps, "cpu_seconds": round(seconds, 1), "pictures": len(measured)}
        yield about | _scores(network, measured, with_vmaf=True)


def structural_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """0.84 (1 - SSIM) + 0.16 L1, as in Zhao, Gallo, Frosio, Kautz, 2017, with the one scale that small crops have.

    Args:
        sr, hr: [N, 1, H, W] in [0, 1].
    """
    positions = torch.arange(11) - 5.0
    line = torch.exp(-0.5 * (positions / 1.5) ** 2)
    window = torch.outer(line, line)[None, None] / line.sum() ** 2
    mean_x, mean_y, squares, product = (
        F.conv2d(plane, window) for plane in (sr, hr, sr.square() + hr.square(), sr * hr)
    )
    means = mean_x.square() + mean_y.square()
    covariance = product - mean_x * mean_y
    ssim = (2 * mean_x * mean_y + 1e-4) / (means + 1e-4) * (2 * covariance + 9e-4) / (squares - means + 9e-4)
    return 0.84 * (1 - ssim.mean()) + 0.16 * F.l1_loss(sr, hr)


def trained(network: ESPCN, planes: Sequence[Tensor], loss: Loss, recipe: Recipe) -> tuple[ESPCN, float]:
    """Trains a network in place on planes [H, W] uint8; returns it, and the CPU seconds."""
    started = time.process_time()
    examples = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.Adam(network.requires_grad_().parameters(), recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    edge = SCALE * network.margin
    for _ in range(recipe.steps):
        hr = _batch(planes, SCALE * CROP + 2 * edge, examples)
        difference = loss(network(_codes(bicubic(hr, SCALE))), hr[..., edge:-edge, edge:-edge])
        optimizer.zero_grad()
        difference.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network.requires_grad_(requires_grad=False), time.process_time() - started


def _batch(planes: Sequence[Tensor], side: int, examples: torch.Generator) -> Tensor:
    """[BATCH, 1, side, side], random crops in random orientations."""

    def whole(limit: int) -> int:
        return int(torch.randint(limit, (1,), generator=examples))

    crops = []
    for _ in range(BATCH):
        plane = planes[whole(len(planes))]
        top, left = (whole(length - side + 1) for length in plane.shape)
        crops.append(torch.rot90(plane[top : top + side, left : left + side], whole(4))[None])
    return torch.stack(crops) / 255


@torch.no_grad()
def _scores(network: ESPCN, planes: Sequence[Tensor], *, with_vmaf: bool = False) -> dict[str, float]:
    """Means over the planes [H, W] uint8, sides multiples of the scale."""
    scores: dict[str, list[float]] = {"psnr_y": [], "ssim_y": []}
    for plane in planes:
        hr = plane[None, None] / 255
        lr = F.pad(_codes(bicubic(hr, SCALE)), [network.margin] * 4, mode="replicate")
        sr = _codes(network(lr))
        gray = [image[0].expand(3, -1, -1) for image in (sr, hr)]
        scores["psnr_y"].append(luma_psnr(*gray, shave=SCALE))
        scores["ssim_y"].append(luma_ssim(*gray, shave=SCALE))
        if with_vmaf:
            one, other = ((image[0, 0] * 255).round().byte().numpy() for image in (sr, hr))
            for name, value in vmaf_of(one, other, _ffmpeg()).items():
                scores.setdefault(name, []).append(value)
    return {name: round(fmean(values), 4) for name, values in scores.items()}


@cache
def _ffmpeg() -> Ffmpeg:
    return find_ffmpeg(filters=["libvmaf"])


def _frames(clips: Sequence[Path]) -> list[Tensor]:
    """Luma of every 6th frame."""
    return [
        torch.from_numpy(frame.planes[0].copy())
        for clip in clips
        for index, frame in enumerate(decode_frames(probe(clip), log=ReadLog(), clock=Clock("decode")))
        if index % FRAMES_APART == 0
    ]


def _lumas(folder: Path, most: int | None = None) -> list[Tensor]:
    """Luma of the first pictures in a folder."""
    lumas = []
    for path in find_pictures(folder)[:most]:
        codes = read_rgb(path)
        height, width = (side // SCALE * SCALE for side in codes.shape[:2])
        image = torch.from_numpy(codes[:height, :width].copy()).permute(2, 0, 1)[None] / 255
        lumas.append((luma(image)[0, 0] * 255).round().to(torch.uint8))
    return lumas


def _codes(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * 255).round() / 255


if __name__ == "__main__":
    main()

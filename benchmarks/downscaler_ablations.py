"""What each part of the learned downscaler gains in the codec proxy: trainings that lack one, on the same examples.

    python benchmarks/downscaler_ablations.py --photos PHOTOS --validation OTHER_PHOTOS --work FOLDER \
        [--clips MOVIES] [--only NAME ...] [-o benchmarks/results/downscaler_ablations.jsonl]

All start from the filter, for `adaptive-x2` with the guide of its small downscaler. A row has the gain over the filter
at equal bits of the proxy, on held-out pictures, with the transform grid at a place that no training prefers, in dB of
the weighted measures. The proxy is not an encoder: docs/experiments.md has what real ones gave.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from machine import origin
from torch import Tensor

from vidscale.models.cards import find_pair_dir
from vidscale.models.networks.back_projection import BackProjection
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.models.pair_files import load_pair_dir
from vidscale.system.progress import Progress
from vidscale.training.codec_proxy import X265, Encoder
from vidscale.training.downscaler import DownscalerTask, Weights
from vidscale.training.loop import LoopSettings, train
from vidscale.training.material import Material, Sets, complete_sets
from vidscale.training.triple_maker import TripleMaker
from vidscale.training.triples import Batch, Triples, TripleSettings

_PAIR = "adaptive-x2"
_GRID_OF_VALIDATION = (3, 5)

Grid = tuple[int, int]


class _WithoutProjection(BackProjection):
    """Knows the upscaler's error, not its gradient."""

    def back_project(self, hr: Tensor, lr: Tensor, strength: Tensor, peak: int = 255) -> tuple[Tensor, Tensor]:
        error, projected = super().back_project(hr, lr, strength, peak)
        return error, torch.zeros_like(projected)


class _WithoutError(BackProjection):
    """Knows the gradient, not the error that it comes from."""

    def back_project(self, hr: Tensor, lr: Tensor, strength: Tensor, peak: int = 255) -> tuple[Tensor, Tensor]:
        error, projected = super().back_project(hr, lr, strength, peak)
        return torch.zeros_like(error), projected


class _Blind(BackProjection):
    """Knows the small picture alone: no upscaler runs."""

    def back_project(self, hr: Tensor, lr: Tensor, strength: Tensor, peak: int = 255) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(hr), torch.zeros_like(lr)


class _Linear(BackProjection):
    """Only the filter of gradient and detail: the convolutions stay at zero."""

    def __init__(self, guide: CompactUpscaler) -> None:
        super().__init__(guide)
        self.convs.requires_grad_(requires_grad=False)
        self.by_strength.requires_grad_(requires_grad=False)


class _Twice(BackProjection):
    """Two steps with the same weights."""

    def forward(self, hr: Tensor, lr: Tensor, strength: Tensor, peak: int = 255) -> Tensor:
        once = super().forward(hr, lr, strength, peak)
        error, projected = self.back_project(hr, once.detach(), strength, peak)
        return self.correct(once, error, projected, strength)


class _Task(DownscalerTask):
    """Validated on a grid of its own; trained on random grids, or on one."""

    moves = True

    def _rate(self, batch: Batch, lr: Tensor, crf: Tensor, grid: Grid | None = None, encoder: Encoder = X265) -> Any:
        if grid is None:
            grid = _GRID_OF_VALIDATION
        elif not self.moves:
            grid = (0, 0)
        return super()._rate(batch, lr, crf, grid, encoder)


class _OneGrid(_Task):
    moves = False


_Make = Callable[[CompactUpscaler], BackProjection]
VARIANTS: dict[str, tuple[_Make, type[_Task]]] = {
    "all": (BackProjection, _Task),
    "without the projected error": (_WithoutProjection, _Task),
    "without the error": (_WithoutError, _Task),
    "without either": (_Blind, _Task),
    "filter of gradient and detail alone": (_Linear, _Task),
    "transform grid at one place": (BackProjection, _OneGrid),
    "two steps": (_Twice, _Task),
    "8 channels": (partial(BackProjection, width=8), _Task),
    "16 channels": (partial(BackProjection, width=16), _Task),
}


def main() -> None:
    """Trains the variants one after the other and prints a row for each; appends them to a file when asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for the material and the trainings")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--shots", type=int, default=300, help="triples to train on")
    parser.add_argument("--held-out", type=int, default=24, help="triples to validate on")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    triples, held_out = _material(options)
    loop = LoopSettings(
        steps=options.steps, batch=options.batch, learning_rate=2e-3, second_beta=0.98, ema=0.98, warmup_steps=20,
        validate_every=options.steps,
    )  # fmt: skip
    for name in options.only:
        row = _row(name, loop, triples, held_out, options.work) | {"shots": options.shots, "held_out": options.held_out}
        line = json.dumps(row | origin())
        print(line, flush=True)
        if options.output:
            with options.output.open("a") as file:
                file.write(line + "\n")


def _material(options: argparse.Namespace) -> tuple[Triples, Triples]:
    settings = TripleSettings(chunks=1, shots=options.shots)
    held_out = TripleSettings(chunks=1, shots=options.held_out, clip_share=0, seed=1)
    material = Material(
        photos=options.photos, validation=options.validation, clips=options.clips, sets=options.work / "material"
    )
    sets = Sets(settings, held_out, ("triples", "held-out-triples"))
    found = complete_sets(sets, material, TripleMaker, Progress())
    first, second = map(Triples, found)
    return first, second


def _row(name: str, loop: LoopSettings, triples: Triples, held_out: Triples, work: Path) -> dict[str, Any]:
    pair = load_pair_dir(find_pair_dir(_PAIR))
    upscaler, small = pair.upscaler, pair.quick_downscaler
    if not isinstance(upscaler, CompactUpscaler) or small is None:
        raise TypeError(f"{_PAIR} is another pair than this was written for")
    make, kind = VARIANTS[name]
    torch.manual_seed(loop.seed)
    network = make(small.guide)
    task = kind(network, upscaler, loop, triples, held_out, Weights())
    trained = train(task, loop, work / name.replace(" ", "-"))
    own = sum(weight.numel() for key, weight in network.named_parameters() if not key.startswith("guide."))
    return {
        "benchmark": "downscaler ablations",
        "variant": name,
        "parameters": own,
        "steps": trained.steps,
        "batch": loop.batch,
        "gain_db": round(trained.best_db, 4),
        "seconds": round(trained.seconds, 1),
    }


if __name__ == "__main__":
    main()

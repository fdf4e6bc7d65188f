"""CPU time of the downscaler by back-projection, for a 1080p frame on one core, compared with its guide's forward pass.

    python benchmarks/bench_back_projection.py [--guide adaptive-x2 ...] [-o benchmarks/results/back_projection.jsonl]

One row for every guide and precision: milliseconds of the guide as the upscaler runs it (``upscale``), and of each pass
of the downscaler: ``errors`` (the guide with signs, and the subtraction), ``project`` (the way back), ``correct`` (the
network and the filter). ``ratio`` is their sum over ``upscale``. All run in alternation, so that other load affects
them alike; medians of the thread's CPU time. A pair stands for its downscaler; one without a network for its upscaler
as a guide, with random weights in ``correct``, which costs the same.

``NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx2,+fma,...`` plays a processor with AVX2 alone.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from machine import origin
from skimage import data

from vidscale.media.encoders import Effort
from vidscale.models.back_projection import back_projection_of
from vidscale.models.cards import find_pair_dir
from vidscale.models.networks.back_projection import BackProjection
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.models.pair_files import load_pair_dir
from vidscale.models.precision import quickest
from vidscale.triton_kernels.back_projection_network import BackProjection as Projection
from vidscale.triton_kernels.back_projection_network import Precision
from vidscale.triton_kernels.chain import ChainRunner
from vidscale.triton_kernels.polyphase import polyphase_resample

_PAIRS = ("adaptive-x2", "adaptive-x1.5", "adaptive-x3", "adaptive-x4", "restore-x1")
_SIZE, _STRENGTH = (1080, 1920), 28.0
_CENTRED = (Fraction(1, 2), Fraction(1, 2))


def main() -> None:
    """Runs the benchmark and prints its rows; appends them to a file when asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--guide", nargs="+", default=_PAIRS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    for name in options.guide:
        for effort, precision, projection in _cases(name):
            row = _row(name, projection, precision, options.rounds) | {"effort": effort}
            line = json.dumps(row | origin())
            print(line, flush=True)
            if options.output:
                with options.output.open("a") as file:
                    file.write(line + "\n")


def _cases(name: str) -> Iterator[tuple[Effort, Precision, Projection]]:
    """The downscalers of a pair, or one for its upscaler, in each precision."""
    pair = load_pair_dir(find_pair_dir(name))
    network = pair.downscaler if isinstance(pair.downscaler, BackProjection) else _guided_by(name, pair.upscaler)
    networks: dict[Effort, BackProjection] = {"patient": network}
    if pair.quick_downscaler:
        networks["normal"] = pair.quick_downscaler
    for effort, network in networks.items():
        projection = back_projection_of({key: value.numpy() for key, value in network.state_dict().items()}, _STRENGTH)
        for precision in projection.precisions:
            yield effort, precision, projection


def _guided_by(name: str, guide: torch.nn.Module) -> BackProjection:
    if not isinstance(guide, CompactUpscaler):
        raise TypeError(f"{name} is no compact upscaler")
    torch.manual_seed(0)
    network = BackProjection(guide)
    for weight in (network.convs[-1].get_parameter("weight"), network.filter.weight):
        torch.nn.init.normal_(weight, std=0.03)
    return network


def _row(name: str, projection: Projection, precision: Precision, rounds: int) -> dict[str, Any]:
    from vidscale.triton_kernels._lanes import LANES

    passes = _passes(projection, precision)
    times: dict[str, list[float]] = {step: [] for step in passes}
    for _ in range(rounds + 1):  # the first compiles
        for step, run in passes.items():
            start = time.thread_time()
            run()
            times[step].append(1000 * (time.thread_time() - start))
    found = {step: round(median(each[1:]), 2) for step, each in times.items()}
    whole = sum(found[step] for step in ("errors", "project", "correct"))
    return {
        "guide": name,
        "size": "x".join(map(str, _SIZE[::-1])),
        "precision": precision,
        "upscale_precision": quickest(projection.guide),
        "lanes": LANES,
        "ms": found,
        "ratio": round(whole / found["upscale"], 2),
    }


def _passes(projection: Projection, precision: Precision) -> dict[str, Callable[[], object]]:
    from vidscale.triton_kernels.back_projection_cpu import find_errors, project
    from vidscale.triton_kernels.back_projection_cpu_correct import correct
    from vidscale.triton_kernels.back_projection_packing import packed_projection, workspace

    guide, scale = projection.guide, projection.scale
    photograph = np.asarray(data.astronaut()[..., 1])  # type: ignore[no-untyped-call]
    height = _SIZE[0]
    step = Fraction(photograph.shape[0], height)
    large = polyphase_resample(
        photograph, step=step, siting=_CENTRED, size=(height, height), kind="lanczos", bit_depth=8
    )
    hr = np.ascontiguousarray(np.tile(large, 2)[: _SIZE[0], : _SIZE[1]])
    size = int(-(-_SIZE[0] // scale)), int(-(-_SIZE[1] // scale))
    lr = polyphase_resample(hr, step=scale, siting=_CENTRED, size=size, kind="lanczos", bit_depth=8)
    lr = np.pad(lr, [(0, -side % guide.small) for side in size], mode="edge")
    packed = packed_projection(projection, 8, precision)
    stores, planes = workspace(packed, *(side // guide.small for side in lr.shape))
    upscale, out = ChainRunner(guide, 8, quickest(guide)), np.empty_like(lr)
    return {
        "upscale": lambda: upscale(lr, *_SIZE),
        "errors": lambda: find_errors(lr, hr, packed.forward, stores, planes, packed.codes),
        "project": lambda: project(packed.backward, stores, planes, guide.small),
        "correct": lambda: correct(lr, packed.correction, stores, planes, packed.codes, packed.mixing, out),
    }


if __name__ == "__main__":
    main()

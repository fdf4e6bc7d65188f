"""Time of luma networks on one core, in int8 and float32, with this processor's instructions and with AVX2 only.

    python benchmarks/bench_chain.py [--pairs adaptive-x2] [--rounds 5] [-o benchmarks/results/chain.jsonl]

Processes with and without AVX-512 and VNNI take turns, so that a drift in machine speed affects all of them. Each
restores noise to 1080p, 8 bits. A row per network, instructions and precision: ``ms``, the least time of a picture on
the processor, which other work on the machine disturbs least; ``median_ms``; ``gmul_s``, 10^9 multiplications of the
network per second; ``to_float32``, how much faster than float32 with the same instructions.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from machine import AVX2_ONLY, origin

from vidscale.models.cards import find_pair_dir
from vidscale.models.chains import chain_of
from vidscale.models.weight_files import part, read_weights
from vidscale.triton_kernels.chain import Chain, ChainRunner, Precision

_HEIGHT, _WIDTH = 1080, 1920
_PICTURES = 12  # per process
_INSTRUCTIONS: dict[str, dict[str, str]] = {"the processor's": {}, "AVX2": AVX2_ONLY}

Key = tuple[str, str, str]  # pair, instructions, precision


def main() -> None:
    """Runs the benchmark and prints its rows; appends them to a file when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", default="adaptive-x2,adaptive-x1.5,restore-x1,adaptive-quality-x2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)  # what each process does
    options = parser.parse_args()
    pairs = options.pairs.split(",")
    if options.once:
        for pair in pairs:
            chain = _chain(pair)
            for precision in chain.precisions:
                print(json.dumps([pair, precision, _milliseconds(chain, precision)]))
        return
    times: defaultdict[Key, list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for name, variables in _INSTRUCTIONS.items():
            command = [sys.executable, __file__, "--once", "--pairs", options.pairs]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | variables).stdout
            for pair, precision, found in map(json.loads, said.splitlines()):
                times[pair, name, precision] += found
    lines = [json.dumps({**row, **origin()}) for row in _rows(times)]
    print("\n".join(lines))
    if options.output:
        with options.output.open("a") as file:
            file.write("\n".join(lines) + "\n")


def _chain(pair: str) -> Chain:
    card, weights = read_weights(find_pair_dir(pair))
    return chain_of(str(card.upscaler["network"]), part(weights, "upscaler."), 28)


def _milliseconds(chain: Chain, precision: Precision) -> list[float]:
    run = ChainRunner(chain, 8, precision)
    size = [-(-side // chain.large) * chain.small for side in (_HEIGHT, _WIDTH)]
    plane = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    run(plane, _HEIGHT, _WIDTH)  # compiles
    times = []
    for _ in range(_PICTURES):
        start = time.thread_time()
        run(plane, _HEIGHT, _WIDTH)
        times.append(1000 * (time.thread_time() - start))
    return times


def _rows(times: dict[Key, list[float]]) -> list[dict[str, object]]:
    return [
        {
            "benchmark": "luma network",
            "pair": pair,
            "instructions": instructions,
            "precision": precision,
            "ms": round(min(found), 2),
            "median_ms": round(statistics.median(found), 2),
            "gmul_s": round(_chain(pair).multiplications * _HEIGHT * _WIDTH / min(found) / 1e6, 1),
            "to_float32": round(min(times[pair, instructions, "float32"]) / min(found), 2),
        }
        for (pair, instructions, precision), found in times.items()
    ]


if __name__ == "__main__":
    main()

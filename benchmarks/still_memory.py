"""Peak memory of networks on the largest tile, which is what pictures of any size need beside their own samples.

    python benchmarks/still_memory.py -o benchmarks/results/still_memory.jsonl

Each measurement runs in a process of its own, on the CPU.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from machine import origin

if TYPE_CHECKING:
    from vidscale.models.networks.tiling import TileRule

_CASES = [("car-x2", "down"), ("car-x4", "down"), ("edsr-x2", "up"), ("edsr-x4", "up")]


def main() -> None:
    """Appends a row per pair and direction."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--case", nargs=2, metavar=("PAIR", "down|up"), help="measure in this process, and print it")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(_measured(*options.case)))
        return
    with options.output.open("a") as output:
        for case in _CASES:
            run = subprocess.run([sys.executable, __file__, "--case", *case], check=True, stdout=subprocess.PIPE)
            output.write(json.dumps(json.loads(run.stdout) | origin()) + "\n")
            output.flush()


def _measured(name: str, way: str) -> dict[str, object]:
    import torch

    from vidscale.images.scaling import RgbScaler, find_scaler
    from vidscale.models.networks.error_fed import ErrorFedDownscaler

    torch.set_num_threads(1)
    scaler = find_scaler(name, None, "cpu")
    assert isinstance(scaler, RgbScaler)
    pair, before = scaler.pair, _peak_mb()
    if way == "down":
        assert isinstance(pair.downscaler, ErrorFedDownscaler), f"{name} downscales with a filter"
        side = _side(pair.downscaler.tile_rule)
        pair.downscaler.downscale(torch.rand(1, 3, side, side), pair.upscaler)
    else:
        side = _side(pair.upscaler.tile_rule)
        pair.upscaler.upscale(torch.rand(1, 3, side, side))
    about = {"benchmark": "still memory", "pair": name, "way": way, "tile": side}
    return about | {"before_mb": before, "peak_mb": _peak_mb()}


def _side(rule: "TileRule") -> int:
    return rule.tile + 2 * rule.margin


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()

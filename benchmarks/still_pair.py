"""Makes a pair from a training of `train_stills.py`.

    python benchmarks/still_pair.py RUN/car-x2-0 car-x2 -o FOLDER --data TEXT --training TEXT [--refinements 4]

ESPCN and EDSR get the bicubic filter that made their training pictures. Networks in RGB are stored as float16.
"""

import argparse
import json
import sys
from fractions import Fraction
from pathlib import Path

from safetensors.torch import load_file

from vidscale.models.fixed_pair import FixedPair
from vidscale.models.networks.edsr import EDSR
from vidscale.models.networks.error_fed import ErrorFedDownscaler
from vidscale.models.networks.espcn import ESPCN
from vidscale.models.pair_files import Downscaler, write_pair_dir
from vidscale.training.timed import WEIGHTS

LICENCE = "Apache-2.0"


def main() -> None:
    """Writes the pair's folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the training")
    parser.add_argument("name", help="name of the pair")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--data", required=True, help="training data, for the card")
    parser.add_argument("--training", required=True, help="training command, for the card")
    parser.add_argument("--repeats", type=int, help="of the correction, instead of those it was trained with")
    parser.add_argument("--refinements", type=int, help="of the downscaler, instead of those it was trained with")
    options = parser.parse_args()
    state = load_file(options.run / WEIGHTS)
    kind = json.loads((options.run / "result.json").read_text())["recipe"]["kind"]
    parts = {
        half: {key.removeprefix(f"{half}."): value for key, value in state.items() if key.startswith(f"{half}.")}
        for half in ("downscaler", "upscaler")
    }
    upscaler = ESPCN.from_state_dict(parts["upscaler"]) if kind == "espcn" else EDSR.from_state_dict(parts["upscaler"])
    downscaler: Downscaler = FixedPair("bicubic", Fraction(upscaler.scale))
    if kind == "car":
        downscaler = ErrorFedDownscaler.from_state_dict(parts["downscaler"]).half()
        if options.repeats is not None:
            downscaler.repeats.fill_(options.repeats)
        if options.refinements is not None:
            downscaler.refinements.fill_(options.refinements)
    if isinstance(upscaler, EDSR):
        upscaler.half()
    card = write_pair_dir(
        options.output,
        options.name,
        downscaler,
        upscaler,
        licence=LICENCE,
        data=options.data,
        training=options.training,
        overwrite=True,
    )
    sys.stdout.write(card.to_json())


if __name__ == "__main__":
    main()

"""The progressive upscaler by 8 against interpolation and against a single network by 8 of equal size.

    python benchmarks/train_progressive.py PHOTOS VALIDATION -o FOLDER [--rows FILE]

Stages and chain are trained with the recipe ``progressive_x8``, and once more with the original stage
design. The single network (``one_step_x8``) has about as many parameters as the three stages and sees as many
examples. Interrupted runs resume; finished ones are skipped. The result is the mean luma PSNR on centre crops of
held-out photographs, with 8-bit small pictures downscaled by Lanczos and no codec.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from command import vidscale
from machine import origin

_RECIPES = Path(__file__).parent.parent / "pipelines"


@dataclass(frozen=True, slots=True)
class Row:
    """A method to upscale by 8.

    Attributes:
        way: in words.
        parameters: of the network, 0 for an interpolation.
        psnr_y: dB.
        minutes: of training.
    """

    way: str
    parameters: int
    psnr_y: float
    minutes: float


def main() -> None:
    """Runs the remaining trainings, prints the table, and appends its rows to a file if given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("validation", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--rows", type=Path, help="append results as JSON lines")
    options = parser.parse_args()
    crops = options.output / "crops.npy"
    if not crops.exists():
        vidscale("train", "pack", options.photos, "-o", crops, "--count", 2000)
    rows = _rows(options.output, crops, options.validation)
    print("| way | parameters | PSNR-Y, dB | minutes of training |")
    print("| --- | ---: | ---: | ---: |")
    for row in rows:
        print(f"| {row.way} | {row.parameters or ''} | {row.psnr_y:.2f} | {row.minutes:.1f} |")
    if options.rows:
        with options.rows.open("a") as file:
            file.writelines(json.dumps({"benchmark": "step by step"} | asdict(row) | origin()) + "\n" for row in rows)


def _rows(folder: Path, crops: Path, validation: Path) -> list[Row]:
    words = ["train", "progressive", crops, "--validation", validation, "--json"]
    steps, one_step = _RECIPES / "progressive_x8.toml", _RECIPES / "one_step_x8.toml"
    chain = _records(vidscale(*words, "--recipe", steps, "-o", folder / "chain"))
    original = _records(vidscale(*words, "--recipe", steps, "--set", "kind=original", "-o", folder / "original"))
    one = _records(vidscale(*words, "--recipe", one_step, "-o", folder / "one"))
    rows = [
        Row("bilinear", 0, chain["chained"]["bilinear_db"], 0.0),
        Row("bicubic", 0, chain["chained"]["bicubic_db"], 0.0),
        Row("one step", _parameters(folder / "one"), one["chained"]["chained_db"], one["stage-1"]["seconds"] / 60),
    ]
    for name, part, records in (("three original steps", "original", original), ("three steps", "chain", chain)):
        apart = sum(records[f"stage-{n}"]["seconds"] for n in (1, 2, 3)) / 60
        parameters, figures = _parameters(folder / part), records["chained"]
        rows.append(Row(f"{name}, chained", parameters, figures["chained_db"], apart))
        whole = apart + records["chain"]["seconds"] / 60
        rows.append(Row(f"{name}, chained and fine-tuned", parameters, figures["fine_tuned_db"], whole))
    return rows


def _records(output: str) -> dict[str, dict[str, float]]:
    """Output of a training: its parts by folder name, and ``chained``."""
    records = [json.loads(line) for line in output.splitlines()]
    return {Path(record["folder"]).name if "folder" in record else record["event"]: record for record in records}


def _parameters(folder: Path) -> int:
    return int(json.loads((folder / "pair" / "card.json").read_text())["parameters"])


if __name__ == "__main__":
    main()

"""Enlarging in steps against one step: by 4 and by 8, networks that are applied two or three times or once.

    python benchmarks/still_steps.py PICTURES -o benchmarks/results/still_steps.jsonl [--one-step FOLDER]

As `vidscale images bench` measures: pictures cropped to multiples of 8, small and restored pictures (and those between
two steps) rounded to 8 bits, scale samples shaved off. Networks get the small picture that they were trained on.
FOLDER is the pair of a training of pipelines/one_step_x8.toml. A row per method, with means over the pictures.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from pathlib import Path
from statistics import fmean
from typing import Any

from machine import origin

from vidscale.image_metrics import luma_psnr, luma_ssim
from vidscale.images.folder import find_pictures
from vidscale.images.picture import Picture, decode_picture
from vidscale.images.scaling import Scaler, find_scaler

_MULTIPLE = 8


@dataclass(frozen=True, slots=True)
class Method:
    """Pairs whose upscalers are applied in turn, and the filter that makes the small picture.

    Attributes:
        name: in the table.
        steps: names of pairs, or the folder of one.
        small: "bicubic" or "lanczos".
    """

    name: str
    steps: tuple[str, ...]
    small: str = "bicubic"


METHODS = (
    Method("bicubic, once", ("bicubic-x4",)),
    Method("espcn-x2, twice", ("espcn-x2",) * 2),
    Method("espcn-x4, once", ("espcn-x4",)),
    Method("edsr-x2, twice", ("edsr-x2",) * 2),
    Method("edsr-x4, once", ("edsr-x4",)),
    Method("bicubic, once", ("bicubic-x8",)),
    Method("espcn-x2, three times", ("espcn-x2",) * 3),
    Method("espcn-x4, then espcn-x2", ("espcn-x4", "espcn-x2")),
    Method("edsr-x2, three times", ("edsr-x2",) * 3),
    Method("edsr-x4, then edsr-x2", ("edsr-x4", "edsr-x2")),
    Method("Lanczos, once", ("lanczos-x8",), "lanczos"),
    Method("progressive-x8: three steps trained together", ("progressive-x8",), "lanczos"),
)


def main() -> None:
    """Appends the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--one-step", type=Path, metavar="FOLDER", help="a pair that enlarges by 8 in one step")
    options = parser.parse_args()
    methods = list(METHODS)
    if options.one_step:
        methods.append(Method("one network of that size, once", (str(options.one_step),), "lanczos"))
    pictures = [_cropped(decode_picture(item.path.read_bytes())) for item in find_pictures([options.pictures])]
    with options.output.open("a") as output:
        for method in methods:
            output.write(json.dumps(_row(method, pictures) | origin()) + "\n")
            output.flush()


def _row(method: Method, pictures: Sequence[Picture]) -> dict[str, Any]:
    steps = [find_scaler(name, None, "cpu") for name in method.steps]
    scale = int(prod(step.scale for step in steps))
    down = find_scaler(method.small, Fraction(scale), "cpu")
    scores = [_scores(picture, down, steps, scale) for picture in pictures]
    psnr_y, ssim_y = (round(fmean(values), 4) for values in zip(*scores, strict=True))
    about = {"benchmark": "still steps", "scale": scale, "method": method.name, "small": method.small}
    return about | {"steps": len(steps), "pictures": len(pictures), "psnr_y": psnr_y, "ssim_y": ssim_y}


def _scores(picture: Picture, down: Scaler, steps: Sequence[Scaler], scale: int) -> tuple[float, float]:
    planes = down.downscale(picture.planes)
    for step in steps:
        height, width = (int(side * step.scale) for side in planes[0].shape)
        planes = step.upscale(planes, height, width)
    sr, hr = Picture(tuple(planes)).rgb(), picture.rgb()
    return luma_psnr(sr, hr, shave=scale), luma_ssim(sr, hr, shave=scale)


def _cropped(picture: Picture) -> Picture:
    height, width = (side // _MULTIPLE * _MULTIPLE for side in (picture.height, picture.width))
    return Picture(tuple(plane[:height, :width].copy() for plane in picture.planes))


if __name__ == "__main__":
    main()

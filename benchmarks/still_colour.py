"""YCbCr read with a wrong matrix or range: how far the colours and the luma are off.

    python benchmarks/still_colour.py PICTURES -o benchmarks/results/still_colour.jsonl

RGB pictures are converted to 8-bit YCbCr and back, written and read with a matrix and a range each; the same by ffmpeg
with zscale. Then `espcn-x2` on R, G and B against luma alone. A row per case, with means over the pictures: PSNR of
RGB, of luma as papers measure, and of Cb and Cr (BT.601, full range), in dB.
"""

import argparse
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf, log10
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from machine import origin

from vidscale.image_metrics import luma_psnr
from vidscale.images.folder import find_pictures
from vidscale.images.picture import Picture, decode_picture
from vidscale.images.scaling import find_scaler
from vidscale.media.ffmpeg import Ffmpeg, find_ffmpeg
from vidscale.media.frames import Color, PixelFormat, Plane, YuvImage
from vidscale.models.rgb import rgb_to_yuv, yuv_to_rgb

Codes = npt.NDArray[np.uint8]

_ZSCALE = {"smpte170m": "170m", "bt709": "709", "tv": "limited", "pc": "full"}
_WORDS = {"smpte170m": "BT.601", "bt709": "BT.709", "tv": "limited", "pc": "full"}


@dataclass(frozen=True, slots=True)
class Coding:
    """Matrix and range of YCbCr, by ffmpeg's names."""

    matrix: Literal["smpte170m", "bt709"]
    color_range: Literal["tv", "pc"]

    @property
    def words(self) -> str:
        return f"{_WORDS[self.matrix]}, {_WORDS[self.color_range]}"

    @property
    def color(self) -> Color:
        return Color(matrix=self.matrix, color_range=self.color_range)


SD, HD = Coding("smpte170m", "tv"), Coding("bt709", "tv")
SD_FULL, HD_FULL = Coding("smpte170m", "pc"), Coding("bt709", "pc")
CASES = [
    *((SD, SD), (SD_FULL, SD_FULL), (HD, HD)),
    *((SD, HD), (HD, SD), (SD_FULL, HD_FULL)),
    *((SD, SD_FULL), (SD_FULL, SD), (SD, HD_FULL), (HD_FULL, SD)),
]


def main() -> None:
    """Appends the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    pictures = [_rgb_codes(decode_picture(item.path.read_bytes())) for item in find_pictures([options.pictures])]
    ffmpeg = find_ffmpeg(filters=["zscale"])
    with options.output.open("a") as output:
        for row in (*_conversions(pictures, ffmpeg), *_networks(pictures)):
            output.write(json.dumps(row | {"pictures": len(pictures)} | origin(ffmpeg)) + "\n")


def _conversions(pictures: Sequence[Codes], ffmpeg: Ffmpeg) -> Iterator[dict[str, Any]]:
    for written, read in CASES:
        ours = [(through(picture, written, read), picture) for picture in pictures]
        theirs = [(through_zscale(picture, written, read, ffmpeg), picture) for picture in pictures]
        about = {"benchmark": "still colour", "written": written.words, "read": read.words}
        yield about | scores(ours) | {f"zscale_{name}": value for name, value in scores(theirs).items()}


def through(rgb: Codes, written: Coding, read: Coding) -> Codes:
    """[3, H, W] to 8-bit YCbCr 4:4:4 and back."""
    yuv444, height = PixelFormat("444", 8), rgb.shape[1]
    image = torch.from_numpy(rgb)[None] / 255
    planes = rgb_to_yuv(image, yuv444, written.color, matrix_height=height)
    again = yuv_to_rgb(YuvImage(tuple(planes), yuv444, color=read.color), matrix_height=height)[0]
    return (again.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def through_zscale(rgb: Codes, written: Coding, read: Coding, ffmpeg: Ffmpeg) -> Codes:
    """The same by ffmpeg."""
    _, height, width = rgb.shape
    there, back = (f"{_ZSCALE[coding.matrix]}:range{{}}={_ZSCALE[coding.color_range]}" for coding in (written, read))
    graph = (
        f"format=gbrp,zscale=matrixin=gbr:rangein=full:matrix={there.format('')},format=yuv444p,"
        f"zscale=matrixin={back.format('in')}:matrix=gbr:range=full,format=gbrp"
    )
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    command = [ffmpeg.path, "-v", "error", *raw, "-s", f"{width}x{height}", "-i", "-", "-vf", graph, *raw, "-"]
    pixels = np.ascontiguousarray(np.moveaxis(rgb, 0, 2)).tobytes()
    result = subprocess.run(command, input=pixels, capture_output=True, check=True).stdout
    return np.ascontiguousarray(np.moveaxis(np.frombuffer(result, np.uint8).reshape(height, width, 3), 2, 0))


def _networks(pictures: Sequence[Codes]) -> Iterator[dict[str, Any]]:
    """`espcn-x2` on bicubic small pictures: R, G and B, or luma alone with bicubic Cb and Cr."""
    network, bicubic = (find_scaler(name, Fraction(2), "cpu") for name in ("espcn-x2", "bicubic"))
    cropped = [
        np.ascontiguousarray(picture[:, : picture.shape[1] // 8 * 8, : picture.shape[2] // 8 * 8])
        for picture in pictures
    ]
    small = [_stacked(bicubic.downscale(list(picture))) for picture in cropped]

    def by_luma(rgb: Codes, coding: Coding, height: int, width: int) -> Codes:
        yuv444 = PixelFormat("444", 8)
        y, *chroma = rgb_to_yuv(torch.from_numpy(rgb)[None] / 255, yuv444, coding.color, matrix_height=height)
        planes = network.upscale([y], height, width) + bicubic.upscale(chroma, height, width)
        image = yuv_to_rgb(YuvImage(tuple(planes), yuv444, color=coding.color), matrix_height=height)[0]
        return (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()

    restored = {
        "R, G and B": [
            _stacked(network.upscale(list(lr), *hr.shape[1:])) for lr, hr in zip(small, cropped, strict=True)
        ]
    }
    for coding in (SD_FULL, SD):
        restored[f"Y ({coding.words}), Cb and Cr bicubic"] = [
            by_luma(lr, coding, *hr.shape[1:]) for lr, hr in zip(small, cropped, strict=True)
        ]
    for name, images in restored.items():
        yield {"benchmark": "still colour network", "upscaled": name} | scores(
            list(zip(images, cropped, strict=True)), shave=2
        )


def scores(pairs: Sequence[tuple[Codes, Codes]], shave: int = 0) -> dict[str, float]:
    """Mean PSNRs of pictures against others, [3, H, W] RGB each."""
    found = []
    for sr, hr in pairs:
        inside = (slice(None), *(slice(shave, side - shave) for side in hr.shape[1:]))
        one, other = (codes[inside].astype(np.float64) / 255 for codes in (sr, hr))
        chroma = _chroma(one) - _chroma(other)
        found.append((_psnr(one - other), luma_psnr(one, other, shave=0), _psnr(chroma)))
    names = ("psnr_rgb", "psnr_y", "psnr_chroma")
    return {name: round(fmean(values), 3) for name, values in zip(names, zip(*found, strict=True), strict=True)}


def _chroma(rgb: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    luma = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    return np.stack([(rgb[2] - luma) / 1.772, (rgb[0] - luma) / 1.402])


def _psnr(difference: npt.NDArray[np.float64]) -> float:
    mse = float(np.square(difference).mean())
    return -10 * log10(mse) if mse else inf


def _rgb_codes(picture: Picture) -> Codes:
    return _stacked(picture.planes)


def _stacked(planes: Sequence[Plane]) -> Codes:
    return np.stack(planes).astype(np.uint8)


if __name__ == "__main__":
    main()

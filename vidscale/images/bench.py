"""How well pairs of scalers bring pictures back: the comparison that papers print.

The protocol is the papers': a picture is cropped to sides that are multiples of 8 (and of the scale's numerator), the
small picture is kept as 8-bit codes, so is the restored one, ceil(scale) samples are shaved off, PSNR and SSIM are of
luma (`vidscale.image_metrics`). Transparency is left out, 16 bits are rounded to 8.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, lcm
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidscale.errors import DecodeError
from vidscale.image_metrics import luma_psnr, luma_ssim
from vidscale.images.folder import Item, find_pictures
from vidscale.images.jobs import Failed, attempt
from vidscale.images.methods import Method
from vidscale.images.picture import Picture, decode_picture, encode_picture
from vidscale.images.scaling import Scaler
from vidscale.images.summary import Mean
from vidscale.media.frames import Plane
from vidscale.system.progress import Progress

CROP = 90  # samples a side
ORIGINAL = "Original"

_MULTIPLE = 8
_CROP_STEP = 6


@dataclass(frozen=True, slots=True)
class Score:
    """One picture restored by one method.

    Attributes:
        psnr_y: dB; inf for a perfect copy.
        ssim_y: -1 to 1; nan for a picture of fewer than 11 samples a side.
    """

    psnr_y: float
    ssim_y: float


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a picture, the same for all methods.

    Attributes:
        method: name of the method, or `ORIGINAL`.
        webp: the part as a lossless WebP file.
        width, height: samples.
    """

    method: str
    webp: bytes = field(repr=False)
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Scored:
    """One picture restored by all methods.

    Attributes:
        path: the file.
        name: what tables call it.
        width, height: of the part that was compared, before shaving.
        scores: one for each method, in the order of the methods.
        crops: of the original and of each method, where their errors are largest; empty when not asked for.
    """

    path: Path
    name: str
    width: int
    height: int
    scores: tuple[Score, ...]
    crops: tuple[Crop, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Row:
    """A method over all pictures.

    Attributes:
        method: name.
        psnr_y, ssim_y: means over the pictures, dB and -1 to 1.
    """

    method: str
    psnr_y: Mean
    ssim_y: Mean


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared.

    Attributes:
        scale: source sample spacing per small sample.
        methods: names.
        pictures: each with a score for each method.
        failures: pictures that could not be compared.
    """

    scale: Fraction
    methods: tuple[str, ...]
    pictures: tuple[Scored, ...]
    failures: tuple[Failed, ...] = ()

    @classmethod
    def of(cls, methods: Sequence[Method], results: Sequence[Scored | Failed]) -> "Comparison":
        """From the results of `run_bench` for these methods."""
        scored = tuple(result for result in results if isinstance(result, Scored))
        failed = tuple(result for result in results if isinstance(result, Failed))
        return cls(methods[0].scaler.scale, tuple(method.name for method in methods), scored, failed)

    @property
    def rows(self) -> list[Row]:
        """One for each method."""
        rows = []
        for index, method in enumerate(self.methods):
            scores = [picture.scores[index] for picture in self.pictures]
            psnr_y, ssim_y = (Mean.of(getattr(score, name) for score in scores) for name in ("psnr_y", "ssim_y"))
            rows.append(Row(method, psnr_y, ssim_y))
        return rows


def side_multiple(scale: Fraction) -> int:
    """Of what the sides are made a multiple of, by cropping."""
    return lcm(_MULTIPLE, scale.numerator)


def run_bench(
    paths: Sequence[Path], methods: Sequence[Method], *, crops: bool = False, progress: Progress | None = None
) -> Iterator[Scored | Failed]:
    """Restores pictures by every method and scores them, one picture after the other as the results are taken.

    Args:
        paths: folders and files.
        methods: of one scale.
        crops: keep a part of each picture to look at.
        progress: told about every picture.

    Raises:
        VidscaleError: no pictures.
    """
    progress = progress or Progress()
    return _results(find_pictures(paths, progress=progress), methods, crops, progress)


def _results(
    items: Sequence[Item], methods: Sequence[Method], crops: bool, progress: Progress
) -> Iterator[Scored | Failed]:
    progress.start("comparing", len(items), unit="pictures")
    for item in items:
        yield attempt(item, lambda item: _scored(item, methods, crops))
        progress.advance()


def _scored(item: Item, methods: Sequence[Method], crops: bool) -> Scored:
    scale = methods[0].scaler.scale
    hr = _as_compared(decode_picture(item.path.read_bytes()), scale)
    restored = [_restored(hr, method.scaler) for method in methods]
    shave, target = ceil(scale), hr.rgb()
    images = [picture.rgb() for picture in restored]
    scores = [Score(luma_psnr(sr, target, shave=shave), luma_ssim(sr, target, shave=shave)) for sr in images]
    parts: list[Crop] = []
    if crops:
        error = np.stack([((sr - target) ** 2).sum(0) for sr in images]).sum(0)
        window = _worst_window(error, shave)
        names = [ORIGINAL, *(method.name for method in methods)]
        parts = [_crop(name, picture, window) for name, picture in zip(names, [hr, *restored], strict=True)]
    return Scored(item.path, str(item.name), hr.width, hr.height, tuple(scores), tuple(parts))


def _as_compared(picture: Picture, scale: Fraction) -> Picture:
    """The part of the picture that the protocol compares, in 8 bits."""
    multiple = side_multiple(scale)
    height, width = (side // multiple * multiple for side in (picture.height, picture.width))
    if min(height, width) <= 2 * ceil(scale):
        raise DecodeError(f"{picture.width}x{picture.height} is too small: cropped to multiples of {multiple}")
    return _part(picture, (slice(height), slice(width)))


def _restored(hr: Picture, scaler: Scaler) -> Picture:
    return Picture(tuple(scaler.enlarge(scaler.shrink(hr.planes), hr.height, hr.width)))


def _worst_window(error: npt.NDArray[np.float32], shave: int) -> tuple[slice, slice]:
    """Rows and columns of `CROP` samples, or of all that is not shaved, in which errors are largest."""
    error = error[shave : error.shape[0] - shave, shave : error.shape[1] - shave]
    height, width = (min(CROP, side) for side in error.shape)
    sums = np.pad(error.astype(np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    totals = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    coarse = totals[::_CROP_STEP, ::_CROP_STEP]
    row, column = (int(i) * _CROP_STEP + shave for i in np.unravel_index(coarse.argmax(), coarse.shape))
    return slice(row, row + height), slice(column, column + width)


def _crop(name: str, picture: Picture, window: tuple[slice, slice]) -> Crop:
    part = _part(picture, window)
    return Crop(name, encode_picture(part, "webp"), part.width, part.height)


def _part(picture: Picture, window: tuple[slice, slice]) -> Picture:
    """Rows and columns of a picture, in 8 bits, without transparency and metadata."""

    def part(plane: Plane) -> Plane:
        inside = plane[window].copy()
        return inside if inside.dtype == np.uint8 else np.rint(inside / 257).astype(np.uint8)

    return Picture(tuple(part(plane) for plane in picture.planes))

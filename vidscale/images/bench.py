"""Benchmark of scaling methods on pictures, as in papers.

The protocol is the papers': each picture is cropped to multiples of 8 (and of the scale's numerator), the small and
the restored picture are rounded to 8 bits, ceil(scale) samples are shaved off each edge, and PSNR and SSIM are computed
on luma (`vidscale.image_metrics`). Alpha is dropped; 16-bit pictures are rounded to 8 bits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
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
from vidscale.media.regions import Region, region_of_largest_sum
from vidscale.system.progress import Progress

CROP = 90  # side in samples
ORIGINAL = "Original"

_MULTIPLE = 8
_CROP_STEP = 6


@dataclass(frozen=True, slots=True)
class PictureScore:
    """Quality of one picture restored by one method.

    Attributes:
        psnr_y: dB; inf for a perfect copy.
        ssim_y: -1 to 1; nan if a side is shorter than 11 samples.
    """

    psnr_y: float
    ssim_y: float


@dataclass(frozen=True, slots=True)
class BenchCrop:
    """A crop of a picture, at the same place for every method.

    Attributes:
        method: name of the method, or `ORIGINAL`.
        webp: the crop as a lossless WebP file.
        width, height: samples.
    """

    method: str
    webp: bytes = field(repr=False)
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of one picture for every method.

    Attributes:
        path: the file.
        name: as shown in tables.
        width, height: samples compared, before shaving.
        scores: one per method, in the order of the methods.
        crops: the original and one per method, where the errors are largest; empty unless requested.
    """

    path: Path
    name: str
    width: int
    height: int
    scores: tuple[PictureScore, ...]
    crops: tuple[BenchCrop, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class MethodMeans:
    """Mean scores of one method over all pictures.

    Attributes:
        method: name.
        psnr_y: mean, dB.
        ssim_y: mean, -1 to 1.
    """

    method: str
    psnr_y: Mean
    ssim_y: Mean


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Scores of all methods on all pictures.

    Attributes:
        scale: source sample spacing per small sample.
        methods: names.
        pictures: one per picture compared.
        failures: pictures that could not be compared.
    """

    scale: Fraction
    methods: tuple[str, ...]
    pictures: tuple[Scored, ...]
    failures: tuple[Failed, ...] = ()

    @classmethod
    def of(cls, methods: Sequence[Method], results: Sequence[Scored | Failed]) -> "BenchResult":
        """Collects the results of `run_bench`."""
        scored = tuple(result for result in results if isinstance(result, Scored))
        failed = tuple(result for result in results if isinstance(result, Failed))
        return cls(methods[0].scaler.scale, tuple(method.name for method in methods), scored, failed)

    @property
    def rows(self) -> list[MethodMeans]:
        """Means per method."""
        rows = []
        for index, method in enumerate(self.methods):
            scores = [picture.scores[index] for picture in self.pictures]
            psnr_y, ssim_y = (Mean.of(getattr(score, name) for score in scores) for name in ("psnr_y", "ssim_y"))
            rows.append(MethodMeans(method, psnr_y, ssim_y))
        return rows


def side_multiple(scale: Fraction) -> int:
    """Sides are cropped to a multiple of this."""
    return lcm(_MULTIPLE, scale.numerator)


def run_bench(
    paths: Sequence[Path], methods: Sequence[Method], *, crops: bool = False, progress: Progress | None = None
) -> Iterator[Scored | Failed]:
    """Restores each picture with every method and scores it. Lazy: one picture per result taken.

    Args:
        paths: folders and files.
        methods: all of the same scale.
        crops: also return crops to look at.
        progress: advances with every picture.

    Raises:
        VidscaleError: no pictures found.
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
    scores = [PictureScore(luma_psnr(sr, target, shave=shave), luma_ssim(sr, target, shave=shave)) for sr in images]
    parts: list[BenchCrop] = []
    if crops:
        error = np.stack([((sr - target) ** 2).sum(0) for sr in images]).sum(0)
        region = _worst_region(error, shave)
        names = [ORIGINAL, *(method.name for method in methods)]
        parts = [_crop(name, picture, region) for name, picture in zip(names, [hr, *restored], strict=True)]
    return Scored(item.path, str(item.name), hr.width, hr.height, tuple(scores), tuple(parts))


def _as_compared(picture: Picture, scale: Fraction) -> Picture:
    """The picture as the protocol compares it: cropped, 8 bit."""
    multiple = side_multiple(scale)
    height, width = (side // multiple * multiple for side in (picture.height, picture.width))
    if min(height, width) <= 2 * ceil(scale):
        raise DecodeError(f"{picture.width}x{picture.height} is too small to crop to multiples of {multiple}")
    return _part(picture, (slice(height), slice(width)))


def _restored(hr: Picture, scaler: Scaler) -> Picture:
    return Picture(tuple(scaler.upscale(scaler.downscale(hr.planes), hr.height, hr.width)))


def _worst_region(error: npt.NDArray[np.float32], shave: int) -> Region:
    """The region with the largest error: up to `CROP` samples a side, inside the shaved edges."""
    inner = error[shave : error.shape[0] - shave, shave : error.shape[1] - shave]
    found = region_of_largest_sum(inner, CROP, CROP, step=_CROP_STEP)
    return replace(found, top=found.top + shave, left=found.left + shave)


def _crop(name: str, picture: Picture, region: Region) -> BenchCrop:
    part = _part(picture, region.slices)
    return BenchCrop(name, encode_picture(part, "webp"), part.width, part.height)


def _part(picture: Picture, window: tuple[slice, slice]) -> Picture:
    """A window of the picture in 8 bits, without alpha and metadata."""

    def part(plane: Plane) -> Plane:
        inside = plane[window].copy()
        return inside if inside.dtype == np.uint8 else np.rint(inside / 257).astype(np.uint8)

    return Picture(tuple(part(plane) for plane in picture.planes))

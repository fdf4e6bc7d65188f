"""`vidscale.media.regions` against a brute-force search, and crops in every chroma format."""

from fractions import Fraction

import numpy as np
import pytest

from vidscale.media.frames import Chroma, Frame, PixelFormat
from vidscale.media.regions import Region, detail, region_of_largest_sum


@pytest.mark.parametrize("step", [1, 4, 7])
@pytest.mark.parametrize("size", [(5, 6), (30, 6), (40, 50)])
def test_region_is_the_one_of_the_largest_sum(size: tuple[int, int], step: int) -> None:
    values = np.random.default_rng(4).integers(0, 100, (30, 41)).astype(np.float32)
    height, width = min(size[0], 30), min(size[1], 41)
    sums = {
        (top, left): values[top : top + height, left : left + width].sum(dtype=np.float64)
        for top in range(0, 30 - height + 1, step)
        for left in range(0, 41 - width + 1, step)
    }
    found = region_of_largest_sum(values, *size, step=step)
    assert (found.height, found.width) == (height, width)
    assert sums[found.top, found.left] == max(sums.values())


def test_region_of_most_detail_is_where_the_noise_is() -> None:
    picture = np.full((90, 160), 90, np.uint8)
    picture[30:60, 100:140] = np.random.default_rng(3).integers(0, 256, (30, 40))
    assert region_of_largest_sum(detail(picture), 30, 40) == Region(30, 100, 30, 40)
    assert region_of_largest_sum(detail(picture), 200, 200) == Region(0, 0, 90, 160)
    assert region_of_largest_sum(detail(np.zeros((40, 40), np.uint16)), 8, 8, step=16) == Region(0, 0, 8, 8)


def test_detail_is_the_difference_to_the_left_and_upper_neighbours() -> None:
    luma = np.array([[10, 13], [9, 1023]], np.uint16)
    assert detail(luma).tolist() == [[0, 3], [1, 1014 + 1010]]


@pytest.mark.parametrize(
    ("chroma", "corner", "shape"), [("420", (4, 8), (3, 5)), ("422", (8, 8), (6, 5)), ("444", (8, 16), (6, 10))]
)
def test_crop_of_every_plane(chroma: Chroma, corner: tuple[int, int], shape: tuple[int, int]) -> None:
    pixel_format = PixelFormat(chroma, 8)
    planes = tuple(
        np.add.outer(np.arange(h), 5 * np.arange(w)).astype(np.uint8) for h, w in pixel_format.plane_shapes(20, 40)
    )
    luma, *others = Region(8, 16, 6, 10).crop(Frame(planes, pixel_format, 0, Fraction(1)))
    assert (luma.shape, luma[0, 0]) == ((6, 10), 8 + 5 * 16)
    for plane in others:
        assert (plane.shape, plane[0, 0]) == (shape, corner[0] + 5 * corner[1])


def test_crop_of_gray() -> None:
    frame = Frame((np.arange(64, dtype=np.uint8).reshape(8, 8),), PixelFormat("gray", 8), 0, Fraction(1))
    (luma,) = Region(2, 4, 2, 2).crop(frame)
    assert luma.tolist() == [[20, 21], [28, 29]]

"""Pairs of fixed filters: which filter downscales, and which one upscales."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.ndimage import correlate1d
from skimage import data

from vidscale.errors import ModelError, UsageError
from vidscale.media.frames import Color, PixelFormat, YuvImage
from vidscale.media.geometry import Geometry
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.pairs import find_pair
from vidscale.triton_kernels.polyphase import polyphase_resample
from vidscale.triton_kernels.polyphase_filters import Sharpened

LAYOUT, COLOR = PixelFormat("420", 8), Color("tv", "bt709", "bt709", "bt709", "left")
CENTRED = (Fraction(1, 2), Fraction(1, 2))


def test_sharp_sharpens_luma_alone_and_comes_back_by_bicubic():
    luma = np.ascontiguousarray(data.chelsea()[:200, :320, 1])
    planes = [luma, *(np.ascontiguousarray(data.chelsea()[:100, :160, c]) for c in (0, 2))]
    pair, lanczos, bicubic = (find_pair(name, Fraction(2)) for name in ("sharp", "lanczos", "bicubic"))
    small = pair.downscale(YuvImage(tuple(planes), LAYOUT, color=COLOR))
    settings = {"step": Fraction(2), "siting": CENTRED, "size": (100, 160), "bit_depth": 8}
    assert np.array_equal(small[0], polyphase_resample(luma, kind=Sharpened("lanczos", 0.1), **settings))
    plain = lanczos.downscale(YuvImage(tuple(planes), LAYOUT, color=COLOR))
    assert not np.array_equal(small[0], plain[0])
    assert all(map(np.array_equal, small[1:], plain[1:]))
    geometry = Geometry(320, 200, Fraction(2), 160, 100)
    back = pair.upscale(YuvImage(tuple(small), LAYOUT, color=COLOR), geometry, 0)
    assert all(map(np.array_equal, back, bicubic.upscale(YuvImage(tuple(small), LAYOUT, color=COLOR), geometry, 0)))


def test_full_size_is_softened_where_a_card_says_so():
    """1 2 1 along each axis, by scipy; chroma is unchanged, as is everything with the pair for players."""
    luma = np.ascontiguousarray(data.chelsea()[:200, :320, 1])
    planes = [luma, *(np.ascontiguousarray(data.chelsea()[:100, :160, c]) for c in (0, 2))]
    soft = FixedPair("lanczos", Fraction(1), sharpness=-0.4).downscale(YuvImage(tuple(planes), LAYOUT, color=COLOR))
    want = luma.astype(float)
    for axis in (0, 1):
        want = want - 0.4 * (want - correlate1d(want, [0.25, 0.5, 0.25], axis))
    assert np.abs(soft[0] - want).max() <= 1
    assert np.abs(luma - want).max() > 5
    assert all(map(np.array_equal, soft[1:], planes[1:]))
    image = YuvImage(tuple(planes), LAYOUT, color=COLOR)
    assert all(map(np.array_equal, find_pair("sharp", Fraction(1)).downscale(image), planes))


@pytest.mark.parametrize("suffix", ["0", "9", "-2", "two", "", "1e999999999"])
def test_scale_in_a_name_is_one_that_pairs_have(suffix):
    """The last one as a fraction would take forever to parse; names come from small files, which anybody can make."""
    with pytest.raises((ModelError, UsageError), match=f"pair 'lanczos-x{suffix}'"):
        find_pair(f"lanczos-x{suffix}", None)

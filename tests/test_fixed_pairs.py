"""Pairs of fixed filters: which filter makes small what, and which enlarges it."""

from fractions import Fraction

import numpy as np
import pytest
from skimage import data

from vidscale.errors import ModelError, UsageError
from vidscale.frames import Color, PixelFormat
from vidscale.geometry import Geometry
from vidscale.models.pairs import find_pair
from vidscale.triton_kernels.polyphase import Sharpened, polyphase_resample

LAYOUT, COLOR = PixelFormat("420", 8), Color("tv", "bt709", "bt709", "bt709", "left")
CENTRED = (Fraction(1, 2), Fraction(1, 2))


def test_sharp_sharpens_luma_alone_and_comes_back_by_bicubic():
    luma = np.ascontiguousarray(data.chelsea()[:200, :320, 1])
    planes = [luma, *(np.ascontiguousarray(data.chelsea()[:100, :160, c]) for c in (0, 2))]
    pair, lanczos, bicubic = (find_pair(name, Fraction(2)) for name in ("sharp", "lanczos", "bicubic"))
    small = pair.shrink(planes, LAYOUT, COLOR)
    settings = {"step": Fraction(2), "siting": CENTRED, "size": (100, 160), "bit_depth": 8}
    assert np.array_equal(small[0], polyphase_resample(luma, kind=Sharpened("lanczos", 0.1), **settings))
    plain = lanczos.shrink(planes, LAYOUT, COLOR)
    assert not np.array_equal(small[0], plain[0])
    assert all(map(np.array_equal, small[1:], plain[1:]))
    geometry = Geometry(320, 200, Fraction(2), 160, 100)
    back = pair.enlarge(small, LAYOUT, COLOR, geometry, 0)
    assert all(map(np.array_equal, back, bicubic.enlarge(small, LAYOUT, COLOR, geometry, 0)))


@pytest.mark.parametrize("suffix", ["0", "9", "-2", "two", "", "1e999999999"])
def test_scale_in_a_name_is_one_that_pairs_have(suffix):
    """The last would never be done as a fraction; small files name their pair, and may come from anybody."""
    with pytest.raises((ModelError, UsageError), match=f"pair 'lanczos-x{suffix}'"):
        find_pair(f"lanczos-x{suffix}", None)

"""The pairs in the package: complete, small, and better than the filters they are based on."""

from fractions import Fraction

import numpy as np
import pytest
from skimage import data

from vidscale.errors import UsageError
from vidscale.media.frames import Color, PixelFormat, YuvImage
from vidscale.media.geometry import Geometry
from vidscale.models.cards import UNKNOWN, installed, read_card
from vidscale.models.pair_files import load_pair_dir
from vidscale.models.pairs import choose_pair, find_pair, scale_named

SHIPPED = {name: folder for name, folder in installed().items() if "weights" in folder.parts}
LAYOUT, COLOR = PixelFormat("420", 8), Color("tv", "bt709", "bt709", "bt709", "left")


def test_there_are_some():
    assert "adaptive-x2" in SHIPPED


def test_encode_takes_the_learned_pair_of_its_scale_tuned_as_asked():
    assert str(choose_pair("auto", Fraction(2), "psnr")) == "adaptive"
    assert find_pair(choose_pair("auto", Fraction(2), "vmaf"), Fraction(2), "cpu").name == "adaptive-vmaf-x2"
    assert str(choose_pair("adaptive-x2", Fraction(2), "vmaf")) == "adaptive-vmaf-x2"
    assert find_pair(choose_pair("auto", Fraction(3, 2), "psnr"), Fraction(3, 2), "cpu").name == "adaptive-x1.5"
    assert str(choose_pair("adaptive-quality", Fraction(2), "vmaf")) == "adaptive-quality-vmaf"
    assert str(choose_pair("auto", Fraction(5, 4), "psnr")) == "lanczos"
    with pytest.raises(UsageError, match="at scale 1 no pair is tuned for it yet; try --pair restore"):
        choose_pair("auto", Fraction(1), "vmaf")
    assert find_pair(choose_pair("auto", Fraction(3, 2), "vmaf"), Fraction(3, 2), "cpu").name == "adaptive-vmaf-x1.5"
    with pytest.raises(UsageError, match=r"--tune vmaf: at scale 1\.25 no pair is tuned for it"):
        choose_pair("auto", Fraction(5, 4), "vmaf")
    assert str(choose_pair("restore", Fraction(1), "vmaf")) == "restore-vmaf"
    with pytest.raises(UsageError, match=r"--tune vmaf: at scale 3 no variant of 'adaptive-x3' is tuned for it"):
        choose_pair("adaptive-x3", Fraction(3), "vmaf")
    with pytest.raises(UsageError, match=r"--tune vmaf: at scale 2 no variant of 'bicubic' is tuned for it"):
        choose_pair("bicubic", Fraction(2), "vmaf")


def test_family_for_one_scale_brings_it():
    assert scale_named("restore") == scale_named("restore-vmaf-x1") == 1
    assert scale_named("progressive") == 8
    assert scale_named("adaptive") is scale_named("lanczos") is None


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_pair_is_whole_and_says_where_it_comes_from(name):
    folder = SHIPPED[name]
    card = read_card(folder)
    assert card.name == name
    assert load_pair_dir(folder).card == card
    most = 2 * 2**20 if card.upscaler["network"] == "edsr" else 1_000_000  # EDSR and CAR are for pictures
    assert sum(path.stat().st_size for path in folder.iterdir()) < most
    assert UNKNOWN not in (card.licence, card.data, card.training)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_pair_restores_what_a_filter_cannot(name):
    """A picture outside the training set, without coding: the network must at least not make it worse."""
    pair = find_pair(name, None, "cpu")
    picture = data.chelsea()[:288, :432, 1]
    planes = [np.ascontiguousarray(picture), np.full((144, 216), 128, np.uint8), np.full((144, 216), 128, np.uint8)]
    small = pair.downscale(YuvImage(tuple(planes), LAYOUT, color=COLOR))
    geometry = Geometry(432, 288, pair.scale, small[0].shape[1], small[0].shape[0])
    image = YuvImage(tuple(small), LAYOUT, color=COLOR)
    restored = pair.upscale(image, geometry, 18.0)[0]
    filtered = find_pair("lanczos", Fraction(pair.scale)).upscale(image, geometry, 18.0)[0]

    def error(plane):
        return np.mean((plane.astype(float) - picture) ** 2)

    assert error(restored) < error(filtered) if pair.scale > 1 else error(restored) < 4
    shifts = [error(np.roll(restored, shift, axis)) for axis in (0, 1) for shift in (-1, 1)]
    assert error(restored) < min(shifts)

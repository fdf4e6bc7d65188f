"""The pairs in the package: complete, small, and better than the filters they are based on."""

import json
import re
import shutil
from fractions import Fraction

import numpy as np
import pytest
from safetensors.numpy import load_file
from skimage import data
from typer.testing import CliRunner

from vidscale.cli import app
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


@pytest.mark.parametrize("name", [name for name in SHIPPED if read_card(SHIPPED[name]).downscaler.get("guide_width")])
def test_models_show_tells_the_sizes_of_each_downscaler_from_the_weights(name, tmp_path):
    record = json.loads((SHIPPED[name] / "card.json").read_text())
    halves = [half for half in ("downscaler", "quick_downscaler") if half in record]
    for half in halves:  # as in older cards
        record[half] = {key: size for key, size in record[half].items() if not key.startswith("guide_")}
    (tmp_path / "card.json").write_text(json.dumps(record))
    shutil.copy(SHIPPED[name] / "weights.safetensors", tmp_path)

    result = CliRunner().invoke(app, ["models", "show", str(tmp_path), "--json"])

    shown = json.loads(result.stdout)
    shapes = {key: weights.shape for key, weights in load_file(tmp_path / "weights.safetensors").items()}
    for half in halves:
        convolutions = [shapes[key] for key in sorted(shapes) if re.match(rf"{half}\.guide\.convs\.\d+\.weight", key)]
        assert shown[half]["guide_depth"] == len(convolutions)
        assert [shown[half][f"guide_{size}"] for size in ("width", "first")] == [convolutions[0][0], convolutions[0][2]]
        assert shown[half]["guide_small"] ** 2 == convolutions[0][1]
        assert shown[half]["guide_large"] ** 2 == convolutions[-1][0]
        assert shown[half]["guide_reach"] == shapes[f"{half}.guide.linear.weight"][2]
        assert shown[half]["width"] == shapes[f"{half}.convs.0.weight"][0]
    assert ("quick_downscaler" in halves) == (shown["quick_downscaler"] is not None)
    assert shown["downscaler"] != shown["quick_downscaler"]


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

"""Network pairs in the video pipeline: from a folder to a movie and back."""

import re
import shutil
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from skimage import data

from vidscale import api
from vidscale.errors import ModelError, UsageError
from vidscale.jobs.estimates import _duration
from vidscale.media.frames import Color, PixelFormat, YuvImage
from vidscale.media.geometry import Geometry
from vidscale.models.networks.car import ResamplerNet
from vidscale.models.networks.edsr import EDSR
from vidscale.models.pair_files import write_pair_dir
from vidscale.models.pairs import find_pair
from vidscale.system.workspace import cache_folder


def write_pair(folder, seed=0, name="car-x2"):
    """A small untrained pair; its downscaler starts as a soft filter, so that results look like pictures."""
    torch.manual_seed(seed)
    down, up = ResamplerNet(2, stem=4, body=8, trunk=8, blocks=1), EDSR(2, blocks=1, width=8)
    return write_pair_dir(folder, name, down, up)


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """A user's folder of pairs, with one pair."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    root = tmp_path / "data" / "vidscale" / "pairs"
    write_pair(root / "car-x2")
    return root


def planes_of(picture, chroma="420"):
    gray = np.ascontiguousarray(picture[..., 1])
    if chroma == "gray":
        return [gray]
    half = np.full((-(-gray.shape[0] // 2), -(-gray.shape[1] // 2)), 128, np.uint8)
    return [gray, half, half.copy()]


def test_find_pair_by_family_name_and_folder(pairs):
    for name in ("car", "car-x2", str(pairs / "car-x2")):
        pair = find_pair(name, Fraction(2), "cpu")
        assert (pair.name, pair.scale, pair.upscale_backend.device) == ("car-x2", 2, "cpu")
        assert re.fullmatch("[0-9a-f]{64}", pair.sha256)
    assert find_pair("car-x2", None, "cpu").scale == 2
    with pytest.raises(UsageError, match="made for scale 2, not for 3"):
        find_pair("car-x2", Fraction(3))
    with pytest.raises(ModelError, match=r"unknown pair 'car-x3'; choose from .*car-x2"):
        find_pair("car", Fraction(3))
    with pytest.raises(ModelError, match="other weights"):
        find_pair("car-x2", Fraction(2), sha256="0" * 64)


def test_downscaling_is_centred(pairs):
    """A symmetric picture stays symmetric: no plane is shifted by half a pixel."""
    pair = find_pair("car", Fraction(2), "cpu")
    flat = Color("pc", "bt709", chroma_location="center")
    layout = PixelFormat("gray", 8)
    y, x = np.mgrid[:64, :64]
    blob = (255 * np.exp(-((y - 31.5) ** 2 + (x - 31.5) ** 2) / 200)).astype(np.uint8)
    small = pair.downscale(YuvImage((blob,), layout, color=flat))[0].astype(float)
    weight = small - small.min()
    centre = [(weight.sum(axis=1 - axis) * np.arange(32)).sum() / weight.sum() for axis in (0, 1)]
    assert centre == pytest.approx([15.5, 15.5], abs=0.3)


@pytest.mark.parametrize("size", [(64, 64), (37, 51), (8, 8), (5, 7), (1, 1)])
def test_any_size_comes_back(pairs, size):
    pair = find_pair("car", Fraction(2), "cpu")
    picture = data.astronaut()[50 : 50 + size[0], 60 : 60 + size[1]]
    layout, color = PixelFormat("420", 8), Color("tv", "bt709")
    planes = planes_of(picture)
    small = pair.downscale(YuvImage(tuple(planes), layout, color=color))
    half = -(-size[0] // 2), -(-size[1] // 2)
    assert [plane.shape for plane in small] == list(layout.plane_shapes(*half))
    geometry = Geometry(size[1], size[0], Fraction(2), half[1], half[0])
    restored = pair.upscale(YuvImage(tuple(small), layout, color=color), geometry, 28.0)
    assert [plane.shape for plane in restored] == list(layout.plane_shapes(*size))
    assert all(plane.dtype == np.uint8 for plane in [*small, *restored])


def test_movie_there_and_back(pairs, tmp_path, make_clip):
    movie = make_clip(frames=4, size="96x64")
    result = api.encode(movie, tmp_path / "small.mp4", pair="car", scale=2, crf=20, verdict=False)
    assert len(result.report.rows) == 4
    stages = {stage.name: stage for stage in result.report.stages}
    assert stages["downscale"].implementation == stages["upscale"].implementation == "torch float32"
    assert any(re.search(r"car-x2 on cpu: about .* per frame to downscale and .* to restore it", note)
               for note in result.notes)  # fmt: skip
    assert any("in total" in note for note in result.notes)
    api.decode(tmp_path / "small.mp4", tmp_path / "back.mkv", lossless=True)
    report = api.measure(movie, tmp_path / "back.mkv")
    assert [row.mse for row in report.rows] == [row.mse for row in result.report.rows]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0003, "0.3 ms"), (0.042, "42 ms"), (0.9, "900 ms"), (90, "90 s"), (600, "10 min"), (864_000, "10 days")],
)
def test_estimates_have_a_fitting_unit(seconds, text):
    assert _duration(seconds) == text


def test_decode_without_the_pair_or_with_other_weights(pairs, tmp_path, make_clip):
    small = tmp_path / "small.mp4"
    api.encode(make_clip(frames=2, size="64x48"), small, pair="car", scale=2, report=False)
    shutil.move(pairs / "car-x2", tmp_path / "away")
    with pytest.raises(ModelError, match="needs pair 'car-x2', which is not installed"):
        api.decode(small, tmp_path / "a.mp4")
    write_pair(pairs / "car-x2", seed=1)
    with pytest.raises(ModelError, match="other weights"):
        api.decode(small, tmp_path / "a.mp4")
    shutil.move(tmp_path / "away", pairs / "an-older-one")  # found by its hash, whatever the folder is called
    api.decode(small, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").exists()


def test_pair_in_a_folder_that_is_not_installed(pairs, tmp_path, make_clip):
    shutil.move(pairs / "car-x2", tmp_path / "mine")
    movie, small = make_clip(frames=2, size="64x48"), tmp_path / "small.mp4"
    result = api.encode(movie, small, pair=str(tmp_path / "mine"), scale=2, verdict=False)
    assert len(result.report.rows) == 2
    api.decode(small, tmp_path / "back.mkv", lossless=True, pair=str(tmp_path / "mine"))
    assert [row.mse for row in api.measure(movie, tmp_path / "back.mkv").rows] == [
        row.mse for row in result.report.rows
    ]
    write_pair(tmp_path / "other", seed=1)
    shutil.rmtree(cache_folder())  # which has a copy
    with pytest.raises(ModelError, match=r"was made with other weights of 'car-x2' .* than .*other has"):
        api.decode(small, tmp_path / "again.mkv", lossless=True, pair=str(tmp_path / "other"))


@pytest.mark.slow
def test_damaged_weights_are_one_line(pairs, tmp_path, make_clip):
    weights = pairs / "car-x2" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\xc0\x7f")  # a NaN
    command = [sys.executable, "-m", "vidscale", "encode", str(make_clip(frames=2, size="64x48")), "--pair", "car-x2"]
    done = subprocess.run([*command, "-o", str(tmp_path / "o.mp4")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "does not match the card" in done.stderr
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.slow
def test_estimate_is_reported_before_the_work(pairs, tmp_path, make_clip):
    command = [sys.executable, "-m", "vidscale", "encode", str(make_clip(frames=2, size="64x48")), "--pair", "car-x2"]
    done = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True)
    assert "per frame to downscale" in done.stderr

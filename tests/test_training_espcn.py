"""Training of ESPCN: it learns from videos and pictures, resumes bit for bit, and reports what it cannot use."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from material import make
from PIL import Image
from robustness import documented
from scipy import ndimage
from stopping import Stop
from typer.testing import CliRunner

from vidscale.cli import app
from vidscale.errors import ConfigError, TrainingError
from vidscale.models.pair_files import load_pair_dir
from vidscale.training.espcn import EspcnRecipe, EspcnTask, FilmScore, frame_psnr, section, train_espcn
from vidscale.training.footage import Luma, find_films, split
from vidscale.training.log import epochs, read_log
from vidscale.training.loop import LAST, LOG, LoopSettings
from vidscale.training.recipes import read_recipe

TINY = EspcnRecipe(
    crop=16,
    frames=2,
    measured=3,
    loop=LoopSettings(steps=6, batch=4, validate_every=3, checkpoint_every=2, log_every=1),
)


def blobs(seed, height=96, width=112):
    """A picture with hard edges, which interpolation blurs."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 2.0)
    return (255 * (smooth > 0)).astype(np.uint8)


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """A video of twelve frames and a folder of four pictures."""
    folder = tmp_path_factory.mktemp("footage")
    raw = b"".join((16 + blobs(n) // 255 * 219).astype(np.uint8).tobytes() for n in range(12))
    words = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", "112x96", "-r", 25, "-i", "-", "-c:v", "libx264", "-crf", 4]
    make(folder / "film.mkv", *words, "-pix_fmt", "yuv420p", data=raw)
    (folder / "stills").mkdir()
    for n in range(4):
        Image.fromarray(blobs(20 + n)).save(folder / "stills" / f"{n}.png")
    return folder


@pytest.fixture(scope="module")
def unfamiliar(tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    for n in range(2):
        Image.fromarray(blobs(40 + n)).save(folder / f"{n}.png")
    return folder


@pytest.mark.slow
def test_espcn_learns_to_beat_interpolation(footage, unfamiliar, tmp_path):
    loop = replace(TINY.loop, steps=150, batch=8, learning_rate=4e-3, warmup_steps=10, validate_every=50)
    done = train_espcn(replace(TINY, loop=loop), footage, unfamiliar, tmp_path)
    found = epochs(read_log(tmp_path / LOG))
    assert [epoch.step for epoch in found] == [50, 100, 150]
    assert found[2].loss < found[0].loss / 2
    by_name = {(score.film, score.familiar): score for score in done.scores}
    assert set(by_name) == {("film.mkv", True), ("stills", True), ("", True), (unfamiliar.name, False), ("", False)}
    for score in (by_name["", True], by_name["", False]):
        assert score.espcn > score.bilinear + 0.5
    assert by_name["", True].espcn == pytest.approx(done.trained.best_db, abs=0.01)


@pytest.mark.parametrize(("scale", "down"), [(2, "lanczos"), (3, "gaussian")])
def test_pair_shrinks_by_what_it_was_trained_with(footage, unfamiliar, tmp_path, scale, down):
    recipe = replace(TINY, scale=scale, crop=12, down=down, loop=replace(TINY.loop, steps=1))
    train_espcn(recipe, footage, unfamiliar, tmp_path)
    loaded = load_pair_dir(tmp_path / "pair")
    assert (loaded.card.name, loaded.downscaler.family, loaded.upscaler.scale) == (f"espcn-x{scale}", down, scale)
    assert loaded.card.data == "14 frames of 2 films in " + footage.name


def test_espcn_resumes_with_the_same_bits(footage, unfamiliar, tmp_path):
    train_espcn(TINY, footage, unfamiliar, tmp_path / "whole")
    with pytest.raises(StopIteration):
        train_espcn(TINY, footage, unfamiliar, tmp_path / "parts", Stop(3))
    train_espcn(TINY, footage, unfamiliar, tmp_path / "parts")
    whole, parts = (torch.load(tmp_path / part / LAST, weights_only=True)["network"] for part in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_examples_lie_upon_each_other(footage, scale):
    """LR and HR crops of a ramp have the same slope and mean, whatever their rotation."""
    learned, held_out = split(find_films(footage), 0.2)
    task = EspcnTask(replace(TINY, scale=scale, crop=12), learned, held_out)
    ramp = np.add.outer(np.arange(200) * 90, np.arange(180) * 50).astype(np.uint16)
    for lr, hr in task.examples(Luma(ramp, 16), 16, torch.Generator().manual_seed(0)):
        assert lr.shape == (12 // scale + 10, 12 // scale + 10)
        inner = lr[5:-5, 5:-5]
        assert float(inner.mean()) == pytest.approx(float(hr.mean()), abs=2 / 65535)
        for axis in (0, 1):
            slope = float(hr.diff(dim=axis).mean())
            assert float(inner.diff(dim=axis).mean()) == pytest.approx(slope * scale, abs=2 / 65535)


def test_psnr_of_a_frame():
    codes = np.full((8, 8), 512, np.uint16)
    assert frame_psnr(Luma(codes, 10), Luma(codes, 10)) == 100
    assert frame_psnr(Luma(codes + 4, 10), Luma(codes, 10)) == pytest.approx(20 * np.log10(1023 / 4))


def test_section_shows_every_score():
    scores = [FilmScore("a.mkv", True, 3, 30, 31.5, 32.25), FilmScore("", False, 9, 30, 31, 30.5)]
    assert section(scores).table.rows == (
        ("a.mkv", "3", "30.00", "31.50", "32.25", "+0.75"),
        ("all unfamiliar", "9", "30.00", "31.00", "30.50", "-0.50"),
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": "5"}, "scale 5: ESPCN supports 2, 3, 4"),
        ({"crop": "25"}, "crop 25 is not a multiple of 2"),
        ({"frames": "3"}, "loop.batch 16 is not a multiple of frames 3"),
        ({"held_out": "1"}, r"out of range: self.held_out = 1.0"),
        ({"down": "area"}, "down = 'area': not 'lanczos' or 'gaussian'"),
    ],
)
def test_recipe_errors(settings, message):
    with pytest.raises(ConfigError, match=message):
        read_recipe(EspcnRecipe, None, settings)


def test_footage_that_is_too_small_is_reported_before_training(footage, unfamiliar, tmp_path):
    with pytest.raises(TrainingError, match=r"film.mkv has a side of 96, training needs 212 or more"):
        train_espcn(replace(TINY, crop=192), footage, unfamiliar, tmp_path / "run")


def _vidscale(*words):
    return CliRunner().invoke(app, ["train", *map(str, words)])


def test_train_espcn_command(footage, unfamiliar, tmp_path):
    command = ["espcn", footage, "--unfamiliar", unfamiliar, "-o", tmp_path / "run"]
    sizes = ["crop=16", "measured=2", "loop.steps=4", "loop.batch=4", "loop.validate_every=2", "loop.log_every=1"]
    command += [word for size in sizes for word in ("--set", size)]
    done = _vidscale(*command, "--json")
    assert done.exit_code == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["event"] for record in records] == ["epoch"] * 2 + ["score"] * 5 + ["trained"]
    for record in records:
        assert set(record) == documented(record["event"]) | {"event"}
    assert (tmp_path / "run" / "training.html").read_text().count("all unfamiliar") == 1
    again = _vidscale(*command)
    assert again.exit_code == 0
    assert [line.split()[0] for line in again.stdout.splitlines()[:3]] == ["Footage", "film.mkv", "stills"]
    assert again.stdout.splitlines()[-1].endswith("training.html")
    for words in (["--set", "loop.seed=1"], ["--set", "scale=7"]):
        wrong = _vidscale(*command, *words)
        assert (wrong.exit_code, wrong.stderr.count("\n"), wrong.stdout) == (1, 1, "")
    missing = _vidscale("espcn", tmp_path / "none", "--unfamiliar", unfamiliar, "-o", tmp_path / "other")
    assert missing.exit_code == 1
    assert missing.stderr == f"vidscale: no videos or pictures in {tmp_path / 'none'}\n"
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_training_of_upscalers_needs_torch_and_numpy_alone():
    others = ("av", "pydantic", "ffmpeg", "imageio_ffmpeg", "typer", "rich", "jinja2", "plotly", "scipy", "PIL")
    modules = "vidscale.training.espcn, vidscale.training.progressive"
    program = f"import sys; sys.modules |= dict.fromkeys({others!r}); import {modules}"
    subprocess.run([sys.executable, "-c", program], check=True)

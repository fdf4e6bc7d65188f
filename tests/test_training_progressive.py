"""Training of the step-by-step upscaler: stages separately, then the chain."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from robustness import documented
from skimage import data
from stopping import Stop
from typer.testing import CliRunner

from vidscale.cli import app
from vidscale.errors import ConfigError
from vidscale.images.scaling import find_scaler
from vidscale.models.pair_files import load_pair_dir
from vidscale.training.crops import find_pictures, pack_crops
from vidscale.training.log import read_log
from vidscale.training.loop import BEST, LAST, LOG, LoopSettings
from vidscale.training.progressive import ProgressiveRecipe, downscaled, train_progressive
from vidscale.training.recipes import read_recipe

LOOP = LoopSettings(steps=4, batch=2, validate_every=2, checkpoint_every=2, log_every=1)
TINY = ProgressiveRecipe(width=6, blocks=1, crop=64, stage_crop=8, measured=96, stage_loop=LOOP, chain_loop=LOOP)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(data.astronaut()[:200, 100:260]).save(folder / "a.png")
    Image.fromarray(data.coffee()[100:280, 100:320]).save(folder / "b.png")
    return folder


@pytest.fixture(scope="module")
def crops(photos):
    path = photos / "crops.npy"
    pack_crops(find_pictures(photos), path, side=96, count=12)
    return path


def test_shrunk_is_what_the_pair_makes():
    image = torch.from_numpy(np.moveaxis(data.astronaut()[:96, :128], 2, 0).copy())[None].float() / 255
    small = downscaled(image, 8)
    assert small.shape == (1, 3, 12, 16)
    planes = [np.ascontiguousarray(data.astronaut()[:96, :128, channel]) for channel in range(3)]
    expected = np.stack(find_scaler("lanczos", Fraction(8)).downscale(planes))
    assert np.array_equal((small[0] * 255).round().numpy(), expected)
    assert torch.equal(downscaled(image, 1), image)


@pytest.mark.slow
def test_training_gains_at_every_turn(crops, photos, tmp_path):
    loop = replace(LOOP, steps=120, batch=4, learning_rate=3e-3, warmup_steps=10, validate_every=60)
    recipe = replace(TINY, stage_crop=16, stage_loop=loop, chain_loop=replace(loop, steps=60))
    done = train_progressive(recipe, crops, find_pictures(photos), tmp_path)
    figures = done.scores
    assert list(done.parts) == ["stage-1", "stage-2", "stage-3", "chain"]
    assert figures.bilinear_db + 0.3 < figures.chained_db < figures.fine_tuned_db
    losses = [row.loss for row in read_log(tmp_path / "stage-3" / LOG) if row.loss is not None]
    assert np.mean(losses[-20:]) < np.mean(losses[:20])
    tuned = load_pair_dir(tmp_path / "pair").upscaler.state_dict()
    chain = torch.load(tmp_path / "chain" / BEST, weights_only=True)["network"]
    assert all(torch.equal(tuned[name], chain[name]) for name in chain)


@pytest.mark.slow
def test_training_resumes_with_the_same_bits(crops, photos, tmp_path):
    pictures = find_pictures(photos)
    recipe = replace(TINY, kind="original", crop=32)  # with buffers
    train_progressive(recipe, crops, pictures, tmp_path / "whole")
    for stop in (3, 4, 8):  # within the first stage, within the next, within the chain
        with pytest.raises(StopIteration):
            train_progressive(recipe, crops, pictures, tmp_path / "parts", Stop(stop))
    train_progressive(recipe, crops, pictures, tmp_path / "parts")
    for part in ("stage-1", "stage-2", "stage-3", "chain"):
        whole, parts = (
            torch.load(tmp_path / run / part / LAST, weights_only=True)["network"] for run in ("whole", "parts")
        )
        assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages = []", "each must upscale by 2 or more, all together by at most 8"),
        ("stages = [4, 4]", "each must upscale by 2 or more, all together by at most 8"),
        ('stages = [4]\nkind = "original"', "original stages upscale by 2"),
        ("crop = 100", "crop 100 is not a multiple of 8"),
        ('crop = 72\nkind = "original"', "crop 72 is not a multiple of 32"),
        ("stage_crop = 6", "out of range"),
        ("[chain_loop]\nsteps = 0", "steps must be 1 or more"),
    ],
)
def test_recipe_errors(tmp_path, text, message):
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_recipe(ProgressiveRecipe, tmp_path / "recipe.toml")


def test_train_progressive_command(crops, photos, tmp_path):
    recipe = tmp_path / "one.toml"
    loop = "steps = 2\nbatch = 2\nvalidate_every = 1"
    recipe.write_text(
        f"stages = [2, 2]\nwidth = 4\nblocks = 1\ncrop = 32\nmeasured = 64\n"
        f"[stage_loop]\n{loop}\n[chain_loop]\n{loop}\n"
    )
    words = ["train", "progressive", crops, "--validation", photos, "-o", tmp_path / "run", "--recipe", recipe]
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["event"] for record in records] == ["trained"] * 3 + ["chained"]
    for record in records:
        assert set(record) == documented(record["event"]) | {"event"}
    assert "validation" in (tmp_path / "run" / "chain" / "training.html").read_text()
    again = CliRunner().invoke(app, [*map(str, words)])
    assert again.stdout.splitlines()[-1].startswith("bilinear ")
    assert f"fine-tuned {records[-1]['fine_tuned_db']:.2f} dB" in again.stdout
    wrong = CliRunner().invoke(app, [*map(str, words), "--set", "width=0"])
    assert (wrong.exit_code, wrong.stderr) == (1, f"vidscale: recipe {recipe}: out of range: width 0, blocks 1\n")

"""Training of CAR: its losses, its rounding, its data, and that it learns."""

import json
import subprocess
import sys
from dataclasses import replace
from math import hypot

import numpy as np
import pytest
import torch
from PIL import Image
from robustness import run_apart, run_here
from skimage import data
from stopping import Stop

from vidscale.errors import ConfigError, TrainingError
from vidscale.models.networks.car import Sampling
from vidscale.models.pair_files import load_pair_dir
from vidscale.training.car import CarRecipe, CarTask, DownscalerSizes, UpscalerSizes, bicubic_codes
from vidscale.training.coded_crops import CodedCrops
from vidscale.training.crops import Crops, find_pictures, held_out_pictures, pack_crops
from vidscale.training.loop import LAST, LoopSettings, train
from vidscale.training.offset_losses import offset_distance, offset_variation
from vidscale.training.quantise import quantise
from vidscale.training.recipes import read_recipe

TINY = CarRecipe(
    crop=32,
    downscaler=DownscalerSizes(stem=4, body=8, trunk=8, blocks=1),
    upscaler=UpscalerSizes(blocks=1, width=8, res_scale=1.0),
    loop=LoopSettings(steps=6, batch=2, validate_every=3, checkpoint_every=2, log_every=1),
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(data.astronaut()[:200, :260]).save(folder / "a.png")
    Image.fromarray(data.coffee()[:180, :220]).save(folder / "b.webp", lossless=True)
    Image.fromarray(data.camera()[:40, :40]).save(folder / "small.jpg")
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture(scope="module")
def crops(photos):
    path = photos / "crops.npy"
    assert pack_crops(find_pictures(photos), path, side=64, count=30) == 2
    return path


def sampling(taps=49, seed=0):
    g = torch.Generator().manual_seed(seed)
    weights = torch.rand(2, taps, 3, 4, generator=g)
    x, y = (torch.rand(2, taps, 3, 4, generator=g) * 2 - 1 for _ in range(2))
    return Sampling(weights / weights.sum(1, keepdim=True), x, y)


def test_offset_distance_against_loops():
    ours = sampling()
    total = 0.0
    for n in range(2):
        for y in range(3):
            for x in range(4):
                for tap in range(49):
                    away = hypot(tap // 7 - 3, tap % 7 - 3) / 7
                    total += away * hypot(float(ours.tanh_x[n, tap, y, x]), float(ours.tanh_y[n, tap, y, x]))
    assert float(offset_distance(ours)) == pytest.approx(total / (2 * 3 * 4), rel=1e-5)


def test_offset_variation_against_loops():
    ours = sampling(seed=1)
    across = down = 0.0
    for n in range(2):
        for tap in range(49):
            for y in range(3):
                for x in range(3):
                    change = ours.tanh_y[n, tap, y, x + 1] - ours.tanh_y[n, tap, y, x]
                    across += float(change.abs() * ours.taps[n, tap, y, x])
            for y in range(2):
                for x in range(4):
                    change = ours.tanh_x[n, tap, y + 1, x] - ours.tanh_x[n, tap, y, x]
                    down += float(change.abs() * ours.taps[n, tap, y, x])
    assert float(offset_variation(ours)) == pytest.approx(across / (2 * 3 * 3) + down / (2 * 2 * 4), rel=1e-5)


def test_offset_losses_are_zero_and_differentiable_without_offsets():
    still = Sampling(*(torch.zeros(1, 49, 4, 4, requires_grad=True) for _ in range(3)))
    assert offset_variation(still).item() == 0
    (loss := offset_distance(still)).backward()
    assert loss.item() < 1e-4
    assert still.tanh_x.grad.isfinite().all()


def test_quantise_writes_what_a_png_would():
    image = torch.linspace(-0.1, 1.1, 1001)
    expected = np.floor(np.clip(image.numpy(), 0, 1) * 255 + 0.5).astype(np.uint8)
    for kind in ("soft", "straight"):
        assert (quantise(image, kind).numpy() * 255).round().astype(int).tolist() == expected.tolist()


def test_quantise_gradient_is_that_of_the_soft_rounding():
    codes = torch.tensor([10.1, 10.5, 10.9, 200.25], dtype=torch.float64)
    image = (codes / 255).float().requires_grad_()
    quantise(image, "soft").sum().backward()
    step = 1e-5
    soft = lambda x: x - 0.5 * torch.sin(2 * torch.pi * x) / (2 * torch.pi)  # noqa: E731
    slope = (soft(codes + step) - soft(codes - step)) / (2 * step)
    assert image.grad.tolist() == pytest.approx(slope.tolist(), rel=1e-3)
    straight = torch.tensor([0.3, 1.2, -0.5], requires_grad=True)
    quantise(straight, "straight").sum().backward()
    assert straight.grad.tolist() == [1, 0, 0]


def test_bicubic_codes_agree_with_pillow():
    picture = data.astronaut()[:128, :160]
    ours = bicubic_codes(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255, 2)
    theirs = np.asarray(Image.fromarray(picture).resize((80, 64), Image.Resampling.BICUBIC))
    difference = np.abs((ours[0].permute(1, 2, 0).numpy() * 255).round() - theirs)
    assert difference.max() <= 1


def test_crops_come_from_the_pictures(crops):
    packed = np.load(crops)
    assert packed.shape == (30, 3, 64, 64)
    whole = data.astronaut()[:200, :260].transpose(2, 0, 1)
    windows = np.lib.stride_tricks.sliding_window_view(whole, (3, 64, 64))[0]
    found = sum(
        (window == crop).all()
        for crop in packed
        for window in windows[windows[..., 0, 0, 0] == crop[0, 0, 0]]  # copies no more than these
    )
    assert 8 <= found <= 22  # about half of them are the astronaut's


def test_crops_batch_depends_on_the_generator_alone(crops):
    one, same, other = (Crops(crops).batch(4, 32, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (4, 3, 32, 32)
    with pytest.raises(TrainingError, match="65x65"):
        Crops(crops).batch(1, 65, torch.Generator())


def test_crops_errors(photos, tmp_path):
    with pytest.raises(TrainingError, match="no pictures"):
        find_pictures(tmp_path)
    with pytest.raises(TrainingError, match="at least 5000x5000"):
        pack_crops(find_pictures(photos), tmp_path / "c.npy", side=5000, count=1)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(TrainingError, match=r"broken\.png"):
        pack_crops([tmp_path / "broken.png"], tmp_path / "c.npy", side=8, count=1)
    assert not list(tmp_path.glob("*.npy")) + list(tmp_path.glob(".*"))
    for content in (None, b"", b"PK\3\4 an archive"):
        if content is not None:
            (tmp_path / "c.npy").write_bytes(content)
        with pytest.raises(TrainingError, match="cannot be read"):
            Crops(tmp_path / "c.npy")
    np.save(tmp_path / "chunk-0000.npy", np.zeros(3))
    with pytest.raises(TrainingError, match="no coded crops"):
        CodedCrops(tmp_path)


def test_car_resumes_with_the_same_bits(crops, photos, tmp_path, monkeypatch):
    """With the real operation, whose backward scatters: the order of additions must not vary between runs."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # so many share it, even where tests have one thread each
    held_out = held_out_pictures([photos / "a.png"], side=48)
    train(CarTask(TINY, Crops(crops), held_out), TINY.loop, tmp_path / "whole")
    for steps in (2, 6):  # the first part ends at a checkpoint; the schedule of rates is that of the whole
        loop = replace(TINY.loop, steps=6)
        task = CarTask(TINY, Crops(crops), held_out)
        if steps == 2:
            with pytest.raises(StopIteration):
                train(task, loop, tmp_path / "parts", Stop(2))
        else:
            train(task, loop, tmp_path / "parts")
    whole, parts = (torch.load(tmp_path / part / LAST, weights_only=True)["network"] for part in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize(("fidelity", "expected"), [("l1", 0.25), ("l2", 0.0625)])
def test_fidelity_is_the_loss_of_its_name(crops, monkeypatch, fidelity, expected):
    task = CarTask(replace(TINY, fidelity=fidelity, distance=0.0, variation=0.0), Crops(crops), [])
    monkeypatch.setattr(Crops, "batch", lambda *_: torch.full((1, 3, 32, 32), 0.5))
    monkeypatch.setattr(task.upscaler, "forward", lambda lr: torch.full((1, 3, 32, 32), 0.25) + 0 * lr.sum())
    losses = task.losses(torch.Generator())
    assert float(losses.total.detach()) == pytest.approx(expected)
    assert float(losses.parts[fidelity]) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("down", ["car", "bicubic"])
def test_car_learns(crops, photos, tmp_path, down):
    recipe = replace(TINY, down=down, loop=replace(TINY.loop, steps=60, batch=4, learning_rate=3e-3, validate_every=20))
    task = CarTask(recipe, Crops(crops), held_out_pictures([photos / "b.webp"], side=96))
    before = task.validate()
    assert train(task, recipe.loop, tmp_path).best_db > before + 3


def test_bf16_trains_too(crops, tmp_path):
    recipe = replace(TINY, loop=replace(TINY.loop, precision="bfloat16"))
    task = CarTask(recipe, Crops(crops), [torch.rand(3, 24, 30)])
    assert np.isfinite(train(task, recipe.loop, tmp_path).best_db)


def test_recipe_reads_toml_and_refuses_what_it_does_not_know(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text("scale = 4\ncrop = 192\n[loop]\nsteps = 9\n[upscaler]\nwidth = 8\n")
    recipe = read_recipe(CarRecipe, path, {"loop.seed": "3"})
    assert recipe == CarRecipe(scale=4, crop=192, loop=LoopSettings(steps=9, seed=3), upscaler=UpscalerSizes(width=8))
    for wrong, message in (
        ("scale = 3", "CAR supports 2 and 4"),
        ("crop = 20", "crop 20 is not a multiple of 8"),
        ("downscaler_delay = -1", "downscaler_delay -1 is negative"),
        ("[downscaler]\nblocks = 0", "no ResamplerNet"),
        ("speed = 1", "speed is unknown"),
        ("[loop]\nsteps = 0", "steps must be 1 or more"),
        ('down = "area"', "down = 'area': not"),
        ("scale =", "cannot be read"),
    ):
        path.write_text(wrong)
        with pytest.raises(ConfigError, match=message):
            read_recipe(CarRecipe, path)


@pytest.mark.slow
def test_train_car_command_makes_a_pair(photos, crops, tmp_path):
    sizes = ["crop=32", "downscaler.stem=4", "downscaler.body=8", "downscaler.trunk=8", "downscaler.blocks=1"]
    sizes += ["upscaler.blocks=1", "upscaler.width=8", "loop.steps=3", "loop.batch=2"]
    command = ["train", "car", crops, "--validation", photos, "-o", tmp_path / "run", "--json"]
    command += [word for size in sizes for word in ("--set", size)]
    done = run_apart(*command, timeout_s=240)
    assert done.code == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["event"] == "trained"
    assert record["steps"] == 3
    assert load_pair_dir(tmp_path / "run" / "pair").card.name == "car-x2"
    assert "plotly" in (tmp_path / "run" / "training.html").read_text()
    again = run_here(*command)
    assert json.loads(again.stdout)["validation_db"] == record["validation_db"]  # nothing left to do
    other = run_here(*command, "--set", "loop.seed=1")
    assert other.code == 1
    assert "other settings" in other.stderr


def test_train_pack_command(photos, tmp_path):
    done = run_here("train", "pack", photos, "-o", tmp_path / "c.npy", "--side", 32, "--count", 7)
    assert done.code == 0, done.stderr
    assert np.load(tmp_path / "c.npy").shape == (7, 3, 32, 32)
    assert run_here("train", "pack", photos, "-o", tmp_path / "c.npy").code == 1
    assert run_here("train", "pack", tmp_path / "none", "-o", tmp_path / "d.npy").code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["c.npy"]


@pytest.mark.slow
@pytest.mark.parametrize("module", ["car", "coded_crops", "pair"])
def test_training_needs_torch_and_numpy_alone(module):
    others = (
        "av",
        "pydantic",
        "ffmpeg",
        "imageio_ffmpeg",
        "typer",
        "rich",
        "jinja2",
        "plotly",
        "scipy",
        "pyvips",
        "PIL",
        "numba",
    )
    program = f"import sys; sys.modules |= dict.fromkeys({others!r}); import vidscale.training.{module}"
    subprocess.run([sys.executable, "-c", program], check=True)

"""Training on pictures: the error-fed downscaler, crops on the device, the timed loop."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from vidscale.errors import TrainingError
from vidscale.models.networks.edsr import EDSR
from vidscale.models.networks.error_fed import ErrorFedDownscaler, back_project, bicubic, luma
from vidscale.training.resident import ResidentPictures
from vidscale.training.stills import RECIPES, StillRecipe, StillTask
from vidscale.training.timed import WEIGHTS, TimedSettings, train_for


def _pictures(folder, number=2, side=64):
    rng = np.random.default_rng(0)
    files = []
    for index in range(number):
        coarse = Image.fromarray(rng.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8))
        files.append(folder / f"{index}.png")
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(files[-1])
    return files


def test_bicubic_agrees_with_pillow():
    plane = np.random.default_rng(0).random((48, 64), dtype=np.float32)
    expected = np.asarray(Image.fromarray(plane).resize((16, 12), Image.Resampling.BICUBIC))
    ours = bicubic(torch.from_numpy(plane)[None, None], 4)[0, 0].numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_back_projection_is_the_gradient_of_the_squared_error():
    torch.manual_seed(0)
    upscaler = EDSR(2, blocks=1, width=4)
    hr, lr = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 8, 8)
    target = luma(hr)
    _, gradient = back_project(target, lr, upscaler)

    def squared(change):
        with torch.no_grad():
            return float((target - luma(upscaler(lr + change))).double().square().sum() / 2)

    for row, column in ((0, 0), (3, 5)):
        bump = torch.zeros(1, 1, 8, 8)
        bump[..., row, column] = 1e-2
        slope = (squared(-bump) - squared(bump)) / 2e-2
        assert float(gradient[0, 0, row, column]) == pytest.approx(slope, rel=0.02, abs=1e-3)


@pytest.mark.parametrize("scale", [2, 4])
def test_downscaler_keeps_the_chroma_of_the_bicubic_picture(scale):
    torch.manual_seed(0)
    downscaler, upscaler = ErrorFedDownscaler(scale, width=8, depth=2, repeats=2), EDSR(scale, blocks=1, width=4)
    torch.nn.init.normal_(downscaler.correction.convs[-1].weight, std=0.1)
    hr = torch.rand(2, 3, 8 * scale, 12 * scale)
    with torch.no_grad():
        change = downscaler(hr, upscaler) - bicubic(hr, scale)
    assert change.shape == (2, 3, 8, 12)
    assert float(change.abs().max()) > 0.01
    for channel in (1, 2):  # equal changes of R, G and B leave colour differences alone
        torch.testing.assert_close(change[:, channel], change[:, 0], atol=1e-5, rtol=0)


def test_one_step_of_back_projection_restores_better():
    """With U a bilinear enlargement, the untrained downscaler is damped back-projection."""
    rng = torch.Generator().manual_seed(0)
    hr = F.interpolate(torch.rand((1, 3, 16, 16), generator=rng), scale_factor=4, mode="bicubic").clamp(0, 1)

    def enlarge(lr):
        return F.interpolate(lr, scale_factor=2, mode="bilinear")

    downscaler = ErrorFedDownscaler(2, width=8, depth=2)
    with torch.no_grad():
        before, after = (F.mse_loss(luma(enlarge(lr)), luma(hr)) for lr in (bicubic(hr, 2), downscaler(hr, enlarge)))
    assert float(after) < float(before)


def test_crops_are_parts_of_the_pictures_in_any_orientation(tmp_path):
    codes = np.arange(9 * 9 * 3, dtype=np.uint8).reshape(9, 9, 3)
    Image.fromarray(codes).save(tmp_path / "a.png")
    pictures = ResidentPictures([tmp_path / "a.png"], "cpu")
    pictures.seed(0)
    crops = (pictures.batch(64, 5).permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    turns = [turn(codes) for turn in (np.asarray, lambda image: image.transpose(1, 0, 2))]
    turns = [image[::down, ::right] for image in turns for down in (1, -1) for right in (1, -1)]
    places = {
        image[top : top + 5, left : left + 5].tobytes() for image in turns for top in range(5) for left in range(5)
    }
    found = {crop.tobytes() for crop in crops}
    assert found <= places
    assert len(found) > 40


def test_pictures_errors(tmp_path):
    files = _pictures(tmp_path) + _pictures(tmp_path / "", number=1, side=32)
    with pytest.raises(TrainingError, match="one size"):
        ResidentPictures(files, "cpu")


@pytest.mark.parametrize("kind", ["espcn", "bicubic", "car"])
def test_training_ends_in_time_and_keeps_weights(kind, tmp_path):
    files = _pictures(tmp_path)
    pictures = ResidentPictures(files, "cpu")
    held_out = [torch.rand(3, 36, 36)]
    recipe = StillRecipe(kind=kind, scale=2, blocks=1, width=4, batch=2, crop=24)
    task = StillTask(recipe, pictures, held_out, "cpu")
    result = train_for(task, TimedSettings(seconds=1, log_every=0.5, validate_every=0.5), tmp_path / "out")
    assert result["steps"] >= 1
    assert result["seconds"] < 20
    from safetensors.torch import load_file

    task.network.load_state_dict(load_file(tmp_path / "out" / WEIGHTS))
    rows = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert max(row.get("psnr_y", 0) for row in rows) == result["psnr_y"] == rows[-1]["best_psnr_y"]


def test_upscaler_starts_equal_for_car_and_its_baseline(tmp_path):
    pictures = ResidentPictures(_pictures(tmp_path), "cpu")
    car, baseline = (StillTask(RECIPES[name], pictures, [], "cpu", 3).upscaler for name in ("car-x2", "bicubic-x2"))
    for ours, theirs in zip(car.parameters(), baseline.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_replays_train_the_upscaler_alone_on_recent_crops(tmp_path):
    recipe = StillRecipe(kind="car", scale=2, blocks=1, width=4, batch=3, crop=24, refinements=0, replays=2)
    task = StillTask(recipe, ResidentPictures(_pictures(tmp_path), "cpu"), [], "cpu")
    downscaled, restored = [], []
    task.downscaler.register_forward_hook(lambda module, given, lr: downscaled.append(lr.detach()))
    task.upscaler.register_forward_pre_hook(lambda module, given: restored.append(given[0].detach()))
    for step in range(6):
        restored.clear()
        task.network.zero_grad(set_to_none=True)
        task.loss(0.0).backward()
        replayed = step % 3 != 0
        assert len(downscaled) == step // 3 + 1
        assert all(weights.grad is None for weights in task.downscaler.parameters()) == replayed
        if replayed:
            known = {bytes((crop * 255).round().byte().numpy()) for lr in downscaled for crop in lr.clamp(0, 1)}
            assert {bytes((crop * 255).round().byte().numpy()) for crop in restored[0]} <= known
            assert all(weights.grad is not None for weights in task.upscaler.parameters() if weights.requires_grad)

"""Differentiable measures of distortion, against scikit-image, libvmaf and finite differences."""

import json
import subprocess

import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import structural_similarity

from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.training.distortion import information_loss, squared_error, structural_error

SIDE = 128


@pytest.fixture(scope="module")
def pictures():
    """A photograph, and it blurred, noisy, and with more contrast: [1, SIDE, SIDE] uint8 each."""
    photo = data.camera()[100 : 100 + SIDE, 150 : 150 + SIDE].astype(np.float32)
    blurred = (photo + np.roll(photo, 1, 0) + np.roll(photo, 1, 1) + np.roll(photo, (1, 1), (0, 1))) / 4
    noisy = photo + np.random.default_rng(0).normal(0, 8, photo.shape)
    sharper = photo + 0.8 * (photo - blurred)
    return [np.clip(np.rint(one), 0, 255).astype(np.uint8) for one in (photo, blurred, noisy, sharper)]


def _tensor(codes):
    return torch.from_numpy(codes.astype(np.float32) / 255)[None, None]


def test_ssim_is_that_of_scikit_image(pictures):
    photo, *others = pictures
    for other in others:
        options = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        _, full = structural_similarity(photo, other, full=True, **options)
        found = 1 - float(structural_error(_tensor(other), _tensor(photo)))
        assert found == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-4)


def test_squared_error_is_in_squared_codes(pictures):
    photo, blurred, *_ = pictures
    expected = np.square(photo.astype(np.float64) - blurred).mean()
    assert float(squared_error(_tensor(blurred), _tensor(photo))) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_vif_follows_that_of_libvmaf_without_enhancement_gain(pictures, tmp_path):
    """libvmaf mirrors pictures at their edges, this leaves edges out: close, and in the same order."""
    photo, *others = pictures
    found, expected = [], []
    for number, other in enumerate(others):
        scales = _vif_of_libvmaf(photo, other, tmp_path / f"{number}.json")
        expected.append(1 - np.average(scales, weights=_information_shares(photo)))
        found.append(float(information_loss(_tensor(other), _tensor(photo))))
    np.testing.assert_allclose(found, expected, atol=0.03)
    assert np.argsort(found).tolist() == np.argsort(expected).tolist()


def _information_shares(photo):
    """The share of each scale in the information of the photograph, roughly: its samples."""
    return [16, 4, 1]


def _vif_of_libvmaf(photo, other, log):
    ffmpeg = find_ffmpeg(filters=["libvmaf"])
    raw = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{SIDE}x{SIDE}", "-i"]
    files = []
    for name, codes in (("other", other), ("photo", photo)):
        files.append(log.with_suffix(f".{name}"))
        files[-1].write_bytes(codes.tobytes())
    measuring = f"libvmaf=model=version=vmaf_v0.6.1neg:log_fmt=json:log_path={log}"
    graph = f"[0]format=yuv420p[a];[1]format=yuv420p[b];[a][b]{measuring}"
    words = [ffmpeg.path, "-v", "error", *raw, str(files[0]), *raw, str(files[1]), "-lavfi", graph, "-f", "null", "-"]
    subprocess.run(words, check=True)
    metrics = json.loads(log.read_text())["frames"][0]["metrics"]
    return [next(v for k, v in metrics.items() if f"vif_scale{scale}" in k) for scale in (1, 2, 3)]

"""Metrics against scikit-image, kornia, ffmpeg's filters and numpy, on planes of every depth and layout."""

import math
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import as_strided
from skimage import data
from skimage.metrics import structural_similarity

from vidscale.triton_kernels import _dispatch, metrics_ref
from vidscale.triton_kernels.metrics import implementation, psnr, squared_error, ssim_ffmpeg, ssim_gaussian

BIT_DEPTHS = [8, 10, 12, 16]
CONTENTS = ["astronaut", "camera", "coffee", "page", "noise", "inverted", "flat", "flat_step", "gradient"]


def codes(values, bit_depth):
    """Values from 0 to 1 as a plane."""
    peak = 2**bit_depth - 1
    return np.rint(np.clip(values, 0, 1) * peak).astype(np.uint8 if bit_depth == 8 else np.uint16)


def pair(content, bit_depth, shape=(121, 187)):
    """A plane and a distorted copy; 'inverted', 'flat' and 'gradient' are hard cases for float32."""
    rng = np.random.default_rng(7)
    height, width = shape
    ramp = np.linspace(0.9, 1, width) * np.ones((height, 1))
    if content == "flat":
        return codes(np.ones(shape), bit_depth), codes(np.ones(shape), bit_depth) - 1
    if content == "flat_step":
        return codes(np.ones(shape), bit_depth), codes(np.full(shape, 0.5), bit_depth)
    if content == "gradient":
        return codes(ramp, bit_depth), codes(ramp - 0.1, bit_depth)
    if content == "inverted":
        noise = rng.random(shape)
        return codes(noise, bit_depth), codes(1 - noise, bit_depth)
    if content == "noise":
        noise = rng.random(shape)
        return codes(noise, bit_depth), codes(noise + rng.normal(0, 0.1, shape), bit_depth)
    photograph = getattr(data, content)()
    photograph = photograph.mean(axis=2) if photograph.ndim == 3 else photograph
    x = photograph[20 : 20 + height, 30 : 30 + width] / 255
    smooth = (x + np.roll(x, 1, 0) + np.roll(x, 1, 1) + np.roll(x, 1, (0, 1))) / 4
    return codes(x, bit_depth), codes(smooth + rng.normal(0, 0.01, shape), bit_depth)


def truth_gaussian(x, y, bit_depth):
    return structural_similarity(
        x.astype(np.float64),
        y.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=2**bit_depth - 1,
    )


@pytest.mark.parametrize("bit_depth", BIT_DEPTHS)
@pytest.mark.parametrize("content", CONTENTS)
def test_ssim_gaussian_equals_skimage(content, bit_depth):
    x, y = pair(content, bit_depth)
    expected = truth_gaussian(x, y, bit_depth)
    # Two flat planes far apart: variances near 0 are differences of large float32 numbers.
    tolerance = 5e-5 if content == "flat_step" else 1e-6
    assert ssim_gaussian(x, y, bit_depth=bit_depth) == pytest.approx(expected, abs=tolerance)
    assert metrics_ref.ssim_gaussian(torch.tensor(x), torch.tensor(y), bit_depth) == pytest.approx(expected, abs=1e-10)


# Around the sizes at which the strips and blocks of metrics_cpu end.
@pytest.mark.parametrize("shape", [(11, 11), (11, 64), (50, 11), (12, 13), (26, 970), (27, 971), (43, 1930), (45, 333)])
@pytest.mark.parametrize("bit_depth", [8, 10])
def test_ssim_gaussian_shapes(shape, bit_depth):
    x, y = pair("noise", bit_depth, shape)
    assert ssim_gaussian(x, y, bit_depth=bit_depth) == pytest.approx(truth_gaussian(x, y, bit_depth), abs=1e-6)


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_ssim_gaussian_equals_kornia(bit_depth):
    kornia = pytest.importorskip("kornia.metrics")
    x, y = pair("astronaut", bit_depth)
    first, second = (torch.tensor(p.astype(np.float64))[None, None] for p in (x, y))
    expected = kornia.ssim(first, second, 11, max_val=2.0**bit_depth - 1, padding="valid").mean().item()
    assert ssim_gaussian(x, y, bit_depth=bit_depth) == pytest.approx(expected, abs=1e-6)


def filter_stats(folder, name, planes, bit_depth):
    """One value per plane of a yuv420p frame from the statistics file of ffmpeg's `psnr` or `ssim`."""
    from material import ffmpeg  # kernels are tested where there is no PyAV, too

    height, width = planes[0][0].shape
    pix_fmt = "yuv420p" if bit_depth == 8 else f"yuv420p{bit_depth}le"
    inputs = []
    for side in (0, 1):
        path = folder / f"{side}.yuv"
        path.write_bytes(b"".join(pair[side].tobytes() for pair in planes))
        inputs += ["-f", "rawvideo", "-pix_fmt", pix_fmt, "-s", f"{width}x{height}", "-i", path]
    stats = folder / "stats"
    ffmpeg(*inputs, "-lavfi", f"[0][1]{name}=stats_file={stats}", "-f", "null", "-")
    pattern = {"psnr": r"mse_[yuv]:(\S+)", "ssim": r"\b[YUV]:(\S+)"}[name]
    return [float(figure) for figure in re.findall(pattern, stats.read_text())]


def yuv420p(content, bit_depth, height, width):
    half = (-(-height // 2), -(-width // 2))
    return [pair(content, bit_depth, shape) for shape in ((height, width), half, half)]


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(120, 176), (61, 83), (18, 21)])
@pytest.mark.parametrize("content", ["astronaut", "noise", "gradient"])
@pytest.mark.parametrize("bit_depth", [8, 10, 12])
def test_metrics_equal_ffmpeg(bit_depth, content, shape, tmp_path):
    planes = yuv420p(content, bit_depth, *shape)
    for expected, (x, y) in zip(filter_stats(tmp_path, "psnr", planes, bit_depth), planes, strict=True):
        assert squared_error(x, y) / x.size == pytest.approx(expected, abs=0.0051)
    for expected, (x, y) in zip(filter_stats(tmp_path, "ssim", planes, bit_depth), planes, strict=True):
        assert ssim_ffmpeg(x, y, bit_depth=bit_depth) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (8, 40), (41, 11), (67, 130)])
@pytest.mark.parametrize("content", ["noise", "inverted", "flat_step"])
@pytest.mark.parametrize("bit_depth", BIT_DEPTHS)
def test_ssim_ffmpeg_equals_ref(bit_depth, content, shape):
    x, y = pair(content, bit_depth, shape)
    expected = metrics_ref.ssim_ffmpeg(torch.tensor(x), torch.tensor(y), bit_depth)
    assert ssim_ffmpeg(x, y, bit_depth=bit_depth) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (1, 20000), (300, 1), (61, 83)])
@pytest.mark.parametrize("bit_depth", BIT_DEPTHS)
def test_squared_error_is_exact(bit_depth, shape):
    for x, y in (
        pair("noise", bit_depth, shape),
        (codes(np.ones(shape), bit_depth), codes(np.zeros(shape), bit_depth)),
    ):
        error = squared_error(x, y)
        assert isinstance(error, int)
        assert error == int(((x.astype(np.int64) - y) ** 2).sum())
        assert metrics_ref.squared_error(torch.tensor(x), torch.tensor(y)) == error


@pytest.mark.parametrize("bit_depth", BIT_DEPTHS)
@pytest.mark.parametrize("content", ["coffee", "noise", "flat", "gradient"])
def test_metrics_identical_planes(content, bit_depth):
    x, _ = pair(content, bit_depth)
    assert squared_error(x, x.copy()) == 0
    assert ssim_gaussian(x, x.copy(), bit_depth=bit_depth) == 1
    assert ssim_ffmpeg(x, x.copy(), bit_depth=bit_depth) == 1


def laid_out(plane, layout):
    """The same codes in another memory layout."""
    height, width = plane.shape
    if layout == "padded":
        # The buffer ends with the last row's last sample: what lies behind it is not the plane's.
        pitch = width + 37
        buffer = np.random.default_rng(1).integers(0, 256, pitch * height - 37).astype(plane.dtype)
        view = as_strided(buffer, plane.shape, (pitch * plane.itemsize, plane.itemsize))
        view[...] = plane
        return view
    if layout == "read-only":
        plane = plane.copy()
        plane.flags.writeable = False
        return plane
    if layout == "unaligned":
        buffer = np.zeros(plane.nbytes + 1, np.uint8)[1:].view(plane.dtype).reshape(plane.shape)
        buffer[...] = plane
        return buffer
    if layout == "odd pitch":
        pitch = width * plane.itemsize + 1
        view = as_strided(np.zeros(pitch * height, np.uint8)[: -(pitch * height % 2) or None].view(plane.dtype))
        view = as_strided(view, plane.shape, (pitch, plane.itemsize))
        view[...] = plane
        return view
    return {
        "flipped": lambda: plane[::-1].copy()[::-1],
        "mirrored": lambda: plane[:, ::-1].copy()[:, ::-1],
        "column-major": lambda: np.asfortranarray(plane),
        "every other column": lambda: np.repeat(plane, 2, axis=1)[:, ::2],
        "every other row": lambda: np.repeat(plane, 2, axis=0)[::2],
        "tensor": lambda: torch.tensor(plane),
        "tensor view": lambda: torch.tensor(np.pad(plane, 5))[5:-5, 5:-5],
    }[layout]()


@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize(
    "layout",
    [
        *("padded", "read-only", "unaligned", "odd pitch", "flipped", "mirrored", "column-major"),
        *("every other column", "every other row", "tensor", "tensor view"),
    ],
)
def test_metrics_layouts(layout, bit_depth):
    x, y = pair("coffee", bit_depth, (45, 82))
    other = laid_out(x, layout)
    assert squared_error(other, y) == squared_error(y, other) == squared_error(x, y)
    assert ssim_gaussian(other, y, bit_depth=bit_depth) == ssim_gaussian(x, y, bit_depth=bit_depth)
    assert ssim_ffmpeg(other, y, bit_depth=bit_depth) == ssim_ffmpeg(x, y, bit_depth=bit_depth)
    assert (np.asarray(other) == x).all()


def test_metrics_side_by_side():
    pairs = [pair("noise", 8, (60, 90 + n)) for n in range(8)]
    alone = [ssim_gaussian(x, y, bit_depth=8) for x, y in pairs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda p: ssim_gaussian(*p, bit_depth=8), pairs)) == alone


def test_metrics_small_planes_have_no_ssim():
    x = np.zeros((10, 40), np.uint8)
    assert math.isnan(ssim_gaussian(x, x, bit_depth=8))
    assert math.isnan(ssim_gaussian(x.T, x.T, bit_depth=8))
    assert ssim_ffmpeg(x, x, bit_depth=8) == 1
    assert math.isnan(ssim_ffmpeg(x[:7], x[:7], bit_depth=8))
    assert squared_error(x[:0], x[:0]) == 0


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_metrics_without_numba(bit_depth, monkeypatch):
    x, y = pair("camera", bit_depth)
    x.flags.writeable = False
    fast = squared_error(x, y), ssim_gaussian(x, y, bit_depth=bit_depth), ssim_ffmpeg(x, y, bit_depth=bit_depth)
    monkeypatch.setattr(_dispatch, "_can_import", lambda module: False)
    assert implementation(x) == "torch"
    slow = squared_error(x, y), ssim_gaussian(x, y, bit_depth=bit_depth), ssim_ffmpeg(x, y, bit_depth=bit_depth)
    assert slow == pytest.approx(fast, abs=1e-6)


def test_metrics_import_is_light():
    code = "import sys, vidscale.triton_kernels.metrics; print({'torch', 'numba', 'triton'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.slow
def test_metrics_of_arrays_need_no_torch():
    code = """
import sys
import numpy as np
from vidscale.triton_kernels.metrics import ssim_gaussian
plane = np.zeros((20, 20), np.uint8)
print(ssim_gaussian(plane, plane, bit_depth=8), "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1.0 False\n"


def test_implementation():
    plane = np.zeros((2, 2), np.uint8)
    assert implementation(plane) == implementation("cpu") == implementation(torch.tensor(plane)) == "numba"
    assert implementation("cuda:0") == implementation(torch.device("cuda")) == "triton"
    assert implementation("mps") == "torch"


def test_psnr():
    assert psnr(1, 8) == pytest.approx(20 * math.log10(255))
    assert psnr(100, 10) == pytest.approx(20 * math.log10(1023) - 20)
    assert psnr(0, 8) == math.inf
    assert math.isnan(psnr(math.nan, 8))
    with pytest.raises(ValueError, match="mse = -1"):
        psnr(-1, 8)


def test_metrics_errors():
    plane = np.zeros((16, 16), np.uint8)
    with pytest.raises(ValueError, match=r"\[H, W\].*\(1, 16, 16\)"):
        squared_error(plane[None], plane[None])
    with pytest.raises(ValueError, match="float32"):
        squared_error(plane.astype(np.float32), plane)
    with pytest.raises(ValueError, match=">u2"):
        squared_error(plane.astype(">u2"), plane.astype(">u2"))
    with pytest.raises(ValueError, match=r"differ.*\(16, 15\)"):
        squared_error(plane, plane[:, :15])
    with pytest.raises(ValueError, match=r"differ.*uint16"):
        squared_error(plane, plane.astype(np.uint16))
    with pytest.raises(ValueError, match="different devices: cpu, meta"):
        squared_error(plane, torch.zeros(16, 16, dtype=torch.uint8, device="meta"))
    for ssim in (ssim_gaussian, ssim_ffmpeg):
        for bit_depth, dtype in ((10, np.uint8), (8, np.uint16), (17, np.uint16)):
            with pytest.raises(ValueError, match=f"bit_depth = {bit_depth}"):
                ssim(plane.astype(dtype), plane.astype(dtype), bit_depth=bit_depth)

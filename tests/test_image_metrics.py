"""`vidscale.image_metrics` against scikit-image, kornia and its definition."""

import math
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage import data
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vidscale.image_metrics import luma_psnr, luma_ssim

Image = npt.NDArray[np.float32]


@pytest.fixture
def pictures() -> tuple[Image, Image]:
    """A photograph, blurred and noisy, and the original; [3, 61, 87]."""
    photograph = np.moveaxis(data.astronaut()[100:161, 180:267] / 255, 2, 0).astype(np.float32)
    blurred = (photograph + np.roll(photograph, 1, 1) + np.roll(photograph, 1, 2)) / 3
    noise = np.random.default_rng(1).normal(0, 0.01, photograph.shape)
    return np.clip(blurred + noise, 0, 1).astype(np.float32), photograph


def luma(image: Image, shave: int) -> npt.NDArray[np.float64]:
    """By scikit-image, which implements MATLAB's rgb2ycbcr, relative to a peak of 255."""
    inside = image[:, shave : image.shape[1] - shave, shave : image.shape[2] - shave]
    return rgb2ycbcr(inside.astype(np.float64), channel_axis=0)[0] / 255


@pytest.mark.parametrize("shave", [0, 2, 4])
def test_luma_psnr_equals_scikit_image(pictures: tuple[Image, Image], shave: int) -> None:
    sr, hr = (luma(picture, shave) for picture in pictures)
    # scikit-image's coefficients have three digits behind the point, ours are those of the papers: 65.481 / 255 is
    # 65.738 / 256 to 4e-6.
    assert luma_psnr(*pictures, shave=shave) == pytest.approx(peak_signal_noise_ratio(hr, sr, data_range=1), abs=1e-4)


@pytest.mark.parametrize("shave", [0, 2, 4])
def test_luma_ssim_equals_scikit_image(pictures: tuple[Image, Image], shave: int) -> None:
    sr, hr = (luma(picture, shave) for picture in pictures)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    _, full = structural_similarity(sr, hr, full=True, **settings)
    assert luma_ssim(*pictures, shave=shave) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-5)


@pytest.mark.parametrize("shave", [0, 2])
def test_metrics_equal_kornia(pictures: tuple[Image, Image], shave: int) -> None:
    from kornia.metrics import psnr, ssim

    sr, hr = (torch.from_numpy(luma(picture, shave))[None, None] for picture in pictures)
    assert luma_psnr(*pictures, shave=shave) == pytest.approx(psnr(sr, hr, 1.0).item(), abs=1e-4)
    assert luma_ssim(*pictures, shave=shave) == pytest.approx(
        ssim(sr, hr, 11, max_val=1.0, padding="valid").mean().item(), abs=1e-5
    )


def test_luma_psnr_is_of_the_rgb_difference() -> None:
    hr = np.zeros((3, 20, 20), np.float32)
    for channel, coefficient in enumerate((65.738, 129.057, 25.064)):
        sr = hr.copy()
        sr[channel] = 1
        assert luma_psnr(sr, hr, shave=2) == pytest.approx(-20 * math.log10(coefficient / 256), abs=1e-9)


def test_tensors_and_arrays_measure_the_same(pictures: tuple[Image, Image]) -> None:
    tensors = [torch.from_numpy(picture) for picture in pictures]
    assert luma_psnr(*tensors, shave=2) == pytest.approx(luma_psnr(*pictures, shave=2), abs=1e-9)
    assert luma_ssim(*tensors, shave=2) == pytest.approx(luma_ssim(*pictures, shave=2), abs=1e-12)
    halves = [tensor.half() for tensor in tensors]
    assert luma_psnr(*halves, shave=2) == pytest.approx(luma_psnr(*pictures, shave=2), abs=0.02)


def test_what_is_shaved_does_not_count(pictures: tuple[Image, Image]) -> None:
    sr, hr = pictures
    framed = sr.copy()
    framed[:, :2] = framed[:, -2:] = framed[:, :, :2] = framed[:, :, -2:] = 0
    assert luma_psnr(framed, hr, shave=2) == luma_psnr(sr, hr, shave=2)
    assert luma_ssim(framed, hr, shave=2) == luma_ssim(sr, hr, shave=2)
    assert luma_psnr(framed, hr, shave=1) < luma_psnr(sr, hr, shave=1)


def test_perfect_damaged_and_tiny_pictures(pictures: tuple[Image, Image]) -> None:
    _, hr = pictures
    assert luma_psnr(hr, hr, shave=2) == math.inf
    assert luma_ssim(hr, hr, shave=2) == pytest.approx(1, abs=1e-12)
    broken = hr.copy()
    broken[0, 30, 30] = math.nan
    assert math.isnan(luma_psnr(broken, hr, shave=2))
    assert math.isnan(luma_ssim(broken, hr, shave=2))
    tiny = hr[:, :14, :30]
    assert math.isnan(luma_ssim(tiny, tiny, shave=2))
    assert luma_ssim(tiny, tiny, shave=1) == pytest.approx(1, abs=1e-12)


def test_metrics_errors(pictures: tuple[Image, Image]) -> None:
    _, hr = pictures
    for sr in (hr[:, 1:], hr[0], hr[:2]):
        with pytest.raises(ValueError, match=r"sr\.shape"):
            luma_psnr(sr, hr, shave=0)
    with pytest.raises(ValueError, match="shave = 31"):
        luma_ssim(hr, hr, shave=31)
    with pytest.raises(ValueError, match=r"image\.dtype"):
        luma_psnr((hr * 255).astype(np.uint8), hr, shave=2)


def test_metrics_need_numpy_alone() -> None:
    code = "import sys, vidscale.image_metrics; print(*sorted(sys.modules.keys() & {'torch', 'av', 'pydantic'}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""

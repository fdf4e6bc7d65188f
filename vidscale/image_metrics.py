"""How papers on super-resolution measure pictures: PSNR and SSIM of luma, the borders shaved off.

Works on numpy arrays and on torch tensors on any device, so that training can use it too.

The luma is that of MATLAB's ``rgb2ycbcr``: Y = 16 / 255 + (65.738 R + 129.057 G + 25.064 B) / 256 for R, G and B in
[0, 1], against a peak of 1 although Y only spans 219 / 255 of that. Pictures are measured as they are: round them to
codes before where a file would hold codes. The code released with CAR (Sun and Chen 2020) divides by 255 and cuts codes
off in place of rounding them, which gives the same picture a lower PSNR.
"""

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

ImageLike: TypeAlias = "npt.NDArray[np.floating[Any]] | torch.Tensor"

_LUMA = (65.738 / 256, 129.057 / 256, 25.064 / 256)
_BLACK = 16 / 255
_SUPPORT = 11
_OFFSETS = np.arange(_SUPPORT) - _SUPPORT // 2
_GAUSSIAN = np.exp(-0.5 * (_OFFSETS / 1.5) ** 2)
_TAPS: list[float] = (_GAUSSIAN / _GAUSSIAN.sum()).tolist()
_C1, _C2 = 0.01**2, 0.03**2


def luma_psnr(sr: ImageLike, hr: ImageLike, *, shave: int) -> float:
    """PSNR of the luma of a picture.

    Args:
        sr, hr: [3, H, W] float, RGB in [0, 1], both arrays or both tensors on one device.
        shave: rows and columns at each edge that do not count; by custom the scale.

    Returns:
        dB; inf for equal lumas, nan where a picture has nan.

    Raises:
        ValueError: not two such pictures, or nothing left of them.
    """
    _check(sr, hr, shave)
    difference = _luma(sr, shave) - _luma(hr, shave)
    mse = float((difference * difference).mean())
    return math.inf if mse == 0 else -10 * math.log10(mse)


def luma_ssim(sr: ImageLike, hr: ImageLike, *, shave: int) -> float:
    """Mean structural similarity of the luma of a picture (Wang, Bovik, Sheikh, Simoncelli, TIP 2004).

    11x11 Gaussian window, sigma 1.5, K1 0.01, K2 0.03, population covariance, mean over the positions where the window
    lies inside the shaved picture, all in float64: as their MATLAB program does without its automatic downsampling.

    Args:
        sr, hr, shave: see `luma_psnr`.

    Returns:
        -1 to 1, 1 for equal lumas; nan where a picture has nan or fewer than 11 samples are left of a side.

    Raises:
        ValueError: not two such pictures, or nothing left of them.
    """
    _check(sr, hr, shave)
    x, y = _luma(sr, shave), _luma(hr, shave)
    if min(x.shape) < _SUPPORT:
        return math.nan
    mean_x, mean_y = _filtered(x), _filtered(y)
    square_x, square_y, product = mean_x * mean_x, mean_y * mean_y, mean_x * mean_y
    variances = _filtered(x * x + y * y) - square_x - square_y
    covariance = _filtered(x * y) - product
    luminance = (2 * product + _C1) / (square_x + square_y + _C1)
    return float((luminance * ((2 * covariance + _C2) / (variances + _C2))).mean())


def _luma(image: Any, shave: int) -> Any:
    """[H - 2 shave, W - 2 shave] float64."""
    height, width = image.shape[1:]
    image = image[:, shave : height - shave, shave : width - shave]
    image = image.astype(np.float64) if isinstance(image, np.ndarray) else image.double()
    return _BLACK + image[0] * _LUMA[0] + image[1] * _LUMA[1] + image[2] * _LUMA[2]


def _filtered(plane: Any) -> Any:
    """[H, W] to [H - 10, W - 10]: the Gaussian window's weighted means."""
    height, width = (side - _SUPPORT + 1 for side in plane.shape)
    rows = sum(plane[k : k + height] * tap for k, tap in enumerate(_TAPS))
    return sum(rows[:, k : k + width] * tap for k, tap in enumerate(_TAPS))


def _check(sr: Any, hr: Any, shave: int) -> None:
    if sr.ndim != 3 or sr.shape[0] != 3 or tuple(sr.shape) != tuple(hr.shape):
        raise ValueError(f"not two pictures [3, H, W]: {sr.shape = }, {hr.shape = }")
    for image in (sr, hr):
        if "float" not in str(image.dtype):
            raise ValueError(f"not RGB floats in [0, 1]: {image.dtype = }")
    if shave < 0 or min(sr.shape[1:]) <= 2 * shave:
        raise ValueError(f"the margin to shave leaves no samples: {sr.shape = }, {shave = }")

"""Metrics of a pair of integer planes: squared error, Gaussian SSIM, and SSIM as ffmpeg's filter computes it.

Every function takes planes as they are decoded: [H, W], uint8 or uint16 (code in the low bits), both of one dtype,
unit stride along W, rows possibly padded, possibly read-only. A numpy array or a torch tensor on the CPU is measured in
place by numba (by plain torch if numba is missing), a CUDA tensor by Triton. numba, torch and triton are imported for
the first plane that needs them.
"""

import math
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vidscale.triton_kernels._dispatch import Implementation, choose, device_of

if TYPE_CHECKING:
    import torch

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
PlaneLike: TypeAlias = "Plane | torch.Tensor"

_GAUSSIAN_SUPPORT = 11
_BLOCK_SUPPORT = 8


def psnr(mse: float, bit_depth: int) -> float:
    """Peak signal-to-noise ratio in dB.

    Args:
        mse: mean of the squared code differences, >= 0.
        bit_depth: bits per sample; the peak is 2**bit_depth - 1.

    Returns:
        10 log10(peak**2 / mse); inf for identical planes, nan if `mse` is nan.
    """
    if mse < 0:
        raise ValueError(f"a mean squared error is not negative: {mse = }")
    peak = (1 << bit_depth) - 1
    return math.inf if mse == 0 else 10 * math.log10(peak * peak / mse)


def squared_error(ref: PlaneLike, dist: PlaneLike) -> int:
    """Exact sum of the squared code differences of two planes.

    Args:
        ref, dist: [H, W], uint8 or uint16.

    Returns:
        sum (ref - dist)**2; divided by H * W it is the mse that `psnr` takes.

    Raises:
        ValueError: planes that differ in shape, dtype or device, or are not planes.
    """
    _check(ref, dist)
    form, ref, dist = _form(ref, dist)
    return int(form.squared_error(ref, dist))


def ssim_gaussian(ref: PlaneLike, dist: PlaneLike, *, bit_depth: int) -> float:
    """Mean structural similarity under a Gaussian window (Wang, Bovik, Sheikh, Simoncelli, TIP 2004).

    11x11 window, sigma 1.5, K1 0.01, K2 0.03, L = 2**bit_depth - 1, population covariance, mean over the positions
    where the window is inside the plane. Equals scikit-image's `structural_similarity` with `gaussian_weights=True,
    sigma=1.5, use_sample_covariance=False, data_range=L`, and kornia's `ssim` with `padding="valid"`, to 1e-6 on
    pictures; to 1e-4 for flat areas of very different brightness, since the fast versions compute in float32.

    Args:
        ref, dist: [H, W], uint8 or uint16, codes 0 to L.
        bit_depth: bits per sample, 8 for uint8, 9 to 16 for uint16.

    Returns:
        -1 to 1, exactly 1 for identical planes; nan for a plane with fewer than 11 samples on a side.

    Raises:
        ValueError: planes that differ in shape, dtype or device, or are not planes; a bit depth that does not fit.
    """
    _check(ref, dist, bit_depth)
    if min(ref.shape) < _GAUSSIAN_SUPPORT:
        return math.nan
    form, ref, dist = _form(ref, dist)
    return float(form.ssim_gaussian(ref, dist, bit_depth))


def ssim_ffmpeg(ref: PlaneLike, dist: PlaneLike, *, bit_depth: int) -> float:
    """Structural similarity as ffmpeg's `ssim` filter defines it for one plane of one frame.

    Unweighted windows of 8x8 samples, every 4 samples; integer sums; samples beyond a multiple of 4 at the right and
    bottom are ignored. With N = 64 samples per window the filter's constants are C1 = N (0.01 L)**2 and
    C2 = N (N - 1) (0.03 L)**2, rounded, for sums scaled by N. CUDA tensors are measured in plain torch.

    Args:
        ref, dist: [H, W], uint8 or uint16, codes 0 to L.
        bit_depth: bits per sample, 8 for uint8, 9 to 16 for uint16.

    Returns:
        -1 to 1, exactly 1 for identical planes; nan for a plane with fewer than 8 samples on a side.

    Raises:
        ValueError: planes that differ in shape, dtype or device, or are not planes; a bit depth that does not fit.
    """
    _check(ref, dist, bit_depth)
    if min(ref.shape) < _BLOCK_SUPPORT:
        return math.nan
    form, ref, dist = _form(ref, dist)
    return float(form.ssim_ffmpeg(ref, dist, bit_depth))


def implementation(plane_or_device: "PlaneLike | torch.device | str") -> Implementation:
    """Name of the version that measures a plane, for the report.

    Args:
        plane_or_device: a plane, a torch device, or a device's name such as "cpu" or "cuda:0".
    """
    return choose(plane_or_device, "metrics_cpu")


def _form(ref: Any, dist: Any) -> tuple[ModuleType, Any, Any]:
    """The module that measures these planes, and the planes as it takes them."""
    which = implementation(ref)
    if which == "numba":
        from vidscale.triton_kernels import metrics_cpu

        return metrics_cpu, _array(ref), _array(dist)
    if which == "triton":
        from vidscale.triton_kernels import metrics_triton

        return metrics_triton, ref, dist
    from vidscale.triton_kernels import metrics_ref

    return metrics_ref, _tensor(ref), _tensor(dist)


def _array(plane: Any) -> Any:
    return plane if isinstance(plane, np.ndarray) else plane.numpy()


def _tensor(plane: Any) -> Any:
    import torch

    # A copy, since torch has no read-only tensors.
    return torch.from_numpy(plane.copy()) if isinstance(plane, np.ndarray) else plane


def _check(ref: Any, dist: Any, bit_depth: int | None = None) -> None:
    for plane in (ref, dist):
        if plane.ndim != 2 or _dtype(plane) not in ("uint8", "uint16"):
            raise ValueError(f"a plane is [H, W], uint8 or uint16: {plane.shape = }, {plane.dtype = }")
    if tuple(ref.shape) != tuple(dist.shape) or _dtype(ref) != _dtype(dist):
        raise ValueError(f"the planes differ: {ref.shape = }, {dist.shape = }, {ref.dtype = }, {dist.dtype = }")
    if device_of(ref) != device_of(dist):
        raise ValueError(f"the planes lie on different devices: {device_of(ref)}, {device_of(dist)}")
    if bit_depth is not None and (not 8 <= bit_depth <= 16 or (bit_depth == 8) != (_dtype(ref) == "uint8")):
        raise ValueError(f"8 bit are uint8, 9 to 16 bit uint16: {bit_depth = }, {ref.dtype = }")


def _dtype(plane: Any) -> str:
    if isinstance(plane, np.ndarray) and not plane.dtype.isnative:
        return str(plane.dtype.str)
    return str(plane.dtype).removeprefix("torch.")

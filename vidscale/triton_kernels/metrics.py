"""Metrics of a pair of integer planes: squared error, Gaussian SSIM, and SSIM as ffmpeg's filter computes it.

Every function takes the planes as they are decoded: [H, W], uint8 or uint16 (code in the low bits), both of one
type, unit stride along W, rows possibly padded, possibly read-only. A numpy array or a torch tensor on the CPU is
measured in place by numba (by plain torch where numba is missing), a CUDA tensor by Triton. Neither numba, torch
nor triton is imported before the first plane that needs it.
"""

import importlib.util
import math
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
PlaneLike: TypeAlias = "Plane | torch.Tensor"
Implementation = Literal["numba", "torch", "triton"]

_GAUSSIAN_SUPPORT = 11
_BLOCK_SUPPORT = 8


def psnr(mse: float, bit_depth: int) -> float:
    """Peak signal-to-noise ratio in dB.

    Args:
        mse: mean of the squared code differences, >= 0.
        bit_depth: bits per sample; the peak is 2**bit_depth - 1.

    Returns:
        10 log10(peak**2 / mse); inf for a perfect plane, nan where `mse` is nan.
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
        ValueError: planes that differ in shape, dtype or device, or are no planes.
    """
    _check(ref, dist)
    if _on_host(ref) and _on_host(dist) and (cpu := _numba()):
        return int(cpu.squared_error(_host(ref), _host(dist)))
    return int(_torch_form(ref, triton=True).squared_error(*_tensors(ref, dist)))


def ssim_gaussian(ref: PlaneLike, dist: PlaneLike, *, bit_depth: int) -> float:
    """Mean structural similarity under a Gaussian window (Wang, Bovik, Sheikh, Simoncelli, TIP 2004).

    11x11 window, sigma 1.5, K1 0.01, K2 0.03, L = 2**bit_depth - 1, population covariance, mean over the positions
    where the window lies inside the plane. Equals scikit-image's `structural_similarity` with `gaussian_weights=True,
    sigma=1.5, use_sample_covariance=False, data_range=L`, and kornia's `ssim` with `padding="valid"`.

    Args:
        ref, dist: [H, W], uint8 or uint16, codes 0 to L.
        bit_depth: bits per sample, 8 for uint8, 8 to 16 for uint16.

    Returns:
        -1 to 1, exactly 1 for identical planes; nan for a plane with fewer than 11 samples on a side.

    Raises:
        ValueError: planes that differ in shape, dtype or device, or are no planes; a bit depth that they cannot have.
    """
    _check(ref, dist, bit_depth)
    if min(ref.shape) < _GAUSSIAN_SUPPORT:
        return math.nan
    if _on_host(ref) and _on_host(dist) and (cpu := _numba()):
        return float(cpu.ssim_gaussian(_host(ref), _host(dist), bit_depth))
    return float(_torch_form(ref, triton=True).ssim_gaussian(*_tensors(ref, dist), bit_depth))


def ssim_ffmpeg(ref: PlaneLike, dist: PlaneLike, *, bit_depth: int) -> float:
    """Structural similarity as ffmpeg's `ssim` filter defines it for one plane of one frame.

    Windows of 8x8 samples of equal weight, every 4 samples; sums in integers; the samples beyond a multiple of 4 at
    the right and bottom do not count. With N = 64 samples in a window the filter's constants are
    C1 = N (0.01 L)**2 and C2 = N (N - 1) (0.03 L)**2, rounded, on sums that are scaled by N.
    On a CUDA tensor this is plain torch.

    Args:
        ref, dist: [H, W], uint8 or uint16, codes 0 to L.
        bit_depth: bits per sample, 8 for uint8, 8 to 16 for uint16.

    Returns:
        -1 to 1, exactly 1 for identical planes; nan for a plane with fewer than 8 samples on a side.

    Raises:
        ValueError: planes that differ in shape, dtype or device, or are no planes; a bit depth that they cannot have.
    """
    _check(ref, dist, bit_depth)
    if min(ref.shape) < _BLOCK_SUPPORT:
        return math.nan
    if _on_host(ref) and _on_host(dist) and (cpu := _numba()):
        return float(cpu.ssim_ffmpeg(_host(ref), _host(dist), bit_depth))
    return float(_torch_form(ref, triton=False).ssim_ffmpeg(*_tensors(ref, dist), bit_depth))


def implementation(plane_or_device: "PlaneLike | torch.device | str") -> Implementation:
    """Which code measures a plane, for the report.

    Args:
        plane_or_device: a plane, a torch device, or a device's name such as "cpu" or "cuda:0".
    """
    if isinstance(plane_or_device, np.ndarray):
        kind = "cpu"
    elif isinstance(plane_or_device, str):
        kind = plane_or_device.partition(":")[0]
    else:
        kind = str(getattr(plane_or_device, "device", plane_or_device).type)
    if kind == "cpu":
        return "numba" if _numba() else "torch"
    return "triton" if kind == "cuda" and importlib.util.find_spec("triton") else "torch"


def _check(ref: Any, dist: Any, bit_depth: int | None = None) -> None:
    for plane in (ref, dist):
        if not hasattr(plane, "dtype") or plane.ndim != 2 or _dtype_name(plane) not in ("uint8", "uint16"):
            shape, dtype = getattr(plane, "shape", None), getattr(plane, "dtype", type(plane))
            raise ValueError(f"a plane is [H, W], uint8 or uint16: {shape = }, {dtype = }")
    if tuple(ref.shape) != tuple(dist.shape) or _dtype_name(ref) != _dtype_name(dist):
        raise ValueError(f"the planes differ: {ref.shape = }, {dist.shape = }, {ref.dtype = }, {dist.dtype = }")
    if not (_on_host(ref) and _on_host(dist)) and getattr(ref, "device", None) != getattr(dist, "device", None):
        raise ValueError("the planes lie on different devices")
    if bit_depth is not None and not (bit_depth == 8 if _dtype_name(ref) == "uint8" else 8 <= bit_depth <= 16):
        raise ValueError(f"codes of {ref.dtype} cannot have this bit depth: {bit_depth = }")


def _dtype_name(plane: Any) -> str:
    if isinstance(plane, np.ndarray):
        return plane.dtype.name if plane.dtype.isnative else "foreign byte order"
    return str(plane.dtype).removeprefix("torch.")


def _on_host(plane: Any) -> bool:
    return isinstance(plane, np.ndarray) or plane.device.type == "cpu"


def _host(plane: Any) -> Plane:
    array: Plane = plane if isinstance(plane, np.ndarray) else plane.detach().numpy()
    return array


def _tensors(ref: Any, dist: Any) -> tuple["torch.Tensor", "torch.Tensor"]:
    import torch

    # A copy, since torch has no read-only tensors; this is the way of a machine without numba.
    first, second = (torch.from_numpy(p.copy()) if isinstance(p, np.ndarray) else p for p in (ref, dist))
    return first, second


def _torch_form(plane: Any, *, triton: bool) -> ModuleType:
    if triton and implementation(plane) == "triton":
        from vidscale.triton_kernels import metrics_gpu

        return metrics_gpu
    from vidscale.triton_kernels import metrics_ref

    return metrics_ref


@cache
def _numba() -> ModuleType | None:
    try:
        from vidscale.triton_kernels import metrics_cpu
    except ImportError:
        return None
    return metrics_cpu

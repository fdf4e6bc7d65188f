"""Content-adaptive resampling: each LR pixel is a weighted sum of HR samples around it, at positions of its own.

The operation of CAR (Sun and Chen, "Learned Image Downscaling for Upscaling Using Content Adaptive Resampler", IEEE
TIP 2020), with gradients for all four inputs, and a form for inference that reads a network's raw heads.
Nothing heavy is imported here; numba, torch and triton are imported when the version that needs them first runs.
"""

from math import isqrt
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from vidscale.triton_kernels._dispatch import Implementation, choose

if TYPE_CHECKING:
    import torch

    ArrayT = TypeVar("ArrayT", bound=npt.NDArray[Any] | torch.Tensor)
else:
    ArrayT = TypeVar("ArrayT")

MAX_CHANNELS = 4
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_CODES = ("uint8", "uint16")


def adaptive_resample(x: ArrayT, taps: ArrayT, offset_x: ArrayT, offset_y: ArrayT, *, scale: int) -> ArrayT:
    """Resample pictures with taps and offsets per LR pixel.

    Channel ``ky * K + kx`` of `taps` and of the offsets belongs to tap (kx, ky). For LR pixel (x, y) that tap reads
    the HR picture bilinearly at ``((x + 0.5) * scale - 0.5 + kx - K // 2 + offset_x, likewise in y)``. The picture is
    padded by K // 2 samples, mirrored without repeating the edge (torch's "reflect"; repeatedly if the picture is
    smaller than that). Positions further outside read the edge of the padded picture; their offsets get no gradient.
    Positions are an integer plus a small fraction, so their error does not grow with the width.

    Differentiable in all four inputs if they are tensors. Where an offset falls on a sample's centre, its gradient is
    that of the next interval to the right or below.

    Args:
        x: [N, C, H, W] float of any range, C from 1 to 4: channels share taps and offsets. numpy or torch, like the
            others; float16 and bfloat16 are read directly, sums are float32 (float64 if any input is float64).
        taps: [N, K*K, h, w] float, one kernel per LR pixel; should sum to 1 over K*K, which is not enforced.
        offset_x, offset_y: [N, K*K, h, w] float, in HR pixels, right and down positive, magnitude below 2**24.
        scale: HR samples per LR sample, an integer from 1; h and w are H / scale and W / scale, rounded up or down.

    Returns:
        [N, C, h, w], dtype and device of `x`.

    Raises:
        ValueError: an argument that does not fit this description.
    """
    _check(x, taps, offset_x, offset_y, scale, "taps", "offset_x", "offset_y")
    if _dtype(x) not in _FLOATS:
        raise ValueError(f"x must be float: {x.dtype = !s}")
    arrays: tuple[Any, ...] = (x, taps, offset_x, offset_y)
    path = _path(*arrays)
    result: Any
    if path == "numba" and isinstance(x, np.ndarray):
        from vidscale.triton_kernels.adaptive_cpu import forward

        result = forward(*arrays, scale=scale).astype(x.dtype, copy=False)
    else:
        from vidscale.triton_kernels.adaptive_grad import adaptive_resample_torch

        result = _like(x, adaptive_resample_torch(*_as_tensors(*arrays), scale=scale, path=path))
    return result  # type: ignore[no-any-return]


def adaptive_resample_heads(
    x: ArrayT,
    kernel_head: ArrayT,
    offset_x_head: ArrayT,
    offset_y_head: ArrayT,
    *,
    scale: int,
    out_dtype: "str | torch.dtype | np.dtype[Any] | None" = None,
    bit_depth: int = 8,
) -> ArrayT:
    """`adaptive_resample` fused with CAR's activations, for inference: each head is read once and nothing else stored.

    Taps are ``clamp(kernel_head, 1e-6, 1)`` divided by their sum over K*K; offsets are ``tanh(head) * scale``.

    Args:
        x: [N, C, H, W], C from 1 to 4; float in [0, 1], or codes of `bit_depth` in uint8 or uint16. numpy or torch.
        kernel_head, offset_x_head, offset_y_head: [N, K*K, h, w] float16, bfloat16 or float32, channel ky * K + kx,
            before any activation.
        scale: HR samples per LR sample, see `adaptive_resample`.
        out_dtype: of the result, a name or a dtype: "uint8" or "uint16" codes, clamped and rounded half up;
            "float16", "bfloat16" or "float32", not clamped, code / peak if `x` is codes. None: that of `x`.
        bit_depth: bits per code, of input and output: 8 with uint8, 9 to 16 with uint16; ignored for floats.

    Returns:
        [N, C, h, w] of `out_dtype`, on the device of `x`, detached from autograd.

    Raises:
        ValueError: an argument that does not fit this description.
    """
    _check(x, kernel_head, offset_x_head, offset_y_head, scale, "kernel_head", "offset_x_head", "offset_y_head")
    out_name = _dtype(x) if out_dtype is None else str(out_dtype).removeprefix("torch.")
    for name in (_dtype(x), out_name):
        if name not in (*_FLOATS, *_CODES) or (name == "bfloat16" and isinstance(x, np.ndarray)):
            raise ValueError(f"no dtype of pictures: {x.dtype = !s}, {out_dtype = !s}")
        if name in _CODES and not (bit_depth == 8 if name == "uint8" else 9 <= bit_depth <= 16):
            raise ValueError(f"{name} codes cannot have this bit depth: {bit_depth = }")
    peak = (1 << bit_depth) - 1
    gain = (peak if out_name in _CODES else 1) / (peak if _dtype(x) in _CODES else 1)
    arrays: tuple[Any, ...] = (x, kernel_head, offset_x_head, offset_y_head)
    path = _path(*arrays)
    settings: dict[str, Any] = {"scale": scale, "out_name": out_name, "gain": gain, "peak": peak}
    result: Any
    if path == "numba" and isinstance(x, np.ndarray):
        from vidscale.triton_kernels.adaptive_cpu import forward_heads

        result = forward_heads(*arrays, **settings)
    else:
        from vidscale.triton_kernels.adaptive_grad import adaptive_heads_torch

        result = _like(x, adaptive_heads_torch(*_as_tensors(*arrays), path=path, **settings))
    return result  # type: ignore[no-any-return]


def implementation(array_or_device: "npt.NDArray[Any] | torch.Tensor | torch.device | str") -> Implementation:
    """Name of the version that runs for a picture, or for pictures on a device such as "cuda:0".

    float64 always uses the torch reference.
    """
    is_float64 = str(getattr(array_or_device, "dtype", "")).endswith("float64")
    return "torch" if is_float64 else choose(array_or_device, "adaptive_cpu")


def _path(*arrays: Any) -> Implementation:
    paths = [implementation(a) for a in arrays]
    return "torch" if "torch" in paths else paths[0]


def _dtype(array: Any) -> str:
    return str(array.dtype).removeprefix("torch.")


def _as_tensors(*arrays: Any) -> tuple[Any, ...]:
    import torch

    # A copy, since torch has no read-only tensors; only float64 and machines without numba come here.
    return tuple(torch.tensor(a) if isinstance(a, np.ndarray) else a for a in arrays)


def _like(x: Any, result: Any) -> Any:
    return result.numpy() if isinstance(x, np.ndarray) else result


def _check(x: Any, taps: Any, offset_x: Any, offset_y: Any, scale: int, *names: str) -> None:
    """`names` are those of the three arguments after `x`."""
    if x.ndim != 4 or 0 in x.shape or x.shape[1] > MAX_CHANNELS:
        raise ValueError(f"x must be [N, C, H, W], C from 1 to {MAX_CHANNELS}, not empty: {x.shape = }")
    if x.shape[2] * x.shape[3] >= 2**31:
        raise ValueError(f"x has too many samples in a plane: {x.shape = }")
    if not isinstance(scale, int) or scale < 1:
        raise ValueError(f"scale must be an integer from 1: {scale = }")
    for name, array in zip(names, (taps, offset_x, offset_y), strict=True):
        count, *size = array.shape[1:] if array.ndim == 4 else (0,)
        sides = [(side // scale, -(-side // scale)) for side in x.shape[2:]]
        fits = count > 0 and isqrt(count) ** 2 == count and array.shape[0] == x.shape[0]
        if not fits or not all(n > 0 and n in options for n, options in zip(size, sides, strict=True)):
            raise ValueError(
                f"{name} must be [N, K*K, h, w], h and w those of x divided by {scale = }: "
                f"{name}.shape = {tuple(array.shape)}, {x.shape = }"
            )
        if tuple(array.shape) != tuple(taps.shape):
            raise ValueError(f"{name} must be shaped as {names[0]}: {tuple(array.shape)}, {tuple(taps.shape)}")
        if _dtype(array) not in _FLOATS:
            raise ValueError(f"{name} must be float: {name}.dtype = {array.dtype}")
        if type(array) is not type(x) and isinstance(array, np.ndarray) != isinstance(x, np.ndarray):
            raise ValueError(f"x and {name} must both be arrays or both tensors: {type(x) = }, {type(array) = }")
        if getattr(array, "device", None) != getattr(x, "device", None):
            raise ValueError(f"x and {name} lie on different devices: {x.device = !s}, {array.device = !s}")

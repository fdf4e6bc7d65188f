"""Fixed separable resampling of one plane: Lanczos, Catmull-Rom, Gaussian and box filters, by zimg's rule.

The result matches ffmpeg's ``zscale`` to within one code.
Nothing heavy is imported here; numba, torch and triton are imported when the version that needs them first runs.
"""

from collections.abc import Callable
from fractions import Fraction
from numbers import Rational
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from vidscale.triton_kernels._dispatch import Implementation, choose
from vidscale.triton_kernels.polyphase_filters import SHARPNESS, SHRINKING, Kind, Name, Sharpened

if TYPE_CHECKING:
    import torch

    PlaneT = TypeVar("PlaneT", bound=npt.NDArray[Any] | torch.Tensor)
else:
    PlaneT = TypeVar("PlaneT")


def polyphase_resample(
    plane: PlaneT,
    *,
    step: Fraction,
    siting: tuple[Fraction, Fraction],
    size: tuple[int, int],
    kind: Kind,
    bit_depth: int,
) -> PlaneT:
    """Resample one plane of codes with a fixed filter, as zimg (ffmpeg's ``zscale``) does.

    When shrinking, the filter is stretched by `step`. Edges are mirrored, with the edge sample repeated. Shrinking
    filters along columns first, enlarging along rows first. Values are clamped to the code range between the two passes
    and rounded half up at the end.

    Args:
        plane: [H, W] uint8 (8 bit) or uint16 (9 to 16 bit, codes in the low bits), numpy or torch. Rows may be padded.
        step: source samples per output sample, the same for both axes; above 1 shrinks, below 1 enlarges.
        siting: (y, x) distance of the first sample's centre from the picture's edge, in samples of its own grid, the
            same before and after; 1/2 is centred. Output i lies at ``step * (i + siting) - siting``.
        size: (h, w) of the result; any part beyond the source shows its mirror image.
        kind: "lanczos" (three lobes), "bicubic" (Catmull-Rom); shrinking only: "area" (mean over the covered area),
            "gaussian" (a blur by 0.4 output samples, read at the outputs' centres), any of them `Sharpened`.
        bit_depth: bits per code, 8 to 16.

    Returns:
        [h, w], same dtype and kind of object, on the same device; a new array in C order.

    Raises:
        ValueError: an argument that does not fit this description.
    """
    _check(plane, step, siting, size, kind, bit_depth)
    resample = _PATHS[implementation(plane)]
    step, siting, size = Fraction(step), (Fraction(siting[0]), Fraction(siting[1])), (int(size[0]), int(size[1]))
    result: PlaneT = resample(plane, step=step, siting=siting, size=size, kind=kind, bit_depth=bit_depth)
    return result


def implementation(plane: "npt.NDArray[Any] | torch.Tensor | torch.device | str") -> Implementation:
    """Name of the version that `polyphase_resample` runs for a plane, or for planes on a device such as "cuda:0"."""
    return choose(plane, "polyphase_cpu")


def _with_numba(plane: Any, **settings: Any) -> Any:
    from vidscale.triton_kernels.polyphase_cpu import polyphase_cpu

    if isinstance(plane, np.ndarray):
        return polyphase_cpu(plane, **settings)
    import torch

    return torch.from_numpy(polyphase_cpu(plane.numpy(), **settings))


def _with_torch(plane: Any, **settings: Any) -> Any:
    import torch

    from vidscale.triton_kernels.polyphase_ref import polyphase_ref

    if isinstance(plane, np.ndarray):
        return polyphase_ref(torch.tensor(plane), **settings).numpy()
    return polyphase_ref(plane, **settings)


def _with_triton(plane: Any, **settings: Any) -> Any:
    from vidscale.triton_kernels.polyphase_triton import polyphase_triton

    return polyphase_triton(plane, **settings)


_PATHS: dict[Implementation, Callable[..., Any]] = {
    "numba": _with_numba,
    "torch": _with_torch,
    "triton": _with_triton,
}


def _check(
    plane: Any, step: Fraction, siting: tuple[Fraction, Fraction], size: tuple[int, int], kind: Kind, bit_depth: int
) -> None:
    if plane.ndim != 2 or 0 in plane.shape:
        raise ValueError(f"plane must be [H, W] and not empty: {plane.shape = }")
    if not 8 <= bit_depth <= 16:
        raise ValueError(f"bit_depth must be 8 to 16: {bit_depth = }")
    dtype = "uint8" if bit_depth == 8 else "uint16"
    if str(plane.dtype).removeprefix("torch.") != dtype:
        raise ValueError(f"plane must be {dtype} at {bit_depth = }: {plane.dtype = !s}")
    name = kind.name if isinstance(kind, Sharpened) else kind
    if name not in get_args(Name):
        raise ValueError(f"kind must be one of {get_args(Name)}: {kind = }")
    if len(siting) != 2 or not all(isinstance(value, Rational) for value in (step, *siting)):
        raise ValueError(f"step and siting (y, x) must be exact, Fraction or int: {step = !r}, {siting = !r}")
    if step <= 0:
        raise ValueError(f"step must be positive: {step = !s}")
    if isinstance(kind, Sharpened) and not SHARPNESS[0] <= kind.sharpness <= SHARPNESS[1]:
        raise ValueError(f"sharpness must be {SHARPNESS[0]} to {SHARPNESS[1]}: {kind = }")
    if (name in SHRINKING or isinstance(kind, Sharpened)) and step < 1:
        raise ValueError(f"{', '.join(SHRINKING)} and sharpened filters shrink only: {step = !s}")
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be (h, w), both positive: {size = }")

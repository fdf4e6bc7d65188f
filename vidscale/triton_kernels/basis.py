"""Resampling of planes with filters that are mixed per cell from a small basis: the content decides the mixture.

A network predicts M coefficients per cell instead of K*K taps per pixel. No pair uses it so far: a downscaler that
adapts to the content in this way has not saved bits. Shrinks and enlarges by any rational step, with the geometry of
`polyphase_resample`.
Nothing heavy is imported here; numba, torch and triton are imported when the version that needs them first runs.
"""

from collections.abc import Callable
from fractions import Fraction
from numbers import Rational
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from vidscale.triton_kernels._dispatch import Implementation, choose, device_of
from vidscale.triton_kernels.basis_geometry import first_taps
from vidscale.triton_kernels.polyphase_filters import FilterBank, Kind, filter_bank

if TYPE_CHECKING:
    import torch

    Array = npt.NDArray[Any] | torch.Tensor
    PlaneT = TypeVar("PlaneT", bound=Array)
else:
    Array = Any
    PlaneT = TypeVar("PlaneT")

Basis = Array | tuple[Array, Array]


def basis_resample(
    plane: PlaneT,
    coefficients: Array,
    basis: Basis,
    *,
    step: Fraction,
    siting: tuple[Fraction, Fraction],
    size: tuple[int, int],
    block: tuple[int, int] = (1, 1),
    bit_depth: int | None = None,
) -> PlaneT:
    """Resample a plane of codes, or float planes with gradients, with taps mixed from M filters.

    Output (y, x) has phase (y mod P, x mod P), P the denominator of `step`, and belongs to cell
    (y // block[0], x // block[1]). Its taps are ``sum_m c_m B_m / sum_m c_m sum(B_m)``, with c of that cell and B of
    that phase; the divisor is clamped to 1e-6 from below. Along each axis they start at source sample `first_taps`;
    edges are mirrored, with the edge sample repeated. Codes are clamped and rounded half up once, at the end.

    A separable basis is no faster than any other: taps are mixed per cell before they are applied, so the number of
    filters hardly matters if cells are 4x4 pixels or larger.

    Args:
        plane: [H, W] uint8 (8 bit) or uint16 (9 to 16 bit, codes in the low bits), rows may be padded, for inference;
            or a float tensor [N, C, H, W] of any range, for training.
        coefficients: [M, ceil(h / block[0]), ceil(w / block[1])] float; [N, M, ...] with float planes, shared by their
            channels. Any sign and size; numpy or torch like the plane, on its device.
        basis: [M, P, P, support_y, support_x] float, phases (y, x) first; or a pair (along y, along x), each
            [M, P, support], whose products are the filters. Filters need not sum to 1, and may sum to 0.
        step: source samples per output sample, the same for both axes; above 1 shrinks, below 1 enlarges.
        siting: (y, x) distance of the first sample's centre from the picture's edge, in samples of its own grid, the
            same before and after; 1/2 is centred.
        size: (h, w) of the result.
        block: (rows, columns) of output pixels in a cell of coefficients; the last cells may be cut off.
        bit_depth: bits per code, 8 to 16; None for float planes.

    Returns:
        [h, w], dtype and kind of the plane; [N, C, h, w] with float planes, differentiable in plane, coefficients and
        basis.

    Raises:
        ValueError: an argument that does not fit this description.
    """
    step, siting, size = _geometry(step, siting, size)
    filters = _joined(basis, step.denominator)
    _check(plane, coefficients, filters, size, block, bit_depth)
    settings: dict[str, Any] = {"step": step, "siting": siting, "size": size, "block": block, "bit_depth": bit_depth}
    result: PlaneT = _PATHS[implementation(plane)](plane, coefficients, filters, **settings)
    return result


def fixed_basis(
    kind: Kind, step: Fraction, siting: tuple[Fraction, Fraction], support: int | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """A filter of `polyphase_resample` as a basis of one filter: (along y, along x), each [1, P, support].

    Args:
        kind, step, siting: of `polyphase_resample`.
        support: taps along each axis; None for the smallest number that fits the filter along both.

    Raises:
        ValueError: a support that is too small for the filter.
    """
    sizes = range(1, 4096) if support is None else [support]
    for size in sizes:
        y, x = (_placed(filter_bank(kind, step, c, step.denominator), first_taps(step, c, size), size) for c in siting)
        if y is not None and x is not None:
            return y, x
    raise ValueError(f"{kind} filters of {step = !s} do not fit: {support = }")


def _placed(bank: FilterBank, first: list[int], support: int) -> npt.NDArray[np.float64] | None:
    """A bank as [1, P, support], or None if it does not fit."""
    taps = np.zeros((1, bank.phases, support))
    for phase, row in enumerate(bank.taps):
        used = np.flatnonzero(row)
        at = int(bank.start[phase]) - first[phase] + used
        if at[0] < 0 or at[-1] >= support:
            return None
        taps[0, phase, at] = row[used]
    return taps


def implementation(plane: "Array | torch.device | str") -> Implementation:
    """Name of the version that runs for a plane, or for planes of codes on a device such as "cuda:0".

    Float planes on the CPU and float64 always use torch.
    """
    dtype = str(getattr(plane, "dtype", ""))
    slow = "float64" in dtype or ("float" in dtype and device_of(plane) == "cpu")
    return "torch" if slow else choose(plane, "basis_cpu")


def _with_numba(plane: Any, coefficients: Any, basis: Any, **settings: Any) -> Any:
    from vidscale.triton_kernels.basis_cpu import basis_cpu

    arrays = (a if isinstance(a, np.ndarray) else a.detach().float().numpy() for a in (coefficients, basis))
    if isinstance(plane, np.ndarray):
        return basis_cpu(plane, *arrays, **settings)
    import torch

    return torch.from_numpy(basis_cpu(plane.numpy(), *arrays, **settings))


def _with_torch(plane: Any, coefficients: Any, basis: Any, **settings: Any) -> Any:
    import torch

    from vidscale.triton_kernels.basis_ref import basis_codes_ref, basis_resample_ref

    if settings["bit_depth"] is None:
        del settings["bit_depth"]
        return basis_resample_ref(plane, coefficients, basis, **settings)
    # A copy, since torch has no read-only tensors; only machines without numba come here.
    tensors = (torch.tensor(a) if isinstance(a, np.ndarray) else a for a in (plane, coefficients, basis))
    result = basis_codes_ref(*tensors, **settings)
    return result.numpy() if isinstance(plane, np.ndarray) else result


def _with_triton(plane: Any, coefficients: Any, basis: Any, **settings: Any) -> Any:
    from vidscale.triton_kernels.basis_triton import basis_triton

    return basis_triton(plane, coefficients, basis, **settings)


_PATHS: dict[Implementation, Callable[..., Any]] = {
    "numba": _with_numba,
    "torch": _with_torch,
    "triton": _with_triton,
}


def _geometry(
    step: Fraction, siting: tuple[Fraction, Fraction], size: tuple[int, int]
) -> tuple[Fraction, tuple[Fraction, Fraction], tuple[int, int]]:
    if len(siting) != 2 or not all(isinstance(value, Rational) for value in (step, *siting)):
        raise ValueError(f"step and siting (y, x) must be exact, Fraction or int: {step = !r}, {siting = !r}")
    if step <= 0:
        raise ValueError(f"step must be positive: {step = !s}")
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be (h, w), both positive: {size = }")
    return Fraction(step), (Fraction(siting[0]), Fraction(siting[1])), (int(size[0]), int(size[1]))


def _joined(basis: Any, phases: int) -> Any:
    """A basis as [M, P, P, support_y, support_x]."""
    if isinstance(basis, tuple):
        y, x = basis
        if y.ndim != 3 or x.ndim != 3 or y.shape[:2] != x.shape[:2]:
            raise ValueError(f"a pair of bases is [M, P, support] along y and x: {y.shape = }, {x.shape = }")
        basis = y[:, :, None, :, None] * x[:, None, :, None, :]
    if basis.ndim != 5 or tuple(basis.shape[1:3]) != (phases, phases) or 0 in basis.shape:
        raise ValueError(f"basis must be [M, P, P, support_y, support_x] with P = {phases}: {basis.shape = }")
    return basis


def _check(
    plane: Any, coefficients: Any, basis: Any, size: tuple[int, int], block: tuple[int, int], bit_depth: int | None
) -> None:
    dtype = str(plane.dtype).removeprefix("torch.")
    if bit_depth is None:
        if isinstance(plane, np.ndarray) or plane.ndim != 4 or not plane.dtype.is_floating_point or 0 in plane.shape:
            raise ValueError(
                f"plane must be a float tensor [N, C, H, W] or have a bit depth: {plane.shape = }, {dtype = }"
            )
    else:
        if plane.ndim != 2 or 0 in plane.shape:
            raise ValueError(f"plane must be [H, W] and not empty: {plane.shape = }")
        if not 8 <= bit_depth <= 16:
            raise ValueError(f"bit_depth must be 8 to 16: {bit_depth = }")
        if dtype != ("uint8" if bit_depth == 8 else "uint16"):
            raise ValueError(f"plane must be uint8 at 8 bit, uint16 above: {bit_depth = }, {plane.dtype = !s}")
    if len(block) != 2 or min(block) < 1:
        raise ValueError(f"block must be (rows, columns), both positive: {block = }")
    cells = tuple(-(-side // n) for side, n in zip(size, block, strict=True))
    expected = (*plane.shape[:-3], basis.shape[0], *cells)
    if tuple(coefficients.shape) != expected:
        raise ValueError(f"coefficients must be {expected} for {size = }, {block = }: {coefficients.shape = }")
    for name, array in (("coefficients", coefficients), ("basis", basis)):
        if "float" not in str(array.dtype):
            raise ValueError(f"{name} must be float: {array.dtype = !s}")
        device = device_of(plane)
        if not isinstance(array, np.ndarray) and str(array.device) != device:
            raise ValueError(f"plane and {name} lie on different devices: {device = }, {array.device = !s}")
        if bit_depth is None and isinstance(array, np.ndarray):
            raise ValueError(f"{name} must be a tensor where the plane is float: {type(array) = }")

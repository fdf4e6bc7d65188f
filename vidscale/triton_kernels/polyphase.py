"""Fixed separable resampling of one plane: Lanczos, Catmull-Rom, Gaussian and box filters, by zimg's rule.

The result is what ffmpeg's ``zscale`` gives, to one code. Positions are exact rationals, so that the filters of one
axis repeat with the denominator of `step`: a short bank of them, found once, serves pictures of any width.
Nothing heavy is imported here; numba, torch and triton are imported by the path that needs them, when it first runs.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from numbers import Rational
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    PlaneT = TypeVar("PlaneT", bound=npt.NDArray[Any] | torch.Tensor)
else:
    PlaneT = TypeVar("PlaneT")

Name = Literal["lanczos", "bicubic", "gaussian", "area"]
SHARPNESS = (-1, 2)  # the least and the most of `Sharpened`


class Sharpened(NamedTuple):
    """A filter whose result is sharpened, or softened, in the grid of the output.

    Along each axis the output y becomes y + sharpness * (y - b), with b the mean of y and its neighbours weighted
    1 2 1; that is done to the taps, so it costs a few of them more and rounds nothing twice.

    Attributes:
        name: of the filter.
        sharpness: gain minus 1 at the output's highest frequency, above 0 sharper, below softer; within `SHARPNESS`.
    """

    name: Name
    sharpness: float


Kind = Name | Sharpened
Implementation = Literal["numba", "torch", "triton"]

_BANKS_CACHED = 128
_SHRINKING = ("area", "gaussian")  # filters that only shrink
_SIGMA = 0.4  # of the Gaussian, in output samples


@dataclass(frozen=True, eq=False)
class FilterBank:
    """Filters of one axis. Output sample i uses row ``i % phases``, applied ``advance * (i // phases)`` samples on.

    Attributes:
        advance: source samples from one output sample to the next of the same phase.
        start: [phases] int64, source index of the first tap for outputs 0 to phases - 1; may lie outside the picture.
        taps: [phases, support] float64, each row sums to 1; short rows end in zeros.
    """

    advance: int
    start: npt.NDArray[np.int64]
    taps: npt.NDArray[np.float64]

    @property
    def phases(self) -> int:
        return int(self.taps.shape[0])

    @property
    def support(self) -> int:
        return int(self.taps.shape[1])


def _lanczos(distance: Fraction) -> float:
    """Lanczos window with three lobes (Duchon 1979), exactly zero where the sinc is."""
    if distance.denominator == 1:
        return float(distance == 0)
    x = math.pi * float(distance)
    return 3 * math.sin(x) * math.sin(x / 3) / (x * x)


def _bicubic(distance: Fraction) -> float:
    """Catmull-Rom: the cubic convolution of Keys (1981) with a = -1/2; B = 0, C = 1/2 in zimg's words."""
    x = abs(distance)
    if x < 1:
        return float((3 * x - 5) * x * x / 2 + 1)
    return float(((5 - x) * x - 8) * x / 2 + 2)


def _gaussian(distance: Fraction) -> float:
    return math.exp(-0.5 * (float(distance) / _SIGMA) ** 2)


_WINDOWS: dict[str, tuple[int, Callable[[Fraction], float]]] = {
    "lanczos": (3, _lanczos),
    "bicubic": (2, _bicubic),
    "gaussian": (2, _gaussian),  # five sigma
}


def _taps_at(kind: Kind, step: Fraction, position: Fraction) -> tuple[int, list[float]]:
    """First source sample inside the filter's support, and the weights from there on, which sum to 1."""
    if isinstance(kind, Sharpened):
        return _sharpened(kind, step, position)
    stretch = max(step, Fraction(1))
    radius = (step + 1) / 2 if kind == "area" else _WINDOWS[kind][0] * stretch
    first = math.floor(position - radius) + 1
    distances = [k - position for k in range(first, math.ceil(position + radius))]
    if kind == "area":
        weights = [float(min(Fraction(1), radius - abs(d))) for d in distances]
    else:
        weights = [_WINDOWS[kind][1](d / stretch) for d in distances]
    total = math.fsum(weights)
    return first, [weight / total for weight in weights]


def _sharpened(kind: Sharpened, step: Fraction, position: Fraction) -> tuple[int, list[float]]:
    """The filters of an output sample and its two neighbours, added up."""
    side = -kind.sharpness / 4
    parts = [
        (share, *_taps_at(kind.name, step, position + n * step))
        for n, share in ((-1, side), (0, 1 - 2 * side), (1, side))
    ]
    first = min(start for _, start, _ in parts)
    weights = [0.0] * (max(start + len(taps) for _, start, taps in parts) - first)
    for share, start, taps in parts:
        for place, tap in enumerate(taps, start - first):
            weights[place] += share * tap
    return first, weights


@lru_cache(maxsize=_BANKS_CACHED)
def filter_bank(kind: Kind, step: Fraction, siting: Fraction, length: int) -> FilterBank:
    """Filters of an axis with `length` output samples; the arguments are those of `polyphase_resample`.

    Output sample i is centred at ``step * (i + siting) - siting`` in source samples.
    """
    phases = min(step.denominator, length)
    rows = [_taps_at(kind, step, step * (i + siting) - siting) for i in range(phases)]
    taps = np.zeros((phases, max(len(weights) for _, weights in rows)))
    for i, (_, weights) in enumerate(rows):
        taps[i, : len(weights)] = weights
    used = np.flatnonzero(taps.any(axis=0))
    start = np.array([first for first, _ in rows], dtype=np.int64) + used[0]
    taps = np.ascontiguousarray(taps[:, used[0] : used[-1] + 1])
    taps.flags.writeable = start.flags.writeable = False
    return FilterBank(step.numerator, start, taps)


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

    The filter is stretched by `step` where that shrinks; edges are mirrored with the edge sample repeated; shrinking
    filters columns first, enlarging rows first; between the two the values are clamped to the code range, at the end
    rounded half up.

    Args:
        plane: [H, W] uint8 (8 bit) or uint16 (9 to 16 bit, codes in the low bits), numpy or torch. Rows may be padded.
        step: source samples per output sample, the same for both axes; above 1 shrinks, below 1 enlarges.
        siting: (y, x) distance of the first sample's centre from the picture's edge, in samples of its own grid, the
            same before and after; 1/2 is centred. Output i lies at ``step * (i + siting) - siting``.
        size: (h, w) asked for; what reaches beyond the source shows its mirrored picture.
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
    device = "cpu" if isinstance(plane, np.ndarray) else str(getattr(plane, "device", plane))
    if device == "cpu":
        return "numba" if _can_import("vidscale.triton_kernels.polyphase_cpu") else "torch"
    if device.startswith("cuda"):
        from vidscale.triton_kernels._triton_import import TRITON_AVAILABLE

        return "triton" if TRITON_AVAILABLE else "torch"
    return "torch"


@lru_cache(maxsize=1)
def _can_import(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


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
    if (name in _SHRINKING or isinstance(kind, Sharpened)) and step < 1:
        raise ValueError(f"{', '.join(_SHRINKING)} and sharpened filters shrink only: {step = !s}")
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be (h, w), both positive: {size = }")

"""Filters of fixed separable resampling, by zimg's rule: what the versions of `polyphase_resample` share.

Positions are exact rationals, so the filters of one axis repeat with the denominator of `step`: a short bank of them,
computed once, serves pictures of any width.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Name = Literal["lanczos", "bicubic", "gaussian", "area"]
SHRINKING = ("area", "gaussian")  # filters that only shrink
SHARPNESS = (-1, 2)  # minimum and maximum of `Sharpened.sharpness`


class Sharpened(NamedTuple):
    """A filter followed by sharpening (or softening) on the output grid.

    Along each axis the output y becomes y + sharpness * (y - b), where b is the mean of y and its neighbours with
    weights 1 2 1. This is folded into the taps, so it costs a few more taps and no second rounding.

    Attributes:
        name: of the filter.
        sharpness: gain minus 1 at the output's highest frequency, within `SHARPNESS`; above 0 sharper, below 0 softer.
    """

    name: Name
    sharpness: float


Kind = Name | Sharpened

_BANKS_CACHED = 128
_SIGMA = 0.4  # of the Gaussian, in output samples


@dataclass(frozen=True, eq=False)
class FilterBank:
    """Filters of one axis. Output sample i uses row ``i % phases``, shifted by ``advance * (i // phases)`` samples.

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
    """Catmull-Rom: the cubic convolution of Keys (1981) with a = -1/2; B = 0, C = 1/2 in zimg's terms."""
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
    """First source sample inside the filter's support, and the weights from there on, normalised to sum 1."""
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
    """Weighted sum of the filters of an output sample and its two neighbours."""
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

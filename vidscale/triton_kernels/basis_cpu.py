"""Resampling with mixed filters on the CPU, on one core: prepares planes and filters for the compiled loops."""

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy import float32 as f32
from numpy.lib.stride_tricks import as_strided

from vidscale.triton_kernels.basis_cpu_loops import Codes, Plan, resample
from vidscale.triton_kernels.basis_geometry import first_taps


@lru_cache(maxsize=64)
def _plan(step: Fraction, siting: tuple[Fraction, Fraction], width: int, support: tuple[int, int]) -> Plan:
    y_start, x_start = (np.array(first_taps(step, siting[axis], support[axis])) for axis in (0, 1))
    advance, phases = step.numerator, step.denominator
    column = (x_start - x_start[0])[:, None] + np.arange(support[1])
    x_length = int(column.max()) + 1 + (width - 1) // phases * advance
    part = -(-x_length // advance)
    x_offset = column % advance * part + column // advance
    return Plan(advance, y_start, support[0], int(x_start[0]), x_length, part * advance + 16, x_offset)


def basis_cpu(
    plane: Codes,
    coefficients: npt.NDArray[Any],
    basis: npt.NDArray[Any],
    *,
    step: Fraction,
    siting: tuple[Fraction, Fraction],
    size: tuple[int, int],
    block: tuple[int, int],
    bit_depth: int,
) -> Codes:
    """`basis_resample` of a [H, W] array of codes, for arguments that it has checked; basis [M, P, P, sy, sx]."""
    count, phases, _, *support = basis.shape
    plan = _plan(step, siting, size[1], (support[0], support[1]))
    taps = np.zeros((phases, phases, _fours(support[0] * support[1]), _fours(count)), f32)
    taps[:, :, : support[0] * support[1], :count] = np.moveaxis(basis, 0, -1).reshape(phases, phases, -1, count)
    cells = np.require(coefficients, f32, ["C", "W", "A"])
    out = np.empty(size, plane.dtype)
    resample(_rows(plane), plane.shape[1], out, cells, *block, taps, taps.sum(axis=2), plan, f32(2**bit_depth - 1))
    return out


def _fours(count: int) -> int:
    return -(-count // 4) * 4


def _rows(plane: Codes) -> Codes:
    """The same memory as a dense read-only [H, pitch] array, so one compiled form is enough; otherwise a copy.

    The last row's padding may be outside the buffer; only W columns are read.
    """
    (height, width), item = plane.shape, plane.itemsize
    pitch, rest = divmod(plane.strides[0], item) if height > 1 else (width, 0)
    if rest or pitch < width or (width > 1 and plane.strides[1] != item) or not plane.flags.aligned:
        plane, pitch = plane.copy(order="C"), width
    return as_strided(plane, (height, pitch), (pitch * item, item), writeable=False)

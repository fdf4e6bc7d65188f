"""Fixed separable resampling on the CPU, compiled by numba: one pass over the source, row by row, in float32.

Rows of the source, or rows already filtered along x, wait in a ring as long as a column filter needs them; all that
is written stays in the cache. Every inner loop runs over contiguous samples with the taps as constants, so that it
becomes vector instructions: for that the samples of a row are first sorted by their index modulo `advance`.
The compiled functions are kept in numba's cache directory (beside this file, or the user's where that is read-only).
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

from vidscale.triton_kernels.polyphase import FilterBank, Kind, filter_bank

_F = TypeVar("_F", bound=Callable[..., Any])
_Floats = npt.NDArray[np.float32]
_Ints = npt.NDArray[np.int64]

_compiled: Callable[[_F], _F] = numba.njit(nogil=True, cache=True, fastmath={"contract", "nnan", "nsz"}, error_model="numpy")

_LINE = 16  # float32 values in a cache line


@dataclass(frozen=True, eq=False)
class _Plan:
    """Both axes' filters as `_resample` reads them; the number of taps is padded to an even one.

    Attributes:
        columns_first: filter along y before x.
        y_start: [phases] first source row.
        y_taps: [phases, support].
        x_start: first source column that any output needs, may be negative.
        x_length: number of source columns from there on.
        x_offset: [phases, support] where a tap's samples begin in a row that is sorted by index modulo `advance`.
        x_taps: [phases, support].
    """

    columns_first: bool
    advance: int
    y_start: _Ints
    y_taps: _Floats
    x_start: int
    x_length: int
    x_offset: _Ints
    x_taps: _Floats


def _even_taps(bank: FilterBank) -> _Floats:
    return np.pad(bank.taps, ((0, 0), (0, bank.support % 2))).astype(np.float32)


def _sorted_pitch(length: int, advance: int) -> int:
    return -(-length // advance)


@lru_cache(maxsize=128)
def _plan(kind: Kind, step: Fraction, siting: tuple[Fraction, Fraction], size: tuple[int, int]) -> _Plan:
    y_bank, x_bank = (filter_bank(kind, step, siting[axis], size[axis]) for axis in (0, 1))
    x_taps = _even_taps(x_bank)
    x_start = int(x_bank.start[0])
    column = x_bank.start[:, None] - x_start + np.arange(x_taps.shape[1])
    repeats = (size[1] - 1) // x_bank.phases
    x_length = int(column.max()) + 1 + x_bank.advance * repeats
    x_offset = column % x_bank.advance * _sorted_pitch(x_length, x_bank.advance) + column // x_bank.advance
    y_taps = _even_taps(y_bank)
    return _Plan(step > 1, x_bank.advance, y_bank.start, y_taps, x_start, x_length, x_offset, x_taps)


def polyphase_numba(
    plane: npt.NDArray[Any],
    step: Fraction,
    siting: tuple[Fraction, Fraction],
    size: tuple[int, int],
    kind: Kind,
    bit_depth: int,
) -> npt.NDArray[Any]:
    """`polyphase_resample` of a [H, W] numpy array, which has checked its arguments."""
    samples, pitch = _flat(plane)
    plan = _plan(kind, step, siting, size)
    out = np.empty(size, dtype=plane.dtype)
    _resample(
        samples,
        pitch,
        plane.shape[0],
        plane.shape[1],
        out.reshape(-1),
        size[0],
        size[1],
        2**bit_depth - 1,
        plan.columns_first,
        plan.advance,
        plan.y_start,
        plan.y_taps,
        plan.x_start,
        plan.x_length,
        plan.x_offset,
        plan.x_taps,
    )
    return out


class _Samples:
    """Memory of `plane` from its first to its last sample as one flat array; keeps `plane` alive."""

    def __init__(self, plane: npt.NDArray[Any], count: int) -> None:
        self._plane = plane
        # Never written to. The claim that it may be spares numba a second compilation for read-only arrays.
        self.__array_interface__ = {
            "data": (plane.ctypes.data, False),
            "shape": (count,),
            "typestr": plane.dtype.str,
            "version": 3,
        }


def _flat(plane: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int]:
    """All samples from the first to the last, padding between rows included, and the distance between two rows."""
    height, width = plane.shape
    if plane.flags.c_contiguous:
        pitch = width
    elif plane.strides[1] == plane.itemsize and plane.strides[0] >= width * plane.itemsize and not plane.strides[0] % plane.itemsize:
        pitch = plane.strides[0] // plane.itemsize
    else:
        plane, pitch = np.ascontiguousarray(plane), width
    return np.asarray(_Samples(plane, (height - 1) * pitch + width)), pitch


# Below, indices into arrays are unsigned: numba tests signed ones for being negative, which stops vectorisation.


@_compiled
def _mirror(index: int, length: int) -> int:
    folded = index % (2 * length)
    return min(folded, 2 * length - 1 - folded)


@_compiled
def _load(line, at, src, src_at, count):
    at, src_at = np.uint64(at), np.uint64(src_at)
    for i in range(np.uint64(count)):
        line[at + i] = np.float32(src[src_at + i])


@_compiled
def _store(out, at, line, count, peak):
    at, top = np.uint64(at), np.float32(peak)
    for i in range(np.uint64(count)):
        value = min(max(line[i], np.float32(0)), top)
        out[at + i] = np.int32(value + np.float32(0.5))


@_compiled
def _add4(out, at, count, line, offset, taps, t):
    a, b, c, d = np.uint64(offset[t]), np.uint64(offset[t + 1]), np.uint64(offset[t + 2]), np.uint64(offset[t + 3])
    ta, tb, tc, td = taps[t], taps[t + 1], taps[t + 2], taps[t + 3]
    at = np.uint64(at)
    if t == 0:
        for i in range(np.uint64(count)):
            out[at + i] = ta * line[a + i] + tb * line[b + i] + tc * line[c + i] + td * line[d + i]
    else:
        for i in range(np.uint64(count)):
            out[at + i] += ta * line[a + i] + tb * line[b + i] + tc * line[c + i] + td * line[d + i]


@_compiled
def _add2(out, at, count, line, offset, taps, t):
    a, b = np.uint64(offset[t]), np.uint64(offset[t + 1])
    ta, tb = taps[t], taps[t + 1]
    at = np.uint64(at)
    if t == 0:
        for i in range(np.uint64(count)):
            out[at + i] = ta * line[a + i] + tb * line[b + i]
    else:
        for i in range(np.uint64(count)):
            out[at + i] += ta * line[a + i] + tb * line[b + i]


@_compiled
def _fir(out, at, count, line, offset, taps):
    """out[at + i] = sum over t of taps[t] * line[offset[t] + i], for i below count."""
    full = taps.size // 4 * 4
    for t in range(0, full, 4):
        _add4(out, at, count, line, offset, taps, t)
    if full < taps.size:
        _add2(out, at, count, line, offset, taps, full)


@_compiled
def _split(out, pitch, line, at, count, parts, top):
    """Sort the samples of a row by their index modulo `parts`, clamped to [0, top]."""
    zero = np.float32(0)
    at, pitch, two = np.uint64(at), np.uint64(pitch), np.uint64(2)
    if parts == 2:
        for i in range(np.uint64(count // 2)):
            out[i] = min(max(line[at + two * i], zero), top)
            out[pitch + i] = min(max(line[at + two * i + np.uint64(1)], zero), top)
        if count % 2:
            i = np.uint64(count // 2)
            out[i] = min(max(line[at + two * i], zero), top)
        return
    step = np.uint64(parts)
    for part in range(np.uint64(parts)):
        for i in range(np.uint64(max(0, (count - np.int64(part) + parts - 1) // parts))):
            out[part * pitch + i] = min(max(line[at + step * i + part], zero), top)


@_compiled
def _merge(out, at, parts_of, pitch, count, parts, top):
    """Undo `_split`: the samples of `parts` rows in turn, clamped to [0, top]."""
    zero = np.float32(0)
    at, pitch, two = np.uint64(at), np.uint64(pitch), np.uint64(2)
    if parts == 2:
        for i in range(np.uint64(count // 2)):
            out[at + two * i] = min(max(parts_of[i], zero), top)
            out[at + two * i + np.uint64(1)] = min(max(parts_of[pitch + i], zero), top)
        if count % 2:
            i = np.uint64(count // 2)
            out[at + two * i] = min(max(parts_of[i], zero), top)
        return
    step = np.uint64(parts)
    for part in range(np.uint64(parts)):
        for i in range(np.uint64(max(0, (count - np.int64(part) + parts - 1) // parts))):
            out[at + step * i + part] = min(max(parts_of[part * pitch + i], zero), top)


@_compiled
def _filter_row(out, at, width_out, line, origin, width, x_start, x_length, advance, x_offset, x_taps, work, parts, top):
    for v in range(x_start, 0):
        line[v - origin] = line[_mirror(v, width) - origin]
    for v in range(max(width, x_start), x_start + x_length):
        line[v - origin] = line[_mirror(v, width) - origin]
    pitch = (x_length + advance - 1) // advance
    _split(work, pitch, line, x_start - origin, x_length, advance, top)
    phases = x_taps.shape[0]
    part = (width_out + phases - 1) // phases
    for phase in range(phases):
        _fir(parts, phase * part, (width_out - phase + phases - 1) // phases, work, x_offset[phase], x_taps[phase])
    _merge(out, at, parts, part, width_out, phases, top)


@_compiled
def _resample(
    src, pitch, height, width, out, h, w, peak, columns_first, advance, y_start, y_taps, x_start, x_length, x_offset, x_taps
):
    top = np.float32(peak)
    rows = y_taps.shape[1]
    ring_width = width if columns_first else w
    ring_pitch = ((ring_width + 15) // 16 | 1) * 16
    ring = np.zeros(rows * ring_pitch, np.float32)
    slot = np.zeros(rows, np.int64)
    origin = min(x_start, 0) // 16 * 16
    line = np.zeros(max(width, x_start + x_length) - origin, np.float32)
    work = np.zeros((x_length + advance - 1) // advance * advance, np.float32)
    parts = np.zeros((w + x_taps.shape[0]), np.float32)
    last = np.zeros(w, np.float32)
    loaded = y_start[0]
    phases = y_taps.shape[0]
    for y in range(h):
        first = y_start[y % phases] + advance * (y // phases)
        for v in range(max(loaded, first), first + rows):
            at = (v % rows) * ring_pitch
            src_at = _mirror(v, height) * pitch
            if columns_first:
                _load(ring, at, src, src_at, width)
            else:
                _load(line, -origin, src, src_at, width)
                _filter_row(ring, at, w, line, origin, width, x_start, x_length, advance, x_offset, x_taps, work, parts, top)
        loaded = first + rows
        at = first % rows
        for t in range(rows):
            slot[t] = at * ring_pitch
            at = at + 1 if at + 1 < rows else 0
        if columns_first:
            _fir(line, -origin, width, ring, slot, y_taps[y % phases])
            _filter_row(last, 0, w, line, origin, width, x_start, x_length, advance, x_offset, x_taps, work, parts, top)
        else:
            _fir(last, 0, w, ring, slot, y_taps[y % phases])
        _store(out, y * w, last, w, peak)

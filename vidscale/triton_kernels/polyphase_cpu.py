"""Fixed separable resampling on the CPU, compiled by numba: one pass over the picture, row by row, in float32.

Shrinking reads the source rows under one row of column filters at a time; enlarging keeps the rows that it has
filtered along x in a ring as long as a column filter needs them. So all that is written stays in the cache. Every
inner loop runs over neighbouring samples with the taps as constants, which makes vector instructions of it: for that,
the samples of a row are first sorted by their index modulo `advance`.
The compiled functions are kept in numba's cache directory (beside this file, or the user's where that is read-only).
"""

from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from vidscale.triton_kernels.polyphase import FilterBank, Kind, filter_bank

_Codes = npt.NDArray[Any]
_Floats = npt.NDArray[np.float32]
_Ints = npt.NDArray[np.int64]

# Values are finite, zero has no sign that matters; the order of additions is kept, so that all machines agree.
_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nnan", "nsz"})

_ALIGNED = 16  # float32 values in a cache line
_MANY_PHASES = 32  # from here on the samples of one phase are too few to be worth a vector loop
# A hair above one half, so that ties (the mean of 1 and 2) go up although taps such as 1/6 are rounded in float32.
_HALF = np.float32(0.5 + 2**-13)


class _Plan(NamedTuple):
    """The filters of both axes as the compiled functions read them; the number of taps is padded to an even one.

    columns_first: filter along y before x.
    advance: source samples from one output sample to the next of the same phase.
    y_start: [phases] first source row; y_taps: [phases, support].
    x_start: first source column that any output needs; x_length: number of columns from there on.
    x_first: [phases] first column of an output, counted from x_start; x_taps: [phases, support].
    x_offset: [phases, support] where a tap's samples begin in a row that is sorted by index modulo `advance`.
    """

    columns_first: bool
    advance: int
    y_start: _Ints
    y_taps: _Floats
    x_start: int
    x_length: int
    x_first: _Ints
    x_taps: _Floats
    x_offset: _Ints


@lru_cache(maxsize=128)
def _plan(kind: Kind, step: Fraction, siting: tuple[Fraction, Fraction], size: tuple[int, int]) -> _Plan:
    y_bank, x_bank = (filter_bank(kind, step, siting[axis], size[axis]) for axis in (0, 1))
    y_taps, x_taps = _even_taps(y_bank), _even_taps(x_bank)
    advance = x_bank.advance
    x_first = x_bank.start - x_bank.start[0]
    column = x_first[:, None] + np.arange(x_taps.shape[1])
    x_length = int(column.max()) + 1 + (size[1] - 1) // x_bank.phases * advance
    x_offset = column % advance * -(-x_length // advance) + column // advance
    return _Plan(
        step > 1, advance, y_bank.start.copy(), y_taps, int(x_bank.start[0]), x_length, x_first, x_taps, x_offset
    )


def _even_taps(bank: FilterBank) -> _Floats:
    return np.pad(bank.taps, ((0, 0), (0, bank.support % 2))).astype(np.float32)


def polyphase_numba(
    plane: _Codes,
    *,
    step: Fraction,
    siting: tuple[Fraction, Fraction],
    size: tuple[int, int],
    kind: Kind,
    bit_depth: int,
) -> _Codes:
    """`polyphase_resample` of a [H, W] array, for arguments that it has checked."""
    samples, pitch = _flat(plane)
    out = np.empty(size, dtype=plane.dtype)
    _resample(samples, pitch, plane.shape[0], plane.shape[1], out, _plan(kind, step, siting, size), 2**bit_depth - 1)
    return out


class _Memory:
    """The samples of an array with padded rows, from the first to the last, as one flat array."""

    def __init__(self, plane: _Codes, pitch: int) -> None:
        self._keep = plane
        count = (plane.shape[0] - 1) * pitch + plane.shape[1]
        # The claim to be writable is never used; it spares a second compilation for read-only arrays.
        data = (plane.ctypes.data, False)
        self.__array_interface__ = {"data": data, "shape": (count,), "typestr": plane.dtype.str, "version": 3}


def _flat(plane: _Codes) -> tuple[_Codes, int]:
    """All samples, with the padding between rows, and the distance from one row to the next."""
    pitch, unaligned = divmod(plane.strides[0], plane.itemsize)
    if plane.strides[1] != plane.itemsize or unaligned or pitch < plane.shape[1]:
        plane, pitch = np.ascontiguousarray(plane), plane.shape[1]
    return np.asarray(_Memory(plane, pitch)), pitch


# From here on indices into arrays are made unsigned: numba tests signed ones for being negative, and a loop with such
# a test does not become vector instructions. Signed and unsigned integers must not meet: their sum is a float.


@_compiled
def _mirror(index: int, length: int) -> int:
    folded = index % (2 * length)
    return min(folded, 2 * length - 1 - folded)


@_compiled
def _add_four(out: _Floats, at: int, count: int, line: _Codes, offset: _Ints, taps: _Floats, t: int) -> None:
    a, b, c, d = np.uint64(offset[t]), np.uint64(offset[t + 1]), np.uint64(offset[t + 2]), np.uint64(offset[t + 3])
    ta, tb, tc, td = taps[t], taps[t + 1], taps[t + 2], taps[t + 3]
    o = np.uint64(at)
    if t == 0:
        for i in range(np.uint64(count)):
            sum_ab = ta * np.float32(line[a + i]) + tb * np.float32(line[b + i])
            out[o + i] = sum_ab + tc * np.float32(line[c + i]) + td * np.float32(line[d + i])
    else:
        for i in range(np.uint64(count)):
            sum_ab = out[o + i] + ta * np.float32(line[a + i]) + tb * np.float32(line[b + i])
            out[o + i] = sum_ab + tc * np.float32(line[c + i]) + td * np.float32(line[d + i])


@_compiled
def _add_two(out: _Floats, at: int, count: int, line: _Codes, offset: _Ints, taps: _Floats, t: int) -> None:
    a, b = np.uint64(offset[t]), np.uint64(offset[t + 1])
    ta, tb = taps[t], taps[t + 1]
    o = np.uint64(at)
    if t == 0:
        for i in range(np.uint64(count)):
            out[o + i] = ta * np.float32(line[a + i]) + tb * np.float32(line[b + i])
    else:
        for i in range(np.uint64(count)):
            out[o + i] = out[o + i] + ta * np.float32(line[a + i]) + tb * np.float32(line[b + i])


@_compiled
def _fir(out: _Floats, at: int, count: int, line: _Codes, offset: _Ints, taps: _Floats) -> None:
    """out[at + i] = sum over t of taps[t] * line[offset[t] + i], for each i below `count`."""
    fours = taps.size // 4 * 4
    for t in range(0, fours, 4):
        _add_four(out, at, count, line, offset, taps, t)
    if fours < taps.size:
        _add_two(out, at, count, line, offset, taps, fours)


@_compiled
def _clamped(value: np.float32, top: np.float32) -> np.float32:
    return min(max(value, np.float32(0)), top)


@_compiled
def _split(out: _Floats, line: _Floats, at: int, count: int, parts: int, top: np.float32) -> None:
    """Sort samples by their index modulo `parts`: out[p * ceil(count / parts) + i] = line[at + parts * i + p]."""
    start, pitch = np.uint64(at), np.uint64((count + parts - 1) // parts)
    if parts == 2:  # so often that it has a loop with the constant in it, which becomes vector instructions
        for i in range(np.uint64(count // 2)):
            out[i] = _clamped(line[start + np.uint64(2) * i], top)
            out[pitch + i] = _clamped(line[start + np.uint64(2) * i + np.uint64(1)], top)
        if count % 2:
            out[count // 2] = _clamped(line[at + count - 1], top)
        return
    for part in range(parts):
        begin, to = np.uint64(at + part), np.uint64(part) * pitch
        for i in range(np.uint64((count - part + parts - 1) // parts)):
            out[to + i] = _clamped(line[begin + np.uint64(parts) * i], top)


@_compiled
def _merge(out: _Floats, at: int, line: _Floats, count: int, parts: int, top: np.float32) -> None:
    """Undo `_split`: out[at + parts * i + p] = line[p * ceil(count / parts) + i]."""
    start, pitch = np.uint64(at), np.uint64((count + parts - 1) // parts)
    if parts == 2:
        for i in range(np.uint64(count // 2)):
            out[start + np.uint64(2) * i] = _clamped(line[i], top)
            out[start + np.uint64(2) * i + np.uint64(1)] = _clamped(line[pitch + i], top)
        if count % 2:
            out[at + count - 1] = _clamped(line[count // 2], top)
        return
    for part in range(parts):
        begin, source = np.uint64(at + part), np.uint64(part) * pitch
        for i in range(np.uint64((count - part + parts - 1) // parts)):
            out[begin + np.uint64(parts) * i] = _clamped(line[source + i], top)


@_compiled
def _filter_row(
    out: _Floats,
    at: int,
    count: int,
    line: _Floats,
    origin: int,
    width: int,
    plan: _Plan,
    top: np.float32,
    work: _Floats,
    parts: _Floats,
) -> None:
    """Filter a row along x to `count` samples. Its column v is line[v - origin]; what lies beyond it is set here."""
    end = plan.x_start + plan.x_length
    for v in range(plan.x_start, min(0, end)):
        line[v - origin] = line[_mirror(v, width) - origin]
    for v in range(max(width, plan.x_start), end):
        line[v - origin] = line[_mirror(v, width) - origin]
    phases, support = plan.x_taps.shape
    if phases >= _MANY_PHASES:
        for v in range(plan.x_start - origin, end - origin):
            line[v] = _clamped(line[v], top)
        base, phase = plan.x_start - origin, 0
        for i in range(count):
            first = np.uint64(base + plan.x_first[phase])
            total = np.float32(0)
            for t in range(np.uint64(support)):
                total += plan.x_taps[phase, t] * line[first + t]
            out[at + i] = _clamped(total, top)
            phase += 1
            if phase == phases:
                base, phase = base + plan.advance, 0
        return
    _split(work, line, plan.x_start - origin, plan.x_length, plan.advance, top)
    pitch = (count + phases - 1) // phases
    for phase in range(phases):
        samples = (count - phase + phases - 1) // phases
        _fir(parts, phase * pitch, samples, work, plan.x_offset[phase], plan.x_taps[phase])
    _merge(out, at, parts, count, phases, top)


@_compiled
def _store(out: _Codes, line: _Floats, top: np.float32) -> None:
    for i in range(np.uint64(out.size)):
        out[i] = np.int32(_clamped(line[i], top) + _HALF)


@_compiled
def _resample(src: _Codes, pitch: int, height: int, width: int, out: _Codes, plan: _Plan, peak: int) -> None:
    if plan.columns_first:
        _shrink(src, pitch, height, width, out, plan, np.float32(peak))
    else:
        _enlarge(src, pitch, height, width, out, plan, np.float32(peak))


@_compiled
def _shrink(src: _Codes, pitch: int, height: int, width: int, out: _Codes, plan: _Plan, top: np.float32) -> None:
    w = out.shape[1]
    phases, support = plan.y_taps.shape
    origin = min(plan.x_start, 0) // _ALIGNED * _ALIGNED
    line = np.zeros(max(width, plan.x_start + plan.x_length) - origin, np.float32)
    work = np.zeros(plan.x_length + plan.advance, np.float32)
    parts = np.zeros(w + plan.x_taps.shape[0], np.float32)
    last = np.zeros(w, np.float32)
    offset = np.zeros(support, np.int64)
    for y in range(out.shape[0]):
        first = plan.y_start[y % phases] + y // phases * plan.advance
        for t in range(support):
            offset[t] = _mirror(first + t, height) * pitch
        _fir(line, -origin, width, src, offset, plan.y_taps[y % phases])
        _filter_row(last, 0, w, line, origin, width, plan, top, work, parts)
        _store(out[y], last, top)


@_compiled
def _enlarge(src: _Codes, pitch: int, height: int, width: int, out: _Codes, plan: _Plan, top: np.float32) -> None:
    w = out.shape[1]
    phases, support = plan.y_taps.shape
    origin = min(plan.x_start, 0) // _ALIGNED * _ALIGNED
    line = np.zeros(max(width, plan.x_start + plan.x_length) - origin, np.float32)
    work = np.zeros(plan.x_length + plan.advance, np.float32)
    parts = np.zeros(w + plan.x_taps.shape[0], np.float32)
    last = np.zeros(w, np.float32)
    ring_pitch = (w // _ALIGNED | 1) * _ALIGNED + 2 * _ALIGNED  # odd in cache lines, so that rows do not share sets
    ring = np.zeros(support * ring_pitch, np.float32)
    offset = np.zeros(support, np.int64)
    loaded = plan.y_start[0]
    for y in range(out.shape[0]):
        first = plan.y_start[y % phases] + y // phases * plan.advance
        for v in range(max(loaded, first), first + support):
            row = np.uint64(_mirror(v, height) * pitch)
            for i in range(np.uint64(width)):
                line[np.uint64(-origin) + i] = src[row + i]
            _filter_row(ring, v % support * ring_pitch, w, line, origin, width, plan, top, work, parts)
        loaded = first + support
        for t in range(support):
            offset[t] = (first + t) % support * ring_pitch
        _fir(last, 0, w, ring, offset, plan.y_taps[y % phases])
        _store(out[y], last, top)

"""Fixed separable resampling on the CPU, compiled by numba: one pass over the picture, row by row, in float32.

Shrinking applies the column filters to the source rows they need, for two output rows at a time; enlarging keeps rows
already filtered along x in a ring buffer for as long as a column filter needs them. So everything that is written stays
in the cache. Every inner loop runs over neighbouring samples with constant taps, which vectorises. For that, samples of
a row are first sorted by their index modulo `advance`.
"""

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.triton_kernels._numba import compiled
from vidscale.triton_kernels.polyphase_cpu_plan import Floats, Ints, Plan, plan
from vidscale.triton_kernels.polyphase_filters import Kind

_Codes = npt.NDArray[Any]

_MANY_PHASES = 32  # from here on a phase has too few samples to be worth a vector loop
# Slightly above one half: ties (the mean of 1 and 2) round up although taps such as 1/6 are inexact in float32.
_HALF = np.float32(0.5 + 2**-13)


def polyphase_cpu(
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
    chosen = plan(kind, step, siting, size, plane.shape[1])
    _resample(samples, pitch, plane.shape[0], plane.shape[1], out, chosen, 2**bit_depth - 1)
    return out


class _Memory:
    """The samples of an array with padded rows, first to last, as one flat array."""

    def __init__(self, plane: _Codes, pitch: int) -> None:
        self._keep = plane
        count = (plane.shape[0] - 1) * pitch + plane.shape[1]
        # Never written to; declaring it writable saves a second compilation for read-only arrays.
        data = (plane.ctypes.data, False)
        self.__array_interface__ = {"data": data, "shape": (count,), "typestr": plane.dtype.str, "version": 3}


def _flat(plane: _Codes) -> tuple[_Codes, int]:
    """All samples including the padding between rows, and the pitch from one row to the next."""
    pitch, unaligned = divmod(plane.strides[0], plane.itemsize)
    if plane.strides[1] != plane.itemsize or unaligned or pitch < plane.shape[1]:
        plane, pitch = np.ascontiguousarray(plane), plane.shape[1]
    return np.asarray(_Memory(plane, pitch)), pitch


# From here on array indices are unsigned: numba tests signed ones for negative values, and a loop with such a test does
# not vectorise. Never mix signed and unsigned integers: in numba their sum is a float.


@compiled
def _mirror(index: int, length: int) -> int:
    if 0 <= index < length:
        return index
    if not -length <= index < 2 * length:  # divide only if needed: it costs as much as a tap's loop
        index %= 2 * length
    return max(-1 - index, min(index, 2 * length - 1 - index))


@compiled
def _add_four(out: Floats, at: int, count: int, src: _Codes, source: Ints, taps: Floats, t: int) -> None:
    a, b, c, d = np.uint64(source[t]), np.uint64(source[t + 1]), np.uint64(source[t + 2]), np.uint64(source[t + 3])
    ta, tb, tc, td = taps[t], taps[t + 1], taps[t + 2], taps[t + 3]
    o = np.uint64(at)
    for i in range(np.uint64(count)):
        va, vb = np.float32(src[a + i]), np.float32(src[b + i])
        vc, vd = np.float32(src[c + i]), np.float32(src[d + i])
        before = out[o + i] if t > 0 else np.float32(0)
        out[o + i] = before + ta * va + tb * vb + tc * vc + td * vd


@compiled
def _add_two(out: Floats, at: int, count: int, src: _Codes, source: Ints, taps: Floats, t: int) -> None:
    a, b, o = np.uint64(source[t]), np.uint64(source[t + 1]), np.uint64(at)
    ta, tb = taps[t], taps[t + 1]
    for i in range(np.uint64(count)):
        before = out[o + i] if t > 0 else np.float32(0)
        out[o + i] = before + ta * np.float32(src[a + i]) + tb * np.float32(src[b + i])


@compiled
def _add_four_twice(
    out: Floats, at: int, and_at: int, count: int, src: _Codes, source: Ints, taps: Floats, and_taps: Floats, t: int
) -> None:
    a, b, c, d = np.uint64(source[t]), np.uint64(source[t + 1]), np.uint64(source[t + 2]), np.uint64(source[t + 3])
    ta, tb, tc, td = taps[t], taps[t + 1], taps[t + 2], taps[t + 3]
    ua, ub, uc, ud = and_taps[t], and_taps[t + 1], and_taps[t + 2], and_taps[t + 3]
    o, q = np.uint64(at), np.uint64(and_at)
    for i in range(np.uint64(count)):
        va, vb = np.float32(src[a + i]), np.float32(src[b + i])
        vc, vd = np.float32(src[c + i]), np.float32(src[d + i])
        before = out[o + i] if t > 0 else np.float32(0)
        and_before = out[q + i] if t > 0 else np.float32(0)
        out[o + i] = before + ta * va + tb * vb + tc * vc + td * vd
        out[q + i] = and_before + ua * va + ub * vb + uc * vc + ud * vd


@compiled
def _fir(out: Floats, at: int, count: int, src: _Codes, source: Ints, taps: Floats) -> None:
    """out[at + i] = sum over t of taps[t] * src[source[t] + i], for each i below `count`."""
    fours = taps.size // 4 * 4
    for t in range(0, fours, 4):
        _add_four(out, at, count, src, source, taps, t)
    if fours < taps.size:
        _add_two(out, at, count, src, source, taps, fours)


@compiled
def _fir_twice(
    out: Floats, at: int, and_at: int, count: int, src: _Codes, source: Ints, taps: Floats, and_taps: Floats
) -> None:
    """`_fir` with two sets of taps over the same samples; the number of taps is a multiple of four."""
    for t in range(0, taps.size, 4):
        _add_four_twice(out, at, and_at, count, src, source, taps, and_taps, t)


@compiled
def _clamped(value: np.float32, top: np.float32) -> np.float32:
    return min(max(value, np.float32(0)), top)


@compiled
def _split(work: Floats, at: int, source: int, count: int, parts: int, top: np.float32) -> None:
    """Sort samples by their index modulo `parts`: [at + p * ceil(count / parts) + i] = [source + parts * i + p]."""
    to, begin, pitch, full = np.uint64(at), np.uint64(source), np.uint64((count + parts - 1) // parts), count // parts
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    # Two and three are common: loops of their own, with constants, which vectorise.
    if parts == 2:
        for i in range(np.uint64(full)):
            work[to + i] = _clamped(work[begin + two * i], top)
            work[to + pitch + i] = _clamped(work[begin + two * i + one], top)
    elif parts == 3:
        for i in range(np.uint64(full)):
            work[to + i] = _clamped(work[begin + three * i], top)
            work[to + pitch + i] = _clamped(work[begin + three * i + one], top)
            work[to + two * pitch + i] = _clamped(work[begin + three * i + two], top)
    else:
        for part in range(np.uint64(parts)):
            for i in range(np.uint64(full)):
                work[to + part * pitch + i] = _clamped(work[begin + np.uint64(parts) * i + part], top)
    for k in range(full * parts, count):
        work[at + (k - full * parts) * ((count + parts - 1) // parts) + full] = _clamped(work[source + k], top)


@compiled
def _merge(work: Floats, at: int, source: int, count: int, parts: int, top: np.float32) -> None:
    """Undo `_split`: [at + parts * i + p] = [source + p * ceil(count / parts) + i]."""
    to, begin, pitch, full = np.uint64(at), np.uint64(source), np.uint64((count + parts - 1) // parts), count // parts
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    if parts == 2:
        for i in range(np.uint64(full)):
            work[to + two * i] = _clamped(work[begin + i], top)
            work[to + two * i + one] = _clamped(work[begin + pitch + i], top)
    elif parts == 3:
        for i in range(np.uint64(full)):
            work[to + three * i] = _clamped(work[begin + i], top)
            work[to + three * i + one] = _clamped(work[begin + pitch + i], top)
            work[to + three * i + two] = _clamped(work[begin + two * pitch + i], top)
    else:
        for part in range(np.uint64(parts)):
            for i in range(np.uint64(full)):
                work[to + np.uint64(parts) * i + part] = _clamped(work[begin + part * pitch + i], top)
    for k in range(full * parts, count):
        work[at + k] = _clamped(work[source + (k - full * parts) * ((count + parts - 1) // parts) + full], top)


@compiled
def _filter_row(work: Floats, line: int, at: int, count: int, width: int, p: Plan, top: np.float32) -> None:
    """Filter a row of `width` samples along x. Its column 0 is at `line`; the `count` results go to `at`.

    Results are clamped if the columns are filtered next; with one phase (shrinking, or scale 1) `_store` clamps them.
    """
    end = p.x_start + p.x_length
    for v in range(p.x_start, min(0, end)):
        work[line + v] = work[line + _mirror(v, width)]
    for v in range(max(width, p.x_start), end):
        work[line + v] = work[line + _mirror(v, width)]
    phases = p.x_taps.shape[0]
    if phases >= _MANY_PHASES:
        _filter_each(work, line, at, count, p, top)
        return
    _split(work, p.sorted_row, line + p.x_start, p.x_length, p.advance, top)
    if phases == 1:
        _fir(work, at, count, work, p.x_source[0], p.x_taps[0])
        return
    pitch = (count + phases - 1) // phases
    for phase in range(phases):
        samples = (count - phase + phases - 1) // phases
        _fir(work, p.parts + phase * pitch, samples, work, p.x_source[phase], p.x_taps[phase])
    _merge(work, at, p.parts, count, phases, top)


@compiled
def _filter_each(work: Floats, line: int, at: int, count: int, p: Plan, top: np.float32) -> None:
    """`_filter_row` sample by sample, for scales with many phases and few samples of each in a row."""
    base, phase = line + p.x_start, 0
    for v in range(base, base + p.x_length):
        work[v] = _clamped(work[v], top)
    for i in range(count):
        first = np.uint64(base + p.x_first[phase])
        total = np.float32(0)
        for t in range(np.uint64(p.x_taps.shape[1])):
            total += p.x_taps[phase, t] * work[first + t]
        work[at + i] = _clamped(total, top)
        phase += 1
        if phase == p.x_taps.shape[0]:
            base, phase = base + p.advance, 0


@compiled
def _store(out: _Codes, work: Floats, at: int, top: np.float32) -> None:
    source = np.uint64(at)
    for i in range(np.uint64(out.size)):
        out[i] = np.int32(_clamped(work[source + i], top) + _HALF)


@compiled
def _resample(src: _Codes, pitch: int, height: int, width: int, out: _Codes, p: Plan, peak: int) -> None:
    phases, support = p.y_taps.shape
    top = np.float32(peak)
    work = np.empty(p.memory, np.float32)
    source = np.empty(p.rows_read, np.int64)
    taps = np.empty((2, p.rows_read), np.float32)
    loaded = p.y_start[0]
    for y in range(0, out.shape[0], 2):
        first = p.y_start[y % phases] + y // phases * p.advance
        for k in range(2):
            row = min(y + k, out.shape[0] - 1)  # an odd last row is computed twice
            phase = row % phases
            delay = p.y_start[phase] + row // phases * p.advance - first
            for t in range(p.rows_read):  # no slices: numba takes seconds to compile their error messages
                taps[k, t] = p.y_taps[phase, t - delay] if delay <= t < delay + support else np.float32(0)
        if p.columns_first:
            for t in range(p.rows_read):
                source[t] = _mirror(first + t, height) * pitch
            _fir_twice(work, p.line, p.line + p.line_pitch, width, src, source, taps[0], taps[1])
            for k in range(2):
                _filter_row(work, p.line + k * p.line_pitch, p.last + k * p.last_pitch, out.shape[1], width, p, top)
        else:
            for v in range(max(loaded, first), first + p.rows_read):
                begin, line = np.uint64(_mirror(v, height) * pitch), np.uint64(p.line)
                for i in range(np.uint64(width)):
                    work[line + i] = src[begin + i]
                _filter_row(work, p.line, p.ring + v % p.rows_read * p.ring_pitch, out.shape[1], width, p, top)
            loaded = first + p.rows_read
            for t in range(p.rows_read):
                source[t] = p.ring + (first + t) % p.rows_read * p.ring_pitch
            _fir_twice(work, p.last, p.last + p.last_pitch, out.shape[1], work, source, taps[0], taps[1])
        for k in range(2):
            _store(out[min(y + k, out.shape[0] - 1)], work, p.last + k * p.last_pitch, top)

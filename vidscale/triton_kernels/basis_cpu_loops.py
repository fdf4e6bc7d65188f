"""The compiled loops of `basis_cpu.py`, in float32.

For each row of cells and each phase the taps are mixed first, then applied to all pixels of the cells: with cells of
4x4 pixels this is half the work of applying every filter of the basis and mixing the results. The inner loop adds four
taps to four rows at a time, over neighbouring samples. For that, source rows are kept as float32, sorted by their index
modulo `advance`, and the taps of a strip of pixels are expanded to one row of pixels per tap.

Array indices are unsigned: numba tests signed ones for negative values, and a loop with such a test does not vectorise.
Never mix signed and unsigned integers: in numba their sum is a float.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy import float32 as f32
from numpy import uint64 as u64

from vidscale.triton_kernels._numba import compiled
from vidscale.triton_kernels.basis_geometry import SMALLEST_SUM

Codes = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_ROWS = 16  # output rows per phase for which source rows are kept
_TILE_VALUES = 16384  # taps of a strip of pixels: fits in the L2 cache
_LEAST_SUM = f32(SMALLEST_SUM)
_HALF = f32(0.5)


class Plan(NamedTuple):
    """Positions of the filters, along y and x.

    advance: source samples from one output sample to the next of the same phase.
    y_start: [phases] first source row of the first output row of each phase; y_support: rows.
    x_start: first source column that any output needs; x_length: number of columns from there.
    pitch: samples from one sorted row to the next.
    x_offset: [phases, x_support] start of a tap's samples in a row that is sorted by index modulo `advance`.
    """

    advance: int
    y_start: Ints
    y_support: int
    x_start: int
    x_length: int
    pitch: int
    x_offset: Ints


@compiled
def _mirror(index: int, length: int) -> int:
    folded = index % (2 * length)
    return min(folded, 2 * length - 1 - folded)


@compiled
def _load_row(out: Floats, line: Floats, plane: Codes, row: int, width: int, plan: Plan) -> None:
    """Load a source row as float32, mirrored at its ends, with samples sorted by their index modulo `advance`."""
    begin = min(max(-plan.x_start, 0), plan.x_length)
    end = min(max(width - plan.x_start, begin), plan.x_length)
    for i in range(begin):
        line[i] = plane[row, _mirror(plan.x_start + i, width)]
    source = plane[row, plan.x_start + begin : plan.x_start + end]
    for i in range(u64(source.size)):
        line[u64(begin) + i] = source[i]
    for i in range(end, plan.x_length):
        line[i] = plane[row, _mirror(plan.x_start + i, width)]
    parts = plan.advance
    part = u64((plan.x_length + parts - 1) // parts)
    if parts == 2:  # common: a loop of its own, with a constant, which vectorises
        for i in range(u64(plan.x_length // 2)):
            out[i] = line[u64(2) * i]
            out[part + i] = line[u64(2) * i + u64(1)]
        if plan.x_length % 2:
            out[plan.x_length // 2] = line[plan.x_length - 1]
        return
    for p in range(u64(parts)):
        for i in range((u64(plan.x_length) - p + u64(parts - 1)) // u64(parts)):
            out[p * part + i] = line[u64(parts) * i + p]


@compiled
def _load_rows(
    rows: Floats, line: Floats, plane: Codes, width: int, plan: Plan, have: tuple[int, int], want: tuple[int, int]
) -> None:
    """Turn `rows`, which hold the source rows have[0] to have[1], into the source rows want[0] to want[1]."""
    kept, shift = max(have[1] - want[0], 0), want[0] - have[0]
    if shift:
        for r in range(kept):
            rows[r] = rows[r + shift]
    for r in range(kept, want[1] - want[0]):
        _load_row(rows[r], line, plane, _mirror(want[0] + r, plane.shape[0]), width, plan)


class _Work(NamedTuple):
    """Work memory of `resample` for one phase.

    rows: source rows, sorted; cells: [M, cells] coefficients, divided by the sum of taps; mixed: [taps, cells];
    strip: [taps * pixels] `mixed`, expanded to a strip of pixels; sums: [4 * pixels] for four rows of a strip.
    offset: [taps] start of a tap's samples in `rows`, relative to the first sample of the first tap.
    """

    rows: Floats
    cells: Floats
    mixed: Floats
    strip: Floats
    sums: Floats
    offset: Ints


@compiled
def _weigh(
    cells: Floats, total: Floats, coefficients: Floats, row: int, count: int, first: int, step: int, block: int,
    sums: Floats,
) -> None:  # fmt: skip
    """Coefficients of `count` cells, those of columns first, first + step, ..., normalised so that taps sum to 1."""
    total[:count] = 0
    x, rest, filters = u64(first // block), first % block, u64(coefficients.shape[0])
    if step != block:
        for i in range(u64(count)):
            for m in range(filters):
                cells[m, i] = coefficients[m, u64(row), x]
            rest += step % block
            x += u64(step // block + int(rest >= block))
            rest -= block * int(rest >= block)
    for m in range(filters):
        if step == block:
            for i in range(u64(count)):
                cells[m, i] = coefficients[m, u64(row), i]
        for i in range(u64(count)):
            total[i] += cells[m, i] * sums[m]
    for i in range(u64(count)):
        total[i] = f32(1) / max(total[i], _LEAST_SUM)
    for m in range(filters):
        for i in range(u64(count)):
            cells[m, i] *= total[i]


@compiled
def _mix(mixed: Floats, taps: Floats, cells: Floats, count: int) -> None:
    """mixed [taps, count] = taps [taps, M] @ cells [M, count]."""
    one, two, three = u64(1), u64(2), u64(3)
    for t in range(u64(taps.shape[0])):
        for m in range(u64(0), u64(taps.shape[1]), u64(4)):
            a, b, c, d = taps[t, m], taps[t, m + one], taps[t, m + two], taps[t, m + three]
            keep = f32(m > 0)
            for i in range(u64(count)):
                sum_ab = mixed[t, i] * keep + a * cells[m, i] + b * cells[m + one, i]
                mixed[t, i] = sum_ab + c * cells[m + two, i] + d * cells[m + three, i]


@compiled
def _spread(strip: Floats, pitch: int, mixed: Floats, first: int, count: int, times: int) -> None:
    """Repeat each value of `count` cells of `mixed` `times` times; the strip has a row per tap, `pitch` apart."""
    for t in range(u64(mixed.shape[0])):
        start = t * u64(pitch)
        if times == 2:  # only constants vectorise
            for i in range(u64(count)):
                value, o = mixed[t, u64(first) + i], start + u64(2) * i
                strip[o], strip[o + u64(1)] = value, value
        elif times == 4:
            for i in range(u64(count)):
                value, o = mixed[t, u64(first) + i], start + u64(4) * i
                strip[o], strip[o + u64(1)], strip[o + u64(2)], strip[o + u64(3)] = value, value, value, value
        else:
            for i in range(u64(count)):
                value, o = mixed[t, u64(first) + i], start + u64(times) * i
                for r in range(u64(times)):
                    strip[o + r] = value


@compiled
def _add_rows(
    sums: Floats, together: int, count: int, taps: Floats, at: int, pitch: int, rows: Floats, begin: int, step: int,
    offset: Ints,
) -> None:  # fmt: skip
    """Apply all taps to `count` pixels of 4, 2 or 1 rows; rows of samples are `step` apart, those of sums `pitch`."""
    for n in range(u64(0), u64(offset.size), u64(4)):
        t0 = u64(at) + n * u64(pitch)
        t1, t2, t3 = t0 + u64(pitch), t0 + u64(2 * pitch), t0 + u64(3 * pitch)
        r0, r1 = u64(begin + offset[n]), u64(begin + offset[n + u64(1)])
        r2, r3 = u64(begin + offset[n + u64(2)]), u64(begin + offset[n + u64(3)])
        if together == 4:
            for i in range(u64(count)):
                a, b, c, d = taps[t0 + i], taps[t1 + i], taps[t2 + i], taps[t3 + i]
                for r in range(u64(4)):
                    j, k = i + r * u64(step), i + r * u64(pitch)
                    sum_ab = sums[k] + a * rows[r0 + j] + b * rows[r1 + j]
                    sums[k] = sum_ab + c * rows[r2 + j] + d * rows[r3 + j]
        elif together == 2:
            for i in range(u64(count)):
                a, b, c, d = taps[t0 + i], taps[t1 + i], taps[t2 + i], taps[t3 + i]
                for r in range(u64(2)):
                    j, k = i + r * u64(step), i + r * u64(pitch)
                    sum_ab = sums[k] + a * rows[r0 + j] + b * rows[r1 + j]
                    sums[k] = sum_ab + c * rows[r2 + j] + d * rows[r3 + j]
        else:
            for i in range(u64(count)):
                sum_ab = sums[i] + taps[t0 + i] * rows[r0 + i] + taps[t1 + i] * rows[r1 + i]
                sums[i] = sum_ab + taps[t2 + i] * rows[r2 + i] + taps[t3 + i] * rows[r3 + i]


@compiled
def _store(out: Codes, first: int, step: int, sums: Floats, begin: int, count: int, peak: f32) -> None:
    """Write the codes of `count` pixels to out[first], out[first + step], ..."""
    at = u64(begin)
    if step == 1:
        for i in range(u64(count)):
            out[u64(first) + i] = np.int32(min(max(sums[at + i], f32(0)), peak) + _HALF)
        return
    for i in range(u64(count)):
        out[u64(first) + i * u64(step)] = np.int32(min(max(sums[at + i], f32(0)), peak) + _HALF)


@compiled
def _apply(
    out: Codes, rows: tuple[int, int], x: tuple[int, int], count: int, taps: Floats, at: int, pitch: int,
    work: _Work, plan: Plan, loaded: int, peak: f32,
) -> None:  # fmt: skip
    """A strip of `count` pixels of one phase: rows[0] to rows[1], starting at pixel x[1] of phase x[0]."""
    phases, samples = plan.y_start.size, work.rows.reshape(-1)
    y = rows[0]
    while y < rows[1]:
        together = 4 if y + 3 * phases < rows[1] else 2 if y + phases < rows[1] else 1
        begin = (plan.y_start[y % phases] + y // phases * plan.advance - loaded) * plan.pitch + x[1]
        work.sums[: together * pitch] = 0
        step = plan.advance * plan.pitch
        _add_rows(work.sums, together, count, taps, at, pitch, samples, begin, step, work.offset)
        for r in range(together):
            _store(out[y + r * phases], x[0] + x[1] * phases, phases, work.sums, r * pitch, count, peak)
        y += together * phases


@compiled
def _block(
    out: Codes, rows: tuple[int, int], coefficients: Floats, row: int, block: int, taps: npt.NDArray[Any],
    sums: Floats, work: _Work, plan: Plan, loaded: int, peak: f32,
) -> None:  # fmt: skip
    """Output rows rows[0] to rows[1], which share a row of cells that are `block` pixels wide."""
    phases, support = plan.x_offset.shape
    times = block // phases if block % phases == 0 else 1
    tile = work.strip.size // taps.shape[2] // times * times
    for py in range(phases):
        first = rows[0] + (py - rows[0]) % phases
        for px in range(phases):
            pixels = (out.shape[1] - px + phases - 1) // phases
            cells = (pixels + times - 1) // times
            _weigh(work.cells, work.sums, coefficients, row, cells, px, phases * times, block, sums[py, px])
            _mix(work.mixed, taps[py, px], work.cells, cells)
            for t in range(plan.y_support * support):
                work.offset[t] = t // support * plan.pitch + plan.x_offset[px, t % support]
            for x in range(0, pixels, tile):
                count = min(tile, pixels - x)
                if times == 1:
                    wide, at, pitch = work.mixed.reshape(-1), x, work.mixed.shape[1]
                else:
                    wide, at, pitch = work.strip, 0, tile
                    _spread(work.strip, tile, work.mixed, x // times, (count + times - 1) // times, times)
                _apply(out, (first, rows[1]), (px, x), count, wide, at, pitch, work, plan, loaded, peak)


@compiled
def resample(
    plane: Codes, width: int, out: Codes, coefficients: Floats, block_y: int, block_x: int,
    taps: npt.NDArray[Any], sums: Floats, plan: Plan, peak: f32,
) -> None:  # fmt: skip
    (h, w), phases = out.shape, plan.y_start.size
    times = block_x // phases if block_x % phases == 0 else 1
    across, count = (w + phases - 1) // phases, taps.shape[2]
    cells = (across + times - 1) // times
    tile = max(_TILE_VALUES // count, 4) // times * times + times
    work = _Work(
        np.zeros((_ROWS * plan.advance + plan.y_support + plan.advance, plan.pitch), f32),
        np.zeros((taps.shape[3], cells), f32),
        np.zeros((count, cells), f32),
        np.zeros(count * tile, f32),
        np.zeros(4 * max(tile, cells), f32),
        np.zeros(count, np.int64),
    )
    line = np.zeros(plan.x_length, f32)
    have = (plan.y_start[0], plan.y_start[0])
    for top in range(0, h, _ROWS * phases):
        bottom = min(top + _ROWS * phases, h)
        last = plan.y_start[(bottom - 1) % phases] + (bottom - 1) // phases * plan.advance
        want = (plan.y_start[0] + top // phases * plan.advance, last + plan.y_support)
        _load_rows(work.rows, line, plane, width, plan, have, want)
        have = want
        y = top
        while y < bottom:
            end = min((y // block_y + 1) * block_y, bottom)
            _block(out, (y, end), coefficients, y // block_y, block_x, taps, sums, work, plan, want[0], peak)
            y = end

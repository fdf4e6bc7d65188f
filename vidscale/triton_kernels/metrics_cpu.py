"""The metrics of `metrics.py` on one CPU core, compiled by numba.

Nothing here starts threads, and everything releases the GIL: the pipeline measures frames in parallel.
Indices are cast to `u64` because numba's test for negative indices would keep LLVM from vectorising the loops.
"""

from typing import cast

import numpy as np
import numpy.typing as npt
from numpy import float32 as f32
from numpy import int32 as i32
from numpy import uint64 as u64
from numpy.lib.stride_tricks import as_strided

from vidscale.triton_kernels._numba import compiled

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32] | npt.NDArray[np.int64]

_TAPS = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
_W0, _W1, _W2, _W3, _W4, _W5 = (f32(tap) for tap in (_TAPS / _TAPS.sum())[:6])
# Gaussian SSIM works down strips of _STRIP output columns, _BLOCK output rows at a time. A row of work memory holds
# four maps of _PITCH columns: the strip, 10 more for the window, a margin for whole vectors. Strips are wide to help
# prefetching; work memory (0.5 MB) fits in the L2 cache.
_STRIP = 960
_PITCH = _STRIP + 16
_ROW = 4 * _PITCH
_BLOCK = 16
# Output rows filtered together: their windows overlap, 14 rows in all.
_STEP = 4
# Columns whose squared 8-bit differences fit in an int32 sum: 2**14 * 255**2 < 2**31.
_RUN = 1 << 14


def squared_error(ref: Plane, dist: Plane) -> int:
    """See `metrics.squared_error`; arguments are not checked."""
    kernel = _squared_error_8 if ref.dtype == np.uint8 else _squared_error_16
    return int(kernel(_rows(ref), _rows(dist), ref.shape[1]))


def ssim_gaussian(ref: Plane, dist: Plane, bit_depth: int) -> float:
    """See `metrics.ssim_gaussian`; arguments are not checked."""
    peak = (1 << bit_depth) - 1
    height, width = ref.shape
    total = _ssim_gaussian(_rows(ref), _rows(dist), width, float(peak))
    return float(total / ((height - 10) * (width - 10)))


def ssim_ffmpeg(ref: Plane, dist: Plane, bit_depth: int) -> float:
    """See `metrics.ssim_ffmpeg`; arguments are not checked."""
    peak = (1 << bit_depth) - 1
    c1 = float(int(0.01**2 * peak**2 * 64 + 0.5))
    c2 = float(int(0.03**2 * peak**2 * 64 * 63 + 0.5))
    # The largest sum of a 4x4 block is 2 * 16 * peak**2.
    sums = np.int32 if bit_depth <= 12 else np.int64
    height, width = ref.shape[0] // 4, ref.shape[1] // 4
    columns, blocks = np.empty((4, 4 * width), sums), np.empty((2, 4, width), sums)
    total = _ssim_ffmpeg(_rows(ref), _rows(dist), columns, blocks, c1, c2)
    return float(total / ((height - 1) * (width - 1)))


def _rows(plane: Plane) -> Plane:
    """The same memory as a C-contiguous read-only [H, pitch] array, so one compiled form is enough.

    The last row's padding may be outside the buffer; only W columns are read.
    A plane whose rows are not dense, ascending and aligned is copied.
    """
    height, width = plane.shape
    step, item = plane.strides[0], plane.itemsize
    dense = (width <= 1 or plane.strides[1] == item) and plane.flags.aligned
    if not dense or (height > 1 and (step < width * item or step % item)):
        plane, step = plane.copy(order="C"), width * item
    pitch = step // item if height > 1 else width
    return cast("Plane", as_strided(plane, (height, pitch), (pitch * item, item), writeable=False))


@compiled
def _squared_error_8(x: Plane, y: Plane, width: int) -> np.int64:
    total = np.int64(0)
    for r in range(x.shape[0]):
        for start in range(0, width, _RUN):
            run = i32(0)
            for j in range(start, min(start + _RUN, width)):
                diff = i32(x[u64(r), u64(j)]) - i32(y[u64(r), u64(j)])
                run = i32(run + diff * diff)
            total += run
    return total


@compiled
def _squared_error_16(x: Plane, y: Plane, width: int) -> np.int64:
    total = np.int64(0)
    for r in range(x.shape[0]):
        for j in range(width):
            diff = np.int64(i32(x[u64(r), u64(j)]) - i32(y[u64(r), u64(j)]))
            total += diff * diff
    return total


@compiled
def _ssim_gaussian(x: Plane, y: Plane, width: int, peak: float) -> float:
    """Sum of the SSIM map over its [H - 10, W - 10] positions.

    In sums and differences, s = x + y and d = x - y, SSIM is
    (S - D + 2 C1) / (S + D + 2 C1) * (var s - var d + 2 C2) / (var s + var d + 2 C2), S = mean(s)**2, D = mean(d)**2.
    The error of `var s`, from cancellation in float32, is multiplied by `var d`, which is small if the planes are
    similar; for identical planes every quotient is exactly 1. The mid-range is subtracted from `s`, which halves the
    error.
    """
    c1, c2 = f32(2 * (0.01 * peak) ** 2), f32(2 * (0.03 * peak) ** 2)
    out_height, out_width = x.shape[0] - 10, width - 10
    maps = np.zeros((_BLOCK + 10) * _ROW, f32)
    means = np.zeros(_STEP * _ROW, f32)
    column_sums = np.empty(_STRIP, f32)
    total = 0.0
    for left in range(0, out_width, _STRIP):
        columns = min(_STRIP, out_width - left)
        # Whole vectors of 8: the values beyond the strip are finite and not summed.
        padded = (columns + 7) & ~7
        for top in range(0, out_height, _BLOCK):
            rows = min(_BLOCK, out_height - top)
            known = 10 if top else 0
            for i in range(known * _ROW):
                maps[u64(i)] = maps[u64(i + _BLOCK * _ROW)]
            for r in range(known, rows + 10):
                _fill_maps(x, y, top + r, left, columns + 10, maps, r * _ROW, f32(peak))
            column_sums[:] = 0
            for r in range(0, rows, _STEP):
                _filter_down(maps, r * _ROW, means, padded + 16)
                for k in range(min(_STEP, rows - r)):
                    _filter_across(means, k * _ROW, padded)
                    _add_ssim(means, k * _ROW, padded, column_sums, f32(peak), c1, c2)
            for j in range(columns):
                total += column_sums[j]
    return total


@compiled
def _fill_maps(x: Plane, y: Plane, row: int, left: int, columns: int, maps: Floats, at: int, middle: f32) -> None:
    """One row of s, d, s**2, d**2."""
    for j in range(columns):
        a, b = f32(x[u64(row), u64(left + j)]), f32(y[u64(row), u64(left + j)])
        s, d = a + b - middle, a - b
        i = at + j
        maps[u64(i)] = s
        maps[u64(i + _PITCH)] = d
        maps[u64(i + 2 * _PITCH)] = s * s
        maps[u64(i + 3 * _PITCH)] = d * d


@compiled
def _window(v0: f32, v1: f32, v2: f32, v3: f32, v4: f32, v5: f32, v6: f32, v7: f32, v8: f32, v9: f32, v10: f32) -> f32:
    outer = _W0 * (v0 + v10) + _W1 * (v1 + v9) + _W2 * (v2 + v8)
    return f32(outer + _W3 * (v3 + v7) + _W4 * (v4 + v6) + _W5 * v5)


@compiled
def _filter_down(maps: Floats, at: int, means: Floats, columns: int) -> None:
    """_STEP rows of all four maps, filtered vertically."""
    for start in range(0, _ROW, _PITCH):
        for j in range(start, start + columns):
            i = at + j
            v0, v1, v2 = maps[u64(i)], maps[u64(i + _ROW)], maps[u64(i + 2 * _ROW)]
            v3, v4, v5 = maps[u64(i + 3 * _ROW)], maps[u64(i + 4 * _ROW)], maps[u64(i + 5 * _ROW)]
            v6, v7, v8 = maps[u64(i + 6 * _ROW)], maps[u64(i + 7 * _ROW)], maps[u64(i + 8 * _ROW)]
            v9, v10, v11 = maps[u64(i + 9 * _ROW)], maps[u64(i + 10 * _ROW)], maps[u64(i + 11 * _ROW)]
            v12, v13 = maps[u64(i + 12 * _ROW)], maps[u64(i + 13 * _ROW)]
            means[u64(j)] = _window(v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10)
            means[u64(j + _ROW)] = _window(v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11)
            means[u64(j + 2 * _ROW)] = _window(v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12)
            means[u64(j + 3 * _ROW)] = _window(v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13)


@compiled
def _filter_across(means: Floats, at: int, columns: int) -> None:
    """One row of all four maps, filtered horizontally in place."""
    for start in range(at, at + _ROW, _PITCH):
        for i in range(start, start + columns):
            v0, v1, v2, v3 = means[u64(i)], means[u64(i + 1)], means[u64(i + 2)], means[u64(i + 3)]
            v4, v5, v6, v7 = means[u64(i + 4)], means[u64(i + 5)], means[u64(i + 6)], means[u64(i + 7)]
            v8, v9, v10 = means[u64(i + 8)], means[u64(i + 9)], means[u64(i + 10)]
            means[u64(i)] = _window(v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10)


@compiled
def _add_ssim(means: Floats, at: int, columns: int, column_sums: Floats, middle: f32, c1: f32, c2: f32) -> None:
    for j in range(columns):
        i = at + j
        mean_s, mean_d = means[u64(i)], means[u64(i + _PITCH)]
        var_s = means[u64(i + 2 * _PITCH)] - mean_s * mean_s
        var_d = means[u64(i + 3 * _PITCH)] - mean_d * mean_d
        mean_s += middle
        sum_2, diff_2 = mean_s * mean_s, mean_d * mean_d
        column_sums[u64(j)] += ((sum_2 - diff_2 + c1) * (var_s - var_d + c2)) / (
            (sum_2 + diff_2 + c1) * (var_s + var_d + c2)
        )


@compiled
def _ssim_ffmpeg(x: Plane, y: Plane, columns: Integers, blocks: Integers, c1: float, c2: float) -> float:
    """Sum of the SSIM of all windows; `columns` [4, 4 n] and `blocks` [2, 4, n] are integer work memory."""
    count = blocks.shape[2]
    by_column = np.zeros(count - 1)
    for r in range(x.shape[0] // 4):
        _sum_four_rows(x, y, 4 * r, columns)
        _sum_four_columns(columns, blocks[r & 1])
        if r:
            _add_window_ssim(blocks[0], blocks[1], by_column, c1, c2)
    return float(by_column.sum())


@compiled
def _sum_four_rows(x: Plane, y: Plane, row: int, columns: Integers) -> None:
    """Per column, over four rows: the sums of x, y, x**2 + y**2 and x y."""
    r0, r1, r2, r3 = u64(row), u64(row + 1), u64(row + 2), u64(row + 3)
    for j in range(columns.shape[1]):
        i = u64(j)
        a0, a1, a2, a3 = i32(x[r0, i]), i32(x[r1, i]), i32(x[r2, i]), i32(x[r3, i])
        b0, b1, b2, b3 = i32(y[r0, i]), i32(y[r1, i]), i32(y[r2, i]), i32(y[r3, i])
        columns[0, i] = a0 + a1 + a2 + a3
        columns[1, i] = b0 + b1 + b2 + b3
        columns[2, i] = a0 * a0 + a1 * a1 + a2 * a2 + a3 * a3 + b0 * b0 + b1 * b1 + b2 * b2 + b3 * b3
        columns[3, i] = a0 * b0 + a1 * b1 + a2 * b2 + a3 * b3


@compiled
def _sum_four_columns(columns: Integers, blocks: Integers) -> None:
    for m in range(4):
        for k in range(blocks.shape[1]):
            i, j = u64(m), 4 * k
            blocks[i, u64(k)] = (
                columns[i, u64(j)] + columns[i, u64(j + 1)] + columns[i, u64(j + 2)] + columns[i, u64(j + 3)]
            )


@compiled
def _add_window_ssim(p: Integers, q: Integers, by_column: npt.NDArray[np.float64], c1: float, c2: float) -> None:
    """Windows of 2x2 blocks. All sums, even scaled by 64, are integers below 2**53: exact in float64."""
    for k in range(by_column.shape[0]):
        i, j = u64(k), u64(k + 1)
        sum_x = np.float64(p[0, i] + p[0, j] + q[0, i] + q[0, j])
        sum_y = np.float64(p[1, i] + p[1, j] + q[1, i] + q[1, j])
        squares = np.float64(p[2, i] + p[2, j] + q[2, i] + q[2, j])
        products = np.float64(p[3, i] + p[3, j] + q[3, i] + q[3, j])
        cross, power = sum_x * sum_y, sum_x * sum_x + sum_y * sum_y
        by_column[i] += ((2 * cross + c1) * (2 * (64 * products - cross) + c2)) / (
            (power + c1) * (64 * squares - power + c2)
        )

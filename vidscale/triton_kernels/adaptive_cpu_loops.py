"""The compiled loops of `adaptive_cpu.py`: some rows at a time, tap by tap, in float32.

The positions of all pixels in these rows are computed first, in vector code, then their samples are read. A frame is a
padded picture, see `adaptive_cpu._framed`. Rows and columns of pixels are one dense axis P here: simple types compile
fast.

Array indices are unsigned: numba tests signed ones for negative values, and a loop with such a test does not vectorise.
Never mix signed and unsigned integers: in numba their sum is a float.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numpy import float32 as f32
from numpy import int32 as i32
from numpy import uint64 as u64

from vidscale.triton_kernels._numba import compiled

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]

_compiled = partial(compiled, fastmath={"contract", "nsz"})  # no nnan: offsets may be anything

_FARTHEST = f32(2**24)  # offsets are clamped to this, so they fit in an integer
_BLOCK = 1024  # about this many LR pixels at a time: their data fits in the L1 cache


class Frame(NamedTuple):
    """Planes of a padded picture.

    samples: [C * rows * columns], plane after plane, row after row.
    """

    samples: Floats
    rows: int
    columns: int


class _Positions(NamedTuple):
    """Where one tap reads for some rows of LR pixels.

    above: [P] index of the sample above and to the left, within a plane; fx, fy: [P] fractions beyond it.
    pitch: samples from one row of the frame to the next; plane: from one plane to the next.
    """

    above: Ints
    fx: Floats
    fy: Floats
    pitch: int
    plane: int


@_compiled
def _positions(pixels: int, frame: Frame) -> _Positions:
    plane = frame.rows * frame.columns
    return _Positions(np.empty(pixels, i32), np.empty(pixels, f32), np.empty(pixels, f32), frame.columns, plane)


@_compiled
def _floor(value: f32) -> i32:
    whole = i32(value)
    return i32(whole - i32(f32(whole) > value))


@_compiled
def _held(value: f32) -> f32:
    value = -_FARTHEST if value < -_FARTHEST else value
    return _FARTHEST if value > _FARTHEST else value


@_compiled
def _place(to: _Positions, dx: Floats, dy: Floats, w: int, at_x: int, at_y: int, scale: int, frame: Frame) -> None:
    """Positions of one tap in rows of w pixels; at_x, at_y: position of the first pixel without its offset.

    A frame's outermost samples equal their neighbours, so a position clamped there reads the edge.
    """
    half = f32(0.5 * ((scale - 1) % 2))
    base_x, step, pitch = i32(at_x), i32(scale), i32(to.pitch)
    last_x, last_y = i32(frame.columns - 2), i32(frame.rows - 2)
    for j in range(u64(dx.size // w)):
        base_y, start = i32(at_y + i32(j) * scale), j * u64(w)
        for i in range(u64(w)):
            p = start + i
            x, y = _held(f32(dx[p] + half)), _held(f32(dy[p] + half))
            whole_x, whole_y = _floor(x), _floor(y)
            to.fx[p], to.fy[p] = f32(x - f32(whole_x)), f32(y - f32(whole_y))
            column = min(max(i32(whole_x + i32(base_x + i32(i32(i) * step))), i32(0)), last_x)
            row = min(max(i32(whole_y + base_y), i32(0)), last_y)
            to.above[p] = i32(row * pitch + column)


@_compiled
def _add_samples(out: Floats, samples: Floats, at: _Positions, taps: Floats) -> None:
    """out [C, P] += tap times sample."""
    for i in range(u64(taps.size)):
        above, one = u64(at.above[i]), u64(1)
        below = above + u64(at.pitch)
        right = taps[i] * at.fx[i]
        w11 = right * at.fy[i]
        w10, w01 = taps[i] * at.fy[i] - w11, right - w11
        w00 = taps[i] - right - w10
        for c in range(u64(out.shape[0])):
            top = w00 * samples[above] + w01 * samples[above + one]
            out[c, i] += top + w10 * samples[below] + w11 * samples[below + one]
            above, below = above + u64(at.plane), below + u64(at.plane)


@_compiled
def forward(
    frame: Frame, taps: Floats, offset_x: Floats, offset_y: Floats, out: Floats, w: int, begin: int, scale: int
) -> None:
    """out [C, P] from taps and offsets [K*K, P], for whole rows starting at row `begin`."""
    (count, pixels), step = taps.shape, w * max(1, _BLOCK // w)
    support, first = int(np.sqrt(count)), (scale - 1) // 2 + 1
    at, values = _positions(step, frame), np.empty((out.shape[0], step), f32)
    for start in range(0, pixels, step):
        end, y = min(start + step, pixels), begin + start // w
        values[:] = 0
        for k in range(count):
            at_x, at_y = first + k % support, first + k // support + y * scale
            _place(at, offset_x[k, start:end], offset_y[k, start:end], w, at_x, at_y, scale, frame)
            _add_samples(values, frame.samples, at, taps[k, start:end])
        for c in range(out.shape[0]):
            for i in range(start, end):
                out[c, i] = values[c, i - start]


@_compiled
def _tanh(value: f32) -> f32:
    """Lambert's continued fraction at x / 8, then three doublings; vectorises, accurate to 2e-7."""
    x = min(max(value, f32(-10)), f32(10)) * f32(0.125)
    x2 = x * x
    t = x * (f32(945) + x2 * (f32(105) + x2)) / (f32(945) + x2 * (f32(420) + x2 * f32(15)))
    t = f32(2) * t / (f32(1) + t * t)
    t = f32(2) * t / (f32(1) + t * t)
    return f32(f32(2) * t / (f32(1) + t * t))


@_compiled
def activate(kernel: Floats, head_x: Floats, head_y: Floats, total: Floats, scale: int) -> None:
    """Raw heads [K*K, P] to offsets and to unnormalised taps, in place; total [P] receives the sum of taps."""
    total[:] = 0
    for k in range(kernel.shape[0]):
        for i in range(u64(total.size)):
            kernel[k, i] = min(max(kernel[k, i], f32(1e-6)), f32(1))
            head_x[k, i] = f32(_tanh(head_x[k, i]) * f32(scale))
            head_y[k, i] = f32(_tanh(head_y[k, i]) * f32(scale))
            total[i] += kernel[k, i]


@_compiled
def _add_products(out: Floats, samples: Floats, at: _Positions, grad: Floats, start: int) -> None:
    """out [4, P]: the samples of a position (top left, top right, bottom left, bottom right), each times grad."""
    for i in range(u64(out.shape[1])):
        above, one, j = u64(at.above[i]), u64(1), u64(start) + i
        below = above + u64(at.pitch)
        s00, s01, s10, s11 = f32(0), f32(0), f32(0), f32(0)
        for c in range(u64(grad.shape[0])):
            s00 += grad[c, j] * samples[above]
            s01 += grad[c, j] * samples[above + one]
            s10 += grad[c, j] * samples[below]
            s11 += grad[c, j] * samples[below + one]
            above, below = above + u64(at.plane), below + u64(at.plane)
        out[u64(0), i], out[u64(1), i], out[u64(2), i], out[u64(3), i] = s00, s01, s10, s11


@_compiled
def _differentiate(to: Floats, to_x: Floats, to_y: Floats, corners: Floats, taps: Floats, at: _Positions) -> None:
    for i in range(u64(taps.size)):
        a, b, c, d = corners[u64(0), i], corners[u64(1), i], corners[u64(2), i], corners[u64(3), i]
        above, below = a + (b - a) * at.fx[i], c + (d - c) * at.fx[i]
        to[i] = above + (below - above) * at.fy[i]
        to_x[i] = taps[i] * ((b - a) + ((d - c) - (b - a)) * at.fy[i])
        to_y[i] = taps[i] * (below - above)


@_compiled
def _scatter(sums: Floats, at: _Positions, taps: Floats, grad: Floats, start: int) -> None:
    """Add the gradient of a frame's samples to `sums`, given grad [C, pixels] from pixel `start` on."""
    for i in range(u64(taps.size)):
        above, one, j = u64(at.above[i]), u64(1), u64(start) + i
        below = above + u64(at.pitch)
        right = taps[i] * at.fx[i]
        w11 = right * at.fy[i]
        w10, w01 = taps[i] * at.fy[i] - w11, right - w11
        w00 = taps[i] - right - w10
        for c in range(u64(grad.shape[0])):
            sums[above] += w00 * grad[c, j]
            sums[above + one] += w01 * grad[c, j]
            sums[below] += w10 * grad[c, j]
            sums[below + one] += w11 * grad[c, j]
            above, below = above + u64(at.plane), below + u64(at.plane)


@_compiled
def backward(
    grad: Floats,
    frame: Frame,
    taps: Floats,
    offset_x: Floats,
    offset_y: Floats,
    to: Floats,
    to_x: Floats,
    to_y: Floats,
    sums: Floats,
    w: int,
    scale: int,
) -> None:
    """Gradients of taps and offsets [K*K, P], given grad [C, P].

    That of the frame's samples is added to `sums`, unless `sums` is empty.
    """
    (count, pixels), step = taps.shape, w * max(1, _BLOCK // w)
    support, first = int(np.sqrt(count)), (scale - 1) // 2 + 1
    at = _positions(step, frame)
    for start in range(0, pixels, step):
        end = min(start + step, pixels)
        corners = np.empty((4, end - start), f32)
        for k in range(count):
            at_x, at_y = first + k % support, first + k // support + start // w * scale
            tap = taps[k, start:end]
            _place(at, offset_x[k, start:end], offset_y[k, start:end], w, at_x, at_y, scale, frame)
            _add_products(corners, frame.samples, at, grad, start)
            _differentiate(to[k, start:end], to_x[k, start:end], to_y[k, start:end], corners, tap, at)
            if sums.size:
                _scatter(sums, at, tap, grad, start)


@_compiled
def fold(out: Floats, sums: Floats, rows: Indices, columns: Indices) -> None:
    """Add each sample of a frame to the sample of the picture [C, H, W] that it is a copy of."""
    i = 0
    for c in range(out.shape[0]):
        for y in range(rows.size):
            for x in range(columns.size):
                out[c, rows[y], columns[x]] += sums[i]
                i += 1

"""Content-adaptive resampling on the CPU, in float32, compiled by numba.

Each picture is copied once into a padded frame, so positions only have to be clamped. Each call starts its own threads,
over the batch, and in the forward pass over strips of rows too.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import isqrt
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from vidscale.triton_kernels import adaptive_cpu_loops as loops
from vidscale.triton_kernels.adaptive_cpu_loops import Floats, Frame, Indices

Array = npt.NDArray[Any]

_STRIP_VALUES = 1 << 17  # of one head in a strip of rows: all heads of a strip fit in the cache


def forward(x: Array, *inputs: Array, scale: int, threads: int | None = None) -> Floats:
    """`adaptive_resample` of arrays, for arguments that it has checked: x, taps, offset_x, offset_y."""
    out = np.empty((*x.shape[:2], *inputs[0].shape[2:]), np.float32)
    frames = [_framed(picture, inputs[0].shape[1]) for picture in x]

    def work(n: int, begin: int, end: int) -> None:
        out[n, :, begin:end] = _rows(frames[n], _strip(inputs, n, begin, end), out.shape[1:], begin, scale)

    _share(work, _strips(inputs[0], threads), threads)
    return out


def forward_heads(
    x: Array, *heads: Any, scale: int, out_name: str, gain: float, peak: int, threads: int | None = None
) -> Array:
    """`adaptive_resample_heads` of an array; heads may be CPU tensors of any float type, converted strip by strip."""
    out = np.empty((*x.shape[:2], *heads[0].shape[2:]), out_name)
    frames = [_framed(picture, heads[0].shape[1]) for picture in x]

    def work(n: int, begin: int, end: int) -> None:
        strip = _strip(heads, n, begin, end, copy=True)
        total = np.empty(strip[0].shape[1], np.float32)
        loops.activate(*strip, total, scale)
        values = _rows(frames[n], strip, out.shape[1:], begin, scale)
        values *= np.float32(gain) / np.maximum(total, np.float32(1e-6)).reshape(values.shape[1:])
        out[n, :, begin:end] = np.floor(values.clip(0, peak) + np.float32(0.5)) if out.dtype.kind == "u" else values

    _share(work, _strips(heads[0], threads), threads)
    return out


def backward(
    grad: Array, x: Array, *inputs: Array, scale: int, of_x: bool, threads: int | None = None
) -> tuple[Floats | None, Floats, Floats, Floats]:
    """Gradients of x (None unless `of_x`), taps, offset_x and offset_y, given that of the result."""
    n, count, h, w = inputs[0].shape
    taps, offset_x, offset_y = (np.empty((n, count, h * w), np.float32) for _ in range(3))
    grad_x = np.zeros(x.shape, np.float32) if of_x else None

    def work(n: int, begin: int, end: int) -> None:
        frame = _framed(x[n], count)
        above = _dense(grad[n].reshape(-1, h * w))
        sums = np.zeros(frame.samples.size if of_x else 0, np.float32)
        strip = _strip(inputs, n, begin, end)
        loops.backward(above, frame, *strip, taps[n], offset_x[n], offset_y[n], sums, w, scale)
        if grad_x is not None:
            loops.fold(grad_x[n], sums, *(_frame_index(side, count) for side in x.shape[2:]))

    _share(work, [(i, 0, h) for i in range(n)], threads)
    shape = inputs[0].shape
    return grad_x, taps.reshape(shape), offset_x.reshape(shape), offset_y.reshape(shape)


def _rows(frame: Frame, strip: tuple[Floats, Floats, Floats], shape: Sequence[int], begin: int, scale: int) -> Floats:
    """Rows [C, rows, w] of a result [C, h, w], starting at row `begin`, as many as the strip has."""
    channels, _, w = shape
    values = np.empty((channels, strip[0].shape[1]), np.float32)
    loops.forward(frame, *strip, values, w, begin, scale)
    return values.reshape(channels, -1, w)


def _share(work: Callable[[int, int, int], None], jobs: Sequence[tuple[int, int, int]], threads: int | None) -> None:
    with ThreadPoolExecutor(min(threads or os.cpu_count() or 1, len(jobs))) as pool:
        list(pool.map(lambda job: work(*job), jobs))


def _strips(head: Any, threads: int | None) -> list[tuple[int, int, int]]:
    """Strips of rows (n, begin, end): small enough for the cache, and at least one per thread where possible."""
    n, count, h, w = head.shape
    rows = max(1, min(_STRIP_VALUES // (count * w), -(-h // (threads or os.cpu_count() or 1))))
    return [(i, begin, min(begin + rows, h)) for i in range(n) for begin in range(0, h, rows)]


def _strip(heads: Sequence[Any], n: int, begin: int, end: int, *, copy: bool = False) -> tuple[Floats, Floats, Floats]:
    """Rows of the three heads, each as [K*K, P]."""
    strips = [head[n, :, begin:end] for head in heads]
    flat = [s.reshape(s.shape[0], -1) for s in strips]
    first, second, third = (_dense(f if isinstance(f, np.ndarray) else f.float().numpy(), copy=copy) for f in flat)
    return first, second, third


def _dense(values: Array, *, copy: bool = False) -> Floats:
    """Dense float32: other types would be compiled again."""
    if copy:
        return np.array(values, np.float32, order="C")
    return cast("Floats", np.require(values, np.float32, ["C", "W", "A"]))


def _frame_index(length: int, count: int) -> Indices:
    """Picture index of each sample of a frame: mirrored by K // 2, then the outermost sample repeated once."""
    pad = isqrt(count) // 2
    index = np.arange(-pad - 1, length + pad + 1).clip(-pad, length - 1 + pad)
    if length == 1:
        return np.zeros_like(index)
    folded = index % (2 * length - 2)
    return cast("Indices", np.minimum(folded, 2 * length - 2 - folded))


def _framed(picture: Array, count: int) -> Frame:
    """A picture [C, H, W] padded for K*K taps."""
    rows, columns = (_frame_index(side, count) for side in picture.shape[1:])
    samples = picture.take(rows, axis=1).take(columns, axis=2).astype(np.float32)
    return Frame(samples.reshape(-1), rows.size, columns.size)

"""The correcting network of `back_projection.py` on the CPU, row by row of cells."""

from typing import NamedTuple

import numpy as np

from vidscale.triton_kernels._numba import compiled
from vidscale.triton_kernels.chain_cpu import Rings, rings_of
from vidscale.triton_kernels.chain_cpu_cells import Samples
from vidscale.triton_kernels.chain_gradient_cpu import advance, line_of
from vidscale.triton_kernels.chain_layout import Floats, Layers, Linear

_NO_LINEAR = Linear(0, 0, 1, 0, np.zeros(0, np.float32), np.zeros((3, 1), np.float32), np.zeros(3, np.float32))


class _Features(NamedTuple):
    """What the correction depends on, in codes.

    Attributes:
        errors: [rows, columns * large^2], cells.
        detail, gradient: [h, w] float32.
        lr: [h, w] codes.
        small: side of a cell in LR samples.
    """

    errors: Samples
    detail: Floats
    gradient: Floats
    lr: Samples
    small: int


def correct(
    lr: Samples, errors: Samples, gradient: Floats, layers: Layers, taps: Floats, small: int, peak: int, out: Samples
) -> None:
    """Add the correction to a small picture; releases the GIL.

    Args:
        lr: [h, w] uint8 or uint16, codes, whole cells.
        errors: [rows, columns * large^2], cells, in codes.
        gradient: [h, w] float32, in codes.
        layers: the packed network.
        taps: [2, k, k] float32, of gradient and detail.
        small: side of a cell in LR samples.
        peak: highest code.
        out: [h, w], as `lr`; the result is written here.
    """
    detail = np.empty(lr.shape, np.float32)
    _detail(lr, detail)
    rings = rings_of(layers, _NO_LINEAR, lr.shape[1] // small)
    _correct(_Features(errors, detail, gradient, lr, small), layers, _NO_LINEAR, rings, taps, np.float32(peak), out)


@compiled
def _detail(lr: Samples, out: Floats) -> None:
    """Subtract the binomial 3x3 blur; edge samples are repeated."""
    height, width = lr.shape
    line = np.empty(width + 2, np.int32)
    for y in range(height):
        above, here, below = lr[max(y - 1, 0)], lr[y], lr[min(y + 1, height - 1)]
        for x in range(width):
            line[x + 1] = np.int32(above[x]) + 2 * np.int32(here[x]) + np.int32(below[x])
        line[0], line[width + 1] = line[1], line[width]
        row = out[y]
        for x in range(width):
            blurred = line[x] + 2 * line[x + 1] + line[x + 2]
            row[x] = np.float32(16 * np.int32(here[x]) - blurred) * np.float32(1 / 16)


@compiled
def _correct(
    features: _Features, layers: Layers, linear: Linear, rings: Rings, taps: Floats, peak: np.float32, out: Samples
) -> None:
    margin, rows = (layers.support - 1).sum() // 2, features.errors.shape[0]
    made = layers.channels[layers.support.size]
    line = line_of(layers, rings)
    factors = line_of(layers, rings)
    padded = np.empty(features.lr.shape[1] + taps.shape[2] - 1, np.float32)
    total = np.empty(features.lr.shape[1], np.float32)
    have = np.zeros(layers.support.size + 1, np.int64)
    for row in range(-margin, rows + margin):
        at = rings.begin[0] + have[0] % layers.support[0] * rings.pitch[0]
        _gather(features, min(max(row, 0), rows - 1), margin, rings.memory, at, layers.channels[0])
        have[0] += 1
        if advance(layers, linear, rings, have, line, factors, None, None):
            done = have[layers.support.size] - 1
            for y in range(features.small):
                _filter(features, done * features.small + y, taps, padded, total)
                _combine(features, done * features.small + y, factors, made, total, peak, out)


@compiled
def _gather(features: _Features, row: int, margin: int, out: Floats, at: int, taken: int) -> None:
    """Write the features of a row of cells, those at its ends repeated `margin` times."""
    small = features.small
    columns, begin = features.lr.shape[1] // small, at + margin * taken
    large = features.errors.shape[1] // columns
    for cell in range(columns):
        to = begin + cell * taken
        for n in range(large):
            out[to + n] = features.errors[row, cell * large + n]
        to += large
        for y in range(small):
            for x in range(small):
                here = row * small + y, cell * small + x
                out[to] = features.detail[here]
                out[to + small**2] = features.gradient[here]
                out[to + 2 * small**2] = features.lr[here]
                to += 1
    last = begin + (columns - 1) * taken
    for i in range(margin * taken):
        out[at + i] = out[begin + i % taken]
        out[last + taken + i] = out[last + i % taken]


@compiled
def _filter(features: _Features, y: int, taps: Floats, padded: Floats, total: Floats) -> None:
    """Compute a row of the small picture plus the filtered gradient and detail."""
    height, width = features.lr.shape
    reach = taps.shape[1] // 2
    for x in range(width):
        total[x] = features.lr[y, x]
    for r in range(taps.shape[1]):
        near = min(max(y + r - reach, 0), height - 1)
        _filter_row(features.gradient[near], taps[0, r], padded, total)
        _filter_row(features.detail[near], taps[1, r], padded, total)


@compiled
def _filter_row(row: Floats, taps: Floats, padded: Floats, total: Floats) -> None:
    reach, width = taps.size // 2, row.size
    for x in range(reach):
        padded[x], padded[width + reach + x] = row[0], row[width - 1]
    for x in range(width):
        padded[reach + x] = row[x]
    for tap in range(taps.size):
        weight, moved = taps[tap], padded[tap:]
        for x in range(width):
            total[x] += weight * moved[x]


@compiled
def _combine(
    features: _Features, y: int, factors: Floats, made: int, total: Floats, peak: np.float32, out: Samples
) -> None:
    small = features.small
    row, detail, gradient = out[y], features.detail[y], features.gradient[y]
    for x in range(total.size):
        at = x // small * made + y % small * small + x % small
        value = total[x] + factors[at] * gradient[x] + factors[at + small**2] * detail[x] + factors[at + 2 * small**2]
        row[x] = min(max(value, np.float32(0)) + np.float32(0.5), peak)

"""The correction of a small picture by the features that `back_projection_cpu.py` makes, row by row of cells."""

import numpy as np
import numpy.typing as npt
from numba import uint64 as u64

from vidscale.triton_kernels._numba import compiled
from vidscale.triton_kernels.back_projection_cpu import repeat_edges, to_samples
from vidscale.triton_kernels.back_projection_layout import (
    ERRORS,
    FACTORS,
    FILTERED,
    OF_DETAIL,
    OF_ERRORS,
    OF_LUMA,
    OF_PROJECTED,
    Codes,
    Mixing,
    Planes,
)
from vidscale.triton_kernels.lanes_cpu import advance, arrange, place, row_of_groups
from vidscale.triton_kernels.lanes_layout import Network, Samples, Stores

_Row = npt.NDArray[np.float32]


@compiled
def correct(
    lr: Samples, network: Network, stores: Stores, planes: Planes, codes: Codes, mixing: Mixing, out: Samples
) -> None:
    """Correct a small picture.

    Args:
        lr: [h, w] uint8 or uint16, codes, whole cells.
        network: computes a, b and c from the features.
        stores: `ERRORS` is read.
        planes: g is read, d is written.
        codes, mixing: see there.
        out: [h, w], as `lr`.
    """
    beyond = network.margin[0] + network.half
    total = np.empty(lr.shape[1], np.float32)
    _find_detail(lr, planes, codes)
    for row in range(-beyond, stores.rows + beyond):
        _feed_features(lr, row, stores, planes, codes, beyond)
        if advance(network, stores, row - network.half, planes.offsets):
            done = row - network.half - network.lag[-1]
            for y in range(codes.small):
                _filter(lr, done * codes.small + y, planes, mixing, total)
                _mix(done, y, stores, planes, codes, mixing, total, out)


@compiled
def _find_detail(lr: Samples, planes: Planes, codes: Codes) -> None:
    """Subtract the binomial 3x3 blur; edge samples are repeated."""
    height, width = lr.shape
    reach = (planes.detail.shape[1] - width) // 2
    sums = np.empty(width + 2, np.int32)
    unit = np.float32(np.int32(1) << codes.up) / np.float32(np.int32(16) << codes.down)
    for y in range(height):
        above, here, below = lr[max(y - 1, 0)], lr[y], lr[min(y + 1, height - 1)]
        inner = sums[1:]
        for x in range(u64(here.size)):
            inner[x] = np.int32(above[x]) + np.int32(2) * np.int32(here[x]) + np.int32(below[x])
        sums[0], sums[width + 1] = sums[1], sums[width]
        line = planes.detail[y]
        detail = line[reach:]
        for x in range(u64(here.size)):
            blurred = sums[x] + np.int32(2) * sums[x + u64(1)] + sums[x + u64(2)]
            detail[x] = np.float32(np.int32(16) * np.int32(here[x]) - blurred) * unit
        repeat_edges(line, reach)


@compiled
def _feed_features(lr: Samples, row: int, stores: Stores, planes: Planes, codes: Codes, beyond: int) -> None:
    """Add a row of cells of each feature; the cells at the edges are repeated."""
    small, line = codes.small, planes.line
    near = min(max(row, 0), stores.rows - 1)
    _feed_errors(near, row, stores, codes.large, beyond)
    count = stores.columns * small
    reach = (planes.detail.shape[1] - count) // 2
    down = 0
    for y in range(near * small, near * small + small):
        for store in range(OF_DETAIL, OF_LUMA + 1):
            if store == OF_DETAIL:
                _copy(planes.detail[y, reach:], line[beyond * small :], count)
            elif store == OF_PROJECTED:
                _copy(planes.projected[y, reach:], line[beyond * small :], count)
            else:
                to_samples(lr[y], codes, line[beyond * small :])
            _feed(line, store, row, down, stores, small, beyond)
        down += row_of_groups(stores, small)


@compiled
def _copy(source: Samples, to: Samples, count: int) -> None:
    """A plain loop: in numba, assigning slices takes ten times as long."""
    for x in range(u64(count)):
        to[x] = source[x]


@compiled
def _feed(line: Samples, store: int, row: int, down: int, stores: Stores, small: int, beyond: int) -> None:
    """Add a row of samples. Args: line: has `beyond` cells of room on each side; down: `row_of_groups` above it."""
    before, count = beyond * small, stores.columns * small
    for x in range(before):
        line[x] = line[before + x % small]
        line[before + count + x] = line[before + count - small + x % small]
    line[2 * before + count] = line[before + count - small]
    at = place(stores, store, row) - beyond * stores.taken + down
    arrange(line, small, stores, at, stores.columns + 2 * beyond)


@compiled
def _feed_errors(near: int, row: int, stores: Stores, large: int, beyond: int) -> None:
    taken, memory, columns = stores.taken, stores.memory, stores.columns
    source, to = place(stores, ERRORS, near), place(stores, OF_ERRORS, row)
    repeated = min(large, taken)  # samples of a line of cells; a pair may hold the next cell's
    for _ in range(stores.groups[ERRORS]):
        _copy(memory[source:], memory[to:], columns * taken)
        last = to + (columns - 1) * taken
        for i in range(repeated, taken):
            memory[last + i] = memory[last]
        for i in range(beyond * taken):
            memory[to - beyond * taken + i] = memory[to + i % repeated]
            memory[last + taken + i] = memory[last + i % repeated]
        source += stores.pitch * taken
        to += stores.pitch * taken


@compiled
def _filter(lr: Samples, y: int, planes: Planes, mixing: Mixing, total: _Row) -> None:
    """Compute a row of the small picture plus the filtered g and d, in codes."""
    codes = lr[y]
    for x in range(u64(total.size)):
        total[x] = codes[x]
    for r in range(mixing.taps.shape[1]):
        near = min(max(y + r - mixing.reach, 0), lr.shape[0] - 1)
        for first in range(0, mixing.taps.shape[2], FILTERED):
            _filter_line(planes.projected[near, first:], mixing.taps[0, r, first:], total)
            _filter_line(planes.detail[near, first:], mixing.taps[1, r, first:], total)


@compiled
def _filter_line(line: Samples, taps: _Row, total: _Row) -> None:
    a, b, c, d, e = taps[0], taps[1], taps[2], taps[3], taps[4]
    for x in range(u64(total.size)):
        left = a * np.float32(line[x]) + b * np.float32(line[x + u64(1)])
        right = d * np.float32(line[x + u64(3)]) + e * np.float32(line[x + u64(4)])
        total[x] += left + (c * np.float32(line[x + u64(2)]) + right)


@compiled
def _mix(
    row: int, y: int, stores: Stores, planes: Planes, codes: Codes, mixing: Mixing, total: _Row, out: Samples
) -> None:
    """Add a g, b d and c to a row of samples, and round."""
    small, taken = codes.small, stores.taken
    reach = (planes.detail.shape[1] - stores.columns * small) // 2
    line, at = out[row * small + y], row * small + y
    projected, detail = planes.projected[at, reach:], planes.detail[at, reach:]
    if small == taken:  # cells have no gaps
        a, b, c = _factor(stores, y, 0, 0, small), _factor(stores, y, 0, 1, small), _factor(stores, y, 0, 2, small)
        _mix_line(total, a, b, c, projected, detail, mixing, codes, line)
        return
    for x in range(small):
        a, b, c = _factor(stores, y, x, 0, small), _factor(stores, y, x, 1, small), _factor(stores, y, x, 2, small)
        _mix_line(
            total[x::small], a[::taken], b[::taken], c[::taken], projected[x::small], detail[x::small], mixing, codes,
            line[x::small],
        )  # fmt: skip


@compiled
def _mix_line(
    total: _Row, a: Samples, b: Samples, c: Samples, projected: Samples, detail: Samples, mixing: Mixing, codes: Codes,
    out: Samples,
) -> None:  # fmt: skip
    """In a function of its own, because LLVM does not vectorise it as a loop in `_mix`."""
    of_projected, of_detail, free, peak = mixing.of_projected, mixing.of_detail, mixing.free, np.float32(codes.peak)
    for x in range(u64(out.size)):
        value = total[x] + of_projected * np.float32(a[x]) * np.float32(projected[x])
        value += of_detail * np.float32(b[x]) * np.float32(detail[x]) + free * np.float32(c[x])
        out[x] = np.int32(min(max(value, np.float32(0)) + np.float32(0.5), peak))


@compiled
def _factor(stores: Stores, y: int, x: int, number: int, small: int) -> Samples:
    """Where a (0), b (1) or c (2) of a sample of the first cell is, and what follows."""
    taken = stores.taken
    channel = number * small**2 + y * small + x
    return stores.memory[place(stores, FACTORS, 0) + channel // taken * stores.pitch * taken + channel % taken :]

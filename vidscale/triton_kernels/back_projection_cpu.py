"""The error of an upscaled picture and its way back through the upscaler, on the CPU, row by row of cells.

The upscaler runs forward and keeps one bit for each activation between its layers. The transposed upscaler takes the
error back through the same layers: it is a chain of convolutions too, and the bits say where to multiply by the slope.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import uint64 as u64

from vidscale.triton_kernels._numba import compiled
from vidscale.triton_kernels.back_projection_layout import ERRORS, LUMA, PROJECTED, UPSCALED, Codes, Planes
from vidscale.triton_kernels.lanes_cpu import advance, arrange, collect, place, row_of_groups
from vidscale.triton_kernels.lanes_layout import Network, Samples, Stores


@compiled
def find_errors(lr: Samples, hr: Samples, network: Network, stores: Stores, planes: Planes, codes: Codes) -> None:
    """Upscale a plane and subtract it from the original.

    Args:
        lr: [h, w] uint8 or uint16, codes, whole cells; edge samples are repeated outside it.
        hr: [H, W], same dtype; edge samples are repeated up to whole cells.
        network: the upscaler.
        stores: `ERRORS` and the signs are written. Errors outside the picture are zero.
        planes, codes: see there.
    """
    beyond = stores.above
    for row in range(-beyond, stores.rows + beyond):
        _feed_luma(lr, row, stores, planes.line, codes)
        if advance(network, stores, row - network.half, planes.offsets):
            _subtract(hr, row - network.half - network.lag[-1], stores, planes.line, codes)


@compiled
def to_samples(line: Samples, codes: Codes, out: Samples) -> None:
    """Args: line: codes of a row."""
    for x in range(u64(line.size)):
        out[x] = np.int32(line[x]) >> codes.down << codes.up


@compiled
def _feed_luma(lr: Samples, row: int, stores: Stores, line: Samples, codes: Codes) -> None:
    """Add a row of cells, edge samples repeated."""
    height, width = lr.shape
    small, beyond = codes.small, stores.above
    before = beyond * small
    at = place(stores, LUMA, row) - beyond * stores.taken
    for y in range(small):
        to_samples(lr[min(max(row * small + y, 0), height - 1)], codes, line[before:])
        for x in range(before):
            line[x] = line[before]
        for x in range(before + width, 2 * before + width + 1):
            line[x] = line[before + width - 1]
        arrange(line, small, stores, at, stores.columns + 2 * beyond)
        at += row_of_groups(stores, small)


@compiled
def _subtract(hr: Samples, row: int, stores: Stores, line: Samples, codes: Codes) -> None:
    """Write a row of errors; the upscaled row is in the stores."""
    large, count = codes.large, stores.columns * codes.large
    at, upscaled = place(stores, ERRORS, row), place(stores, UPSCALED, 0)
    inside = min(hr.shape[1], count)
    upscaled_line = line[line.size // 2 :]
    for y in range(large):
        samples = hr[min(row * large + y, hr.shape[0] - 1)]
        collect(stores, upscaled, large, upscaled_line)
        for x in range(large):
            line[x], line[large + count + x] = 0, 0  # beside the picture
        errors = line[large:]
        for x in range(u64(inside)):
            errors[x] = _difference(samples[x], upscaled_line[x], codes)
        for x in range(inside, count):
            errors[x] = _difference(samples[inside - 1], upscaled_line[x], codes)
        arrange(line, large, stores, at - stores.taken, stores.columns + 1)
        at += row_of_groups(stores, large)
        upscaled += row_of_groups(stores, large)


@compiled
def _difference(code: Any, upscaled: Any, codes: Codes) -> np.int32:
    most = np.int32(codes.peak >> codes.down)
    return ((np.int32(code) >> codes.down) - min(max(np.int32(upscaled), np.int32(0)), most)) << codes.up


@compiled
def project(network: Network, stores: Stores, planes: Planes, small: int) -> None:
    """Take the errors back to the small picture's samples, `planes.projected`.

    Args:
        network: the transposed upscaler.
        stores: `ERRORS` and the signs are read.
        planes: see there.
        small: side of a cell in LR samples.
    """
    reach = (planes.projected.shape[1] - stores.columns * small) // 2
    for newest in range(-network.margin[0], stores.rows + network.margin[0]):
        if advance(network, stores, newest, planes.offsets):
            row, at = newest - network.lag[-1], place(stores, PROJECTED, 0)
            for y in range(small):
                line = planes.projected[row * small + y]
                collect(stores, at, small, line[reach:])
                repeat_edges(line, reach)
                at += row_of_groups(stores, small)


@compiled
def repeat_edges(line: Samples, reach: int) -> None:
    """Fill `reach` samples at both ends of a row."""
    for x in range(reach):
        line[x], line[line.size - 1 - x] = line[reach], line[line.size - 1 - reach]


@compiled
def read_errors(stores: Stores, large: int, out: npt.NDArray[np.float32]) -> None:
    """Copy the errors to a plane of whole cells."""
    taken = stores.taken
    for y in range(out.shape[0]):
        at = place(stores, ERRORS, y // large) + y % large * row_of_groups(stores, large)
        for x in range(out.shape[1]):
            part = x % large
            out[y, x] = stores.memory[at + part // taken * stores.pitch * taken + x // large * taken + part % taken]

"""Fixed separable resampling on a GPU: one Triton kernel that filters any number of planes in one launch.

Both passes are in the kernel: the first is computed again for each tap of the second, from samples that are in the
cache by then, and memory is only read and written as codes.
"""

# Triton has no types for what a kernel sees.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from collections.abc import Sequence
from contextlib import nullcontext
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vidscale.triton_kernels._triton_import import tl, triton
from vidscale.triton_kernels.plane_buffer import PlaneBuffer
from vidscale.triton_kernels.polyphase_filters import Kind, filter_bank

_BLOCK_Y, _BLOCK_X, _WARPS = 4, 64, 1
# Slightly above one half: ties (the mean of 1 and 2) round up although taps such as 1/6 are inexact in float32.
_HALF = 0.5 + 2**-13


@triton.jit
def _planes_kernel(
    src,  # codes
    dst,  # codes of the same dtype, dense planes
    table,  # [COUNT, 12] int64: the rows of `_table`
    sources,  # int32, index of the source sample of each tap: [support, length] of every axis, one after the other
    taps,  # float32, the same for the taps
    peak,
    half,
    COUNT: tl.constexpr,  # noqa: N803 - planes
    SHRINKS: tl.constexpr,  # noqa: N803 - columns are filtered first
    BLOCK_Y: tl.constexpr,  # noqa: N803
    BLOCK_X: tl.constexpr,  # noqa: N803
):
    program = tl.program_id(0)
    plane = 0
    for n in tl.static_range(1, COUNT):
        plane += (program >= tl.load(table + n * 12)).to(tl.int32)
    row = table + plane * 12
    block = program - tl.load(row)
    blocks = tl.load(row + 1)
    picture = src + tl.load(row + 2)
    stride_y = tl.load(row + 3)
    stride_x = tl.load(row + 4)
    h = tl.load(row + 6)
    w = tl.load(row + 7)
    # Beyond the edge, the last sample is computed again: no load needs a mask.
    y = tl.minimum((block // blocks) * BLOCK_Y + tl.arange(0, BLOCK_Y)[:, None], h - 1)
    x = tl.minimum((block % blocks) * BLOCK_X + tl.arange(0, BLOCK_X)[None, :], w - 1)
    axis_y = tl.load(row + 8) + y
    axis_x = tl.load(row + 10) + x
    total = tl.zeros((BLOCK_Y, BLOCK_X), dtype=tl.float32)
    if SHRINKS:
        for i in range(tl.load(row + 11)):
            column = picture + tl.load(sources + axis_x + i * w).to(tl.int64) * stride_x
            line = tl.zeros((BLOCK_Y, BLOCK_X), dtype=tl.float32)
            for j in range(tl.load(row + 9)):
                place = tl.load(sources + axis_y + j * h).to(tl.int64) * stride_y
                line += tl.load(column + place).to(tl.float32) * tl.load(taps + axis_y + j * h)
            total += tl.minimum(tl.maximum(line, 0.0), peak) * tl.load(taps + axis_x + i * w)
    else:
        for j in range(tl.load(row + 9)):
            line_of = picture + tl.load(sources + axis_y + j * h).to(tl.int64) * stride_y
            line = tl.zeros((BLOCK_Y, BLOCK_X), dtype=tl.float32)
            for i in range(tl.load(row + 11)):
                place = tl.load(sources + axis_x + i * w).to(tl.int64) * stride_x
                line += tl.load(line_of + place).to(tl.float32) * tl.load(taps + axis_x + i * w)
            total += tl.minimum(tl.maximum(line, 0.0), peak) * tl.load(taps + axis_y + j * h)
    total = tl.minimum(tl.maximum(total, 0.0), peak)
    tl.store(dst + tl.load(row + 5) + y * w + x, (total + half).to(tl.int32).to(dst.dtype.element_ty))


class PlaneFilter(NamedTuple):
    """How one plane of a picture is resampled.

    Attributes:
        plane: index of the plane in the source and in the result.
        kind: filter.
        siting: (y, x), see `polyphase_resample`.
    """

    plane: int
    kind: Kind
    siting: tuple[Fraction, Fraction]


class _Plane(NamedTuple):
    """Where a plane lies and what becomes of it: offset in samples, strides and size, then offset and size."""

    start: int
    strides: tuple[int, int]
    shape: tuple[int, int]
    out_start: int
    size: tuple[int, int]
    kind: Kind
    siting: tuple[Fraction, Fraction]


class _Plan(NamedTuple):
    """Arguments of the kernel."""

    table: Tensor
    sources: Tensor
    taps: Tensor
    blocks: int


def polyphase_planes_triton(
    source: PlaneBuffer, target: PlaneBuffer, filters: Sequence[PlaneFilter], *, step: Fraction, bit_depth: int
) -> None:
    """`polyphase_resample` of several planes of a picture, in one launch.

    Args:
        source: the picture, on a GPU.
        target: of the same dtype, on the same GPU; the planes that have a filter are written.
        filters: of one or more planes.
        step, bit_depth: see `polyphase_resample`.
    """
    planes = tuple(
        _Plane(
            source.offsets[index],
            (source.shapes[index][1], 1),
            source.shapes[index],
            target.offsets[index],
            target.shapes[index],
            kind,
            siting,
        )
        for index, kind, siting in filters
    )
    _launch(source.data, target.data, planes, step, bit_depth)


def polyphase_triton(
    plane: Tensor,
    *,
    step: Fraction,
    siting: tuple[Fraction, Fraction],
    size: tuple[int, int],
    kind: Kind,
    bit_depth: int,
) -> Tensor:
    """`polyphase_resample` of a [H, W] tensor on a GPU, for arguments that it has checked."""
    out = torch.empty(size, dtype=plane.dtype, device=plane.device)
    (height, width), (stride_y, stride_x) = plane.shape, plane.stride()
    described = _Plane(0, (stride_y, stride_x), (height, width), 0, size, kind, siting)
    _launch(plane, out, (described,), step, bit_depth)
    return out


def _launch(source: Tensor, target: Tensor, planes: tuple[_Plane, ...], step: Fraction, bit_depth: int) -> None:
    table, sources, taps, blocks = _plan(source.device, planes, step)
    with torch.cuda.device(source.device) if source.is_cuda else nullcontext():
        _planes_kernel[(blocks,)](
            *(source, target, table, sources, taps, float(2**bit_depth - 1), _HALF),
            COUNT=len(planes),
            SHRINKS=step > 1,
            BLOCK_Y=_BLOCK_Y,
            BLOCK_X=_BLOCK_X,
            num_warps=_WARPS,
            enable_fp_fusion=True,  # triton 3.9 warns if this is not set
        )


@lru_cache(maxsize=64)
def _plan(device: torch.device, planes: tuple[_Plane, ...], step: Fraction) -> _Plan:
    rows, indices, weights, blocks, begin = [], [], [], 0, 0
    for plane in planes:
        across = -(-plane.size[1] // _BLOCK_X)
        row = [blocks, across, plane.start, *plane.strides, plane.out_start, *plane.size]
        for axis in (0, 1):
            index, taps = _axis(plane.kind, step, plane.siting[axis], plane.size[axis], plane.shape[axis])
            row += [begin, len(index)]
            begin += index.size
            indices.append(index.ravel())
            weights.append(taps.ravel())
        rows.append(row)
        blocks += across * -(-plane.size[0] // _BLOCK_Y)
    return _Plan(
        torch.tensor(rows, dtype=torch.int64, device=device),
        torch.tensor(np.concatenate(indices), device=device),
        torch.tensor(np.concatenate(weights), device=device),
        blocks,
    )


def _axis(
    kind: Kind, step: Fraction, siting: Fraction, length: int, source_length: int
) -> tuple["np.ndarray[tuple[int, int], np.dtype[np.int32]]", "np.ndarray[tuple[int, int], np.dtype[np.float32]]"]:
    """For each tap and output sample, [support, length]: index of the source sample, mirrored at the edges, and tap."""
    bank = filter_bank(kind, step, siting, length)
    output = np.arange(length)
    first = bank.start[output % bank.phases] + bank.advance * (output // bank.phases)
    folded = (first + np.arange(bank.support)[:, None]) % (2 * source_length)
    index = np.minimum(folded, 2 * source_length - 1 - folded)
    return index.astype(np.int32), np.ascontiguousarray(bank.taps[output % bank.phases].T, np.float32)

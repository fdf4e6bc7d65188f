"""The back-projected error of a chain on a GPU: the transposed chain in one Triton kernel, tile by tile.

The reference is `BackProjection.back_project` in torch.
"""

# Triton has no types for what a kernel sees.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

import numpy as np
import torch
from torch import Tensor

from vidscale.triton_kernels._tiles_triton import (
    CHUNK,
    Step,
    convolve,
    gathered,
    on,
    packed,
    power_of_two,
    programs_for,
    upload,
)
from vidscale.triton_kernels._triton_import import tl, triton
from vidscale.triton_kernels.chain import Chain, Convolution
from vidscale.triton_kernels.chain_layout import Floats
from vidscale.triton_kernels.chain_triton import ChainTriton, Compared


@triton.jit
def _gradient_kernel(
    error,  # [rows * LARGE, columns * LARGE] integers, zero outside
    signs,  # [DEPTH - 1, rows + 2 (DEPTH - 1), columns + 2 (DEPTH - 1)] integers
    out,  # [rows * SMALL, columns * SMALL] float32
    scratch,  # [programs, 2, AREA, C] float16
    weights,  # float16: [FIRST_K, C], [DEPTH - 2, STEPS, STEP_K, C], [LAST_STEPS, LAST_K, N]
    zeros,  # float32: no layer has a bias
    linear,  # [LINEAR_K, N] float32
    offsets,  # [2, FIRST_K], [2, LINEAR_K] int32
    rows,  # of cells
    columns,
    unit,  # of the first layer's input, in codes
    slope,
    tiles_x,
    tiles,
    SMALL: tl.constexpr,  # noqa: N803
    LARGE: tl.constexpr,  # noqa: N803
    DEPTH: tl.constexpr,  # noqa: N803
    C: tl.constexpr,  # noqa: N803 - channels between the layers, as stored
    USED: tl.constexpr,  # noqa: N803 - see `convolve`
    STEP_K: tl.constexpr,  # noqa: N803
    STEP_COLUMNS: tl.constexpr,  # noqa: N803
    FIRST_K: tl.constexpr,  # noqa: N803
    FIRST_CHUNK: tl.constexpr,  # noqa: N803
    LAST: tl.constexpr,  # noqa: N803 - support of the last layer
    LAST_USED: tl.constexpr,  # noqa: N803
    LAST_K: tl.constexpr,  # noqa: N803
    LAST_COLUMNS: tl.constexpr,  # noqa: N803
    LINEAR_K: tl.constexpr,  # noqa: N803 - 0 without a linear part
    LINEAR_CHUNK: tl.constexpr,  # noqa: N803
    N: tl.constexpr,  # noqa: N803 - outputs of a cell, as stored
    TILE_H: tl.constexpr,  # noqa: N803
    TILE_W: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    HALO: tl.constexpr = LAST // 2 + DEPTH - 2  # noqa: N806
    PITCH: tl.constexpr = TILE_W + 2 * HALO  # noqa: N806
    AREA: tl.constexpr = (TILE_H + 2 * HALO) * PITCH  # noqa: N806
    LAYER: tl.constexpr = 3 * STEP_COLUMNS * STEP_K * C  # noqa: N806
    BEYOND: tl.constexpr = DEPTH - 1  # noqa: N806 - cells around the picture that have signs
    own = scratch + tl.program_id(0).to(tl.int64) * (2 * AREA * C)
    channel = tl.arange(0, C)
    n = tl.arange(0, N)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        top = (tile // tiles_x) * TILE_H - HALO
        left = (tile % tiles_x) * TILE_W - HALO
        for layer in range(DEPTH - 1):
            first = layer * PITCH
            last = AREA - layer * PITCH
            for begin in range(first, last, BLOCK):
                p = begin + tl.arange(0, BLOCK)
                y = top + p // PITCH
                x = left + p % PITCH
                if layer == 0:
                    total = tl.zeros((BLOCK, C), tl.float32)
                    for start in range(0, FIRST_K, FIRST_CHUNK):
                        k = start + tl.arange(0, FIRST_CHUNK)
                        at_y = y[:, None] * LARGE + tl.load(offsets + k)[None, :]
                        at_x = x[:, None] * LARGE + tl.load(offsets + FIRST_K + k)[None, :]
                        inside = (at_y >= 0) & (at_y < rows * LARGE) & (at_x >= 0) & (at_x < columns * LARGE)
                        place = at_y.to(tl.int64) * (columns * LARGE) + at_x
                        values = tl.load(error + place, mask=inside, other=0).to(tl.float32) * unit
                        factors = tl.load(weights + k[:, None] * C + channel[None, :])
                        total = tl.dot(values.to(tl.float16), factors, total)
                else:
                    total = convolve(
                        own + ((layer + 1) % 2) * (AREA * C),
                        weights + FIRST_K * C + (layer - 1) * LAYER,
                        zeros,
                        p,
                        first - PITCH,
                        PITCH,
                        AREA,
                        C,
                        USED,
                        STEP_K,
                        3,
                        STEP_COLUMNS,
                        C,
                        BLOCK,
                    )
                # Where there are no signs, there is no error in reach.
                at_y = (DEPTH - 2 - layer) * (rows + 2 * BEYOND) + y + BEYOND
                known = (y >= -BEYOND) & (y < rows + BEYOND) & (x >= -BEYOND) & (x < columns + BEYOND)
                word = tl.load(signs + at_y.to(tl.int64) * (columns + 2 * BEYOND) + x + BEYOND, mask=known, other=0)
                positive = (word[:, None] >> channel[None, :].to(word.dtype)) & 1
                total = tl.where(positive != 0, total, total * slope).to(tl.float16)
                place = (layer % 2) * (AREA * C) + p[:, None] * C + channel[None, :]
                tl.store(own + place, total, mask=(p < last)[:, None] & (channel < C)[None, :])
            tl.debug_barrier()
        for begin in range(0, TILE_H * TILE_W, BLOCK):
            inner = begin + tl.arange(0, BLOCK)
            y = top + HALO + inner // TILE_W
            x = left + HALO + inner % TILE_W
            total = convolve(
                own + (DEPTH % 2) * (AREA * C),
                weights + FIRST_K * C + (DEPTH - 2) * LAYER,
                zeros,
                (inner // TILE_W + HALO) * PITCH + inner % TILE_W + HALO,
                (DEPTH - 2) * PITCH,
                PITCH,
                AREA,
                C,
                LAST_USED,
                LAST_K,
                LAST,
                LAST_COLUMNS,
                N,
                BLOCK,
            )
            total = total / unit
            for start in range(0, LINEAR_K, LINEAR_CHUNK):
                k = start + tl.arange(0, LINEAR_CHUNK)
                at_y = y[:, None] * LARGE + tl.load(offsets + 2 * FIRST_K + k)[None, :]
                at_x = x[:, None] * LARGE + tl.load(offsets + 2 * FIRST_K + LINEAR_K + k)[None, :]
                inside = (at_y >= 0) & (at_y < rows * LARGE) & (at_x >= 0) & (at_x < columns * LARGE)
                place = at_y.to(tl.int64) * (columns * LARGE) + at_x
                values = tl.load(error + place, mask=inside, other=0).to(tl.float32)
                factors = tl.load(linear + k[:, None] * N + n[None, :])
                total = tl.dot(values, factors, total, input_precision="ieee")
            to_y = y[:, None] * SMALL + n[None, :] // SMALL
            to_x = x[:, None] * SMALL + n[None, :] % SMALL
            inside = (inner < TILE_H * TILE_W)[:, None] & (n < SMALL * SMALL)[None, :]
            inside = inside & (to_y < rows * SMALL) & (to_x < columns * SMALL)
            tl.store(out + to_y.to(tl.int64) * (columns * SMALL) + to_x, total, mask=inside)
        tl.debug_barrier()


class ChainGradientTriton:
    """The gradient of half the squared error of a chain with respect to its input.

    Args:
        run: the chain.
    """

    def __init__(self, run: ChainTriton) -> None:
        back, self._run = transposed(run.chain), run
        first, *inner, last = back.convolutions
        channels, made = run.channels, power_of_two(back.large**2)
        self._last, self._made = last.weight.shape[2], made
        table, offsets = gathered(first.weight, back.small, channels)
        weights = [packed(layer.weight, channels, channels) for layer in inner]
        device = run.device
        self._weights = upload(device, table.astype(np.float16), *weights, packed(last.weight, channels, made))
        linear, linear_offsets = np.zeros((0, made), np.float32), np.zeros((2, 0), np.int32)
        if back.linear is not None:
            linear, linear_offsets = gathered(back.linear, back.small, made)
        self._linear, self._offsets = upload(device, linear), upload(device, offsets, linear_offsets)
        self._zeros = upload(device, np.zeros(max(channels, made), np.float32))
        self._inputs = offsets.shape[1], linear_offsets.shape[1]

    def __call__(self, compared: Compared) -> Tensor:
        """[rows * small, columns * small] float32, codes: J'e divided by the squared scale; e is zero outside."""
        run = self._run
        chain, channels, depth = run.chain, run.channels, len(run.chain.convolutions)
        rows, columns = (side // chain.large for side in compared.error.shape)
        height, width = run.tiling.sides(rows, columns)
        across = -(-columns // width)
        tiles, halo = across * -(-rows // height), self._last // 2 + depth - 2
        programs, area = programs_for(run.device, tiles), (height + 2 * halo) * (width + 2 * halo)
        scratch = torch.empty((programs, 2, area, channels), dtype=torch.float16, device=run.device)
        out = torch.empty((rows * chain.small, columns * chain.small), dtype=torch.float32, device=run.device)
        step, last, (inputs, linear) = Step.of(channels, 3), Step.of(channels, self._last), self._inputs
        with on(run.device):
            _gradient_kernel[(programs,)](
                *(compared.error, compared.signs, out, scratch, self._weights, self._zeros, self._linear),
                *(self._offsets, rows, columns, 2.0**-run.bit_depth, chain.slope, across, tiles),
                SMALL=chain.small,
                LARGE=chain.large,
                DEPTH=depth,
                C=channels,
                USED=step.used,
                STEP_K=step.inputs,
                STEP_COLUMNS=step.columns,
                FIRST_K=inputs,
                FIRST_CHUNK=min(inputs, CHUNK),
                LAST=self._last,
                LAST_USED=last.used,
                LAST_K=last.inputs,
                LAST_COLUMNS=last.columns,
                LINEAR_K=linear,
                LINEAR_CHUNK=max(16, min(linear, CHUNK)),
                N=self._made,
                TILE_H=height,
                TILE_W=width,
                BLOCK=run.tiling.block,
                enable_fp_fusion=True,
            )
        return out


def transposed(chain: Chain) -> Chain:
    """The chain that takes gradients from HR to LR samples, divided by the squared scale."""
    share = np.float32((chain.small / chain.large) ** 2)
    back = [Convolution(_flipped(weight), np.zeros(weight.shape[1], np.float32)) for weight, _ in chain.convolutions]
    back[0] = back[0]._replace(weight=back[0].weight * share)
    linear = None if chain.linear is None else _flipped(chain.linear) * share
    return Chain(chain.large, chain.small, back[::-1], linear, chain.slope)


def _flipped(weight: Floats) -> Floats:
    """Weights of the transposed convolution."""
    return np.ascontiguousarray(weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])

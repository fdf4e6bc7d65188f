"""Luma networks on a GPU: all layers of a chain in one Triton kernel, tile by tile, codes in and out.

Convolutions multiply float16 and add up in float32; the linear part is float32. The reference is the network's own
`forward` in torch. See `_tiles_triton.py` for how a tile goes through the layers.
"""

# Triton has no types for what a kernel sees.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vidscale.triton_kernels._tiles_triton import (
    CHUNK,
    Step,
    Tiling,
    convolve,
    gathered,
    on,
    packed,
    padded_bias,
    power_of_two,
    programs_for,
    upload,
)
from vidscale.triton_kernels._triton_import import tl, triton
from vidscale.triton_kernels.chain import Chain


@triton.jit
def _chain_kernel(
    codes,  # [h, w] codes, dense
    hr,  # [H, W] codes; with ERROR
    out,  # [H, W] codes; with ERROR: [rows * LARGE, columns * LARGE] int16 or int32, hr minus the result
    signs,  # with ERROR: [DEPTH - 1, rows + 2 HALO, columns + 2 HALO] integers, see `Compared`
    scratch,  # [programs, 2, AREA, C] float16
    weights,  # float16: [FIRST_K, C], [DEPTH - 2, STEPS, STEP_K, C], [STEPS, STEP_K, N]
    biases,  # [DEPTH - 1, C], [N] float32
    linear,  # [LINEAR_K, N] float32
    offsets,  # [2, FIRST_K], [2, LINEAR_K] int32
    h,
    w,
    H,  # noqa: N803
    W,  # noqa: N803
    rows,  # of cells
    columns,
    unit,  # of the first layer's input, in codes
    peak,
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
    LINEAR_K: tl.constexpr,  # noqa: N803 - 0 without a linear part
    LINEAR_CHUNK: tl.constexpr,  # noqa: N803
    N: tl.constexpr,  # noqa: N803 - outputs of a cell, as stored
    ERROR: tl.constexpr,  # noqa: N803
    TILE_H: tl.constexpr,  # noqa: N803
    TILE_W: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    HALO: tl.constexpr = DEPTH - 1  # noqa: N806
    PITCH: tl.constexpr = TILE_W + 2 * HALO  # noqa: N806
    AREA: tl.constexpr = (TILE_H + 2 * HALO) * PITCH  # noqa: N806
    # Activations outside the picture have signs, too: the error goes back through them.
    BEYOND: tl.constexpr = HALO if ERROR else 0  # noqa: N806
    LAYER: tl.constexpr = 3 * STEP_COLUMNS * STEP_K * C  # noqa: N806
    own = scratch + tl.program_id(0).to(tl.int64) * (2 * AREA * C)
    channel = tl.arange(0, C)
    n = tl.arange(0, N)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        top = (tile // tiles_x) * TILE_H - HALO - BEYOND
        left = (tile % tiles_x) * TILE_W - HALO - BEYOND
        for layer in range(HALO):
            first = layer * PITCH
            last = AREA - layer * PITCH
            for begin in range(first, last, BLOCK):
                p = begin + tl.arange(0, BLOCK)
                y = top + p // PITCH
                x = left + p % PITCH
                if layer == 0:
                    total = tl.zeros((BLOCK, C), tl.float32) + tl.load(biases + channel)[None, :]
                    for start in range(0, FIRST_K, FIRST_CHUNK):
                        k = start + tl.arange(0, FIRST_CHUNK)
                        at_y = y[:, None] * SMALL + tl.load(offsets + k)[None, :]
                        at_x = x[:, None] * SMALL + tl.load(offsets + FIRST_K + k)[None, :]
                        at_y = tl.minimum(tl.maximum(at_y, 0), h - 1)
                        at_x = tl.minimum(tl.maximum(at_x, 0), w - 1)
                        values = tl.load(codes + at_y.to(tl.int64) * w + at_x).to(tl.float32) * unit
                        factors = tl.load(weights + k[:, None] * C + channel[None, :])
                        total = tl.dot(values.to(tl.float16), factors, total)
                else:
                    total = convolve(
                        own + ((layer + 1) % 2) * (AREA * C),
                        weights + FIRST_K * C + (layer - 1) * LAYER,
                        biases + layer * C,
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
                if ERROR:
                    word_type = signs.dtype.element_ty
                    bits = (channel * 0 + 1).to(word_type) << channel.to(word_type)
                    word = tl.sum(tl.where(total > 0, bits[None, :], 0), axis=1)
                    place = ((layer * (rows + 2 * HALO) + y + HALO) * (columns + 2 * HALO)).to(tl.int64) + x + HALO
                    mine = (y >= top + HALO) & (y < top + HALO + TILE_H) & (y < rows + HALO)
                    mine = mine & (x >= left + HALO) & (x < left + HALO + TILE_W) & (x < columns + HALO)
                    tl.store(signs + place, word, mask=mine)
                total = tl.where(total > 0, total, total * slope).to(tl.float16)
                place = (layer % 2) * (AREA * C) + p[:, None] * C + channel[None, :]
                tl.store(own + place, total, mask=(p < last)[:, None] & (channel < C)[None, :])
            tl.debug_barrier()
        for begin in range(0, TILE_H * TILE_W, BLOCK):
            inner = begin + tl.arange(0, BLOCK)
            y = top + HALO + inner // TILE_W
            x = left + HALO + inner % TILE_W
            total = convolve(
                own + ((HALO + 1) % 2) * (AREA * C),
                weights + FIRST_K * C + (HALO - 1) * LAYER,
                biases + HALO * C,
                (inner // TILE_W + HALO) * PITCH + inner % TILE_W + HALO,
                (HALO - 1) * PITCH,
                PITCH,
                AREA,
                C,
                USED,
                STEP_K,
                3,
                STEP_COLUMNS,
                N,
                BLOCK,
            )
            total = total * peak
            for start in range(0, LINEAR_K, LINEAR_CHUNK):
                k = start + tl.arange(0, LINEAR_CHUNK)
                at_y = y[:, None] * SMALL + tl.load(offsets + 2 * FIRST_K + k)[None, :]
                at_x = x[:, None] * SMALL + tl.load(offsets + 2 * FIRST_K + LINEAR_K + k)[None, :]
                at_y = tl.minimum(tl.maximum(at_y, 0), h - 1)
                at_x = tl.minimum(tl.maximum(at_x, 0), w - 1)
                values = tl.load(codes + at_y.to(tl.int64) * w + at_x).to(tl.float32)
                factors = tl.load(linear + k[:, None] * N + n[None, :])
                total = tl.dot(values, factors, total, input_precision="ieee")
            total = tl.minimum(tl.maximum(tl.floor(total + 0.5), 0.0), peak).to(tl.int32)
            to_y = y[:, None] * LARGE + n[None, :] // LARGE
            to_x = x[:, None] * LARGE + n[None, :] % LARGE
            inside = (inner < TILE_H * TILE_W)[:, None] & (n < LARGE * LARGE)[None, :]
            if ERROR:
                inside = inside & (to_y >= 0) & (to_x >= 0) & (to_y < rows * LARGE) & (to_x < columns * LARGE)
                from_y = tl.minimum(to_y, H - 1).to(tl.int64)
                known = tl.load(hr + from_y * W + tl.minimum(to_x, W - 1), mask=inside, other=0).to(tl.int32)
                place = to_y.to(tl.int64) * (columns * LARGE) + to_x
                tl.store(out + place, (known - total).to(out.dtype.element_ty), mask=inside)
            else:
                inside = inside & (to_y < H) & (to_x < W)
                tl.store(out + to_y.to(tl.int64) * W + to_x, total.to(out.dtype.element_ty), mask=inside)
        tl.debug_barrier()


class Compared(NamedTuple):
    """What `ChainTriton.compare` finds.

    Attributes:
        error: [rows * large, columns * large] int16, int32 above 15 bits: HR codes minus the restored ones; edge
            samples of HR are repeated up to whole cells.
        signs: [depth - 1, rows + 2 (depth - 1), columns + 2 (depth - 1)] int32, int64 above 32 channels: bit n is set
            where channel n is positive, also around the picture.
    """

    error: Tensor
    signs: Tensor


class ChainTriton:
    """A chain for pictures of one bit depth, on one device.

    Args:
        chain: the network; its layers but the first have a support of 3.
        bit_depth: of the codes, 8 to 16.
        device: a CUDA device, or the CPU with Triton's interpreter.
        tiling: None for the usual one.

    Raises:
        ValueError: a chain that the kernel cannot run.
    """

    def __init__(self, chain: Chain, bit_depth: int, device: torch.device, tiling: Tiling | None = None) -> None:
        first, *others = chain.convolutions
        if not others or any(layer.weight.shape[2] != 3 for layer in others):
            shapes = [layer.weight.shape for layer in chain.convolutions]
            raise ValueError(f"layers of {shapes}: two or more wanted, 3x3 after the first")
        self.chain, self.device, self.bit_depth = chain, device, bit_depth
        self._peak, self._unit = (1 << bit_depth) - 1, 2.0**-bit_depth  # codes of up to 11 bits are exact in float16
        self.channels = channels = power_of_two(max(layer.bias.size for layer in chain.convolutions[:-1]))
        self.tiling = tiling or Tiling.of(channels)
        self._made = made = power_of_two(chain.large**2)
        table, offsets = gathered(first.weight / (self._peak * self._unit), chain.small, channels)
        inner = [packed(layer.weight, channels, channels) for layer in others[:-1]]
        self._weights = upload(device, table.astype(np.float16), *inner, packed(others[-1].weight, channels, made))
        sizes = [channels] * len(others) + [made]
        biases = [padded_bias(layer.bias, size) for layer, size in zip(chain.convolutions, sizes, strict=True)]
        self._biases = upload(device, *biases)
        linear, linear_offsets = np.zeros((0, made), np.float32), np.zeros((2, 0), np.int32)
        if chain.linear is not None:
            linear, linear_offsets = gathered(chain.linear, chain.small, made)
        self._linear = upload(device, linear)
        self._offsets = upload(device, offsets, linear_offsets)
        self._inputs = offsets.shape[1], linear_offsets.shape[1]

    def __call__(self, codes: Tensor, out: Tensor) -> None:
        """Upscales `codes` [h, w] into `out` [H, W]; dense, of the same dtype, on the device."""
        self._launch(codes, codes, out, codes, error=False)

    def compare(self, hr: Tensor, codes: Tensor) -> Compared:
        """Upscales `codes` [h, w] and compares the result with `hr` [H, W], h = ceil(H / scale) and likewise w.

        Raises:
            ValueError: a chain of more than 64 channels.
        """
        if self.channels > 64:
            raise ValueError(f"a chain of {self.channels} channels: at most 64 have signs")
        (rows, columns), large, halo = self.cells(codes), self.chain.large, len(self.chain.convolutions) - 1
        kind = torch.int16 if self.bit_depth < 16 else torch.int32
        error = torch.empty((rows * large, columns * large), dtype=kind, device=self.device)
        sides = rows + 2 * halo, columns + 2 * halo
        word = torch.int32 if self.channels <= 32 else torch.int64
        signs = torch.empty((halo, *sides), dtype=word, device=self.device)
        self._launch(codes, hr, error, signs, error=True)
        return Compared(error, signs)

    def cells(self, codes: Tensor) -> tuple[int, int]:
        """Rows and columns of cells."""
        rows, columns = (-(-side // self.chain.small) for side in codes.shape)
        return rows, columns

    def _launch(self, codes: Tensor, hr: Tensor, out: Tensor, signs: Tensor, *, error: bool) -> None:
        rows, columns = self.cells(codes)
        halo, channels = len(self.chain.convolutions) - 1, self.channels
        beyond = halo if error else 0
        height, width = self.tiling.sides(rows + 2 * beyond, columns + 2 * beyond)
        across = -(-(columns + 2 * beyond) // width)
        tiles = across * -(-(rows + 2 * beyond) // height)
        programs = programs_for(self.device, tiles)
        area = (height + 2 * halo) * (width + 2 * halo)
        scratch = torch.empty((programs, 2, area, channels), dtype=torch.float16, device=self.device)
        step, (first, linear) = Step.of(channels, 3), self._inputs
        with on(self.device):
            _chain_kernel[(programs,)](
                *(codes, hr, out, signs, scratch, self._weights, self._biases, self._linear, self._offsets),
                *(*codes.shape, *hr.shape) if error else (*codes.shape, *out.shape),
                *(rows, columns, self._unit, float(self._peak), self.chain.slope, across, tiles),
                SMALL=self.chain.small,
                LARGE=self.chain.large,
                DEPTH=halo + 1,
                C=channels,
                USED=step.used,
                STEP_K=step.inputs,
                STEP_COLUMNS=step.columns,
                FIRST_K=first,
                FIRST_CHUNK=min(first, CHUNK),
                LINEAR_K=linear,
                LINEAR_CHUNK=max(16, min(linear, CHUNK)),
                N=self._made,
                ERROR=error,
                TILE_H=height,
                TILE_W=width,
                BLOCK=self.tiling.block,
                enable_fp_fusion=True,
            )

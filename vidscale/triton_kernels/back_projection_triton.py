"""Correction of a small picture by what its upscaler gets wrong, on a GPU: codes in and out.

Three launches: the guide compares its result with the source (`chain_triton.py`), the error goes back through it
(`chain_gradient_triton.py`), and one kernel computes the features, the correcting network and the corrected codes. The
counterpart of `back_projection.py`; the reference is `BackProjection.forward` in torch.
"""

# Triton has no types for what a kernel sees.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

import numpy as np
import torch
from torch import Tensor

from vidscale.triton_kernels._tiles_triton import (
    Step,
    Tiling,
    convolve,
    on,
    packed,
    padded_bias,
    power_of_two,
    programs_for,
    upload,
)
from vidscale.triton_kernels._triton_import import tl, triton
from vidscale.triton_kernels.back_projection_network import BackProjection
from vidscale.triton_kernels.chain_gradient_triton import ChainGradientTriton
from vidscale.triton_kernels.chain_layout import Floats
from vidscale.triton_kernels.chain_triton import ChainTriton

_LEAST_SAMPLES = 4  # of a cell, as stored


@triton.jit
def _correct_kernel(
    lr,  # [h, w] codes, dense
    error,  # [rows * LARGE, columns * LARGE] integers
    projected,  # [rows * SMALL, columns * SMALL] float32, codes
    out,  # [h, w] codes
    features,  # [programs, AREA, F] float16: error, detail, gradient, luma of a cell, in units of 1 / `unit` codes
    scratch,  # [programs, 2, AREA, C] float16
    weights,  # float16: [9 steps, FEATURES_K, C], [DEPTH - 2, STEPS, STEP_K, C], [STEPS, STEP_K, 4 S]
    biases,  # [DEPTH - 1, C], [4 S] float32
    taps,  # [2, REACH, REACH] float32, of gradient and detail
    h,
    w,
    rows,  # of cells
    columns,
    unit,
    peak,
    slope,
    tiles_x,
    tiles,
    SMALL: tl.constexpr,  # noqa: N803
    LARGE: tl.constexpr,  # noqa: N803
    DEPTH: tl.constexpr,  # noqa: N803
    F: tl.constexpr,  # noqa: N803 - features of a cell, as stored, at least 16
    F_USED: tl.constexpr,  # noqa: N803
    C: tl.constexpr,  # noqa: N803 - channels between the layers, as stored
    USED: tl.constexpr,  # noqa: N803 - see `convolve`
    STEP_K: tl.constexpr,  # noqa: N803
    STEP_COLUMNS: tl.constexpr,  # noqa: N803
    E: tl.constexpr,  # noqa: N803 - HR samples of a cell, as stored
    S: tl.constexpr,  # noqa: N803 - LR samples of a cell, as stored
    REACH: tl.constexpr,  # noqa: N803
    TILE_H: tl.constexpr,  # noqa: N803
    TILE_W: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    PITCH: tl.constexpr = TILE_W + 2 * DEPTH  # noqa: N806
    AREA: tl.constexpr = (TILE_H + 2 * DEPTH) * PITCH  # noqa: N806
    DETAIL: tl.constexpr = LARGE * LARGE  # noqa: N806 - the first feature of each kind
    GRADIENT: tl.constexpr = DETAIL + SMALL * SMALL  # noqa: N806
    LUMA: tl.constexpr = GRADIENT + SMALL * SMALL  # noqa: N806
    FIRST: tl.constexpr = 9 * F * C  # noqa: N806
    LAYER: tl.constexpr = 3 * STEP_COLUMNS * STEP_K * C  # noqa: N806
    known = features + tl.program_id(0).to(tl.int64) * (AREA * F)
    own = scratch + tl.program_id(0).to(tl.int64) * (2 * AREA * C)
    channel = tl.arange(0, C)
    large = tl.arange(0, E)
    sample = tl.arange(0, S)
    wide = columns * SMALL
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        top = (tile // tiles_x) * TILE_H - DEPTH
        left = (tile % tiles_x) * TILE_W - DEPTH
        for begin in range(0, AREA, BLOCK):
            p = begin + tl.arange(0, BLOCK)
            y = tl.minimum(tl.maximum(top + p // PITCH, 0), rows - 1)  # the features of cells at the edge are repeated
            x = tl.minimum(tl.maximum(left + p % PITCH, 0), columns - 1)
            at_y = y[:, None] * LARGE + tl.minimum(large // LARGE, LARGE - 1)[None, :]
            at_x = x[:, None] * LARGE + (large % LARGE)[None, :]
            values = tl.load(error + at_y.to(tl.int64) * (columns * LARGE) + at_x).to(tl.float32) * unit
            place = known + p[:, None] * F
            inside = (p < AREA)[:, None] & (large < DETAIL)[None, :]
            tl.store(place + large[None, :], values.to(tl.float16), mask=inside)
            at_y = y[:, None] * SMALL + tl.minimum(sample // SMALL, SMALL - 1)[None, :]
            at_x = x[:, None] * SMALL + (sample % SMALL)[None, :]
            blurred = tl.zeros((BLOCK, S), tl.float32)
            for n in range(9):
                from_y = tl.minimum(tl.maximum(at_y + n // 3 - 1, 0), h - 1)
                from_x = tl.minimum(tl.maximum(at_x + n % 3 - 1, 0), w - 1)
                tap = (1 + n // 3 % 2) * (1 + n % 3 % 2)
                blurred += tl.load(lr + from_y.to(tl.int64) * w + from_x).to(tl.float32) * tap
            from_y = tl.minimum(at_y, h - 1).to(tl.int64)
            luma = tl.load(lr + from_y * w + tl.minimum(at_x, w - 1)).to(tl.float32)
            gradient = tl.load(projected + at_y.to(tl.int64) * wide + at_x)
            detail = luma - blurred / 16
            place += sample[None, :]
            inside = (p < AREA)[:, None] & (sample < SMALL * SMALL)[None, :]
            tl.store(place + DETAIL, (detail * unit).to(tl.float16), mask=inside)
            tl.store(place + GRADIENT, (gradient * unit).to(tl.float16), mask=inside)
            tl.store(place + LUMA, (luma * unit).to(tl.float16), mask=inside)
        tl.debug_barrier()
        for layer in range(DEPTH - 1):
            first = (layer + 1) * PITCH
            last = AREA - first
            for begin in range(first, last, BLOCK):
                p = begin + tl.arange(0, BLOCK)
                if layer == 0:
                    total = convolve(known, weights, biases, p, 0, PITCH, AREA, F, F_USED, F, 3, 3, C, BLOCK)
                else:
                    total = convolve(
                        own + ((layer + 1) % 2) * (AREA * C),
                        weights + FIRST + (layer - 1) * LAYER,
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
                total = tl.where(total > 0, total, total * slope).to(tl.float16)
                place = (layer % 2) * (AREA * C) + p[:, None] * C + channel[None, :]
                tl.store(own + place, total, mask=(p < last)[:, None] & (channel < C)[None, :])
            tl.debug_barrier()
        for begin in range(0, TILE_H * TILE_W, BLOCK):
            inner = tl.minimum(begin + tl.arange(0, BLOCK), TILE_H * TILE_W - 1)
            y = top + DEPTH + inner // TILE_W
            x = left + DEPTH + inner % TILE_W
            p = (inner // TILE_W + DEPTH) * PITCH + inner % TILE_W + DEPTH
            total = convolve(
                own + (DEPTH % 2) * (AREA * C),
                weights + FIRST + (DEPTH - 2) * LAYER,
                biases + (DEPTH - 1) * C,
                p,
                (DEPTH - 1) * PITCH,
                PITCH,
                AREA,
                C,
                USED,
                STEP_K,
                3,
                STEP_COLUMNS,
                4 * S,
                BLOCK,
            )
            # Outputs of a sample: factors of gradient and detail, free term, nothing.
            even, odd = tl.split(tl.reshape(total, (BLOCK, S, 2, 2)))
            of_gradient, free = tl.split(even)
            of_detail, _ = tl.split(odd)
            at_y = y[:, None] * SMALL + (sample // SMALL)[None, :]
            at_x = x[:, None] * SMALL + (sample % SMALL)[None, :]
            inside = (at_y < h) & (at_x < w) & (sample < SMALL * SMALL)[None, :]
            place = known + p[:, None] * F + tl.minimum(sample, SMALL * SMALL - 1)[None, :]
            correction = tl.load(place + GRADIENT).to(tl.float32) * of_gradient
            correction += tl.load(place + DETAIL).to(tl.float32) * of_detail
            for t in range(REACH * REACH):
                from_y = tl.minimum(tl.maximum(at_y + t // REACH - REACH // 2, 0), rows * SMALL - 1)
                from_x = tl.minimum(tl.maximum(at_x + t % REACH - REACH // 2, 0), wide - 1)
                cell = (from_y // SMALL - top) * PITCH + from_x // SMALL - left
                near = known + cell * F + (from_y % SMALL) * SMALL + from_x % SMALL
                # Cells of the tile that lie beyond the picture may find no neighbour in it.
                there = inside & (cell >= 0) & (cell < AREA)
                correction += tl.load(near + GRADIENT, mask=there, other=0).to(tl.float32) * tl.load(taps + t)
                tap = tl.load(taps + REACH * REACH + t)
                correction += tl.load(near + DETAIL, mask=there, other=0).to(tl.float32) * tap
            luma = tl.load(lr + at_y.to(tl.int64) * w + at_x, mask=inside, other=0).to(tl.float32)
            total = luma + correction / unit + free * peak
            total = tl.minimum(tl.maximum(tl.floor(total + 0.5), 0.0), peak).to(tl.int32)
            tl.store(out + at_y.to(tl.int64) * w + at_x, total.to(out.dtype.element_ty), mask=inside)
        tl.debug_barrier()


class BackProjectionTriton:
    """Corrects pictures of one bit depth, on one device.

    Args:
        projection: the network; its convolutions have a support of 3.
        bit_depth: of the codes, 8 to 16.
        device: a CUDA device, or the CPU with Triton's interpreter.
        tiling: None for the usual one.

    Raises:
        ValueError: a network that the kernels cannot run.
    """

    def __init__(
        self, projection: BackProjection, bit_depth: int, device: torch.device, tiling: Tiling | None = None
    ) -> None:
        layers, reach = projection.convolutions, projection.filter.shape[1]
        small, large = projection.guide.small**2, projection.guide.large**2
        if len(layers) < 2 or any(layer.weight.shape[2] != 3 for layer in layers):
            raise ValueError(f"layers of {[layer.weight.shape for layer in layers]}: two or more of 3x3 wanted")
        if reach // 2 > len(layers):
            raise ValueError(f"a filter of {reach}x{reach}: at most {2 * len(layers) + 1} wanted")
        self._guide = ChainTriton(projection.guide, bit_depth, device, tiling)
        self._gradient = ChainGradientTriton(self._guide)
        self._projection, self._peak, self._unit = projection, (1 << bit_depth) - 1, 2.0**-bit_depth
        self._channels = channels = power_of_two(max(layer.bias.size for layer in layers[:-1]))
        self._features, self._samples = power_of_two(large + 3 * small, 16), power_of_two(small, _LEAST_SAMPLES)
        self._tiling = tiling or Tiling.of(max(channels, self._features))
        first, *inner, last = layers
        scaled = first.weight / (self._peak * self._unit)
        made = 4 * self._samples
        self._weights = upload(
            device,
            packed(scaled, self._features, channels),
            *(packed(layer.weight, channels, channels) for layer in inner),
            packed(_by_sample(last.weight, small), channels, made),
        )
        biases = [padded_bias(layer.bias, channels) for layer in layers[:-1]]
        self._biases = upload(device, *biases, padded_bias(_by_sample(last.bias, small), made))
        self._taps = upload(device, np.ascontiguousarray(projection.filter, np.float32))

    def __call__(self, hr: Tensor, lr: Tensor, out: Tensor) -> None:
        """Corrects a small picture.

        Args:
            hr: [H, W] codes, dense, on the device; edge samples are repeated up to whole cells.
            lr: [h, w], same dtype: `hr` downscaled by the fixed filter; h = ceil(H / scale) and likewise w.
            out: [h, w], same dtype; not `lr`.
        """
        compared = self._guide.compare(hr, lr)
        gradient = self._gradient(compared)
        (rows, columns), guide, device = self._guide.cells(lr), self._projection.guide, lr.device
        depth, channels = len(self._projection.convolutions), self._channels
        height, width = self._tiling.sides(rows, columns)
        across = -(-columns // width)
        tiles = across * -(-rows // height)
        programs, area = programs_for(device, tiles), (height + 2 * depth) * (width + 2 * depth)
        features = torch.empty((programs, area, self._features), dtype=torch.float16, device=device)
        scratch = torch.empty((programs, 2, area, channels), dtype=torch.float16, device=device)
        step = Step.of(channels, 3)
        with on(device):
            _correct_kernel[(programs,)](
                *(lr, compared.error, gradient, out, features, scratch, self._weights, self._biases, self._taps),
                *(*lr.shape, rows, columns, self._unit, float(self._peak), self._projection.slope, across, tiles),
                SMALL=guide.small,
                LARGE=guide.large,
                DEPTH=depth,
                F=self._features,
                F_USED=guide.large**2 + 3 * guide.small**2,
                C=channels,
                USED=step.used,
                STEP_K=step.inputs,
                STEP_COLUMNS=step.columns,
                E=power_of_two(guide.large**2, 1),
                S=self._samples,
                REACH=self._projection.filter.shape[1],
                TILE_H=height,
                TILE_W=width,
                BLOCK=self._tiling.block,
                enable_fp_fusion=True,
            )


def _by_sample(values: Floats, samples: int) -> Floats:
    """[3 * samples, ...] ordered a, b, c as [4 * samples, ...] with a, b, c, 0 of each sample together."""
    parts = values.reshape(3, samples, *values.shape[1:])
    grouped = np.zeros((samples, 4, *values.shape[1:]), np.float32)
    grouped[:, :3] = parts.swapaxes(0, 1)
    return grouped.reshape(4 * samples, *values.shape[1:])

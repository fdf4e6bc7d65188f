"""A differentiable model of a hybrid video encoder: what a small picture costs, and what comes out of the decoder.

Three frames stand for a group of pictures: an I frame, a P frame predicted from it, and a B frame predicted from both.

    I ─ intra prediction ──────────────── residual ─ DCT ─ quantise ─ bits
    │                                                         └ decoded I ─┐
    P ─ prediction by motion vectors ◀─── interpolation ◀──────────────────┤ ...

The proxy is for training downscalers: `tests/test_codec_proxy.py` compares its bits with those of x264 and x265 over
downscalers, and its gradient with finite differences.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vidscale.training.motion_search import BLOCK, EDGE, FRACTIONS, interpolated

_FRAME_WEIGHTS = (1 / 16, 1.0, 2.7)  # I, P and B frames in a long sequence, relative to P frames
_BLOCK_BITS = 0.2  # what a block costs besides its coefficients
_INTRA_BITS = 4.0  # what choosing intra in a P or B frame costs
_STEP_ONE = 4  # qp whose quantiser step is 1 code (ITU-T H.265, 8.6.2)
_AQ_SIDE, _AQ_USUAL = 16, 14.43  # macroblock, and the log2 of its energy at which x264's aq-mode 1 changes nothing


@dataclass(frozen=True, slots=True)
class Encoder:
    """What differs between encoders; the default is closest to x265 at preset medium.

    Attributes:
        qp_offsets: quantisers of I, P and B frames relative to the crf, from x265's logs.
        rounding_intra, rounding_inter: what is added to levels before truncation.
        dead_zone_cost: bits of small coefficients, which the encoder drops, relative to the entropy of their size.
        aq_strength: of adaptive quantisation: how much the qp rises when a macroblock's energy doubles.
    """

    qp_offsets: tuple[float, float, float] = (-1.0, 1.5, 6.5)
    rounding_intra: float = 1 / 3
    rounding_inter: float = 0.2
    dead_zone_cost: float = 0.3
    aq_strength: float = 0.0


X265 = Encoder()


class MotionPositions(NamedTuple):
    """Positions that the prediction of each sample of the inner area is read from; from `motion_positions`.

    Attributes:
        p_from_i, b_from_i, b_from_p: [N, side * side] int64, into interpolated pictures [16, h, w].
    """

    p_from_i: Tensor
    b_from_i: Tensor
    b_from_p: Tensor


class Coded(NamedTuple):
    """What the encoder makes of a triple.

    Attributes:
        bits: [N] bits per sample of a long sequence, in the proxy's unit.
        p, b: [N, 1, side, side] decoded inner areas of the P and the B frame, codes.
    """

    bits: Tensor
    p: Tensor
    b: Tensor


def motion_positions(vectors: Tensor, side: int) -> Tensor:
    """Motion vectors as positions in interpolated pictures.

    Args:
        vectors: [N, blocks, blocks, 2] integers, see `vidscale.training.motion_search.search`.
        side: of the whole picture, samples.

    Returns:
        [N, inner * inner] int64.
    """
    per_sample = vectors.long().repeat_interleave(BLOCK, 1).repeat_interleave(BLOCK, 2)
    y, x = per_sample.unbind(-1)
    place = torch.arange(EDGE, side - EDGE, device=vectors.device)
    fraction = y % FRACTIONS * FRACTIONS + x % FRACTIONS
    row = place[:, None] + torch.div(y, FRACTIONS, rounding_mode="floor")
    column = place + torch.div(x, FRACTIONS, rounding_mode="floor")
    return ((fraction * side + row) * side + column).flatten(1)


def encode(
    frames: Tensor, motion: MotionPositions, crf: Tensor, grid: tuple[int, int] = (0, 0), encoder: Encoder = X265
) -> Coded:
    """Encodes triples of small pictures.

    Args:
        frames: [N, 3, h, w] float codes 0 to 255, I, B and P in display order; `EDGE` samples around the inner area.
        motion: of the inner area.
        crf: [N].
        grid: shift of the transform's grid, 0 to 7 samples down and right; drawn at random in training, so that
            nothing is fitted to one grid.
        encoder: drawn in training too.

    Returns:
        rates, and decoded inner areas; gradients pass to `frames` only.
    """
    rounded = _straight_round(frames)
    i, b, p = rounded[:, 0:1], rounded[:, 1:2], rounded[:, 2:3]
    inner = slice(EDGE, frames.shape[-1] - EDGE)
    qp_i, qp_p, qp_b = (crf + offset for offset in encoder.qp_offsets)
    decoded_i, bits_i = _code(i, None, qp_i, grid, encoder)
    from_i = interpolated(decoded_i)
    decoded_p, bits_p = _code(p[..., inner, inner], _predicted(from_i, motion.p_from_i), qp_p, grid, encoder)
    around = p.clone()
    around[..., inner, inner] = decoded_p
    from_p = interpolated(around)
    prediction = (_predicted(from_i, motion.b_from_i) + _predicted(from_p, motion.b_from_p)) / 2
    decoded_b, bits_b = _code(b[..., inner, inner], prediction, qp_b, grid, encoder)
    rates = (bits.mean(1) for bits in (bits_i, bits_p, bits_b))
    total = torch.stack([weight * rate for weight, rate in zip(_FRAME_WEIGHTS, rates, strict=True)]).sum(0)
    return Coded(total / sum(_FRAME_WEIGHTS) / BLOCK**2, decoded_p, decoded_b)


def coefficient_bits(levels: Tensor, dead_zone_cost: float = X265.dead_zone_cost) -> Tensor:
    """Bits for transform coefficients, in quantiser steps: next to none in the dead zone, one per octave far above.

    Fitted to x264 and x265 over downscalers. Without the second factor, noise within the dead zone seems to cost bits.
    """
    squared = levels.square()
    return 0.5 * torch.log2(1 + 4 * squared) * (squared + dead_zone_cost) / (squared + 1)


def quantised(levels: Tensor, rounding: float) -> Tensor:
    """Rounds towards zero after adding `rounding` to the magnitudes.

    The gradient is that of the average over nearby values: 0 in the dead zone, then 0.7, and 1 above 1.5 steps.
    """
    result: Tensor = _Quantise.apply(levels, rounding)  # type: ignore[no-untyped-call]
    return result


class _Quantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, levels: Tensor, rounding: float) -> Tensor:
        ctx.save_for_backward(levels)
        ctx.rounding = rounding
        return levels.sign() * (levels.abs() + rounding).floor()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (levels,) = ctx.saved_tensors
        size = levels.abs()
        return grad * torch.where(size > 1.5, 1.0, 0.7) * (size > 0.5 - ctx.rounding), None


def _code(
    picture: Tensor, prediction: Tensor | None, qp: Tensor, grid: tuple[int, int], encoder: Encoder
) -> tuple[Tensor, Tensor]:
    """Codes pictures [N, 1, h, w] block by block, intra where that is cheaper or there is no prediction.

    Returns:
        decoded pictures, and the bits of each block [N, blocks].
    """
    shifted = picture.roll(grid, (2, 3))
    size = shifted.shape[-2:]
    block_qp = qp[:, None] + encoder.aq_strength * _excess_energy(shifted)
    step = (2 ** ((block_qp - _STEP_ONE) / 6))[..., None]
    source, predicted = _blocks(shifted), _intra(shifted)
    levels = _transformed(source - predicted) / step
    bits = coefficient_bits(levels, encoder.dead_zone_cost).sum(-1) + _BLOCK_BITS
    if prediction is not None:
        inter = _blocks(prediction.roll(grid, (2, 3)))
        inter_levels = _transformed(source - inter) / step
        inter_bits = coefficient_bits(inter_levels, encoder.dead_zone_cost).sum(-1) + _BLOCK_BITS
        is_inter = (inter_bits <= bits + _INTRA_BITS).detach()
        bits = torch.where(is_inter, inter_bits, bits + _INTRA_BITS)
        levels = torch.where(is_inter[..., None], inter_levels, levels)
        predicted = torch.where(is_inter[..., None], inter, predicted)
    rounding = encoder.rounding_intra if prediction is None else encoder.rounding_inter
    decoded = predicted + _restored(quantised(levels, rounding) * step)
    return _picture(decoded, size).roll((-grid[0], -grid[1]), (2, 3)), bits


def _excess_energy(picture: Tensor) -> Tensor:
    """log2 of the energy around each block over the usual one [N, blocks]. It has no gradient."""
    padded = F.pad(picture.detach(), [(_AQ_SIDE - BLOCK) // 2] * 4, mode="replicate")
    means, squares = (F.avg_pool2d(part, _AQ_SIDE, BLOCK) for part in (padded, padded.square()))
    energy = (squares - means.square()) * _AQ_SIDE**2
    return (energy.clamp(min=1).log2() - _AQ_USUAL).flatten(1)


def _intra(picture: Tensor) -> Tensor:
    """Intra prediction [N, blocks, 1]: the mean of the surrounding blocks' means. It has no gradient."""
    means = F.avg_pool2d(picture.detach(), BLOCK)
    around = F.avg_pool2d(F.pad(means, [1] * 4, mode="replicate"), 3, 1)
    return around.flatten(1)[..., None]


def _predicted(interpolated: Tensor, positions: Tensor) -> Tensor:
    side = math.isqrt(positions.shape[1])
    return interpolated.gather(1, positions).view(-1, 1, side, side)


def _blocks(picture: Tensor) -> Tensor:
    """[N, 1, h, w] to [N, blocks, 64]."""
    n, _, height, width = picture.shape
    parts = picture.reshape(n, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return parts.transpose(2, 3).reshape(n, -1, BLOCK * BLOCK)


def _picture(blocks: Tensor, size: torch.Size) -> Tensor:
    """The inverse of `_blocks`."""
    height, width = size
    parts = blocks.view(-1, height // BLOCK, width // BLOCK, BLOCK, BLOCK)
    return parts.transpose(2, 3).reshape(-1, 1, height, width)


def _dct_matrix() -> Tensor:
    """[64, 64]: the orthonormal two-dimensional DCT of a block, as a matrix."""
    line = np.cos(np.pi * np.outer(np.arange(BLOCK), 2 * np.arange(BLOCK) + 1) / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    line[0] /= np.sqrt(2)
    return torch.from_numpy(np.kron(line, line).astype(np.float32))


_DCT = _dct_matrix()


def _transformed(blocks: Tensor) -> Tensor:
    return blocks @ _DCT.to(blocks).T


def _restored(coefficients: Tensor) -> Tensor:
    return coefficients @ _DCT.to(coefficients)


def _straight_round(codes: Tensor) -> Tensor:
    """Rounded and clamped codes, with the gradient of the clamp."""
    clamped = codes.clamp(0, 255)
    return clamped + ((clamped + 0.5).floor() - clamped).detach()

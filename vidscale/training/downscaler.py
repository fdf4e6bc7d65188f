"""Trains a downscaler through the codec proxy: fewest bits for the picture that its upscaler restores."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vidscale.errors import TrainingError
from vidscale.models.networks.back_projection import BackProjection
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.training.codec_proxy import X265, Coded, Encoder, encode
from vidscale.training.loop import LoopSettings, Losses, ParameterGroup
from vidscale.training.motion_search import BLOCK, EDGE
from vidscale.training.triples import Batch, Triples

_PEAK = 255.0
_CRFS = (18.0, 38.0)  # drawn uniformly
_KNOTS = (16.0, 20.0, 24.0, 28.0, 32.0, 36.0, 40.0)  # crfs at which the filter is measured
_VALIDATED = (20.0, 25.0, 30.0, 35.0)
_B_WEIGHT = 2.7  # B frames per P frame
_SMALLEST_ERROR = 1e-3  # squared codes
_VALIDATION_BATCH = 8
# One of these is drawn for each batch, so that nothing is fitted to what one of them has wrong.
_ENCODERS = (
    X265,
    Encoder(dead_zone_cost=1.0),
    Encoder(dead_zone_cost=0.0, rounding_inter=0.25),
    Encoder(qp_offsets=(2.0, 2.0, 4.0), rounding_inter=1 / 6),
    Encoder(dead_zone_cost=0.6, aq_strength=0.5),
)


class _Rate(NamedTuple):
    """What a batch costs and how it looks.

    Attributes:
        bits: [N] bits per sample of the proxy.
        error: [N] mean squared error of the restored frames, squared codes.
    """

    bits: Tensor
    error: Tensor


class DownscalerTask:
    """A downscaler as a task for `vidscale.training.loop.train`; the upscaler stays as it is.

    Args:
        network: downscaler to train.
        upscaler: the upscaler that restores its pictures.
        loop: batch, seed and device.
        triples: training material.
        held_out: validation material, of other pictures.

    Raises:
        TrainingError: the material's scale differs from the network's.
    """

    def __init__(
        self,
        network: BackProjection,
        upscaler: CompactUpscaler,
        loop: LoopSettings,
        triples: Triples,
        held_out: Triples,
    ) -> None:
        self._loop, self._triples, self._held_out = loop, triples, held_out
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._upscaler = upscaler.requires_grad_(requires_grad=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, scale in (("training", triples.scale), ("validation", held_out.scale)):
            if scale != network.scale:
                raise TrainingError(f"the {name} triples have scale {scale}, the network has {network.scale}")
        inner = triples.inner
        if inner <= 2 * upscaler.margin * upscaler.cell.small:
            raise TrainingError(
                f"an inner area of {inner} samples is too small for the upscaler, which loses its edges"
            )
        self._filter = {encoder: [self._of_filter(crf, encoder) for crf in _KNOTS] for encoder in _ENCODERS}
        with torch.no_grad():
            self._before = {
                crf: [self._rate(batch, batch.lr, crfs) for batch, crfs in self._validation(crf)] for crf in _VALIDATED
            }

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup([weights for weights in self.network.parameters() if weights.requires_grad])]

    def losses(self, examples: torch.Generator) -> Losses:
        batch = self._triples.drawn(self._loop.batch, examples)
        low, high = _CRFS
        crf = torch.rand(self._loop.batch, generator=examples) * (high - low) + low
        grid = torch.randint(0, BLOCK, (2,), generator=examples).tolist()
        encoder = _ENCODERS[int(torch.randint(0, len(_ENCODERS), (1,), generator=examples))]
        rate = self._rate(batch, self._downscaled(batch, crf), crf, (grid[0], grid[1]), encoder)
        slope, usual = self._slopes(crf, encoder)
        weight = 2 / (usual + rate.bits.detach())  # fraction of the bits; neither dull nor busy pictures dominate
        total = ((rate.bits + rate.error / slope) * weight).mean()
        return Losses(total, {"bits": (rate.bits * weight).mean().detach()})

    @torch.no_grad()
    def validate(self) -> float:
        """PSNR gain over the filter at equal bits, dB: mean over crf 20 to 35."""
        gains = []
        for crf in _VALIDATED:
            before = self._before[crf]
            after = [self._rate(batch, self._downscaled(batch, crfs), crfs) for batch, crfs in self._validation(crf)]
            gain = _decibels(after) - _decibels(before)
            gains.append(gain - self._decibels_per_octave(crf) * (_octaves(after) - _octaves(before)))
        return float(torch.stack(gains).mean())

    def _downscaled(self, batch: Batch, crf: Tensor) -> Tensor:
        n, frames, height, width = batch.hr.shape
        hr = batch.hr.view(n * frames, 1, height, width)
        lr = batch.lr.view(n * frames, 1, *batch.lr.shape[2:])
        return self.network(hr, lr, crf.repeat_interleave(frames)).view_as(batch.lr)  # type: ignore[no-any-return]

    def _rate(
        self, batch: Batch, lr: Tensor, crf: Tensor, grid: tuple[int, int] = (0, 0), encoder: Encoder = X265
    ) -> _Rate:
        coded: Coded = encode(lr * _PEAK, batch.motion, crf, grid, encoder)
        scale = self.network.scale
        edge = int((EDGE + self._upscaler.margin * self._upscaler.cell.small) * scale)
        errors = []
        for decoded, frame in ((coded.p, 2), (coded.b, 1)):
            restored = self._upscaler(decoded / _PEAK, crf)
            original = batch.hr[:, frame : frame + 1, edge:-edge, edge:-edge]
            errors.append((restored - original).square().mean((1, 2, 3)) * _PEAK**2)
        return _Rate(coded.bits, (errors[0] + _B_WEIGHT * errors[1]) / (1 + _B_WEIGHT))

    @torch.no_grad()
    def _of_filter(self, crf: float, encoder: Encoder) -> tuple[float, float]:
        """Mean bits and mean squared error of the filter alone."""
        rates = [self._rate(batch, batch.lr, crfs, encoder=encoder) for batch, crfs in self._validation(crf)]
        return float(torch.cat([r.bits for r in rates]).mean()), float(torch.cat([r.error for r in rates]).mean())

    def _slopes(self, crf: Tensor, encoder: Encoder) -> tuple[Tensor, Tensor]:
        """The filter's slope of squared error over bits and its bits, at each crf: what a bit is worth there."""
        knots = torch.tensor(_KNOTS)
        bits, errors = torch.tensor(self._filter[encoder]).T
        middle = (knots[1:] + knots[:-1]) / 2
        slopes = (errors[1:] - errors[:-1]) / (bits[:-1] - bits[1:])
        return _interpolated(crf, middle, slopes.log()).exp(), _interpolated(crf, knots, bits.log()).exp()

    def _decibels_per_octave(self, crf: float) -> float:
        """PSNR that the filter gains when its bits double, dB."""
        (bits, errors), step = torch.tensor(self._filter[X265]).T, 4.0
        knots = torch.tensor(_KNOTS)
        (more, less) = (torch.tensor([crf + side]) for side in (-step / 2, step / 2))
        decibels = [-10 * _interpolated(c, knots, errors.log10()) for c in (more, less)]
        octaves = [_interpolated(c, knots, bits.log2()) for c in (more, less)]
        return float((decibels[0] - decibels[1]) / (octaves[0] - octaves[1]))

    def _validation(self, crf: float) -> Iterator[tuple[Batch, Tensor]]:
        """The validation material in batches, each with its crfs."""
        count = len(self._held_out)
        for start in range(0, count, _VALIDATION_BATCH):
            batch = self._held_out.batch(list(range(start, min(start + _VALIDATION_BATCH, count))))
            yield batch, torch.full((len(batch.hr),), crf)


def _decibels(rates: list[_Rate]) -> Tensor:
    errors = torch.cat([rate.error for rate in rates]).clamp(min=_SMALLEST_ERROR)
    return (10 * (_PEAK**2 / errors).log10()).mean()


def _octaves(rates: list[_Rate]) -> Tensor:
    """log2 of the bits, mean over triples."""
    return torch.cat([rate.bits for rate in rates]).log2().mean()


def _interpolated(places: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear through the knots, and beyond them."""
    right = torch.searchsorted(knots, places).clamp(1, len(knots) - 1)
    part = (places - knots[right - 1]) / (knots[right] - knots[right - 1])
    return values[right - 1] + part * (values[right] - values[right - 1])

"""Trains a downscaler through the codec proxy: fewest bits for the picture that its upscaler restores."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from vidscale.errors import TrainingError
from vidscale.models.networks.back_projection import BackProjection
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.training.codec_proxy import X265, Coded, Encoder, encode
from vidscale.training.distortion import PEAK, information_loss, squared_error, structural_error
from vidscale.training.loop import LoopSettings, Losses, ParameterGroup
from vidscale.training.motion_search import BLOCK, EDGE
from vidscale.training.recipes import STRICT
from vidscale.training.triples import Batch, Triples

_CRFS = (18.0, 38.0)  # drawn uniformly
_KNOTS = (16.0, 20.0, 24.0, 28.0, 32.0, 36.0, 40.0)  # crfs at which the filter is measured
_VALIDATED = (20.0, 25.0, 30.0, 35.0)
_B_WEIGHT = 2.7  # B frames per P frame
_MEASURES = (squared_error, structural_error, information_loss)
_SMALLEST = torch.tensor([1e-3, 1e-6, 1e-6])  # distortion of a perfect copy, for logarithms
_VALIDATION_BATCH = 8
# One of these is drawn for each batch, so that nothing is fitted to what one of them has wrong.
_ENCODERS = (
    X265,
    Encoder(dead_zone_cost=1.0),
    Encoder(dead_zone_cost=0.0, rounding_inter=0.25),
    Encoder(qp_offsets=(2.0, 2.0, 4.0), rounding_inter=1 / 6),
    Encoder(dead_zone_cost=0.6, aq_strength=0.5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What quality is: shares of measures of `vidscale.training.distortion`, each in bits, as the filter buys it.

    Squared error alone costs SSIM and VMAF, and each of these alone costs the others.

    Attributes:
        squared, structural, information: shares, 0 or more, not all 0.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    squared: float = 0.4
    structural: float = 0.3
    information: float = 0.3

    def __post_init__(self) -> None:
        if min(astuple(self)) < 0 or sum(astuple(self)) == 0:
            raise ValueError(f"weights {astuple(self)} must be 0 or more, and not all 0")

    def shares(self) -> Tensor:
        """[3], sum 1."""
        weights = torch.tensor(astuple(self))
        return weights / weights.sum()


class _Rate(NamedTuple):
    """What a batch costs and how it looks.

    Attributes:
        bits: [N] bits per sample of the proxy.
        distortion: [N, 3] of the restored frames, one column for each of `_MEASURES`.
    """

    bits: Tensor
    distortion: Tensor


class DownscalerTask:
    """A downscaler as a task for `vidscale.training.loop.train`; the upscaler stays as it is.

    Args:
        network: downscaler to train.
        upscaler: the upscaler that restores its pictures.
        loop: batch, seed and device.
        triples: training material.
        held_out: validation material, of other pictures.
        weights: of the measures of quality.

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
        weights: Weights,
    ) -> None:
        device = torch.device(loop.device)
        self._loop, self._device, self._triples, self._held_out = loop, device, triples, held_out
        self._shares = weights.shares().to(device)
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._upscaler = upscaler.requires_grad_(requires_grad=False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
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
        batch = self._triples.drawn(self._loop.batch, examples).to(self._device)
        low, high = _CRFS
        crf = (torch.rand(self._loop.batch, generator=examples) * (high - low) + low).to(self._device)
        grid = torch.randint(0, BLOCK, (2,), generator=examples).tolist()
        encoder = _ENCODERS[int(torch.randint(0, len(_ENCODERS), (1,), generator=examples))]
        rate = self._rate(batch, self._downscaled(batch, crf), crf, (grid[0], grid[1]), encoder)
        slopes, usual = self._slopes(crf, encoder)
        weight = 2 / (usual + rate.bits.detach())  # fraction of the bits; neither dull nor busy pictures dominate
        total = ((rate.bits + (rate.distortion / slopes) @ self._shares) * weight).mean()
        return Losses(total, {"bits": (rate.bits * weight).mean().detach()})

    @torch.no_grad()
    def validate(self) -> float:
        """Gain over the filter at equal bits, dB: weighted mean of the measures, mean over crf 20 to 35."""
        gains = []
        for crf in _VALIDATED:
            before = self._before[crf]
            after = [self._rate(batch, self._downscaled(batch, crfs), crfs) for batch, crfs in self._validation(crf)]
            gain = _decibels(after) - _decibels(before)
            gains.append(gain - self._decibels_per_octave(crf) * (_octaves(after) - _octaves(before)))
        return float(torch.stack(gains).mean(0) @ self._shares)

    def _downscaled(self, batch: Batch, crf: Tensor) -> Tensor:
        n, frames, height, width = batch.hr.shape
        hr = batch.hr.view(n * frames, 1, height, width)
        lr = batch.lr.view(n * frames, 1, *batch.lr.shape[2:])
        return self.network(hr, lr, crf.repeat_interleave(frames)).view_as(batch.lr)  # type: ignore[no-any-return]

    def _rate(
        self, batch: Batch, lr: Tensor, crf: Tensor, grid: tuple[int, int] = (0, 0), encoder: Encoder = X265
    ) -> _Rate:
        coded: Coded = encode(lr * PEAK, batch.motion, crf, grid, encoder)
        scale = self.network.scale
        edge = int((EDGE + self._upscaler.margin * self._upscaler.cell.small) * scale)
        distortions = []
        for decoded, frame in ((coded.p, 2), (coded.b, 1)):
            restored = self._upscaler(decoded / PEAK, crf)
            original = batch.hr[:, frame : frame + 1, edge:-edge, edge:-edge]
            distortions.append(torch.stack([measure(restored, original) for measure in _MEASURES], dim=1))
        return _Rate(coded.bits, (distortions[0] + _B_WEIGHT * distortions[1]) / (1 + _B_WEIGHT))

    @torch.no_grad()
    def _of_filter(self, crf: float, encoder: Encoder) -> _Rate:
        """Mean bits and distortions [1], [1, 3] of the filter alone."""
        rates = [self._rate(batch, batch.lr, crfs, encoder=encoder) for batch, crfs in self._validation(crf)]
        bits, distortion = torch.cat([rate.bits for rate in rates]), torch.cat([rate.distortion for rate in rates])
        return _Rate(bits.mean(0, keepdim=True), distortion.mean(0, keepdim=True))

    def _slopes(self, crf: Tensor, encoder: Encoder) -> tuple[Tensor, Tensor]:
        """The filter's slopes of distortion over bits [N, 3] and its bits [N]: what a bit is worth at each crf."""
        knots = torch.tensor(_KNOTS, device=self._device)
        bits, distortion = _curve(self._filter[encoder])
        middle = (knots[1:] + knots[:-1]) / 2
        slopes = (distortion[1:] - distortion[:-1]) / (bits[:-1] - bits[1:])[:, None]
        return _interpolated(crf, middle, slopes.log()).exp(), _interpolated(crf, knots, bits.log()).exp()

    def _decibels_per_octave(self, crf: float) -> Tensor:
        """What the filter gains in each measure when its bits double [3], dB."""
        bits, distortion = _curve(self._filter[X265])
        knots = torch.tensor(_KNOTS, device=self._device)
        ends = torch.tensor([crf - 2.0, crf + 2.0], device=self._device)
        better, worse = -10 * _interpolated(ends, knots, distortion.log10())
        more, less = _interpolated(ends, knots, bits.log2())
        per_octave: Tensor = (better - worse) / (more - less)
        return per_octave

    def _validation(self, crf: float) -> Iterator[tuple[Batch, Tensor]]:
        """The validation material in batches, each with its crfs."""
        count = len(self._held_out)
        for start in range(0, count, _VALIDATION_BATCH):
            batch = self._held_out.batch(list(range(start, min(start + _VALIDATION_BATCH, count)))).to(self._device)
            yield batch, torch.full((len(batch.hr),), crf, device=self._device)


def _curve(rates: list[_Rate]) -> _Rate:
    """Rates at one crf each as a curve: bits [K], distortions [K, 3]."""
    return _Rate(torch.cat([rate.bits for rate in rates]), torch.cat([rate.distortion for rate in rates]))


def _decibels(rates: list[_Rate]) -> Tensor:
    """Quality by each measure [3], mean over triples; PSNR but for a constant."""
    distortion = _curve(rates).distortion
    return -10 * torch.maximum(distortion, _SMALLEST.to(distortion)).log10().mean(0)


def _octaves(rates: list[_Rate]) -> Tensor:
    """log2 of the bits, mean over triples."""
    return _curve(rates).bits.log2().mean()


def _interpolated(places: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear through the knots [K] and beyond them: values [K, ...] at places [N]."""
    right = torch.searchsorted(knots, places).clamp(1, len(knots) - 1)
    part = (places - knots[right - 1]) / (knots[right] - knots[right - 1])
    part = part.view(-1, *[1] * (values.ndim - 1))
    return values[right - 1] + part * (values[right] - values[right - 1])

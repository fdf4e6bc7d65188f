"""Pairs that work on planes: networks downscale and upscale luma, fixed filters scale chroma."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidscale.errors import ModelError
from vidscale.media.frames import Plane, YuvImage
from vidscale.media.geometry import Geometry
from vidscale.models.back_projection import back_projection_of
from vidscale.models.cards import BACK_PROJECTION, PairCard
from vidscale.models.chains import chain_of
from vidscale.models.fixed_pair import FixedPair, filter_of
from vidscale.models.pair import Backend
from vidscale.models.precision import quickest
from vidscale.models.weight_files import Arrays, part, read_weights
from vidscale.system.devices import Device, resolve
from vidscale.system.threads import core_count
from vidscale.triton_kernels.back_projection import BackProjectionRunner
from vidscale.triton_kernels.chain import Chain, ChainRunner, Precision

if TYPE_CHECKING:
    from vidscale.models.networks.luma import LumaUpscaler

LumaUpscale = Callable[[Plane, int, int], Plane]
LumaCorrection = Callable[[Plane, Plane], Plane]

_STRENGTHS_KEPT = 8  # segments of a video may differ
_TRIAL_SIDE, _TRIAL_STRENGTH = 384, 28.0  # HR luma samples: a multiple of all scales' numerators; crf
_LARGE = 2000  # multiplications per HR sample; below this the time is negligible


@dataclass(frozen=True)
class PlanePair:
    """A luma network, and a downscaling filter with or without a network that corrects its luma.

    Weights are only read by what needs them, torch only imported for a GPU.

    Args:
        card: the pair's card.
        folder: folder of its weights.
        wanted: device of the network; "auto" is a GPU if available. The filters run on the CPU, where they are faster
            than any decoder.
    """

    card: PairCard
    folder: Path
    wanted: Device

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def sha256(self) -> str:
        return self.card.sha256

    @property
    def scale(self) -> Fraction:
        return self.card.scale

    @property
    def downscale_backend(self) -> Backend:
        if not self._corrects:
            return self._filters.downscale_backend
        return Backend("cpu", f"numba {back_projection_of(self._downscaler_weights, _TRIAL_STRENGTH).precisions[-1]}")

    @cached_property
    def upscale_backend(self) -> Backend:
        device = resolve(self.wanted, auto="cuda")
        return Backend(device, "torch bfloat16" if device == "cuda" else f"numba {self._precision}")

    @property
    def parallel_frames(self) -> int:
        return core_count() if self.upscale_backend.device == "cpu" else 1

    @property
    def parallel_downscales(self) -> int:
        return core_count() if self._corrects else self._filters.parallel_downscales

    @property
    def _corrects(self) -> bool:
        return self.card.downscaler.get("network") == BACK_PROJECTION

    @cached_property
    def _filters(self) -> FixedPair:
        return filter_of(self.card)

    def downscale(self, image: YuvImage, strength: float | None = None) -> list[Plane]:
        luma, *chroma = self._filters.downscale(image)
        if self._corrects and strength is not None:
            luma = self._luma_correction(strength, image.format.bit_depth)(image.planes[0], luma)
        return [luma, *chroma]

    def upscale(self, image: YuvImage, geometry: Geometry, strength: float) -> list[Plane]:
        luma = self._luma_upscale(strength, image.format.bit_depth)(image.planes[0], geometry.height, geometry.width)
        return [luma, *self._filters.upscale_chroma(image, geometry)]

    def downscale_seconds(self, height: int, width: int) -> None:
        return None

    def upscale_seconds(self, height: int, width: int) -> float | None:
        """Measured on a trial plane; None for small networks."""
        if self._chain(_TRIAL_STRENGTH).multiplications < _LARGE:
            return None
        trial = np.full([int(_TRIAL_SIDE / self.scale)] * 2, 128, np.uint8)
        upscale = self._luma_upscale(_TRIAL_STRENGTH, 8)
        upscale(trial, _TRIAL_SIDE, _TRIAL_SIDE)  # warm-up
        start = time.perf_counter()
        upscale(trial, _TRIAL_SIDE, _TRIAL_SIDE)
        return (time.perf_counter() - start) * height * width / _TRIAL_SIDE**2 / self.parallel_frames

    @cached_property
    def _luma_upscale(self) -> Callable[[float, int], LumaUpscale]:
        make = self._on_cpu if self.upscale_backend.device == "cpu" else self._on_gpu
        return lru_cache(_STRENGTHS_KEPT)(make)

    @cached_property
    def _luma_correction(self) -> Callable[[float, int], LumaCorrection]:
        return lru_cache(_STRENGTHS_KEPT)(self._correction)

    def _correction(self, strength: float, bit_depth: int) -> LumaCorrection:
        projection = back_projection_of(self._downscaler_weights, strength)
        return BackProjectionRunner(projection, bit_depth, projection.precisions[-1])

    def _on_cpu(self, strength: float, bit_depth: int) -> LumaUpscale:
        return ChainRunner(self._chain(strength), bit_depth, self._precision)

    def _on_gpu(self, strength: float, bit_depth: int) -> LumaUpscale:
        import torch

        from vidscale.models.luma_torch import TorchLumaUpscaler

        device = self.upscale_backend.device
        return TorchLumaUpscaler(self._network, strength, bit_depth, device, torch.bfloat16)

    @cached_property
    def _network(self) -> "LumaUpscaler":
        from vidscale.models.networks.luma import LumaUpscaler
        from vidscale.models.pair_files import load_pair_dir

        network = load_pair_dir(self.folder).upscaler
        assert isinstance(network, LumaUpscaler)
        return network

    @cached_property
    def _precision(self) -> Precision:
        return quickest(self._chain(_TRIAL_STRENGTH))

    def _chain(self, strength: float) -> Chain:
        chain = chain_of(str(self.card.upscaler["network"]), self._weights, strength)
        if chain.scale != self.scale:  # the hash does not cover the card
            raise ModelError(f"{self.folder}: the network has scale {chain.scale}, the card {self.scale}")
        return chain

    @cached_property
    def _weights(self) -> Arrays:
        return part(self._all_weights, "upscaler.")

    @cached_property
    def _downscaler_weights(self) -> Arrays:
        return part(self._all_weights, "downscaler.")

    @cached_property
    def _all_weights(self) -> Arrays:
        return read_weights(self.folder)[1]

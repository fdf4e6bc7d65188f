"""A pair that works on planes: a fixed filter makes them small, a network restores luma, a fixed filter chroma."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidscale.errors import ModelError
from vidscale.media.frames import Color, PixelFormat, Plane
from vidscale.media.geometry import Geometry
from vidscale.models.cards import PairCard
from vidscale.models.chains import chain_of
from vidscale.models.filters import FilterDownscaler
from vidscale.models.pairs import FixedPair, Place
from vidscale.models.precision import quickest
from vidscale.models.weight_files import Arrays, part, read_weights
from vidscale.system.devices import Device, resolve
from vidscale.system.threads import core_count
from vidscale.triton_kernels.chain import Chain, ChainRunner, Precision

if TYPE_CHECKING:
    from vidscale.models.networks.luma import LumaUpscaler

Enlarger = Callable[[Plane, int, int], Plane]

_ENLARGERS = 8  # strengths kept ready: segments of a movie may differ
_TRIAL_SIDE, _TRIAL_STRENGTH = 384, 28.0  # HR luma samples: a multiple of all scales' numerators; crf
_LARGE = 2000  # multiplications per HR sample, from which on it is worth telling how long they take


@dataclass(frozen=True)
class PlanePair:
    """A filter down, a network for luma up. Weights are opened for what enlarges, not for what shrinks; torch is
    imported for a GPU only.

    Args:
        card: of the pair.
        folder: where its weights lie.
        wanted: where the network shall run; "auto" is a GPU that is there. The filters run on the CPU, where they keep
            up with any decoder.
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
    def shrinks_on(self) -> Place:
        return self._filters.shrinks_on

    @cached_property
    def enlarges_on(self) -> Place:
        device = resolve(self.wanted, auto="cuda")
        return Place(device, "torch bfloat16") if device == "cuda" else Place(device, f"numba {self._precision}")

    @property
    def at_once(self) -> int:
        return core_count() if self.enlarges_on.device == "cpu" else 1

    @cached_property
    def _filters(self) -> FixedPair:
        return FilterDownscaler.of(self.card).pair

    def shrink(self, planes: Sequence[Plane], pixel_format: PixelFormat, color: Color) -> list[Plane]:
        return self._filters.shrink(planes, pixel_format, color)

    def enlarge(
        self, planes: Sequence[Plane], pixel_format: PixelFormat, color: Color, geometry: Geometry, strength: float
    ) -> list[Plane]:
        luma = self._enlarger(strength, pixel_format.bit_depth)(planes[0], geometry.height, geometry.width)
        return [luma, *self._filters.enlarge_chroma(planes, pixel_format, color, geometry)]

    def shrinking_time(self, height: int, width: int) -> None:
        return None

    def enlarging_time(self, height: int, width: int) -> float | None:
        """By trying a small plane; None where the network is small."""
        if self._chain(_TRIAL_STRENGTH).multiplications < _LARGE:
            return None
        trial = np.full([int(_TRIAL_SIDE / self.scale)] * 2, 128, np.uint8)
        enlarge = self._enlarger(_TRIAL_STRENGTH, 8)
        enlarge(trial, _TRIAL_SIDE, _TRIAL_SIDE)  # warms up
        start = time.perf_counter()
        enlarge(trial, _TRIAL_SIDE, _TRIAL_SIDE)
        return (time.perf_counter() - start) * height * width / _TRIAL_SIDE**2 / self.at_once

    @cached_property
    def _enlarger(self) -> Callable[[float, int], Enlarger]:
        make = self._on_cpu if self.enlarges_on.device == "cpu" else self._on_gpu
        return lru_cache(_ENLARGERS)(make)

    def _on_cpu(self, strength: float, bit_depth: int) -> Enlarger:
        return ChainRunner(self._chain(strength), bit_depth, self._precision)

    def _on_gpu(self, strength: float, bit_depth: int) -> Enlarger:
        import torch

        from vidscale.models.luma_run import DeviceEnlarger

        return DeviceEnlarger(self._network, strength, bit_depth, self.enlarges_on.device, torch.bfloat16)

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
        if chain.scale != self.scale:  # the hash is of the weights alone
            raise ModelError(f"{self.folder}: a network by {chain.scale}, a card for {self.scale}")
        return chain

    @cached_property
    def _weights(self) -> Arrays:
        return part(read_weights(self.folder)[1], "upscaler.")

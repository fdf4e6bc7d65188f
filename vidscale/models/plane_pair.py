"""Pairs that work on planes: networks downscale and upscale luma, fixed filters scale chroma."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from vidscale.errors import ModelError
from vidscale.media.encoders import Effort
from vidscale.media.frames import PixelFormat, Plane, YuvImage
from vidscale.media.geometry import Geometry
from vidscale.models.back_projection import back_projection_of
from vidscale.models.cards import BACK_PROJECTION, PairCard
from vidscale.models.chains import chain_of
from vidscale.models.fixed_pair import FixedPair, filter_of
from vidscale.models.pair import IN_FLIGHT, Backend
from vidscale.models.placement import faster_device
from vidscale.models.precision import quickest, shape_of
from vidscale.models.updates import Update, updated
from vidscale.models.weight_files import Arrays, part, read_weights
from vidscale.system.devices import Device, resolve
from vidscale.system.threads import core_count
from vidscale.triton_kernels.back_projection import BackProjectionRunner
from vidscale.triton_kernels.back_projection_network import BackProjection
from vidscale.triton_kernels.chain import Chain, ChainRunner, Precision
from vidscale.triton_kernels.polyphase import implementation

if TYPE_CHECKING:
    from vidscale.models.gpu.networks import GpuNetworks

_STRENGTHS_KEPT = 8  # segments of a video may differ
_GUIDES_KEPT = 2  # the frames in flight are of one segment or two, and each runner keeps memory for some pictures
_TRIAL_SIDE, _TRIAL_STRENGTH = 384, 28.0  # HR luma samples: a multiple of all scales' numerators; crf
_SIDES_OF_TRIAL = 4  # on each axis, to compare devices: about the samples of 1080p
_LARGE = 2000  # multiplications per HR sample; below this the time is negligible


@dataclass(frozen=True)
class PlanePair:
    """A luma network, and a downscaling filter with or without a network that corrects its luma.

    Weights are only read by what needs them, torch only imported for a GPU.

    Args:
        card: the pair's card.
        folder: folder of its weights.
        wanted: "auto" is a GPU for what a network does, if there is one and it is faster. A filter alone then runs on
            the CPU, where it is faster than any decoder.
        effort: "fast" leaves out the downscaler's network; "normal" takes the smaller of two, if there are two.
    """

    card: PairCard
    folder: Path
    wanted: Device
    effort: Effort = "patient"

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def sha256(self) -> str:
        return self.card.sha256

    @property
    def scale(self) -> Fraction:
        return self.card.scale

    @cached_property
    def downscale_backend(self) -> Backend:
        if self._corrects:
            return self._network_backend("downscale")
        return replace(self._filters, device=resolve(self.wanted)).downscale_backend

    @cached_property
    def upscale_backend(self) -> Backend:
        return self._network_backend("upscale")

    def _network_backend(self, direction: Literal["downscale", "upscale"]) -> Backend:
        device = resolve(self.wanted, auto="cuda")
        if device == "cuda" and self.wanted == "auto":
            device = self._faster_device(direction)
        if device == "cuda":
            return Backend(device, f"{implementation(device)} float16")
        own = self._projection(_TRIAL_STRENGTH).precisions[-1] if direction == "downscale" else self._precision
        return Backend(device, f"{implementation(device)} {own}")

    def _faster_device(self, direction: Literal["downscale", "upscale"]) -> Literal["cpu", "cuda"]:
        """Measured on a trial picture."""
        halves = {where: replace(self, wanted=where) for where in ("cpu", "cuda")}
        side = _TRIAL_SIDE * _SIDES_OF_TRIAL
        trial = _gray(side if direction == "downscale" else int(side / self.scale))
        geometry = Geometry(side, side, self.scale, trial.width, trial.width)

        def scale(where: str) -> Callable[[int], list[Plane]]:
            pair = halves[where]
            if direction == "downscale":
                return lambda _: pair.downscale(trial, _TRIAL_STRENGTH)
            return lambda _: pair.upscale(trial, geometry, _TRIAL_STRENGTH)

        def parallel(where: str) -> int:
            pair = halves[where]
            return pair.parallel_downscales if direction == "downscale" else pair.parallel_frames

        if direction == "downscale":
            projection = self._projection(_TRIAL_STRENGTH)
            correction = "x".join(str(layer.bias.size) for layer in projection.convolutions)
            network = f"{correction} guided by {shape_of(projection.guide)}"
        else:
            network = shape_of(self.chain(_TRIAL_STRENGTH))
        return faster_device(f"{direction} {network}", scale, parallel)

    @property
    def parallel_frames(self) -> int:
        return core_count() if self.upscale_backend.device == "cpu" else IN_FLIGHT

    @property
    def parallel_downscales(self) -> int:
        if self.downscale_backend.device == "cuda":
            return IN_FLIGHT
        return core_count() if self._corrects else self._filters.parallel_downscales

    @property
    def _corrects(self) -> bool:
        return self.effort != "fast" and self.card.downscaler.get("network") == BACK_PROJECTION

    @property
    def _part(self) -> str:
        """Which of the weights are the downscaler's."""
        return "quick_downscaler" if self.effort == "normal" and self.card.quick_downscaler else "downscaler"

    @cached_property
    def _filters(self) -> FixedPair:
        """On the CPU."""
        return filter_of(self.card)

    @cached_property
    def _corrected_filters(self) -> FixedPair:
        """Sharpness is for a filter alone: the network corrects what the family's own filter makes."""
        return replace(self._filters, sharpness=0.0)

    def downscale(self, image: YuvImage, strength: float | None = None, update: bytes = b"") -> list[Plane]:
        crf = strength if self._corrects else None
        depth = image.format.bit_depth
        filters = self._filters if crf is None else self._corrected_filters
        if self.downscale_backend.device == "cuda":
            from vidscale.models.gpu.scaling import scaled_on_gpu

            step = None if crf is None else partial(self._gpu.correction, crf, depth, update)
            if (planes := scaled_on_gpu(image, filters.downscaling(image), step)) is not None:
                return planes
        luma, *chroma = filters.downscale(image)
        if crf is not None:
            correct = self._guided(crf, depth, update) if update else self._luma_correction(crf, depth)
            luma = correct(image.planes[0], luma)
        return [luma, *chroma]

    def upscale(self, image: YuvImage, geometry: Geometry, strength: float, update: bytes = b"") -> list[Plane]:
        depth = image.format.bit_depth
        if self.upscale_backend.device == "cuda":
            from vidscale.models.gpu.scaling import scaled_on_gpu

            step, chroma = (
                partial(self._gpu.upscaler, strength, depth, update),
                self._filters.upscaling(image, geometry, luma=False),
            )
            if (planes := scaled_on_gpu(image, chroma, step)) is not None:
                return planes
        luma = self.luma_upscaler(strength, depth, update)(image.planes[0], geometry.height, geometry.width)
        return [luma, *self._filters.upscale_chroma(image, geometry)]

    def downscale_seconds(self, height: int, width: int) -> None:
        return None

    def upscale_seconds(self, height: int, width: int) -> float | None:
        """Measured on a trial picture; None for small networks."""
        if self.chain(_TRIAL_STRENGTH).multiplications < _LARGE:
            return None
        trial = _gray(int(_TRIAL_SIDE / self.scale))
        geometry = Geometry(_TRIAL_SIDE, _TRIAL_SIDE, self.scale, trial.width, trial.height)
        self.upscale(trial, geometry, _TRIAL_STRENGTH)  # warm-up
        start = time.perf_counter()
        self.upscale(trial, geometry, _TRIAL_STRENGTH)
        return (time.perf_counter() - start) * height * width / _TRIAL_SIDE**2 / self.parallel_frames

    @cached_property
    def luma_upscaler(self) -> Callable[[float, int, bytes], ChainRunner]:
        """What upscales luma on the CPU, for a strength, a bit depth and an update."""
        return lru_cache(_STRENGTHS_KEPT)(self._runner)

    def _runner(self, strength: float, bit_depth: int, update: bytes) -> ChainRunner:
        chain, precision = self.chain(strength, update), self._precision
        if update and (judged := self.update_of(update, strength).precision) in chain.precisions:
            precision = judged
        return ChainRunner(chain, bit_depth, precision)

    @cached_property
    def update_of(self) -> Callable[[bytes, float], Update]:
        """Parses an update of the upscaler, for a strength. Raises: ModelError: it is damaged, or of another pair."""
        return lru_cache(_STRENGTHS_KEPT)(
            lambda update, strength: Update.from_bytes(update, self.chain(strength), self.sha256)
        )

    @cached_property
    def follows_updates(self) -> bool:
        """Whether the downscaler corrects what an upscaler like the pair's gets wrong: then it can follow its updates.

        Not where torch runs it, on a GPU without triton.
        """
        if not self._corrects or (self.downscale_backend.device == "cuda" and implementation("cuda") != "triton"):
            return False
        return shape_of(self._projection(_TRIAL_STRENGTH).guide) == shape_of(self.chain(_TRIAL_STRENGTH))

    @cached_property
    def _luma_correction(self) -> Callable[[float, int], BackProjectionRunner]:
        return lru_cache(_STRENGTHS_KEPT)(lambda strength, bit_depth: _runner(self._projection(strength), bit_depth))

    @cached_property
    def _guided(self) -> Callable[[float, int, bytes], BackProjectionRunner]:
        """`_luma_correction` for an update of the upscaler."""
        return lru_cache(_GUIDES_KEPT)(
            lambda strength, bit_depth, update: _runner(self._projection(strength, update), bit_depth)
        )

    def _projection(self, strength: float, update: bytes = b"") -> BackProjection:
        """The downscaler's network for a strength. Its guide moves by an update as the upscaler does.

        It keeps its own ranges: those of an update were observed on decoded pictures, and cost 1.6 % of the bits here.
        """
        projection = back_projection_of(part(self._all_weights, f"{self._part}."), strength)
        if not update:
            return projection
        guide = updated(projection.guide, self.update_of(update, strength))
        return replace(projection, guide=replace(guide, ranges=projection.guide.ranges))

    @cached_property
    def _gpu(self) -> "GpuNetworks":
        from vidscale.models.gpu.networks import GpuNetworks

        return GpuNetworks(self.folder, self.chain, self._projection, is_quick=self._part != "downscaler")

    @cached_property
    def _precision(self) -> Precision:
        return quickest(self.chain(_TRIAL_STRENGTH))

    def chain(self, strength: float, update: bytes = b"") -> Chain:
        """The upscaler's network for a strength, with an update."""
        chain = chain_of(str(self.card.upscaler["network"]), self._weights, strength)
        if chain.scale != self.scale:  # the hash does not cover the card
            raise ModelError(f"{self.folder}: the network has scale {chain.scale}, the card {self.scale}")
        return updated(chain, self.update_of(update, strength)) if update else chain

    @cached_property
    def _weights(self) -> Arrays:
        return part(self._all_weights, "upscaler.")

    @cached_property
    def _all_weights(self) -> Arrays:
        return read_weights(self.folder)[1]


def _gray(side: int) -> YuvImage:
    return YuvImage((np.full((side, side), 128, np.uint8),), PixelFormat("gray", 8))


def _runner(projection: BackProjection, bit_depth: int) -> BackProjectionRunner:
    return BackProjectionRunner(projection, bit_depth, projection.precisions[-1])

"""Luma networks of a pair on a GPU."""

from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path

import torch

from vidscale.models.gpu.scaling import LumaStep
from vidscale.models.luma_torch import TorchLumaCorrection, TorchLumaUpscaler
from vidscale.models.networks.back_projection import BackProjection
from vidscale.models.networks.folded import FoldedNetwork
from vidscale.models.networks.luma import LumaUpscaler
from vidscale.models.pair_files import LoadedPair, load_pair_dir
from vidscale.system import devices
from vidscale.triton_kernels._triton_import import TRITON_AVAILABLE
from vidscale.triton_kernels.back_projection_network import BackProjection as Projection
from vidscale.triton_kernels.chain import Chain

_STRENGTHS_KEPT = 8  # segments of a video may differ


class GpuNetworks:
    """The networks of a pair for a strength and bit depth: Triton kernels, torch where there is no triton.

    Args:
        folder: of the pair's weights.
        chain: the upscaler for a strength and an update of it.
        projection: the correction of the downscaler for a strength and an update of the upscaler.
        is_quick: whether that is the smaller of the pair's two downscalers.
    """

    def __init__(
        self,
        folder: Path,
        chain: Callable[[float, bytes], Chain],
        projection: Callable[[float, bytes], Projection],
        *,
        is_quick: bool = False,
    ) -> None:
        self._folder, self._chain, self._projection, self._is_quick = folder, chain, projection, is_quick
        self.upscaler = lru_cache(_STRENGTHS_KEPT)(self._upscaler)
        self.correction = lru_cache(_STRENGTHS_KEPT)(self._correction)

    @cached_property
    def _pair(self) -> LoadedPair:
        return load_pair_dir(self._folder)

    def _upscaler(self, strength: float, bit_depth: int, update: bytes = b"") -> LumaStep:
        if TRITON_AVAILABLE:
            from vidscale.triton_kernels.chain_triton import ChainTriton

            return ChainTriton(self._chain(strength, update), bit_depth, devices.gpu())
        network = FoldedNetwork(self._chain(strength, update)) if update else self._pair.upscaler
        assert isinstance(network, LumaUpscaler)
        return TorchLumaUpscaler(network, strength, bit_depth, str(devices.gpu()), torch.float16).run

    def _correction(self, strength: float, bit_depth: int, update: bytes = b"") -> LumaStep:
        if TRITON_AVAILABLE:
            from vidscale.triton_kernels.back_projection_triton import BackProjectionTriton

            correct = BackProjectionTriton(self._projection(strength, update), bit_depth, devices.gpu())
            return lambda hr, lr: correct(hr, lr.clone(), lr)
        network = self._pair.quick_downscaler if self._is_quick else self._pair.downscaler
        assert isinstance(network, BackProjection)
        return TorchLumaCorrection(network, strength, bit_depth, str(devices.gpu())).run

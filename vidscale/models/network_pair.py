"""Pairs with RGB networks, such as CAR."""

import time
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from math import ceil
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from vidscale.errors import ModelError
from vidscale.media.frames import PixelFormat, Plane, YuvImage
from vidscale.media.geometry import Geometry
from vidscale.models.cards import PairCard
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.networks.back_projection import BackProjection
from vidscale.models.networks.car import ResamplerNet
from vidscale.models.networks.edsr import EDSR
from vidscale.models.networks.error_fed import ErrorFedDownscaler
from vidscale.models.networks.progressive import ProgressiveUpscaler
from vidscale.models.networks.tiling import Run, Tiled, run_surrounded
from vidscale.models.pair import Backend
from vidscale.models.pair_files import load_pair_dir
from vidscale.models.rgb import rgb_to_yuv, yuv_to_rgb

_TRIAL_SIDE = 96  # HR pixels


@dataclass(frozen=True)
class NetworkPair:
    """A pair loaded on a device.

    For networks the picture is converted to RGB and back with the video's own matrix; the small picture keeps the
    source's chroma subsampling. A filter downscales the planes directly, on the CPU. Large pictures are processed in
    tiles that fit in memory.

    Args:
        card: the pair's card.
        folder: folder of its weights.
        downscaler: a network, moved to the device, or a filter.
        upscaler: a network, moved to the device.
        device: "cpu" or "cuda".
        dtype: dtype of the networks.
    """

    card: PairCard
    folder: Path
    downscaler: ResamplerNet | ErrorFedDownscaler | FixedPair
    upscaler: EDSR | ProgressiveUpscaler
    device: str
    dtype: torch.dtype = torch.float32

    @classmethod
    def load(cls, folder: Path, device: str, dtype: torch.dtype | None = None) -> Self:
        """Loads a pair.

        Args:
            folder: folder of the pair.
            device: "cpu" or "cuda".
            dtype: dtype of the networks; None is bfloat16 on a GPU, too coarse for 16-bit pictures, and float32 on the
                CPU.

        Raises:
            ModelError: see `load_pair_dir`; or the upscaler is not an RGB network.
        """
        loaded = load_pair_dir(folder)
        if not isinstance(loaded.upscaler, EDSR | ProgressiveUpscaler):
            raise ModelError(f"the upscaler in {folder} is not an RGB network")
        if isinstance(loaded.downscaler, BackProjection):
            raise ModelError(f"the downscaler in {folder} is for luma, its upscaler for RGB")
        dtype = dtype or (torch.bfloat16 if device == "cuda" else torch.float32)
        return cls(loaded.card, folder, loaded.downscaler, loaded.upscaler, device, dtype)

    def __post_init__(self) -> None:
        for network in (self.downscaler, self.upscaler):
            if isinstance(network, nn.Module):
                coarse = not isinstance(network, ErrorFedDownscaler)  # errors are small differences
                network.to(self.device, self.dtype if coarse else torch.float32).requires_grad_(False)

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
        return self.downscaler.downscale_backend if isinstance(self.downscaler, FixedPair) else self.upscale_backend

    @property
    def upscale_backend(self) -> Backend:
        return Backend(self.device, f"torch {str(self.dtype).removeprefix('torch.')}")

    @property
    def parallel_frames(self) -> int:
        return 1

    @property
    def parallel_downscales(self) -> int:
        return 1

    def downscale(self, image: YuvImage, strength: float | None = None, update: bytes = b"") -> list[Plane]:
        if isinstance(self.downscaler, FixedPair):
            return self.downscaler.downscale(image)
        rgb = yuv_to_rgb(image, matrix_height=image.height, device=self.device)
        return rgb_to_yuv(self.downscale_rgb(rgb), image.format, image.color, matrix_height=image.height)

    def upscale(self, image: YuvImage, geometry: Geometry, strength: float, update: bytes = b"") -> list[Plane]:
        rgb = yuv_to_rgb(image, matrix_height=geometry.height, device=self.device)
        restored = self.upscale_rgb(rgb)[:, :, : geometry.height, : geometry.width]
        return rgb_to_yuv(restored, image.format, image.color, matrix_height=geometry.height)

    def downscale_rgb(self, image: Tensor, *, out_dtype: torch.dtype | None = None, bit_depth: int = 8) -> Tensor:
        """Downscales with the network; see `ResamplerNet.downscale` and `ErrorFedDownscaler.downscale`.

        Args:
            image: [1, 3, H, W] float in [0, 1], on the pair's device.
            out_dtype: uint8 or uint16 for codes; None for floats.
            bit_depth: of the codes.

        Returns:
            [1, 3, ceil(H / scale), ceil(W / scale)].

        Raises:
            ValueError: the pair downscales with a filter.
        """
        if isinstance(self.downscaler, FixedPair):
            raise ValueError(f"{self.name} downscales with a filter")  # noqa: TRY004
        run = partial(self.downscaler.downscale, out_dtype=out_dtype, bit_depth=bit_depth)
        if isinstance(self.downscaler, ErrorFedDownscaler):
            run = partial(run, upscale=self._surrounded(self.upscaler))
        return Tiled(run, self.downscaler.tile_rule)(image)

    def upscale_rgb(self, image: Tensor) -> Tensor:
        """[1, 3, h, w] float in [0, 1], on the pair's device, to [1, 3, h * scale, w * scale]."""
        return self._tiled_upscaler(image)

    @cached_property
    def _tiled_upscaler(self) -> Tiled:
        return Tiled(self._surrounded(self.upscaler.upscale), self.upscaler.tile_rule)

    def _surrounded(self, run: Run) -> Run:
        """With replicated borders, except for CAR, which is as published, and for `ProgressiveUpscaler`."""
        if isinstance(self.downscaler, ResamplerNet) or not isinstance(self.upscaler, EDSR):
            return run
        return partial(run_surrounded, run, scale=self.upscaler.scale)

    def downscale_seconds(self, height: int, width: int) -> float:
        return self._trial_seconds[0] * height * width / _TRIAL_SIDE**2

    def upscale_seconds(self, height: int, width: int) -> float:
        return self._trial_seconds[1] * height * width / _TRIAL_SIDE**2

    @cached_property
    def _trial_seconds(self) -> tuple[float, float]:
        """Seconds to downscale and to upscale a trial picture."""
        gray = PixelFormat("gray", 8)
        small_side = ceil(_TRIAL_SIDE / self.scale)
        geometry = Geometry(_TRIAL_SIDE, _TRIAL_SIDE, self.scale, small_side, small_side)
        trial = YuvImage((np.full((_TRIAL_SIDE, _TRIAL_SIDE), 128, np.uint8),), gray)
        small = YuvImage(tuple(self.downscale(trial)), gray)  # warm-up of both
        self.upscale(small, geometry, 0)
        start = time.perf_counter()
        self.downscale(trial)
        between = time.perf_counter()
        self.upscale(small, geometry, 0)
        return between - start, time.perf_counter() - between

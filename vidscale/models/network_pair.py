"""A pair whose networks are defined in RGB, such as CAR, as the stages use it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from vidscale.errors import ModelError
from vidscale.media.frames import Color, PixelFormat, Plane
from vidscale.media.geometry import Geometry
from vidscale.models.cards import PairCard
from vidscale.models.filters import FilterDownscaler
from vidscale.models.networks.car import ResamplerNet
from vidscale.models.networks.edsr import EDSR
from vidscale.models.networks.progressive import ProgressiveUpscaler
from vidscale.models.networks.tiling import Tiled
from vidscale.models.pair_files import load_pair_dir
from vidscale.models.pairs import Place
from vidscale.models.rgb import planes_to_rgb, rgb_to_planes

_TRIAL_SIDE = 96  # HR pixels


@dataclass(frozen=True)
class NetworkPair:
    """A loaded pair on a device.

    For a network the picture is converted to RGB with the video's own matrix, and back; chroma of the small picture is
    subsampled as the source's is. Networks run in bfloat16 on a GPU, in float32 on the CPU. A filter that shrinks takes
    the planes as they are, on the CPU.

    Args:
        card: of the pair.
        folder: where its weights lie.
        downscaler: a network, moved to the device, or a filter.
        upscaler: a network, moved to the device.
        device: "cpu" or "cuda".
    """

    card: PairCard
    folder: Path
    downscaler: ResamplerNet | FilterDownscaler
    upscaler: EDSR | ProgressiveUpscaler
    device: str

    @classmethod
    def load(cls, folder: Path, device: str) -> Self:
        """The pair in a folder.

        Raises:
            ModelError: see `load_pair_dir`; or networks that do not belong together.
        """
        loaded = load_pair_dir(folder)
        if not isinstance(loaded.upscaler, EDSR | ProgressiveUpscaler):
            raise ModelError(f"{folder} holds no upscaler of RGB")
        return cls(loaded.card, folder, loaded.downscaler, loaded.upscaler, device)

    def __post_init__(self) -> None:
        for network in (self.downscaler, self.upscaler):
            if isinstance(network, nn.Module):
                network.to(self.device, torch.bfloat16 if self.device == "cuda" else torch.float32)

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
        return self.downscaler.pair.shrinks_on if isinstance(self.downscaler, FilterDownscaler) else self.enlarges_on

    @property
    def enlarges_on(self) -> Place:
        return Place(self.device, "torch bfloat16" if self.device == "cuda" else "torch float32")

    @property
    def at_once(self) -> int:
        return 1

    @cached_property
    def _shrink(self) -> Callable[[Sequence[Plane], PixelFormat, Color], list[Plane]]:
        if isinstance(self.downscaler, FilterDownscaler):
            return self.downscaler.pair.shrink
        run = Tiled(self.downscaler.downscale, self.downscaler.tile_rule)

        def shrink(planes: Sequence[Plane], pixel_format: PixelFormat, color: Color) -> list[Plane]:
            height = planes[0].shape[0]
            rgb = planes_to_rgb(planes, pixel_format, color, matrix_height=height, device=self.device)
            return rgb_to_planes(run(rgb), pixel_format, color, matrix_height=height)

        return shrink

    @cached_property
    def _upscale(self) -> Tiled:
        return Tiled(self.upscaler.upscale, self.upscaler.tile_rule)

    def shrink(self, planes: Sequence[Plane], pixel_format: PixelFormat, color: Color) -> list[Plane]:
        return self._shrink(planes, pixel_format, color)

    def enlarge(
        self, planes: Sequence[Plane], pixel_format: PixelFormat, color: Color, geometry: Geometry, strength: float
    ) -> list[Plane]:
        rgb = planes_to_rgb(planes, pixel_format, color, matrix_height=geometry.height, device=self.device)
        restored = self._upscale(rgb)[:, :, : geometry.height, : geometry.width]
        return rgb_to_planes(restored, pixel_format, color, matrix_height=geometry.height)

    def shrinking_time(self, height: int, width: int) -> float:
        return self._trial(height, width)[0]

    def enlarging_time(self, height: int, width: int) -> float:
        return self._trial(height, width)[1]

    def _trial(self, height: int, width: int) -> tuple[float, float]:
        """Seconds to shrink and to enlarge a frame, from a small one."""
        area = height * width / _TRIAL_SIDE**2
        shrinking, enlarging = self._trial_times
        return area * shrinking, area * enlarging

    @cached_property
    def _trial_times(self) -> tuple[float, float]:
        gray, color = PixelFormat("gray", 8), Color()
        small_side = ceil(_TRIAL_SIDE / self.scale)
        geometry = Geometry(_TRIAL_SIDE, _TRIAL_SIDE, self.scale, small_side, small_side)
        trial: list[Plane] = [np.full((_TRIAL_SIDE, _TRIAL_SIDE), 128, np.uint8)]
        small = self.shrink(trial, gray, color)  # also warms both up
        self.enlarge(small, gray, color, geometry, 0)
        start = time.perf_counter()
        self.shrink(trial, gray, color)
        between = time.perf_counter()
        self.enlarge(small, gray, color, geometry, 0)
        return between - start, time.perf_counter() - between

"""A pair of networks that are defined in RGB, such as CAR, as the stages use it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Self

import torch

from vidscale.errors import ModelError
from vidscale.frames import Color, PixelFormat, Plane
from vidscale.geometry import Geometry
from vidscale.models.car import ResamplerNet
from vidscale.models.cards import PairCard
from vidscale.models.edsr import EDSR
from vidscale.models.pair_files import load_pair_dir
from vidscale.models.pairs import Place
from vidscale.models.rgb import planes_to_rgb, rgb_to_planes
from vidscale.models.tiling import Tiled

_TRIAL_SIDE = 96  # HR pixels


@dataclass(frozen=True)
class NetworkPair:
    """A loaded pair on a device.

    The picture is converted to RGB with the video's own matrix, and back; chroma of the small picture is subsampled as
    the source's is. Networks run in bfloat16 on a GPU, in float32 on the CPU.

    Args:
        card: of the pair.
        downscaler, upscaler: its networks; moved to the device.
        device: "cpu" or "cuda".
    """

    card: PairCard
    downscaler: ResamplerNet
    upscaler: EDSR
    device: str

    @classmethod
    def load(cls, folder: Path, device: str) -> Self:
        """The pair in a folder.

        Raises:
            ModelError: see `load_pair_dir`; or networks that do not belong together.
        """
        loaded = load_pair_dir(folder)
        if not isinstance(loaded.downscaler, ResamplerNet) or not isinstance(loaded.upscaler, EDSR):
            raise ModelError(f"{folder} holds networks that are no pair")
        return cls(loaded.card, loaded.downscaler, loaded.upscaler, device)

    def __post_init__(self) -> None:
        for network in (self.downscaler, self.upscaler):
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
        return Place(self.device, "torch bfloat16" if self.device == "cuda" else "torch float32")

    @property
    def enlarges_on(self) -> Place:
        return self.shrinks_on

    @cached_property
    def _downscale(self) -> Tiled:
        return Tiled(self.downscaler.downscale, self.downscaler.tile_rule)

    @cached_property
    def _upscale(self) -> Tiled:
        return Tiled(self.upscaler.upscale, self.upscaler.tile_rule)

    def shrink(self, planes: Sequence[Plane], pixel_format: PixelFormat, color: Color) -> list[Plane]:
        height = planes[0].shape[0]
        rgb = planes_to_rgb(planes, pixel_format, color, matrix_height=height, device=self.device)
        return rgb_to_planes(self._downscale(rgb), pixel_format, color, matrix_height=height)

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
        trial = torch.full((1, 3, _TRIAL_SIDE, _TRIAL_SIDE), 0.5, device=self.device)
        small = self._downscale(trial)  # also warms both up
        self._upscale(small)
        start = time.perf_counter()
        self._downscale(trial)
        self._wait()
        between = time.perf_counter()
        self._upscale(small)
        self._wait()
        return between - start, time.perf_counter() - between

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

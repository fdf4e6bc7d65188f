"""The scalers of a pair, for the planes of pictures: plane by plane, or networks on RGB."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vidscale.errors import UsageError
from vidscale.images.picture import Picture
from vidscale.media.frames import Color, PixelFormat, Plane
from vidscale.media.geometry import Geometry, scale_text
from vidscale.models.cards import CARD, installed
from vidscale.models.pairs import Pair, find_pair
from vidscale.system.devices import Device, resolve

if TYPE_CHECKING:
    from torch import Tensor

    from vidscale.models.network_pair import NetworkPair

_ALPHA = "lanczos"
_DEFAULT_SCALE = Fraction(2)


class Scaler(Protocol):
    """What makes pictures small and large again.

    Attributes:
        name: of the pair, family and scale.
        sha256: content hash of its weights, "" for a pair without weights.
        scale: source sample spacing per small sample.
    """

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def scale(self) -> Fraction: ...

    def shrink(self, planes: Sequence[Plane]) -> list[Plane]:
        """Planes [ceil(H / scale), ceil(W / scale)] of the same type, from one (gray) or three (RGB) [H, W]."""

    def enlarge(self, planes: Sequence[Plane], height: int, width: int) -> list[Plane]:
        """Planes [height, width] of the same type; from small ones, of which they are to be the source."""


@dataclass(frozen=True, slots=True)
class PlaneScaler:
    """A pair that takes each plane by itself: fixed filters, or a network for luma."""

    pair: Pair

    @property
    def name(self) -> str:
        return self.pair.name

    @property
    def sha256(self) -> str:
        return self.pair.sha256

    @property
    def scale(self) -> Fraction:
        return self.pair.scale

    def shrink(self, planes: Sequence[Plane]) -> list[Plane]:
        return [self.pair.shrink([plane], _gray(plane), Color())[0] for plane in planes]

    def enlarge(self, planes: Sequence[Plane], height: int, width: int) -> list[Plane]:
        coded_height, coded_width = planes[0].shape
        geometry = Geometry(width, height, self.scale, coded_width, coded_height)
        return [self.pair.enlarge([plane], _gray(plane), Color(), geometry, 0)[0] for plane in planes]


class NetworkScaler:
    """A pair with networks that are defined in RGB, in tiles that fit into memory. Gray pictures go through as RGB with
    three equal channels.

    Args:
        pair: on any device.
        device: where it runs.
    """

    def __init__(self, pair: "NetworkPair", device: str) -> None:
        from torch import nn

        from vidscale.models.networks.tiling import Tiled

        self.name, self.sha256, self.scale = pair.name, pair.sha256, pair.scale
        self._device = device
        self._downscaler = pair.downscaler
        if isinstance(self._downscaler, nn.Module):
            self._downscaler.to(device)
        upscaler = pair.upscaler.to(device)
        self._enlarge = Tiled(upscaler.upscale, upscaler.tile_rule)

    def shrink(self, planes: Sequence[Plane]) -> list[Plane]:
        import torch

        from vidscale.models.filters import FilterDownscaler
        from vidscale.models.networks.tiling import Tiled

        if isinstance(self._downscaler, FilterDownscaler):
            return PlaneScaler(self._downscaler.pair).shrink(planes)
        depth = 8 * planes[0].itemsize
        dtype = torch.uint8 if depth == 8 else torch.uint16
        run = partial(self._downscaler.downscale, out_dtype=dtype, bit_depth=depth)
        codes = Tiled(run, self._downscaler.tile_rule)(self._image(planes))[0].cpu().numpy()
        return [np.ascontiguousarray(channel) for channel in codes[: len(planes)]]

    def enlarge(self, planes: Sequence[Plane], height: int, width: int) -> list[Plane]:
        values = self._enlarge(self._image(planes))[0, :, :height, :width]
        if len(planes) == 1:
            values = values.mean(0, keepdim=True)
        codes = np.rint(values.cpu().numpy() * _gray(planes[0]).peak)
        return [channel.astype(planes[0].dtype) for channel in codes]

    def _image(self, planes: Sequence[Plane]) -> "Tensor":
        """[1, 3, H, W] float32 in [0, 1]."""
        import torch

        return torch.from_numpy(Picture(tuple(planes)).rgb())[None].to(self._device)


def _gray(plane: Plane) -> PixelFormat:
    return PixelFormat("gray", 8 * plane.itemsize)


def find_scaler(name: str, scale: Fraction | None, device: Device = "auto", sha256: str | None = None) -> Scaler:
    """The scalers of a pair: of a fixed one, an installed one, or one in a folder.

    Args:
        name: family ("lanczos", "car"), family with scale ("car-x2"), or a pair's folder.
        scale: the scale asked for; None takes that of the pair, or 2 where the name says none.
        device: where it shall run; "auto" is the CPU for fixed filters, a GPU that is there for networks.
        sha256: of the weights that it must have; None takes what is there.

    Raises:
        UsageError: the pair is made for another scale.
        ConfigError: the device is not there.
        ModelError: no such pair, a damaged one, or one with other weights.
    """
    if scale is None and "-x" not in name and name not in installed() and not (Path(name) / CARD).is_file():
        scale = _DEFAULT_SCALE
    # Networks come from the CPU, in float32: that of the video pipeline on a GPU, bfloat16, is too coarse for 16 bits.
    pair = find_pair(name, scale, "cpu", sha256)
    if not pair.sha256:
        return PlaneScaler(find_pair(name, scale, device, sha256))
    from vidscale.models.network_pair import NetworkPair

    if isinstance(pair, NetworkPair):
        return NetworkScaler(pair, resolve(device, auto="cuda"))
    return PlaneScaler(pair)  # works plane by plane, too


def shrink_picture(picture: Picture, scaler: Scaler) -> Picture:
    """The small picture, ceil(side / scale) samples a side, with what the source holds beside its samples.

    Transparency is scaled by Lanczos whatever the pair, which knows colours only.
    """
    alpha = None if picture.alpha is None else _alpha_scaler(scaler).shrink([picture.alpha])[0]
    return replace(picture, planes=tuple(scaler.shrink(picture.planes)), alpha=alpha, notes=())


def enlarge_picture(small: Picture, scaler: Scaler, height: int, width: int) -> Picture:
    """The picture at its source's size, with what the small one holds beside its samples.

    Raises:
        UsageError: a small picture of a source of that size would have another size.
    """
    if (ceil(height / scaler.scale), ceil(width / scaler.scale)) != (small.height, small.width):
        raise UsageError(
            f"{width}x{height} is no size to restore from {small.width}x{small.height} "
            f"at scale {scale_text(scaler.scale)}"
        )
    alpha = None if small.alpha is None else _alpha_scaler(scaler).enlarge([small.alpha], height, width)[0]
    return replace(small, planes=tuple(scaler.enlarge(small.planes, height, width)), alpha=alpha, notes=())


def _alpha_scaler(scaler: Scaler) -> PlaneScaler:
    return PlaneScaler(find_pair(_ALPHA, scaler.scale))

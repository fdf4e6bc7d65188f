"""Applies pairs to pictures: plane by plane, or networks on RGB."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vidscale.errors import UsageError
from vidscale.images.picture import Picture
from vidscale.media.frames import PixelFormat, Plane, YuvImage
from vidscale.media.geometry import Geometry, scale_text
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.pair import Pair
from vidscale.models.pair_name import PairName
from vidscale.models.pairs import find_pair, scale_named
from vidscale.system.devices import Device

if TYPE_CHECKING:
    from torch import Tensor

    from vidscale.models.network_pair import NetworkPair

_ALPHA = "lanczos"
_DEFAULT_SCALE = Fraction(2)


class Scaler(Protocol):
    """Downscales pictures and restores them.

    Attributes:
        name: of the pair: family and scale.
        sha256: content hash of its weights, "" for a pair without weights.
        scale: source samples per small sample.
    """

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def scale(self) -> Fraction: ...

    def downscale(self, planes: Sequence[Plane]) -> list[Plane]:
        """One (gray) or three (RGB) planes [H, W] to [ceil(H / scale), ceil(W / scale)] of the same type."""

    def upscale(self, planes: Sequence[Plane], height: int, width: int) -> list[Plane]:
        """Small planes to [height, width], the source's size, of the same type."""


@dataclass(frozen=True, slots=True)
class PlaneScaler:
    """A pair that scales each plane by itself: fixed filters, or a luma network."""

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

    def downscale(self, planes: Sequence[Plane]) -> list[Plane]:
        return [self.pair.downscale(_gray(plane))[0] for plane in planes]

    def upscale(self, planes: Sequence[Plane], height: int, width: int) -> list[Plane]:
        coded_height, coded_width = planes[0].shape
        geometry = Geometry(width, height, self.scale, coded_width, coded_height)
        return [self.pair.upscale(_gray(plane), geometry, 0)[0] for plane in planes]


@dataclass(frozen=True, slots=True)
class RgbScaler:
    """A pair of RGB networks. Gray pictures are passed as RGB with three equal channels."""

    pair: "NetworkPair"

    @property
    def name(self) -> str:
        return self.pair.name

    @property
    def sha256(self) -> str:
        return self.pair.sha256

    @property
    def scale(self) -> Fraction:
        return self.pair.scale

    def downscale(self, planes: Sequence[Plane]) -> list[Plane]:
        import torch

        if isinstance(self.pair.downscaler, FixedPair):
            return PlaneScaler(self.pair.downscaler).downscale(planes)
        depth = 8 * planes[0].itemsize
        dtype = torch.uint8 if depth == 8 else torch.uint16
        codes = self.pair.downscale_rgb(self._image(planes), out_dtype=dtype, bit_depth=depth)[0].cpu().numpy()
        return [np.ascontiguousarray(channel) for channel in codes[: len(planes)]]

    def upscale(self, planes: Sequence[Plane], height: int, width: int) -> list[Plane]:
        values = self.pair.upscale_rgb(self._image(planes))[0, :, :height, :width]
        if len(planes) == 1:
            values = values.mean(0, keepdim=True)
        peak = _gray(planes[0]).format.peak  # a channel at a time: floats of large pictures are large
        return [np.rint(channel * peak).astype(planes[0].dtype) for channel in values.cpu().numpy()]

    def _image(self, planes: Sequence[Plane]) -> "Tensor":
        """[1, 3, H, W] float32 in [0, 1]."""
        import torch

        return torch.from_numpy(Picture(tuple(planes)).rgb())[None].to(self.pair.device)


def _gray(plane: Plane) -> YuvImage:
    return YuvImage((plane,), PixelFormat("gray", 8 * plane.itemsize))


def find_scaler(name: str, scale: Fraction | None, device: Device = "auto", sha256: str | None = None) -> Scaler:
    """The scaler of a fixed pair, an installed one, or one in a folder.

    Args:
        name: family ("lanczos", "car"), family with scale ("car-x2"), or a pair's folder.
        scale: requested scale; None takes the pair's, or 2 if the name has none.
        device: "auto" is the CPU for fixed filters, and a GPU if available for networks.
        sha256: required content hash of the weights; None accepts any.

    Raises:
        UsageError: the pair is made for another scale.
        ConfigError: the device is not available.
        ModelError: unknown pair, damaged pair, or other weights.
    """
    wanted = PairName.of(name)
    scale = scale or scale_named(wanted) or _DEFAULT_SCALE
    pair = find_pair(wanted, scale, device, sha256)
    if isinstance(pair, FixedPair):
        return PlaneScaler(pair)
    from vidscale.models.network_pair import NetworkPair

    if not isinstance(pair, NetworkPair):
        return PlaneScaler(find_pair(wanted, scale, "cpu", sha256))
    import torch

    return RgbScaler(pair if pair.dtype == torch.float32 else NetworkPair.load(pair.folder, pair.device, torch.float32))


def downscale_picture(picture: Picture, scaler: Scaler) -> Picture:
    """The small picture, ceil(side / scale) samples a side, with the source's metadata.

    Alpha is always scaled with Lanczos, because pairs only handle colour.
    """
    alpha = None if picture.alpha is None else _alpha_scaler(scaler).downscale([picture.alpha])[0]
    return replace(picture, planes=tuple(scaler.downscale(picture.planes)), alpha=alpha, notes=())


def upscale_picture(small: Picture, scaler: Scaler, height: int, width: int) -> Picture:
    """The picture restored to its source size, with the small one's metadata.

    Raises:
        UsageError: a source of that size does not have a small picture of this size.
    """
    if (ceil(height / scaler.scale), ceil(width / scaler.scale)) != (small.height, small.width):
        raise UsageError(
            f"cannot restore {small.width}x{small.height} to {width}x{height} at scale {scale_text(scaler.scale)}"
        )
    alpha = None if small.alpha is None else _alpha_scaler(scaler).upscale([small.alpha], height, width)[0]
    return replace(small, planes=tuple(scaler.upscale(small.planes, height, width)), alpha=alpha, notes=())


def _alpha_scaler(scaler: Scaler) -> PlaneScaler:
    return PlaneScaler(find_pair(_ALPHA, scaler.scale))

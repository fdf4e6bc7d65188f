"""Interface of a pair: a downscaler and its upscaler."""

from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from vidscale.media.frames import Plane, YuvImage
from vidscale.media.geometry import Geometry

Tune = Literal["psnr", "vmaf"]
"""Metric that a learned pair is tuned for."""


IN_FLIGHT = 2
"""Frames at a time on a GPU: one is computed while the other is copied. With more, threads wait for the GIL."""


class Backend(NamedTuple):
    """Device and implementation of a scaler.

    Attributes:
        device: "cpu" or "cuda".
        implementation: such as "numba" or "torch float32".
    """

    device: str
    implementation: str


class Pair(Protocol):
    """A downscaler and its upscaler.

    Attributes:
        name: family and scale, such as "lanczos-x2".
        sha256: content hash of the weights, "" for a pair without weights.
        scale: source samples per small sample.
        folder: folder of its weights, None for a pair without weights.
        downscale_backend, upscale_backend: backends of its two halves.
        parallel_frames: frames to upscale in parallel: one per core, or `IN_FLIGHT`; 1 if one fills the device.
        parallel_downscales: the same for downscaling.
    """

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def scale(self) -> Fraction: ...
    @property
    def folder(self) -> Path | None: ...
    @property
    def downscale_backend(self) -> Backend: ...
    @property
    def upscale_backend(self) -> Backend: ...
    @property
    def parallel_frames(self) -> int: ...

    @property
    def parallel_downscales(self) -> int: ...

    def downscale(self, image: YuvImage, strength: float | None = None, update: bytes = b"") -> list[Plane]:
        """Planes of the small picture, without padding.

        Args:
            image: source picture.
            strength: coding strength (crf) at which the small picture will be encoded; None if no video codec follows.
            update: of the upscaler that will restore it, see `vidscale.models.updates`; b"" for the pair's own.
        """

    def upscale(self, image: YuvImage, geometry: Geometry, strength: float, update: bytes = b"") -> list[Plane]:
        """Planes at the source's size.

        Args:
            image: decoded small picture, without padding.
            geometry: size of the source.
            strength: coding strength (crf) of the small picture.
            update: of the network, see `vidscale.models.updates`; b"" for none, and for pairs that take none.
        """

    def downscale_seconds(self, height: int, width: int) -> float | None:
        """Estimated time to downscale a frame [height, width], seconds; None when negligible."""

    def upscale_seconds(self, height: int, width: int) -> float | None:
        """Estimated time to upscale to a frame [height, width], seconds; None when negligible."""

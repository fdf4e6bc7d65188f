"""What the stages ask of a pair: the downscaler and the upscaler that belong together."""

from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from vidscale.media.frames import Plane, YuvImage
from vidscale.media.geometry import Geometry

Tune = Literal["psnr", "vmaf"]
"""The metric that a learned pair is tuned for."""


class Backend(NamedTuple):
    """What runs a scaler.

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
        scale: source sample spacing per small sample.
        folder: the folder of its weights, None for a pair without weights.
        downscale_backend, upscale_backend: what runs its two halves.
        parallel_frames: frames to upscale at a time, one per core; 1 where a frame uses all that there is.
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

    def downscale(self, image: YuvImage) -> list[Plane]:
        """Planes of the small picture at its true size."""

    def upscale(self, image: YuvImage, geometry: Geometry, strength: float) -> list[Plane]:
        """Planes at the source's size.

        Args:
            image: the decoded small picture at its true size.
            geometry: the source's size.
            strength: coding strength (crf) of the small picture.
        """

    def downscale_seconds(self, height: int, width: int) -> float | None:
        """Estimated time to downscale a frame of the source's size, seconds; None when negligible."""

    def upscale_seconds(self, height: int, width: int) -> float | None:
        """Estimated time to upscale to a frame of the source's size, seconds; None when negligible."""

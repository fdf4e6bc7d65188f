"""Methods of the benchmark: interpolation, fixed filters and every installed pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from vidscale.config import BenchSettings
from vidscale.errors import ModelError
from vidscale.images.scaling import Scaler, find_scaler
from vidscale.media.frames import Plane
from vidscale.models.cards import installed, read_card
from vidscale.system.progress import Progress

_FIXED = {"Bicubic": "bicubic", "Lanczos": "lanczos", "Area down, Lanczos up": "area"}


@dataclass(frozen=True, slots=True)
class Method:
    """A way to downscale and restore pictures, and its name in tables."""

    name: str
    scaler: Scaler


@dataclass(frozen=True, slots=True)
class InterpolationScaler:
    """Torch's interpolation by a rational scale, with mirrored edges as in MATLAB's ``imresize``.

    Attributes:
        mode: "nearest-exact", which takes the sample at or after the centre, as Pillow and scikit-image do; or
            "bilinear", antialiased.
        scale: source samples per small sample; sizes must be multiples of its numerator.
    """

    mode: Literal["nearest-exact", "bilinear"]
    scale: Fraction
    sha256: str = ""

    @property
    def name(self) -> str:
        return self.mode

    def downscale(self, planes: Sequence[Plane]) -> list[Plane]:
        return [self._resized(plane, 1 / self.scale) for plane in planes]

    def upscale(self, planes: Sequence[Plane], height: int, width: int) -> list[Plane]:
        return [self._resized(plane, self.scale)[:height, :width] for plane in planes]

    def _resized(self, plane: Plane, factor: Fraction) -> Plane:
        import torch
        from torch.nn import functional as F

        margin = 4 * factor.denominator
        mirrored = torch.from_numpy(np.pad(plane, margin, mode="symmetric").astype(np.float64))
        size = [int(side * factor) for side in mirrored.shape]
        antialias = self.mode == "bilinear"
        values = F.interpolate(mirrored[None, None], size, mode=self.mode, antialias=antialias)[0, 0].numpy()
        inside = slice(int(margin * factor), -int(margin * factor))
        resized: Plane = np.rint(values[inside, inside]).astype(plane.dtype)
        return resized


def find_methods(settings: BenchSettings, progress: Progress | None = None) -> list[Method]:
    """The methods to compare: interpolation, the fixed pairs, and the given pairs or all installed ones.

    Args:
        settings: scale, pairs, device.
        progress: receives a note for each damaged pair that is skipped; None skips them silently.

    Raises:
        VidscaleError: a given pair is unknown or made for another scale.
    """
    scale = settings.scale
    methods = [
        Method("Nearest", InterpolationScaler("nearest-exact", scale)),
        Method("Bilinear", InterpolationScaler("bilinear", scale)),
    ]
    methods += [Method(name, find_scaler(family, scale, settings.device)) for name, family in _FIXED.items()]
    if settings.pairs is not None:
        named = [find_scaler(name, scale, settings.device) for name in settings.pairs]
        return methods + [Method(scaler.name, scaler) for scaler in named]
    for name, folder in installed().items():
        try:
            if read_card(folder).scale == scale:
                methods.append(Method(name, find_scaler(name, scale, settings.device)))
        except ModelError as error:
            if progress is not None:
                progress.note(f"skipped: {error}")
    return methods

"""Fixed filters for the planes of a picture."""

from dataclasses import dataclass
from fractions import Fraction

from vidscale.media.frames import Plane, YuvImage
from vidscale.triton_kernels.polyphase import polyphase_resample
from vidscale.triton_kernels.polyphase_filters import Kind


@dataclass(frozen=True, slots=True)
class Resampling:
    """How the planes of a picture are scaled by fixed filters.

    Attributes:
        step: source samples per output sample.
        sizes: (h, w) of each plane of the result.
        sitings: (y, x) of each plane, see `polyphase_resample`.
        kinds: filter of each plane; None for one that is left out, or copied if `copies`.
        copies: planes that stay as they are, because the size does.
    """

    step: Fraction
    sizes: tuple[tuple[int, int], ...]
    sitings: tuple[tuple[Fraction, Fraction], ...]
    kinds: tuple[Kind | None, ...]
    copies: tuple[int, ...] = ()


def resampled(image: YuvImage, resampling: Resampling) -> list[Plane]:
    """The planes of a picture, scaled on the CPU; those without a filter are left out."""
    planes = []
    for index, (plane, kind) in enumerate(zip(image.planes, resampling.kinds, strict=True)):
        if index in resampling.copies:
            planes.append(plane)
        elif kind is not None:
            siting, size = resampling.sitings[index], resampling.sizes[index]
            scaled = polyphase_resample(
                plane, step=resampling.step, siting=siting, size=size, kind=kind, bit_depth=image.format.bit_depth
            )
            planes.append(scaled)
    return planes

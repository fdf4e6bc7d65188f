"""Fixed filters, as pairs and as the downscalers of learned pairs."""

from dataclasses import KW_ONLY, dataclass
from fractions import Fraction
from math import nan

from vidscale.errors import ModelError
from vidscale.media.frames import Plane, YuvImage
from vidscale.media.geometry import Geometry, scale_text
from vidscale.models.cards import PairCard, Sizes
from vidscale.models.pair import IN_FLIGHT, Backend
from vidscale.models.resampling import Resampling, resampled
from vidscale.system.threads import core_count
from vidscale.triton_kernels.polyphase import implementation
from vidscale.triton_kernels.polyphase_filters import SHARPNESS, Kind, Name, Sharpened

# (down, up) of each family. Box and Gaussian filters do not interpolate; Lanczos is the fixed filter that restores
# their pictures best. "sharp" is for players that upscale by bicubic interpolation.
_FILTERS: dict[str, tuple[Kind, Name]] = {
    "lanczos": ("lanczos", "lanczos"),
    "bicubic": ("bicubic", "bicubic"),
    "area": ("area", "lanczos"),
    "gaussian": ("gaussian", "lanczos"),
    "sharp": (Sharpened("lanczos", 0.1), "bicubic"),
}


@dataclass(frozen=True, slots=True)
class FixedPair:
    """A pair of fixed filters; each plane is scaled on its own grid, respecting chroma siting.

    Attributes:
        family: "lanczos", "bicubic", "area", "gaussian" or "sharp".
        scale: source samples per small sample.
        device: "cpu" or "cuda".
        sharpness: sharpness of the small luma, see `Sharpened`; 0 for the family's.
        sha256, folder: "" and None, because there are no weights.

    Raises:
        ModelError: unknown filter, or sharpness out of range.
    """

    family: str
    scale: Fraction
    _: KW_ONLY
    device: str = "cpu"
    sharpness: float = 0.0
    sha256: str = ""
    folder: None = None

    def __post_init__(self) -> None:
        least, most = SHARPNESS
        if self.family not in _FILTERS:
            raise ModelError(f"unknown filter {self.family!r}; choose from {', '.join(_FILTERS)}")
        if not least <= self.sharpness <= most:
            raise ModelError(f"sharpness {self.sharpness} is outside {least} to {most}")

    @property
    def name(self) -> str:
        return f"{self.family}-x{scale_text(self.scale)}"

    @property
    def sizes(self) -> Sizes:
        """Description for the card of a learned pair that downscales with it."""
        return {"network": "filter", "family": self.family, "sharpness": self.sharpness}

    @property
    def downscale_backend(self) -> Backend:
        return Backend(self.device, implementation(self.device))

    @property
    def upscale_backend(self) -> Backend:
        return self.downscale_backend

    @property
    def parallel_frames(self) -> int:
        return core_count() if self.device == "cpu" else IN_FLIGHT

    @property
    def parallel_downscales(self) -> int:
        return 1 if self.device == "cpu" else IN_FLIGHT  # faster than any decoder

    def downscale(self, image: YuvImage, strength: float | None = None, update: bytes = b"") -> list[Plane]:
        return self._scaled(image, self.downscaling(image))

    def upscale(self, image: YuvImage, geometry: Geometry, strength: float, update: bytes = b"") -> list[Plane]:
        return self._scaled(image, self.upscaling(image, geometry))

    def upscale_chroma(self, image: YuvImage, geometry: Geometry) -> list[Plane]:
        """`upscale` for chroma only."""
        return resampled(image, self.upscaling(image, geometry, luma=False))

    def downscaling(self, image: YuvImage) -> Resampling:
        """What `downscale` does to the planes of a picture."""
        luma, _ = _FILTERS[self.family]
        kind = luma.name if isinstance(luma, Sharpened) else luma
        if self.sharpness:
            luma = Sharpened(kind, self.sharpness)
        elif self.scale == 1:  # players do not upscale it
            luma = kind
        height, width = (-(-side // self.scale) for side in (image.height, image.width))
        return self._resampling(image, (int(height), int(width)), self.scale, [luma, kind, kind])

    def upscaling(self, image: YuvImage, geometry: Geometry, *, luma: bool = True) -> Resampling:
        """What `upscale` does to the planes of a picture, to all of them or to chroma only."""
        _, kind = _FILTERS[self.family]
        size = geometry.height, geometry.width
        return self._resampling(image, size, 1 / self.scale, [kind if luma else None, kind, kind])

    def downscale_seconds(self, height: int, width: int) -> None:
        return None

    def upscale_seconds(self, height: int, width: int) -> None:
        return None

    def _resampling(
        self, image: YuvImage, size: tuple[int, int], step: Fraction, kinds: list[Kind | None]
    ) -> Resampling:
        shown = kinds[: len(image.planes)]  # gray has one plane only
        same = [step == 1 and kind is not None and not isinstance(kind, Sharpened) for kind in shown]  # the identity
        return Resampling(
            step=step,
            sizes=image.format.plane_shapes(*size),
            sitings=image.format.siting(image.color.siting),
            kinds=tuple(None if is_same else kind for kind, is_same in zip(shown, same, strict=True)),
            copies=tuple(index for index, is_same in enumerate(same) if is_same),
        )

    def _scaled(self, image: YuvImage, resampling: Resampling) -> list[Plane]:
        if self.device != "cpu":
            from vidscale.models.gpu.scaling import scaled_on_gpu

            if (planes := scaled_on_gpu(image, resampling)) is not None:
                return planes
        return resampled(image, resampling)


def families() -> list[str]:
    """Names of the fixed filters."""
    return list(_FILTERS)


def filter_of(card: PairCard) -> FixedPair:
    """The fixed filter that a learned pair downscales with.

    Raises:
        ModelError: the card has an unknown filter or a sharpness out of range.
    """
    written = card.downscaler.get("sharpness", 0)
    sharpness = nan if isinstance(written, str) else float(written)
    try:
        return FixedPair(str(card.downscaler.get("family")), card.scale, sharpness=sharpness)
    except ModelError as error:
        raise ModelError(f"pair {card.name!r}: {error}") from error

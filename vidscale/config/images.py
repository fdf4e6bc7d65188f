"""Settings of `images`."""

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from vidscale.config.base import OptionalScale, Scale, Settings, Size
from vidscale.system.devices import Device


class ImageSettings(Settings):
    """Settings for scaling and writing pictures."""

    pair: str | None = Field(
        default=None,
        description="pair of scalers, a family or a full name; None is lanczos, or the one in the picture",
    )
    scale: OptionalScale = Field(
        default=None, description="scale; None is that of the pair's name or the picture, else 2"
    )
    format: Literal["png", "jpeg", "webp", "tiff"] = Field(default="png", description="format to write")
    quality: int | None = Field(
        default=None, ge=1, le=100, description="of JPEG (None is 95) and lossy WebP (None is lossless)"
    )
    size: Size = Field(
        default=None,
        description="(height, width) to restore; None is the size recorded in the picture, or its size times the scale",
    )
    device: Device = Field(default="auto", description="where the scalers run")
    overwrite: bool = Field(default=False, description="replace existing outputs")

    @model_validator(mode="after")
    def _quality_has_meaning(self) -> "ImageSettings":
        if self.quality is not None and self.format in ("png", "tiff"):
            raise ValueError(f"--quality is for JPEG and WebP; {self.format.upper()} is lossless")
        return self


def _as_names(value: object) -> object:
    """Names from ``NAME,NAME``; none from ``none``."""
    if not isinstance(value, str):
        return value
    return () if value == "none" else tuple(filter(None, value.split(",")))


class BenchSettings(Settings):
    """Settings of the comparison of methods on pictures."""

    scale: Scale = Field(default=Fraction(2), description="source size over small size, a rational from 1 to 8")
    pairs: Annotated[tuple[str, ...] | None, BeforeValidator(_as_names)] = Field(
        default=None, description="pairs to compare with the fixed filters; None for all installed ones of the scale"
    )
    device: Device = Field(default="auto", description="where networks run")
    overwrite: bool = Field(default=False, description="replace existing outputs")

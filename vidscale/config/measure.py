"""Settings of `measure`."""

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from vidscale.config.base import MeasureSettings


class Crop(BaseModel):
    """A part of a picture, in luma samples, before rotation."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    width: int = Field(ge=1, description="luma samples")
    height: int = Field(ge=1, description="luma samples")
    x: int | None = Field(default=None, ge=0, description="first column; None centres it")
    y: int | None = Field(default=None, ge=0, description="first row; None centres it")

    @classmethod
    def parse(cls, text: str) -> "Crop":
        """From ``W:H:X:Y`` or ``W:H``, as in ffmpeg's crop filter."""
        numbers = text.strip().split(":")
        if len(numbers) not in (2, 4) or not all(number.isascii() and number.isdigit() for number in numbers):
            raise ValueError(f"crop {text!r} is not W:H:X:Y or W:H")
        return cls(**dict(zip(("width", "height", "x", "y"), map(int, numbers), strict=False)))


def _as_crop(value: object) -> object:
    return Crop.parse(value) if isinstance(value, str) else value


class FilesSettings(MeasureSettings):
    """How two files are compared."""

    align: bool = Field(default=False, description="find a constant time offset by the pictures")
    align_window: Annotated[Fraction, PlainSerializer(float)] = Field(
        default=Fraction(10), ge=0, le=600, description="largest offset to try in either direction, seconds"
    )
    every: int = Field(default=1, ge=1, description="measure every Nth pair of frames")
    max_unpaired: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="percentage of the frames of either video that may be unpaired; None allows 10 % of both, and "
        "any number in one",
    )
    crop: Annotated[Crop | None, BeforeValidator(_as_crop)] = Field(
        default=None, description="part of the source to compare"
    )
    scale_dist: Literal["bilinear", "bicubic", "lanczos"] | None = Field(
        default=None, description="ffmpeg's filter that scales the second video to the size of the source"
    )

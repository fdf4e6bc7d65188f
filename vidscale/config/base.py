"""What the settings of all commands have in common: layers, the encoder, scales, metrics."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from vidscale.errors import UsageError, plain_reason
from vidscale.media.encoders import ENCODERS, CodecName, codec_name
from vidscale.media.geometry import parse_scale
from vidscale.quality import Target, parse_target

AUTO = "auto"
SsimKind = Literal["gaussian", "ffmpeg"]
Interlaced = Literal["refuse", "ignore", "bwdif"]
AS_TEXT = PlainSerializer(lambda value: value if value is None else str(value))
Scale = Annotated[Fraction, BeforeValidator(parse_scale), PlainSerializer(str)]
OptionalScale = Annotated[
    Fraction | None, BeforeValidator(lambda value: value if value is None else parse_scale(value))
]
OptionalTarget = Annotated[
    Target | None, BeforeValidator(lambda value: parse_target(value) if isinstance(value, str) else value), AS_TEXT
]


def _as_size(value: object) -> object:
    """(height, width) from ``WIDTHxHEIGHT``."""
    if not isinstance(value, str):
        return value
    width, x, height = value.lower().partition("x")
    if not (x and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ValueError(f"size {value!r} is not WIDTHxHEIGHT")
    return int(height), int(width)


Size = Annotated[tuple[int, int] | None, BeforeValidator(_as_size)]
"""(height, width), None for a default."""


class Settings(BaseModel):
    """Base of the settings of every command."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def resolve(cls, *layers: Mapping[str, Any]) -> Self:
        """Settings from layers, later ones overriding earlier ones; None means unset.

        Raises:
            UsageError: naming the setting and its value.
        """
        merged = {key: value for layer in layers for key, value in layer.items() if value is not None}
        try:
            return cls(**merged)
        except ValidationError as error:
            raise UsageError(_first_error(error)) from None


def _first_error(error: ValidationError) -> str:
    detail = error.errors()[0]
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"unknown setting {name!r}"
    if len(detail["loc"]) == 2 and isinstance(detail["loc"][1], int):  # of several values: the value says which
        return plain_reason({**detail, "loc": detail["loc"][:1]})
    return plain_reason(detail)


Codec = Annotated[CodecName, BeforeValidator(codec_name)]


class CodecSettings(Settings):
    """How ffmpeg encodes."""

    codec: Codec = Field(
        default="x264", description="encoder; also by the name of its library (libx265) or its format (hevc)"
    )
    crf: float = Field(default=23.0, description="constant rate factor, 0 to 51 (svtav1: 63); lower is better")
    preset: str | None = Field(default=None, description="encoder preset; None is medium (svtav1: 8)")
    encoder_params: str = Field(default="", description="the encoder's own settings, key=value:key=value")

    @model_validator(mode="after")
    def _in_range(self) -> "CodecSettings":
        encoder = ENCODERS[self.codec]
        if not 0 <= self.crf <= encoder.crf_max:
            raise ValueError(f"crf {self.crf:g} is outside 0 to {encoder.crf_max} of {self.codec}")
        if self.preset is not None and self.preset not in encoder.presets:
            raise ValueError(f"preset {self.preset!r} is not one of {self.codec}: {', '.join(encoder.presets)}")
        for item in filter(None, self.encoder_params.split(":")):
            if item.startswith("="):
                raise ValueError(f"encoder parameter {item!r} is not key=value")
        return self

    @property
    def coded_crf(self) -> float | None:
        """The crf that the encoder works with; None where ``encoder_params`` make it code by something else."""
        rate = ENCODERS[self.codec].rate_params(self.encoder_params)
        if not rate:
            return self.crf
        try:
            crf = float(rate["crf"]) if set(rate) == {"crf"} else -1.0
        except ValueError:
            return None
        return crf if 0 <= crf <= ENCODERS[self.codec].crf_max else None

    @property
    def resolved_preset(self) -> str:
        return self.preset or ENCODERS[self.codec].default_preset


class MeasureSettings(Settings):
    """Metrics to measure."""

    ssim: SsimKind = Field(default="gaussian", description="window: Gaussian 11x11 sigma 1.5, or ffmpeg's 8x8 blocks")
    vmaf: bool = Field(default=False, description="VMAF and VMAF NEG by ffmpeg's libvmaf")
    xpsnr: bool = Field(default=False, description="XPSNR by ffmpeg's xpsnr filter")

"""Settings: frozen, validated, each default defined once.

The command line overrides a recipe file, which overrides the defaults. The resolved settings go into the report.
"""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from vidscale.errors import UsageError, plain_reason
from vidscale.media.alpha import Alpha
from vidscale.media.encoders import ENCODERS, CodecName, Effort, codec_name
from vidscale.media.frames import Siting
from vidscale.media.geometry import parse_scale, plain_fraction
from vidscale.quality import Metric, Target, metric_named, parse_amount, parse_target
from vidscale.system.devices import Device

SsimKind = Literal["gaussian", "ffmpeg"]
Interlaced = Literal["refuse", "ignore", "bwdif"]


def _parse_time(text: str) -> Fraction | None:
    """Seconds from ``12.5``, ``mm:ss`` or ``hh:mm:ss``; None from an empty text."""
    if not text:
        return None
    seconds = Fraction(0)
    for part in text.split(":"):
        seconds = seconds * 60 + plain_fraction(part)
    return seconds


class TimeRange(BaseModel):
    """A part of the source: frames with start <= time < end, counted from the source's first timestamp."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    start: Fraction = Field(default=Fraction(0), ge=0, description="seconds")
    end: Fraction | None = Field(default=None, description="seconds; None for the end of the source")

    @classmethod
    def parse(cls, text: str) -> "TimeRange":
        """From ``START:END`` in seconds or hh:mm:ss, either side empty: ``10:20``, ``00:01:00:00:02:00``, ``90:``."""
        parts = text.strip().split(":")
        if len(parts) < 2:
            raise ValueError(f"range {text!r} is not START:END")
        if parts[0] == "":
            start, end = "", ":".join(parts[1:])
        elif parts[-1] == "":
            start, end = ":".join(parts[:-1]), ""
        elif len(parts) % 2 == 0:
            half = len(parts) // 2
            start, end = ":".join(parts[:half]), ":".join(parts[half:])
        else:
            raise ValueError(f"range {text!r} is not START:END, both in seconds or both in hh:mm:ss")
        try:
            seconds = _parse_time(start) or Fraction(0), _parse_time(end)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"range {text!r} is not START:END in seconds or hh:mm:ss") from None
        if seconds[1] is not None and seconds[1] <= seconds[0]:
            raise ValueError(f"range {text!r} ends before it starts")
        return cls(start=seconds[0], end=seconds[1])

    @model_validator(mode="after")
    def _in_order(self) -> "TimeRange":
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"range from {self.start} s ends before it starts, at {self.end} s")
        return self


def _as_range(value: object) -> object:
    return TimeRange.parse(value) if isinstance(value, str) else value


AUTO = "auto"
_AS_TEXT = PlainSerializer(lambda value: value if value is None else str(value))
Scale = Annotated[Fraction, BeforeValidator(parse_scale), PlainSerializer(str)]


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


class SourceSettings(Settings):
    """The part of a source to read, and how to read it."""

    stream: int = Field(default=0, ge=0, description="index among the video streams that are not cover art")
    range: Annotated[TimeRange | None, BeforeValidator(_as_range)] = Field(default=None, description="part to encode")
    interlaced: Interlaced = Field(default="refuse", description="how to handle frames that are flagged interlaced")
    alpha: Alpha = Field(default="refuse", description="how to handle pixels that are not opaque")
    strict: bool = Field(default=False, description="refuse to lose anything: streams, metadata, unreadable frames")

    @model_validator(mode="after")
    def _loses_nothing(self) -> "SourceSettings":
        if self.strict and self.alpha == "drop":
            raise ValueError("--alpha drop loses transparency, and --strict refuses to lose anything: use one of them")
        return self


def _as_choice(value: object) -> object:
    """A scale, or that it is chosen: "auto"."""
    return value if value is None or value == AUTO else parse_scale(value)


def _as_target(value: object) -> object:
    return parse_target(value) if isinstance(value, str) else value


def _as_metric(value: object) -> object:
    return metric_named(value) if isinstance(value, str) else value


def _as_amount(name: str) -> BeforeValidator:
    return BeforeValidator(lambda value: parse_amount(value, name) if isinstance(value, str) else value)


class EncodeSettings(CodecSettings, SourceSettings, MeasureSettings):
    """Settings of `encode`."""

    crf: float = Field(
        default=28.0,
        description="constant rate factor, 0 to 51 (svtav1: 63), lower is better; where the scale is chosen, that of "
        "the full size, whose quality is kept",
    )
    scale: Annotated[Fraction | Literal["auto"] | None, BeforeValidator(_as_choice), _AS_TEXT] = Field(
        default=None,
        description="source size over coded size, a rational from 1 to 8; auto chooses the way with the fewest bits, "
        "full size among them; None is auto, or the scale of the named pair",
    )
    target: Annotated[Target | None, BeforeValidator(_as_target), _AS_TEXT] = Field(
        default=None, description="quality to reach with the fewest bits, METRIC=VALUE, in place of crf"
    )
    target_percentile: float | None = Field(
        default=None, gt=0, lt=100, description="percentile of the frames that the target is for; None is the mean"
    )
    max_size: Annotated[int | None, _as_amount("max_size")] = Field(
        default=None, ge=1, description="largest file, bytes; the best quality that fits, in place of crf"
    )
    max_bitrate: Annotated[int | None, _as_amount("max_bitrate")] = Field(
        default=None, ge=1, description="highest mean bitrate of the video, bit/s; as max_size"
    )
    judge: Annotated[Metric | None, BeforeValidator(_as_metric)] = Field(
        default=None, description="metric by which two ways are equal; None is vmaf_neg, ssim_y without libvmaf"
    )
    client: Literal["vidscale", "any"] = Field(
        default="vidscale", description="what restores the movie: vidscale, or any player, which enlarges it itself"
    )
    best_effort: bool = Field(default=False, description="take the best reachable quality if the target is above it")
    verify: bool | None = Field(
        default=None, description="measure the file, and encode again if it misses its goal; None is with a goal"
    )
    verdict: bool = Field(default=True, description="estimate what the full size would have needed, for the report")
    pair: str = Field(
        default="auto",
        description="pair of scalers, a family (lanczos) or a full name (lanczos-x2); auto is the learned pair of the "
        "scale if there is one, else lanczos",
    )
    tune: Literal["psnr", "vmaf"] | None = Field(
        default=None, description="metric that the learned pair is tuned for; None is psnr, or that of the judge"
    )
    effort: Effort | None = Field(
        default=None,
        description="of the downscaler: fast is its filter alone, normal also corrects what the upscaler gets wrong, "
        "where the pair has a network for it; None depends on the encoder and its preset",
    )
    device: Device = Field(default="auto", description="where the scalers run")
    report: bool = Field(default=True, description="restore and measure after encoding")
    report_dir: Path | None = Field(default=None, description="folder of the report; None is OUT.report")
    overwrite: bool = Field(default=False, description="replace an existing output")
    ffmpeg: Path | None = Field(default=None, description="ffmpeg binary; None is the first suitable one")

    @property
    def resolved_effort(self) -> Effort:
        return self.effort or ENCODERS[self.codec].effort(self.resolved_preset)

    @model_validator(mode="after")
    def _one_goal(self) -> "EncodeSettings":
        goals = {"target": self.target, "max_size": self.max_size, "max_bitrate": self.max_bitrate}
        given = [f"--{name.replace('_', '-')}" for name, value in goals.items() if value is not None]
        if self.target is not None and len(given) > 1:
            raise ValueError(f"--target and {given[1]} both decide the quality: use one of them")
        if given and "crf" in self.model_fields_set:
            raise ValueError(f"--crf {self.crf:g} and {given[0]} both decide the quality: use one of them")
        for name, value in (("--target-percentile", self.target_percentile), ("--best-effort", self.best_effort)):
            if value and self.target is None:
                raise ValueError(f"{name} is for --target, which is not given")
        if self.verify and not given:
            raise ValueError("--verify is for --target, --max-size and --max-bitrate, and none is given")
        rate = ENCODERS[self.codec].rate_params(self.encoder_params)
        if given and rate:
            raise ValueError(
                f"{given[0]} varies crf, but --encoder-params {self.encoder_params} sets {next(iter(rate))}"
            )
        return self

    @property
    def chooses_scale(self) -> bool:
        """Whether the scale and the pair are chosen by probing the movie."""
        return self.scale == AUTO or (self.scale is None and self.pair == AUTO)

    @property
    def has_goal(self) -> bool:
        """Whether crf follows from a target, a size or a bitrate."""
        return self.target is not None or self.max_size is not None or self.max_bitrate is not None


class DecodeSettings(CodecSettings):
    """Settings of `decode`."""

    crf: float = Field(default=16.0, description="constant rate factor of the restored file")
    lossless: bool = Field(default=False, description="FFV1, or lossless x264 when the container has no FFV1")
    pair: str | None = Field(default=None, description="pair to restore with; None is the one in the file's identity")
    scale: Annotated[Fraction | None, BeforeValidator(lambda v: v if v is None else parse_scale(v))] = Field(
        default=None, description="scale, for a file without identity"
    )
    strength: float = Field(default=28.0, ge=0, le=63, description="crf of a file without identity")
    device: Device = Field(default="auto", description="where the scalers run")
    strict: bool = Field(default=False, description="refuse to lose anything")
    overwrite: bool = Field(default=False, description="replace an existing output")
    ffmpeg: Path | None = Field(default=None, description="ffmpeg binary; None is the first suitable one")


def _as_size(value: object) -> object:
    """(height, width) from ``WIDTHxHEIGHT``."""
    if not isinstance(value, str):
        return value
    width, x, height = value.lower().partition("x")
    if not (x and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ValueError(f"size {value!r} is not WIDTHxHEIGHT")
    return int(height), int(width)


class StageSettings(Settings):
    """Settings of one stage between two pipes."""

    pair: str = Field(default="lanczos", description="pair of scalers, a family or a full name")
    scale: Annotated[Fraction | None, BeforeValidator(lambda v: v if v is None else parse_scale(v))] = Field(
        default=None, description="scale; None is the pair's if it has one, else 2"
    )
    size: Annotated[tuple[int, int] | None, BeforeValidator(_as_size)] = Field(
        default=None, description="(height, width) to restore; None is the incoming size times the scale"
    )
    strength: float = Field(default=28.0, ge=0, le=63, description="crf that the pictures were encoded with")
    format: Literal["y4m", "nut"] | None = Field(default=None, description="raw format to write; None is the input's")
    color_range: Literal["tv", "pc"] | None = Field(default=None, description="overrides that of the stream")
    chroma_location: Siting | None = Field(default=None, description="overrides that of the stream")
    device: Device = Field(default="auto", description="where the scaler runs")


class ImageSettings(Settings):
    """Settings for scaling and writing pictures."""

    pair: str | None = Field(
        default=None,
        description="pair of scalers, a family or a full name; None is lanczos, or the one in the picture",
    )
    scale: Annotated[Fraction | None, BeforeValidator(lambda v: v if v is None else parse_scale(v))] = Field(
        default=None, description="scale; None is that of the pair's name or the picture, else 2"
    )
    format: Literal["png", "jpeg", "webp", "tiff"] = Field(default="png", description="format to write")
    quality: int | None = Field(
        default=None, ge=1, le=100, description="of JPEG (None is 95) and lossy WebP (None is lossless)"
    )
    size: Annotated[tuple[int, int] | None, BeforeValidator(_as_size)] = Field(
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

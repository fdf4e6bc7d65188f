"""Settings of a comparison, and their forms on the command line."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from vidscale.config import Codec, Interlaced, Scale, Settings
from vidscale.media.alpha import Alpha
from vidscale.media.encoders import ENCODERS, CodecName, Effort
from vidscale.quality import METRIC_NAMES, Metric, Within, metric_named
from vidscale.system.devices import Device

_MAX_SAMPLES = 1000


class Samples(BaseModel):
    """Segments that stand for the whole movie."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    count: int = Field(ge=1, le=_MAX_SAMPLES, description="number of segments")
    seconds: Fraction = Field(gt=0, description="length of each in seconds")

    @classmethod
    def parse(cls, text: str) -> "Samples":
        """From ``NxSECONDS``: ``6x4``, ``10x2.5``."""
        count, x, seconds = text.strip().lower().replace("×", "x").partition("x")
        try:
            return cls(count=int(count), seconds=Fraction(seconds if x and "e" not in seconds else ""))
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"samples {text!r} is not NxSECONDS, such as 6x4, with N up to {_MAX_SAMPLES}") from None


def _listed(value: object) -> object:
    """``a,b`` as a list; any other type unchanged."""
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _metrics(value: object) -> object:
    names = _listed(value)
    if isinstance(names, list):
        return list(dict.fromkeys(metric_named(name) for name in names))
    return names


def _rates(value: object) -> object:
    return None if isinstance(value, str) and value.strip() == "auto" else _listed(value)


def _within(value: object) -> object:
    """(metric, low, high) from ``vmaf=60:88``."""
    if not isinstance(value, str):
        return value
    name, _, bounds = value.partition("=")
    low, _, high = bounds.partition(":")
    try:
        wanted = float(low), float(high)
        metric = METRIC_NAMES[name.strip()]
    except (ValueError, KeyError):
        raise ValueError(f"within {value!r} is not METRIC=LOW:HIGH, such as vmaf=60:88") from None
    if not wanted[0] < wanted[1] < float("inf"):
        raise ValueError(f"within {value!r} is not a range: LOW must be less than HIGH")
    return metric, *wanted


class CompareSettings(Settings):
    """Settings of `compare`."""

    pairs: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        default=("auto", "ffmpeg-lanczos"),
        min_length=1,
        description="pairs of scalers: FAMILY, or DOWN:UP for two families; FAMILY+adapt adapts the upscaler; auto is "
        "the default of encode",
    )
    scales: Annotated[tuple[Scale, ...], BeforeValidator(_listed)] = Field(
        default=(Fraction(2),), min_length=1, description="source size over coded size, rationals from 1 to 8"
    )
    codecs: Annotated[tuple[Codec, ...], BeforeValidator(_listed)] = Field(
        default=("x264",), min_length=1, description="encoders"
    )
    preset: str | None = Field(default=None, description="for the encoders that have it; None is the default of each")
    encoder_params: str = Field(default="", description="the encoder's own settings; only with one encoder")
    rates: Annotated[tuple[float, ...] | None, BeforeValidator(_rates)] = Field(
        default=None, min_length=1, description="crf values; None chooses them automatically"
    )
    samples: Annotated[Samples | None, BeforeValidator(lambda v: Samples.parse(v) if isinstance(v, str) else v)] = (
        Field(default=None, description="segments to encode; None is all of a movie of up to 20 s, else five of 4 s")
    )
    metrics: Annotated[tuple[Metric, ...], BeforeValidator(_metrics)] = Field(
        default=("psnr_y", "ssim_y", "vmaf", "vmaf_neg"), min_length=1, description="what is measured"
    )
    within: Annotated[Within | None, BeforeValidator(_within)] = Field(
        default=None, description="range of a metric to compare in; automatic rates span it"
    )
    interlaced: Interlaced = Field(default="refuse", description="what to do with frames flagged interlaced")
    alpha: Alpha = Field(default="refuse", description="what to do with pixels that are not opaque")
    stream: int = Field(default=0, ge=0, description="index among the video streams that are not cover art")
    effort: Effort | None = Field(default=None, description="of downscalers; None is the default of each encoder")
    device: Device = Field(default="auto", description="where the scalers run")
    jobs: int | None = Field(default=None, ge=1, description="trials in parallel; None is limited by cores and memory")
    ffmpeg: Path | None = Field(default=None, description="ffmpeg binary; None is the first that has what is needed")

    @model_validator(mode="after")
    def _fits_encoders(self) -> "CompareSettings":
        if self.preset is not None and not any(self.preset in ENCODERS[codec].presets for codec in self.codecs):
            known = "; ".join(f"{codec} has {', '.join(ENCODERS[codec].presets)}" for codec in self.codecs)
            raise ValueError(f"no encoder has preset {self.preset!r}: {known}")
        if self.encoder_params and len(self.codecs) > 1:
            raise ValueError(f"--encoder-params {self.encoder_params}: these are of one encoder; compare one --codec")
        if rate := ENCODERS[self.codecs[0]].rate_params(self.encoder_params):
            raise ValueError(f"--encoder-params {self.encoder_params}: {next(iter(rate))} replaces the crfs to compare")
        for codec in self.codecs:
            for crf in self.rates or ():
                if not 0 <= crf <= ENCODERS[codec].crf_max:
                    raise ValueError(f"rate {crf:g} is outside 0 to {ENCODERS[codec].crf_max} of {codec}")
        return self

    @property
    def measured(self) -> tuple[Metric, ...]:
        """The metrics to measure, including that of ``within``."""
        names = [*self.metrics, *([self.within[0]] if self.within else [])]
        return tuple(cast("Metric", name) for name in get_args(Metric) if name in names)

    @property
    def leading(self) -> Metric:
        """The metric that automatic rates go by: that of ``within``, else VMAF if measured, else the first."""
        if self.within:
            return self.within[0]
        return "vmaf" if "vmaf" in self.measured else self.measured[0]

    def preset_of(self, codec: CodecName) -> str:
        """The preset of an encoder: the requested one if it has it, else its default."""
        encoder = ENCODERS[codec]
        return self.preset if self.preset is not None and self.preset in encoder.presets else encoder.default_preset

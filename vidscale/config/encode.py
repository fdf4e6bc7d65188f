"""Settings of `encode`: the encoder, and how scale and crf are chosen."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from vidscale.config.base import AS_TEXT, AUTO, CodecSettings, MeasureSettings, OptionalTarget
from vidscale.config.source import SourceSettings
from vidscale.media.encoders import ENCODERS, Effort
from vidscale.media.geometry import parse_scale, plain_fraction
from vidscale.quality import Metric, metric_named, parse_amount
from vidscale.system.devices import Device

SHOTS = "shots"


def _as_choice(value: object) -> object:
    """A scale, or that it is chosen: "auto"."""
    return value if value is None or value == AUTO else parse_scale(value)


def _as_metric(value: object) -> object:
    return metric_named(value) if isinstance(value, str) else value


def _as_amount(name: str) -> BeforeValidator:
    return BeforeValidator(lambda value: parse_amount(value, name) if isinstance(value, str) else value)


def _as_segments(value: object) -> object:
    """A duration in seconds, or "shots"."""
    if value is None or value == SHOTS:
        return value
    try:
        seconds = plain_fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"segments {value!r} are neither shots nor a number of seconds") from None
    if not 1 <= seconds <= 600:
        raise ValueError(f"segments of {value} s are outside 1 to 600 s")
    return seconds


def _as_chunks(value: object) -> object:
    """A number of chunks, at least 1, or "auto"."""
    if value is None or value == AUTO:
        return value
    text = str(value)
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"--chunks {value} is neither auto nor a number of 1 or more")
    return int(text)


Adapt = Literal["off", "light", "full", "best"]


class EncodeSettings(CodecSettings, SourceSettings, MeasureSettings):
    """Settings of `encode`."""

    crf: float = Field(
        default=28.0,
        description="constant rate factor, 0 to 51 (svtav1: 63), lower is better; where the scale is chosen, that of "
        "the full size, whose quality is kept",
    )
    scale: Annotated[Fraction | Literal["auto"] | None, BeforeValidator(_as_choice), AS_TEXT] = Field(
        default=None,
        description="source size over coded size, a rational from 1 to 8; auto chooses the way with the fewest bits, "
        "full size among them; None is auto, or the scale of the named pair",
    )
    target: OptionalTarget = Field(
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
    segments: Annotated[Fraction | Literal["shots"] | None, BeforeValidator(_as_segments), AS_TEXT] = Field(
        default=None,
        description="decide for each part of that many seconds, or for each shot, and write HLS; None is for the movie",
    )
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
        description="of the downscaler: fast is its filter alone, normal and patient also correct what the upscaler "
        "gets wrong, by a small or a large network if the pair has them; None depends on encoder, preset and scale",
    )
    adapt: Adapt = Field(
        default="off",
        description="trains the upscaler on each shot; the file carries the difference: light is a gain and a bias for "
        "each channel, full all weights, best also encodes again with a downscaler that knows them, off none",
    )
    chunks: Annotated[int | Literal["auto"] | None, BeforeValidator(_as_chunks)] = Field(
        default=None, description="parts that workers encode side by side; auto suits length and processors"
    )
    jobs: int | None = Field(default=None, ge=1, description="workers for chunks; None suits the processors")
    device: Device = Field(default="auto", description="where the scalers run")
    report: bool = Field(default=True, description="restore and measure after encoding")
    report_dir: Path | None = Field(default=None, description="folder of the report; None is OUT.report")
    overwrite: bool = Field(default=False, description="replace an existing output")
    ffmpeg: Path | None = Field(default=None, description="ffmpeg binary; None is the first suitable one")

    @property
    def shared_effort(self) -> Effort | None:
        """The effort at every scale: as asked for, or where vidscale chooses the scale; None if it depends on that."""
        if self.effort is None and self.adapt == "best":  # which is about the downscaler, and takes its time
            return "patient"
        if self.effort is None and self.chooses_scale:
            return ENCODERS[self.codec].effort(self.resolved_preset)
        return self.effort

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
        if self.jobs is not None and self.chunks is None:
            raise ValueError(f"--jobs {self.jobs} is for --chunks, which is not given")
        rate = ENCODERS[self.codec].rate_params(self.encoder_params)
        if given and rate:
            raise ValueError(
                f"{given[0]} varies crf, but --encoder-params {self.encoder_params} sets {next(iter(rate))}"
            )
        return self

    @model_validator(mode="after")
    def _segments_are_decided(self) -> "EncodeSettings":
        if self.segments is None:
            return self
        others = {
            "--range": self.range,
            "--chunks": self.chunks,
            "--max-size": self.max_size,
            "--max-bitrate": self.max_bitrate,
        }
        if given := [name for name, value in others.items() if value is not None]:
            raise ValueError(f"--segments decides for each part of the whole movie: {given[0]} does not go with it")
        return self

    @property
    def chooses_scale(self) -> bool:
        """Whether the scale and the pair are chosen by probing the movie."""
        return self.scale == AUTO or (self.scale is None and self.pair == AUTO)

    @property
    def has_goal(self) -> bool:
        """Whether crf follows from a target, a size or a bitrate."""
        return self.target is not None or self.max_size is not None or self.max_bitrate is not None

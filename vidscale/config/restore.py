"""Settings of `decode`, and of one stage between two pipes."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from vidscale.config.base import CodecSettings, OptionalScale, Settings, Size
from vidscale.media.frames import Siting
from vidscale.system.devices import Device


class DecodeSettings(CodecSettings):
    """Settings of `decode`."""

    crf: float = Field(default=16.0, description="constant rate factor of the restored file")
    lossless: bool = Field(default=False, description="FFV1, or lossless x264 when the container has no FFV1")
    pair: str | None = Field(default=None, description="pair to restore with; None is the one in the file's identity")
    scale: OptionalScale = Field(default=None, description="scale, for a file without identity")
    strength: float = Field(default=28.0, ge=0, le=63, description="crf of a file without identity")
    device: Device = Field(default="auto", description="where the scalers run")
    strict: bool = Field(default=False, description="refuse to lose anything")
    overwrite: bool = Field(default=False, description="replace an existing output")
    ffmpeg: Path | None = Field(default=None, description="ffmpeg binary; None is the first suitable one")

    @model_validator(mode="after")
    def _rate_fits(self) -> "DecodeSettings":
        if self.lossless and "crf" in self.model_fields_set:
            raise ValueError(f"--lossless has no --crf, which is {self.crf:g}: leave one of them out")
        return self


class StageSettings(Settings):
    """Settings of one stage between two pipes."""

    pair: str = Field(default="lanczos", description="pair of scalers, a family or a full name")
    scale: OptionalScale = Field(default=None, description="scale; None is the pair's if it has one, else 2")
    size: Size = Field(
        default=None, description="(height, width) to restore; None is the incoming size times the scale"
    )
    strength: float = Field(default=28.0, ge=0, le=63, description="crf that the pictures were encoded with")
    format: Literal["y4m", "nut"] | None = Field(default=None, description="raw format to write; None is the input's")
    color_range: Literal["tv", "pc"] | None = Field(default=None, description="overrides that of the stream")
    chroma_location: Siting | None = Field(default=None, description="overrides that of the stream")
    device: Device = Field(default="auto", description="where the scaler runs")

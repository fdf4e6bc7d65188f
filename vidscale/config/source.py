"""The part of a source to read."""

from fractions import Fraction
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from vidscale.config.base import Interlaced, Settings
from vidscale.media.alpha import Alpha
from vidscale.media.geometry import plain_fraction


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

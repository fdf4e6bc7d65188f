"""Settings of `ladder`: the renditions of one movie."""

from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from vidscale.config.encode import EncodeSettings
from vidscale.media.encoders import ENCODERS, parsed_params
from vidscale.media.geometry import plain_fraction
from vidscale.quality import Target, parse_target

OF_ONE_FILE = (
    *("crf", "target", "max_size", "max_bitrate", "report", "report_dir", "verdict", "ssim", "vmaf", "xpsnr"),
    *("chunks", "jobs"),
)
_KEYFRAMES = frozenset({"keyint", "min-keyint", "keyint-min", "scenecut", "no-scenecut", "open-gop", "intra-refresh"})


def _as_targets(value: object) -> object:
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, list | tuple):
        return tuple(parse_target(each) if isinstance(each, str) else each for each in value)
    return value


def _as_seconds(value: object) -> object:
    try:
        return plain_fraction(value) if isinstance(value, str) else value
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"segment duration {value!r} is not a number of seconds") from None


Targets = Annotated[
    tuple[Target, ...],
    BeforeValidator(_as_targets),
    PlainSerializer(lambda value: [str(each) for each in value]),
]
Seconds = Annotated[Fraction, BeforeValidator(_as_seconds), PlainSerializer(str)]


class LadderSettings(EncodeSettings):
    """Settings of `ladder`: those of `encode` for all renditions, and a target for each."""

    targets: Targets = Field(
        default=(Target("vmaf", 95.0), Target("vmaf", 88.0), Target("vmaf", 75.0)),
        min_length=1,
        description="quality of each rendition, METRIC=VALUE; a list, or a text with commas",
    )
    segment_duration: Seconds = Field(default=Fraction(6), gt=0, le=60, description="of a segment, seconds")
    report: bool = Field(default=False, description="unused")

    @model_validator(mode="after")
    def _one_goal(self) -> "LadderSettings":  # in place of that of encode
        if given := [name for name in OF_ONE_FILE if name in self.model_fields_set]:
            raise ValueError(f"a ladder has no setting {given[0]!r}: targets name the quality of each rendition")
        if len({target.metric for target in self.targets}) > 1:
            raise ValueError(f"the targets {', '.join(map(str, self.targets))} are not of one metric")
        if len(set(self.targets)) < len(self.targets):
            raise ValueError(f"the targets {', '.join(map(str, self.targets))} name one of them twice")
        params = dict(parsed_params(self.encoder_params))
        if keys := _KEYFRAMES & set(params):
            raise ValueError(f"--encoder-params sets {min(keys)}, but keyframes are where segments begin")
        if rate := ENCODERS[self.codec].rate_params(self.encoder_params):
            raise ValueError(f"a target varies crf, but --encoder-params {self.encoder_params} sets {next(iter(rate))}")
        return self

    def of_rendition(self, target: Target) -> EncodeSettings:
        """The settings of `encode` for one rendition."""
        own: dict[str, Any] = {"target": target, "report": False, "verdict": False}
        shared = {name: getattr(self, name) for name in EncodeSettings.model_fields if name not in OF_ONE_FILE}
        return EncodeSettings(**(shared | own))

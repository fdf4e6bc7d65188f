"""Settings of `batch`, besides those of `encode`."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from vidscale.config.base import AS_TEXT, Settings
from vidscale.quality import Target, parse_target


def _as_target(value: object) -> object:
    return parse_target(value) if isinstance(value, str) else value


class BatchSettings(Settings):
    """Settings of `batch`."""

    jobs: int | None = Field(default=None, ge=1, description="workers; None suits the processors")
    engine: Literal["local", "ray"] = Field(default="local", description="what runs the workers")
    ray_address: str | None = Field(
        default=None, description="of a running Ray: auto or HOST:PORT; None starts Ray on this machine"
    )
    container: Literal["mp4", "mkv", "mov", "webm", "ts"] | None = Field(
        default=None, description="of all outputs; None is the source's, Matroska where that cannot be written"
    )
    least: Annotated[Target | None, BeforeValidator(_as_target), AS_TEXT] = Field(
        default=None, description="quality below which a movie is flagged, METRIC=VALUE"
    )

    @model_validator(mode="after")
    def _is_ray(self) -> "BatchSettings":
        if self.ray_address is not None and self.engine != "ray":
            raise ValueError(f"--ray-address {self.ray_address} is for --engine ray")
        return self

"""Settings of `batch`, besides those of `encode`, and what a recipe adds to them."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vidscale.config.base import OptionalTarget, Settings
from vidscale.config.placeholders import CommandLine, PlainName


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
    least: OptionalTarget = Field(default=None, description="quality below which a movie is flagged, METRIC=VALUE")

    @model_validator(mode="after")
    def _is_ray(self) -> "BatchSettings":
        if self.ray_address is not None and self.engine != "ray":
            raise ValueError(f"--ray-address {self.ray_address} is for --engine ray")
        return self


class BatchRecipe(BatchSettings):
    """The table ``[batch]`` of a recipe: a whole job. Options of the command line win."""

    inputs: tuple[str, ...] = Field(default=(), description="movies, folders, patterns, lists, queues")
    output: PlainName | None = Field(default=None, description="folder to write")
    then: tuple[Annotated[CommandLine, Field(min_length=1)], ...] = Field(
        default=(), description="command lines to run after each movie, with {input}, {output}, {ffmpeg} filled in"
    )

    @property
    def options(self) -> dict[str, Any]:
        """The settings of `batch` that are given, as a layer of `BatchSettings`."""
        fields = self.model_fields_set & BatchSettings.model_fields.keys()
        return {name: getattr(self, name) for name in fields}

"""Job recipes: TOML files that describe a job.

A recipe has a ``description`` and either

* ``command = "encode"``, ``"decode"`` or ``"ladder"`` with a table ``[settings]`` of that command's settings; for
  ``encode`` also a table ``[batch]``, which makes it a whole job of ``vidscale batch``, or
* ``command = "pipe"`` with ``stages``: command lines, each a list of words, connected by pipes. In the
  words ``{input}``, ``{output}`` and ``{ffmpeg}`` are replaced; the program ``vidscale`` is this one.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vidscale.config import BatchRecipe, CommandLine
from vidscale.errors import ConfigError, UsageError, plain_reason, reason_of
from vidscale.jobs.recipe_files import recipe_text

Command = Literal["encode", "decode", "ladder", "pipe"]

NO_COMMAND = "no command: encode, decode, ladder or pipe (recipes to train are for `train`)"


class Recipe(BaseModel):
    """Content of a recipe file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = Field(default="", description="one line for the user")
    command: Command = Field(description="encode, decode, ladder or pipe")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the command")
    stages: tuple[CommandLine, ...] = Field(default=(), description="command lines of a pipe")
    batch: BatchRecipe | None = Field(default=None, description="many movies")
    suffix: str = Field(default=".mkv", description="of the output of a pipe when none is named")

    @model_validator(mode="after")
    def _complete(self) -> "Recipe":
        if self.command == "pipe" and (not self.stages or not all(self.stages)):
            raise ValueError("a pipe needs stages, each a list of words")
        if self.command == "pipe" and self.settings:
            raise ValueError("a pipe takes stages, not settings")
        if self.command != "pipe" and self.stages:
            raise ValueError(f"{self.command} takes settings, not stages")
        if self.command != "encode" and self.batch is not None:
            raise ValueError(f"{self.command} takes no table batch, which is for encode")
        return self


def read_recipe(path: Path) -> Recipe:
    """Reads and checks a recipe, a file or one in the package.

    Raises:
        ConfigError: it cannot be read, or has unknown fields.
    """
    text = recipe_text(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"recipe {path} cannot be read: {reason_of(error)}") from error
    if "command" not in data:
        raise ConfigError(f"recipe {path} has {NO_COMMAND}")
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"recipe {path}: {plain_reason(error.errors()[0])}") from error


def parse_assignments(texts: Sequence[str]) -> dict[str, Any]:
    """``key=value`` texts as a layer of settings; UsageError for a text without ``=``."""
    layer: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {text!r} is not key=value")
        layer[key.strip()] = value.strip()
    return layer

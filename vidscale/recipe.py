"""Job recipes: a TOML file that says what to do with a movie.

A recipe has a ``description`` and either

* ``command = "encode"`` or ``"decode"`` with a table ``[settings]`` of that command's settings, or
* ``command = "pipe"`` with ``stages``: command lines, each a list of words, whose output and input are joined. In the
  words ``{input}``, ``{output}`` and ``{ffmpeg}`` are replaced; the program ``vidscale`` is this one.
"""

import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vidscale.errors import ConfigError, EncodeError
from vidscale.mux import partial_files

Command = Literal["encode", "decode", "pipe"]


class Recipe(BaseModel):
    """What a recipe file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = Field(default="", description="one line for people")
    command: Command = Field(description="encode, decode or pipe")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of encode or decode")
    stages: tuple[tuple[str, ...], ...] = Field(default=(), description="command lines of a pipe")
    suffix: str = Field(default=".mkv", description="of the output of a pipe when none is named")

    @model_validator(mode="after")
    def _complete(self) -> "Recipe":
        if self.command == "pipe" and (not self.stages or not all(self.stages)):
            raise ValueError("a pipe needs stages, each a list of words")
        if self.command != "pipe" and self.stages:
            raise ValueError(f"{self.command} takes settings, not stages")
        return self


def read_recipe(path: Path) -> Recipe:
    """Reads and checks a recipe file.

    Raises:
        ConfigError: it cannot be read, or says something unknown.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"recipe {path} cannot be read: {reason}") from error
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(str(part) for part in detail["loc"])
        raise ConfigError(f"recipe {path}: {where + ': ' if where else ''}{detail['msg']}") from error


def parse_assignments(texts: Sequence[str]) -> dict[str, Any]:
    """``key=value`` texts as a layer of settings; ConfigError for a text without ``=``."""
    layer: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {text!r} is not key=value")
        layer[key.strip()] = value.strip()
    return layer


@dataclass(slots=True)
class _Chain:
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def kill(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def run_pipe(recipe: Recipe, source: Path, output: Path, *, ffmpeg: str, overwrite: bool) -> None:
    """Runs the stages of a pipe side by side; the output gets its name when all of them ended well.

    Raises:
        EncodeError: a stage failed; the message names it.
    """
    with partial_files(output, overwrite=overwrite) as workspace:
        words = {"input": str(source), "output": str(workspace.result), "ffmpeg": ffmpeg}
        commands = [_command(stage, words) for stage in recipe.stages]
        chain = _Chain()
        try:
            _start(chain, commands)
            codes = [process.wait() for process in chain.processes]
        finally:
            chain.kill()
        for command, code in reversed(list(zip(commands, codes, strict=True))):
            if code:
                raise EncodeError(f"{Path(command[0]).name} ended with status {code}", cmd=command, returncode=code)


def _start(chain: _Chain, commands: Sequence[Sequence[str]]) -> None:
    previous = None
    for position, command in enumerate(commands):
        last = position == len(commands) - 1
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if previous is None else previous,
                stdout=sys.stderr.fileno() if last else subprocess.PIPE,
            )
        except OSError as error:
            raise EncodeError(f"cannot start {command[0]}: {error.strerror or error}", cmd=command) from error
        if previous is not None:
            previous.close()  # the next stage holds it; ours would hide that its reader went away
        previous = process.stdout
        chain.processes.append(process)


def _command(stage: Sequence[str], words: Mapping[str, str]) -> list[str]:
    filled = []
    for word in stage:
        for name, value in words.items():
            word = word.replace("{" + name + "}", value)
        filled.append(word)
    return [sys.executable, "-m", "vidscale", *filled[1:]] if stage[0] == "vidscale" else filled

"""Job recipes: TOML files that describe a job.

A recipe has a ``description`` and either

* ``command = "encode"``, ``"decode"`` or ``"ladder"`` with a table ``[settings]`` of that command's settings; for
  ``encode`` also a table ``[batch]``, which makes it a whole job of ``vidscale batch``, or
* ``command = "pipe"`` with ``stages``: command lines, each a list of words, connected by pipes. In the
  words ``{input}``, ``{output}`` and ``{ffmpeg}`` are replaced; the program ``vidscale`` is this one.
"""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vidscale.config import BatchRecipe
from vidscale.errors import ConfigError, EncodeError, UsageError, plain_reason, reason_of
from vidscale.system import processes
from vidscale.system.names import name_from_text
from vidscale.system.workspace import partial_files

Command = Literal["encode", "decode", "ladder", "pipe"]

_PLACEHOLDER = re.compile(r"\{(input|output|ffmpeg)\}")
_STDERR = 2


class Recipe(BaseModel):
    """Content of a recipe file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = Field(default="", description="one line for the user")
    command: Command = Field(description="encode, decode, ladder or pipe")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the command")
    stages: tuple[tuple[str, ...], ...] = Field(default=(), description="command lines of a pipe")
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
    """Reads and checks a recipe file.

    Raises:
        ConfigError: it cannot be read, or has unknown fields.
    """
    try:
        data = tomllib.loads(name_from_text(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"recipe {path} cannot be read: {reason_of(error)}") from error
    if "command" not in data:
        known = "encode, decode, ladder or pipe"
        raise ConfigError(f"recipe {path} has no command: {known} (recipes to train are for `train`)")
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


def run_pipe(recipe: Recipe, source: Path, output: Path, *, ffmpeg: str, overwrite: bool) -> None:
    """Runs the stages of a pipe in parallel; the output gets its final name when all of them succeeded.

    Raises:
        ConfigError: the output cannot be written.
        EncodeError: a stage failed; the message names it.
    """
    with partial_files(output, source=source, overwrite=overwrite) as workspace:
        commands = pipe_commands(recipe, source, workspace.result, ffmpeg=ffmpeg)
        with ExitStack() as stack:
            ended = _ended(_chain(commands, stack))
        for stage, code in ended:
            if code:  # the first to fail makes the others fail
                command = commands[stage]
                is_own = recipe.stages[stage][0] == "vidscale"
                name, of = "vidscale" if is_own else Path(command[0]).name, f"stage {stage + 1} of {len(commands)}"
                raise EncodeError(f"{name} ({of}) ended with status {code}", cmd=command, returncode=code)
        if not workspace.result.exists():
            raise EncodeError("no stage of the pipe wrote {output}")


def pipe_commands(recipe: Recipe, source: Path, output: Path, *, ffmpeg: str) -> list[list[str]]:
    """The command lines of a pipe's stages, in order."""
    return filled_commands(recipe.stages, source, output, ffmpeg=ffmpeg)


def filled_commands(stages: Sequence[Sequence[str]], source: Path, output: Path, *, ffmpeg: str) -> list[list[str]]:
    """Command lines of a recipe with its placeholders filled in."""
    words = {"input": str(source.absolute()), "output": str(output), "ffmpeg": ffmpeg}
    return [_command(stage, words) for stage in stages]


def run_after(commands: Sequence[Sequence[str]]) -> None:
    """Runs command lines one after the other; what they print goes to stderr.

    Raises:
        EncodeError: one failed; the message names it.
    """
    for command in commands:
        with ExitStack() as stack:
            [(_, code)] = _ended(_chain([command], stack))
        if code:
            name = shlex.join(command)
            raise EncodeError(f"the command after it, {name}, ended with status {code}", cmd=command, returncode=code)


def _chain(commands: Sequence[Sequence[str]], stack: ExitStack) -> list["subprocess.Popen[bytes]"]:
    """Starts the commands, each reading the output of the previous one; the stack kills those still running."""
    chain: list[subprocess.Popen[bytes]] = []
    for command in commands:
        previous = chain[-1].stdout if chain else None
        last = len(chain) == len(commands) - 1
        try:
            process = processes.start(
                command,
                stdin=subprocess.DEVNULL if previous is None else previous,
                stdout=_STDERR if last else subprocess.PIPE,
            )
        except OSError as error:
            raise EncodeError(f"cannot start {command[0]}: {reason_of(error)}", cmd=command) from error
        stack.callback(processes.end, process)
        if process.stdout is not None:
            stack.callback(process.stdout.close)
        if previous is not None:
            previous.close()  # only the next stage may hold it, so that its writer notices when that stage exits
        chain.append(process)
    return chain


def _ended(chain: Sequence["subprocess.Popen[bytes]"]) -> list[tuple[int, int]]:
    """(number, status) of the processes, in the order of their exit."""
    ended: list[tuple[int, int]] = []

    def wait(number: int) -> None:
        status = chain[number].wait()
        ended.append((number, status))

    with ThreadPoolExecutor(len(chain)) as pool:
        list(pool.map(wait, range(len(chain))))
    return ended


def _command(stage: Sequence[str], words: Mapping[str, str]) -> list[str]:
    filled = [_PLACEHOLDER.sub(lambda match: words[match[1]], word) for word in stage]
    return [sys.executable, "-m", "vidscale", *filled[1:]] if stage[0] == "vidscale" else filled

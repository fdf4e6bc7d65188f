"""Runs command lines of recipes: the stages of a pipe, and what follows each movie of a batch."""

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from vidscale.config import PLACEHOLDERS
from vidscale.errors import EncodeError, reason_of
from vidscale.jobs.recipe import Recipe
from vidscale.system import processes
from vidscale.system.workspace import partial_files

_PLACEHOLDER = re.compile(rf"\{{({'|'.join(PLACEHOLDERS)})\}}")
_STDERR = 2


def run_pipe(recipe: Recipe, source: Path, output: Path, *, ffmpeg: str, overwrite: bool) -> None:
    """Runs the stages of a pipe in parallel; the output gets its final name when all of them succeeded.

    Raises:
        ConfigError: the output cannot be written.
        EncodeError: a stage failed; the message names it.
    """
    with partial_files(output, source=source, overwrite=overwrite) as workspace:
        commands = filled_commands(recipe.stages, source, workspace.result, ffmpeg=ffmpeg)
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

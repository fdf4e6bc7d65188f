"""Times programs in alternation, so that a drift in machine speed affects all of them."""

import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

Command = Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of one program.

    Attributes:
        wall_s: seconds from its start to its end, a number for each run.
        processor_s: seconds on all cores together, which other work on the machine disturbs less.
    """

    wall_s: tuple[float, ...]
    processor_s: tuple[float, ...]


def in_turns(commands: Mapping[str, Command], rounds: int) -> dict[str, Runs]:
    """Runs each program once per round and discards its output.

    Raises:
        subprocess.CalledProcessError: one failed.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(_run(command))
    return {name: Runs(*zip(*found, strict=True)) for name, found in times.items()}


def wall_times(runs: Mapping[str, Runs]) -> dict[str, Any]:
    """Median and all times of each program, as a row of results has them."""
    return {
        "seconds": {name: round(median(found.wall_s), 2) for name, found in runs.items()},
        "all_seconds": {name: [round(value, 2) for value in found.wall_s] for name, found in runs.items()},
    }


def _run(command: Command) -> tuple[float, float]:
    before, start = _processor_s(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, _processor_s() - before


def _processor_s() -> float:
    """Of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

"""Checks recipes without running them, and finds the line of what is wrong."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vidscale.config import DecodeSettings, EncodeSettings, LadderSettings
from vidscale.errors import plain_reason
from vidscale.jobs.recipe import NO_COMMAND, Recipe
from vidscale.jobs.recipe_files import recipe_text

_SETTINGS = {"encode": EncodeSettings, "decode": DecodeSettings, "ladder": LadderSettings}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a recipe, and its line, from 1 on."""

    line: int
    text: str


def check_recipe(path: Path) -> list[Problem]:
    """Everything that is wrong with a recipe file; empty if it can be run.

    Raises:
        ConfigError: it cannot be read.
    """
    text = recipe_text(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return [_syntax_problem(str(error), text)]
    if "command" not in data:
        return [Problem(1, NO_COMMAND)]
    lines = _lines(text)
    try:
        Recipe.model_validate(data)
    except ValidationError as error:
        return _problems(error, lines, ())
    settings = _SETTINGS.get(data["command"])
    if settings is None:
        return []
    try:
        settings(**data.get("settings", {}))
    except ValidationError as error:
        return _problems(error, lines, ("settings",))
    return []


def _syntax_problem(message: str, text: str) -> Problem:
    match = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)", message)
    line = int(match[1]) if match and match[1] else max(1, len(text.splitlines()))
    return Problem(line, re.sub(r" \(at .*\)$", "", message))


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """The lines of tables and keys, by their path. Keys of arrays and inline tables have the line of the whole."""
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if match := re.match(r"\s*\[+\s*([^\[\]]+?)\s*\]+\s*(#.*)?$", line):
            table = _path(match[1])
            found.setdefault(table, number)
        elif match := re.match(r"\s*([\w\-\"'.]+)\s*=", line):
            found.setdefault((*table, *_path(match[1])), number)
    return found


def _path(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in text.split("."))


def _problems(error: ValidationError, lines: Mapping[tuple[str, ...], int], inside: tuple[str, ...]) -> list[Problem]:
    found = []
    for detail in error.errors():
        reason = plain_reason(detail)
        path = (*inside, *(str(part) for part in detail["loc"]))
        found.append(Problem(_line(path, reason, lines), reason))
    return sorted(found, key=lambda problem: problem.line)


def _line(path: Sequence[str], reason: str, lines: Mapping[tuple[str, ...], int]) -> int:
    """The line of the deepest part of a path that has one; for a table as a whole, of the first key that the reason
    names."""
    for length in range(len(path), 0, -1):
        if (at := lines.get(tuple(path[:length]))) is not None and length > 1:
            return at
    words = re.findall(r"\w+", reason.replace("-", "_"))
    keys: dict[str, Any] = {key[-1]: line for key, line in lines.items() if key[:-1] == tuple(path)}
    named = [keys[word] for word in words if word in keys]
    return named[0] if named else lines.get(tuple(path[:1]), 1)

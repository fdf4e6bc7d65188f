"""Choices that are measured once on a machine and remembered in the cache folder."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from vidscale.system.workspace import cache_folder, replacing

Option = TypeVar("Option", bound=str)


def fastest(file: str, key: str, options: Sequence[Option], seconds: Callable[[Option], float]) -> Option:
    """The option that takes the least time, from the cache if it has been measured.

    Args:
        file: name of the JSON file in the cache folder.
        key: everything that the times depend on.
        options: to choose from.
        seconds: measures one.
    """
    path = cache_folder() / file
    known = _remembered(path)
    for option in options:
        if known.get(key) == option:
            return option
    best = min(options, key=seconds)
    _remember(path, {**known, key: best})
    return best


def _remembered(path: Path) -> dict[str, str]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(path: Path, known: dict[str, str]) -> None:
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            json.dump(known, file, indent=2)

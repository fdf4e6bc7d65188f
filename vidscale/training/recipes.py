"""Training recipes: TOML files whose tables are the settings of a training."""

import json
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from vidscale.errors import ConfigError, TrainingError

RECIPE = "recipe.json"
STRICT = {"extra": "forbid"}  # for dataclasses: pydantic reads it from their ``__pydantic_config__``

RecipeT = TypeVar("RecipeT")


def read_recipe(kind: type[RecipeT], path: Path | None, assignments: dict[str, Any] | None = None) -> RecipeT:
    """A recipe from a file, or the defaults.

    Args:
        kind: the dataclass that the file describes; tables are fields that are dataclasses.
        path: the file; None for the defaults.
        assignments: over what the file says; ``loop.steps`` names a setting of a table.

    Raises:
        ConfigError: the file cannot be read, or says something unknown or wrong.
    """
    said: dict[str, Any] = {}
    if path is not None:
        try:
            said = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"recipe {path} cannot be read: {reason}") from error
    for name, value in (assignments or {}).items():
        *tables, key = name.split(".")
        table = said
        for inner in tables:
            table = table.setdefault(inner, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {name}: {inner} is not a table")
        table[key] = value
    return _checked(kind, said, str(path) if path else "settings")


def _checked(kind: type[RecipeT], said: dict[str, Any], where: str) -> RecipeT:
    from pydantic import TypeAdapter, ValidationError

    try:
        recipe = TypeAdapter(kind).validate_python(said)
    except ValidationError as error:
        detail = error.errors()[0]
        name = ".".join(str(part) for part in detail["loc"])
        message = detail["msg"].removeprefix("Value error, ")
        raise ConfigError(f"recipe {where}: {name + ': ' if name else ''}{message}") from None
    return recipe


def keep_recipe(recipe: Any, folder: Path) -> None:
    """Writes down what a folder trains, or makes sure that it is the same as before.

    Raises:
        TrainingError: the folder belongs to a training with other settings, or cannot be written.
    """
    path, text = folder / RECIPE, json.dumps(asdict(recipe), indent=2) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise TrainingError(f"{folder} holds a training with other settings; choose another folder")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error

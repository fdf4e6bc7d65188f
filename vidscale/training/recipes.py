"""Training recipes: TOML files with the settings of a training."""

import json
import tomllib
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from vidscale.errors import ConfigError, TrainingError, plain_reason, reason_of
from vidscale.jobs.recipe_files import recipe_text
from vidscale.system.workspace import replacing

RECIPE = "recipe.json"
_TOLD = ("name", "licence", "data")  # only affect the card, so they may change during or after training
STRICT = {"extra": "forbid"}  # for dataclasses: the value of their ``__pydantic_config__``

RecipeT = TypeVar("RecipeT")


def read_recipe(kind: type[RecipeT], path: Path | None, assignments: dict[str, Any] | None = None) -> RecipeT:
    """Reads a recipe file.

    Args:
        kind: dataclass of the recipe; tables are its dataclass fields.
        path: recipe file, or the name of one in the package; None for the defaults.
        assignments: override the file; ``loop.steps`` is a setting in a table.

    Raises:
        ConfigError: the file cannot be read, or has an unknown or invalid setting.
    """
    said: dict[str, Any] = {}
    if path is not None:
        text = recipe_text(path)
        try:
            said = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"recipe {path} cannot be read: {reason_of(error)}") from error
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
        at = f"{name}: " if name and detail["type"] == "value_error" else ""
        known = _names_beside(kind, detail["loc"]) if detail["type"] == "unexpected_keyword_argument" else []
        there = f"; there are {', '.join(known)}" if known else ""
        raise ConfigError(f"recipe {where}: {at}{plain_reason(detail)}{there}") from None
    return recipe


def _names_beside(kind: Any, place: tuple[int | str, ...]) -> list[str]:
    """Names of the settings in the table that a setting is in; none if that is an element of a list."""
    for table in place[:-1]:
        kind = get_type_hints(kind).get(str(table))
        if not is_dataclass(kind):
            return []
    return [field.name for field in fields(kind)]


def keep_recipe(recipe: Any, folder: Path, made: str = "*.pt") -> None:
    """Stores a folder's settings, or checks that they match the stored ones, except for those of the card.

    Args:
        recipe: settings, a dataclass.
        folder: output folder.
        made: pattern of the expensive outputs; as long as there are none, new settings replace the stored ones.

    Raises:
        TrainingError: the folder has different settings, or cannot be written.
    """
    path, text = folder / RECIPE, json.dumps(asdict(recipe), indent=2) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = path.read_text(encoding="utf-8") if path.exists() else None
        if before == text:
            return
        if before is not None and any(folder.rglob(made)) and (other := _difference(before, text)):
            raise TrainingError(f"{folder} was made with other settings ({other}); choose another folder")
        with replacing(path) as file:
            file.write(text)
    except ValueError as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {reason_of(error)}") from error


def _difference(before: str, now: str) -> str:
    """The first setting that differs, other than those of the card, with its stored value; "" if there is none."""
    former, present = _flat(json.loads(before)), _flat(json.loads(now))
    names = [name for name in former | present if name not in _TOLD and former.get(name) != present.get(name)]
    return f"{names[0]} = {former.get(names[0], 'not known')}" if names else ""


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Nested tables flattened to names such as ``loop.steps``."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": inner for key, inner in _flat(value).items()}
        else:
            flat[name] = value
    return flat

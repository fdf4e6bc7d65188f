"""Files of recipes, for `run` and for `train`: those in the package, and the text of any."""

from dataclasses import dataclass
from pathlib import Path

from vidscale.errors import ConfigError, reason_of
from vidscale.system.names import name_from_text

FOLDER = (Path(__file__).parent.parent / "pipelines").resolve()  # a link in a checkout
SUFFIX = ".toml"


@dataclass(frozen=True, slots=True)
class ShippedRecipe:
    """A recipe in the package.

    Attributes:
        name: file name without its suffix.
        path: the file.
        runs: whether it is for `run`; the others are for `train`.
        description: its first sentence.
    """

    name: str
    path: Path
    runs: bool
    description: str


def shipped_recipes() -> list[ShippedRecipe]:
    """All recipes in the package, those for `run` first."""
    recipes = []
    for path in sorted(FOLDER.glob(f"*{SUFFIX}")):
        text = path.read_text(encoding="utf-8")
        comment = " ".join(
            line.removeprefix("#").strip() for line in text.split("\n\n")[0].splitlines() if line[:1] == "#"
        )
        runs = any(line.startswith("command = ") for line in text.splitlines())
        recipes.append(ShippedRecipe(path.stem, path, runs, comment.partition(". ")[0].removesuffix(".")))
    return sorted(recipes, key=lambda recipe: not recipe.runs)


def find_recipe(path: Path) -> Path:
    """The file itself, or the recipe of that name in the package if there is no such file.

    Raises:
        ConfigError: there is neither.
    """
    if path.exists() or path != Path(path.name):
        return path
    shipped = FOLDER / f"{path.name.removesuffix(SUFFIX)}{SUFFIX}"
    if not shipped.is_file():
        raise ConfigError(f"recipe {path} is neither a file nor in the package: vidscale run --list names those")
    return shipped


def recipe_text(path: Path) -> str:
    """The text of a recipe, a file or one in the package, with names of files as the locale writes them.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    path = find_recipe(path)
    try:
        return name_from_text(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path} cannot be read: {reason_of(error)}") from error

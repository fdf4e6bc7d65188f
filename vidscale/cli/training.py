"""Shared by the commands of ``vidscale train``: their settings, and how a result is printed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from vidscale.cli.console import emit, show_path

if TYPE_CHECKING:
    from vidscale.training.log import Section
    from vidscale.training.loop import Trained

RecipeT = TypeVar("RecipeT")


def recipe_settings(kind: type[RecipeT], recipe: Path | None, assignments: list[str] | None) -> RecipeT:
    """The settings of a training: those of the recipe, and what ``--set`` changes of them."""
    from vidscale.jobs.recipe import parse_assignments
    from vidscale.training.recipes import read_recipe

    return read_recipe(kind, recipe, parse_assignments(assignments or []))


def print_trained(
    trained: "Trained",
    folder: Path,
    title: str,
    sections: "Sequence[Section]" = (),
    *,
    json_output: bool,
    quiet: bool,
) -> None:
    """Plots the curves of a training, and prints its result."""
    from vidscale.training.log import plot_log, read_log
    from vidscale.training.loop import LOG

    page = folder / "training.html"
    plot_log(read_log(folder / LOG), page, title=title, sections=sections)
    if json_output:
        emit(
            {
                "event": "trained",
                "folder": str(folder),
                "steps": trained.steps,
                "seconds": round(trained.seconds, 1),
                "best_step": trained.best_step,
                "validation_db": round(trained.best_db, 4),
            }
        )
    elif not quiet:
        typer.echo(
            f"{show_path(folder)}: {trained.best_db:.2f} dB at step {trained.best_step} of {trained.steps}, "
            f"{trained.seconds / 60:.1f} min; curves in {show_path(page)}"
        )

"""``vidscale recipe``."""

from pathlib import Path
from typing import Annotated

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, emit, run_job

app = typer.Typer(help="Recipes of jobs.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Recipes of jobs."""


@app.command(short_help="Check recipes of jobs without running them.")
def check(
    recipes: Annotated[
        list[Path],
        typer.Argument(
            help="Recipe files (TOML), or names of those in the package.",
            metavar="RECIPE",
            show_default=False,
            readable=False,
        ),
    ],
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Check recipes of jobs without running them; names the line of an error."""

    def job(console: Console) -> bool:
        from vidscale.jobs.recipe_check import check_recipe

        good = True
        for path in recipes:
            problems = check_recipe(path)
            good &= not problems
            if json_output:
                found = [{"line": problem.line, "text": problem.text} for problem in problems]
                emit({"event": "recipe", "recipe": str(path), "problems": found})
                continue
            for problem in problems:
                typer.echo(f"{path}:{problem.line}: {problem.text}", err=True)
            if not problems and not console.quiet:
                typer.echo(f"{path}: ok")
        return good

    if not run_job(job, quiet=quiet):
        raise typer.Exit(1)

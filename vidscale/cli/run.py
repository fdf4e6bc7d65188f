"""``vidscale run``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, emit, print_plan, run_job, show_path

if TYPE_CHECKING:
    from vidscale.jobs.recipe import Recipe


def _list(wanted: bool) -> None:
    if wanted:
        from vidscale.jobs.recipe_files import shipped_recipes

        recipes = shipped_recipes()
        width = max(len(recipe.name) for recipe in recipes)
        for recipe in recipes:
            typer.echo(f"{recipe.name:<{width}}  {'run' if recipe.runs else 'train':<5}  {recipe.description}")
        raise typer.Exit


def run(
    recipe: Annotated[
        Path,
        typer.Argument(
            help="Recipe file (TOML), or the name of one in the package.",
            metavar="RECIPE",
            show_default=False,
            readable=False,
        ),
    ],
    source: options.Input,
    listing: Annotated[
        bool, typer.Option("--list", help="List the recipes in the package.", is_eager=True, callback=_list)
    ] = False,
    output: options.Output = None,
    assignments: options.Assignments = None,
    ffmpeg: options.Ffmpeg = None,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run a job recipe on a video."""

    def job(console: Console) -> None:
        from vidscale.config import DecodeSettings, EncodeSettings
        from vidscale.errors import UsageError
        from vidscale.jobs.recipe import parse_assignments, read_recipe

        wanted = read_recipe(recipe)
        layers: list[dict[str, Any]] = [
            wanted.settings,
            parse_assignments(assignments or []),
            {"ffmpeg": ffmpeg, "overwrite": overwrite or None},
        ]
        if wanted.command == "encode":
            from vidscale.cli.encode import encode_movie

            settings = EncodeSettings.resolve(*layers)
            encode_movie(source, output, settings, console, dry_run=dry_run, json_output=json_output)
        elif wanted.command == "decode":
            from vidscale.cli.decode import decode_movie

            restoring = DecodeSettings.resolve(*layers)
            decode_movie(source, output, restoring, console, dry_run=dry_run, json_output=json_output)
        elif wanted.command == "ladder":
            from vidscale.cli.ladder import write_movie
            from vidscale.config import LadderSettings

            rungs = LadderSettings.resolve(*layers)
            write_movie(source, output, rungs, console, dry_run=dry_run, json_output=json_output)
        elif assignments:
            raise UsageError(f"--set: {recipe} is a pipe, which has no settings")
        else:
            target = output or source.with_name(f"{source.stem}.out{wanted.suffix}")
            _pipe(
                wanted, source, target, ffmpeg, console, overwrite=overwrite, dry_run=dry_run, json_output=json_output
            )

    run_job(job, quiet=quiet)


def _pipe(
    recipe: "Recipe",
    source: Path,
    target: Path,
    ffmpeg: Path | None,
    console: Console,
    *,
    overwrite: bool,
    dry_run: bool,
    json_output: bool,
) -> None:
    from vidscale.errors import DecodeError
    from vidscale.jobs.recipe_commands import filled_commands, run_pipe
    from vidscale.media.ffmpeg import find_ffmpeg
    from vidscale.system.workspace import check_target

    if not source.is_file():
        raise DecodeError(f"{source} does not exist")
    binary = find_ffmpeg(ffmpeg).path
    if dry_run:
        check_target(target, source=source, overwrite=overwrite)
        commands = filled_commands(recipe.stages, source, target, ffmpeg=binary)
        print_plan(target, {}, commands, json_output=json_output)
        return
    run_pipe(recipe, source, target, ffmpeg=binary, overwrite=overwrite)
    _print_result(target, console, json_output=json_output)


def _print_result(target: Path, console: Console, *, json_output: bool) -> None:
    size = target.stat().st_size
    if json_output:
        emit({"event": "piped", "output": str(target), "bytes": size})
    elif not console.quiet:
        typer.echo(f"{show_path(target)}: {size:,} bytes")

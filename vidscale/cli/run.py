"""``vidscale run``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, emit, run_job, show_path

if TYPE_CHECKING:
    from vidscale.recipe import Recipe


def run(
    recipe: Annotated[
        Path, typer.Argument(help="Recipe file (TOML), see pipelines/.", show_default=False, readable=False)
    ],
    source: options.Input,
    output: options.Output = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Setting over the recipe's, key=value.", show_default=False)
    ] = None,
    ffmpeg: options.Ffmpeg = None,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Do with a movie what a recipe says."""

    def job(console: Console) -> None:
        from vidscale.config import DecodeSettings, EncodeSettings
        from vidscale.recipe import parse_assignments, read_recipe

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
        else:
            _pipe(wanted, source, output, console, ffmpeg=ffmpeg, overwrite=overwrite, json_output=json_output)

    run_job(job, quiet=quiet)


def _pipe(
    recipe: "Recipe",
    source: Path,
    output: Path | None,
    console: Console,
    *,
    ffmpeg: Path | None,
    overwrite: bool,
    json_output: bool,
) -> None:
    from vidscale.errors import DecodeError
    from vidscale.ffmpeg import find_ffmpeg
    from vidscale.recipe import run_pipe

    if not source.is_file():
        raise DecodeError(f"{source} does not exist")
    target = output or source.with_name(f"{source.stem}.out{recipe.suffix}")
    run_pipe(recipe, source, target, ffmpeg=find_ffmpeg(ffmpeg).path, overwrite=overwrite)
    if json_output:
        emit({"event": "piped", "output": str(target), "bytes": target.stat().st_size})
    elif not console.quiet:
        typer.echo(f"{show_path(target)}: {target.stat().st_size:,} bytes")

"""``vidscale train``."""

from pathlib import Path
from typing import Annotated

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, emit, run_job, show_path

app = typer.Typer(help="Train pairs of scalers.", no_args_is_help=True)

_Folder = Annotated[
    Path, typer.Option("-o", "--output", help="Folder of the training; where one was stopped, it goes on.")
]
_Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="Setting over the recipe's, such as loop.steps=2000.", show_default=False),
]


@app.command("pack")
def pack(
    photos: Annotated[Path, typer.Argument(help="Folder of photographs.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write (.npy).", show_default=False)],
    side: Annotated[int, typer.Option("--side", help="Side of a piece, pixels.", min=16)] = 160,
    count: Annotated[int, typer.Option("--count", help="Number of pieces.", min=1)] = 4000,
    seed: Annotated[int, typer.Option("--seed", help="Of the choice of pieces.", min=0)] = 0,
    overwrite: options.Overwrite = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Cut pieces out of photographs and put them into one file, to train on here or elsewhere."""

    def job(console: Console) -> None:
        from vidscale.errors import ConfigError
        from vidscale.training.crops import find_pictures, pack_crops

        if output.exists() and not overwrite:
            raise ConfigError(f"{output} exists; -y replaces it")
        pictures = find_pictures(photos)
        used = pack_crops(pictures, output, side=side, count=count, seed=seed, progress=console)
        if json_output:
            emit({"event": "packed", "path": str(output), "pieces": count, "side": side, "pictures": used})
        elif not quiet:
            left_out = f", {len(pictures) - used} were smaller" if used < len(pictures) else ""
            typer.echo(f"{show_path(output)}: {count} pieces of {side}x{side} from {used} pictures{left_out}")

    run_job(job, quiet=quiet)


@app.command("car")
def car(
    crops: Annotated[Path, typer.Argument(help="Packed pieces (train pack).", show_default=False)],
    validation: Annotated[
        Path, typer.Option("--validation", help="Folder of photographs that are not among them.", show_default=False)
    ],
    output: _Folder,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="Recipe file (TOML).", show_default="the paper's")
    ] = None,
    assignments: _Assignments = None,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train CAR (Sun and Chen 2020): downscaler and upscaler together, without a codec between them."""

    def job(console: Console) -> None:
        from vidscale.recipe import parse_assignments
        from vidscale.training.car import CarRecipe, train_car
        from vidscale.training.crops import find_pictures
        from vidscale.training.log import plot_log, read_log
        from vidscale.training.loop import LOG
        from vidscale.training.recipes import read_recipe

        settings = read_recipe(CarRecipe, recipe, parse_assignments(assignments or []))
        trained = train_car(settings, crops, find_pictures(validation), output, console)
        page = output / "training.html"
        plot_log(read_log(output / LOG), page, title=f"CAR, scale {settings.scale}, down by {settings.down}")
        if json_output:
            emit(
                {
                    "event": "trained",
                    "folder": str(output),
                    "steps": trained.steps,
                    "seconds": round(trained.seconds, 1),
                    "best_step": trained.best_step,
                    "validation_db": round(trained.best_db, 4),
                }
            )
        elif not quiet:
            typer.echo(
                f"{show_path(output)}: {trained.best_db:.2f} dB at step {trained.best_step} of {trained.steps}, "
                f"{trained.seconds / 60:.1f} min; curves in {show_path(page)}"
            )

    run_job(job, quiet=quiet)

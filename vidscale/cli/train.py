"""``vidscale train``."""

from pathlib import Path
from typing import Annotated

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, emit, run_job, show_path
from vidscale.cli.train_upscalers import espcn, progressive
from vidscale.cli.training import print_trained, recipe_settings

app = typer.Typer(help="Train pairs of scalers.", no_args_is_help=True)


@app.command("pair", short_help="Train the upscaler of a pair on real encodes.")
def pair(
    recipe: Annotated[
        Path,
        typer.Argument(help="Recipe: a TOML file, or a name in the package such as adaptive_x2.", metavar="RECIPE"),
    ],
    output: options.TrainingFolder,
    photos: options.TrainingPhotos = None,
    validation: options.ValidationPhotos = None,
    clips: options.TrainingClips = None,
    coded: Annotated[
        Path | None,
        typer.Option(
            "--coded",
            help="Folder of encoded training data, to share between runs.",
            metavar="FOLDER",
            show_default="OUTPUT/coded",
        ),
    ] = None,
    assignments: options.Assignments = None,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a pair whose upscaler learns from real encodes of small pictures."""

    def job(console: Console) -> None:
        from vidscale.training.material import Material
        from vidscale.training.pair import PairRecipe, train_pair

        settings = recipe_settings(PairRecipe, recipe, assignments)
        material = Material(photos=photos, validation=validation, clips=clips, sets=coded or output / "coded")
        trained = train_pair(settings, material, output, console)
        print_trained(trained, output, settings.name, json_output=json_output, quiet=quiet)

    run_job(job, quiet=quiet)


@app.command("downscaler", short_help="Train the downscaler of a pair for its upscaler.")
def downscaler(
    recipe: Annotated[
        Path,
        typer.Argument(help="Recipe: a TOML file, or a name in the package such as downscaler_x2.", metavar="RECIPE"),
    ],
    output: options.TrainingFolder,
    photos: options.TrainingPhotos = None,
    validation: options.ValidationPhotos = None,
    clips: options.TrainingClips = None,
    material: Annotated[
        Path | None,
        typer.Option(
            "--material",
            help="Folder of training data, to share between runs.",
            metavar="FOLDER",
            show_default="OUTPUT",
        ),
    ] = None,
    assignments: options.Assignments = None,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train the downscaler of a pair for its upscaler, through a differentiable model of the encoder."""

    def job(console: Console) -> None:
        from vidscale.training.downscaler_pair import DownscalerRecipe, train_downscaler
        from vidscale.training.material import Material

        settings = recipe_settings(DownscalerRecipe, recipe, assignments)
        sets = Material(photos=photos, validation=validation, clips=clips, sets=material or output)
        trained = train_downscaler(settings, sets, output, console)
        print_trained(trained, output, settings.name, json_output=json_output, quiet=quiet)

    run_job(job, quiet=quiet)


@app.command("car", short_help="Train CAR: downscaler and upscaler jointly, without a codec.")
def car(
    crops: options.PackedCrops,
    validation: options.ValidationPictures,
    output: options.TrainingFolder,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="Recipe file (TOML).", metavar="FILE", show_default="the paper's")
    ] = None,
    assignments: options.Assignments = None,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train CAR (Sun and Chen 2020): downscaler and upscaler jointly, without a codec in between."""

    def job(console: Console) -> None:
        from vidscale.training.car import CarRecipe, train_car
        from vidscale.training.crops import find_pictures

        settings = recipe_settings(CarRecipe, recipe, assignments)
        trained = train_car(settings, crops, find_pictures(validation), output, console)
        title = f"CAR, scale {settings.scale}, down by {settings.down}"
        print_trained(trained, output, title, json_output=json_output, quiet=quiet)

    run_job(job, quiet=quiet)


app.command("espcn", short_help="Train ESPCN on your footage.")(espcn)
app.command("progressive", short_help="Train the step-by-step upscaler, for scale 8.")(progressive)


@app.command("pack", short_help="Pack random crops of photographs into one file.")
def pack(
    photos: Annotated[Path, typer.Argument(help="Folder of photographs.", metavar="PHOTOS", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write (.npy).", metavar="FILE", show_default=False)
    ],
    side: Annotated[int, typer.Option("--side", help="Side of a crop, pixels.", metavar="N", min=16)] = 160,
    count: Annotated[int, typer.Option("--count", help="Number of crops.", metavar="N", min=1)] = 4000,
    seed: Annotated[int, typer.Option("--seed", help="Random seed.", metavar="N", min=0)] = 0,
    overwrite: options.Overwrite = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Pack random crops of photographs into one file to train on."""

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
            skipped = f", {len(pictures) - used} were smaller" if used < len(pictures) else ""
            typer.echo(f"{show_path(output)}: {count} pieces of {side}x{side} from {used} pictures{skipped}")

    run_job(job, quiet=quiet)

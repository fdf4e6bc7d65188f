"""``vidscale train espcn`` and ``vidscale train progressive``."""

from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, aligned, emit, run_job
from vidscale.cli.training import print_trained, recipe_settings

if TYPE_CHECKING:
    from vidscale.training.log import Section

_Recipe = Annotated[
    Path | None, typer.Option("--recipe", help="Recipe file (TOML).", metavar="FILE", show_default=False)
]


def espcn(
    footage: Annotated[
        Path, typer.Argument(help="Folder of videos and pictures to train on.", metavar="FOOTAGE", show_default=False)
    ],
    unfamiliar: Annotated[
        Path,
        typer.Option(
            "--unfamiliar", help="Folder of other footage, for measuring only.", metavar="FOLDER", show_default=False
        ),
    ],
    output: options.TrainingFolder,
    recipe: _Recipe = None,
    assignments: options.Assignments = None,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train ESPCN (Shi et al. 2016) on your footage, and measure it on this and on other footage."""

    def job(console: Console) -> None:
        from vidscale.training.espcn import EspcnRecipe, section, train_espcn
        from vidscale.training.log import epochs, read_log
        from vidscale.training.loop import LOG

        settings = recipe_settings(EspcnRecipe, recipe, assignments)
        done = train_espcn(settings, footage, unfamiliar, output, console)
        table = section(done.scores)
        if json_output:
            for epoch in epochs(read_log(output / LOG)):
                emit({"event": "epoch"} | asdict(epoch) | ({} if isfinite(epoch.loss) else {"loss": None}))
            for score in done.scores:
                emit({"event": "score"} | asdict(score))
        elif not quiet:
            _print_table(table)
        title = f"ESPCN, scale {settings.scale}, down by {settings.down}"
        print_trained(done.trained, output, title, [table], json_output=json_output, quiet=quiet)

    run_job(job, quiet=quiet)


def progressive(
    crops: options.PackedCrops,
    validation: options.ValidationPictures,
    output: options.TrainingFolder,
    recipe: _Recipe = None,
    assignments: options.Assignments = None,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train the step-by-step upscaler: each stage separately, then end to end."""

    def job(console: Console) -> None:
        from vidscale.training.crops import find_pictures
        from vidscale.training.progressive import ProgressiveRecipe, train_progressive

        settings = recipe_settings(ProgressiveRecipe, recipe, assignments)
        done = train_progressive(settings, crops, find_pictures(validation), output, console)
        for name, part in done.parts.items():
            title = f"Step by step, scale {settings.scale}, {name}"
            print_trained(part, output / name, title, json_output=json_output, quiet=quiet)
        if json_output:
            emit({"event": "chained"} | asdict(done.scores))
        elif not quiet:
            ways = {name.removesuffix("_db").replace("_", "-"): value for name, value in asdict(done.scores).items()}
            typer.echo(", ".join(f"{way} {value:.2f} dB" for way, value in ways.items() if value is not None))

    run_job(job, quiet=quiet)


def _print_table(section: "Section") -> None:
    typer.echo("\n".join(aligned([section.table.head, *section.table.rows])))

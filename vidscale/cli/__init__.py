"""The command line: the only place that prints, draws progress and exits."""

import logging

import typer

from vidscale.cli import (
    batch,
    compare,
    decode,
    doctor,
    encode,
    images,
    ladder,
    measure,
    models,
    plan,
    play,
    recipe,
    run,
    stage,
    train,
    web,
)
from vidscale.system import lean_numba
from vidscale.system.names import show_any_name

app = typer.Typer(
    name="vidscale",
    help="Encode video at reduced resolution and restore it on playback.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: importing rich takes as long as everything else
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("encode", short_help="Encode a video at the scale that needs the fewest bits.")(encode.encode)
app.command("batch", short_help="Encode many videos, resumable.")(batch.batch)
app.command("plan", short_help="Show what each scale would need, and which one encode takes.")(plan.plan)
app.command("ladder", short_help="Encode a video for HTTP Live Streaming, in several qualities.")(ladder.ladder)
app.command("decode")(decode.decode)
app.command("play", short_help="Play a small file, restored, in mpv or ffplay.")(play.play)
app.command("web", short_help="Write a web page that plays a small file or playlist restored.")(web.web)
app.command("measure")(measure.measure)
app.command("compare", short_help="Measure whether downscaling saves bits: R-D curves, BD-rate.")(compare.compare)
app.add_typer(stage.app, name="stage", short_help="Scale raw video (y4m or NUT) in an ffmpeg pipeline.")
app.add_typer(images.app, name="images")
app.add_typer(models.app, name="models")
app.add_typer(train.app, name="train")
app.command("run")(run.run)
app.add_typer(recipe.app, name="recipe")
app.command("doctor")(doctor.doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"vidscale {version('vidscale')}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", callback=_show_version),
    debug: bool = typer.Option(False, "--debug", help="Log everything, and show tracebacks."),
) -> None:
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(relativeCreated)7.0f ms %(name)s: %(message)s")


def main() -> None:
    """Entry point of the program ``vidscale``."""
    lean_numba.install()
    show_any_name()
    app()

"""``vidscale stage down|up``: a filter between two pipes."""

import sys
from typing import Annotated

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, raw_stdin, raw_stdout, run_job

app = typer.Typer(
    help="Scale raw video (y4m or NUT) from stdin to stdout, in an ffmpeg pipeline.", no_args_is_help=True
)

Format = Annotated[
    str | None,
    typer.Option("--format", help="Output format; default: that of the input.", metavar="y4m|nut", show_default=False),
]
ColorRange = Annotated[
    str | None, typer.Option("--color-range", help="Override the range of the stream.", metavar="tv|pc")
]
Location = Annotated[
    str | None,
    typer.Option(
        "--chroma-location", help="Override the chroma location of the stream.", metavar="left|center|topleft|..."
    ),
]
Strength = Annotated[float, typer.Option("--strength", help="crf of the encoded video.", metavar="CRF")]
PairName = Annotated[
    str,
    typer.Option(
        "--pair", help="Pair of scalers: a family (lanczos, adaptive), a full name or a folder.", metavar="PAIR"
    ),
]


@app.command("down")
def down(
    scale: options.Scale = None,
    pair: PairName = "lanczos",
    strength: Strength = 28.0,
    output_format: Format = None,
    color_range: ColorRange = None,
    chroma_location: Location = None,
    device: options.Device = None,
    quiet: options.Quiet = False,
) -> None:
    """Downscale to the small size."""
    _run("down", scale, pair, output_format, color_range, chroma_location, device, quiet=quiet, strength=strength)


@app.command("up")
def up(
    scale: options.Scale = None,
    pair: PairName = "lanczos",
    size: Annotated[str | None, typer.Option("--size", help="Exact size to restore.", metavar="WIDTHxHEIGHT")] = None,
    strength: Strength = 28.0,
    output_format: Format = None,
    color_range: ColorRange = None,
    chroma_location: Location = None,
    device: options.Device = None,
    quiet: options.Quiet = False,
) -> None:
    """Upscale back to the source's size."""
    _run("up", scale, pair, output_format, color_range, chroma_location, device,
         quiet=quiet, size=size, strength=strength)  # fmt: skip


def _run(
    direction: str,
    scale: str | None,
    pair: str,
    output_format: str | None,
    color_range: str | None,
    chroma_location: str | None,
    device: str | None,
    *,
    quiet: bool,
    size: str | None = None,
    strength: float = 28.0,
) -> None:
    def job(console: Console) -> None:
        from vidscale.config import StageSettings
        from vidscale.jobs.pipe_stage import run_stage

        settings = StageSettings.resolve(
            {
                "pair": pair,
                "scale": scale,
                "size": size,
                "strength": strength,
                "format": output_format,
                "color_range": color_range,
                "chroma_location": chroma_location,
                "device": device,
            }
        )
        try:
            run_stage("down" if direction == "down" else "up", raw_stdin(), raw_stdout(), settings)
        except BrokenPipeError:
            _discard_stdout()  # the reader has closed the pipe, which is not an error

    run_job(job, quiet=quiet)


def _discard_stdout() -> None:
    """Keeps the interpreter from flushing into the closed pipe at exit."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

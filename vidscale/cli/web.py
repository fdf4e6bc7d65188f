"""``vidscale web``."""

from pathlib import Path
from typing import Annotated

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, emit, run_job, show_path
from vidscale.cli.decode import Strength


def web(
    source: options.Input,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder to write.", metavar="FOLDER", show_default=False)
    ],
    pair: options.MadeBy = None,
    scale: options.MadeAt = None,
    strength: Strength = None,
    overwrite: options.Overwrite = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a web page that plays a small file restored, on the viewer's GPU."""

    def job(console: Console) -> None:
        from vidscale.config import DecodeSettings
        from vidscale.jobs.restore import open_small
        from vidscale.media.ffmpeg import find_ffmpeg
        from vidscale.players.web import write_site

        settings = DecodeSettings.resolve({"pair": pair, "scale": scale, "strength": strength})
        small = open_small(source, ffmpeg=find_ffmpeg(settings.ffmpeg).path, settings=settings)
        site = write_site(small, output, overwrite=overwrite)
        for note in site.notes:
            console.note(note)
        if json_output:
            record = {"output": str(site.index), "bytes": site.bytes, "pair": small.pair.name}
            emit({"event": "page"} | record)
        elif not quiet:
            typer.echo(f"{show_path(site.index)}: {site.bytes:,} bytes and the movie; serve the folder over HTTP")

    run_job(job, quiet=quiet)

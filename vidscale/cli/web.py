"""``vidscale web``."""

from pathlib import Path
from typing import Annotated

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, emit, run_job, show_path
from vidscale.cli.decode import Strength


def web(
    source: options.SmallFile,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder to write.", metavar="FOLDER", show_default=False)
    ],
    pair: options.RestorePair = None,
    scale: options.RestoreScale = None,
    strength: Strength = None,
    overwrite: options.Overwrite = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a web page that plays a small file or a playlist restored, on the viewer's GPU."""

    def job(console: Console) -> None:
        from vidscale.config import DecodeSettings
        from vidscale.players.web import write_site

        settings = DecodeSettings.resolve({"pair": pair, "scale": scale, "strength": strength, "overwrite": overwrite})
        site = write_site(source, output, settings)
        for note in site.notes:
            console.note(note)
        if json_output:
            record = {"output": str(site.index), "bytes": site.bytes, "pairs": list(site.pairs)}
            emit({"event": "page"} | record)
        elif not quiet:
            typer.echo(f"{show_path(site.index)}: {site.bytes:,} bytes and the movie; serve the folder over HTTP")

    run_job(job, quiet=quiet)

"""``vidscale models``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, emit, run_job, show_path

if TYPE_CHECKING:
    from vidscale.models.cards import PairCard

app = typer.Typer(help="List, inspect, export and import pairs of scalers.", no_args_is_help=True)


@app.command("list")
def list_pairs(json_output: options.Json = False) -> None:
    """List the installed pairs."""

    def job(console: Console) -> None:
        from vidscale.errors import ModelError
        from vidscale.media.geometry import scale_text
        from vidscale.models.cards import installed, read_card
        from vidscale.models.fixed_pair import families

        for family in families():
            _show_fixed(family, json_output=json_output)
        broken = 0
        for folder in installed().values():
            try:
                card = read_card(folder)
            except ModelError as error:
                console.note(f"vidscale: {error}")
                broken += 1
                continue
            if json_output:
                emit({"event": "pair"} | _record(card, folder))
            else:
                scale = f"x{scale_text(card.scale)}"
                typer.echo(f"{card.name:<24} {scale}, {card.parameters:,} parameters, licence: {card.licence}")
        if broken:
            raise typer.Exit(1)

    run_job(job)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of a pair, or its folder.", metavar="PAIR", show_default=False)],
    json_output: options.Json = False,
) -> None:
    """Show the card of a pair and check its weights."""

    def job(console: Console) -> None:
        from vidscale.models.fixed_pair import families

        if name in families():
            _show_fixed(name, json_output=json_output)
            return
        from vidscale.models.cards import find_pair_dir
        from vidscale.models.pair_files import load_pair_dir

        folder = find_pair_dir(name)
        record = _record(load_pair_dir(folder).card, folder)
        if json_output:
            emit({"event": "pair"} | record)
            return
        known = {field: value for field, value in record.items() if value is not None}
        width = max(12, *map(len, known))
        for field, value in known.items():
            text = ", ".join(f"{key} {part}" for key, part in value.items()) if isinstance(value, dict) else value
            typer.echo(f"{field:<{width}} {text}")

    run_job(job)


@app.command("export", short_help="Write a pair to a folder, or its upscaler as a shader or ONNX.")
def export(
    name: Annotated[str, typer.Argument(help="Name of a pair, or its folder.", metavar="PAIR", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder or file to write.", metavar="PATH", show_default=False)
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="The pair itself, or its upscaler as a shader for mpv and libplacebo, or as ONNX.",
            metavar="folder|glsl|onnx",
        ),
    ] = "folder",
    crf: Annotated[
        float | None,
        typer.Option(
            "--crf",
            help="Coding strength to write into the shader or model; default: a parameter of it.",
            metavar="CRF",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="Replace an existing pair or file.")] = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a pair to a folder, for use on other machines with --pair FOLDER, or its upscaler for other programs."""

    def job(console: Console) -> None:
        from vidscale.errors import ModelError, UsageError
        from vidscale.models.cards import find_pair_dir
        from vidscale.models.fixed_pair import families

        if name in families():
            raise ModelError(f"{name} is a fixed filter: there are no weights to export")
        if to != "folder":
            _convert(find_pair_dir(name), output, to, crf, overwrite=overwrite, json_output=json_output, quiet=quiet)
            return
        if crf is not None:
            raise UsageError(f"--crf {crf:g}: only with --to glsl or onnx")
        if (kind := output.suffix.lower().removeprefix(".")) in ("glsl", "onnx"):
            raise UsageError(f"{output} would be a folder; --to {kind} writes a file")
        from vidscale.models.pair_files import copy_pair_dir

        card = copy_pair_dir(find_pair_dir(name), output, overwrite=overwrite)
        if json_output:
            emit({"event": "exported"} | _record(card, output))
        elif not quiet:
            typer.echo(f"{card.name}: {card.parameters:,} parameters, in {show_path(output)}")

    run_job(job, quiet=quiet)


@app.command("import-car", short_help="Import the checkpoints published with CAR as a pair.")
def import_car(
    kgn: Annotated[Path, typer.Argument(help="Published downscaler, kgn.pth.", metavar="KGN", show_default=False)],
    usn: Annotated[Path, typer.Argument(help="Published upscaler, usn.pth.", metavar="USN", show_default=False)],
    scale: Annotated[int, typer.Option("--scale", help="Scale of the checkpoints.", metavar="2|4", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder to write.", metavar="FOLDER", show_default="the user's pairs"),
    ] = None,
    family: Annotated[str, typer.Option("--family", help="Name of the pair: FAMILY-xSCALE.", metavar="FAMILY")] = "car",
    licence: Annotated[
        str, typer.Option("--licence", help="Licence of the weights, for the card.", metavar="TEXT")
    ] = "unknown",
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="Replace an existing pair.")] = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Import the checkpoints published with CAR (Sun and Chen 2020) as a pair."""

    def job(console: Console) -> None:
        from vidscale.errors import UsageError
        from vidscale.models.cards import user_folder
        from vidscale.models.checkpoint import import_edsr, import_resampler
        from vidscale.models.pair_files import write_pair_dir

        if scale not in (2, 4):
            raise UsageError(f"--scale {scale}: CAR exists for 2 and 4 only")
        name = f"{family}-x{scale}"
        folder = output or user_folder() / name
        card = write_pair_dir(
            folder,
            name,
            import_resampler(kgn, scale),
            import_edsr(usn, scale),
            licence=licence,
            source=f"imported from {kgn.name} and {usn.name}",
            overwrite=overwrite,
        )
        if json_output:
            emit({"event": "imported"} | _record(card, folder))
        elif not quiet:
            typer.echo(f"{card.name}: {card.parameters:,} parameters, in {show_path(folder)}")

    run_job(job, quiet=quiet)


def _convert(
    folder: Path, output: Path, to: str, crf: float | None, *, overwrite: bool, json_output: bool, quiet: bool
) -> None:
    from vidscale.players.files import export_network

    card = export_network(folder, output, to, strength=crf, overwrite=overwrite)
    size = output.stat().st_size
    if json_output:
        record = {"pair": card.name, "scale": str(card.scale), "format": to, "output": str(output), "bytes": size}
        emit({"event": "converted"} | record)
    elif not quiet:
        typer.echo(f"{card.name} as {to}: {size:,} bytes, in {show_path(output)}")


def _record(card: "PairCard", folder: Path) -> dict[str, Any]:
    return vars(card) | {"scale": str(card.scale), "folder": str(folder)}


def _show_fixed(family: str, *, json_output: bool) -> None:
    if json_output:
        from vidscale.models.cards import PairCard

        unset = dict.fromkeys([*PairCard.__dataclass_fields__, "folder"])
        emit({"event": "pair"} | unset | {"name": family, "sha256": "", "parameters": 0})
    else:
        typer.echo(f"{family:<24} any scale from 1 to 8, a fixed filter without weights")

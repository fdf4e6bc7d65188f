"""``vidscale decode``."""

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, emit, print_plan, raw_stdout, run_job, show_path

if TYPE_CHECKING:
    from vidscale.config import DecodeSettings
    from vidscale.jobs.restore import SmallFile

_OF_RAW_VIDEO = {"scale", "strength", "device", "ffmpeg", "strict", "overwrite"}  # settings that apply to it
Strength = Annotated[
    float | None,
    typer.Option("--strength", help="crf of a file without identity.", metavar="CRF", show_default="28"),
]


def decode(
    context: typer.Context,
    source: options.SmallFile,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="File to write, - for stdout (y4m).",
            metavar="FILE",
            show_default="NAME.restored.EXT beside SOURCE",
        ),
    ] = None,
    crf: Annotated[
        float | None,
        typer.Option("--crf", help="Constant rate factor; lower is better.", metavar="CRF", show_default="16"),
    ] = None,
    codec: options.Codec = None,
    preset: options.Preset = None,
    encoder_params: options.Params = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="Write FFV1 in Matroska, lossless x264 in MP4.")] = False,
    y4m: Annotated[
        bool, typer.Option("--y4m", help="Write raw video to stdout or to the output, without audio.")
    ] = False,
    pair: options.RestorePair = None,
    scale: options.RestoreScale = None,
    strength: Strength = None,
    device: options.Device = None,
    ffmpeg: options.Ffmpeg = None,
    strict: options.Strict = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Restore a small file to its source's size."""

    def job(console: Console) -> None:
        from vidscale.config import DecodeSettings

        settings = DecodeSettings.resolve(options.given(context, DecodeSettings))
        if y4m or output == "-":
            _to_y4m(source, output or "-", settings, console, dry_run=dry_run, json_output=json_output)
            return
        target = None if output is None else Path(output)
        decode_movie(source, target, settings, console, dry_run=dry_run, json_output=json_output)

    run_job(job, quiet=quiet)


def decode_movie(
    source: Path,
    output: Path | None,
    settings: "DecodeSettings",
    console: Console,
    *,
    dry_run: bool = False,
    json_output: bool = False,
) -> None:
    """Plans, restores and prints the result; shared with recipes."""
    from vidscale.jobs.pipeline import decode as run_decode
    from vidscale.jobs.planning import plan_decode
    from vidscale.jobs.plans import commands

    started = time.perf_counter()
    plan = plan_decode(source, output, settings)
    _show(plan.notes, console)
    if dry_run:
        resolved = settings.model_dump(mode="json")
        pair = plan.small.pair.name
        print_plan(plan.output.path, resolved, commands(plan), pair=pair, json_output=json_output)
        return
    outcome = run_decode(plan, console)
    console.close()
    _show(outcome.notes, console)
    _print_result(plan.small, outcome.path, outcome.frames, console, started, json_output=json_output)


def _print_result(
    small: "SmallFile", path: Path, frames: int, console: Console, started: float, *, json_output: bool
) -> None:
    info, pair = small.restored, small.pair.name
    if json_output:
        emit(
            {
                "event": "restored",
                "output": str(path),
                "frames": frames,
                "bytes": path.stat().st_size,
                "width": info.width,
                "height": info.height,
                "pair": pair,
                "seconds": round(time.perf_counter() - started, 3),
            }
        )
    elif not console.quiet:
        from vidscale.text import plural

        counted = plural(frames, "frame")
        typer.echo(f"{show_path(path)}: {counted}, {info.width}x{info.height}, restored by {pair}")


def _to_y4m(
    source: Path,
    output: str,
    settings: "DecodeSettings",
    console: Console,
    *,
    dry_run: bool,
    json_output: bool,
) -> None:
    from vidscale.errors import UsageError
    from vidscale.jobs.raw_output import open_for_y4m, write_y4m, write_y4m_file

    started = time.perf_counter()
    target = None if output == "-" else Path(output)
    if target is None and json_output and not dry_run:
        raise UsageError("--json and the video cannot both go to stdout: name an output file")
    small = open_for_y4m(source, target, settings)
    _show(small.notes, console)
    if dry_run:
        resolved = settings.model_dump(mode="json", include=_OF_RAW_VIDEO)
        print_plan(output, resolved, pair=small.pair.name, json_output=json_output)
        return
    if target is None:
        with contextlib.suppress(BrokenPipeError):  # the reader has closed the pipe
            _, notes = write_y4m(small, raw_stdout(), strict=settings.strict, progress=console)
            _show(notes, console)
        return
    overwrite, strict = settings.overwrite, settings.strict
    frames, notes = write_y4m_file(small, target, strict=strict, overwrite=overwrite, progress=console)
    _show(notes, console)
    console.close()
    _print_result(small, target, frames, console, started, json_output=json_output)


def _show(notes: Iterable[str], console: Console) -> None:
    for note in notes:
        console.note(note)

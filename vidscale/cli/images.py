"""``vidscale images down|up|roundtrip|bench``: folders of pictures."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, aligned, emit, run_job, show_path

if TYPE_CHECKING:
    from vidscale.config import ImageSettings
    from vidscale.images.bench import BenchResult, Scored
    from vidscale.images.jobs import Failed, Result, Scaled
    from vidscale.images.methods import Method
    from vidscale.images.summary import Summary

app = typer.Typer(help="Scale folders of pictures, and compare methods.", no_args_is_help=True)

Paths = Annotated[
    list[Path],
    typer.Argument(
        help="Folders and files: PNG, JPEG, WebP, TIFF, BMP.", metavar="PATH", show_default=False, readable=False
    ),
]
Folder = Annotated[
    Path, typer.Option("-o", "--output", help="Folder to write.", metavar="FOLDER", show_default=False, readable=False)
]
FolderOrNone = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", help="Folder to write; without it, nothing is written.", metavar="FOLDER", show_default=False
    ),
]
Pair = Annotated[
    str | None,
    typer.Option(
        "--pair",
        help="Pair of scalers: a family (lanczos, car), a full name (car-x2) or a folder.",
        metavar="PAIR",
        show_default="lanczos",
    ),
]
Format = Annotated[
    str | None, typer.Option("--format", help="Format to write.", metavar="png|jpeg|webp|tiff", show_default="png")
]
Quality = Annotated[
    int | None,
    typer.Option("--quality", help="JPEG and WebP quality.", metavar="1..100", show_default="JPEG 95, WebP lossless"),
]


@app.command("down")
def down(
    context: typer.Context,
    paths: Paths,
    output: Folder,
    scale: options.Scale = None,
    pair: Pair = None,
    picture_format: Format = None,
    quality: Quality = None,
    device: options.Device = None,
    overwrite: options.Overwrite = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Downscale pictures. Each stores how to restore it."""

    def work(settings: "ImageSettings", console: Console) -> "Iterator[Result]":
        from vidscale.images.jobs import downscale_folder

        return downscale_folder(paths, output, settings, console)

    _run(work, context, json_output=json_output, quiet=quiet)


@app.command("up")
def up(
    context: typer.Context,
    paths: Paths,
    output: Folder,
    scale: options.RestoreScale = None,
    pair: options.RestorePair = None,
    size: Annotated[
        str | None,
        typer.Option("--size", help="Size to restore.", metavar="WIDTHxHEIGHT", show_default="stored in the picture"),
    ] = None,
    picture_format: Format = None,
    quality: Quality = None,
    device: options.Device = None,
    overwrite: options.Overwrite = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Restore small pictures to their source size."""

    def work(settings: "ImageSettings", console: Console) -> "Iterator[Result]":
        from vidscale.images.jobs import upscale_folder

        return upscale_folder(paths, output, settings, console)

    _run(work, context, json_output=json_output, quiet=quiet)


@app.command("roundtrip")
def round_trip(
    context: typer.Context,
    paths: Paths,
    output: FolderOrNone = None,
    scale: options.Scale = None,
    pair: Pair = None,
    picture_format: Format = None,
    quality: Quality = None,
    device: options.Device = None,
    overwrite: options.Overwrite = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Downscale pictures, restore them, and measure the loss."""

    def work(settings: "ImageSettings", console: Console) -> "Iterator[Result]":
        from vidscale.images.jobs import round_trip_folder

        return round_trip_folder(paths, output, settings, console)

    _run(work, context, json_output=json_output, quiet=quiet)


@app.command("bench", short_help="Compare methods of scaling pictures, the way papers do.")
def bench(
    context: typer.Context,
    paths: Paths,
    output: FolderOrNone = None,
    scale: Annotated[
        str | None,
        typer.Option("--scale", help="Source size over small size, 1 to 8.", metavar="2|1.5|3/2", show_default="2"),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option("--pairs", help="Pairs to compare.", metavar="PAIR,PAIR|none", show_default="all installed ones"),
    ] = None,
    device: options.Device = None,
    overwrite: options.Overwrite = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare methods of downscaling and restoring pictures, the way papers do.

    The protocol is that of papers on Set5, Set14, BSD100 and Urban100: give the folder of the full-size pictures; small
    pictures are made here. docs/command-line.md has the details.
    """

    def job(console: Console) -> None:
        from vidscale.config import BenchSettings
        from vidscale.images.bench import BenchResult, Scored, run_bench
        from vidscale.images.bench_files import PAGE, check_outputs, markdown, write_bench
        from vidscale.images.methods import find_methods

        settings = BenchSettings.resolve(options.given(context, BenchSettings))
        if output is not None:
            check_outputs(output, paths[0], overwrite=overwrite)
        methods = find_methods(settings, console)
        results = []
        for result in run_bench(paths, methods, crops=output is not None, progress=console):
            results.append(result)
            if not isinstance(result, Scored):
                _print_failure(result)
            if json_output:
                emit(_scores(result, methods) if isinstance(result, Scored) else _record(result))
        console.close()
        bench = BenchResult.of(methods, results)
        if output is not None and bench.pictures:
            write_bench(bench, output, paths[0], overwrite=overwrite)
            console.note(f"page: {show_path(output / PAGE)}")
        if json_output:
            emit(_means(bench))
        elif bench.pictures and not quiet:
            typer.echo(markdown(bench), nl=False)
        if bench.failures:
            raise typer.Exit(1)

    run_job(job, quiet=quiet)


def _run(
    work: "Callable[[ImageSettings, Console], Iterator[Result]]",
    context: typer.Context,
    *,
    json_output: bool,
    quiet: bool,
) -> None:
    def job(console: Console) -> None:
        from vidscale.config import ImageSettings
        from vidscale.images.jobs import Failed
        from vidscale.images.summary import summarize

        settings = ImageSettings.resolve(options.given(context, ImageSettings, picture_format="format"))
        results = []
        for result in work(settings, console):
            results.append(result)
            if isinstance(result, Failed):
                _print_failure(result)
            else:
                for note in result.notes:
                    console.note(f"{show_path(result.source)}: {note}")
            if json_output:
                emit(_record(result))
        console.close()
        summary = summarize(results)
        if json_output:
            emit(_totals(summary))
        elif not quiet:
            typer.echo("\n".join(_table([result for result in results if not isinstance(result, Failed)], summary)))
        if summary.failed:
            raise typer.Exit(1)

    run_job(job, quiet=quiet)


def _print_failure(failed: "Failed") -> None:
    typer.echo(f"vidscale: {failed.source}: {' '.join(failed.error.split())}", err=True)


def _record(result: "Result") -> dict[str, Any]:
    record = asdict(result)
    return {"event": "picture_failed" if "error" in record else "picture"} | record


def _totals(summary: "Summary") -> dict[str, Any]:
    record = asdict(summary)
    for metric in ("psnr_y", "ssim_y"):
        mean = getattr(summary, metric)
        record[metric] = None if mean is None else mean.value
    perfect = None if summary.psnr_y is None else summary.psnr_y.perfect
    return {"event": "pictures"} | record | {"perfect": perfect}


def _scores(scored: "Scored", methods: "Sequence[Method]") -> dict[str, Any]:
    scores = {
        method.name: {"psnr_y": score.psnr_y, "ssim_y": score.ssim_y}
        for method, score in zip(methods, scored.scores, strict=True)
    }
    record = {"event": "picture_scores", "source": str(scored.path), "width": scored.width, "height": scored.height}
    return record | {"scores": scores}


def _means(bench: "BenchResult") -> dict[str, Any]:
    from vidscale.media.versions import versions

    methods = {
        row.method: {
            "psnr_y": row.psnr_y.value,
            "perfect": row.psnr_y.perfect,
            "ssim_y": row.ssim_y.value,
        }
        for row in bench.rows
    }
    counts = {"pictures": len(bench.pictures), "failed": len(bench.failures)}
    return {"event": "benched", "scale": str(bench.scale)} | counts | {"methods": methods, "versions": versions()}


def _table(scaled: "list[Scaled]", summary: "Summary") -> list[str]:
    """One line per picture, and a total."""
    from vidscale.text import format_bytes

    rows = [
        (
            show_path(result.source),
            f"{result.width}x{result.height}",
            f"{result.small_width}x{result.small_height}",
            format_bytes(result.bytes),
            *(() if result.psnr_y is None else (_decibel(result.psnr_y), _number(result.ssim_y, 4))),
        )
        for result in scaled
    ]
    if not rows:
        return [_total(summary)]
    head = ("picture", "size", "small", "bytes", "PSNR-Y", "SSIM-Y")[: len(rows[0])]
    return [*aligned([head, *rows]), _total(summary)]


def _total(summary: "Summary") -> str:
    from vidscale.text import format_bytes, plural

    read, made = format_bytes(summary.source_bytes), format_bytes(summary.bytes)
    total = f"{plural(summary.pictures, 'picture')}, {made} of {read}, {summary.seconds:.1f} s"
    if summary.psnr_y is not None and summary.ssim_y is not None:
        some_perfect = summary.psnr_y.perfect and math.isfinite(summary.psnr_y.value)
        perfect = f" without {summary.psnr_y.perfect} perfect" if some_perfect else ""
        total += f"; mean PSNR-Y {_decibel(summary.psnr_y.value)}{perfect}, SSIM-Y {_number(summary.ssim_y.value, 4)}"
    return f"{total}; {summary.failed} failed" if summary.failed else total


def _decibel(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f} dB"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"

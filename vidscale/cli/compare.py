"""``vidscale compare``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidscale.cli import options
from vidscale.cli.compare_text import LEGEND, answer_lines, bd_record, table_lines
from vidscale.cli.console import Console, emit, run_job, show_path

if TYPE_CHECKING:
    from vidscale.compare.points import Comparison

DEFAULT_FOLDER = Path("vidscale-compare")


def compare(
    context: typer.Context,
    movies: Annotated[
        list[Path], typer.Argument(help="Video files.", metavar="MOVIE", show_default=False, readable=False)
    ],
    pairs: Annotated[
        str | None,
        typer.Option(
            "--pairs",
            help="Pairs of scalers, comma-separated; ffmpeg-lanczos and ffmpeg-bicubic are ffmpeg's own.",
            metavar="FAMILY|DOWN:UP",
            show_default="auto,ffmpeg-lanczos",
        ),
    ] = None,
    scales: Annotated[
        str | None, typer.Option("--scales", help="Scales to try.", metavar="2,1.5,3/2", show_default="2")
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option("--codec", help="Encoders, comma-separated.", metavar="x264|x265|svtav1", show_default="x264"),
    ] = None,
    preset: options.Preset = None,
    encoder_params: options.Params = None,
    rates: Annotated[
        str | None, typer.Option("--rates", help="crf values.", metavar="auto|CRF,CRF", show_default="auto")
    ] = None,
    samples: Annotated[
        str | None,
        typer.Option(
            "--samples",
            help="Encode N segments of SECONDS each.",
            metavar="NxSECONDS",
            show_default="5x4; all of a movie of up to 20 s",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            help="Metrics, comma-separated; psnr, ssim and xpsnr are those of luma.",
            metavar="psnr_y|ssim_y|vmaf|vmaf_neg|xpsnr_y",
            show_default="psnr_y,ssim_y,vmaf,vmaf_neg",
        ),
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(
            "--within",
            help="Compare only in this range of a metric; automatic rates span it.",
            metavar="METRIC=LOW:HIGH",
        ),
    ] = None,
    folder: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Folder for all files; rerun with the same one to resume.",
            metavar="FOLDER",
            readable=False,
        ),
    ] = DEFAULT_FOLDER,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Also plot the curves: PNG, SVG or PDF.", metavar="FILE", readable=False),
    ] = None,
    interlaced: options.Interlaced = None,
    alpha: options.Alpha = None,
    effort: options.Effort = None,
    device: options.Device = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", help="Trials in parallel.", metavar="N", show_default="limited by cores and memory"),
    ] = None,
    ffmpeg: options.Ffmpeg = None,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure whether downscaling saves bits: encode movies at full size and through pairs of scalers, and compare."""

    def job(console: Console) -> bool:
        from vidscale.cli.compare_view import ComparisonView
        from vidscale.compare.output.files import write_comparison
        from vidscale.compare.output.plots import check_plot, plot_curves
        from vidscale.compare.running import run_comparison
        from vidscale.compare.settings import CompareSettings

        started = time.perf_counter()
        settings = CompareSettings.resolve(options.given(context, CompareSettings, codec="codecs"))
        if plot is not None:
            check_plot(plot, coming=folder)
        kept = f"finished trials are kept in {show_path(folder)}; rerun the same command to resume"
        comparison = run_comparison(movies, folder, settings, ComparisonView(console, kept))
        if comparison.curves:  # otherwise keep what an earlier run wrote
            write_comparison(comparison, folder)
            if plot is not None:
                plot_curves(comparison, plot)
        console.close()
        _print_results(comparison, folder, plot, console, time.perf_counter() - started, json_output=json_output)
        return bool(comparison.failures)

    if run_job(job, quiet=quiet):
        raise typer.Exit(1)


def _print_results(
    comparison: "Comparison",
    folder: Path,
    plot: Path | None,
    console: Console,
    seconds: float,
    *,
    json_output: bool,
) -> None:
    from vidscale.compare.analysis.table import bd_rows

    rows = bd_rows(comparison)
    if json_output:
        for row in rows:
            emit(bd_record(row))
        for movie, reason in comparison.failures:
            emit({"event": "failed", "movie": movie, "reason": reason})
        emit(
            {
                "event": "compared",
                "output": str(folder) if comparison.curves else None,
                "plot": str(plot) if plot and comparison.curves else None,
                "movies": len(comparison.movies),
                "failed": len(comparison.failures),
                "points": sum(len(curve.points) for curve in comparison.curves),
                "seconds": round(seconds, 3),
            }
        )
        return
    if console.quiet or not comparison.curves:
        return
    for line in (*answer_lines(comparison), *table_lines(rows)):
        typer.echo(line)
    console.note(LEGEND)
    console.note(f"page: {show_path(folder / 'index.html')}")

"""``vidscale batch``."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, aligned, emit, run_job, show_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vidscale.batch.inputs import Entry
    from vidscale.batch.results import MovieResult
    from vidscale.batch.running import BatchMovie
    from vidscale.config import BatchSettings, EncodeSettings
    from vidscale.quality import Target

_WATCH_S = 0.5  # between two looks at watched folders


def batch(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Videos, folders, patterns, lists (.txt), queues (.jsonl).", metavar="INPUT", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write.", metavar="FOLDER", show_default=False)
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe",
            help="Recipe of encode: a file (TOML), or the name of one in the package; options override it.",
            metavar="RECIPE",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Wait for new files in the input folders, until interrupted.")
    ] = False,
    jobs: options.Jobs = None,
    engine: Annotated[
        str | None, typer.Option("--engine", help="What runs the workers.", metavar="local|ray", show_default="local")
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            help="Running Ray to use.",
            metavar="auto|HOST:PORT",
            show_default="start one on this machine",
        ),
    ] = None,
    container: Annotated[
        str | None,
        typer.Option(
            "--container",
            help="Container of all outputs.",
            metavar="mp4|mkv|mov|webm|ts",
            show_default="the source's, else mkv",
        ),
    ] = None,
    least: Annotated[
        str | None,
        typer.Option("--least", help="Flag movies below this quality.", metavar="METRIC=VALUE", show_default=False),
    ] = None,
    status: Annotated[
        Path | None,
        typer.Option("--status", help="Page to keep up to date while it runs.", metavar="FILE.html", readable=False),
    ] = None,
    scale: options.EncodeScale = None,
    crf: Annotated[
        float | None, typer.Option("--crf", help="Constant rate factor.", metavar="CRF", show_default="28")
    ] = None,
    codec: options.Codec = None,
    preset: options.Preset = None,
    pair: options.Pair = None,
    tune: options.Tune = None,
    target: options.Target = None,
    target_percentile: options.TargetPercentile = None,
    max_size: options.MaxSize = None,
    max_bitrate: options.MaxBitrate = None,
    judge: options.Judge = None,
    client: options.Client = None,
    best_effort: options.BestEffort = False,
    effort: options.Effort = None,
    adapt: options.Adapt = None,
    chunks: Annotated[
        str | None, typer.Option("--chunks", help="Chunks of each movie.", metavar="N|auto", show_default="auto")
    ] = None,
    device: options.Device = None,
    time_range: options.TimeRange = None,
    report: Annotated[
        bool | None,
        typer.Option("--report/--no-report", help="Restore and measure every movie.", show_default="report"),
    ] = None,
    verdict: Annotated[
        bool | None,
        typer.Option("--verdict/--no-verdict", help="Estimate the bits of the full size.", show_default="verdict"),
    ] = None,
    encoder_params: options.Params = None,
    interlaced: options.Interlaced = None,
    alpha: options.Alpha = None,
    ssim: options.Ssim = None,
    vmaf: options.Vmaf = False,
    xpsnr: options.Xpsnr = False,
    ffmpeg: options.Ffmpeg = None,
    strict: options.Strict = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Encode many videos. A failure does not stop the others; after an interruption the same command resumes."""

    def job(console: Console) -> bool:
        asked = _asked(inputs or [], output, context, recipe)
        if dry_run:
            return _print_movies(asked, json_output=json_output)
        return _run(asked, status, console, watch=watch, json_output=json_output)

    if not run_job(job, quiet=quiet):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for, by the options and a recipe."""

    inputs: "Sequence[str]"
    output: Path
    settings: "EncodeSettings"
    batch: "BatchSettings"
    then: tuple[tuple[str, ...], ...]

    def planned(self, entries: "Sequence[Entry]") -> "list[BatchMovie]":
        from vidscale.batch.running import plan_batch

        return plan_batch(entries, self.output, self.settings, self.batch, self.then)


def _asked(
    inputs: "Sequence[str]",
    output: Path | None,
    context: typer.Context,
    recipe: Path | None,
) -> _Asked:
    from vidscale.config import BatchRecipe, BatchSettings, EncodeSettings
    from vidscale.errors import UsageError
    from vidscale.jobs.recipe import read_recipe

    settings: dict[str, Any] = {}
    job = BatchRecipe()
    if recipe is not None:
        read = read_recipe(recipe)
        if read.command != "encode":
            raise UsageError(f"{recipe} is a recipe for {read.command}; batch takes those for encode")
        settings, job = read.settings, read.batch or job
    named = inputs or job.inputs
    if not named:
        raise UsageError("no inputs: name movies, folders, patterns, lists or queues")
    target = output or (Path(job.output) if job.output else None)
    if target is None:
        raise UsageError("no output folder: name one with -o")
    encoding = EncodeSettings.resolve(settings, options.given(context, EncodeSettings, jobs=None))
    own = BatchSettings.resolve(job.options, options.given(context, BatchSettings))
    return _Asked(named, target, encoding, own, job.then)


def _print_movies(asked: _Asked, *, json_output: bool) -> bool:
    from vidscale.batch.inputs import movies_of

    for movie in asked.planned(movies_of(asked.inputs, asked.output)):
        if json_output:
            settings = movie.settings.model_dump(mode="json")
            emit({"event": "planned", "movie": str(movie.source), "output": str(movie.target), "settings": settings})
        else:
            typer.echo(f"{movie.source} -> {movie.target}")
    return True


def _run(asked: _Asked, status: Path | None, console: Console, *, watch: bool, json_output: bool) -> bool:
    """Runs the batch and prints the summary; returns whether every movie succeeded."""
    from vidscale.batch.folder_watch import FolderWatch
    from vidscale.batch.inputs import movies_of
    from vidscale.batch.local import LocalEngine
    from vidscale.batch.page import StatusPage, write_index
    from vidscale.batch.ray_engine import RayEngine
    from vidscale.batch.running import RESULTS, run_batch
    from vidscale.batch.watching import Watches
    from vidscale.cli.batch_view import BatchView
    from vidscale.system.workspace import check_folder, check_page

    started = time.perf_counter()
    batch, output = asked.batch, asked.output
    folders = FolderWatch(asked.inputs, output) if watch else None
    movies = [] if folders else asked.planned(movies_of(asked.inputs, output))
    check_folder(output, record=RESULTS)
    if status is not None:
        check_page(status, coming=output)
    page = [] if status is None else [StatusPage(status, output.resolve().name)]
    results: dict[str, MovieResult] = {}
    with LocalEngine(batch.jobs) if batch.engine == "local" else RayEngine(batch.jobs, batch.ray_address) as engine:
        console.finished = "finished movies and chunks are kept; rerun the same command to resume"
        while True:
            console.check()
            if folders:
                movies = asked.planned(folders.complete())
            if movies:
                view = BatchView(console, json_output=json_output)
                ended = run_batch(movies, output, batch, engine, Watches(view, *page))
                console.close()
                results |= {result.output: result for result in ended}
                index = write_index(list(results.values()), output, batch.least)
                seconds = time.perf_counter() - started
                _print_summary(ended, index, batch.least, seconds, console, json_output=json_output)
            if not folders:
                break
            time.sleep(_WATCH_S)
    console.finished = ""
    return all(result.state != "failed" for result in results.values())


def _print_summary(
    results: "Sequence[MovieResult]",
    index: Path,
    least: "Target | None",
    seconds: float,
    console: Console,
    *,
    json_output: bool,
) -> None:
    from vidscale.batch.page import worst_first

    failed = sum(result.state == "failed" for result in results)
    low = sum(result.is_low for result in results)
    if json_output:
        for result in results:
            emit({"event": "movie", **asdict(result)})
        counts = {"movies": len(results), "failed": failed, "low": low}
        emit({"event": "batch", "index": str(index), **counts, "seconds": round(seconds, 3)})
        return
    if console.quiet:
        return
    rows = [["", "frames", "size", "of source", "PSNR-Y", "bits", "time", ""]]
    rows += [_cells(result) for result in worst_first(results, least)]
    for line in aligned(rows):
        typer.echo(line.rstrip())
    flagged = f", {low} below {least}" if least and low else ""
    typer.echo(f"{len(results) - failed} of {len(results)} movies{flagged}, {seconds:.0f} s: {show_path(index)}")


def _cells(result: "MovieResult") -> list[str]:
    from vidscale.text import format_bytes, shown

    name = show_path(Path(result.output))
    if result.state == "failed":
        return [name, *[""] * 6, "failed"]
    share = f"{100 * result.bytes / result.source_bytes:.1f} %" if result.bytes and result.source_bytes else ""
    psnr = result.quality.get("psnr_y")
    return [
        name,
        str(result.frames),
        format_bytes(result.bytes or 0),
        share,
        "" if psnr is None else shown(psnr, 2),
        "" if result.bits is None else f"{100 * result.bits:+.1f} %",
        f"{result.seconds:.0f} s",
        "below the limit" if result.is_low else result.state,
    ]

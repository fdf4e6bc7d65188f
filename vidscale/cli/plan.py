"""``vidscale plan``."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, aligned, emit, run_job, show_path

if TYPE_CHECKING:
    from vidscale.per_title.decision import Decision


def plan(
    context: typer.Context,
    movies: Annotated[
        list[Path], typer.Argument(help="Video files.", metavar="MOVIE", show_default=False, readable=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Also write a page with the curves.", metavar="FILE.html", readable=False),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Probe fewer frames.")] = False,
    exhaustive: Annotated[
        bool, typer.Option("--exhaustive", help="Probe every way, not only those that may be best.")
    ] = False,
    table: Annotated[
        bool, typer.Option("--table", help="Also print quality and size of each way at other crfs.")
    ] = False,
    scale: options.EncodeScale = None,
    crf: Annotated[
        float | None,
        typer.Option("--crf", help="Constant rate factor of the full size.", metavar="CRF", show_default="28"),
    ] = None,
    codec: options.Codec = None,
    preset: options.Preset = None,
    pair: options.Pair = None,
    tune: options.Tune = None,
    target: options.Target = None,
    target_percentile: options.TargetPercentile = None,
    max_size: options.MaxSize = None,
    max_bitrate: options.MaxBitrate = None,
    segments: options.Segments = None,
    judge: options.Judge = None,
    client: options.Client = None,
    best_effort: options.BestEffort = False,
    effort: options.Effort = None,
    adapt: options.Adapt = None,
    device: options.Device = None,
    time_range: options.TimeRange = None,
    stream: options.Stream = None,
    encoder_params: options.Params = None,
    interlaced: options.Interlaced = None,
    alpha: options.Alpha = None,
    ffmpeg: options.Ffmpeg = None,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Probe movies: print what each scale would need, which one encode takes, and the command of each."""

    def job(console: Console) -> bool:
        from vidscale.config import EncodeSettings
        from vidscale.errors import UsageError, VidscaleError
        from vidscale.per_title.deciding import decide
        from vidscale.per_title.page import write_page
        from vidscale.per_title.segments import decide_parts, parts_of
        from vidscale.system.workspace import check_page

        settings = EncodeSettings.resolve(options.given(context, EncodeSettings))
        if not (settings.chooses_scale or settings.has_goal):
            raise UsageError("there is nothing to plan: leave out --scale and --pair, or give a --target")
        if output is not None:
            check_page(output)

        def deciding(movie: Path, own: EncodeSettings) -> "Decision":
            with_curves = table or output is not None
            return decide(movie, own, progress=console, quick=quick, exhaustive=exhaustive, with_curves=with_curves)

        decisions: list[Decision] = []
        failed = 0
        for movie in movies:
            try:
                for found in decide_parts(settings, parts_of(movie, settings, console), partial(deciding, movie)):
                    console.close()
                    decisions.append(found)
                    _print(movie, found, with_table=table, json_output=json_output, quiet=console.quiet)
            except VidscaleError as error:
                if len(movies) == 1:
                    raise
                console.close()
                typer.echo(f"vidscale: {movie.name}: {' '.join(str(error).split())}", err=True)
                failed += 1
        if output is not None and decisions:
            write_page(decisions, output)
            if not (json_output or console.quiet):
                typer.echo(f"page: {show_path(output)}")
        return not failed

    if not run_job(job, quiet=quiet):
        raise typer.Exit(1)


def _print(movie: Path, decision: "Decision", *, with_table: bool, json_output: bool, quiet: bool) -> None:
    from vidscale.per_title.decision import sentence
    from vidscale.per_title.record import decision_record, encode_command

    commands = [encode_command(decision, one, str(movie)) for one in decision.ways]
    if json_output:
        record = decision_record(decision)
        for way, command in zip(record["ways"], commands, strict=True):
            way["command"] = command
        span = decision.settings.range
        emit({"event": "decision", "movie": str(movie), "range": span and span.model_dump(mode="json"), **record})
        return
    if quiet:
        return
    typer.echo(f"{decision.name}: {sentence(decision)}")
    for line in (*aligned(_rows(decision)), *(f"note: {note}" for note in decision.notes)):
        typer.echo(line.rstrip())
    if with_table:
        for line in aligned(_table(decision)):
            typer.echo(line.rstrip())
    for command in commands:
        typer.echo(command)
    typer.echo(f"{decision.probes} probes of {decision.basis}, {decision.seconds:.1f} s")


def _rows(decision: "Decision") -> list[list[str]]:
    """A row for each way; the chosen one is marked, given-up ones have rough figures."""
    from vidscale.quality import METRIC_TEXT
    from vidscale.text import format_bytes

    labels = [METRIC_TEXT[metric].label for metric in decision.metrics]
    rows = [["", "crf", "kbit/s", "video", *labels, "encode", "restore", "bits"]]
    for one in decision.ways:
        values = [f"{one.quality[metric]:.{METRIC_TEXT[metric].digits}f}" for metric in decision.metrics]
        bits = "" if one is decision.ways[0] else f"{100 * one.bits.bits:+.1f} %"
        if bits and one.is_known:
            bits += f" ({100 * one.bits.low:+.1f} to {100 * one.bits.high:+.1f})"
        elif bits:
            bits = f"about {bits}"
        rows.append(
            [
                f"{'*' if one is decision.chosen else ' '} {one.way.scaling}",
                f"{one.crf:g}",
                f"{decision.bitrate_kbps(one):,.0f}",
                format_bytes(round(one.video_bytes)),
                *values,
                f"{one.encode_s:.0f} s",
                f"{one.restore_s:.0f} s",
                bits if one.is_reached else f"{bits}, not reached".lstrip(", "),
            ]
        )
    return rows


def _table(decision: "Decision") -> list[list[str]]:
    """Quality and size of each way at crfs around the goal, between the probes by interpolation."""
    from vidscale.per_title.decision import crf_table
    from vidscale.quality import METRIC_TEXT
    from vidscale.text import format_bytes

    labels = [METRIC_TEXT[metric].label for metric in decision.metrics]
    rows = [["", "crf", "video", *labels, ""]]
    for one, point, is_probed in crf_table(decision):
        values = [f"{point.quality[metric]:.{METRIC_TEXT[metric].digits}f}" for metric in decision.metrics]
        size = format_bytes(round(point.video_bytes))
        rows.append([f"  {one.way.scaling}", f"{point.crf:g}", size, *values, "probed" if is_probed else ""])
    return rows

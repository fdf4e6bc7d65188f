"""``vidscale ladder``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, aligned, emit, print_plan, run_job, show_path

if TYPE_CHECKING:
    from vidscale.config import EncodeSettings, LadderSettings
    from vidscale.per_title.ladder import FinishedLadder, PlannedLadder


def ladder(
    context: typer.Context,
    source: options.Input,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder to write.", metavar="FOLDER", show_default="SOURCE.hls", readable=False
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            help="Quality of a rendition; once for each: vmaf, vmaf_neg, ssim, psnr, xpsnr.",
            metavar="METRIC=VALUE",
            show_default="vmaf=95, 88 and 75",
        ),
    ] = None,
    segment_duration: Annotated[
        str | None,
        typer.Option("--segment-duration", help="Duration of a segment.", metavar="SECONDS", show_default="6"),
    ] = None,
    segments: options.Segments = None,
    codec: options.Codec = None,
    preset: options.Preset = None,
    scale: options.EncodeScale = None,
    pair: options.Pair = None,
    tune: options.Tune = None,
    target_percentile: options.TargetPercentile = None,
    judge: options.Judge = None,
    client: options.Client = None,
    best_effort: options.BestEffort = False,
    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify",
            help="Restore and measure every rendition, and encode it again if it misses its target.",
            show_default="verify",
        ),
    ] = None,
    effort: options.Effort = None,
    adapt: options.Adapt = None,
    device: options.Device = None,
    time_range: options.TimeRange = None,
    stream: options.Stream = None,
    encoder_params: options.Params = None,
    interlaced: options.Interlaced = None,
    alpha: options.Alpha = None,
    ffmpeg: options.Ffmpeg = None,
    strict: options.Strict = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Encode a video for HTTP Live Streaming: several qualities, each at the scale that needs the fewest bits."""

    def job(console: Console) -> None:
        from vidscale.config import LadderSettings

        settings = LadderSettings.resolve(options.given(context, LadderSettings, target="targets"))
        write_movie(source, output, settings, console, dry_run=dry_run, json_output=json_output)

    run_job(job, quiet=quiet)


def write_movie(
    source: Path,
    output: Path | None,
    settings: "LadderSettings",
    console: Console,
    *,
    dry_run: bool = False,
    json_output: bool = False,
) -> None:
    """Plans and writes a ladder, and prints the result; shared with recipes."""
    from vidscale.per_title.ladder import plan_ladder

    started = time.perf_counter()
    planned = plan_ladder(source, output, settings, console)
    verify = settings.verify is not False
    write_planned(planned, settings, console, started, verify=verify, dry_run=dry_run, json_output=json_output)


def write_planned(
    planned: "PlannedLadder",
    settings: "EncodeSettings",
    console: Console,
    started: float,
    *,
    verify: bool,
    dry_run: bool,
    json_output: bool,
) -> None:
    """Writes a planned ladder and prints the result; shared with `encode --segments`."""
    from vidscale.config.ladder import OF_ONE_FILE, LadderSettings
    from vidscale.per_title.ladder import run_ladder

    for note in planned.notes:
        console.note(note)
    if dry_run:
        encodes = [plan for rendition in planned.plan.renditions for plan in rendition.plans]
        commands = [plan.encode_command(plan.output.path) for plan in encodes]
        unused = set(OF_ONE_FILE) if isinstance(settings, LadderSettings) else set()
        shown = settings.model_dump(mode="json", exclude=unused)
        print_plan(planned.plan.folder, shown, commands, json_output=json_output)
        return
    finished = run_ladder(planned, console, verify=verify)
    console.close()
    for note in finished.ladder.notes:
        console.note(note)
    _print_result(planned, finished, console, time.perf_counter() - started, json_output=json_output)


def _print_result(
    planned: "PlannedLadder", finished: "FinishedLadder", console: Console, seconds: float, *, json_output: bool
) -> None:
    renditions = _renditions(planned, finished)
    ladder, plan = finished.ladder, planned.plan
    segments = len(ladder.variants[0].segments)
    if json_output:
        record = {
            "event": "ladder",
            "output": str(ladder.master),
            "frames": ladder.frames,
            "segments": segments,
            "renditions": renditions,
            "audio": [sound.uri for sound in ladder.sounds],
            "bytes": sum(file.stat().st_size for file in plan.folder.rglob("*") if file.is_file()),
            "seconds": round(seconds, 3),
        }
        emit(record)
        return
    if console.quiet:
        return
    from vidscale.text import plural

    typer.echo(f"{show_path(ladder.master)}: {plural(ladder.frames, 'frame')} in {plural(segments, 'segment')}")
    rows = [_HEAD, *(row for rendition in renditions for row in _rows(rendition))]
    for line in aligned(rows if finished.measured else [row[:-1] for row in rows]):
        typer.echo(line.rstrip())


_HEAD = ["", "size", "scaling", "crf", "predicted", "kbit/s", "peak", "measured"]


def _rows(rendition: dict[str, Any]) -> list[list[str]]:
    """A row for a rendition, and one for each of its parts if there are several."""
    measured, parts = rendition["measured"], rendition["parts"]
    rates = [f"{rendition[name] / 1000:,.0f}" for name in ("bandwidth_mean", "bandwidth_peak")]
    end = [*rates, "" if measured is None else f"{measured:.4g}"]
    name = f"{rendition['uri']} {rendition['goal']}"
    if len(parts) == 1:
        return [[name, *_part_cells(parts[0]), *end]]
    largest = f"{rendition['width']}x{rendition['height']}"
    whole = [name, largest, f"{len(parts)} parts", "", "", *end]
    return [whole, *([f"  from {part['start_s']:.3f} s", *_part_cells(part), "", "", ""] for part in parts)]


def _part_cells(part: dict[str, Any]) -> list[str]:
    return [f"{part['width']}x{part['height']}", part["scaling"], f"{part['crf']:g}", f"{part['predicted']:.4g}"]


def _renditions(planned: "PlannedLadder", finished: "FinishedLadder") -> list[dict[str, Any]]:
    """A record of each rendition."""
    from vidscale.media.playlists import mean_rate, peak_rate

    measured = finished.measured or (None,) * len(planned.rungs)
    found = []
    for rendition, rung, variant, quality in zip(
        finished.ladder.renditions, planned.rungs, finished.ladder.variants, measured, strict=True
    ):
        parts = [
            {
                "start_s": float(part.start),
                "scaling": decision.chosen.way.scaling,
                "pair": plan.pair.name,
                "crf": plan.settings.crf,
                "width": plan.small.width,
                "height": plan.small.height,
                "predicted": decision.chosen.quality[decision.goal.metric],
            }
            for part, plan, decision in zip(rendition.parts, rendition.plans, rung.decisions, strict=True)
        ]
        found.append(
            {
                "uri": f"{Path(variant.uri).parent}.m3u8",
                "goal": rung.goal,
                "width": variant.width,
                "height": variant.height,
                "codec": variant.codec,
                "bandwidth_mean": mean_rate(variant.segments),
                "bandwidth_peak": peak_rate(variant.segments),
                "measured": quality,
                "parts": parts,
            }
        )
    return found

"""``vidscale ladder``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, aligned, emit, print_plan, run_job, show_path
from vidscale.cli.options import given

if TYPE_CHECKING:
    from vidscale.config import LadderSettings
    from vidscale.per_title.ladder import FinishedLadder, PlannedLadder


def ladder(
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
    codec: options.Codec = None,
    preset: options.Preset = None,
    scale: options.Choice = None,
    pair: options.Pair = None,
    tune: options.Tune = None,
    target_percentile: options.TargetPercentile = None,
    judge: options.Judge = None,
    client: options.Client = None,
    best_effort: options.BestEffort = False,
    verify: Annotated[bool, typer.Option("--verify", help="Restore and measure every rendition.")] = False,
    effort: options.Effort = None,
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
    given_options: dict[str, Any] = {
        "targets": target or None,
        "segment_duration": segment_duration,
        "codec": codec,
        "preset": preset,
        "scale": scale,
        "pair": pair,
        "tune": tune,
        "target_percentile": target_percentile,
        "judge": judge,
        "client": client,
        "best_effort": given(best_effort),
        "verify": given(verify),
        "effort": effort,
        "device": device,
        "range": time_range,
        "stream": options.stream_number(stream),
        "encoder_params": encoder_params,
        "interlaced": interlaced,
        "alpha": alpha,
        "ffmpeg": ffmpeg,
        "strict": given(strict),
        "overwrite": given(overwrite),
    }

    def job(console: Console) -> None:
        from vidscale.config import LadderSettings

        settings = LadderSettings.resolve(given_options)
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
    from vidscale.per_title.ladder import plan_ladder, run_ladder

    started = time.perf_counter()
    planned = plan_ladder(source, output, settings, console)
    for note in planned.notes:
        console.note(note)
    if dry_run:
        commands = [plan.encode_command(plan.output.path) for plan in planned.plan.renditions]
        resolved = settings.model_dump(mode="json")
        print_plan(planned.plan.folder, resolved, commands, json_output=json_output)
        return
    finished = run_ladder(planned, console, verify=settings.verify is True)
    console.close()
    for note in finished.ladder.notes:
        console.note(note)
    _print_result(planned, finished, console, time.perf_counter() - started, json_output=json_output)


def _print_result(
    planned: "PlannedLadder", finished: "FinishedLadder", console: Console, seconds: float, *, json_output: bool
) -> None:
    renditions = _renditions(planned, finished)
    ladder, plan = finished.ladder, planned.plan
    if json_output:
        record = {
            "event": "ladder",
            "output": str(ladder.master),
            "frames": ladder.outcomes[0].frames,
            "segments": len(ladder.variants[0].segments),
            "renditions": renditions,
            "audio": [sound.uri for sound in ladder.sounds],
            "bytes": sum(file.stat().st_size for file in plan.folder.rglob("*") if file.is_file()),
            "seconds": round(seconds, 3),
        }
        emit(record)
        return
    if console.quiet:
        return
    from vidscale.report.totals import plural

    counts = plural(ladder.outcomes[0].frames, "frame"), plural(len(ladder.variants[0].segments), "segment")
    typer.echo(f"{show_path(ladder.master)}: {counts[0]} in {counts[1]}")
    for line in aligned([_HEAD, *map(_row, renditions)]):
        typer.echo(line.rstrip())


_HEAD = ["", "size", "scaling", "crf", "kbit/s", "peak", "predicted", "measured"]


def _row(rendition: dict[str, Any]) -> list[str]:
    measured = rendition["measured"]
    return [
        f"{rendition['uri']} {rendition['target']}",
        f"{rendition['width']}x{rendition['height']}",
        rendition["scaling"],
        f"{rendition['crf']:g}",
        f"{rendition['bandwidth_mean'] / 1000:,.0f}",
        f"{rendition['bandwidth_peak'] / 1000:,.0f}",
        f"{rendition['predicted']:.4g}",
        "" if measured is None else f"{measured:.4g}",
    ]


def _renditions(planned: "PlannedLadder", finished: "FinishedLadder") -> list[dict[str, Any]]:
    """A record of each rendition."""
    from vidscale.media.playlists import mean_rate, peak_rate

    measured = finished.measured or (None,) * len(planned.decisions)
    found = []
    for plan, decision, variant, quality in zip(
        planned.plan.renditions, planned.decisions, finished.ladder.variants, measured, strict=True
    ):
        found.append(
            {
                "uri": f"{Path(variant.uri).parent}.m3u8",
                "target": str(decision.settings.target),
                "scaling": decision.chosen.way.scaling,
                "pair": plan.pair.name,
                "crf": plan.settings.crf,
                "width": variant.width,
                "height": variant.height,
                "codec": variant.codec,
                "bandwidth_mean": mean_rate(variant.segments),
                "bandwidth_peak": peak_rate(variant.segments),
                "predicted": decision.chosen.quality[decision.goal.metric],
                "measured": quality,
            }
        )
    return found

"""``vidscale encode``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, emit, print_plan, run_job, show_path
from vidscale.cli.options import given

if TYPE_CHECKING:
    from vidscale.config import EncodeSettings
    from vidscale.jobs.pipeline import Outcome
    from vidscale.jobs.plans import EncodePlan
    from vidscale.report.rows import Report


def encode(
    source: options.Input,
    output: options.Output = None,
    scale: options.Scale = None,
    crf: Annotated[
        float | None,
        typer.Option("--crf", help="Constant rate factor; lower is better.", metavar="CRF", show_default="28"),
    ] = None,
    codec: options.Codec = None,
    preset: options.Preset = None,
    pair: options.Pair = None,
    tune: Annotated[
        str | None,
        typer.Option("--tune", help="Metric the learned pair is tuned for.", metavar="psnr|vmaf", show_default="psnr"),
    ] = None,
    effort: options.Effort = None,
    device: options.Device = None,
    time_range: Annotated[
        str | None, typer.Option("--range", help="Part to encode, in seconds or hh:mm:ss.", metavar="START:END")
    ] = None,
    stream: Annotated[
        str | None, typer.Option("--stream", help="Video stream to encode.", metavar="v:N", show_default="v:0")
    ] = None,
    report: Annotated[
        bool | None,
        typer.Option("--report/--no-report", help="Restore and measure after encoding.", show_default="report"),
    ] = None,
    report_dir: Annotated[
        Path | None,
        typer.Option(
            "--report-dir",
            help="Folder for the report.",
            metavar="FOLDER",
            show_default="OUTPUT.report",
            readable=False,
        ),
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
    """Encode a video at reduced resolution, restore it, and report the difference."""
    given_options: dict[str, Any] = {
        "scale": scale,
        "crf": crf,
        "codec": codec,
        "preset": preset,
        "pair": pair,
        "tune": tune,
        "effort": effort,
        "device": device,
        "range": time_range,
        "stream": _stream_number(stream),
        "report": report,
        "report_dir": report_dir,
        "encoder_params": encoder_params,
        "interlaced": interlaced,
        "alpha": alpha,
        "ssim": ssim,
        "vmaf": given(vmaf),
        "xpsnr": given(xpsnr),
        "ffmpeg": ffmpeg,
        "strict": given(strict),
        "overwrite": given(overwrite),
    }

    def job(console: Console) -> None:
        from vidscale.config import EncodeSettings

        settings = EncodeSettings.resolve(given_options)
        encode_movie(source, output, settings, console, dry_run=dry_run, json_output=json_output)

    run_job(job, quiet=quiet)


def _stream_number(text: str | None) -> int | str | None:
    """The N of ``v:N``; anything else unchanged, to be rejected by the settings."""
    return text if text is None or not text.startswith("v:") else text.removeprefix("v:")


def encode_movie(
    source: Path,
    output: Path | None,
    settings: "EncodeSettings",
    console: Console,
    *,
    dry_run: bool = False,
    json_output: bool = False,
) -> None:
    """Plans, encodes, measures and prints the result; shared with recipes."""
    from vidscale.jobs.pipeline import encode as run_encode
    from vidscale.jobs.planning import plan_encode
    from vidscale.jobs.plans import commands

    started = time.perf_counter()
    plan = plan_encode(source, output, settings)
    for note in plan.notes:
        console.note(note)
    if dry_run:
        resolved = plan.settings.model_dump(mode="json")
        print_plan(plan.output.path, resolved, commands(plan), pair=plan.pair.name, json_output=json_output)
        return
    outcome = run_encode(plan, console)
    for note in outcome.notes:
        console.note(note)
    console.finished = f"{show_path(outcome.path)} is complete, its report is not"
    report = _measured(plan, outcome, console, started) if settings.report else None
    console.close()
    _print_result(plan, outcome, report, console, started, json_output=json_output)


def _measured(plan: "EncodePlan", outcome: "Outcome", console: Console, started: float) -> "Report":
    from vidscale.jobs.evaluation import evaluate_encode
    from vidscale.report.files import write_report

    report = evaluate_encode(plan, outcome, console, started)
    console.start("writing the report", None)
    write_report(report, plan.report_dir)
    return report


def _print_result(
    plan: "EncodePlan",
    outcome: "Outcome",
    report: "Report | None",
    console: Console,
    started: float,
    *,
    json_output: bool,
) -> None:
    from vidscale.report.totals import summary_lines

    size, source_size = outcome.path.stat().st_size, plan.source.size_bytes
    if json_output:
        emit(
            {
                "event": "encoded",
                "output": str(outcome.path),
                "report": str(plan.report_dir) if report else None,
                "frames": outcome.frames,
                "bytes": size,
                "source_bytes": source_size,
                "seconds": round(time.perf_counter() - started, 3),
                "unreadable_frames": outcome.log.unreadable,
                "totals": _totals(report) if report else None,
            }
        )
        return
    if console.quiet:
        return
    video = plan.source.video
    geometry = plan.geometry
    share = f", {size / source_size:.1%} of the source" if source_size and not plan.settings.range else ""
    typer.echo(
        f"{show_path(outcome.path)}: {outcome.frames} frames, {video.width}x{video.height} encoded at "
        f"{geometry.coded_width}x{geometry.coded_height}, {size:,} bytes{share}"
    )
    if report is not None:
        for line in summary_lines(report):
            typer.echo(line)
        typer.echo(f"report: {show_path(plan.report_dir / 'index.html')}")


def _totals(report: "Report") -> dict[str, Any]:
    from vidscale.report.files import totals_record

    return totals_record(report)

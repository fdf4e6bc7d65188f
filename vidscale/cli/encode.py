"""``vidscale encode``."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, emit, print_plan, run_job, show_path

if TYPE_CHECKING:
    from vidscale.config import EncodeSettings
    from vidscale.jobs.pipeline import Outcome
    from vidscale.per_title.decision import Decision
    from vidscale.per_title.encoding import Finished
    from vidscale.report.rows import Report


def encode(
    context: typer.Context,
    source: options.Input,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="File to write; with --segments a folder.",
            metavar="FILE",
            show_default="NAME.vsSCALE.EXT beside SOURCE",
            readable=False,
        ),
    ] = None,
    scale: options.EncodeScale = None,
    crf: Annotated[
        float | None,
        typer.Option("--crf", help="Constant rate factor; lower is better.", metavar="CRF", show_default="28"),
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
    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify",
            help="Measure the file against its goal, and encode again if it misses it.",
            show_default="verify",
        ),
    ] = None,
    effort: options.Effort = None,
    adapt: options.Adapt = None,
    chunks: options.Chunks = None,
    jobs: options.Jobs = None,
    device: options.Device = None,
    time_range: options.TimeRange = None,
    stream: options.Stream = None,
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
    verdict: Annotated[
        bool | None,
        typer.Option(
            "--verdict/--no-verdict",
            help="Estimate for the report what the full size would have needed.",
            show_default="verdict",
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
    """Encode a video at the scale that needs the fewest bits, restore it, and report the difference."""

    def job(console: Console) -> None:
        from vidscale.config import EncodeSettings

        settings = EncodeSettings.resolve(options.given(context, EncodeSettings))
        encode_movie(source, output, settings, console, dry_run=dry_run, json_output=json_output)

    run_job(job, quiet=quiet)


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
    if settings.segments is not None:
        _encode_segments(source, output, settings, console, dry_run=dry_run, json_output=json_output)
        return
    from vidscale.batch.movie import plan_movie, run_movie
    from vidscale.jobs.plans import commands

    started = time.perf_counter()
    planned = plan_movie(source, output, settings, console)
    plan, decision = planned.plan, planned.decision
    for note in (*_decision_lines(decision), *plan.notes):
        console.note(note)
    if dry_run:
        resolved = plan.settings.model_dump(mode="json")
        print_plan(plan.output.path, resolved, commands(plan), pair=plan.pair.name, json_output=json_output)
        return

    def encoded(outcome: "Outcome") -> None:
        for note in outcome.notes:
            console.note(note)
        console.finished = f"{show_path(outcome.path)} is complete, its report is not"

    finished = run_movie(planned, console, started=started, encoded=encoded)
    console.close()
    _print_result(finished, decision, console, started, json_output=json_output)


def _encode_segments(
    source: Path, output: Path | None, settings: "EncodeSettings", console: Console, *, dry_run: bool, json_output: bool
) -> None:
    """Writes one rendition for HLS whose parts are decided one by one; it has no report."""
    from fractions import Fraction

    from vidscale.cli.ladder import write_planned
    from vidscale.config import SHOTS, LadderSettings
    from vidscale.per_title.ladder import plan_renditions

    started = time.perf_counter()
    usual = Fraction(LadderSettings().segment_duration)
    seconds = usual if settings.segments in (SHOTS, None) else Fraction(settings.segments)
    planned = plan_renditions(source, output, [settings], seconds, console)
    verify = settings.verify is True or (settings.has_goal and settings.verify is not False)
    write_planned(planned, settings, console, started, verify=verify, dry_run=dry_run, json_output=json_output)


def _decision_lines(decision: "Decision | None") -> list[str]:
    """The decision and its notes."""
    if decision is None:
        return []
    from vidscale.per_title.decision import sentence

    return [sentence(decision), *decision.notes]


def _print_result(
    finished: "Finished",
    decision: "Decision | None",
    console: Console,
    started: float,
    *,
    json_output: bool,
) -> None:
    if json_output:
        emit(_record(finished, decision, time.perf_counter() - started))
    elif not console.quiet:
        for line in _lines(finished):
            typer.echo(line)


def _record(finished: "Finished", decision: "Decision | None", seconds: float) -> dict[str, Any]:
    plan, outcome = finished.plan, finished.outcome
    report = finished.report if plan.settings.report else None
    return {
        "event": "encoded",
        "output": str(outcome.path),
        "report": str(plan.report_dir) if report else None,
        "frames": outcome.frames,
        "bytes": outcome.path.stat().st_size,
        "source_bytes": plan.source.size_bytes,
        "seconds": round(seconds, 3),
        "unreadable_frames": outcome.log.unreadable,
        "totals": _totals(report) if report else None,
        "verdict": _verdict(report),
        "decision": _decision(decision),
        "checks": [asdict(check) for check in finished.checks],
        "adapted": [asdict(segment) for segment in outcome.adapted],
    }


def _lines(finished: "Finished") -> list[str]:
    from vidscale.report.totals import summary_lines
    from vidscale.text import plural

    plan, outcome = finished.plan, finished.outcome
    video, geometry = plan.source.video, plan.geometry
    size, source_size = outcome.path.stat().st_size, plan.source.size_bytes
    share = f", {100 * size / source_size:.1f} % of the source" if source_size and not plan.settings.range else ""
    lines = [
        f"{show_path(outcome.path)}: {plural(outcome.frames, 'frame')}, {video.width}x{video.height} encoded at "
        f"{geometry.coded_width}x{geometry.coded_height}, {size:,} bytes{share}"
    ]
    for number, check in enumerate(finished.checks, start=1):
        is_last = number == len(finished.checks)
        end = ("" if check.is_met else ", missed") if is_last else ", encoded again"
        kept = ", but kept: the closest" if check.is_kept and not is_last else ""
        lines.append(f"{check.text}{end}{kept}")
    if finished.report is not None and plan.settings.report:
        lines += [*summary_lines(finished.report), f"report: {show_path(plan.report_dir / 'index.html')}"]
    return lines


def _totals(report: "Report") -> dict[str, Any]:
    from vidscale.report.files import totals_record

    return totals_record(report)


def _verdict(report: "Report | None") -> dict[str, Any] | None:
    found = report.verdict if report else None
    return None if found is None else {"sentence": found.sentence, **asdict(found)}


def _decision(decision: "Decision | None") -> dict[str, Any] | None:
    from vidscale.per_title.record import decision_record

    return decision_record(decision) if decision else None

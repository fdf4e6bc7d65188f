"""``vidscale measure``."""

from pathlib import Path
from typing import Annotated

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, emit, run_job, show_path


def measure(
    context: typer.Context,
    ref: Annotated[Path, typer.Argument(help="The source.", metavar="REF", show_default=False, readable=False)],
    dist: Annotated[
        Path, typer.Argument(help="The video to score; a small file is restored first.", metavar="DIST", readable=False)
    ],
    report_dir: Annotated[
        Path | None, typer.Option("--report-dir", "-o", help="Folder for the report.", metavar="FOLDER", readable=False)
    ] = None,
    align: Annotated[bool, typer.Option("--align", help="Find a constant time offset by comparing pictures.")] = False,
    align_window: Annotated[
        float | None,
        typer.Option("--align-window", help="Largest offset to try.", metavar="SECONDS", show_default="10"),
    ] = None,
    every: Annotated[
        int | None, typer.Option("--every", help="Measure every Nth pair of frames.", metavar="N", show_default="1")
    ] = None,
    max_unpaired: Annotated[
        float | None,
        typer.Option(
            "--max-unpaired",
            help="Exit with code 1 if a larger share of either video's frames has no partner.",
            metavar="PERCENT",
            show_default="10, and of both videos",
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option("--crop", help="Part of the source to compare; centred without X:Y.", metavar="W:H[:X:Y]"),
    ] = None,
    scale_dist: Annotated[
        str | None,
        typer.Option("--scale-dist", help="Scale DIST to the source's size.", metavar="bilinear|bicubic|lanczos"),
    ] = None,
    ssim: options.Ssim = None,
    vmaf: options.Vmaf = False,
    xpsnr: options.Xpsnr = False,
    ffmpeg: options.Ffmpeg = None,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare a video with its source, frame by frame."""

    def job(console: Console) -> None:
        from vidscale.config import FilesSettings
        from vidscale.jobs.evaluation import check_unpaired, evaluate_files
        from vidscale.report.files import RECORD, totals_record, write_report
        from vidscale.report.totals import summary_lines
        from vidscale.system.workspace import check_folder

        settings = FilesSettings.resolve(options.given(context, FilesSettings))
        if report_dir is not None:
            check_folder(report_dir, record=RECORD)
        report = evaluate_files(ref, dist, settings, ffmpeg=ffmpeg, progress=console)
        if report_dir is not None:
            write_report(report, report_dir)
        console.close()
        for note in report.notes:
            console.note(note)
        if json_output:
            emit(
                {
                    "event": "measured",
                    "ref": str(ref),
                    "dist": str(dist),
                    "report": str(report_dir) if report_dir else None,
                    "totals": totals_record(report),
                    "unpaired": {"ref": len(report.unpaired.ref_only), "dist": len(report.unpaired.dist_only)},
                }
            )
        elif not quiet:
            for line in summary_lines(report):
                typer.echo(line)
            if report_dir is not None:
                console.note(f"report: {show_path(report_dir / 'index.html')}")
        check_unpaired(report, settings.max_unpaired)

    run_job(job, quiet=quiet)

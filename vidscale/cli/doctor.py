"""``vidscale doctor``."""

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, emit, run_job


def doctor(ffmpeg: options.Ffmpeg = None, json_output: options.Json = False) -> None:
    """Check this machine: versions, ffmpeg, encoders, devices."""

    def job(console: Console) -> None:
        from vidscale.jobs.diagnosis import diagnose

        findings = diagnose(ffmpeg)
        for finding in findings:
            if json_output:
                emit({"event": "checked", "check": finding.check, "ok": finding.ok, "detail": finding.detail})
            else:
                typer.echo(f"{'ok  ' if finding.ok else 'MISS'}  {finding.check:<22} {finding.detail}")
        if not all(finding.ok or finding.optional for finding in findings):
            raise typer.Exit(1)

    run_job(job)

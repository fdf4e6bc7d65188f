"""``vidscale decode`` and ``vidscale play``."""

import contextlib
import shutil
import subprocess
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, emit, fail, raw_stdout, run_job, show_path, tell_plan
from vidscale.cli.options import said

if TYPE_CHECKING:
    from vidscale.config import DecodeSettings
    from vidscale.jobs.restore import SmallFile

_PLAYERS = {
    "mpv": ["mpv", "--no-terminal", "-"],
    "ffplay": ["ffplay", "-v", "error", "-autoexit", "-f", "yuv4mpegpipe", "-"],
}
_OF_RAW_VIDEO = {"scale", "strength", "device", "ffmpeg", "strict", "overwrite"}  # settings that matter to it
Strength = Annotated[
    float | None,
    typer.Option("--strength", help="Coding strength (crf) of a file without identity.", show_default="28"),
]


def decode(
    source: options.Input,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="File to write, - for stdout (y4m).", show_default=False)
    ] = None,
    crf: Annotated[
        float | None, typer.Option("--crf", help="Constant rate factor; lower is better.", show_default="16")
    ] = None,
    codec: options.Codec = None,
    preset: options.Preset = None,
    encoder_params: options.Params = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="FFV1 in Matroska, lossless x264 in MP4.")] = False,
    y4m: Annotated[bool, typer.Option("--y4m", help="Raw video to stdout or OUT, without audio.")] = False,
    pair: options.Pair = None,
    scale: options.Scale = None,
    strength: Strength = None,
    device: options.Device = None,
    ffmpeg: options.Ffmpeg = None,
    strict: options.Strict = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json_output: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Restore a small file to its source's size."""
    said_options: dict[str, Any] = {
        "crf": crf,
        "codec": codec,
        "preset": preset,
        "encoder_params": encoder_params,
        "lossless": said(lossless),
        "pair": pair,
        "scale": scale,
        "strength": strength,
        "device": device,
        "ffmpeg": ffmpeg,
        "strict": said(strict),
        "overwrite": said(overwrite),
    }

    def job(console: Console) -> None:
        from vidscale.config import DecodeSettings

        settings = DecodeSettings.resolve(said_options)
        if y4m or output == "-":
            _to_y4m(source, output or "-", settings, console, dry_run=dry_run, json_output=json_output)
            return
        target = None if output is None else Path(output)
        decode_movie(source, target, settings, console, dry_run=dry_run, json_output=json_output)

    run_job(job, quiet=quiet)


def decode_movie(
    source: Path,
    output: Path | None,
    settings: "DecodeSettings",
    console: Console,
    *,
    dry_run: bool = False,
    json_output: bool = False,
) -> None:
    """Plans, restores and tells; shared with recipes."""
    from vidscale.jobs.pipeline import decode as run_decode
    from vidscale.jobs.planning import plan_decode

    started = time.perf_counter()
    plan = plan_decode(source, output, settings)
    for note in plan.notes:
        console.note(note)
    if dry_run:
        resolved = settings.model_dump(mode="json")
        pair = plan.small.pair.name
        tell_plan(plan.output.path, resolved, plan.commands(), pair=pair, json_output=json_output)
        return
    outcome = run_decode(plan, console)
    console.close()
    for note in outcome.notes:
        console.note(note)
    _tell(plan.small, outcome.path, outcome.frames, console, started, json_output=json_output)


def _tell(small: "SmallFile", path: Path, frames: int, console: Console, started: float, *, json_output: bool) -> None:
    info, pair = small.restored, small.pair.name
    if json_output:
        emit(
            {
                "event": "restored",
                "output": str(path),
                "frames": frames,
                "bytes": path.stat().st_size,
                "width": info.width,
                "height": info.height,
                "pair": pair,
                "seconds": round(time.perf_counter() - started, 3),
            }
        )
    elif not console.quiet:
        typer.echo(f"{show_path(path)}: {frames} frames, {info.width}x{info.height}, restored by {pair}")


def _to_y4m(
    source: Path,
    output: str,
    settings: "DecodeSettings",
    console: Console,
    *,
    dry_run: bool,
    json_output: bool,
) -> None:
    from vidscale.errors import UsageError
    from vidscale.media.containers import CONTAINERS
    from vidscale.system.workspace import check_target, partial_files

    started = time.perf_counter()
    target = Path(output)
    if output != "-":
        check_target(target, source=source, overwrite=settings.overwrite)
    if target.suffix.lower() in CONTAINERS:
        raise UsageError(
            f"--y4m writes raw video, which {target.suffix} would not say: name the output .y4m, or - for stdout"
        )
    small = _open(source, settings)
    for note in small.notes:
        console.note(note)
    if dry_run:
        resolved = settings.model_dump(mode="json", include=_OF_RAW_VIDEO)
        tell_plan(output, resolved, pair=small.pair.name, json_output=json_output)
        return
    if output == "-":
        with contextlib.suppress(BrokenPipeError):  # a reader that has seen enough
            _write_y4m(small, raw_stdout(), console, strict=settings.strict)
        return
    with (
        partial_files(target, source=source, overwrite=settings.overwrite) as workspace,
        workspace.result.open("wb") as file,
    ):
        frames = _write_y4m(small, file, console, strict=settings.strict)
    console.close()
    _tell(small, target, frames, console, started, json_output=json_output)


def _open(source: Path, settings: "DecodeSettings") -> "SmallFile":
    from vidscale.jobs.restore import open_small
    from vidscale.media.ffmpeg import find_ffmpeg

    return open_small(source, ffmpeg=find_ffmpeg(settings.ffmpeg).path, settings=settings)


def _write_y4m(small: "SmallFile", sink: IO[bytes], console: Console, *, strict: bool = False) -> int:
    """Writes all frames; returns how many."""
    from vidscale.errors import DecodeError
    from vidscale.jobs.planning import expected_frames
    from vidscale.jobs.restore import restored_frames
    from vidscale.media.y4m import Y4mWriter
    from vidscale.stages.read_log import ReadLog
    from vidscale.system.threads import Clock, Prefetch, queue_depth

    log, info = ReadLog(), small.restored
    console.start("restoring", expected_frames(small.source, None))
    frames = restored_frames(small, log=log, decoding=Clock("decode"), upscaling=Clock("upscale"))
    depth = queue_depth(info.format.frame_bytes(info.height, info.width))
    with Prefetch(frames, depth) as restored, Y4mWriter(sink, info) as writer:
        for frame in restored:
            writer.write(frame)
            console.advance()
    notes = log.notes(small.source.path)
    if log.damaged and strict:
        raise DecodeError(f"{small.source.path} is damaged ({notes[0]}) and --strict refuses to lose anything")
    for note in notes:
        console.note(note)
    return log.frames


def play(
    source: options.Input,
    pair: options.Pair = None,
    scale: options.Scale = None,
    strength: Strength = None,
    player: Annotated[str | None, typer.Option("--player", help="mpv or ffplay.", show_default="what is there")] = None,
) -> None:
    """Restore a small file and show it in mpv or ffplay (picture only)."""
    names = [player] if player else list(_PLAYERS)
    found = next((name for name in names if name in _PLAYERS and shutil.which(name)), None)
    if found is None:
        fail(f"no player found: install {' or '.join(names)}")

    def job(console: Console) -> None:
        from vidscale.config import DecodeSettings

        settings = DecodeSettings.resolve({"pair": pair, "scale": scale, "strength": strength})
        with subprocess.Popen(_PLAYERS[found], stdin=subprocess.PIPE) as process:
            try:
                with contextlib.suppress(BrokenPipeError):  # the window was closed
                    if process.stdin is not None:
                        _write_y4m(_open(source, settings), process.stdin, console)
            finally:
                with contextlib.suppress(BrokenPipeError):
                    if process.stdin is not None:
                        process.stdin.close()

    run_job(job, quiet=True)

"""``vidscale play``."""

import contextlib
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from vidscale.cli import options
from vidscale.cli.console import Console, fail, run_job
from vidscale.cli.decode import Strength

if TYPE_CHECKING:
    from vidscale.config import DecodeSettings
    from vidscale.jobs.restore import SmallFile
    from vidscale.players.mpv import ShaderPlayback

_PLAYERS = ("mpv", "ffplay")
_CANNOT_PLAY = 2  # mpv: the file could not be played, here because no GPU can


def play(
    source: options.SmallFile,
    pair: options.RestorePair = None,
    scale: options.RestoreScale = None,
    strength: Strength = None,
    player: Annotated[
        str | None,
        typer.Option("--player", help="Player to use.", metavar="mpv|ffplay", show_default="the first installed"),
    ] = None,
    pipe: Annotated[
        bool, typer.Option("--pipe", help="Restore here and pipe the picture to the player: no GPU, no seeking.")
    ] = False,
    export_player: Annotated[
        Path | None,
        typer.Option(
            "--export-player",
            help="Write the shader for mpv to this file and print mpv's command line; play nothing.",
            metavar="FILE.glsl",
            show_default=False,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Play a small file restored: mpv restores it on the GPU, or ffplay or mpv get it restored through a pipe."""
    if export_player is not None:
        target = export_player
        run_job(lambda console: _export(source, target, _settings(pair, scale, strength), overwrite), quiet=True)
        return
    names = [player] if player else _PLAYERS
    found = next((name for name in names if name in _PLAYERS and shutil.which(name)), None)
    if found is None:
        fail(f"no player found: install {' or '.join(names)}")

    def job(console: Console) -> None:
        from vidscale.jobs.raw_output import open_for_y4m

        small = open_for_y4m(source, None, _settings(pair, scale, strength))
        with_shader = None if pipe or found != "mpv" else _playback(small)
        if with_shader is not None:
            if small.is_adapted:
                console.note("this file has adapted networks, the shader does not: --pipe uses them")
            if _play_with_shader(with_shader, small.source.path):
                return
        _pipe(found, small, console)

    run_job(job, quiet=True)


def _settings(pair: str | None, scale: str | None, strength: float | None) -> "DecodeSettings":
    from vidscale.config import DecodeSettings

    return DecodeSettings.resolve({"pair": pair, "scale": scale, "strength": strength})


def _export(source: Path, target: Path, settings: "DecodeSettings", overwrite: bool) -> None:
    from vidscale.jobs.restore import open_small
    from vidscale.media.ffmpeg import find_ffmpeg
    from vidscale.players.mpv import shader_playback
    from vidscale.system.workspace import partial_files

    playback = shader_playback(open_small(source, ffmpeg=find_ffmpeg(settings.ffmpeg).path, settings=settings))
    with partial_files(target, source=source, overwrite=overwrite) as workspace:
        workspace.result.write_text(playback.shader, encoding="utf-8")
    typer.echo(shlex.join(playback.command(target, source)))


def _playback(small: "SmallFile") -> "ShaderPlayback | None":
    """How mpv restores it; None if the pair cannot be a shader."""
    from vidscale.errors import ModelError
    from vidscale.players.mpv import shader_playback

    try:
        return shader_playback(small)
    except ModelError:
        return None


def _play_with_shader(playback: "ShaderPlayback", movie: Path) -> bool:
    """Runs mpv on the small file. Returns False if its window could not be opened: no usable GPU."""
    from vidscale.system import processes
    from vidscale.system.folders import temporary_folder

    with temporary_folder() as folder:
        shader = folder / "restore.glsl"
        shader.write_text(playback.shader, encoding="utf-8")
        process = processes.start(playback.command(shader, movie.absolute()), shares_terminal=True)
        try:
            code = process.wait()
        finally:
            processes.end(process)
    if code == _CANNOT_PLAY:
        typer.echo("mpv cannot use a GPU here; restoring on the CPU instead, without seeking", err=True)
    return code != _CANNOT_PLAY


def _pipe(player: str, small: "SmallFile", console: Console) -> None:
    """Restores the picture here, and sends it to the player beside the sound of the small file."""
    from vidscale.jobs.raw_output import write_y4m

    with _player(player, small) as sink, contextlib.suppress(BrokenPipeError):  # the window was closed
        write_y4m(small, sink, progress=console)


@contextlib.contextmanager
def _player(player: str, small: "SmallFile") -> Iterator[IO[bytes]]:
    """A player that reads y4m from its stdin."""
    from vidscale.system import processes

    movie = str(small.source.path.absolute())
    has_sound = any(stream.kind == "audio" for stream in small.source.streams)
    if player == "mpv":
        commands = [["mpv", "--no-terminal", *([f"--audio-file={movie}"] if has_sound else []), "-"]]
    elif has_sound:  # ffplay reads one file
        commands = [_muxing(movie), ["ffplay", "-v", "error", "-autoexit", "-f", "nut", "-"]]
    else:
        commands = [["ffplay", "-v", "error", "-autoexit", "-f", "yuv4mpegpipe", "-"]]
    with contextlib.ExitStack() as running:
        source: IO[bytes] | int = subprocess.PIPE
        sink: IO[bytes] | None = None
        for command in commands:
            is_last = command is commands[-1]
            process = processes.start(command, stdin=source, stdout=None if is_last else subprocess.PIPE)
            running.callback(processes.end, process)
            running.callback(process.wait)  # it plays what it has read
            sink = sink or process.stdin
            if process.stdout is not None:
                source = process.stdout
        if len(commands) > 1 and not isinstance(source, int):
            source.close()  # the player has it; without this, ffmpeg would not notice that the player is gone
        assert sink is not None
        try:
            yield sink
        finally:
            with contextlib.suppress(BrokenPipeError):
                sink.close()
    if player == "mpv" and process.returncode == _CANNOT_PLAY:
        from vidscale.errors import VidscaleError

        raise VidscaleError("mpv could not show the picture; is there a display?")


def _muxing(movie: str) -> list[str]:
    from vidscale.media.ffmpeg import find_ffmpeg

    inputs = ["-f", "yuv4mpegpipe", "-i", "-", "-i", movie, "-map", "0:v:0", "-map", "1:a"]
    return [find_ffmpeg(None).path, "-v", "error", *inputs, "-c:v", "rawvideo", "-c:a", "copy", "-f", "nut", "-"]

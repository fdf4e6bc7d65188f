"""Restores a small file as raw video (y4m): to a file, a pipe or a player."""

from dataclasses import replace
from pathlib import Path
from typing import IO

from vidscale.config import DecodeSettings
from vidscale.errors import UsageError
from vidscale.jobs.estimates import expected_frames
from vidscale.jobs.losses import raw_video_notes, read_notes
from vidscale.jobs.restore import SmallFile, open_small, restored_frames
from vidscale.media.containers import CONTAINERS
from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.media.y4m import Y4mWriter
from vidscale.stages.read_log import ReadLog
from vidscale.system.progress import Progress, counted
from vidscale.system.threads import Clock, Prefetch, queue_depth
from vidscale.system.workspace import check_target, partial_files


def open_for_y4m(path: Path, output: Path | None, settings: DecodeSettings) -> SmallFile:
    """Opens a small file and checks that it can be restored to the output.

    Args:
        path: the small file.
        output: the file to write; None for a stream.
        settings: settings of the restoration; encoder settings are ignored.

    Raises:
        UsageError: the output has the extension of a container without raw video.
        VidscaleError: see `check_target` and `open_small`.
    """
    if output is not None:
        check_target(output, source=path, overwrite=settings.overwrite)
        if output.suffix.lower() in CONTAINERS:
            raise UsageError(f"--y4m writes raw video, not {output.suffix}: name the output .y4m, or - for stdout")
    small = open_small(path, ffmpeg=find_ffmpeg(settings.ffmpeg).path, settings=settings)
    return replace(small, notes=(*small.notes, *raw_video_notes(small, settings.strict)))


def write_y4m(
    small: SmallFile, sink: IO[bytes], *, strict: bool = False, progress: Progress | None = None
) -> tuple[int, tuple[str, ...]]:
    """Writes all restored frames to a stream.

    Returns:
        Number of frames, and messages for the user.

    Raises:
        DecodeError: the file cannot be read, or it is damaged and ``strict`` is set.
        BrokenPipeError: the reader has closed the pipe.
    """
    progress = progress or Progress()
    log, info = ReadLog(), small.restored
    progress.start("restoring", expected_frames(small.source, None))
    frames = restored_frames(small, log=log, decoding=Clock("decode"), upscaling=Clock("upscale"))
    depth = queue_depth(info.frame_bytes)
    with Prefetch(frames, depth) as restored, Y4mWriter(sink, info) as writer:
        for frame in counted(restored, progress):
            writer.write(frame)
    return log.frames, read_notes(log, small.source, strict=strict)


def write_y4m_file(
    small: SmallFile, output: Path, *, strict: bool = False, overwrite: bool = False, progress: Progress | None = None
) -> tuple[int, tuple[str, ...]]:
    """Writes all restored frames to a file, which gets its final name when complete; see `write_y4m`."""
    with (
        partial_files(output, source=small.source.path, overwrite=overwrite) as workspace,
        workspace.result.open("wb") as file,
    ):
        return write_y4m(small, file, strict=strict, progress=progress)

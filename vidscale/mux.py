"""The last stage of a file: the coded video joins everything else that the source holds."""

import contextlib
import os
import re
import secrets
from array import array
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import av
import ffmpeg as ffmpeg_python

from vidscale.bitstream import Codec
from vidscale.config import TimeRange
from vidscale.containers import OutputPlan
from vidscale.errors import ConfigError, EncodeError
from vidscale.ffmpeg import Ffmpeg, run_ffmpeg
from vidscale.identity import TAG, Identity, insert
from vidscale.probe import Source, StreamInfo

# Tags that describe the source's own file or its coded video, and would be wrong in the output.
_STALE_TAGS = re.compile(
    r"(?i)^(encoder|duration|major_brand|minor_version|compatible_brands|vidscale|_statistics_.*|bps|number_of_.*)(-.*)?$"
)


@contextlib.contextmanager
def partial_files(target: Path, *, overwrite: bool) -> Iterator["Workspace"]:
    """Temporary files beside ``target``, which gets its name only when all went well; nothing is left otherwise.

    Raises:
        ConfigError: the target exists and is not to be replaced, or its folder is missing or not writable.
    """
    if target.exists() and not overwrite:
        raise ConfigError(f"{target} exists; -y replaces it")
    if target.is_dir():
        raise ConfigError(f"{target} is a directory")
    if not target.parent.is_dir():
        raise ConfigError(f"the folder {target.parent} does not exist")
    if not os.access(target.parent, os.W_OK):
        raise ConfigError(f"the folder {target.parent} is not writable")
    workspace = Workspace(target)
    try:
        yield workspace
        workspace.result.replace(target)
    except OSError as error:
        raise EncodeError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        workspace.clean()


class Workspace:
    """Names of the temporary files of one output.

    Attributes:
        result: becomes the target.
    """

    def __init__(self, target: Path) -> None:
        self._stem = f".{target.name}.{secrets.token_hex(4)}"
        self._folder = target.parent
        self._files: list[Path] = []
        self.result = self.file(f"part{target.suffix}")

    def file(self, suffix: str) -> Path:
        """A name for one more temporary file."""
        path = self._folder / f"{self._stem}.{suffix}"
        self._files.append(path)
        return path

    def clean(self) -> None:
        """Removes what is left."""
        for path in self._files:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def sign(video: Path, signed: Path, identity: Identity | None, display_matrix: tuple[int, ...] | None) -> int:
    """Copies a file with one video stream and writes what ffmpeg cannot: the identity in front of every keyframe, and
    the display matrix.

    Args:
        video: the encoder's file.
        signed: the copy.
        identity: None leaves the packets as they are.
        display_matrix: nine integers, None for none.

    Returns:
        How many packets there are.
    """
    muxer = "matroska" if signed.suffix == ".mkv" else "mp4"
    count = 0
    try:
        with av.open(str(video)) as source, contextlib.ExitStack() as stack:
            stream = source.streams.video[0]
            options = {}
            if muxer == "mp4" and stream.time_base:  # or a late start is rounded to ms
                options["movie_timescale"] = str(stream.time_base.denominator)
            target = stack.enter_context(av.open(str(signed), "w", format=muxer, options=options))
            copy = target.add_stream_from_template(stream, opaque=True)
            if display_matrix is not None:
                copy.set_display_matrix(display_matrix)
            extradata = stream.codec_context.extradata
            codec = cast("Codec", stream.codec_context.codec.canonical_name)
            for packet in source.demux(stream):
                if not packet.size:
                    continue
                if identity is not None and packet.is_keyframe:
                    packet = _signed(
                        packet, insert(memoryview(packet), codec=codec, extradata=extradata, identity=identity)
                    )
                packet.stream = copy
                target.mux(packet)
                count += 1
    except (av.FFmpegError, OSError) as error:
        raise EncodeError(f"cannot write {signed}: {getattr(error, 'strerror', None) or error}") from error
    return count


def _signed(packet: Any, data: bytes) -> Any:
    copy = av.Packet(data)
    copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
    copy.time_base = packet.time_base
    copy.is_keyframe = packet.is_keyframe
    return copy


def mux_command(
    ffmpeg: Ffmpeg,
    *,
    video: Path,
    source: Source,
    plan: OutputPlan,
    identity: Identity | None,
    path: Path,
    covers: dict[int, Path],
    time_range: TimeRange | None = None,
    origin_s: Fraction = Fraction(0),
) -> list[str]:
    """The command line that joins the coded video with the source's other streams, copied packet by packet.

    Args:
        ffmpeg: the binary.
        video: file with the coded video stream.
        source: where everything else comes from.
        plan: container and streams.
        identity: written as a tag, None for none.
        path: the file to write.
        covers: cover art by stream index, as files: Matroska holds it as attachments.
        time_range: the part that was coded; audio and subtitles are cut at packets.
        origin_s: time in the source that becomes 0.
    """
    before = {}
    if time_range is not None:
        before = {"itsoffset": f"{float(-origin_s):.6f}", "ss": f"{float(time_range.start):.6f}"}
    coded, rest = ffmpeg_python.input(str(video)), ffmpeg_python.input(str(source.path), **before)
    mapped = [stream for stream in plan.kept if stream.index not in covers]
    inputs = [coded["v:0"] if s.index == source.stream_index else rest[str(s.index)] for s in mapped]
    inputs.append(rest["v:9999?"])  # matches nothing: makes the source an input even when only its tags are copied
    options = {"c": "copy", "f": plan.muxer, **_muxer_options(plan)}
    if time_range is not None and time_range.end is not None:
        options["t"] = f"{float(source.start_s + time_range.end - origin_s):.6f}"
    output = ffmpeg_python.output(*inputs, str(path), **options)
    output = output.global_args("-hide_banner", "-v", "error", "-nostdin", "-copyts", "-y")
    command: list[str] = output.compile(cmd=ffmpeg.path)
    # What follows depends on the order in which ffmpeg-python puts the inputs, or repeats an option, which it cannot.
    files = [word for option, word in pairwise(command) if option == "-i"]
    tags = _tag_options(source, plan, identity, mapped, covers, origin=files.index(str(source.path)))
    if time_range is not None:
        tags += ["-copypriorss", "0"]
    place = len(command) - 1 - command[::-1].index(str(path))
    return [*command[:place], *tags, *command[place:]]


def _tag_options(
    source: Source,
    plan: OutputPlan,
    identity: Identity | None,
    mapped: list[StreamInfo],
    covers: dict[int, Path],
    *,
    origin: int,
) -> list[str]:
    """Options that carry over metadata, chapters and dispositions from input number ``origin``."""
    words = ["-map_metadata", str(origin), "-map_chapters", str(origin)]
    words += _options("metadata", _global_tags(source, plan, identity))
    for position, stream in enumerate(mapped):
        words += [f"-disposition:{position}", "+".join(stream.disposition) or "0"]
        # Naming one stream's metadata ends the automatic copying of all others'.
        is_coded = stream.index == source.stream_index
        words += [f"-map_metadata:s:{position}", "-1" if is_coded else f"{origin}:s:{stream.index}"]
        if is_coded:
            words += _options(f"metadata:s:{position}", _tags(stream.metadata, source, plan))
    for position, (index, file) in enumerate(covers.items(), start=len(mapped)):
        words += ["-attach", str(file), *_options(f"metadata:s:{position}", _cover_tags(source.streams[index]))]
    return words


def _options(name: str, values: list[str]) -> list[str]:
    return [word for value in values for word in (f"-{name}", value)]


def _tags(metadata: dict[str, str], source: Source, plan: OutputPlan) -> list[str]:
    tags = {key: value for key, value in metadata.items() if not _STALE_TAGS.match(key)}
    if plan.muxer in ("mp4", "mov") and "timecode" in source.metadata:
        tags.setdefault("timecode", source.metadata["timecode"])
    return [f"{key}={value}" for key, value in tags.items()]


def _global_tags(source: Source, plan: OutputPlan, identity: Identity | None) -> list[str]:
    removed = [key for key in source.metadata if _STALE_TAGS.match(key)]
    if plan.muxer in ("mp4", "mov") and "timecode" in source.metadata:
        removed.append("timecode")  # it would ask for a timecode track beside the cover art too
    tags = [f"{key}=" for key in removed if key.upper() != TAG or identity is None]
    if identity is not None:
        tags.append(f"{TAG}={identity.to_json()}")
    return tags


def _muxer_options(plan: OutputPlan) -> dict[str, str]:
    if plan.muxer in ("mp4", "mov"):
        # Free tags and cover art exclude each other in these containers; the identity is in the stream as well.
        has_cover = any(stream.is_cover for stream in plan.kept)
        return {"movflags": "+faststart" if has_cover else "+faststart+use_metadata_tags"}
    if plan.muxer == "mpegts":
        return {"mpegts_copyts": "1", "muxdelay": "0", "muxpreload": "0", "avoid_negative_ts": "disabled"}
    return {"avoid_negative_ts": "disabled"}  # or B-frames would move every stream by their delay


def _cover_tags(stream: StreamInfo) -> list[str]:
    mime = "image/png" if stream.codec == "png" else "image/jpeg"
    tags = {"mimetype": mime, **{key.lower(): value for key, value in stream.metadata.items()}}
    return [f"{key}={value}" for key, value in tags.items() if not _STALE_TAGS.match(key)]


def save_covers(source: Source, plan: OutputPlan, workspace: Workspace) -> dict[int, Path]:
    """Writes cover art to files, for containers that hold it as attachments."""
    covers = [stream for stream in plan.kept if stream.is_cover]
    if plan.muxer not in ("matroska", "webm") or not covers:
        return {}
    files: dict[int, Path] = {}
    with av.open(str(source.path)) as container:
        wanted = [container.streams[stream.index] for stream in covers]
        for packet in container.demux(wanted):
            index = packet.stream_index
            if packet.size and index not in files:
                extension = "png" if source.streams[index].codec == "png" else "jpg"
                files[index] = workspace.file(f"cover{index}.{extension}")
                files[index].write_bytes(bytes(packet))
            if len(files) == len(covers):
                break
    return files


def mux(command: list[str]) -> None:
    """Runs `mux_command`."""
    run_ffmpeg(command, "writing the output failed")


def check_output(path: Path, *, stream_index: int, pts: "array[int]", time_base: Fraction) -> None:
    """Makes sure that a written file is whole before it gets its name.

    Args:
        path: the file.
        stream_index: of the coded video among the output's streams.
        pts: timestamps that its pictures must have, in units of ``time_base``.

    Raises:
        EncodeError: pictures are missing, have another timestamp, or do not decode.
    """
    try:
        with av.open(str(path)) as container:
            stream = cast("av.VideoStream", container.streams[stream_index])
            last_key, found = 0, []
            for packet in container.demux(stream):
                if packet.size and packet.pts is not None:
                    found.append(packet.pts)
                    if packet.is_keyframe:  # MPEG-TS is searched by decoding time
                        last_key = packet.pts if packet.dts is None else min(packet.pts, packet.dts)
            found.sort()
            if len(found) != len(pts):
                raise EncodeError(f"{len(pts)} frames were encoded, but {len(found)} are in the output")
            unit = Fraction(stream.time_base or time_base)
            tolerance = max(unit, time_base) / 2
            worst = max(abs(a * unit - b * time_base) for a, b in zip(found, pts, strict=True))
            if worst > tolerance:
                raise EncodeError(f"timestamps in the output are off by up to {float(worst):.6f} s")
            container.seek(last_key, stream=stream, backward=True)
            if not any(True for _ in container.decode(stream)):
                raise EncodeError("the end of the output does not decode")
    except (av.FFmpegError, OSError) as error:
        raise EncodeError(f"the output cannot be read back: {getattr(error, 'strerror', None) or error}") from error

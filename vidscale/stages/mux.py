"""The muxing stage: combines the encoded video with all other streams of the source."""

import re
from array import array
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import ffmpeg as ffmpeg_python

from vidscale.config import TimeRange
from vidscale.errors import EncodeError, reason_of
from vidscale.media.containers import STALE_TAGS, OutputPlan
from vidscale.media.ffmpeg import Ffmpeg, command_line, file_word
from vidscale.media.ffmpeg_process import FfmpegProcess
from vidscale.media.identity import TAG, Identity
from vidscale.media.mp4 import write_keys
from vidscale.media.opening import open_container
from vidscale.media.probe import Source, StreamInfo
from vidscale.media.timing import Timing
from vidscale.stages.check import unreadable
from vidscale.system.workspace import Workspace

STREAMED = Path("pipe:0")
"""The video of a `mux_command` that is not a file."""

_MUXING_FAILED = "writing the output failed"


def mux_command(
    ffmpeg: Ffmpeg,
    *,
    video: Path,
    source: Source,
    plan: OutputPlan,
    identity: Identity | None,
    path: Path,
    covers: dict[int, Path],
    joined: Path | None = None,
    time_range: TimeRange | None = None,
    timing: Timing | None = None,
    origin_s: Fraction = Fraction(0),
    display_aspect: Fraction | None = None,
) -> list[str]:
    """The command line that muxes the encoded video with stream copies of the source's other streams.

    Args:
        ffmpeg: the binary.
        video: file with the encoded video stream.
        source: source of all other streams.
        plan: container and streams.
        identity: written as a tag, None for none.
        path: the file to write.
        covers: cover art by stream index, as files: Matroska stores it as attachments.
        joined: file with the other streams on the output's timeline, see `copy_joined`; None: from the source.
        time_range: the encoded part; audio and subtitles are cut at packets.
        timing: of the encoded pictures, once known.
        origin_s: time in the source that becomes 0.
        display_aspect: display aspect ratio, when neither the encoded stream nor its file can store it.
    """
    mapped = [stream for stream in plan.kept if stream.index not in covers]
    inputs = _inputs(source, mapped, video, joined, time_range, origin_s)
    options = {"c": "copy", "f": plan.muxer, **_muxer_options(plan)}
    if time_range is not None and time_range.end is not None:
        options["t"] = f"{float(source.start_s + time_range.end - origin_s):.6f}"
    output = ffmpeg_python.output(*inputs, file_word(path), **options)
    output = output.global_args("-hide_banner", "-v", "error", "-nostdin", "-copyts", "-y")
    command = command_line(output, ffmpeg.path)
    # The rest depends on the order of ffmpeg-python's inputs, or repeats an option, which ffmpeg-python cannot.
    files = [at + 1 for at, word in enumerate(command) if word == "-i"]
    cut = time_range is not None
    original = _original(source)
    origin = next(i for i, at in enumerate(files) if command[at] == original and (command[at - 3] == "-ss") == cut)
    tags = _tag_options(source, plan, identity, mapped, covers, origin=origin)
    position = [stream.index for stream in mapped].index(source.stream_index)
    if timing is not None and timing.until is not None and plan.muxer in ("mp4", "mov"):
        tags += [f"-bsf:{position}", _mp4_times(timing.pts, timing.until, timing.time_base)]
    if display_aspect is not None:
        tags += [f"-aspect:{position}", f"{display_aspect.numerator}:{display_aspect.denominator}"]
    if time_range is not None:
        tags += ["-copypriorss", "0"]
    place = len(command) - 1 - command[::-1].index(str(path))
    return [*command[:place], *tags, *command[place:]]


def _inputs(
    source: Source,
    mapped: list[StreamInfo],
    video: Path,
    joined: Path | None,
    time_range: TimeRange | None,
    origin_s: Fraction,
) -> list[Any]:
    """The streams to mux, as ffmpeg-python's; arguments as of `mux_command`."""
    before = {"itsoffset": f"{float(-origin_s):.6f}"} if origin_s else {}
    if time_range is not None:
        before["ss"] = f"{float(time_range.start):.6f}"
    original = _original(source)
    coded, rest = ffmpeg_python.input(file_word(video)), ffmpeg_python.input(file_word(original), **before)
    uncut = rest if time_range is None else ffmpeg_python.input(file_word(original))  # cover art precedes most ranges
    inputs = [
        coded["v:0"] if s.index == source.stream_index else (uncut if s.is_cover else rest)[str(s.index)]
        for s in mapped
    ]
    if joined is not None:
        others = ffmpeg_python.input(file_word(joined))
        places = [at for at, s in enumerate(mapped) if s.index != source.stream_index and not s.is_cover]
        for number, at in enumerate(places):
            inputs[at] = others[str(number)]
    inputs.append(rest["v:9999?"])  # matches nothing: makes the source an input even when only its tags are copied
    return inputs


def _original(source: Source) -> str:
    return str(source.path.absolute())  # or ffmpeg takes "a:b.mp4" for a protocol


def reproducible(command: list[str], path: Path) -> list[str]:
    """A `mux_command` that writes the same bytes each time: without random identifiers in Matroska."""
    place = len(command) - 1 - command[::-1].index(str(path))
    return [*command[:place], "-fflags", "+bitexact", *command[place:]]


def _mp4_times(pts: "array[int]", until: int, time_base: Fraction) -> str:
    """The bitstream filter that makes the media of an MP4 file end with its last picture.

    MP4 stores the distance from each sample to the next in decoding order, so the end is that of the sample decoded
    last. With B-frames it may be decoded long before it is displayed, when the last pictures are far apart: its DTS is
    moved as close to its PTS as in the first sample.
    """
    end = f"{until * time_base.numerator}/{time_base.denominator}/TB"
    early = "(STARTPTS-STARTDTS)"
    moved = f"max(DTS,PTS-{early})"
    from_last_s = (pts[-1] - Fraction(1, 2)) * time_base
    is_last = f"gte(PTS*TB,{from_last_s.numerator}/{from_last_s.denominator})"
    is_decoded_last = f"eq(N,{len(pts) - 1})"
    # With B-frames a duration may reach beyond the end, which would make the movie longer.
    other = f"max(1,min({end}-PTS,if({is_decoded_last},{end}-{early}-{moved},DURATION)))"
    times = f"pts=PTS:dts=if({is_decoded_last},{moved},DTS):duration=if({is_last},{end}-PTS,{other})"
    return f"setts={times}".replace(",", r"\,")


def _tag_options(
    source: Source,
    plan: OutputPlan,
    identity: Identity | None,
    mapped: list[StreamInfo],
    covers: dict[int, Path],
    *,
    origin: int,
) -> list[str]:
    """Options that copy metadata, chapters and dispositions from input number ``origin``."""
    words = ["-map_metadata", str(origin), "-map_chapters", str(origin)]
    words += _options("metadata", _global_tags(source, plan, identity))
    for position, stream in enumerate(mapped):
        words += [f"-disposition:{position}", "+".join(stream.disposition) or "0"]
        # Setting metadata of one stream disables the automatic copying for all others.
        is_coded = stream.index == source.stream_index
        words += [f"-map_metadata:s:{position}", "-1" if is_coded else f"{origin}:s:{stream.index}"]
        if is_coded:
            words += _options(f"metadata:s:{position}", _tags(stream.metadata, source, plan))
        elif "name" in stream.metadata:
            words += _options(f"metadata:s:{position}", [f"title={_title(stream.metadata)}", "name="])
        elif source.container == "hls" and "comment" in stream.metadata:  # its demuxer's word for the NAME of a track
            words += _options(f"metadata:s:{position}", [f"title={stream.metadata['comment']}", "comment="])
    for position, (index, file) in enumerate(covers.items(), start=len(mapped)):
        words += ["-attach", str(file), *_options(f"metadata:s:{position}", _cover_tags(source.streams[index]))]
    return words


def _options(name: str, values: list[str]) -> list[str]:
    return [word for value in values for word in (f"-{name}", value)]


def _tags(metadata: dict[str, str], source: Source, plan: OutputPlan) -> list[str]:
    tags = {key: value for key, value in metadata.items() if not STALE_TAGS.match(key)}
    if tags.pop("name", None) is not None:
        tags["title"] = _title(metadata)
    if plan.muxer in ("mp4", "mov") and "timecode" in source.metadata:
        tags.setdefault("timecode", source.metadata["timecode"])
    return [f"{key}={value}" for key, value in tags.items()]


def _title(metadata: dict[str, str]) -> str:
    """The title of a stream; MP4's demuxer calls it name, its muxer title."""
    return metadata.get("title", metadata["name"])


def _global_tags(source: Source, plan: OutputPlan, identity: Identity | None) -> list[str]:
    removed = [key for key in source.metadata if STALE_TAGS.match(key)]
    if plan.muxer in ("mp4", "mov") and "timecode" in source.metadata:
        removed.append("timecode")  # otherwise it would add a timecode track for the cover art as well
    tags = [f"{key}=" for key in removed if key.upper() != TAG or identity is None]
    if identity is not None:
        tags.append(f"{TAG}={identity.to_json()}")
    return tags


def _muxer_options(plan: OutputPlan) -> dict[str, str]:
    if plan.muxer in ("mp4", "mov"):
        return {}  # `mux` moves the index to the front
    if plan.muxer == "mpegts":
        return {"mpegts_copyts": "1", "muxdelay": "0", "muxpreload": "0", "avoid_negative_ts": "disabled"}
    return {"avoid_negative_ts": "disabled"}  # or every stream would be shifted by the B-frame delay


def _cover_tags(stream: StreamInfo) -> list[str]:
    kind, extension = ("png", "png") if stream.codec == "png" else ("jpeg", "jpg")
    tags = {"mimetype": f"image/{kind}", "filename": f"cover.{extension}"}
    tags |= {key.lower(): value for key, value in stream.metadata.items()}
    return [f"{key}={value}" for key, value in tags.items() if not STALE_TAGS.match(key)]


def save_covers(source: Source, plan: OutputPlan, workspace: Workspace) -> dict[int, Path]:
    """Writes cover art to files, for containers that store it as attachments."""
    covers = [stream for stream in plan.kept if stream.is_cover]
    if plan.muxer not in ("matroska", "webm") or not covers:
        return {}
    files: dict[int, Path] = {}
    with open_container(source.path) as container:
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


def mux(
    command: list[str],
    path: Path,
    *,
    source: Source,
    plan: OutputPlan,
    identity: Identity | None,
    write: Callable[[IO[bytes]], None] | None = None,
) -> None:
    """Runs `mux_command`; same arguments. In MP4 and MOV, then adds the tags that ffmpeg has no atom for.

    Args:
        write: writes the video that the command reads from `STREAMED`; None where it is a file.

    Raises:
        EncodeError: ffmpeg failed, or the tags cannot be written.
    """
    with FfmpegProcess(command, stdin=write is not None) as process:
        if write is not None:
            try:
                write(process.stdin)
            except BrokenPipeError:
                raise process.failure(_MUXING_FAILED) from None
            process.stdin.close()
        process.wait(_MUXING_FAILED)
    if plan.muxer not in ("mp4", "mov"):
        return
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            held = {key.lower() for key in container.metadata}
    except (av.FFmpegError, OSError) as error:
        raise unreadable(error) from error
    try:
        tags = _kept_tags(source, identity)
        write_keys(path, {key: value for key, value in tags.items() if key.lower() not in held})
    except OSError as error:
        raise EncodeError(f"writing the tags failed: {reason_of(error)}") from error


def _kept_tags(source: Source, identity: Identity | None) -> dict[str, str]:
    """Tags of the MP4 or QuickTime output; the timecode belongs to its stream there."""
    tags = {key: value for key, value in source.metadata.items() if not STALE_TAGS.match(key) and key != "timecode"}
    tags = {key: value for key, value in tags.items() if not _is_translation(key, value, tags)}
    return tags if identity is None else tags | {TAG: identity.to_json()}


def _is_translation(key: str, value: str, tags: dict[str, str]) -> bool:
    """Whether a tag with a language, such as "title-eng", duplicates the one without."""
    plain = re.sub("-[a-z]{3}$", "", key)
    return plain != key and tags.get(plain) == value

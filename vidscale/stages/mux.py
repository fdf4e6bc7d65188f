"""The last stage of a file: the coded video joins everything else that the source holds."""

import contextlib
from array import array
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import ffmpeg as ffmpeg_python

from vidscale.config import TimeRange
from vidscale.errors import EncodeError
from vidscale.media import h273
from vidscale.media.bitstream import Codec
from vidscale.media.containers import STALE_TAGS, OutputPlan
from vidscale.media.ffmpeg import Ffmpeg, command_line, file_word, run_ffmpeg
from vidscale.media.frames import VideoInfo
from vidscale.media.identity import TAG, Identity, insert
from vidscale.media.probe import Source, StreamInfo, open_container
from vidscale.system.workspace import Workspace

_COLOR_RANGE: dict[str | None, int] = {None: 0} | {word: code for code, word in h273.COLOR_RANGE.items()}


def sign(video: Path, signed: Path, identity: Identity | None, info: VideoInfo) -> int:
    """Copies a file with one video stream and writes what encoders and ffmpeg do not: the identity in front of every
    keyframe, the display matrix, the aspect ratio, for which AV1 has no word, and the range, for which FFV1 has none.

    Args:
        video: the encoder's file.
        signed: the copy.
        identity: None leaves the packets as they are.
        info: the video.

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
            if muxer == "mp4":  # a template's is not taken: H.265 would be hev1 again
                copy.codec_context.codec_tag = stream.codec_context.codec_tag
            copy.codec_context.sample_aspect_ratio = info.sar
            copy.codec_context.color_range = _COLOR_RANGE[info.color.color_range]
            if muxer == "matroska" and info.frame_rate:  # MP4's is found from its table of timestamps
                copy.codec_context.framerate = info.frame_rate
            if info.display_matrix is not None:
                copy.set_display_matrix(info.display_matrix)
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
        raise EncodeError(f"copying the coded video failed: {getattr(error, 'strerror', None) or error}") from error
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
    display_aspect: Fraction | None = None,
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
        display_aspect: width over height as shown, where neither the coded stream nor its file can say it.
    """
    before = {"itsoffset": f"{float(-origin_s):.6f}"} if origin_s else {}
    if time_range is not None:
        before["ss"] = f"{float(time_range.start):.6f}"
    film = str(source.path.absolute())  # or ffmpeg takes "a:b.mp4" for a protocol
    coded, rest = ffmpeg_python.input(file_word(video)), ffmpeg_python.input(file_word(film), **before)
    uncut = rest if time_range is None else ffmpeg_python.input(file_word(film))  # cover art lies before most ranges
    mapped = [stream for stream in plan.kept if stream.index not in covers]
    inputs = [
        coded["v:0"] if s.index == source.stream_index else (uncut if s.is_cover else rest)[str(s.index)]
        for s in mapped
    ]
    inputs.append(rest["v:9999?"])  # matches nothing: makes the source an input even when only its tags are copied
    options = {"c": "copy", "f": plan.muxer, **_muxer_options(plan)}
    if time_range is not None and time_range.end is not None:
        options["t"] = f"{float(source.start_s + time_range.end - origin_s):.6f}"
    output = ffmpeg_python.output(*inputs, file_word(path), **options)
    output = output.global_args("-hide_banner", "-v", "error", "-nostdin", "-copyts", "-y")
    command = command_line(output, ffmpeg.path)
    # What follows depends on the order in which ffmpeg-python puts the inputs, or repeats an option, which it cannot.
    files = [at + 1 for at, word in enumerate(command) if word == "-i"]
    cut = time_range is not None
    origin = next(i for i, at in enumerate(files) if command[at] == film and (command[at - 3] == "-ss") == cut)
    tags = _tag_options(source, plan, identity, mapped, covers, origin=origin)
    if display_aspect is not None:
        position = [stream.index for stream in mapped].index(source.stream_index)
        tags += [f"-aspect:{position}", f"{display_aspect.numerator}:{display_aspect.denominator}"]
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
        elif "name" in stream.metadata:
            words += _options(f"metadata:s:{position}", [f"title={_title(stream.metadata)}", "name="])
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
    kind, extension = ("png", "png") if stream.codec == "png" else ("jpeg", "jpg")
    tags = {"mimetype": f"image/{kind}", "filename": f"cover.{extension}"}
    tags |= {key.lower(): value for key, value in stream.metadata.items()}
    return [f"{key}={value}" for key, value in tags.items() if not STALE_TAGS.match(key)]


def save_covers(source: Source, plan: OutputPlan, workspace: Workspace) -> dict[int, Path]:
    """Writes cover art to files, for containers that hold it as attachments."""
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
        with av.open(str(path), metadata_errors="replace") as container:
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
            stream.thread_type = "AUTO"
            if max((f.pts for f in container.decode(stream) if f.pts is not None), default=None) != found[-1]:
                raise EncodeError("the end of the output does not decode")
    except (av.FFmpegError, OSError) as error:
        raise EncodeError(f"the output cannot be read back: {getattr(error, 'strerror', None) or error}") from error

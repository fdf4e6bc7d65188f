"""What a file holds, found out before any work starts."""

import contextlib
import os
import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, cast, get_args

import av
from av.container import Flags

from vidscale.errors import ConfigError, DecodeError
from vidscale.media import h273
from vidscale.media.frames import Chroma, Color, PixelFormat, Siting, VideoInfo
from vidscale.media.jumps import may_jump
from vidscale.media.parts import media_bytes
from vidscale.media.side_data import carried, lasting
from vidscale.system.processes import captured

_PROBED_FRAMES = 4


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream of a container.

    Attributes:
        index: position in the container.
        kind: "video", "audio", "subtitle", "data", "attachment".
        codec: ffmpeg's codec name; of data streams the four-character code; "none" when unknown.
        is_cover: an attached picture.
        disposition: ffmpeg's disposition names, such as ("default", "forced").
        metadata: the stream's own tags.
        is_turned: the container says that players are to turn its pictures.
    """

    index: int
    kind: str
    codec: str
    is_cover: bool
    disposition: tuple[str, ...]
    metadata: dict[str, str]
    is_turned: bool = False

    def __str__(self) -> str:
        language = self.metadata.get("language", "und")
        return f"{self.kind} stream {self.index} ({self.codec}{'' if language == 'und' else ', ' + language})"


@dataclass(frozen=True, slots=True)
class Source:
    """A file that holds a video.

    Attributes:
        path: the file.
        container: ffmpeg's names of the container format, such as "matroska,webm".
        video: the video stream that is coded, as the decoding stage yields it.
        stream_index: index of that stream in the container.
        codec: name of its format, such as "h264".
        pix_fmt: its pixel format as decoded; differs from ``video.format.name`` when frames are converted.
        streams: all streams in order.
        has_chapters: the container lists chapters.
        metadata: the container's tags.
        start_s: first timestamp of the container, seconds.
        may_jump: the format is one whose timestamps may jump, such as MPEG-TS.
        size_bytes: size of the file, or of the files that a playlist names; None when unknown.
        side_data: what the first pictures carry that raw pictures lose, in words; see `vidscale.media.side_data`.
        interlaced: the first pictures are flagged interlaced.
    """

    path: Path
    container: str
    video: VideoInfo
    stream_index: int
    codec: str
    pix_fmt: str
    streams: tuple[StreamInfo, ...]
    has_chapters: bool
    metadata: dict[str, str]
    start_s: Fraction
    may_jump: bool
    size_bytes: int | None
    side_data: tuple[str, ...]
    interlaced: bool

    @property
    def is_rgb(self) -> bool:
        """Whether the decoded pictures are RGB, which the decoding stage converts."""
        return self.pix_fmt == "pal8" or bool(av.VideoFormat(self.pix_fmt).is_rgb)

    @property
    def stream(self) -> StreamInfo:
        """The stream that is coded."""
        return self.streams[self.stream_index]


def open_container(path: Path) -> av.container.InputContainer:
    """Opens a media file; DecodeError with one clear line when that fails."""
    try:
        if path.is_dir():
            raise DecodeError(f"{path} is a directory")
        if path.exists() and not path.is_file():
            raise DecodeError(f"{path} is not a regular file, and it is read more than once")
        if path.exists() and path.stat().st_size == 0:
            raise DecodeError(f"{path} is empty")
        container = av.open(str(path.absolute()), metadata_errors="replace")  # "a:b.mp4" would be a protocol
    except UnicodeEncodeError:
        raise DecodeError(f"{os.fsencode(path)!r} is not UTF-8: ffmpeg takes no such file name; rename it") from None
    except FileNotFoundError:
        raise DecodeError(f"{path} does not exist") from None
    except PermissionError:
        raise DecodeError(f"{path} cannot be read: permission denied") from None
    except av.error.EOFError:
        raise DecodeError(f"{path} ends within its header") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DecodeError(f"{path} cannot be opened as a video: {reason}") from error
    # Unlike ffmpeg, PyAV asks for presentation times that the file does not have; those of AVI would be wrong.
    container.flags = container.flags & ~cast("int", Flags.gen_pts.value)
    return container


def probe(path: Path, *, stream: int = 0, ffmpeg: str | None = None) -> Source:
    """Looks into a file: its streams, and the first pictures of the video stream.

    Args:
        path: the file.
        stream: which of the video streams that are not cover art.
        ffmpeg: path of an ffmpeg binary, asked for the chroma location and the kind of data streams, which PyAV does
            not tell; None leaves them unknown.

    Raises:
        DecodeError: the file cannot be read or holds no such video stream.
        ConfigError: the pictures are of a kind that cannot be coded.
    """
    with open_container(path) as container:
        description = _described(path, ffmpeg) if ffmpeg else ""
        streams = tuple(_stream_info(s, description) for s in container.streams)
        video = [s for s in streams if s.kind == "video" and not s.is_cover]
        if not video:
            covers = " but cover art" if any(s.is_cover for s in streams) else ""
            raise DecodeError(f"{path} holds no video stream{covers}")
        if stream >= len(video):
            raise DecodeError(f"{path} has {len(video)} video stream(s), there is no v:{stream}")
        index = video[stream].index
        if video[stream].metadata.get("alpha_mode") == "1":  # VP8 and VP9 keep it beside the pictures
            raise _alpha_error("alpha_mode 1")
        chosen = cast("av.VideoStream", container.streams[index])
        frames = _first_frames(path, container, chosen)
        info = _video_info(container, chosen, frames, _chroma_location(description, index))
        start = container.start_time
        return Source(
            path=path,
            container=container.format.name,
            video=info,
            stream_index=index,
            codec=video[stream].codec,
            pix_fmt=frames[0].format.name,
            streams=streams,
            has_chapters=bool(container.chapters()),
            metadata=dict(container.metadata),
            start_s=Fraction(start or 0, 1_000_000),
            may_jump=may_jump(container),
            size_bytes=media_bytes(path, container.format.name),
            side_data=tuple(dict.fromkeys(words for frame in frames for words in carried(frame))),
            interlaced=any(frame.interlaced_frame for frame in frames),
        )


def _stream_info(stream: Any, description: str) -> StreamInfo:
    context = getattr(stream, "codec_context", None)
    flags = stream.disposition
    names = tuple(str(flag.name) for flag in type(flags) if flag in flags and flag.name)
    return StreamInfo(
        index=stream.index,
        kind=stream.type or "data",
        codec=context.codec.canonical_name if context is not None else _data_tag(description, stream.index),
        is_cover="attached_pic" in names,
        disposition=names,
        metadata=dict(stream.metadata),
        is_turned=_is_turned(description, stream.index),
    )


def _first_frames(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> list[av.VideoFrame]:
    if stream.codec_context is None:
        raise DecodeError(f"{path} cannot be decoded: there is no decoder for its video stream {stream.index}")
    frames: list[av.VideoFrame] = []
    problem: Exception | None = None
    try:
        for packet in container.demux(stream):
            try:
                frames += packet.decode()
            except (av.error.DecoderNotFoundError, MemoryError):
                raise
            except av.FFmpegError as error:
                problem = error
            if len(frames) >= _PROBED_FRAMES:
                break
    except (av.FFmpegError, OSError) as error:
        problem = error
        with contextlib.suppress(av.FFmpegError):
            frames += stream.decode(None)  # what it holds: behind the end of the file nothing drains it
    if not frames:
        reason = f": {getattr(problem, 'strerror', None) or problem}" if problem else ""
        raise DecodeError(
            f"{path} holds no decodable frame in video stream {stream.index} ({stream.codec_context.name}){reason}"
        ) from problem
    return frames


def _video_info(
    container: av.container.InputContainer, stream: av.VideoStream, frames: list[av.VideoFrame], location: Siting | None
) -> VideoInfo:
    frame, context = frames[0], stream.codec_context
    said = lasting(frame)
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    time_base = stream.time_base or frame.time_base
    if not time_base:
        raise DecodeError("the video stream has no time base")
    duration = stream.duration * time_base if stream.duration else None
    if duration is None and container.duration:
        duration = Fraction(container.duration, 1_000_000)
    return VideoInfo(
        width=frame.width,
        height=frame.height,
        format=target_format(frame.format),
        color=_color(frame, context, location),
        time_base=_fine_enough(Fraction(time_base), rate),
        frame_rate=Fraction(rate) if rate else None,
        sar=Fraction(stream.sample_aspect_ratio or 1),
        display_matrix=said.display_matrix,
        mastering_display=said.mastering_display,
        content_light=said.content_light,
        frame_count=stream.frames or None,
        duration_s=duration,
    )


def _fine_enough(time_base: Fraction, rate: Fraction | None) -> Fraction:
    """The stream's time base, or a part of it where pictures lie nearer than that: those that share a timestamp are
    told apart by it."""
    return time_base / ceil(8 * rate * time_base) if rate and rate * time_base > 1 else time_base


def target_format(pixel_format: av.VideoFormat) -> PixelFormat:
    """The planar format in which frames of this format are coded: the same, or the nearest that loses nothing.

    Packed and semi-planar YUV is only repacked; RGB becomes 4:4:4.

    Raises:
        ConfigError: alpha, or a format that no encoder here takes.
    """
    name = pixel_format.name
    if name == "pal8":
        return PixelFormat("444", 8)
    components = pixel_format.components
    if any(component.is_alpha for component in components):
        raise _alpha_error(name)
    depth = components[0].bits
    if pixel_format.is_rgb:
        chroma: Chroma = "444"
        depth = max(8, depth)
    elif len(components) == 1:
        chroma = "gray"
    else:
        # Width and height of the chroma planes of a 16x16 picture tell the subsampling.
        ratio = (16 // pixel_format.chroma_height(16), 16 // pixel_format.chroma_width(16))
        layouts: dict[tuple[int, int], Chroma] = {(2, 2): "420", (1, 2): "422", (1, 1): "444"}
        if ratio not in layouts:
            raise ConfigError(f"pixel format {name} is not supported; convert it to yuv420p, yuv422p or yuv444p first")
        chroma = layouts[ratio]
    if depth not in (8, 10, 12):
        raise ConfigError(f"pixel format {name} has {depth} bits a sample; 8, 10 and 12 are supported")
    return PixelFormat(chroma, depth)


def _color(frame: av.VideoFrame, context: Any, location: Siting | None) -> Color:
    def word(table: dict[int, str], *codes: int | None) -> str | None:
        return next((table[int(code)] for code in codes if code is not None and int(code) in table), None)

    if frame.format.is_rgb or frame.format.name == "pal8":
        # RGB carries no matrix; BT.709 limited is what players expect of untagged 4:4:4 video.
        primaries = word(h273.PRIMARIES, frame.color_primaries) or "bt709"
        transfer = word(h273.TRANSFER, frame.color_trc) or "bt709"
        return Color("tv", "bt2020nc" if primaries == "bt2020" else "bt709", primaries, transfer)
    full = frame.format.name.startswith("yuvj")
    matrix = word(h273.MATRIX, frame.colorspace, context.colorspace)
    return Color(
        color_range="pc" if full else word(h273.COLOR_RANGE, frame.color_range, context.color_range),
        matrix=None if matrix == "gbr" else matrix,
        primaries=word(h273.PRIMARIES, frame.color_primaries, context.color_primaries),
        transfer=word(h273.TRANSFER, frame.color_trc, context.color_trc),
        chroma_location=location,
    )


def _alpha_error(where: str) -> ConfigError:
    return ConfigError(f"the source has an alpha channel ({where}), which H.264, H.265 and AV1 cannot hold here")


def _described(path: Path, ffmpeg: str) -> str:
    """What ffmpeg prints of a file; it names some things that PyAV does not."""
    try:
        command = [ffmpeg, "-hide_banner", "-nostdin", "-v", "verbose", "-i", str(path.absolute())]
        result = captured(command, timeout_s=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stderr.decode(errors="replace")


def _chroma_location(description: str, index: int) -> Siting | None:
    pattern = rf"Stream #0:{index}\b[^\n]*?Video: [^\n]*?\w+\((?P<words>[^()]*)\), \d+x\d+"
    match = re.search(pattern, description)
    if match is None:
        return None
    words = {word.strip() for word in match["words"].split(",")}
    return next((location for location in get_args(Siting) if location in words), None)


def _is_turned(description: str, index: int) -> bool:
    match = re.search(rf"Stream #0:{index}\b.*?(?=Stream #0:|\Z)", description, re.DOTALL)
    return match is not None and re.search(r"(?im)^\s+display ?matrix: ", match[0]) is not None


def _data_tag(description: str, index: int) -> str:
    """Four-character code of a data stream, such as ``tmcd``; "none" when it has none."""
    match = re.search(rf"Stream #0:{index}\b[^\n]*?Data: \w+ \((\w+) /", description)
    return match.group(1) if match else "none"

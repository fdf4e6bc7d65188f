"""What a file holds, found out before any work starts."""

import re
import struct
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast, get_args

import av
from av.sidedata.sidedata import Type as SideData

from vidscale.errors import ConfigError, DecodeError
from vidscale.media import h273
from vidscale.media.frames import Chroma, Color, ContentLight, MasteringDisplay, PixelFormat, Siting, VideoInfo
from vidscale.system.processes import captured

_PROBED_FRAMES = 4  # side data such as captions starts with the first pictures
_LOST_SIDE_DATA = {
    SideData.DYNAMIC_HDR_PLUS: "HDR10+ metadata",
    SideData.DYNAMIC_HDR_VIVID: "HDR Vivid metadata",
    SideData.DOVI_METADATA: "Dolby Vision metadata",
    SideData.DOVI_RPU_BUFFER: "Dolby Vision metadata",
    SideData.A53_CC: "closed captions (A53)",
    SideData.S12M_TIMECODE: "timecode (SMPTE 12M)",
    SideData.GOP_TIMECODE: "timecode (GOP)",
    SideData.AMBIENT_VIEWING_ENVIRONMENT: "ambient viewing environment",
    SideData.STEREO3D: "stereo 3D layout",
    SideData.SPHERICAL: "spherical projection",
    SideData.AFD: "active format description",
    SideData.FILM_GRAIN_PARAMS: "film grain parameters",
}


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
    """

    index: int
    kind: str
    codec: str
    is_cover: bool
    disposition: tuple[str, ...]
    metadata: dict[str, str]

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
        size_bytes: size of the file.
        lost_metadata: what the pictures carry that does not survive coding, in words.
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
    size_bytes: int
    lost_metadata: tuple[str, ...]
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
        return av.open(str(path.absolute()), metadata_errors="replace")  # "a:b.mp4" would be a protocol
    except FileNotFoundError:
        raise DecodeError(f"{path} does not exist") from None
    except PermissionError:
        raise DecodeError(f"{path} cannot be read: permission denied") from None
    except av.error.EOFError:
        raise DecodeError(f"{path} ends within its header") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DecodeError(f"{path} cannot be opened as a video: {reason}") from error


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
            size_bytes=path.stat().st_size,
            lost_metadata=_lost_metadata(frames),
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
    if not frames:
        reason = f": {getattr(problem, 'strerror', None) or problem}" if problem else ""
        raise DecodeError(
            f"{path} holds no decodable frame in video stream {stream.index} ({stream.codec_context.name}){reason}"
        ) from problem
    return frames


def _side_data(frame: av.VideoFrame) -> list[Any]:
    """The entries of a frame's side data; PyAV's stub describes the container as one of strings."""
    return [cast("Any", entry) for entry in frame.side_data]


def _video_info(
    container: av.container.InputContainer, stream: av.VideoStream, frames: list[av.VideoFrame], location: Siting | None
) -> VideoInfo:
    frame, context = frames[0], stream.codec_context
    side_data = {entry.type: bytes(entry) for entry in _side_data(frame)}
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
        time_base=Fraction(time_base),
        frame_rate=Fraction(rate) if rate else None,
        sar=Fraction(stream.sample_aspect_ratio or 1),
        display_matrix=_display_matrix(side_data.get(SideData.DISPLAYMATRIX)),
        mastering_display=_mastering_display(side_data.get(SideData.MASTERING_DISPLAY_METADATA)),
        content_light=_content_light(side_data.get(SideData.CONTENT_LIGHT_LEVEL)),
        frame_count=stream.frames or None,
        duration_s=duration,
    )


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


def _display_matrix(data: bytes | None) -> tuple[int, ...] | None:
    if data is None or len(data) < 36:
        return None
    matrix = struct.unpack("=9i", data[:36])
    identity = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    return None if matrix == identity else matrix


def _mastering_display(data: bytes | None) -> MasteringDisplay | None:
    """From the C structure: ten rationals (R, G, B, white point as x, y; min, max luminance), then two flags."""
    if data is None or len(data) < 88:
        return None
    numbers = struct.unpack("=22i", data[:88])
    values = [Fraction(numbers[i], numbers[i + 1] or 1) for i in range(0, 20, 2)]
    has_primaries, has_luminance = numbers[20], numbers[21]
    points = [(values[i], values[i + 1]) for i in range(0, 8, 2)]
    return MasteringDisplay(
        primaries=tuple(points[:3]) if has_primaries else None,
        white_point=points[3] if has_primaries else None,
        luminance=(values[8], values[9]) if has_luminance else None,
    )


def _content_light(data: bytes | None) -> ContentLight | None:
    if data is None or len(data) < 8:
        return None
    return ContentLight(*struct.unpack("=2I", data[:8]))


def _lost_metadata(frames: list[av.VideoFrame]) -> tuple[str, ...]:
    kinds = {entry.type for frame in frames for entry in _side_data(frame)}
    return tuple(dict.fromkeys(words for kind, words in _LOST_SIDE_DATA.items() if kind in kinds))


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


def _data_tag(description: str, index: int) -> str:
    """Four-character code of a data stream, such as ``tmcd``; "none" when it has none."""
    match = re.search(rf"Stream #0:{index}\b[^\n]*?Data: \w+ \((\w+) /", description)
    return match.group(1) if match else "none"

"""Inspection of a source file before any work starts."""

import contextlib
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, cast

import av

from vidscale.errors import DecodeError, reason_of
from vidscale.media.alpha import BlockAlpha
from vidscale.media.colors import color_of, unknown_colors
from vidscale.media.container_crop import Window, container_crop, window_of
from vidscale.media.description import Description
from vidscale.media.frames import Siting, VideoInfo
from vidscale.media.jumps import may_jump
from vidscale.media.opening import is_raw, open_container
from vidscale.media.parts import media_bytes
from vidscale.media.pixel_formats import are_opaque, planes_of, reading_of
from vidscale.media.side_data import carried, lasting

_MICROSECOND = Fraction(1, 1_000_000)
_PROBED_FRAMES = 4


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream of a container.

    Attributes:
        index: position in the container.
        kind: "video", "audio", "subtitle", "data", "attachment".
        codec: ffmpeg's codec name; for data streams the four-character code; "none" when unknown.
        is_cover: an attached picture.
        disposition: ffmpeg's disposition names, such as ("default", "forced").
        metadata: the stream's own tags.
        is_turned: the container has a display matrix for its pictures.
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
        video: the video stream to encode, as the decoding stage yields it.
        stream_index: index of that stream in the container.
        codec: name of its format, such as "h264".
        pix_fmt: its pixel format as decoded; differs from ``video.format.name`` when frames are converted.
        streams: all streams in order.
        has_chapters: the container lists chapters.
        metadata: the container's tags.
        start_s: first timestamp of the container, seconds.
        may_jump: the format allows timestamp jumps, as MPEG-TS does.
        size_bytes: size of the file, or of the files that a playlist names; None when unknown.
        side_data: side data of the first pictures that raw pictures lose, in words; see `vidscale.media.side_data`.
        interlaced: the first pictures are flagged interlaced.
        alpha: the format of the alpha, such as "bgra"; None without alpha, or with a palette.
        is_transparent: one of the first pictures is not opaque.
        window: the container's crop window in the decoded pictures; None when uncropped.
        alternatives: indices of the streams that an HLS playlist offers in place of the chosen one and its audio.
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
    alpha: str | None = None
    is_transparent: bool = False
    window: Window | None = None
    alternatives: tuple[int, ...] = ()

    @property
    def is_rgb(self) -> bool:
        """Whether the decoded pictures are RGB, which the decoding stage converts."""
        return reading_of(self.pix_fmt).is_rgb

    @property
    def decoded_size(self) -> tuple[int, int]:
        """(width, height) of the pictures before cropping by the container."""
        if self.window is not None:
            return self.window.decoded_width, self.window.decoded_height
        return self.video.width, self.video.height

    @property
    def stream(self) -> StreamInfo:
        """The stream to encode."""
        return self.streams[self.stream_index]


def probe(path: Path, *, stream: int = 0, ffmpeg: str | None = None) -> Source:
    """Inspects a file: its streams, and the first pictures of the video stream.

    Args:
        path: the file.
        stream: which of the video streams that are not cover art.
        ffmpeg: path of an ffmpeg binary, used for the chroma location and the kind of data streams, which PyAV does
            not expose; None leaves them unknown.

    Raises:
        DecodeError: the file cannot be read or has no such video stream.
        ConfigError: the pixel format is not supported.
    """
    with open_container(path) as container:
        description = Description.of(path, ffmpeg) if ffmpeg else Description()
        streams = tuple(_stream_info(s, description) for s in container.streams)
        video = [s for s in streams if s.kind == "video" and not s.is_cover]
        if not video:
            covers = " but cover art" if any(s.is_cover for s in streams) else ""
            raise DecodeError(f"{path} holds no video stream{covers}")
        if stream >= len(video):
            known = "v:0" if len(video) == 1 else f"v:0 to v:{len(video) - 1}"
            raise DecodeError(f"{path} has no video stream v:{stream}, only {known}")
        index = video[stream].index
        chosen = cast("av.VideoStream", container.streams[index])
        block_alpha = BlockAlpha.of(chosen)
        frames = _first_frames(path, container, chosen, block_alpha)
        info = _video_info(container, chosen, frames, description.chroma_location(index))
        margins = container_crop(path, container.format.name, track=chosen.id, number=stream)
        window = window_of(margins, (info.height, info.width), reading_of(frames[0].format.name).subsampling)
        return Source(
            path=path,
            container=container.format.name,
            video=info if window is None else replace(info, width=window.width, height=window.height),
            stream_index=index,
            codec=video[stream].codec,
            pix_fmt=frames[0].format.name,
            streams=streams,
            has_chapters=bool(container.chapters()),
            metadata=dict(container.metadata),
            start_s=_start_s(container),
            may_jump=may_jump(container),
            size_bytes=media_bytes(path, container.format.name),
            side_data=(
                *dict.fromkeys(words for frame in frames for words in carried(frame)),
                *unknown_colors(frames[0]),
            ),
            interlaced=any(frame.interlaced_frame for frame in frames),
            alpha="alpha_mode 1" if block_alpha is not None else _alpha(frames[0].format.name),
            is_transparent=not all(_is_opaque(frame, block_alpha) for frame in frames),
            window=window,
            alternatives=description.alternatives(container, index),
        )


def _start_s(container: av.container.InputContainer) -> Fraction:
    """First timestamp, exact: the container rounds it to microseconds, which may be after the first picture."""
    rounded = Fraction(container.start_time or 0, 1_000_000)
    starts = (
        stream.start_time * stream.time_base
        for stream in container.streams
        if stream.start_time is not None and stream.time_base
    )
    return min((start for start in starts if abs(start - rounded) <= _MICROSECOND), default=rounded)


def _stream_info(stream: Any, description: Description) -> StreamInfo:
    context = getattr(stream, "codec_context", None)
    flags = stream.disposition
    names = tuple(str(flag.name) for flag in type(flags) if flag in flags and flag.name)
    return StreamInfo(
        index=stream.index,
        kind=stream.type or "data",
        codec=context.codec.canonical_name if context is not None else description.data_tag(stream.index),
        is_cover="attached_pic" in names,
        disposition=names,
        metadata=dict(stream.metadata),
        is_turned=description.is_turned(stream.index),
    )


def _first_frames(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream, block_alpha: BlockAlpha | None
) -> list[av.VideoFrame]:
    if stream.codec_context is None:
        raise DecodeError(f"{path} cannot be decoded: there is no decoder for its video stream {stream.index}")
    frames: list[av.VideoFrame] = []
    problem: Exception | None = None
    try:
        for packet in container.demux(stream):
            if block_alpha is not None:
                block_alpha.feed(packet)
            try:
                frames += packet.decode()
            except (av.error.DecoderNotFoundError, MemoryError):
                raise
            except av.FFmpegError as error:
                problem = error
            if len(frames) >= _PROBED_FRAMES:
                break
    except (av.FFmpegError, OSError, IndexError) as error:  # IndexError: a stream that PyAV missed, since it came later
        problem = error
        with contextlib.suppress(av.FFmpegError):
            frames += stream.decode(None)  # drain the decoder
    if not frames:
        reason = f": {reason_of(problem)}" if problem else ""
        raise DecodeError(
            f"{path} holds no decodable frame in video stream {stream.index} ({stream.codec_context.name}){reason}"
        ) from problem
    return frames


def _alpha(pix_fmt: str) -> str | None:
    return pix_fmt if reading_of(pix_fmt).has_alpha and pix_fmt != "pal8" else None  # most palettes are opaque


def _is_opaque(frame: av.VideoFrame, block_alpha: BlockAlpha | None) -> bool:
    reading = reading_of(frame.format.name)
    if not reading.has_alpha:
        return block_alpha is None or block_alpha.is_opaque(frame)
    repacked = frame.reformat(format=reading.planar) if reading.is_packed else frame
    return are_opaque(planes_of(repacked, reading), reading)


def _video_info(
    container: av.container.InputContainer, stream: av.VideoStream, frames: list[av.VideoFrame], location: Siting | None
) -> VideoInfo:
    frame, context = frames[0], stream.codec_context
    side_data = lasting(frame)
    rate = _frame_rate(container, stream)
    time_base = stream.time_base or frame.time_base
    if not time_base:
        raise DecodeError("the video stream has no time base")
    duration = stream.duration * time_base if stream.duration else None
    if duration is None and container.duration:
        duration = Fraction(container.duration, 1_000_000)
    return VideoInfo(
        width=frame.width,
        height=frame.height,
        format=reading_of(frame.format.name).format,
        color=color_of(frame, context, location),
        time_base=_fine_enough(Fraction(time_base), rate),
        frame_rate=rate,
        sar=Fraction(stream.sample_aspect_ratio or 1),
        display_matrix=side_data.display_matrix,
        mastering_display=side_data.mastering_display,
        content_light=side_data.content_light,
        frame_count=stream.frames or None,
        duration_s=duration,
    )


def _frame_rate(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Mean frame rate. That of a raw stream is in the stream itself: its demuxer states 25 for every file."""
    mean, coded = stream.average_rate, stream.guessed_rate
    rate = (coded or mean if is_raw(container) else mean or coded) or stream.base_rate
    return Fraction(rate) if rate else None


def _fine_enough(time_base: Fraction, rate: Fraction | None) -> Fraction:
    """The stream's time base, or a fraction of it when pictures are closer together, so that pictures with the same
    timestamp get distinct ones."""
    return time_base / ceil(8 * rate * time_base) if rate and rate * time_base > 1 else time_base

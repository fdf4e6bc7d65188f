"""NUT streams of raw video: the raw pipe format that keeps timestamps.

NUT (``nut.txt`` of the mplayer and ffmpeg projects) keeps timestamps, pixel format, SAR and frame rate; it loses the
colour description. It is demuxed with PyAV, without decoding.
"""

from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, cast

import numpy as np

from vidscale.errors import ConfigError, DecodeError, reason_of
from vidscale.media import nut_layout
from vidscale.media.frames import Chroma, Color, Frame, PixelFormat, Plane, VideoInfo
from vidscale.media.rawpipe import (
    check_frame,
    check_size,
    enlarge_pipe,
    open_unbuffered,
    split_planes,
    write_all,
    write_plane,
)

if TYPE_CHECKING:
    import av

_READ_BYTES = 1 << 20
_CHROMAS: tuple[Chroma, ...] = ("420", "422", "444", "gray")
_FORMATS = {
    pixel_format.name: pixel_format
    for pixel_format in (PixelFormat(chroma, depth) for chroma in _CHROMAS for depth in (8, 9, 10, 12, 14, 16))
}
_INDEX_MIN = 20  # bytes
_TAIL_BYTES = 1 << 16


class NutWriter:
    """Writes frames as raw video in a NUT stream; the header is written immediately.

    With ``-copyts -i pipe:0 -fps_mode passthrough -enc_time_base demux`` ffmpeg reads every timestamp unchanged, in its
    own time base. In ffmpeg 9 this holds below 2**49 units, nearly 200 years in 1/90000 s.
    PyAV does not write the stream: it cannot set a SAR, writes 1/30000 as 1/60000 and keeps an index.

    Args:
        target: path, file descriptor or stream to write to. A descriptor and a stream are not closed; a
            stream is flushed once, and its descriptor, if it has one, written to directly.
        info: size, format, time base, frame rate and SAR of the stream.

    Raises:
        ConfigError: NUT has no tag for the format.
        BrokenPipeError: the reader has closed the pipe; also from `write` and `close`.
    """

    def __init__(self, target: str | int | IO[bytes], info: VideoInfo) -> None:
        if info.format not in _FORMATS.values():
            raise ConfigError(f"NUT cannot hold {info.format.name}: convert to 8, 10, 12 or 16 bits")
        self._info = info
        self._size = info.frame_bytes
        self._last_pts = -1
        self._open = True
        self._owned = isinstance(target, str | int)
        self._stream = open_unbuffered(target)
        enlarge_pipe(self._stream)
        self._send(nut_layout.head(info))

    def write(self, frame: Frame) -> None:
        """Appends one picture; returns when it is in the pipe.

        Raises:
            ValueError: format, size or time base differ from the header; the timestamp is negative or not greater than
                the previous one; the stream is closed.
        """
        if not self._open:
            raise ValueError("the NUT stream has been closed, or writing it failed")
        check_frame(frame, self._info)
        if frame.time_base != self._info.time_base or frame.pts <= self._last_pts:
            raise ValueError(
                f"{frame.pts = }, {frame.time_base = } after {self._last_pts} in {self._info.time_base = }"
            )
        self._last_pts = frame.pts
        self._send(nut_layout.before_picture(frame.pts, self._size), *frame.planes)

    def _send(self, header: bytes, *planes: Plane) -> None:
        try:
            write_all(self._stream, memoryview(header))
            for plane in planes:
                write_plane(self._stream, plane)
            self._stream.flush()
        except BaseException:
            self._open = False  # a partly written picture cannot be resumed
            self.close()
            raise

    def close(self) -> None:
        """Writes the end of the stream, but not after a failed write. May be called twice."""
        try:
            if self._open:
                self._open = False
                self._send(nut_layout.tail(max(self._last_pts, 0)))
        finally:
            if self._owned:
                self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open &= exc is None
        self.close()


def read_nut(stream: IO[bytes] | int) -> tuple[VideoInfo, Iterator[Frame]]:
    """Reads the header of a NUT stream of raw video and yields its frames as they arrive.

    Planes are views of the packets. Timestamps are exact, in the stream's time base; the frame rate comes from the
    header, or libavformat estimates it from the first timestamps; the colour description is empty.

    Args:
        stream: pipe or file, buffered or not, at its start; or a file descriptor, which is not closed.

    Raises:
        DecodeError: not NUT, or without frames, which libavformat does not open; streams other than the video;
            compressed video; a pixel format that is not planar YUV or gray; from the iterator, a truncated stream.
            ffmpeg and `NutWriter` end a stream with an index: a stream without one was truncated.
    """
    import av

    if isinstance(stream, int):
        stream = open(stream, "rb", buffering=0, closefd=False)  # noqa: SIM115 the source keeps it
    enlarge_pipe(stream)
    source = _Source(stream)
    try:
        container = av.open(source, "r", format="nut", buffer_size=_READ_BYTES, metadata_errors="replace")
    except av.FFmpegError as exc:
        raise DecodeError("the input is empty: NUT was expected" if not source.tail else _unreadable(exc)) from exc
    try:
        info = _info(container)
    except BaseException:
        container.close()
        raise
    return info, _frames(container, source, info)


class _Source:
    """File object for PyAV: not seekable, returns what a pipe has instead of waiting for a full buffer."""

    def __init__(self, stream: Any) -> None:
        self._read = getattr(stream, "read1", stream.read)
        self.tail = b""
        """The last bytes read, at least `_TAIL_BYTES` once that many were read."""

    def read(self, size: int) -> bytes:
        data = bytes(self._read(size) or b"")
        self.tail = data if len(data) >= _TAIL_BYTES else (self.tail + data)[-_TAIL_BYTES:]
        return data

    @property
    def ends_with_index(self) -> bool:
        """Whether the last bytes are an index, not a picture: an index ends with its length and a checksum."""
        length = int.from_bytes(self.tail[-12:-4], "big")
        if length <= len(self.tail):
            return length >= _INDEX_MIN and self.tail[-length:].startswith(nut_layout.INDEX_START)
        return len(self.tail) >= _TAIL_BYTES and length < 1 << 32  # the index of a video of hours


def _unreadable(exc: "av.FFmpegError") -> str:
    return f"the input cannot be read as NUT, or it holds no frame: {reason_of(exc)}"


def _info(container: "av.container.InputContainer") -> VideoInfo:
    if len(container.streams) != 1 or not container.streams.video:
        raise DecodeError(f"the NUT stream holds {_described(container)}: a single video stream was expected (-an -sn)")
    stream = container.streams.video[0]
    context = stream.codec_context
    if context.name != "rawvideo":
        raise DecodeError(f"the NUT stream holds {context.name} video: raw video was expected (-c:v rawvideo)")
    check_size(context.width, context.height)
    if context.pix_fmt not in _FORMATS:
        hint = "planar YUV or gray was expected, such as -pix_fmt yuv420p or yuv420p10le"
        raise DecodeError(f"the NUT stream holds pictures that ffmpeg reads as {context.pix_fmt}: {hint}")
    if not stream.time_base:
        raise DecodeError("the NUT stream has no time base")
    rate = stream.average_rate or stream.base_rate  # NutWriter writes the latter
    return VideoInfo(
        width=context.width,
        height=context.height,
        format=_FORMATS[context.pix_fmt],
        color=Color(),
        time_base=Fraction(stream.time_base),
        frame_rate=Fraction(rate) if rate else None,
        sar=Fraction(stream.sample_aspect_ratio) if stream.sample_aspect_ratio else Fraction(1),
    )


def _described(container: "av.container.InputContainer") -> str:
    return " and ".join(f"a {stream.type} stream" for stream in container.streams) or "no stream"


def _frames(container: "av.container.InputContainer", source: _Source, info: VideoInfo) -> Iterator[Frame]:
    import av

    size = info.frame_bytes
    index = 0
    with container:
        try:
            # PyAV adds an empty last packet, which flushes a decoder.
            for packet in (packet for packet in container.demux() if packet.size):
                if packet.size != size:
                    raise DecodeError(
                        f"the NUT stream is cut off or damaged: frame {index} has {packet.size} of {size} bytes"
                    )
                if packet.pts is None:
                    raise DecodeError(f"the NUT stream has no timestamp for frame {index}")
                data = np.frombuffer(cast("bytes", packet), dtype=np.uint8)
                planes = split_planes(data, info.format, info.height, info.width)
                yield Frame(planes, info.format, pts=packet.pts, time_base=info.time_base, color=info.color)
                index += 1
        except av.FFmpegError as exc:
            raise DecodeError(f"the NUT stream cannot be read after {index} frames: {reason_of(exc)}") from exc
        if index and not source.ends_with_index:
            raise DecodeError(
                f"the NUT stream is cut off: it ends after {index} frames without the index that ffmpeg writes"
            )

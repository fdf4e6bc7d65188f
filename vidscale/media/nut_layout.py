"""The bytes of a NUT stream with one stream of video, for `vidscale.media.nut` (raw) and `vidscale.media.nut_packets`.

Follows the NUT specification (``nut.txt`` of the mplayer and ffmpeg projects, version 3). Every picture follows a
syncpoint and uses one of two frame codes, for keyframes and others: full timestamp, full size, checksum.
"""

import zlib
from fractions import Fraction

from vidscale.media.frames import PixelFormat, VideoInfo

INDEX_START = bytes.fromhex("4e58dd672f23e64e")

_FILE_ID = b"nut/multimedia container\0"
_MAIN_START = bytes.fromhex("4e4d7a561f5f04ad")
_STREAM_START = bytes.fromhex("4e5311405bf2f9db")
_INFO_START = bytes.fromhex("4e49ab68b596ba78")
_SYNCPOINT_START = bytes.fromhex("4e4be4adeeca4569")

_MAX_DISTANCE = 32767  # bytes between syncpoints, when frames are smaller
_PTS_SHIFT = 7  # a coded timestamp of 1 << 7 and above is absolute, offset by 1 << 7
_FRAME_CODE, _OTHER_CODE = 1, 2  # of keyframes, as raw pictures are, and of others
_LONG = 4096  # bytes of a header from which on it has a checksum of its own
_KEY, _CODED_PTS, _CODED_SIZE, _CHECKSUM, _INVALID = 1, 8, 32, 64, 8192

# NUT's tags of 8-bit layouts; those of higher depths are built from the subsampling and the depth.
_TAGS_8 = {"420": b"I420", "422": b"Y42B", "444": b"444P", "gray": b"Y800"}
_TAG_STEMS = {"420": b"Y3\x0b", "422": b"Y3\x0a", "444": b"Y3\x00", "gray": b"Y1\x00"}

_MIRRORED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def head(info: VideoInfo) -> bytes:
    """Everything before the first picture."""
    return _FILE_ID + _main_header(info.time_base) + _stream_header(info) + _rate(info.frame_rate)


def coded_head(stream_header: bytes, time_base: Fraction) -> bytes:
    """Everything before the first packet of coded video; see `stream_header_of`."""
    return _FILE_ID + _main_header(time_base) + stream_header


def stream_header_of(stream: bytes) -> tuple[bytes, int]:
    """The header of the first stream of a NUT stream, and the shift of its timestamps, for `before_picture`.

    Raises:
        ValueError: there is none.
    """
    start = stream.index(_STREAM_START)
    at = start + len(_STREAM_START)
    length, at = _read_number(stream, at)
    at += 4 if length > _LONG else 0
    end = at + length
    for _ in ("number of the stream", "class"):
        _, at = _read_number(stream, at)
    tag_length, at = _read_number(stream, at)
    _, at = _read_number(stream, at + tag_length)  # number of the time base
    shift, _ = _read_number(stream, at)
    return stream[start:end], shift


def before_picture(pts: int, size: int, *, is_key: bool = True, shift: int = _PTS_SHIFT) -> bytes:
    """Syncpoint and frame header.

    Args:
        pts: timestamp in the stream's time base, 0 or more.
        size: bytes of the picture that follows.
        is_key: it is a keyframe.
        shift: of timestamps, as the stream's header has it.
    """
    syncpoint = _packet(_SYNCPOINT_START, _number(pts) + _number(0))
    frame = bytes([_FRAME_CODE if is_key else _OTHER_CODE]) + _number(pts + (1 << shift)) + _number(size)
    return syncpoint + frame + _checksum(frame)


def tail(last_pts: int) -> bytes:
    """The end: an index without entries, which tells a complete stream from a truncated one."""
    content = _number(last_pts) + _number(0)
    length = len(INDEX_START) + 1 + len(content) + 8 + 4
    return _packet(INDEX_START, content + length.to_bytes(8, "big"))


def _main_header(time_base: Fraction) -> bytes:
    header = [3, 1, _MAX_DISTANCE, 1, time_base.numerator, time_base.denominator]
    code = _CODED_PTS | _CODED_SIZE | _CHECKSUM
    # Table of the 255 frame codes (one is never used): runs of codes with the same flags. All six fields are written.
    for flags, count in ((_INVALID, _FRAME_CODE), (_KEY | code, 1), (code, 1), (_INVALID, 254 - _OTHER_CODE)):
        timestamp_step, size_factor, stream, size_low, reserved = 0, 1, 0, 0, 0
        header += [flags, 6, timestamp_step, size_factor, stream, size_low, reserved, count]
    header += [0]  # no elision headers; the specification makes this field optional, ffmpeg does not
    return _packet(_MAIN_START, b"".join(map(_number, header)))


def _stream_header(info: VideoInfo) -> bytes:
    stream, video_class, time_base, longest_step, delay, flags, no_extradata, unknown_matrix = 0, 0, 0, 1, 0, 0, 0, 0
    tag = _tag(info.format)
    header = _number(stream) + _number(video_class) + _text(tag)
    numbers = [time_base, _PTS_SHIFT, longest_step, delay, flags, no_extradata]
    numbers += [info.width, info.height, info.sar.numerator, info.sar.denominator, unknown_matrix]
    return _packet(_STREAM_START, header + b"".join(map(_number, numbers)))


def _tag(pixel_format: PixelFormat) -> bytes:
    if pixel_format.bit_depth == 8:
        return _TAGS_8[pixel_format.chroma]
    return _TAG_STEMS[pixel_format.chroma] + bytes([pixel_format.bit_depth])


def _rate(frame_rate: Fraction | None) -> bytes:
    """The frame rate as ffmpeg stores it; without it, ffmpeg guesses the rate from the first timestamps."""
    if frame_rate is None:
        return b""
    stream, chapter, start, length, count, is_text = 1, 0, 0, 0, 1, 2
    value = f"{frame_rate.numerator}/{frame_rate.denominator}".encode()
    header = b"".join(map(_number, [stream, chapter, start, length, count]))
    return _packet(_INFO_START, header + _text(b"r_frame_rate") + _number(is_text) + _text(value))


def _packet(start_code: bytes, content: bytes) -> bytes:
    """Start code, length, content and checksum; under 4096 bytes, where the header needs no checksum of its own."""
    return start_code + _number(len(content) + 4) + content + _checksum(content)


def _text(value: bytes) -> bytes:
    return _number(len(value)) + value


def _number(value: int) -> bytes:
    """NUT's "v": seven bits per byte, most significant first, the high bit set in all but the last byte."""
    parts = [value & 127]
    while value := value >> 7:
        parts.append(value & 127 | 128)
    return bytes(reversed(parts))


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    """A number of `_number`, and where it ends."""
    value = 0
    while data[at] & 128:
        value, at = value << 7 | data[at] & 127, at + 1
    return value << 7 | data[at], at + 1


def _checksum(data: bytes) -> bytes:
    """CRC-32 of polynomial 0x04C11DB7, MSB first, initial value 0: zlib's with the bits of each byte mirrored."""
    crc = zlib.crc32(data.translate(_MIRRORED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "little").translate(_MIRRORED_BITS)

"""Codec strings of RFC 6381, as playlists and web players name the format of a stream."""

from collections.abc import Callable

from vidscale.errors import EncodeError

_PLAIN = {"ac3": "ac-3", "eac3": "ec-3", "flac": "fLaC", "opus": "Opus", "alac": "alac", "mp3": "mp4a.40.34"}
_ESCAPE = 31  # audioObjectType: the type follows in 6 bits (ISO/IEC 14496-3 1.6.2.1)


def codec_string(codec: str, record: bytes) -> str:
    """The codec string of a stream in an MP4 file.

    Args:
        codec: ffmpeg's name of the format.
        record: its configuration: avcC, hvcC, av1C or AudioSpecificConfig; ignored for other audio.

    Raises:
        EncodeError: an unknown format, or a record that is too short.
    """
    if codec in _PLAIN:
        return _PLAIN[codec]
    if codec not in _OF_RECORD:
        raise EncodeError(f"{codec} has no codec string for playlists")
    try:
        return _OF_RECORD[codec](record)
    except IndexError:
        raise EncodeError(f"a {codec} configuration of {len(record)} bytes is too short") from None


def _avc(record: bytes) -> str:
    """Profile, constraint flags and level: ISO/IEC 14496-15 5.3.3.1."""
    return f"avc1.{record[1]:02x}{record[2]:02x}{record[3]:02x}"


def _hevc(record: bytes) -> str:
    """ISO/IEC 14496-15 E.3, from the general profile, tier and level of hvcC (8.3.3.1)."""
    space, tier, profile = record[1] >> 6, record[1] >> 5 & 1, record[1] & 31
    compatible = int(f"{int.from_bytes(record[2:6], 'big'):032b}"[::-1], 2)  # bit 31 of the field is flag 0
    constraints = [f"{byte:X}" for byte in record[6:12].rstrip(b"\0")]
    words = [f"{['', 'A', 'B', 'C'][space]}{profile}", f"{compatible:X}", f"{'LH'[tier]}{record[12]}", *constraints]
    return f"hvc1.{'.'.join(words)}"


def _av1(record: bytes) -> str:
    """AV1 in ISO base media file format, 5; from av1C (2.3.3)."""
    profile, level = record[1] >> 5, record[1] & 31
    tier, high, twelve = record[2] >> 7, record[2] >> 6 & 1, record[2] >> 5 & 1
    depth = 8 + 2 * high + 2 * (high & twelve)
    return f"av01.{profile}.{level:02d}{'MH'[tier]}.{depth:02d}"


def _aac(record: bytes) -> str:
    kind = record[0] >> 3
    if kind == _ESCAPE:
        kind = 32 + ((record[0] & 7) << 3 | record[1] >> 5)
    return f"mp4a.40.{kind}"


_OF_RECORD: dict[str, Callable[[bytes], str]] = {"h264": _avc, "hevc": _hevc, "av1": _av1, "aac": _aac}

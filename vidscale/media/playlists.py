"""Playlists of HTTP Live Streaming (RFC 8216)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path

MASTER = "master.m3u8"
PART = "video.m3u8"
"""The playlist of a rendition, and of each of its parts if it has several."""
_TARGET_DURATION = "#EXT-X-TARGETDURATION:"
_SOUNDS = "audio"  # GROUP-ID
_PART = re.compile(r'#EXT-X-MAP:URI="(p\d+)/init\.mp4"')
_VIDEO_RANGE = {"smpte2084": "PQ", "arib-std-b67": "HLG"}


@dataclass(frozen=True, slots=True)
class Segment:
    """A media segment: its file, duration in seconds, and size in bytes."""

    uri: str
    duration_s: Fraction
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Sound:
    """An audio rendition.

    Attributes:
        uri: of its playlist.
        name, language: for the player's menu; the language may be empty.
        channels: their number.
        codec: codec string.
        is_default: played unless the user chooses another.
        segments: of the playlist.
        start_s: timestamp that the first segment begins with, seconds.
    """

    uri: str
    name: str
    language: str
    channels: int
    codec: str
    is_default: bool
    segments: tuple[Segment, ...]
    start_s: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Variant:
    """A video rendition.

    Attributes:
        uri: of its playlist.
        codec: codec string.
        width, height: of the coded pictures, luma samples.
        frame_rate: frames per second; None when unknown.
        transfer: characteristics, in ffmpeg's words; None when unknown.
        segments: of the playlist.
        start_s: timestamp of the first picture, seconds.
    """

    uri: str
    codec: str
    width: int
    height: int
    frame_rate: Fraction | None
    transfer: str | None
    segments: tuple[Segment, ...]
    start_s: Fraction = Fraction(0)


def segments_of(playlist: Path) -> tuple[Segment, ...]:
    """The segments of a media playlist whose files lie beside it."""
    found, duration = [], Fraction(0)
    for line in playlist.read_text(encoding="utf-8").splitlines():
        if line.startswith("#EXTINF:"):
            duration = Fraction(line.removeprefix("#EXTINF:").partition(",")[0])
        elif line and not line.startswith("#"):
            found.append(Segment(line, duration, (playlist.parent / line).stat().st_size))
    return tuple(found)


def mean_rate(segments: Sequence[Segment]) -> int:
    """Bits per second of a playlist."""
    seconds = sum(segment.duration_s for segment in segments)
    return ceil(8 * sum(segment.size_bytes for segment in segments) / seconds) if seconds else 0


def peak_rate(segments: Sequence[Segment]) -> int:
    """Peak segment bit rate (RFC 8216, 4.3.4.2): the highest of all runs of segments that last 0.5 to 1.5 times the
    target duration."""
    target = max((round(segment.duration_s) for segment in segments), default=0)
    peak = mean_rate(segments)
    for first in range(len(segments)):
        seconds, size = Fraction(0), 0
        for segment in segments[first:]:
            seconds, size = seconds + segment.duration_s, size + segment.size_bytes
            if seconds > Fraction(3, 2) * target:
                break
            if seconds >= Fraction(1, 2) * target and seconds:
                peak = max(peak, ceil(8 * size / seconds))
    return peak


def master_text(variants: Sequence[Variant], sounds: Sequence[Sound]) -> str:
    """The master playlist of video renditions that share their audio."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    lines += [_media(sound) for sound in sounds]
    for variant in variants:
        lines += [_stream_inf(variant, sounds), variant.uri]
    return "\n".join([*lines, ""])


def part_playlists(playlist: Path) -> tuple[Path, ...]:
    """The playlists of `joined_text` that a playlist, or the only one of a master playlist, is made of; empty if it is
    no such playlist.

    Args:
        playlist: a readable file.
    """
    lines = playlist.read_text(encoding="utf-8", errors="replace").splitlines()
    if any(line.startswith("#EXT-X-STREAM-INF:") for line in lines):
        named = [line for line in lines if line and not line.startswith("#")]
        inner = playlist.parent / named[0] if len(named) == 1 else None
        return part_playlists(inner) if inner is not None and inner.is_file() and inner != playlist else ()
    folders = [playlist.parent / match[1] for line in lines if (match := _PART.match(line))]
    found = tuple(dict.fromkeys(folder / PART for folder in folders))
    return found if len(found) > 1 and all(path.is_file() for path in found) else ()


def raise_target_duration(playlist: Path) -> None:
    """Makes the target duration of a media playlist 1 s if ffmpeg has rounded that of a very short stream to 0."""
    text = playlist.read_text(encoding="utf-8")
    playlist.write_text(text.replace(f"{_TARGET_DURATION}0\n", f"{_TARGET_DURATION}1\n"), encoding="utf-8")


def joined_text(parts: Sequence[tuple[str, str]]) -> str:
    """A media playlist of the segments of several, each with its own initialization section. The timestamps go on from
    part to part, as in the audio, so that there is no discontinuity.

    Args:
        parts: path of each playlist in the folder of this one, and its text.
    """
    lines, longest = [], 1
    for uri, text in parts:
        folder = uri.rpartition("/")[0]
        for line in text.splitlines():
            if line.startswith(_TARGET_DURATION):
                longest = max(longest, int(line.partition(":")[2]))
            elif line.startswith("#EXT-X-MAP:"):
                lines.append(line.replace('URI="', f'URI="{folder}/'))
            elif line.startswith("#EXTINF:"):
                lines.append(line)
            elif line and not line.startswith("#"):
                lines.append(f"{folder}/{line}")
    head = ["#EXTM3U", "#EXT-X-VERSION:7", f"{_TARGET_DURATION}{longest}", "#EXT-X-MEDIA-SEQUENCE:0"]
    return "\n".join([*head, "#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-INDEPENDENT-SEGMENTS", *lines, "#EXT-X-ENDLIST", ""])


def joined_variant(uri: str, parts: Sequence[Variant]) -> Variant:
    """The video rendition of several parts: the largest picture, and the codec string of the highest level."""
    largest = max(parts, key=lambda part: part.width * part.height)
    segments = tuple(segment for part in parts for segment in part.segments)
    codec = max((part.codec for part in parts), key=_level)
    return replace(largest, uri=uri, codec=codec, segments=segments, start_s=parts[0].start_s)


def _level(codec: str) -> tuple[int, str]:
    """Orders codec strings that differ in their level only: avc1.64001f, hvc1.1.6.L120.90, av01.0.05M.08."""
    return len(codec), codec


def _media(sound: Sound) -> str:
    words = ["TYPE=AUDIO", f'GROUP-ID="{_SOUNDS}"', f"NAME={_quoted(sound.name)}"]
    words += [f"LANGUAGE={_quoted(sound.language)}"] if sound.language else []
    words += [f"DEFAULT={'YES' if sound.is_default else 'NO'}", "AUTOSELECT=YES", f'CHANNELS="{sound.channels}"']
    return f"#EXT-X-MEDIA:{','.join(words)},URI={_quoted(sound.uri)}"


def _stream_inf(variant: Variant, sounds: Sequence[Sound]) -> str:
    peak = peak_rate(variant.segments) + max((peak_rate(sound.segments) for sound in sounds), default=0)
    mean = mean_rate(variant.segments) + max((mean_rate(sound.segments) for sound in sounds), default=0)
    codecs = dict.fromkeys([variant.codec, *(sound.codec for sound in sounds)])
    words = [f"BANDWIDTH={peak}", f"AVERAGE-BANDWIDTH={mean}", f"RESOLUTION={variant.width}x{variant.height}"]
    words += [f"FRAME-RATE={float(variant.frame_rate):.3f}"] if variant.frame_rate else []
    words += [f'CODECS="{",".join(codecs)}"']
    words += [f"VIDEO-RANGE={_VIDEO_RANGE[variant.transfer]}"] if variant.transfer in _VIDEO_RANGE else []
    words += [f'AUDIO="{_SOUNDS}"'] if sounds else []
    return f"#EXT-X-STREAM-INF:{','.join(words)}"


def _quoted(text: str) -> str:
    """A quoted string, which can hold neither quotes nor line breaks."""
    return '"' + " ".join(text.replace('"', "'").split()) + '"'

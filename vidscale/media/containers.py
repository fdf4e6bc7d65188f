"""Choice of the output container, and which streams of the source it holds."""

import os
import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vidscale.errors import ConfigError, DecodeError, reason_of
from vidscale.media.ffmpeg_process import signal_name
from vidscale.media.orientation import lost_turn
from vidscale.media.probe import Source, StreamInfo
from vidscale.system.processes import announces

# ffmpeg's muxer for each file name extension that vidscale writes.
_MUXERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".ts": "mpegts",
    ".m2ts": "mpegts",
}
CONTAINERS = frozenset(_MUXERS)
_MATROSKA_TICK_S = Fraction(1, 1000)
# MPEG-TS accepts any packet as private data, which no player plays, so its codecs are listed here.
_TS_CODECS = {"aac", "mp2", "mp3", "ac3", "eac3", "dts", "dvb_subtitle", "dvb_teletext", "hevc", "h264"}

_OPEN_TIMEOUT_S = 120  # for ffmpeg to open the source, which may be on a slow network drive

# Dispositions that users set by hand, and those that survive a round trip through each muxer (ffmpeg 9.0).
_FLAGS = {
    *("forced", "comment", "dub", "original", "hearing_impaired", "visual_impaired", "captions", "descriptions"),
    *("lyrics", "karaoke", "clean_effects"),
}
_HELD_FLAGS = {
    "mp4": {"forced", "comment", "dub", "hearing_impaired", "visual_impaired", "captions", "descriptions"},
    "mov": set(),
    "matroska": {"forced", "comment", "dub", "original", "hearing_impaired", "visual_impaired", "descriptions"},
    "webm": {"forced"},
    "mpegts": {"hearing_impaired", "visual_impaired", "clean_effects"},
}

# Tags that describe the source's own file or its coded video, and would be wrong in the output.
STALE_TAGS = re.compile(
    r"(?i)^(encoder|duration|major_brand|minor_version|compatible_brands|vidscale|_statistics_.*|bps|number_of_.*"
    r"|alpha_mode|variant_bitrate)(-.*)?$"
)
_MP4_STREAM_TAGS = {"language", "title", "name", "handler_name", "vendor_id", "creation_time", "timecode"}


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """Path and container of the output, and the streams it holds.

    Attributes:
        path: the output file.
        muxer: ffmpeg's name of its format.
        kept: streams of the source that are kept, in order, including the encoded one.
        lost: what the output cannot hold, in words.
        reason: why the container differs from the source's, None when it does not.
    """

    path: Path
    muxer: str
    kept: tuple[StreamInfo, ...]
    lost: tuple[str, ...]
    reason: str | None = None

    @property
    def time_unit(self) -> Fraction | None:
        """Unit that timestamps are rounded to, s; None when the container keeps the source's precision."""
        return _MATROSKA_TICK_S if self.muxer in ("matroska", "webm") else None

    def position(self, stream_index: int) -> int:
        """Output index of a source stream."""
        return [stream.index for stream in self.kept].index(stream_index)


def plan_output(source: Source, codec: str, *, ffmpeg: str, stem: str, requested: Path | None) -> OutputPlan:
    """Chooses the container: the requested one; else the source's if it keeps all that Matroska does; else Matroska.

    Args:
        source: the probed source.
        codec: coded format of the video, "h264", "hevc", "av1" or "ffv1".
        ffmpeg: binary whose muxers are tested.
        stem: name of the output without extension, used when no path is requested.
        requested: the output that the user named.

    Raises:
        ConfigError: the requested extension is not one that vidscale writes, or cannot hold the codec.
    """
    if requested is not None:
        muxer = muxer_of(requested)
        if not holds_video(muxer, codec):
            raise ConfigError(f"{requested.suffix} cannot hold {codec} video; use .mkv")
        kept, lost = _split(source, muxer, ffmpeg)
        return OutputPlan(requested, muxer, kept, lost)
    matroska = source.path.with_name(f"{stem}.mkv")
    own = source.path.suffix.lower()
    in_matroska, lost_in_matroska = _split(source, "matroska", ffmpeg)
    if own not in _MUXERS:
        reason = f"{own or 'a file without extension'} cannot be written; the output is Matroska"
        return OutputPlan(matroska, "matroska", in_matroska, lost_in_matroska, reason)
    muxer = _MUXERS[own]
    if muxer == "matroska":
        rate = source.video.frame_rate
        if rate and rate * _MATROSKA_TICK_S > 1 and holds_video("mp4", codec):
            kept, lost = _split(source, "mp4", ffmpeg)
            reason = f"Matroska counts in ms, too coarse for {float(rate):g} frames a second; the output is MP4"
            return OutputPlan(source.path.with_name(f"{stem}.mp4"), "mp4", kept, lost, reason)
        return OutputPlan(matroska, muxer, in_matroska, lost_in_matroska)
    if not holds_video(muxer, codec):
        reason = f"{own} cannot hold {codec}; the output is Matroska"
        return OutputPlan(matroska, "matroska", in_matroska, lost_in_matroska, reason)
    kept, lost = _split(source, muxer, ffmpeg)
    if missing := [str(stream) for stream in in_matroska if stream not in kept]:
        reason = f"{own} cannot hold {', '.join(missing)}; the output is Matroska"
        return OutputPlan(matroska, "matroska", in_matroska, lost_in_matroska, reason)
    return OutputPlan(source.path.with_name(f"{stem}{own}"), muxer, kept, lost)


def plan_streaming(source: Source, path: Path, *, ffmpeg: str) -> OutputPlan:
    """The MP4 file that is cut into fragments: of the source's other streams only audio goes into them.

    Args:
        source: the probed source.
        path: the file.
        ffmpeg: binary whose muxer is tested.
    """
    alternatives = source.alternatives
    audio = [s.index for s in source.streams if s.kind == "audio" and s.index not in alternatives]
    held = {source.stream_index, *_held(source, audio, "mp4", ffmpeg)}
    lost = [str(stream) for stream in source.streams if stream.index not in held and not _is_left_out(source, stream)]
    lost += ["chapters"] if source.has_chapters else []
    tags = sorted(name.lower() for name in source.metadata if not STALE_TAGS.match(name))
    lost += [f"the tags {', '.join(tags)}"] if tags else []
    return OutputPlan(path, "mp4", tuple(stream for stream in source.streams if stream.index in held), tuple(lost))


def muxer_of(path: Path) -> str:
    """ffmpeg's muxer for a file name; ConfigError for an extension that vidscale does not write."""
    try:
        return _MUXERS[path.suffix.lower()]
    except KeyError:
        if path.is_dir():
            raise ConfigError(f"{path} is a directory: name the file in it") from None
        known = ", ".join(_MUXERS)
        raise ConfigError(f"{path}: cannot write {path.suffix or 'a file without extension'}; use {known}") from None


def holds_video(muxer: str, codec: str) -> bool:
    """Whether a container can hold video of a coded format."""
    if muxer == "webm":
        return codec == "av1"
    if muxer == "mpegts":
        return codec in _TS_CODECS
    if muxer == "mov":  # ffmpeg writes no AV1 into it
        return codec not in ("av1", "ffv1")
    return muxer == "matroska" or codec != "ffv1"


def _split(source: Source, muxer: str, ffmpeg: str) -> tuple[tuple[StreamInfo, ...], tuple[str, ...]]:
    """The streams that a container holds, and what it loses, in words."""
    others = [s for s in source.streams if s.index != source.stream_index and not _is_left_out(source, s)]
    held = set(_held(source, [stream.index for stream in others], muxer, ffmpeg))
    if muxer == "mpegts":
        held &= {stream.index for stream in others if stream.codec in _TS_CODECS}
    if muxer in ("mov", "webm"):  # these muxers accept them, but write nothing
        held -= {stream.index for stream in others if stream.is_cover or stream.kind == "attachment"}
    kept = tuple(s for s in source.streams if s.index == source.stream_index or s.index in held)
    lost = [str(stream) for stream in others if stream.index not in held]
    if muxer == "mpegts" and source.has_chapters:
        lost.append("chapters")
    lost += _lost_turns(source, muxer, kept)
    if tags := _lost_tags(source, muxer, kept):
        lost.append(f"the tags {', '.join(tags)}")
    lost += [
        f"the flag {flag} of {stream.kind} {stream.index}"
        for stream in kept
        for flag in stream.disposition
        if flag in _FLAGS - _HELD_FLAGS[muxer]
    ]
    return kept, tuple(lost)


def _lost_turns(source: Source, muxer: str, kept: tuple[StreamInfo, ...]) -> list[str]:
    """Rotation that a container cannot store: of the encoded stream, and of copied ones."""
    turn = lost_turn(source.video.display_matrix, muxer)
    copied = [s for s in kept if muxer == "mpegts" and s.is_turned and s.index != source.stream_index]
    return ([turn] if turn else []) + [f"the rotation of {stream}" for stream in copied]


def _lost_tags(source: Source, muxer: str, kept: tuple[StreamInfo, ...]) -> list[str]:
    """Names of the tags, of the file and of the kept streams, that a container cannot store."""
    if muxer in ("matroska", "webm"):
        return []
    names: set[str] = set()
    if muxer == "mpegts":
        names |= {key.lower() for key in source.metadata}
    for stream in kept:
        if not stream.is_cover:
            known = {"language", "handler_name", "vendor_id"} if muxer == "mpegts" else _MP4_STREAM_TAGS
            written = {"comment"} if source.container == "hls" else set()  # as the title
            names |= {key.lower() for key in stream.metadata} - known - written
    return sorted(name for name in names if not STALE_TAGS.match(name))


def _is_left_out(source: Source, stream: StreamInfo) -> bool:
    """Whether nothing is lost without a stream: the muxer writes such a track itself, from the chapters or the timecode
    tag, or it is the same movie in another quality."""
    if stream.kind == "data" and (stream.codec == "tmcd" or (stream.codec == "text" and source.has_chapters)):
        return True
    return stream.index in source.alternatives


def _held(source: Source, indices: list[int], muxer: str, ffmpeg: str) -> list[int]:
    """Tests ffmpeg's muxer with a stream copy of zero length: all streams at once, then one by one."""
    if not indices or _takes(source, indices, muxer, ffmpeg):
        return indices
    if len(indices) == 1:
        return []
    return [index for index in indices if _takes(source, [index], muxer, ffmpeg)]


def _takes(source: Source, indices: list[int], muxer: str, ffmpeg: str) -> bool:
    """Whether the muxer accepts these streams: ffmpeg then prints the output's description, and is stopped there.

    Otherwise it would read until every stream has had a packet: the whole file when subtitles come late.

    Raises:
        DecodeError: ffmpeg cannot be started, crashes, or does not open the source in time.
    """
    maps = [word for index in indices for word in ("-map", f"0:{index}")]
    command = [ffmpeg, "-hide_banner", "-v", "info", "-nostdin", "-y"]
    command += ["-readrate", "1", "-i", str(source.path.absolute()), *maps]
    command += ["-metadata", "timecode=", "-map_chapters", "-1", "-c", "copy", "-t", "0"]
    command += ["-f", muxer, os.devnull]
    # Reading keeps to the rate of a stream that is used, until the program is stopped: a while on a busy machine.
    command += ["-map", f"0:{source.stream_index}", "-c", "copy", "-f", "null", os.devnull]
    try:
        return announces(command, b"Output #0, ", timeout_s=_OPEN_TIMEOUT_S)
    except OSError as error:
        raise DecodeError(f"{ffmpeg} cannot be started: {reason_of(error)}") from error
    except subprocess.CalledProcessError as error:
        name = signal_name(-error.returncode)
        raise DecodeError(f"ffmpeg was killed by {name} while it opened {source.path}") from None
    except subprocess.TimeoutExpired:
        raise DecodeError(f"ffmpeg took more than {_OPEN_TIMEOUT_S} s to open {source.path}") from None

"""The packaging stage: cuts finished files into fragments for HTTP Live Streaming, by ffmpeg's hls muxer."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from vidscale.errors import EncodeError, reason_of
from vidscale.media.codec_strings import codec_string
from vidscale.media.ffmpeg import Ffmpeg
from vidscale.media.ffmpeg_process import run_ffmpeg
from vidscale.media.frames import VideoInfo
from vidscale.media.playlists import PART, Sound, Variant, raise_target_duration, segments_of
from vidscale.media.probe import StreamInfo

_EVERY_KEYFRAME_S = "0.001"  # shorter than any: keyframes are only where segments begin


def package_video(
    ffmpeg: Ffmpeg, file: Path, info: VideoInfo, folder: Path, *, frames: int, start_s: Fraction = Fraction(0)
) -> Variant:
    """Cuts a video at its keyframes.

    Args:
        ffmpeg: the binary.
        file: an MP4 file whose first video stream is packaged.
        info: the video.
        folder: an existing one, to write to: ``video.m3u8``, ``init.mp4`` and the segments.
        frames: of the video.
        start_s: added to all timestamps.

    Raises:
        EncodeError: it failed, or frames are missing.
    """
    playlist = folder / PART
    command = hls_command(ffmpeg, file, "0:v:0", playlist.name, _EVERY_KEYFRAME_S, start_s=start_s)
    run_ffmpeg(command, "writing the segments failed", folder=folder)
    raise_target_duration(playlist)
    codec, record, _ = _facts(folder / "init.mp4", "video")
    times = _times(playlist)
    if len(times) != frames:
        raise EncodeError(f"{frames} frames were encoded, but {len(times)} are in the segments")
    return Variant(
        uri=f"{folder.name}/{playlist.name}",
        codec=codec_string(codec, record),
        width=info.width,
        height=info.height,
        frame_rate=info.frame_rate,
        transfer=info.color.transfer,
        segments=segments_of(playlist),
        start_s=min(times),
    )


def package_audio(
    ffmpeg: Ffmpeg, file: Path, stream: StreamInfo, folder: Path, *, index: int, seconds: Fraction
) -> Sound:
    """Cuts an audio stream into segments; all but AAC is encoded as AAC, the only format that every player has.

    Args:
        ffmpeg: the binary.
        file: an MP4 file.
        stream: the source's.
        folder: to write to.
        index: of the stream among the audio streams of the file.
        seconds: target duration.
    """
    playlist = folder / "audio.m3u8"
    folder.mkdir()
    coding = [] if stream.codec == "aac" else ["-c:a", "aac"]
    with av.open(str(file)) as container:
        audio = container.streams.audio[index]
        start_s = (audio.start_time or 0) * Fraction(audio.time_base or 0)
    command = hls_command(
        ffmpeg, file, f"0:a:{index}", playlist.name, f"{float(seconds):.6f}", coding, starts_early=start_s <= 0
    )
    run_ffmpeg(command, "writing the audio segments failed", folder=folder)
    raise_target_duration(playlist)
    codec, record, written = _facts(folder / "init.mp4", "audio")
    language = stream.metadata.get("language", "und").replace("und", "")
    return Sound(
        uri=f"{folder.name}/{playlist.name}",
        name=stream.metadata.get("title") or stream.metadata.get("name") or language or f"audio {index + 1}",
        language=language,
        channels=written,
        codec=codec_string(codec, record),
        is_default=index == 0,
        segments=segments_of(playlist),
        start_s=max(Fraction(0), start_s),
    )


def hls_command(
    ffmpeg: Ffmpeg,
    file: Path,
    stream: str,
    playlist: str,
    seconds: str,
    coding: Sequence[str] = (),
    *,
    starts_early: bool = False,
    start_s: Fraction = Fraction(0),
) -> list[str]:
    """The command line that copies a stream into segments of fragmented MP4 in the current folder: in the name of a
    folder, ffmpeg takes a percent sign for a part of the pattern.

    Timestamps are kept. The first picture may be shown at 0 and, with B-frames, decoded before it: ffmpeg's muxers
    would shift all pictures by that delay, which differs from encoder to encoder. A later start is in the fragments
    (frag_discont), because browsers ignore it in an edit list; a start before 0, as of audio, can only be there.
    """
    options = "avoid_negative_ts=disabled" + ("" if starts_early else ":movflags=+frag_discont")
    command = [ffmpeg.path, "-hide_banner", "-v", "error", "-nostdin", "-copyts"]
    command += ["-itsoffset", f"{float(start_s):.6f}", "-i", str(file), "-map", stream]
    command += ["-map_metadata", "-1", "-map_chapters", "-1", "-c", "copy", *coding]
    command += ["-avoid_negative_ts", "disabled", "-f", "hls", "-hls_time", seconds, "-hls_playlist_type", "vod"]
    command += ["-hls_segment_type", "fmp4", "-hls_segment_options", options]
    command += ["-hls_flags", "independent_segments", "-hls_fmp4_init_filename", "init.mp4"]
    return [*command, "-hls_segment_filename", "%05d.m4s", playlist]


def _facts(init: Path, kind: str) -> tuple[str, bytes, int]:
    """Format, configuration record and number of channels of the stream in an initialization section."""
    try:
        with av.open(str(init)) as container:
            stream: Any = next(stream for stream in container.streams if stream.type == kind)
            context = stream.codec_context
            channels = context.channels if kind == "audio" else 0
            return context.codec.canonical_name, bytes(context.extradata or b""), channels
    except (av.FFmpegError, OSError, StopIteration) as error:
        raise EncodeError(f"the initialization section cannot be read back: {reason_of(error)}") from error


def _times(playlist: Path) -> list[Fraction]:
    """Timestamps of all pictures, seconds."""
    try:
        with av.open(str(playlist)) as container:
            packets = (packet for packet in container.demux(video=0) if packet.size)
            return [packet.pts * packet.time_base for packet in packets if packet.pts is not None and packet.time_base]
    except (av.FFmpegError, OSError) as error:
        raise EncodeError(f"the segments cannot be read back: {reason_of(error)}") from error

"""The encoding stage: pipes frames into ffmpeg, which writes a file with one video stream."""

import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from statistics import fmean

import ffmpeg as ffmpeg_python

from vidscale.config import CodecSettings
from vidscale.errors import EncodeError
from vidscale.media.captions import Captions
from vidscale.media.encoders import ENCODERS, hdr_params
from vidscale.media.ffmpeg import Ffmpeg, command_line, file_word
from vidscale.media.ffmpeg_process import FfmpegProcess
from vidscale.media.frames import Frame, VideoInfo
from vidscale.media.nut import NutWriter
from vidscale.system.threads import Clock

_MOST_TICKS = 2**31 - 1  # of a picture's duration in MP4, in units of the time base's denominator
_MOST_SAR = 65535  # of each term in H.264, H.265 and MP4; setsar rounds to terms of 100 by itself


@dataclass(frozen=True, slots=True)
class Encoded:
    """Result of the encoding stage.

    Attributes:
        path: an MP4 (FFV1: Matroska) file with one video stream.
        pts: timestamps of its pictures in presentation order, in the source's time base.
        until: end time of the last one, in the same unit; None when unknown.
        captions: closed captions of the pictures, not yet in the file.
    """

    path: Path
    pts: "array[int]"
    until: int | None
    captions: Captions


def encode_frames(frames: Iterable[Frame], info: VideoInfo, *, command: list[str], path: Path, clock: Clock) -> Encoded:
    """Feeds all frames to ffmpeg.

    Args:
        frames: pictures of the size and format in ``info``, with increasing timestamps of 0 or more.
        info: properties of the frames.
        command: from `encode_command` or `lossless_command`.
        path: the file that the command writes.
        clock: counts pictures, and the time spent writing, which includes waiting for the encoder.

    Raises:
        EncodeError: ffmpeg ended early or with an error.
    """
    timestamps, until, captions = array("q"), None, Captions()
    with FfmpegProcess(command, stdin=True) as process:
        try:
            with NutWriter(process.stdin.fileno(), info) as writer:
                for frame in frames:
                    with clock.measure():
                        writer.write(frame)
                    timestamps.append(frame.pts)
                    until = _end(frame)
                    if frame.captions:
                        captions.add(frame.pts, frame.captions)
        except BrokenPipeError:
            raise process.failure("encoding stopped") from None
        process.stdin.close()
        process.wait("encoding failed")
    if not timestamps:
        raise EncodeError("no frames to encode", cmd=command)
    return Encoded(path=path, pts=timestamps, until=until, captions=captions)


def _end(frame: Frame) -> int | None:
    """End time of a frame as far as MP4 can store it, in units of its time base; None when unknown."""
    if frame.duration is None:
        return None
    return frame.pts + min(frame.duration, _MOST_TICKS // frame.time_base.numerator)


def encode_command(
    ffmpeg: Ffmpeg,
    settings: CodecSettings,
    info: VideoInfo,
    path: Path,
    *,
    filters: str = "",
    keyframes: str = "",
    starts: Sequence[Fraction] = (),
) -> list[str]:
    """The command line that encodes NUT from stdin with x264, x265 or SVT-AV1 into an MP4 file.

    Args:
        ffmpeg: the binary.
        settings: encoder settings.
        info: properties of the frames.
        path: the file to write.
        filters: ffmpeg filters for the tagged pictures, "" for none.
        keyframes: where keyframes are, and nowhere else, as ffmpeg's ``-force_key_frames`` reads it; "" is the
            encoder's choice.
        starts: times of pictures that are to be keyframes beside the encoder's own, seconds.
    """
    encoder = ENCODERS[settings.codec]
    info = replace(info, color=encoder.written_color(info.color))
    params = hdr_params(encoder, info.mastering_display, info.content_light)
    if encoder.name == "x265":
        params["log-level"] = "error"
    if keyframes:
        params |= encoder.no_own_keyframes
    text = ":".join([*(f"{key}={value}" for key, value in params.items()), *filter(None, [settings.encoder_params])])
    options = {
        "c:v:0": encoder.ffmpeg_name,
        "crf": f"{settings.crf:g}",
        "preset": settings.resolved_preset,
    }
    if text:
        options[encoder.params_option] = text
    if keyframes:
        options["force_key_frames:v:0"] = keyframes
        if encoder.name != "svtav1":  # its forced keyframes are closed anyway
            options["forced-idr:v:0"] = "1"
    elif starts:  # the first picture at or after each time
        early = info.time_base / 2
        options["force_key_frames:v:0"] = ",".join(f"{float(time - early):.6f}" for time in starts)
    return _command(ffmpeg, info, options, path, muxer="mp4", filters=filters)


def logging_quantisers(command: list[str], log: Path) -> list[str]:
    """The command line that also writes the quantiser of each frame to a file, for `mean_quantiser`."""
    return [*command, "-vstats_file", str(log)]


def mean_quantiser(log: Path) -> float | None:
    """Mean over the frames of what `logging_quantisers` wrote; None where the encoder reports none."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    found = [float(value) for value in re.findall(r" q= *(\d+\.\d+)", text)]
    return fmean(found) if found else None


def lossless_command(ffmpeg: Ffmpeg, info: VideoInfo, path: Path, *, codec: str) -> list[str]:
    """The command line that encodes NUT from stdin losslessly: "ffv1" into Matroska, or "h264" (x264) into MP4."""
    options = {"c:v:0": "libx264", "qp": "0", "preset": "medium"}
    if codec == "h264":
        info = replace(info, color=ENCODERS["x264"].written_color(info.color))
    else:
        options = {"c:v:0": "ffv1", "level": "3", "slicecrc": "1"}
        # ffmpeg treats FFV1 as limited range and would convert; the container gets the true range afterwards.
        info = replace(info, color=replace(info.color, color_range="tv"))
    return _command(ffmpeg, info, options, path, muxer="matroska" if codec == "ffv1" else "mp4")


def _command(
    ffmpeg: Ffmpeg,
    info: VideoInfo,
    codec_options: Mapping[str, str],
    path: Path,
    *,
    muxer: str,
    filters: str = "",
) -> list[str]:
    """All timestamps are passed through unchanged (copyts, passthrough, demux), all tags are set on the pictures."""
    options = {
        "map": "0:v:0",
        "vf": ",".join(filter(None, [pixel_tags(info), filters])),
        "fps_mode:v:0": "passthrough",
        "enc_time_base:v:0": "demux",
        "f": muxer,
        **codec_options,
    }
    if muxer == "mp4":
        options["video_track_timescale"] = str(info.time_base.denominator)
        if codec_options["c:v:0"] == "libx265":
            options["tag:v:0"] = "hvc1"  # Apple's players do not support hev1, ffmpeg's default
    stream = ffmpeg_python.input("pipe:0", f="nut").output(file_word(path), **options)
    stream = stream.global_args("-hide_banner", "-v", "error", "-nostdin", "-copyts", "-y")
    return command_line(stream, ffmpeg.path)


def pixel_tags(info: VideoInfo) -> str:
    """Filters that tag raw pictures without changing pixels; a raw pipe loses colour and aspect ratio."""
    color = info.color
    tags = {
        "range": color.color_range,
        "color_primaries": color.primaries,
        "color_trc": color.transfer,
        "colorspace": color.matrix,
        "chroma_location": color.chroma_location if info.format.chroma == "420" else None,
    }
    known = ":".join(f"{key}={value}" for key, value in tags.items() if value is not None)
    aspect = f"setsar={info.sar.numerator}/{info.sar.denominator}:max={_MOST_SAR}"
    return f"setparams={known},{aspect}" if known else aspect

"""Shared by tests of whole files: making sources with ffmpeg, encoding them, and inspecting the results.

Files are inspected with PyAV and the ffmpeg binary, never with vidscale.
"""

import re
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from vidscale.config import DecodeSettings, EncodeSettings
from vidscale.jobs.pipeline import Outcome, decode, encode
from vidscale.jobs.planning import plan_decode, plan_encode
from vidscale.jobs.plans import EncodePlan

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
FASTEST = {"x264": "ultrafast", "x265": "ultrafast", "svtav1": "8"}
Codes = npt.NDArray[Any]


def ffmpeg(*words: object, data: bytes | None = None) -> bytes:
    """Runs ffmpeg and returns its stdout."""
    command = [FFMPEG, "-hide_banner", "-v", "error", "-y", *map(str, words)]
    stdin: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    result = subprocess.run(command, capture_output=True, timeout=120, check=False, **stdin)
    if result.returncode != 0:
        raise RuntimeError(f"{command}: {result.stderr.decode(errors='replace')}")
    return result.stdout


def make(path: Path, *words: object, data: bytes | None = None) -> Path:
    """Makes a file with ffmpeg."""
    ffmpeg(*words, path, data=data)
    return path


def picture(size: str = "64x48", rate: object = 25, duration: object = 1, *, then: str = "") -> list[str]:
    """Input options of a moving test picture; ``then`` is a chain of filters applied to it."""
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={duration}{',' + then if then else ''}"]


def sound(duration: object = 1, frequency: int = 440) -> list[str]:
    """Input options of a tone, 48 kHz."""
    return ["-f", "lavfi", "-i", f"sine=frequency={frequency}:sample_rate=48000:duration={duration}"]


def plan(source: Path, output: Path | None = None, **settings: Any) -> EncodePlan:
    """The plan of an encode, by default at scale 1 with the encoder's fastest preset."""
    defaults = {"scale": "1", "preset": FASTEST[settings.get("codec", "x264")], "overwrite": True}
    return plan_encode(source, output, EncodeSettings.resolve(defaults, settings))


def coded(source: Path, output: Path | None = None, **settings: Any) -> Path:
    """Encodes a source, see `plan`; returns the small file."""
    return coding(source, output, **settings).path


def coding(source: Path, output: Path | None = None, **settings: Any) -> Outcome:
    """Encodes a source, see `plan`; returns the outcome."""
    return encode(plan(source, output, **settings))


def restored(small: Path, output: Path | None = None, **settings: Any) -> Path:
    """Restores a small file."""
    defaults = {"preset": FASTEST[settings.get("codec", "x264")], "overwrite": True}
    return decode(plan_decode(small, output, DecodeSettings.resolve(defaults, settings))).path


def shown_times(path: Path, stream: int = 0) -> list[Fraction]:
    """Presentation times in seconds of the frames of a video stream, as a player shows them."""
    with av.open(str(path)) as container:
        chosen = container.streams.video[stream]
        return [frame.pts * frame.time_base for frame in container.decode(chosen)]  # type: ignore[operator]


def ffmpeg_times(path: Path) -> list[float]:
    """Presentation times of a video's frames according to ffmpeg, in seconds, before any muxer changes them."""
    words = ["-nostdin", "-copyts", "-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-vf", "showinfo"]
    command = [FFMPEG, "-hide_banner", *map(str, words), "-f", "null", "-"]
    result = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=120, check=True)
    return [float(time) for time in re.findall(rb" pts_time:(\S+)", result.stderr)]


def packet_times(path: Path, stream: int) -> list[Fraction]:
    """Presentation times in seconds of the packets of a stream, by index in the container, in decoding order."""
    with av.open(str(path)) as container:
        chosen = container.streams[stream]
        return [p.pts * chosen.time_base for p in container.demux(chosen) if p.size and p.pts is not None]  # type: ignore[operator]


def packet_data(path: Path, stream: int) -> list[bytes]:
    """The packets of a stream, by index in the container."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams[stream]) if packet.size]


def pixels(path: Path, pix_fmt: str, shape: tuple[int, int], *options: object, stream: int = 0) -> Codes:
    """Frames decoded by ffmpeg, not rotated, not converted unless ``pix_fmt`` asks for it.

    Returns:
        uint8 or uint16 [frames, samples]: the planes of each frame, concatenated; ``shape`` is its (height, width).
    """
    words = ["-noautorotate", "-i", path, "-map", f"0:v:{stream}", "-fps_mode", "passthrough"]
    data = ffmpeg(*words, *options, "-f", "rawvideo", "-pix_fmt", pix_fmt, "-")
    dtype = "<u2" if re.search(r"(9|1[0246])le$", pix_fmt) else "u1"
    return np.frombuffer(data, dtype).reshape(-1, frame_samples(pix_fmt, *shape))


def frame_samples(pix_fmt: str, height: int, width: int) -> int:
    """Number of samples in all planes of one frame."""
    half = (-(-height // 2), -(-width // 2))
    if "420" in pix_fmt or pix_fmt.startswith(("nv12", "p010")):
        return height * width + 2 * half[0] * half[1]
    if "422" in pix_fmt:
        return height * width + 2 * height * half[1]
    return height * width * (1 if pix_fmt.startswith("gray") else 3)


def luma(path: Path, pix_fmt: str, height: int, width: int) -> Codes:
    """Luma planes [frames, height, width] of a planar YUV or gray video."""
    samples = pixels(path, pix_fmt, (height, width))
    return samples[:, : height * width].reshape(-1, height, width)


def described(path: Path) -> str:
    """The output of ``ffmpeg -i`` for a file."""
    command = [FFMPEG, "-hide_banner", "-v", "verbose", "-i", str(path)]
    result = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    return result.stderr.decode(errors="replace")


def stream_line(path: Path, index: int = 0) -> str:
    """The line of ``ffmpeg -i`` about a stream."""
    match = re.search(rf"Stream #0:{index}\b.*", described(path))
    if match is None:
        raise LookupError(f"{path} has no stream {index}")
    return match.group()


def tags(path: Path) -> dict[str, str]:
    """The container's tags, keys in lower case."""
    with av.open(str(path)) as container:
        return {key.lower(): value for key, value in container.metadata.items()}


def stream_tags(path: Path, index: int) -> dict[str, str]:
    """A stream's tags, keys in lower case."""
    with av.open(str(path)) as container:
        return {key.lower(): value for key, value in container.streams[index].metadata.items()}


def dispositions(path: Path) -> list[set[str]]:
    """Names of the flags that are set on each stream."""
    with av.open(str(path)) as container:
        return [
            {str(flag.name) for flag in type(s.disposition) if flag in s.disposition and flag.name}
            for s in container.streams
        ]


def cover(path: Path) -> bytes:
    """The picture that players show as cover art."""
    return ffmpeg("-i", path, "-map", "0:v:1", "-c", "copy", "-f", "image2pipe", "-")


def kinds(path: Path) -> list[str]:
    """Kind and codec of each stream, such as "audio aac"."""
    with av.open(str(path)) as container:
        names = []
        for stream in container.streams:
            context = getattr(stream, "codec_context", None)
            codec = context.codec.canonical_name if context is not None else "-"
            names.append(f"{stream.type or 'data'} {codec}")
        return names

"""The ffmpeg binary: finding one, checking its capabilities, and words of its command lines."""

import contextlib
import logging
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vidscale.errors import ConfigError, reason_of
from vidscale.system import processes

logger = logging.getLogger(__name__)

_TAGS = "setparams=range=tv:chroma_location=left"  # ffmpeg 7.0 has no chroma_location
_ESCAPED = re.compile("[\udc80-\udcff]")
_STOWED = 0x100000  # from there to characters for private use, unused in file names
_STOWED_BYTES = re.compile("[\U0010dc80-\U0010dcff]")


@dataclass(frozen=True, slots=True)
class Ffmpeg:
    """An ffmpeg binary that was checked for the required encoders and filters.

    Attributes:
        path: the executable.
        version: as printed by ffmpeg, such as ``7.1.1``.
        origin: where it was found: "--ffmpeg", "imageio-ffmpeg" or "PATH".
    """

    path: str
    version: str
    origin: str


def find_ffmpeg(
    explicit: Path | str | None = None, *, encoders: Sequence[str] = (), filters: Sequence[str] = ()
) -> Ffmpeg:
    """The first ffmpeg with the required encoders and filters: the explicit one, imageio-ffmpeg's, the one on PATH.

    Args:
        explicit: a binary named by the user; then no other is tried.
        encoders: ffmpeg's names of video encoders that must work with the options that vidscale uses.
        filters: names of required filters.

    Raises:
        ConfigError: no binary has them all; the message lists what each lacks.
    """
    reasons = []
    for origin, path in _candidates(explicit):
        lacking = _lacking(path, tuple(encoders), tuple(filters))
        if lacking is None:
            return Ffmpeg(path=path, version=_version(path), origin=origin)
        reasons.append(f"{path} ({origin}): {lacking}")
    if not reasons:
        raise ConfigError("no ffmpeg found: install the package imageio-ffmpeg, or name one with --ffmpeg")
    raise ConfigError("no ffmpeg can do this: " + "; ".join(reasons))


def _candidates(explicit: Path | str | None) -> Iterator[tuple[str, str]]:
    if explicit is not None:
        yield "--ffmpeg", _named(Path(explicit))
        return
    with contextlib.suppress(ImportError, RuntimeError):
        import imageio_ffmpeg

        yield "imageio-ffmpeg", imageio_ffmpeg.get_ffmpeg_exe()
    if on_path := shutil.which("ffmpeg"):
        yield "PATH", on_path


def file_word(path: Path | str) -> str:
    """A file name for ffmpeg-python, which takes no bytes that are not text; `command_line` puts them back."""
    return _ESCAPED.sub(lambda match: chr(ord(match[0]) + _STOWED), str(path))


def command_line(stream: Any, ffmpeg: str) -> list[str]:
    """The command line of an output of ffmpeg-python whose files were named by `file_word`."""
    words: list[str] = stream.compile(cmd=ffmpeg)
    return [_STOWED_BYTES.sub(lambda match: chr(ord(match[0]) - _STOWED), word) for word in words]


def _named(path: Path) -> str:
    """The file of that name, else the program on PATH: a name without a directory would be searched only there."""
    return str(path.absolute()) if path.exists() else shutil.which(path) or str(path)


@cache
def _lacking(path: str, encoders: tuple[str, ...], filters: tuple[str, ...]) -> str | None:
    """What the binary lacks, in words; None when it has everything."""
    try:
        if not _version(path):
            return "is not ffmpeg"
        for encoder in encoders:
            if problem := _trial_encode(path, encoder):
                return problem
        if filters:
            listing = _output(path, "-hide_banner", "-filters")
            known = {words[1] for line in listing.splitlines() if len(words := line.split()) > 2}
            if missing := [name for name in filters if name not in known]:
                return f"has no filter {', '.join(missing)}"
    except OSError as error:
        return f"cannot be started ({reason_of(error)})"
    except subprocess.TimeoutExpired:
        return "does not respond"
    return None


def _output(path: str, *args: str) -> str:
    result = processes.captured([path, *args], timeout_s=30)
    return (result.stdout + result.stderr).decode(errors="replace")


@cache
def _version(path: str) -> str:
    match = re.search(r"ffmpeg version n?(\S+)", _output(path, "-version"))
    return match.group(1) if match else ""


def _trial_encode(path: str, encoder: str) -> str | None:
    """Encodes one small frame with the options that vidscale needs; returns the error, None when it worked."""
    options = ["-copyts", "-fps_mode:v:0", "passthrough", "-enc_time_base:v:0", "demux", "-vf", _TAGS]
    result = _encode_one_frame(path, "error", [*options, "-c:v:0", encoder])
    if result.returncode == 0:
        return None
    text = result.stderr.decode(errors="replace")
    if re.search(r"Unknown encoder|[Ee]ncoder .* not found", text):
        return f"has no encoder {encoder}"
    lines = [line for line in text.splitlines() if line.strip()]
    problem = f"version {_version(path)} cannot encode with {encoder} ({lines[0] if lines else result.returncode})"
    return problem + ("; a newer one is needed" if re.search("Option not found|Undefined constant", text) else "")


def _encode_one_frame(path: str, verbosity: str, options: Sequence[str]) -> "subprocess.CompletedProcess[bytes]":
    command = [path, "-hide_banner", "-v", verbosity, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "64x64"]
    command += ["-i", "pipe:0", *options, "-f", "null", "-"]
    return processes.captured(command, data=bytes(64 * 64 * 3 // 2), timeout_s=60)


def refused_params(ffmpeg: Ffmpeg, encoder: str, option: str, params: str) -> str | None:
    """The encoder's error message for its own settings; None when it accepts them.

    ffmpeg itself only warns about settings that the encoder does not know.

    Args:
        ffmpeg: the binary.
        encoder: ffmpeg's name of the encoder.
        option: the ffmpeg option for the settings, such as ``x264-params``.
        params: ``key=value:key=value``.
    """
    try:
        result = _encode_one_frame(ffmpeg.path, "warning", ["-c:v", encoder, f"-{option}", params])
    except subprocess.TimeoutExpired:
        return "it does not respond"
    error = re.search(rb"(Unknown option: |Invalid value for |Error (parsing|setting) option )[^\n]*", result.stderr)
    return error.group().decode(errors="replace").strip() if error else None


@cache
def library_versions(path: str) -> dict[str, str]:
    """Versions of x264 and x265 inside a binary, as far as one encoded frame reveals them."""
    versions = {}
    source = ["-f", "lavfi", "-i", "color=s=64x64:d=0.04"]
    for name, pattern in (("x264", rb"x264 - core (\d+[^-]*)"), ("x265", rb"x265 \(build \d+\) - ([^-:]+)")):
        command = [path, "-v", "error", *source, "-c:v", f"lib{name}", "-f", name.replace("x26", "h26"), "-"]
        if name == "x265":
            command[-2] = "hevc"
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            result = processes.captured(command, timeout_s=30)
            if match := re.search(pattern, result.stdout):
                versions[name] = match.group(1).decode(errors="replace").strip()
    return versions

"""What decides a measured number, as one hash: the coded pictures of the source, the way, and every program at work."""

import hashlib
import io
import json
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Any

import av

from vidscale.compare.points import Way
from vidscale.compare.trials.ways import pair_of
from vidscale.config import TimeRange
from vidscale.media.probe import Source
from vidscale.stages.decode import open_before
from vidscale.system.devices import Device

# What turns pictures into other pictures, and into numbers; of pairs with weights the models and all operations.
_SCALING = (
    "stages/downscale.py",
    "stages/upscale.py",
    "stages/encode.py",
    "compare/trials/coding.py",
    "compare/trials/restoring.py",
    "triton_kernels/polyphase*.py",
)
_WEIGHTED = ("models/**/*.py", "triton_kernels/*.py")
_MEASURING = (
    "stages/measure.py",
    "stages/perceptual.py",
    "compare/trials/measuring.py",
    "triton_kernels/metrics*.py",
)
_PROGRAMS = ("ffmpeg", "x264", "x265", "PyAV")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a coded part of a movie is, and what its scores are.

    Attributes:
        coded: hash of what decides the coded video, in hexadecimal digits; ways that differ in who enlarges share it.
        digest: hash of all of it.
        facts: the same for people.
    """

    coded: str
    digest: str
    facts: Mapping[str, Any]


def recipe(
    source: Source,
    part: TimeRange | None,
    content: str,
    way: Way,
    crf: float,
    *,
    programs: Mapping[str, str],
    device: Device,
    interlaced: str,
) -> Recipe:
    """The recipe of one part of a movie coded in one way.

    Args:
        source, part: the movie, and which part of it.
        content: of `content_digest`.
        way, crf: how it is coded.
        programs: versions of what codes, decodes and measures.
        device, interlaced: as of the settings.
    """
    coding = {
        "content": content,
        "video": repr(source.video),
        "range": None if part is None else [str(part.start), str(part.end)],
        "interlaced": interlaced,
        "down": _scaler(way.down, way.scale, device),
        "encoder": [way.codec, way.preset, f"{crf:g}"],
        "programs": {name: programs[name] for name in _PROGRAMS if name in programs},
    }
    restoring = {"up": _scaler(way.up, way.scale, device), "measuring": operations_digest(_MEASURING)}
    return Recipe(_digest(coding), _digest(coding | restoring), coding | restoring)


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _scaler(family: str, scale: Fraction, device: Device) -> tuple[str, ...]:
    """Who scales, by which weights, where, and by which code."""
    pair = pair_of(family, scale, device)
    weights, place = (pair.sha256, pair.enlarges_on.device) if pair else ("", "")
    return family, str(scale), weights, place, operations_digest(_SCALING + (_WEIGHTED if weights else ()))


def content_digest(source: Source, part: TimeRange | None) -> str:
    """Hash of every packet that the pictures of a part are decoded from, with its time.

    Reading packets takes no longer than reading the bytes, and of a long movie only those around the part are read.
    It is the same whatever the file is called, whenever it was written, and whatever lies beside the video in it.
    """
    start = None if part is None else source.start_s + part.start
    end = None if part is None or part.end is None else source.start_s + part.end
    digest = hashlib.blake2b(digest_size=16)
    with open_before(source, start) as container:
        stream: Any = container.streams[source.stream_index]
        digest.update(stream.codec_context.extradata or b"")
        if source.window is not None:
            digest.update(repr(source.window).encode())
        try:
            for packet in _until(container.demux(stream), end, source.video.time_base):
                digest.update(f"{packet.pts} {packet.dts} {packet.size};".encode())
                digest.update(memoryview(packet))
        except av.FFmpegError as error:  # damage is a part of the content
            digest.update(type(error).__name__.encode())
    return digest.hexdigest()


def _until(packets: Iterator[Any], end: Fraction | None, time_base: Fraction) -> Iterator[Any]:
    """Packets up to the first that no picture before ``end`` needs: decoding order is that of dts, and dts <= pts."""
    for packet in packets:
        if end is not None and packet.dts is not None and packet.dts * time_base >= end:
            return
        if packet.size:
            yield packet


@cache
def operations_digest(patterns: tuple[str, ...]) -> str:
    """Hash of what the code of some modules does: comments, docstrings, layout and imports do not count.

    A number that stays valid when an operation changes its results would have to be raised by hand; this cannot be
    forgotten.

    Args:
        patterns: of paths inside the package.
    """
    digest = hashlib.blake2b(digest_size=8)
    root = files("vidscale")
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):  # type: ignore[attr-defined]
            digest.update(f"{path.name}:{_logic(path.read_text(encoding='utf-8'))}".encode())
    return digest.hexdigest()


def _logic(text: str) -> str:
    """The tokens of a module without comments, docstrings and imports.

    Not by ``ast``, which fails in threads before Python 3.13.
    """
    kept: list[str] = []
    line: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.NL):
            continue
        if token.type in (tokenize.INDENT, tokenize.DEDENT):
            kept.append(tokenize.tok_name[token.type])
        elif token.type != tokenize.NEWLINE:
            line.append(token)
        else:
            is_import = line[0].string in ("import", "from") if line else False
            if not is_import and any(part.type != tokenize.STRING for part in line):
                kept.append(" ".join(part.string for part in line))
            line.clear()
    return "\n".join(kept)

"""Keys of trials: a hash of everything that a result depends on, from the source's packets to the code that scales."""

import hashlib
import io
import json
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import av

from vidscale.compare.points import Candidate
from vidscale.compare.trials.candidates import pair_of
from vidscale.compare.trials.window import WHOLE, Window
from vidscale.config import TimeRange
from vidscale.media.encoders import ENCODERS, Effort
from vidscale.media.packets import video_packets
from vidscale.media.probe import Source
from vidscale.models.pairs import default_effort
from vidscale.system.devices import Device

_COMMON = ("triton_kernels/_dispatch.py", "triton_kernels/_numba.py")  # which version runs, how numba compiles it
# The code that results depend on; for pairs with weights also the models and all operations.
_SCALING = (
    "stages/downscale.py",
    "stages/upscale.py",
    "stages/encode.py",
    "compare/trials/encoding.py",
    "compare/trials/restoring.py",
    "triton_kernels/polyphase*.py",
    *_COMMON,
)
_WEIGHTED = ("models/**/*.py", "triton_kernels/*.py")
_MEASURING = (
    "stages/measure.py",
    "stages/perceptual.py",
    "compare/trials/measuring.py",
    "jobs/measurement.py",
    "triton_kernels/metrics*.py",
    *_COMMON,
)
_ADAPTING = ("adapt/*.py", "jobs/adaptation.py")
_PROGRAMS = ("ffmpeg", "x264", "x265", "PyAV")


@dataclass(frozen=True, slots=True)
class TrialKey:
    """Identifies a trial by everything that its result depends on.

    Attributes:
        coded: hash of what the encoded file depends on, hexadecimal; the same for candidates with other upscalers.
        digest: hash of what the result depends on, hexadecimal.
        facts: what was hashed, in readable form.
    """

    coded: str
    digest: str
    facts: Mapping[str, Any]


def trial_key(
    source: Source,
    segment: TimeRange | None,
    content: str,
    candidate: Candidate,
    crf: float,
    *,
    versions: Mapping[str, str],
    device: Device,
    interlaced: str,
    effort: Effort | None = None,
    encoder_params: str = "",
    window: Window = WHOLE,
) -> TrialKey:
    """The key of one segment of a movie, encoded as one candidate at one crf.

    Args:
        source, segment: the movie, and the time range of it; None for all of it.
        content: result of `content_digest`.
        candidate, crf: how the segment is encoded.
        versions: of the programs that encode, decode and measure.
        device, interlaced, effort, encoder_params: see `CompareSettings`.
        window: the frames of the segment that are measured.
    """
    coding = {
        "content": content,
        "video": repr(source.video),
        "range": None if segment is None else [str(segment.start), str(segment.end)],
        "interlaced": interlaced,
        "down": (*_scaler(candidate.down, candidate.scale, device, "downscale"), effort or _default(candidate, device)),
        **({"adapting": operations_digest(_ADAPTING)} if candidate.is_adapted else {}),
        "encoder": [candidate.codec, candidate.preset, f"{crf:g}", encoder_params],
        "programs": {name: versions[name] for name in _PROGRAMS if name in versions},
    }
    restoring = {
        "up": _scaler(candidate.up, candidate.scale, device, "upscale"),
        "measuring": operations_digest(_MEASURING),
        "window": repr(window),
    }
    return TrialKey(_digest(coding), _digest(coding | restoring), coding | restoring)


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _scaler(
    family: str, scale: Fraction, device: Device, direction: Literal["downscale", "upscale"]
) -> tuple[str, ...]:
    """Family, scale, hash of the weights, device, and hash of the code of a scaler."""
    weights, place = "", ""
    if pair := pair_of(family, scale, device):
        backend = pair.downscale_backend if direction == "downscale" else pair.upscale_backend
        weights, place = pair.sha256, backend.device
    return family, str(scale), weights, place, operations_digest(_SCALING + (_WEIGHTED if weights else ()))


def _default(candidate: Candidate, device: Device) -> Effort:
    pair, encoder = pair_of(candidate.down, candidate.scale, device), ENCODERS[candidate.codec]
    return default_effort(pair, encoder, candidate.preset) if pair else "fast"


def content_digest(source: Source, segment: TimeRange | None) -> str:
    """Hash of every packet that the frames of a segment are decoded from, with its time.

    Demuxing takes no longer than reading the bytes, and of a long movie only packets around the segment are read.
    Name and date of the file and its other streams do not matter.
    """
    start = None if segment is None else source.start_s + segment.start
    end = None if segment is None or segment.end is None else source.start_s + segment.end
    digest = hashlib.blake2b(digest_size=16)
    with video_packets(source, start) as packets:
        digest.update(packets.stream.codec_context.extradata or b"")
        if source.window is not None:
            digest.update(repr(source.window).encode())
        try:
            for packet in _until(packets, end, packets.time_base):
                digest.update(f"{packet.pts} {packet.dts} {packet.size};".encode())
                digest.update(memoryview(packet))
        except av.FFmpegError as error:  # damage is content too
            digest.update(type(error).__name__.encode())
    return digest.hexdigest()


def _until(packets: Iterator[Any], end: Fraction | None, time_base: Fraction) -> Iterator[Any]:
    """Packets up to the first that no frame before ``end`` needs: packets are in order of dts, and dts <= pts."""
    for packet in packets:
        if end is not None and packet.dts is not None and packet.dts * time_base >= end:
            return
        if packet.size:
            yield packet


@cache
def operations_digest(patterns: tuple[str, ...]) -> str:
    """Hash of the code of some modules, without comments, docstrings, layout and imports.

    A version number would have to be raised by hand whenever an operation changes its results; a hash cannot be
    forgotten.

    Args:
        patterns: globs of paths inside the package.
    """
    digest = hashlib.blake2b(digest_size=8)
    root = files("vidscale")
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):  # type: ignore[attr-defined]
            digest.update(f"{path.name}:{_logic(path.read_text(encoding='utf-8'))}".encode())
    return digest.hexdigest()


def _logic(text: str) -> str:
    """The tokens of a module without comments, docstrings and imports.

    Not by ``ast``, which is not thread-safe before Python 3.13.
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

"""A small file as a source of restored frames."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import cast, get_args

import av

from vidscale.config import DecodeSettings, TimeRange
from vidscale.errors import DamagedIdentityError, IdentityError, UnusableIdentityError
from vidscale.jobs.conversion import alpha_of, has_alpha
from vidscale.media.encoders import ENCODERS
from vidscale.media.file_identity import carries_identity, count_videos, probe_identity
from vidscale.media.frames import Frame, VideoInfo
from vidscale.media.geometry import Geometry
from vidscale.media.identity import Identity, extract, extract_update
from vidscale.media.opening import open_container
from vidscale.media.playlists import part_playlists
from vidscale.media.probe import Source, probe
from vidscale.media.units import Codec
from vidscale.models.pair import Pair
from vidscale.models.pairs import find_pair, identified_pair, takes_update
from vidscale.stages.decode import Inspect, decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.stages.upscale import upscale
from vidscale.system.threads import Clock, Prefetch, queue_depth


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A small file and how to restore it.

    Attributes:
        source: the file.
        identity: from the file, None when the pair was given in the settings.
        pair: the pair that restores it.
        geometry: its size and the restored size.
        strength: crf for the upscaler.
        notes: messages for the user, one line each.
        parts: small files that the file is made of, one after another, each with an identity of its own; empty for one.
    """

    source: Source
    identity: Identity | None
    pair: Pair
    geometry: Geometry
    strength: float
    notes: tuple[str, ...] = ()
    parts: tuple["SmallFile", ...] = ()

    @property
    def is_adapted(self) -> bool:
        """Whether keyframes may carry updates of the upscaler."""
        return self.identity is not None and self.identity.vidscale > 1

    @property
    def restored(self) -> VideoInfo:
        """The restored video: of the source's size, and gray when the source was gray."""
        pixel_format = self.source.video.format
        if self.identity is not None and self.identity.chroma == "gray":
            pixel_format = replace(pixel_format, chroma="gray")
        return replace(self.source.video, width=self.geometry.width, height=self.geometry.height, format=pixel_format)


def open_small(path: Path, *, ffmpeg: str, settings: DecodeSettings, pair: Pair | None = None) -> SmallFile:
    """Determines how a small file is restored: from its identity, or without a usable one from the settings.

    Args:
        path: the file.
        ffmpeg: path of the binary.
        settings: of the restoration; a pair in them must match the identity, and may be a folder.
        pair: the pair that made the file, if already loaded.

    Raises:
        IdentityError: no usable identity, and no pair and scale in the settings.
        ModelError: the pair of the identity is not installed.
    """
    try:
        identity, stream = find_identity(path)
    except UnusableIdentityError as error:
        if settings.pair is None:
            raise type(error)(f"{error}; name its pair and scale with --pair and --scale") from error
        return _by_hand(path, probe(path, ffmpeg=ffmpeg), settings, unusable=str(error))
    source = probe(path, stream=stream, ffmpeg=ffmpeg)
    if identity is None:
        return _by_hand(path, source, settings)
    if source.window is not None:
        unusable = f"{path}: the identity is for whole pictures, and the container crops them to {source.window}"
        if settings.pair is None:
            raise UnusableIdentityError(f"{unusable}; name its pair and scale with --pair and --scale")
        return _by_hand(path, source, settings, unusable=unusable)
    pair = identified_pair(
        identity,
        lambda name, scale, sha256: find_pair(name, scale, settings.device, sha256),
        name=settings.pair,
        scale=settings.scale,
        known=pair,
        file=str(path),
    )
    parts = part_playlists(path) if source.container == "hls" else ()
    return SmallFile(
        source=_sited(source, identity),
        identity=identity,
        pair=pair,
        geometry=Geometry(
            width=identity.width,
            height=identity.height,
            scale=identity.scale_fraction,
            coded_width=identity.coded_width,
            coded_height=identity.coded_height,
        ),
        strength=settings.strength if identity.crf is None else _strength(float(identity.crf), source.codec),
        parts=tuple(open_small(part, ffmpeg=ffmpeg, settings=settings) for part in parts),
    )


def _strength(crf: float, codec: str) -> float:
    """The upscaler's strength from the crf on the encoder's own scale."""
    encoders = [encoder for encoder in ENCODERS.values() if encoder.codec == codec]
    return encoders[0].strength(crf) if encoders else crf


def _sited(source: Source, identity: Identity) -> Source:
    """The source with the original's chroma location: AV1 cannot store center, H.264 cannot store that of 4:2:2."""
    color = source.video.color
    color = replace(color, chroma_location=identity.chroma_location or color.chroma_location)
    return replace(source, video=replace(source.video, color=color))


def find_identity(path: Path) -> tuple[Identity | None, int]:
    """The identity in a file, and its stream's index among the video streams without cover art (0 when there is none).

    With several streams it is the one with an in-band identity; the container's tag does not name the stream.

    Raises:
        DecodeError: the file cannot be opened.
        IdentityError: see `probe_identity`.
    """
    with open_container(path) as container:
        streams = list(range(count_videos(container)))
    if len(streams) > 1:
        streams.sort(key=lambda stream: not carries_identity(path, stream=stream))
    unusable = None
    for stream in streams:
        try:
            identity = probe_identity(path, stream=stream)
        except UnusableIdentityError as error:
            unusable = unusable or error
            continue
        if identity:
            return identity, stream
    if unusable:
        raise unusable
    return None, 0


def _by_hand(path: Path, source: Source, settings: DecodeSettings, *, unusable: str = "") -> SmallFile:
    """A small file restored by the pair in the settings; ``unusable`` is the reason to ignore the file's identity."""
    if settings.pair is None:
        raise IdentityError(f"{path} has no vidscale identity; name its pair and scale with --pair and --scale")
    pair = find_pair(settings.pair, settings.scale, settings.device)
    video = source.video
    geometry = Geometry(
        width=int(video.width * pair.scale),
        height=int(video.height * pair.scale),
        scale=pair.scale,
        coded_width=video.width,
        coded_height=video.height,
    )
    size = f"{geometry.width}x{geometry.height}, including padding"
    if has_alpha(source):
        source = replace(source, side_data=(*source.side_data, alpha_of(source)))
    return SmallFile(
        source=source,
        identity=None,
        pair=pair,
        geometry=geometry,
        strength=settings.strength,
        notes=(f"{unusable}; restored by {pair.name} to {size}, as set by --pair and --scale",) if unusable else (),
    )


def restored_frames(
    small: SmallFile,
    *,
    log: ReadLog,
    decoding: Clock,
    upscaling: Clock,
    part: slice = slice(None),
    time_range: TimeRange | None = None,
) -> Iterator[Frame]:
    """Frames of the source's size; decoding runs in its own thread.

    Args:
        small: the small file.
        log: of problems found while reading it.
        decoding, upscaling: count frames and time.
        part: the frames to restore, by their indices; those before it are decoded only.
        time_range: the part of a file to restore, without changing its timestamps; None for all.

    Raises:
        IdentityError: the identity changes within the file.
        DecodeError: the file cannot be read.
    """
    if small.parts:
        frames_of = (restored_frames(each, log=log, decoding=decoding, upscaling=upscaling) for each in small.parts)
        yield from part_of(_in_unit(chain.from_iterable(frames_of), small.source.video.time_base), part)
        return
    video = small.source.video
    depth = queue_depth(video.frame_bytes)
    decoded = decode_frames(
        small.source,
        log=log,
        clock=decoding,
        inspect=inspection(small, log),
        alpha="drop",
        time_range=time_range,
        origin_s=None if time_range is None else Fraction(0),
    )
    with Prefetch(part_of(decoded, part), depth) as frames:
        yield from upscale(
            _as_gray(frames) if small.restored.format.chroma == "gray" else frames,
            pair=small.pair,
            geometry=small.geometry,
            strength=small.strength,
            clock=upscaling,
        )


def _in_unit(frames: Iterator[Frame], time_base: Fraction) -> Iterator[Frame]:
    """Frames with their timestamps in one unit, which several files may not have in common."""
    for frame in frames:
        if frame.time_base == time_base:
            yield frame
            continue
        duration = None if frame.duration is None else round(frame.duration * frame.time_base / time_base)
        yield replace(frame, pts=round(frame.time / time_base), duration=duration, time_base=time_base)


def part_of(frames: Iterator[Frame], part: slice) -> Iterator[Frame]:
    """Some of the frames, by their indices; closes the iterator at their end."""
    try:
        yield from islice(frames, part.start, part.stop)
    finally:
        if isinstance(frames, Generator):
            frames.close()


def _as_gray(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Frames without the chroma planes that decoders add to gray H.264."""
    for frame in frames:
        yield replace(frame, planes=frame.planes[:1], format=replace(frame.format, chroma="gray"))


def inspection(small: SmallFile, log: ReadLog) -> Inspect | None:
    """A function that rejects keyframe packets whose identity differs from the file's, counts damaged ones, and returns
    the update of the upscaler.
    """
    identity = small.identity
    if identity is None or small.source.codec not in get_args(Codec):
        return None
    codec = cast("Codec", small.source.codec)
    with open_container(small.source.path) as container:
        extradata = cast("av.VideoStream", container.streams[small.source.stream_index]).codec_context.extradata

    is_adapted = small.is_adapted and identity.sha256 == small.pair.sha256

    def inspect(packet: "av.Packet[av.VideoStream]") -> bytes:
        try:
            found = extract(memoryview(packet), codec=codec, extradata=extradata)
        except DamagedIdentityError:
            log.damaged_identities += 1
            log.lost_updates += is_adapted
            return b""
        except IdentityError as error:
            raise IdentityError(f"{small.source.path}: {error}") from error
        if found is not None and _essence(found) != _essence(identity):
            at = f"{float(packet.pts * packet.time_base):.3f} s" if packet.pts is not None else "an unknown time"
            raise IdentityError(f"{small.source.path} is spliced from different files: its identity changes at {at}")
        if not is_adapted or found is None:
            log.lost_updates += is_adapted
            return b""
        try:
            update = extract_update(memoryview(packet), codec=codec, extradata=extradata, identity=found)
        except DamagedIdentityError:
            update, is_usable = b"", False
        else:
            is_usable = not update or takes_update(small.pair, update, small.strength)
        log.lost_updates += not is_usable
        return update if is_usable else b""

    return inspect


def _essence(identity: Identity) -> Identity:
    """The identity without the fields that do not affect the restoration."""
    return identity.model_copy(update={"tool": "", "time_base": "1", "update": ""})

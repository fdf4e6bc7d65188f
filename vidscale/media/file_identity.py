"""The identity of a file, from its stream and its tags."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from vidscale.errors import DamagedIdentityError, DecodeError, IdentityError, UnusableIdentityError, reason_of
from vidscale.media.identity import TAG, Identity, extract, tag_from_metadata
from vidscale.media.units import Codec

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

_PROBE_PACKETS = 64
_MUST_AGREE = ("pair", "sha256", "scale", "width", "height", "coded_width", "coded_height")


def probe_identity(path: str | Path, *, stream: int = 0) -> Identity | None:
    """The identity of a file, None when it has none. Reads the tags and the first 64 packets of its video, and more
    while it finds only damaged identities.

    Args:
        path: the file.
        stream: which of the video streams that are not cover art.

    The identity in the stream takes precedence over the tag, which may survive re-encoding by another program. A
    damaged one is ignored, with a warning in the log when it is the tag.

    Raises:
        DecodeError: the file cannot be read, or has no video.
        UnusableIdentityError: only damaged identities, an unknown version, or the picture size differs from the
            identity's.
        IdentityError: stream and tag contradict each other.
    """
    with _opened(path) as container:
        return _probe(container, path, stream)


def carries_identity(path: str | Path, *, stream: int) -> bool:
    """Whether a video stream has an identity in its first 64 packets, valid or damaged.

    Arguments and errors as in `probe_identity`.
    """
    with _opened(path) as container:
        try:
            in_band, damage = _first_in_band(container, _video_stream(container, stream))
        except UnusableIdentityError:
            return True
    return bool(in_band or damage)


def count_videos(container: "InputContainer") -> int:
    """Number of video streams that are not cover art."""
    return sum(1 for _ in _moving(container))


@contextmanager
def _opened(path: str | Path) -> "Iterator[InputContainer]":
    """Opens the file; errors are prefixed with its name."""
    import av  # not at module level: slow to import

    try:
        with av.open(str(Path(path).absolute()), metadata_errors="replace") as container:
            yield container
    except av.FFmpegError as exc:
        raise DecodeError(f"{path}: {reason_of(exc)}") from exc
    except (DecodeError, IdentityError) as exc:
        raise type(exc)(f"{path}: {exc}") from exc


def _probe(container: "InputContainer", path: str | Path, index: int) -> Identity | None:
    stream = _video_stream(container, index)
    in_band, damage = _first_in_band(container, stream)
    try:
        tag = tag_from_metadata(container.metadata)
    except UnusableIdentityError as exc:
        if in_band is None:
            raise
        log.warning("%s: tag %s ignored: %s", path, TAG, exc)
        tag = None
    if in_band and tag:
        _check_agreement(in_band, tag)
    identity = in_band or tag
    if identity:
        _check_picture_size(identity, stream)
    elif damage:
        raise damage
    return identity


def _video_stream(container: "InputContainer", index: int) -> "VideoStream":
    if (stream := next(islice(_moving(container), index, None), None)) is None:
        raise DecodeError("no video stream")
    return stream


def _moving(container: "InputContainer") -> "Iterator[VideoStream]":
    """The video streams that are not cover art."""
    from av.stream import Disposition

    return (stream for stream in container.streams.video if Disposition.attached_pic not in stream.disposition)


def _first_in_band(
    container: "InputContainer", stream: "VideoStream"
) -> tuple[Identity | None, DamagedIdentityError | None]:
    """The first valid identity, and the error of the first damaged one."""
    # The decoder's own name may be libdav1d; and a keyframe's dts may be None in Matroska, its size never 0.
    codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
    damage = None
    if codec not in get_args(Codec):
        return None, None
    extradata = stream.codec_context.extradata
    for number, packet in enumerate(container.demux(stream)):
        if number >= _PROBE_PACKETS and damage is None:
            break
        if packet.size and packet.is_keyframe:
            try:
                identity = extract(memoryview(packet), codec=cast("Codec", codec), extradata=extradata)
            except DamagedIdentityError as exc:
                damage = damage or exc
            else:
                if identity:
                    return identity, damage
    return None, damage


def _check_agreement(in_band: Identity, tag: Identity) -> None:
    for name in _MUST_AGREE:
        ours, theirs = getattr(in_band, name), getattr(tag, name)
        if ours != theirs:
            raise IdentityError(f"contradictory identity: {name} is {ours!r} in the stream, {theirs!r} in the tag")


def _check_picture_size(identity: Identity, stream: "VideoStream") -> None:
    actual = (stream.codec_context.width, stream.codec_context.height) if stream.codec_context else (0, 0)
    if all(actual) and actual != (identity.coded_width, identity.coded_height):
        raise UnusableIdentityError(
            f"the identity is for pictures of {identity.coded_width}x{identity.coded_height}, "
            f"these are {actual[0]}x{actual[1]}: re-encoded since?"
        )

"""Signing: copies encoded video packet by packet, and adds the identity, closed captions and durations."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Literal, cast, get_args

import av

from vidscale.errors import EncodeError, reason_of
from vidscale.media import h273
from vidscale.media.captions import Captions
from vidscale.media.captions import insert as insert_captions
from vidscale.media.frames import VideoInfo
from vidscale.media.identity import Identity
from vidscale.media.identity import insert as insert_identity
from vidscale.media.rawpipe import write_all
from vidscale.media.timing import Timing
from vidscale.media.units import Codec
from vidscale.stages.pieces import Piece, joined_packets
from vidscale.stages.updates import TimedUpdates, update_at

_COLOR_RANGE: dict[str | None, int] = {None: 0} | {word: code for code, word in h273.COLOR_RANGE.items()}

Muxer = Literal["mp4", "matroska"]


def sign(
    pieces: Sequence[Piece],
    signed: Path | IO[bytes],
    identity: Identity | None,
    info: VideoInfo,
    timing: Timing,
    captions: Captions,
    updates: TimedUpdates = (),
    *,
    muxer: Muxer,
) -> None:
    """Copies encoded video and adds what encoders and ffmpeg do not write.

    That is the identity before every keyframe, closed captions before their pictures, the display matrix, the aspect
    ratio, which AV1 cannot store, the range, which FFV1 cannot store, and the duration of every picture, as far as MP4
    can represent it.

    Args:
        pieces: the encoder's files, in order, each with one video stream; several are joined.
        signed: the copy: a file, or a pipe to the program that reads it.
        identity: None for none.
        info: the video.
        timing: of its pictures.
        captions: by timestamp in units of ``info.time_base``; FFV1 cannot store them.
        updates: of the upscaler, each with the timestamp that it holds from, in the same unit, in order.
        muxer: format of the copy.

    Raises:
        EncodeError: it failed.
        BrokenPipeError: the program that read the pipe has ended.
    """
    opened = str(signed) if isinstance(signed, Path) else _Writer(signed)
    is_pipe = not isinstance(signed, Path)
    try:
        with (
            av.open(str(pieces[0].path)) as source,
            av.open(opened, "w", format=muxer, options=_options(source, muxer, is_pipe=is_pipe)) as target,
        ):
            stream = source.streams.video[0]
            copy = _add_stream(target, stream, info, muxer)
            packets = source.demux(stream) if len(pieces) == 1 else joined_packets(pieces, stream, timing)
            inserted = _inserter(stream, identity, info.time_base, captions, updates)
            for packet in map(inserted, (packet for packet in packets if packet.size)):
                if packet.pts is not None:
                    duration_s = timing.duration_s(packet.pts * packet.time_base)
                    if duration_s is not None:
                        packet.duration = round(duration_s / packet.time_base)
                packet.stream = copy
                target.mux(packet)
    except BrokenPipeError:
        raise
    except (av.FFmpegError, OSError) as error:
        raise EncodeError(f"copying the encoded video failed: {reason_of(error)}") from error


def _options(source: Any, muxer: Muxer, *, is_pipe: bool) -> dict[str, str]:
    options, time_base = {}, source.streams.video[0].time_base
    if muxer == "mp4" and time_base:  # or a late start is rounded to ms
        options["movie_timescale"] = str(time_base.denominator)
    if muxer == "mp4" and is_pipe:
        options["movflags"] = "frag_keyframe+delay_moov+default_base_moof"  # delayed, it has edit lists
    return options


def _add_stream(target: Any, stream: "av.VideoStream", info: VideoInfo, muxer: Muxer) -> Any:
    """A stream for the copied packets, with the tags of the video."""
    copy = target.add_stream_from_template(stream, opaque=True)
    if muxer == "mp4":  # not copied from the template: H.265 would become hev1
        copy.codec_context.codec_tag = stream.codec_context.codec_tag
    copy.codec_context.sample_aspect_ratio = info.sar
    copy.codec_context.color_range = _COLOR_RANGE[info.color.color_range]
    if muxer == "matroska" and info.frame_rate:  # MP4 readers compute it from the timestamps
        copy.codec_context.framerate = info.frame_rate
    if info.display_matrix is not None:
        copy.set_display_matrix(info.display_matrix)
    return copy


def _inserter(
    stream: "av.VideoStream",
    identity: Identity | None,
    time_base: Fraction,
    captions: Captions,
    updates: TimedUpdates,
) -> Callable[[Any], Any]:
    """A function that adds to a packet the captions of its picture, and to a keyframe the identity and its update."""
    extradata = stream.codec_context.extradata
    codec = cast("Codec", stream.codec_context.codec.canonical_name)

    def inserted(packet: Any) -> Any:
        if codec in get_args(Codec) and (cc_data := captions.at(_pts(packet, time_base))):
            data = insert_captions(memoryview(packet), codec=codec, extradata=extradata, cc_data=cc_data)
            packet = _with_data(packet, data)
        if identity is not None and packet.is_keyframe:
            update = update_at(updates, _pts(packet, time_base)) if updates else b""
            data = insert_identity(
                memoryview(packet), codec=codec, extradata=extradata, identity=identity, update=update
            )
            packet = _with_data(packet, data)
        return packet

    return inserted


class _Writer:
    """A pipe as PyAV takes one that cannot seek: with nothing but this method."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe

    def write(self, data: bytes) -> int:
        write_all(self._pipe, memoryview(data))
        return len(data)


def _pts(packet: Any, time_base: Fraction) -> int:
    return round(Fraction(packet.pts * packet.time_base) / time_base)


def _with_data(packet: Any, data: bytes) -> Any:
    copy = av.Packet(data)
    copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
    copy.time_base = packet.time_base
    copy.is_keyframe = packet.is_keyframe
    return copy

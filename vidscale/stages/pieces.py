"""Encoded video in several files, joined packet by packet without encoding again."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from vidscale.errors import EncodeError
from vidscale.media.timing import Timing


@dataclass(frozen=True, slots=True)
class Piece:
    """A file with one video stream, coded by itself: it begins with a keyframe, and nothing refers beyond its ends.

    Attributes:
        path: the file.
        start_s: time of its zero in the joined video, seconds.
        delay: pictures that its decoder holds back to put them in order, see `reordering`.
        is_kept: the file is not temporary.
    """

    path: Path
    start_s: Fraction = Fraction(0)
    delay: int = 0
    is_kept: bool = False


def reordering(pts: Sequence[int]) -> int:
    """By how many pictures decoding must be ahead of presentation.

    Args:
        pts: of the packets, in decoding order.
    """
    shown = sorted(pts)
    return max(index - bisect_left(shown, each) for index, each in enumerate(pts))


def joined_packets(pieces: Sequence[Piece], stream: "av.VideoStream", timing: Timing) -> Iterator[Any]:
    """The packets of all pieces with timestamps of the joined video.

    Encoders make decoding times for their own piece only, and those of two pieces would overlap where they meet. Here
    the decoding time of a packet is the presentation time of the picture that is shown ``delay`` pictures earlier, as
    x264 does it, over all pieces.

    Args:
        pieces: in order.
        stream: of the first piece.
        timing: of the joined pictures.

    Raises:
        EncodeError: a piece has other parameter sets than the first, or not the pictures of the timing.
    """
    unit = Fraction(stream.time_base or timing.time_base)
    dts = _decoding_times(timing, unit, max(piece.delay for piece in pieces))
    extradata = _parameters(stream)
    index = 0
    for piece in pieces:
        with av.open(str(piece.path)) as container:
            video = container.streams.video[0]
            if _parameters(video) != extradata:
                raise EncodeError(f"{piece.path.name} has other parameter sets than {pieces[0].path.name}")
            start = round(piece.start_s / unit)
            for packet in container.demux(video):
                if not packet.size or packet.pts is None:
                    continue
                if index == len(dts):
                    raise EncodeError(f"{len(dts)} frames were encoded, but there are more from {piece.path.name} on")
                packet.pts, packet.dts = packet.pts + start, dts[index]
                index += 1
                yield packet


def _parameters(stream: "av.VideoStream") -> bytes:
    return bytes(stream.codec_context.extradata or b"")


def _decoding_times(timing: Timing, unit: Fraction, delay: int) -> "array[int]":
    """Decoding times of all packets, in units of a stream's time base."""
    pts = array("q", (round(each * timing.time_base / unit) for each in timing.pts))
    step = pts[1] - pts[0] if len(pts) > 1 else 1
    early = array("q", (pts[0] - (delay - index) * step for index in range(delay)))
    return (early + pts)[: len(pts)]

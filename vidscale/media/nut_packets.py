"""Packets of coded video in memory, as a NUT stream: with their own time base, which ffmpeg's muxers would change."""

import io
from fractions import Fraction

import av

from vidscale.media import nut_layout


class PacketWriter:
    """Collects the packets of one video stream.

    Args:
        stream: that they come from.
        time_base: unit of their timestamps, seconds.
        offset: added to all timestamps, in that unit.

    Raises:
        av.FFmpegError: NUT has no tag for the codec.
    """

    def __init__(self, stream: "av.VideoStream", time_base: Fraction, offset: int = 0) -> None:
        header, self._shift = nut_layout.stream_header_of(_header(stream))
        self._parts = [nut_layout.coded_head(header, time_base)]
        self._offset = offset
        self._last = 0

    def write(self, packet: "av.Packet[av.VideoStream]") -> None:
        """Appends a packet.

        Raises:
            ValueError: it has no timestamp, or one below zero even with the offset, which NUT cannot store.
        """
        if packet.pts is None or packet.pts + self._offset < 0:
            raise ValueError(f"a packet with the timestamp {packet.pts}")
        pts = packet.pts + self._offset
        before = nut_layout.before_picture(pts, packet.size, is_key=packet.is_keyframe, shift=self._shift)
        self._parts += [before, bytes(packet)]
        self._last = max(self._last, pts)

    def getvalue(self) -> bytes:
        """The stream."""
        return b"".join((*self._parts, nut_layout.tail(self._last)))


def _header(stream: "av.VideoStream") -> bytes:
    """The beginning of a NUT stream with such a stream, as ffmpeg writes it."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="nut") as target:
        copy = target.add_stream_from_template(stream, opaque=True)
        copy.codec_context.codec_tag = "\0\0\0\0"  # tags of other formats are refused
        target.start_encoding()
    return buffer.getvalue()

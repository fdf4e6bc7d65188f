"""Transparency: no encoder here supports it, so every picture of a source with an alpha channel is checked."""

from typing import Any, Literal, cast

import av
import numpy as np

from vidscale.media.frames import Plane

Alpha = Literal["refuse", "drop"]
ALPHA_REMEDY = "which vidscale cannot encode in H.264, H.265 and AV1; --alpha drop encodes the colours only"

_ALPHA_ID = (1).to_bytes(8, "big")  # BlockAddID of alpha in WebM


def is_opaque(plane: Plane, bit_depth: int) -> bool:
    """Whether an alpha plane [H, W] is fully opaque, to eight bits: ffmpeg converts 255 to 65532."""
    return int(plane.min()) >> (bit_depth - 8) == 255


class BlockAlpha:
    """Alpha of VP8 and VP9 in WebM: a second video in the BlockAdditions, whose luma is the alpha. ffmpeg's native
    decoders of the two ignore it.

    Args:
        codec: "vp8" or "vp9".
    """

    @classmethod
    def of(cls, stream: av.VideoStream) -> "BlockAlpha | None":
        """The decoder for a stream that is tagged with alpha_mode 1; None for any other."""
        tags = {key.lower(): value for key, value in stream.metadata.items()}  # upper case after a stream copy
        if tags.get("alpha_mode") != "1" or stream.codec_context is None:
            return None
        codec = stream.codec_context.codec.canonical_name
        return cls(codec) if codec in ("vp8", "vp9") else None

    def __init__(self, codec: str) -> None:
        self._decoder = cast("av.VideoCodecContext", av.CodecContext.create(codec, "r"))
        self._decoder.thread_count = 1  # each picture comes out at once
        self._transparent: set[int] = set()

    def feed(self, packet: "av.Packet[av.VideoStream]") -> None:
        """Decodes the alpha of a packet."""
        data = bytes(packet.get_sidedata("matroska_block_additional"))
        if packet.pts is None or not data.startswith(_ALPHA_ID):
            return
        alpha: Any = av.Packet(data[len(_ALPHA_ID) :])
        alpha.pts = packet.pts
        try:
            frames = self._decoder.decode(alpha)
        except av.FFmpegError:  # damaged alpha; the picture itself can still be read
            return
        for frame in frames:
            rows = np.frombuffer(cast("Any", frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)
            if frame.pts is not None and not is_opaque(rows[: frame.height, : frame.width], 8):
                self._transparent.add(frame.pts)

    def is_opaque(self, frame: av.VideoFrame) -> bool:
        """Whether a decoded picture is opaque; call it once per picture."""
        if frame.pts not in self._transparent:
            return True
        self._transparent.remove(frame.pts)
        return False

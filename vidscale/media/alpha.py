"""Transparency: no encoder here codes it, so it is looked for in every picture of a source that may have it."""

from typing import Any, Literal, cast

import av
import numpy as np

from vidscale.media.frames import Plane

Alpha = Literal["refuse", "drop"]
ALPHA_REMEDY = "which H.264, H.265 and AV1 cannot hold here; --alpha drop codes the colours alone"

_ALPHA_ID = (1).to_bytes(8, "big")  # BlockAddID of alpha in WebM


def is_opaque(plane: Plane, bit_depth: int) -> bool:
    """Whether an alpha plane [H, W] lets nothing shine through, to eight bits: ffmpeg makes 65532 of 255."""
    return int(plane.min()) >> (bit_depth - 8) == 255


class AlphaBeside:
    """Alpha that WebM keeps beside the pictures of VP8 and VP9: a video of its own, whose luma it is. ffmpeg's own
    decoders of the two pass over it.

    Args:
        codec: "vp8" or "vp9".
    """

    @classmethod
    def of(cls, stream: av.VideoStream) -> "AlphaBeside | None":
        """For a stream that says that it has such alpha."""
        said = {key.lower(): value for key, value in stream.metadata.items()}  # in capitals once it was copied
        if said.get("alpha_mode") != "1" or stream.codec_context is None:
            return None
        codec = stream.codec_context.codec.canonical_name
        return cls(codec) if codec in ("vp8", "vp9") else None

    def __init__(self, codec: str) -> None:
        self._decoder = cast("av.VideoCodecContext", av.CodecContext.create(codec, "r"))
        self._decoder.thread_count = 1  # each picture comes out at once
        self._transparent: set[int] = set()

    def feed(self, packet: "av.Packet[av.VideoStream]") -> None:
        """Looks at the alpha that comes with a packet."""
        data = bytes(packet.get_sidedata("matroska_block_additional"))
        if packet.pts is None or not data.startswith(_ALPHA_ID):
            return
        beside: Any = av.Packet(data[len(_ALPHA_ID) :])
        beside.pts = packet.pts
        try:
            frames = self._decoder.decode(beside)
        except av.FFmpegError:  # damage; the picture itself is read all the same
            return
        for frame in frames:
            rows = np.frombuffer(cast("Any", frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)
            if frame.pts is not None and not is_opaque(rows[: frame.height, : frame.width], 8):
                self._transparent.add(frame.pts)

    def is_opaque(self, frame: av.VideoFrame) -> bool:
        """Whether a decoded picture is; to be asked once."""
        if frame.pts not in self._transparent:
            return True
        self._transparent.remove(frame.pts)
        return False

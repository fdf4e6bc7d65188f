"""Pictures embedded in pages."""

import base64
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An encoded image.

    Attributes:
        data: content of the file.
        media_type: "image/webp" or "image/png".
        width, height: pixels.
    """

    data: bytes
    media_type: str
    width: int
    height: int

    @property
    def data_uri(self) -> str:
        """The image as a data URI."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"


def encode_image(frame: "av.VideoFrame", quality: int | None) -> EncodedImage:
    """Encodes a frame as WebP, or as PNG if PyAV was built without libwebp.

    Args:
        frame: in any format that swscale converts to RGB; convert it to bgra or rgb24 first if matrix and range matter.
        quality: WebP quality, 0 to 100; None for lossless.
    """
    import av

    webp = "libwebp" in av.codecs_available
    rgb = frame.reformat(format="bgra" if webp else "rgb24")
    encoder = av.CodecContext.create("libwebp" if webp else "png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = rgb.width, rgb.height, rgb.format.name
    encoder.time_base = Fraction(1, 25)
    if webp:
        # Level 0 is six times as fast as the default, and files are a seventh larger.
        lossless = {"lossless": "1", "compression_level": "0"}
        encoder.options = lossless if quality is None else {"quality": str(quality)}
    data = b"".join(bytes(packet) for packet in [*encoder.encode(rgb), *encoder.encode(None)])
    return EncodedImage(data, "image/webp" if webp else "image/png", rgb.width, rgb.height)

"""The data exchanged by the stages: `Frame`, one picture (`YuvImage`) of a video, and `VideoInfo`, its properties.

Planes are host arrays (numpy). The CPU operations work on them in place, without importing torch, which
takes more than a second per run; a GPU operation uploads them.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Chroma = Literal["420", "422", "444", "gray"]
Siting = Literal["left", "center", "topleft", "top", "bottomleft", "bottom"]

ASSUMED_FRAME_RATE = Fraction(25)
"""Frames per second of a video whose rate is unknown: what ffmpeg assumes for raw video and y4m."""

_SUBSAMPLING: dict[Chroma, tuple[int, int]] = {"420": (2, 2), "422": (1, 2), "444": (1, 1), "gray": (1, 1)}
# Distance of the first chroma sample from the top / left edge, in luma samples (H.273, chroma_sample_loc_type).
_SITING_OFFSET: dict[Siting, tuple[Fraction, Fraction]] = {
    "left": (Fraction(1), Fraction(1, 2)),
    "center": (Fraction(1), Fraction(1)),
    "topleft": (Fraction(1, 2), Fraction(1, 2)),
    "top": (Fraction(1, 2), Fraction(1)),
    "bottomleft": (Fraction(3, 2), Fraction(1, 2)),
    "bottom": (Fraction(3, 2), Fraction(1)),
}


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """Layout of a planar YUV or gray picture.

    Attributes:
        chroma: "420", "422", "444" or "gray".
        bit_depth: bits per sample, 8 to 16; above 8 samples are uint16 with the code in the low bits.
    """

    chroma: Chroma
    bit_depth: int

    @property
    def name(self) -> str:
        """ffmpeg's pix_fmt, such as ``yuv420p10le`` or ``gray``."""
        depth = "" if self.bit_depth == 8 else f"{self.bit_depth}le"
        return f"gray{depth}" if self.chroma == "gray" else f"yuv{self.chroma}p{depth}"

    @property
    def dtype(self) -> npt.DTypeLike:
        return np.uint8 if self.bit_depth == 8 else np.uint16

    @property
    def peak(self) -> int:
        """Highest code, 2**bit_depth - 1."""
        return (1 << self.bit_depth) - 1

    @property
    def subsampling(self) -> tuple[int, int]:
        """Luma samples per chroma sample, (vertical, horizontal)."""
        return _SUBSAMPLING[self.chroma]

    def plane_shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """Shapes (h, w) of the planes of a picture of that size; odd sizes round up."""
        if self.chroma == "gray":
            return ((height, width),)
        sub_y, sub_x = self.subsampling
        chroma = (-(-height // sub_y), -(-width // sub_x))
        return ((height, width), chroma, chroma)

    def frame_bytes(self, height: int, width: int) -> int:
        """Bytes of one picture without padding."""
        return sum(h * w for h, w in self.plane_shapes(height, width)) * np.dtype(self.dtype).itemsize

    def siting(self, location: Siting) -> tuple[tuple[Fraction, Fraction], ...]:
        """Per plane, distance (y, x) of the first sample's centre from the picture's edge, in that plane's samples.

        1/2 is a sample centred in its cell. An axis that is not subsampled is always 1/2.
        """
        half = (Fraction(1, 2), Fraction(1, 2))
        if self.chroma == "gray":
            return (half,)
        chroma = (
            offset / sub if sub > 1 else Fraction(1, 2)
            for offset, sub in zip(_SITING_OFFSET[location], self.subsampling, strict=True)
        )
        y, x = chroma
        return (half, (y, x), (y, x))


@dataclass(frozen=True, slots=True)
class Color:
    """Colour description in ffmpeg's names (ITU-T H.273); None when the source does not specify it.

    Attributes:
        color_range: "tv" (limited) or "pc" (full).
        matrix: such as "bt709", "bt470bg", "bt2020nc".
        primaries: such as "bt709", "bt2020".
        transfer: such as "bt709", "smpte2084" (PQ), "arib-std-b67" (HLG).
        chroma_location: siting of the chroma samples.
    """

    color_range: str | None = None
    matrix: str | None = None
    primaries: str | None = None
    transfer: str | None = None
    chroma_location: Siting | None = None

    @property
    def siting(self) -> Siting:
        """Chroma location to compute with: "left" when unspecified, as in MPEG-2 and later."""
        return self.chroma_location or "left"

    @property
    def is_hdr(self) -> bool:
        return self.transfer in ("smpte2084", "arib-std-b67")


@dataclass(frozen=True, slots=True)
class MasteringDisplay:
    """Mastering display colour volume (SMPTE ST 2086).

    Attributes:
        primaries: CIE 1931 (x, y) of red, green, blue; None when absent.
        white_point: CIE 1931 (x, y); None when absent.
        luminance: (min, max) in cd/m2; None when absent.
    """

    primaries: tuple[tuple[Fraction, Fraction], ...] | None
    white_point: tuple[Fraction, Fraction] | None
    luminance: tuple[Fraction, Fraction] | None


@dataclass(frozen=True, slots=True)
class ContentLight:
    """Content light level (CTA-861.3).

    Attributes:
        max_cll: maximum content light level, cd/m2.
        max_fall: maximum frame-average light level, cd/m2.
    """

    max_cll: int
    max_fall: int


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Properties of a video stream that are known before its frames are read.

    Attributes:
        width, height: picture size in luma samples, as coded (before rotation).
        format: pixel format of the frames that the decoding stage yields.
        color: colour description.
        time_base: unit of every pts, seconds; the stream's own or a part of it.
        frame_rate: average rate in 1/s, None when unknown; see `ASSUMED_FRAME_RATE`.
        sar: sample aspect ratio, width over height.
        display_matrix: nine integers (16.16 and 2.30 fixed point): how players rotate the picture; None when absent.
        mastering_display, content_light: static HDR metadata.
        frame_count: number of frames by the container, None when unknown.
        duration_s: length in seconds, None when unknown.
    """

    width: int
    height: int
    format: PixelFormat
    color: Color
    time_base: Fraction
    frame_rate: Fraction | None = None
    sar: Fraction = Fraction(1)
    display_matrix: tuple[int, ...] | None = None
    mastering_display: MasteringDisplay | None = None
    content_light: ContentLight | None = None
    frame_count: int | None = None
    duration_s: Fraction | None = None

    @property
    def frame_bytes(self) -> int:
        """Bytes of one picture without padding."""
        return self.format.frame_bytes(self.height, self.width)


@dataclass(frozen=True, slots=True)
class YuvImage:
    """Planes and their format.

    Attributes:
        planes: Y, or Y, U, V; each [H, W], uint8 (8 bit) or uint16 (codes in the low bits), unit stride along W.
        format: layout of the planes.
        color: colour description.
    """

    planes: tuple[Plane, ...] = field(repr=False)
    format: PixelFormat
    color: Color = field(default=Color(), kw_only=True)

    @property
    def height(self) -> int:
        return int(self.planes[0].shape[0])

    @property
    def width(self) -> int:
        return int(self.planes[0].shape[1])


@dataclass(frozen=True, slots=True)
class Frame(YuvImage):
    """One picture of a video.

    Attributes:
        pts: presentation time in units of `time_base`.
        time_base: seconds per unit of `pts`.
        pict_type: "I", "P", "B" as decoded, "" when unknown.
        key_frame: a decoder can start here.
        corrupt: the decoder concealed damage in this picture.
        coded_bytes: size of this picture's packet, None when it was not decoded from one.
        duration: display duration in units of `time_base`, None when unknown.
        captions: closed captions, CTA-708 constructs of three bytes; see `vidscale.media.captions`.
        update: of the network that upscales this picture, as in the stream; b"" for the pair's own network.
    """

    pts: int
    time_base: Fraction
    pict_type: str = ""
    key_frame: bool = False
    corrupt: bool = False
    coded_bytes: int | None = None
    duration: int | None = None
    captions: bytes = b""
    update: bytes = b""

    @property
    def time(self) -> Fraction:
        """Presentation time in seconds."""
        return self.pts * self.time_base


def added_bytes(total: int | None, size: int | None) -> int | None:
    """A sum of coded sizes; None where one is unknown."""
    return None if total is None or size is None else total + size

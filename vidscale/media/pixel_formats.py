"""ffmpeg's pixel formats, and the planes that each is converted to."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import av
import numpy as np

from vidscale.errors import ConfigError
from vidscale.media.alpha import is_opaque
from vidscale.media.frames import Chroma, PixelFormat, Plane

_MOST_BITS = 16
# Chroma format to encode for each subsampling (vertical, horizontal). No encoder supports 4:1:1, 4:1:0 and 4:4:0:
# their chroma is interpolated to the next supported one, which loses nothing.
_CHROMA: dict[tuple[int, int], Chroma] = {
    (2, 2): "420",
    (1, 2): "422",
    (1, 1): "444",
    (1, 4): "422",
    (4, 4): "420",
    (2, 1): "444",
}
_PLANAR_NAMES = {(2, 2): "420", (1, 2): "422", (1, 1): "444", (1, 4): "411", (4, 4): "410", (2, 1): "440"}


@dataclass(frozen=True, slots=True)
class Reading:
    """How pictures of a pixel format are read.

    Attributes:
        pix_fmt: ffmpeg's name of the format.
        planar: the format that they are losslessly repacked to: planar and little endian, except ya8 and ya16le, which
            have no planar form.
        format: format of the resulting planes: same bit depth, chroma 4:2:0, 4:2:2 or 4:4:4.
        subsampling: luma samples per chroma sample in the source, (vertical, horizontal).
        is_rgb: RGB, which is converted to YUV.
        has_alpha: there is an alpha component, or a palette that may have alpha.
    """

    pix_fmt: str
    planar: str
    format: PixelFormat
    subsampling: tuple[int, int]
    is_rgb: bool
    has_alpha: bool

    @property
    def is_packed(self) -> bool:
        """Whether the pictures are repacked."""
        return self.pix_fmt != self.planar

    @property
    def doubled_axes(self) -> tuple[int, ...]:
        """Axes of the chroma planes (0 vertical, 1 horizontal) that are interpolated to twice the size."""
        return tuple(
            axis
            for axis, (has, gets) in enumerate(zip(self.subsampling, self.format.subsampling, strict=True))
            if has > gets
        )


@lru_cache
def reading_of(pix_fmt: str) -> Reading:
    """How pictures of a pixel format are read; ConfigError when it is not supported."""
    described = av.VideoFormat(pix_fmt)
    if pix_fmt == "pal8":  # its one component is an index
        return Reading(pix_fmt, "gbrap", PixelFormat("444", 8), (1, 1), is_rgb=True, has_alpha=True)
    _check(described)
    components = described.components
    depth = max(8, *(component.bits for component in components))
    has_alpha = any(component.is_alpha for component in components)
    # The chroma size of a 16x16 picture gives the subsampling.
    subsampling = (16 // described.chroma_height(16), 16 // described.chroma_width(16))
    chroma: Chroma = "gray" if len(components) <= 2 else _CHROMA[subsampling]
    return Reading(
        pix_fmt,
        _planar(described, depth, subsampling, has_alpha=has_alpha),
        PixelFormat(chroma, depth),
        subsampling,
        is_rgb=described.is_rgb,
        has_alpha=has_alpha,
    )


def _planar(described: av.VideoFormat, depth: int, subsampling: tuple[int, int], *, has_alpha: bool) -> str:
    if described.name.startswith("yuvj"):  # implies full range, which repacking would convert to limited
        return described.name
    end = "" if depth == 8 else f"{depth}le"
    if described.is_rgb:
        return f"gbr{'ap' if has_alpha else 'p'}{end}"
    if len(described.components) <= 2:
        return f"ya{end or '8'}" if has_alpha else f"gray{end}"
    return f"yuv{'a' if has_alpha else ''}{_PLANAR_NAMES[subsampling]}p{end}"


def _check(described: av.VideoFormat) -> None:
    """Raises ConfigError for formats that are not integer YUV, gray or RGB."""
    name = described.name
    bits = max((component.bits for component in described.components), default=0)
    if not bits:
        problem = "is in GPU memory; download it first"
    elif described.is_bayer:
        problem = "is raw sensor data (Bayer); convert it to RGB first"
    elif "f16" in name or "f32" in name:
        problem = "has floating-point samples; convert it to RGB or gray of 16 bits first"
    elif bits > _MOST_BITS:
        problem = f"has {bits} bits per sample; up to {_MOST_BITS} are supported, convert it first"
    elif name.startswith("xyz"):
        problem = "is CIE XYZ (digital cinema); convert it to RGB first"
    elif described.is_rgb and described.is_bit_stream:
        problem = "has pixels of 4 bits, which are not supported; convert it to rgb24 first"
    else:
        return
    raise ConfigError(f"pixel format {name} {problem}")


def planes_of(frame: av.VideoFrame, reading: Reading) -> tuple[Plane, ...]:
    """Views of the memory of a repacked picture, each [H, W] with padded rows; alpha, if any, is the last."""
    dtype: np.dtype[Any] = np.dtype(reading.format.dtype)
    sub_y, sub_x = reading.subsampling
    chroma = -(-frame.height // sub_y), -(-frame.width // sub_x)
    planes: list[Plane] = []
    for index, plane in enumerate(frame.planes):
        if plane.line_size < 0:
            raise ConfigError("pictures stored bottom up are not supported; convert the source first")
        height, width = chroma if index in (1, 2) else (frame.height, frame.width)
        rows = np.frombuffer(cast("Any", plane), dtype).reshape(-1, plane.line_size // dtype.itemsize)
        if reading.planar.startswith("ya"):
            planes += [np.ascontiguousarray(rows[:height, first : 2 * width : 2]) for first in (0, 1)]
        else:
            planes.append(rows[:height, :width])
    return tuple(planes)


def are_opaque(planes: tuple[Plane, ...], reading: Reading) -> bool:
    """Whether the planes of a picture have no alpha, or an opaque one."""
    return not reading.has_alpha or is_opaque(planes[-1], reading.format.bit_depth)

"""Reads and writes PNG, JPEG, WebP and TIFF files of 8 and 16 bits with their metadata, using libvips; reads BMP.

Nothing is converted: pictures that are neither gray nor RGB are refused.
"""

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from vidscale.errors import DecodeError, EncodeError
from vidscale.images import bmp
from vidscale.images.metadata import is_animated, is_tiff_of_ycbcr
from vidscale.images.png import carried_chunks, with_chunks
from vidscale.media.frames import Plane

PictureFormat = Literal["png", "jpeg", "webp", "tiff"]

FORMATS: dict[str, PictureFormat] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
}
READ = {*FORMATS, ".bmp", ".dib"}
SUFFIXES: dict[PictureFormat, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}
JPEG_QUALITY = 95

_COLORS = {"b-w": 1, "grey16": 1, "srgb": 3, "rgb": 3, "rgb16": 3}
_KEPT = {"xmp-data", "iptc-data", "icc-profile-data", "photoshop-data", "image-description"}
_KEPT |= {"orientation", "resolution-unit"}
_XMP = "xmp-data"
_UNKNOWN_RESOLUTION = 1.0, 1.0  # samples per mm: libvips's value for a file without one
_USUAL_RESOLUTION = 72 / 25.4, 72 / 25.4  # what it then writes for PNG


class Field(NamedTuple):
    """A metadata field, with libvips's name and type."""

    name: str
    type: int
    value: Any


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture in memory.

    Attributes:
        planes: gray, or R, G, B; each [H, W], uint8 (8 bit) or uint16 (16 bit), as stored, orientation not applied.
        alpha: [H, W] of the same type, not premultiplied; None for an opaque picture.
        fields: EXIF, ICC profile, XMP, IPTC, description, orientation.
        png_chunks: text, gamma and colour chunks of a PNG, verbatim.
        resolution: (horizontal, vertical), samples per mm.
        notes: messages for the user about how it was read.
    """

    planes: tuple[Plane, ...] = field(repr=False)
    alpha: Plane | None = field(default=None, repr=False)
    fields: tuple[Field, ...] = field(default=(), repr=False)
    png_chunks: bytes = field(default=b"", repr=False)
    resolution: tuple[float, float] = _USUAL_RESOLUTION
    notes: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        return int(self.planes[0].shape[0])

    @property
    def width(self) -> int:
        return int(self.planes[0].shape[1])

    @property
    def bit_depth(self) -> int:
        """8 or 16."""
        return 8 * self.planes[0].itemsize

    @property
    def xmp(self) -> bytes | None:
        """The XMP packet."""
        return next((bytes(found.value) for found in self.fields if found.name == _XMP), None)

    def with_xmp(self, packet: bytes | None) -> "Picture":
        """A copy with this XMP packet; None removes it."""
        import pyvips

        others = tuple(found for found in self.fields if found.name != _XMP)
        added = () if packet is None else (Field(_XMP, pyvips.GValue.blob_type, packet),)
        return replace(self, fields=others + added)

    def rgb(self) -> npt.NDArray[np.float32]:
        """[3, H, W] in [0, 1], for the metrics and networks; gray is repeated three times."""
        rgb = np.empty((3, self.height, self.width), np.float32)
        for channel, plane in zip(rgb, self.planes if len(self.planes) == 3 else self.planes * 3, strict=True):
            np.divide(plane, np.float32((1 << self.bit_depth) - 1), out=channel)
        return rgb


def decode_picture(data: bytes) -> Picture:
    """Decodes a picture file.

    Raises:
        DecodeError: broken, unsupported format, animated, or not 8- or 16-bit gray or RGB.
    """
    import pyvips

    if data.startswith(bmp.SIGNATURE):
        samples, had_palette = bmp.bmp_samples(data)
        return _picture(samples, samples.shape[2] - (samples.shape[2] == 4), had_palette=had_palette)
    try:
        image = pyvips.Image.new_from_buffer(data, "", fail_on="error")
        bands = _bands(image, data)
        pixels = image.numpy()
    except pyvips.Error as error:
        raise DecodeError(f"cannot be read: {_reason(error)}") from error
    picture = _picture(np.atleast_3d(pixels), bands, had_palette=bool(image.get_typeof("palette")))
    return replace(
        picture, fields=tuple(_fields(image)), png_chunks=carried_chunks(data), resolution=_resolution(image)
    )


def _picture(samples: Plane, bands: int, *, had_palette: bool) -> Picture:
    """The picture of [H, W, channels], the first `bands` of them colours."""
    planes = tuple(np.ascontiguousarray(plane) for plane in np.moveaxis(samples, 2, 0))
    return Picture(
        planes=planes[:bands],
        alpha=planes[bands] if len(planes) > bands else None,
        notes=("palette converted to RGB",) if had_palette else (),
    )


def encode_picture(picture: Picture, picture_format: PictureFormat, *, quality: int | None = None) -> bytes:
    """Encodes a picture as a file.

    Args:
        picture: what to write.
        picture_format: file format.
        quality: 1 to 100 for JPEG (None is 95) and lossy WebP (None is lossless); other formats are lossless.

    Raises:
        EncodeError: the format does not support the picture's bit depth or alpha.
    """
    import pyvips

    if picture_format in ("jpeg", "webp") and picture.bit_depth > 8:
        raise EncodeError(f"{picture_format.upper()} has 8 bits, not {picture.bit_depth}: choose PNG or TIFF")
    if picture_format == "jpeg" and picture.alpha is not None:
        raise EncodeError("JPEG does not support transparency: choose PNG, WebP or TIFF")
    planes = picture.planes if picture.alpha is None else (*picture.planes, picture.alpha)
    interpretation = {(1, 8): "b-w", (3, 8): "srgb", (1, 16): "grey16", (3, 16): "rgb16"}
    try:
        image = pyvips.Image.new_from_array(
            np.stack(planes, axis=2), interpretation=interpretation[len(picture.planes), picture.bit_depth]
        ).copy(xres=picture.resolution[0], yres=picture.resolution[1])
        for item in picture.fields:
            if item.name != _XMP or picture_format != "png":
                image.set_type(item.type, item.name, item.value)
        coded = bytes(image.write_to_buffer(SUFFIXES[picture_format], **_options(picture, picture_format, quality)))
    except pyvips.Error as error:
        raise EncodeError(f"cannot be written as {picture_format.upper()}: {_reason(error)}") from error
    return with_chunks(coded, picture.png_chunks, picture.xmp) if picture_format == "png" else coded


def _options(picture: Picture, picture_format: PictureFormat, quality: int | None) -> dict[str, Any]:
    import pyvips

    everything = pyvips.enums.ForeignKeep.ALL
    # libvips writes an EXIF block even if the picture has none; only the orientation needs one.
    named = {found.name: found.value for found in picture.fields}
    needs_exif = "exif-data" in named or named.get("orientation", 1) != 1
    options: dict[str, Any] = {"keep": everything if needs_exif else everything & ~pyvips.enums.ForeignKeep.EXIF}
    if picture_format == "jpeg":
        options |= {"Q": quality or JPEG_QUALITY, "subsample_mode": "off", "optimize_coding": True}
    elif picture_format == "webp":
        options |= {"exact": True} | ({"lossless": True} if quality is None else {"Q": quality})
    elif picture_format == "tiff":
        options |= {"compression": "deflate", "predictor": "horizontal", "resunit": "inch"}
    return options


def _bands(image: Any, data: bytes) -> int:
    """Number of colour bands; DecodeError for an unsupported picture."""
    loader = image.get("vips-loader").partition("load")[0]
    if loader not in SUFFIXES:
        raise DecodeError(f"is {loader.upper()}: convert it to PNG, JPEG, WebP or TIFF")
    pages = image.get("n-pages") if image.get_typeof("n-pages") else 1
    if pages > 1 or is_animated(data):
        raise DecodeError("has more than one page or frame: split it into single pictures")
    if is_tiff_of_ycbcr(data):
        raise DecodeError("is TIFF of YCbCr: convert it to gray or RGB")
    colors = _COLORS.get(image.interpretation, 0)
    if not colors or image.bands not in (colors, colors + 1):
        raise DecodeError(f"is {image.interpretation.upper()} with {image.bands} channels: convert it to gray or RGB")
    if image.format not in ("uchar", "ushort"):
        raise DecodeError(f"has samples of type {image.format}: convert it to 8 or 16 bits")
    return colors


def _fields(image: Any) -> list[Field]:
    names = (name for name in image.get_fields() if name in _KEPT or name.startswith("exif-"))
    return [Field(name, image.get_typeof(name), image.get(name)) for name in names]


def _resolution(image: Any) -> tuple[float, float]:
    resolution = float(image.xres), float(image.yres)
    if resolution == _UNKNOWN_RESOLUTION and image.get_typeof("exif-ifd0-XResolution"):
        resolution = _exif_resolution(image)  # libvips ignores it for WebP
    return _USUAL_RESOLUTION if resolution == _UNKNOWN_RESOLUTION else resolution


def _exif_resolution(image: Any) -> tuple[float, float]:
    """Resolution in EXIF; unknown if it is not positive. libvips fills in the unknown one where EXIF has none."""
    try:
        x, y = (Fraction(image.get(f"exif-ifd0-{axis}Resolution").split()[0]) for axis in "XY")
    except (ValueError, ZeroDivisionError, IndexError):
        return _UNKNOWN_RESOLUTION
    unit_mm = 10 if image.get("exif-ifd0-ResolutionUnit").startswith("3") else 25.4
    return (float(x) / unit_mm, float(y) / unit_mm) if x > 0 and y > 0 else _UNKNOWN_RESOLUTION


def _reason(error: Any) -> str:
    """The last line of libvips's message, which names the cause."""
    lines = [line.strip() for line in str(error.detail).splitlines() if line.strip()]
    return lines[-1].removeprefix("VipsForeignLoad: ") if lines else str(error.message)

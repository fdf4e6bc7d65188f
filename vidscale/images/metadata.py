"""Lists the metadata of picture files by walking their chunks, to report what a conversion loses.

The files have already been decoded, or were written by libvips; a broken chunk ends the walk.
"""

import struct
from collections.abc import Iterator

from vidscale.images import bmp, png
from vidscale.images.png import TEXT

_PNG = {b"iCCP": "ICC profile", b"eXIf": "EXIF", b"cICP": "colour tags (cICP)"} | dict.fromkeys(TEXT, "text")
_JPEG = {
    (0xE1, b"Exif\0"): "EXIF",
    (0xE1, b"http://ns.adobe.com/xap/1.0/\0"): "XMP",
    (0xE1, b"http://ns.adobe.com/xmp/extension/\0"): "extended XMP",
    (0xE2, b"ICC_PROFILE\0"): "ICC profile",
    (0xE2, b"MPF\0"): "further pictures (MPF)",
    (0xED, b"Photoshop 3.0\0"): "IPTC",
    (0xFE, b""): "comment",
}
_WEBP = {b"ICCP": "ICC profile", b"EXIF": "EXIF", b"XMP ": "XMP"}
_TIFF = {34665: "EXIF", 34853: "EXIF", 700: "XMP", 34675: "ICC profile", 33723: "IPTC"}
_TIFF |= {270: "description", 271: "camera", 272: "camera", 306: "date", 315: "artist", 33432: "copyright"}
_COMPRESSION, _PHOTOMETRIC, _YCBCR, _TIFF_JPEG = 259, 262, 6, (6, 7)
_START_OF_SCAN = 0xDA


def lost(source: bytes, result: bytes) -> list[str]:
    """Kinds of metadata that the source has and the result lacks, in words, sorted."""
    return sorted(set(held(source)) - set(held(result)))


def held(data: bytes) -> Iterator[str]:
    """Kinds of metadata in a PNG, JPEG, WebP or TIFF file, in words; BMP has none."""
    if data.startswith(bmp.SIGNATURE):
        return iter(())
    if data.startswith(png.SIGNATURE):
        return _in_png(data)
    if data.startswith(b"\xff\xd8"):
        return _in_jpeg(data)
    if data.startswith(b"RIFF"):
        return (_WEBP[name] for name, _ in _webp_chunks(data) if name in _WEBP)
    return (_TIFF[tag] for tag, _ in _tiff_tags(data) if tag in _TIFF)


def is_animated(data: bytes) -> bool:
    """Whether a PNG is animated; libvips reads only its first frame."""
    return data.startswith(png.SIGNATURE) and any(name == b"acTL" for name, _ in png.chunks(data))


def is_tiff_of_ycbcr(data: bytes) -> bool:
    """Whether a TIFF holds YCbCr outside JPEG; libvips takes its codes for RGB."""
    tags = dict(_tiff_tags(data))
    return tags.get(_PHOTOMETRIC) == _YCBCR and tags.get(_COMPRESSION) not in _TIFF_JPEG


def _in_png(data: bytes) -> Iterator[str]:
    names = set()
    for name, content in png.chunks(data):
        names.add(name)
        if name in _PNG:
            yield "XMP" if content.startswith(png.XMP_KEYWORD) else _PNG[name]
    if b"gAMA" in names and not names & {b"sRGB", b"iCCP", b"cICP"}:
        yield "gamma"


def _in_jpeg(data: bytes) -> Iterator[str]:
    for marker, content in _jpeg_segments(data):
        for (wanted, beginning), word in _JPEG.items():
            if marker == wanted and content.startswith(beginning):
                yield word


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, content) of each segment before the scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _START_OF_SCAN:
        (length,) = struct.unpack_from(">H", data, at + 2)
        yield data[at + 1], data[at + 4 : at + 2 + length]
        at += length + 2


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, content) of each chunk."""
    at = 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _tiff_tags(data: bytes) -> Iterator[tuple[int, int]]:
    """Tags of the first IFD, each with its value if that is one 16-bit number; none for BigTIFF."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        return
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    if at + 2 > len(data):
        return
    (count,) = struct.unpack_from(f"{order}H", data, at)
    for entry in range(at + 2, min(at + 2 + 12 * count, len(data) - 9), 12):
        yield struct.unpack_from(f"{order}H6xH", data, entry)

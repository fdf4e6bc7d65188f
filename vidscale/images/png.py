"""PNG chunks that libvips does not copy, or does not write to the specification.

libvips drops gamma and colour chunks, and writes XMP and all text as Latin-1.
"""

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP_KEYWORD = b"XML:com.adobe.xmp"
TEXT = frozenset({b"tEXt", b"zTXt", b"iTXt"})

_CARRIED = TEXT | {b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"tIME"}
_END_OF_IHDR = len(SIGNATURE) + 25


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of each chunk."""
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += length + 12


def carried_chunks(data: bytes) -> bytes:
    """Text, gamma, colour and time chunks of a PNG, verbatim, without XMP; empty for other files."""
    if not data.startswith(SIGNATURE):
        return b""
    found = ((name, content) for name, content in chunks(data) if name in _CARRIED)
    return b"".join(_chunk(name, content) for name, content in found if not content.startswith(XMP_KEYWORD))


def with_chunks(png: bytes, carried: bytes, xmp: bytes | None) -> bytes:
    """A PNG file with these chunks, and with XMP, inserted after IHDR."""
    packet = b"" if xmp is None else _chunk(b"iTXt", XMP_KEYWORD + bytes(5) + xmp)
    return png[:_END_OF_IHDR] + carried + packet + png[_END_OF_IHDR:]


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

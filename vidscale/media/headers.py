"""Headers of the elements of Matroska (EBML, RFC 8794) and of the boxes of MP4 (ISO/IEC 14496-12, 4.2)."""

from typing import NamedTuple

HEADER_BYTES = 16  # longest header: a box's length, type and 64-bit length


class Header(NamedTuple):
    """The header of an element or a box.

    Attributes:
        name: ID of an element, marker bit included, or type of a box.
        size: of the header, bytes.
        length: of header and content, bytes; None when it reaches to the end of what contains it.
    """

    name: bytes
    size: int
    length: int | None


def element_header(data: bytes) -> Header | None:
    """The header at the beginning of ``data``, which should be `HEADER_BYTES`; None when there is no valid one."""
    name = _width(data[:1])
    size = name + _width(data[name : name + 1])
    if not 1 <= name <= 4 or not name < size <= len(data):
        return None
    bits = 7 * (size - name)
    content = int.from_bytes(data[name:size], "big") & ((1 << bits) - 1)
    return Header(data[:name], size, None if content == (1 << bits) - 1 else size + content)  # all ones: unknown


def _width(first: bytes) -> int:
    """Bytes of an EBML number: the leading zeros of its first byte plus one; 0 for none."""
    return 9 - first[0].bit_length() if first and first[0] else 0


def box_header(data: bytes) -> Header | None:
    """The header at the beginning of ``data``, which should be `HEADER_BYTES`; None when there is no valid one."""
    length, name, size = int.from_bytes(data[:4], "big"), data[4:8], 8
    if length == 1:
        length, size = int.from_bytes(data[8:16], "big"), 16
    if size > len(data) or 0 < length < size:
        return None
    return Header(name, size, length or None)

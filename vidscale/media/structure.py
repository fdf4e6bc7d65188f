"""Detection of truncated media files from the structure of the container; nothing is decoded.

Matroska and WebM (RFC 9559) are nested elements, MP4 and MOV nested boxes, MPEG-TS packets of one size
(ISO/IEC 13818-1), FLV tags, each followed by its size.
"""

from pathlib import Path
from typing import BinaryIO

from vidscale.media.headers import HEADER_BYTES, box_header, element_header

_EBML = bytes.fromhex("1a45dfa3")
_SEGMENT = bytes.fromhex("18538067")
_FRAGMENT_BOXES = {b"moof", b"mdat"}
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))  # bytes, and offset of the sync byte: plain, M2TS, with parity
_TS_SYNC = 0x47


def lacks_bytes(path: Path, container: str) -> bool:
    """Whether a file ends within an element, box or packet.

    Args:
        path: the file.
        container: ffmpeg's names of its format.
    """
    if not path.is_file():
        return False
    with path.open("rb") as file:
        size = path.stat().st_size
        if container == "matroska,webm":
            segment = _segment(file)
            return segment is not None and segment[1] > size
        if container.startswith("mov,"):
            return _lacks_fragments(file, size)
        return container == "mpegts" and not _ends_with_packets(file, size)


def ends_in_order(path: Path, container: str) -> bool:
    """Whether a file is well formed up to its end; False when the structure does not show it."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        size = path.stat().st_size
        if container == "matroska,webm":
            return _has_whole_elements(file, size)
        return container == "flv" and _ends_with_tag(file, size)


def _segment(file: BinaryIO) -> tuple[int, int] | None:
    """Start and end of the content of a Matroska segment; None when its size is unknown, as in live recordings."""
    header = _element(file, 0)
    if header is None or header[0] != _EBML:
        return None
    segment = _element(file, header[2])
    return segment[1:] if segment and segment[0] == _SEGMENT else None


def _has_whole_elements(file: BinaryIO, size: int) -> bool:
    segment = _segment(file)
    if segment is None:
        return False
    at, end = segment
    while at < min(end, size):
        element = _element(file, at)
        if element is None:
            return False
        at = element[2]
    return at == end <= size


def _element(file: BinaryIO, at: int) -> tuple[bytes, int, int] | None:
    """ID of an element, start and end of its content; None for no element, or one of unknown length."""
    header = element_header(_head(file, at))
    if header is None or header.length is None:
        return None
    return header.name, at + header.size, at + header.length


def _head(file: BinaryIO, at: int) -> bytes:
    file.seek(at)
    return file.read(HEADER_BYTES)


def _lacks_fragments(file: BinaryIO, size: int) -> bool:
    """Whether a fragmented MP4 file ends within a fragment. Other files have an index, which is more reliable."""
    at, in_fragments = 0, False
    while at + 8 <= size:
        header = box_header(_head(file, at))
        if header is None or header.length is None:
            return False
        in_fragments |= header.name == b"moof"
        at += header.length
        if at > size:
            return in_fragments and header.name in _FRAGMENT_BOXES
    return in_fragments and at < size


def _ends_with_packets(file: BinaryIO, size: int) -> bool:
    for length, sync in _TS_PACKETS:
        if size % length == 0:
            return True
        ends = [size - number * length + sync for number in (1, 2, 3)]  # when the beginning is missing
        if min(ends) >= 0 and all(_byte(file, at) == _TS_SYNC for at in ends):
            return True
    return False


def _byte(file: BinaryIO, at: int) -> int:
    file.seek(at)
    return file.read(1)[0]


def _ends_with_tag(file: BinaryIO, size: int) -> bool:
    if size < 4:
        return False
    file.seek(size - 4)
    length = int.from_bytes(file.read(4), "big")
    if not 11 <= length <= size - 4:
        return False
    file.seek(size - 4 - length)
    header = file.read(4)
    return header[0] in (8, 9, 18) and int.from_bytes(header[1:], "big") == length - 11

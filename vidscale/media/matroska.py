"""How long a Matroska or WebM file says that it is (EBML, RFC 8794; Matroska, RFC 9559)."""

HEAD_BYTES = 256  # of a file, in which its segment begins: the header in front is of 30 to 50 bytes

_EBML = bytes.fromhex("1a45dfa3")
_SEGMENT = bytes.fromhex("18538067")


def segment_end(head: bytes) -> int | None:
    """Where the first segment ends, bytes from the beginning of the file.

    Args:
        head: the first `HEAD_BYTES` of the file, or all of it.

    Returns:
        None where the file does not say so, as live ones do not, or is none of these.
    """
    header = _element(head, 0, _EBML)
    if header is None or header[1] is None:
        return None
    segment = _element(head, header[0] + header[1], _SEGMENT)
    return segment[0] + segment[1] if segment and segment[1] is not None else None


def _element(data: bytes, at: int, name: bytes) -> tuple[int, int | None] | None:
    """Where the content of an element begins, and its length, None for an unknown one; None where there is another."""
    at += len(name)
    if data[at - len(name) : at] != name or at >= len(data) or not data[at]:
        return None
    width = 9 - data[at].bit_length()  # the first byte's leading zeros tell how many follow
    if at + width > len(data):
        return None
    bits = 7 * width
    length = int.from_bytes(data[at : at + width], "big") & ((1 << bits) - 1)
    return at + width, None if length == (1 << bits) - 1 else length

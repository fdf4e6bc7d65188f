"""Closed captions inside coded video: CTA-708 constructs in ITU-T T.35 messages of ATSC (A/53 part 4, 6.2.3).

libavcodec returns them with the pictures; raw pictures on a pipe lose them, so they are reinserted into the coded
packets, each in front of its picture. H.264 and H.265 carry them as SEI, AV1 as metadata OBUs.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator

from vidscale.media.units import Buffer, Codec, Unit, length_bytes, put_in_front, sei_nal, t35_obu, units

_USER_DATA_T35 = 4  # payloadType, H.264 and H.265 Annex D
_ATSC = b"\xb5\x00\x31GA94\x03"  # country USA, provider ATSC, user_identifier, user_data_type_code: cc_data()
_CONSTRUCT = 3  # bytes: marker, validity and type; two of data
_MOST_CONSTRUCTS = 31  # cc_count has five bits
_SHOW_EXISTING_FRAME, _SHOW_FRAME = 0x80, 0x10  # in the first byte of an AV1 frame header (5.9.2)


class Captions:
    """The captions of a video's pictures, by timestamp.

    Most pictures carry the same few padding bytes, which are stored once.
    """

    def __init__(self) -> None:
        self._pts, self._which = array("q"), array("L")
        self._texts: dict[bytes, int] = {}
        self._in_order: list[bytes] = []

    def add(self, pts: int, cc_data: bytes) -> None:
        """Adds the captions of the next picture.

        Args:
            pts: its timestamp, greater than all added before.
            cc_data: constructs of three bytes.
        """
        which = self._texts.setdefault(cc_data, len(self._in_order))
        if which == len(self._in_order):
            self._in_order.append(cc_data)
        self._pts.append(pts)
        self._which.append(which)

    def at(self, pts: int) -> bytes:
        """The captions of the picture with that timestamp, empty when it has none."""
        found = bisect_left(self._pts, pts)
        return self._in_order[self._which[found]] if self._pts[found : found + 1] == array("q", [pts]) else b""

    def items(self) -> Iterator[tuple[int, bytes]]:
        """Timestamps and captions, in order."""
        for pts, which in zip(self._pts, self._which, strict=True):
            yield pts, self._in_order[which]

    def __len__(self) -> int:
        return len(self._pts)


def insert(packet: Buffer, *, codec: Codec, extradata: Buffer | None, cc_data: bytes) -> bytes:
    """A copy of a packet with captions in front of its picture; in AV1 with several pictures, of the shown one.

    Args:
        packet: one coded packet as passed to a muxer.
        codec: "h264", "hevc" or "av1".
        extradata: the stream's, see `vidscale.media.units.length_bytes`.
        cc_data: constructs of three bytes.

    Raises:
        IdentityError: the extradata has neither form.
    """
    view = memoryview(packet)
    length_size = length_bytes(codec, extradata)
    pictures = [unit for unit in units(view, codec, length_size) if unit.role == "picture"]
    if not pictures:
        return bytes(packet)
    unit = pictures[0]
    if codec == "av1":
        unit = next((picture for picture in pictures if _is_shown(view, picture)), unit)
        message = b"".join(t35_obu(payload) for payload in _payloads(cc_data))
    else:
        temporal_id = (view[unit.body + 1] & 7) - 1 if codec == "hevc" else 0
        message = sei_nal(codec, _USER_DATA_T35, _payloads(cc_data), temporal_id=temporal_id)
    return put_in_front(view, unit, codec, length_size, message)


def _payloads(cc_data: bytes) -> list[bytes]:
    """Messages with a reserved bit, process_cc_data_flag, cc_count, a reserved byte, constructs and marker bits."""
    size = _CONSTRUCT * _MOST_CONSTRUCTS
    parts = [cc_data[at : at + size] for at in range(0, len(cc_data), size)]
    return [_ATSC + bytes([0xC0 | len(part) // _CONSTRUCT, 0xFF]) + part + b"\xff" for part in parts]


def _is_shown(view: memoryview, unit: Unit) -> bool:
    kind = view[unit.start] >> 3 & 0x0F
    if kind not in (3, 6):  # frame header, frame
        return False
    return bool(view[unit.body] & (_SHOW_EXISTING_FRAME | _SHOW_FRAME))

"""The units of a coded packet: NAL units of H.264 and H.265, OBUs of AV1; and messages put in front of a picture.

H.264 and H.265 packets are NAL units, length-prefixed (ISO/IEC 14496-15, as in MP4 and Matroska) or with start
codes (Annex B, as in MPEG-TS and raw streams); the extradata says which. AV1 packets are OBUs in the low-overhead
format (AV1 specification 5.2). Only headers are read, never a picture's data.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from vidscale.errors import IdentityError

Codec = Literal["h264", "hevc", "av1"]
Buffer = bytes | bytearray | memoryview

TRAILING_BITS = b"\x80"
_START_CODE = b"\x00\x00\x01"
_START_CODES = re.compile(_START_CODE)
_EMULATION = re.compile(rb"\x00\x00(?=[\x00-\x03])")
_EMULATION_PREVENTED = re.compile(rb"\x00\x00\x03")

_OBU_METADATA = 5
_OBU_PICTURES = frozenset({3, 4, 6, 7, 8})  # frame header, tile group, frame, redundant frame header, tile list
_OBU_METADATA_HEADER = b"\x2a"  # obu_type = OBU_METADATA, obu_has_size_field = 1
_METADATA_T35 = b"\x04"  # metadata_type


@dataclass(frozen=True, slots=True)
class _NalSyntax:
    """Where H.264 and H.265 differ (7.3.1 of each).

    Attributes:
        shift, mask: nal_unit_type is ``(first header byte >> shift) & mask``.
        sei: nal_unit_type of an SEI NAL unit that precedes its picture.
        pictures: nal_unit_types that a prefix SEI must precede.
        sei_header: the NAL unit header of such an SEI.
        delimiter: an access unit delimiter NAL unit, of a picture with slices of any type.
        length_size_at: byte of avcC / hvcC whose low two bits are lengthSizeMinusOne.
    """

    shift: int
    mask: int
    sei: int
    pictures: frozenset[int]
    sei_header: bytes
    delimiter: bytes
    length_size_at: int


_NAL_SYNTAX: dict[Codec, _NalSyntax] = {
    # 14, 20 and 21: prefix and slice extension NAL units, which belong to the slices (H.264 7.4.1.2.3).
    "h264": _NalSyntax(0, 0x1F, 6, frozenset({1, 2, 3, 4, 5, 14, 20, 21}), b"\x06", b"\x09\xf0", 4),
    # nuh_layer_id = 0, nuh_temporal_id_plus1 = 1.
    "hevc": _NalSyntax(1, 0x3F, 39, frozenset(range(32)), b"\x4e\x01", b"\x46\x01\x50", 21),
}


class Unit(NamedTuple):
    """A NAL unit or OBU inside a packet.

    Attributes:
        role: "picture": coded picture data; "message": SEI or metadata; "other": anything else.
        start: offset of its framing (length field, start code, OBU header).
        body: offset of the NAL unit header, or of the OBU's payload.
        end: offset past its last byte.
    """

    role: Literal["picture", "message", "other"]
    start: int
    body: int
    end: int


def length_bytes(codec: Codec, extradata: Buffer | None) -> int:
    """Bytes of a NAL unit's length field; 0 for start codes and for AV1.

    Args:
        codec: "h264", "hevc" or "av1".
        extradata: the stream's; avcC or hvcC means length-prefixed packets, None, empty or start codes mean
            Annex B. Ignored for AV1.

    Raises:
        IdentityError: the extradata has neither form.
        ValueError: unsupported codec.
    """
    if codec == "av1":
        return 0
    if codec not in _NAL_SYNTAX:
        raise ValueError(f"{codec = } is not h264, hevc or av1")
    head = bytes(memoryview(extradata or b"")[:32])
    if not head or head.startswith((_START_CODE, b"\x00" + _START_CODE)):
        return 0
    at = _NAL_SYNTAX[codec].length_size_at
    if len(head) <= at:
        raise IdentityError(f"{codec} extradata of {len(head)} bytes is neither a configuration record nor Annex B")
    return (head[at] & 3) + 1


def units(view: memoryview, codec: Codec, length_size: int) -> Iterator[Unit]:
    """The units of a packet in order; with start codes, those up to the first picture.

    Args:
        view: the packet.
        codec: its format.
        length_size: result of `length_bytes`.
    """
    if codec == "av1":
        return _obus(view)
    syntax = _NAL_SYNTAX[codec]
    return _length_prefixed(view, syntax, length_size) if length_size else _annex_b(view, syntax)


def _length_prefixed(view: memoryview, syntax: _NalSyntax, length_size: int) -> Iterator[Unit]:
    start = 0
    while (body := start + length_size) < len(view):
        end = min(body + int.from_bytes(view[start:body], "big"), len(view))
        if end > body:
            yield Unit(_nal_role(view[body], syntax), start, body, end)
        start = end


def _annex_b(view: memoryview, syntax: _NalSyntax) -> Iterator[Unit]:
    code = _START_CODES.search(view)
    while code and (body := code.end()) < len(view):
        role = _nal_role(view[body], syntax)
        # No search for the end of a picture: its data is nearly all of the packet.
        following = None if role == "picture" else _START_CODES.search(view, body)
        zero_byte = code.start() > 0 and view[code.start() - 1] == 0
        yield Unit(role, code.start() - zero_byte, body, following.start() if following else len(view))
        code = following


def _nal_role(first_byte: int, syntax: _NalSyntax) -> Literal["picture", "message", "other"]:
    kind = (first_byte >> syntax.shift) & syntax.mask
    if kind in syntax.pictures:
        return "picture"
    return "message" if kind == syntax.sei else "other"


def _obus(view: memoryview) -> Iterator[Unit]:
    start = 0
    while start < len(view):
        header = view[start]
        if header & 0x80:  # obu_forbidden_bit: not an OBU
            return
        body = start + 1 + (header >> 2 & 1)
        end = len(view)
        if header & 2:
            size = _read_leb128(view, body)
            if size is None:
                return
            value, body = size
            end = min(body + value, end)
        kind = header >> 3
        yield Unit("picture" if kind in _OBU_PICTURES else _obu_message(kind), start, body, end)
        start = end


def _obu_message(kind: int) -> Literal["message", "other"]:
    return "message" if kind == _OBU_METADATA else "other"


def put_in_front(view: memoryview, unit: Unit, codec: Codec, length_size: int, message: bytes) -> bytes:
    """A copy of a packet with one more unit in front of ``unit``.

    If it came first and its length field looked like a start code (00 00 01), an access unit delimiter is put in
    front: ffmpeg's raw-stream muxers would take the packet for Annex B and write it unchanged.

    Args:
        view: the packet.
        unit: one of `units`.
        codec: its format.
        length_size: result of `length_bytes`.
        message: an SEI NAL unit (`sei_nal`) or a metadata OBU (`t35_obu`).

    Raises:
        IdentityError: the message is too long for the packet's length fields.
    """
    framed = _framed(codec, length_size, message)
    if unit.start == 0 and length_size and framed.startswith(_START_CODE):
        framed = _prefixed(_NAL_SYNTAX[codec].delimiter, length_size) + framed
    return b"".join((view[: unit.start], framed, view[unit.start :]))


def _framed(codec: Codec, length_size: int, message: bytes) -> bytes:
    if codec == "av1":
        return message
    if length_size == 0:
        return b"\x00" + _START_CODE + message
    if len(message) >= 1 << 8 * length_size:
        raise IdentityError(f"an SEI of {len(message)} bytes does not fit a length field of {length_size} byte(s)")
    return _prefixed(message, length_size)


def _prefixed(nal: bytes, length_size: int) -> bytes:
    return len(nal).to_bytes(length_size, "big") + nal


def sei_nal(codec: Literal["h264", "hevc"], kind: int, payloads: Iterable[bytes], *, temporal_id: int = 0) -> bytes:
    """An SEI NAL unit without framing, with one message per payload.

    H.264: NAL unit 7.3.1, SEI 7.3.2.3. H.265: 7.3.1, 7.3.2.4, prefix SEI.

    Args:
        codec: "h264" or "hevc".
        kind: payloadType of the messages, Annex D of both.
        payloads: the messages.
        temporal_id: of the picture, H.265 only: that of an SEI must not be lower (7.4.2.2).
    """
    sizes = (b"\xff" * (len(payload) // 255) + bytes([len(payload) % 255]) + payload for payload in payloads)
    messages = b"".join(bytes([kind]) + sized for sized in sizes)
    header = _NAL_SYNTAX[codec].sei_header
    if codec == "hevc":
        header = header[:1] + bytes([header[1] + temporal_id])
    return header + _EMULATION.sub(b"\x00\x00\x03", messages + TRAILING_BITS)


def sei_messages(view: memoryview, unit: Unit, codec: Literal["h264", "hevc"]) -> Iterator[tuple[int, bytes]]:
    """payloadType and payload of each message in an SEI NAL unit; the last one may be truncated."""
    escaped = bytes(view[unit.body + len(_NAL_SYNTAX[codec].sei_header) : unit.end])
    rbsp = _EMULATION_PREVENTED.sub(b"\x00\x00", escaped).rstrip(b"\x00")
    at = 0
    while at < len(rbsp) - len(TRAILING_BITS):
        kind, at = _read_ff_coded(rbsp, at)
        size, at = _read_ff_coded(rbsp, at)
        yield kind, rbsp[at : at + size]
        at += size


def t35_obu(payload: bytes) -> bytes:
    """A metadata OBU of the ITU-T T.35 type; the payload begins with the country code (AV1 5.3.1, 5.8.2, 5.3.4)."""
    body = _METADATA_T35 + payload + TRAILING_BITS
    return _OBU_METADATA_HEADER + _leb128(len(body)) + body


def t35_payload(view: memoryview, unit: Unit) -> bytes | None:
    """The payload of `t35_obu`; None for metadata of another type."""
    body = bytes(view[unit.body : unit.end])
    if not body.startswith(_METADATA_T35):
        return None
    return body[len(_METADATA_T35) :].rstrip(b"\x00").removesuffix(TRAILING_BITS)


def _read_ff_coded(data: bytes, at: int) -> tuple[int, int]:
    """A number coded as 0xFF bytes and a smaller last byte (sei_message, H.264 7.3.2.3.1), and the offset after it."""
    value = 0
    while at < len(data) and data[at] == 0xFF:
        value += 0xFF
        at += 1
    return value + (data[at] if at < len(data) else 0), at + 1


def _read_leb128(data: Buffer, at: int) -> tuple[int, int] | None:
    """A leb128() number (AV1 specification 4.10.5) and the offset after it; None when unterminated."""
    value = 0
    for i, byte in enumerate(data[at : at + 8]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    return None


def _leb128(value: int) -> bytes:
    coded = bytearray()
    while value > 0x7F:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    coded.append(value)
    return bytes(coded)

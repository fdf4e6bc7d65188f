"""Private user data in coded packets: SEI messages of H.264 and H.265, metadata OBUs of AV1.

`insert` puts a payload in front of the first coded picture of a packet, `find` reads it back. Both walk the
headers of the units up to that picture and never look at its data. The payload follows a UUID that is ours;
messages and units of others are stepped over.

H.264 and H.265 packets are NAL units, length-prefixed (ISO/IEC 14496-15, as in MP4 and Matroska) or with start
codes (Annex B, as in MPEG-TS and raw streams); the extradata says which. AV1 packets are OBUs in the low-overhead
format (AV1 specification 5.2).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from vidscale.errors import IdentityError

Codec = Literal["h264", "hevc", "av1"]
Buffer = bytes | bytearray | memoryview

# Random (RFC 9562 version 4), fixed for ever; without a zero byte, so that emulation prevention never splits it.
UUID = bytes.fromhex("17aa6e4259084f2d969e0ecab733dd6a")

_USER_DATA_UNREGISTERED = 5  # payloadType, H.264 and H.265 Annex D
_TRAILING_BITS = b"\x80"
_START_CODE = b"\x00\x00\x01"
_START_CODES = re.compile(_START_CODE)
_EMULATION = re.compile(rb"\x00\x00(?=[\x00-\x03])")
_EMULATION_PREVENTED = re.compile(rb"\x00\x00\x03")

_OBU_METADATA = 5
_OBU_PICTURES = frozenset({3, 4, 6, 7, 8})  # frame header, tile group, frame, redundant frame header, tile list
_OBU_METADATA_HEADER = b"\x2a"  # obu_type = OBU_METADATA, obu_has_size_field = 1
# metadata_type 4 (ITU-T T.35) with the extended country code 255, which nobody owns. The types 6 to 31 are meant for
# private use, but ffmpeg up to 6.1 refuses packets that hold one.
_METADATA_PREFIX = b"\x04\xff\xff"


@dataclass(frozen=True, slots=True)
class _NalSyntax:
    """Where H.264 and H.265 differ (7.3.1 of each).

    Attributes:
        shift, mask: nal_unit_type is ``(first header byte >> shift) & mask``.
        sei: nal_unit_type of an SEI NAL unit that stands in front of its picture.
        pictures: nal_unit_types that a prefix SEI must stand in front of.
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
    # 14, 20 and 21: prefix and slice extension NAL units, which stand with the slices (H.264 7.4.1.2.3).
    "h264": _NalSyntax(0, 0x1F, 6, frozenset({1, 2, 3, 4, 5, 14, 20, 21}), b"\x06", b"\x09\xf0", 4),
    # nuh_layer_id = 0, nuh_temporal_id_plus1 = 1.
    "hevc": _NalSyntax(1, 0x3F, 39, frozenset(range(32)), b"\x4e\x01", b"\x46\x01\x50", 21),
}


class _Unit(NamedTuple):
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


def insert(packet: Buffer, *, codec: Codec, extradata: Buffer | None, payload: bytes) -> bytes:
    """A copy of `packet` with `payload` in a user data unit in front of its first coded picture.

    It stands behind access unit delimiter, parameter sets, sequence header and the messages that are there
    already, as H.264 7.4.1.2.3, H.265 7.4.2.4.4 and AV1 7.5 order them. Where it would come first, and its length
    field would look like a start code (00 00 01), an access unit delimiter is put in front: ffmpeg's muxers of raw
    streams take such packets for Annex B and write them as they are.

    Args:
        packet: one coded packet as a muxer takes it; usually a keyframe.
        codec: "h264", "hevc" or "av1".
        extradata: the stream's; avcC or hvcC means length-prefixed packets, None, empty or start codes mean
            Annex B. Not looked at for AV1.
        payload: bytes to carry; the UUID is put in front of it.

    Raises:
        IdentityError: the packet has no coded picture or carries such a unit already, the unit is too long
            for the packet's length fields, or the extradata is neither form.
        ValueError: another codec.
    """
    view = memoryview(packet)
    length_size = _length_size(codec, extradata)
    for unit in _units(view, codec, length_size):
        if unit.role == "picture":
            framed = _framed(codec, length_size, payload)
            if unit.start == 0 and length_size and framed.startswith(_START_CODE):
                framed = _prefixed(_NAL_SYNTAX[codec].delimiter, length_size) + framed
            return b"".join((view[: unit.start], framed, view[unit.start :]))
        if unit.role == "message" and _payload(view, unit, codec) is not None:
            raise IdentityError("the packet carries an identity already")
    raise IdentityError(f"no {codec} picture in a packet of {len(view)} bytes")


def find(packet: Buffer, *, codec: Codec, extradata: Buffer | None) -> bytes | None:
    """The payload that `insert` put into `packet` (first one; without UUID); None when there is none.

    A unit cut off after the UUID yields what is left of its payload.

    Args:
        packet: one coded packet as a demuxer gives it.
        codec: "h264", "hevc" or "av1".
        extradata: as for `insert`.

    Raises:
        IdentityError: extradata that is neither form.
        ValueError: another codec.
    """
    view = memoryview(packet)
    for unit in _units(view, codec, _length_size(codec, extradata)):
        if unit.role == "picture":
            return None
        if unit.role == "message" and (payload := _payload(view, unit, codec)) is not None:
            return payload
    return None


def sei_nal(codec: Literal["h264", "hevc"], payload: bytes) -> bytes:
    """An SEI NAL unit with one user_data_unregistered message: UUID, then `payload`. Without framing.

    H.264: NAL unit 7.3.1, SEI 7.3.2.3, message D.1.7 (D.2.7). H.265: 7.3.1, 7.3.2.4, D.2.7 (D.3.7), prefix SEI.
    """
    size = len(UUID) + len(payload)
    message = bytes([_USER_DATA_UNREGISTERED]) + b"\xff" * (size // 255) + bytes([size % 255]) + UUID + payload
    return _NAL_SYNTAX[codec].sei_header + _EMULATION.sub(b"\x00\x00\x03", message + _TRAILING_BITS)


def metadata_obu(payload: bytes) -> bytes:
    """A metadata OBU of the ITU-T T.35 type: UUID, then `payload` (AV1 specification 5.3.1, 5.8.2, 5.3.4)."""
    body = _METADATA_PREFIX + UUID + payload + _TRAILING_BITS
    return _OBU_METADATA_HEADER + _leb128(len(body)) + body


def _length_size(codec: Codec, extradata: Buffer | None) -> int:
    """Bytes of a NAL unit's length field; 0 for start codes and for AV1."""
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


def _units(view: memoryview, codec: Codec, length_size: int) -> Iterator[_Unit]:
    """The units of a packet in order; meant to be left at the first picture."""
    if codec == "av1":
        return _obus(view)
    syntax = _NAL_SYNTAX[codec]
    return _length_prefixed(view, syntax, length_size) if length_size else _annex_b(view, syntax)


def _length_prefixed(view: memoryview, syntax: _NalSyntax, length_size: int) -> Iterator[_Unit]:
    start = 0
    while (body := start + length_size) < len(view):
        end = min(body + int.from_bytes(view[start:body], "big"), len(view))
        if end > body:
            yield _Unit(_nal_role(view[body], syntax), start, body, end)
        start = end


def _annex_b(view: memoryview, syntax: _NalSyntax) -> Iterator[_Unit]:
    code = _START_CODES.search(view)
    while code and (body := code.end()) < len(view):
        role = _nal_role(view[body], syntax)
        # The end of a picture is not looked for: its data is nearly all of the packet.
        following = None if role == "picture" else _START_CODES.search(view, body)
        zero_byte = code.start() > 0 and view[code.start() - 1] == 0
        yield _Unit(role, code.start() - zero_byte, body, following.start() if following else len(view))
        code = following


def _nal_role(first_byte: int, syntax: _NalSyntax) -> Literal["picture", "message", "other"]:
    kind = (first_byte >> syntax.shift) & syntax.mask
    if kind in syntax.pictures:
        return "picture"
    return "message" if kind == syntax.sei else "other"


def _obus(view: memoryview) -> Iterator[_Unit]:
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
        yield _Unit("picture" if kind in _OBU_PICTURES else _obu_message(kind), start, body, end)
        start = end


def _obu_message(kind: int) -> Literal["message", "other"]:
    return "message" if kind == _OBU_METADATA else "other"


def _framed(codec: Codec, length_size: int, payload: bytes) -> bytes:
    if codec == "av1":
        return metadata_obu(payload)
    nal = sei_nal(codec, payload)
    if length_size == 0:
        return b"\x00" + _START_CODE + nal
    if len(nal) >= 1 << 8 * length_size:
        raise IdentityError(f"an SEI of {len(nal)} bytes does not fit length fields of {length_size} byte")
    return _prefixed(nal, length_size)


def _prefixed(nal: bytes, length_size: int) -> bytes:
    return len(nal).to_bytes(length_size, "big") + nal


def _payload(view: memoryview, unit: _Unit, codec: Codec) -> bytes | None:
    """Our payload in an SEI NAL unit or metadata OBU, None in one of somebody else's."""
    body = bytes(view[unit.body : unit.end])
    return _obu_payload(body) if codec == "av1" else _sei_payload(body[len(_NAL_SYNTAX[codec].sei_header) :])


def _sei_payload(escaped: bytes) -> bytes | None:
    rbsp = _EMULATION_PREVENTED.sub(b"\x00\x00", escaped).rstrip(b"\x00")
    at = 0
    while at < len(rbsp) - len(_TRAILING_BITS):
        kind, at = _read_ff_coded(rbsp, at)
        size, at = _read_ff_coded(rbsp, at)
        message = rbsp[at : at + size]
        if kind == _USER_DATA_UNREGISTERED and message.startswith(UUID):
            return message[len(UUID) :]
        at += size
    return None


def _obu_payload(body: bytes) -> bytes | None:
    prefix = _METADATA_PREFIX + UUID
    if not body.startswith(prefix):
        return None
    return body[len(prefix) :].rstrip(b"\x00").removesuffix(_TRAILING_BITS)


def _read_ff_coded(data: bytes, at: int) -> tuple[int, int]:
    """A number written as bytes 255 and a last one below (sei_message, H.264 7.3.2.3.1), and the offset behind it."""
    value = 0
    while at < len(data) and data[at] == 0xFF:
        value += 0xFF
        at += 1
    return value + (data[at] if at < len(data) else 0), at + 1


def _read_leb128(data: Buffer, at: int) -> tuple[int, int] | None:
    """A leb128() number (AV1 specification 4.10.5) and the offset behind it; None when it does not end."""
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

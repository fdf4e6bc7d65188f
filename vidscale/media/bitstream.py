"""Private user data in coded packets: SEI messages of H.264 and H.265, metadata OBUs of AV1.

`insert` puts a payload in front of the first coded picture of a packet, `find` reads it back. Both walk the
headers of the units up to that picture and never parse its data. The payload follows one of vidscale's UUIDs, that of
the identity or that of an update of the upscaler; all other messages and units are skipped.
"""

from typing import Literal

from vidscale.errors import IdentityError
from vidscale.media.units import (
    Buffer,
    Codec,
    Unit,
    length_bytes,
    put_in_front,
    sei_messages,
    t35_obu,
    t35_payload,
    units,
)
from vidscale.media.units import sei_nal as any_sei_nal

# Random (RFC 9562 version 4), never to change; without a zero byte, so that emulation prevention never splits them.
UUID = bytes.fromhex("17aa6e4259084f2d969e0ecab733dd6a")
UPDATE_UUID = bytes.fromhex("c36d51f89b2e4a7fb8d4e52791af6c3e")

LARGEST_UPDATE = 1 << 16  # bytes

_USER_DATA_UNREGISTERED = 5  # payloadType, H.264 and H.265 Annex D
# ITU-T T.35 with the extended country code 255, which is unassigned. The metadata types 6 to 31 of AV1 are meant for
# private use, but ffmpeg up to 6.1 rejects packets with one.
_UNASSIGNED_COUNTRY = b"\xff\xff"


def insert(packet: Buffer, *, codec: Codec, extradata: Buffer | None, payload: bytes, uuid: bytes = UUID) -> bytes:
    """A copy of `packet` with `payload` in a user data unit in front of its first coded picture.

    It is placed after the access unit delimiter, parameter sets, sequence header and existing messages, as
    H.264 7.4.1.2.3, H.265 7.4.2.4.4 and AV1 7.5 require.

    Args:
        packet: one coded packet as passed to a muxer; usually a keyframe.
        codec: "h264", "hevc" or "av1".
        extradata: the stream's, see `vidscale.media.units.length_bytes`.
        payload: bytes to store; the UUID is put in front of it.
        uuid: of the kind of payload.

    Raises:
        IdentityError: the packet has no coded picture or already has such a unit, the unit is too long
            for the packet's length fields, or the extradata has neither form.
        ValueError: unsupported codec.
    """
    view = memoryview(packet)
    length_size = length_bytes(codec, extradata)
    for unit in units(view, codec, length_size):
        if unit.role == "picture":
            message = metadata_obu(payload, uuid) if codec == "av1" else sei_nal(codec, payload, uuid)
            return put_in_front(view, unit, codec, length_size, message)
        if unit.role == "message" and _payload(view, unit, codec, uuid) is not None:
            raise IdentityError(f"the packet carries {'an identity' if uuid == UUID else 'an update'} already")
    raise IdentityError(f"no {codec} picture in a packet of {len(view)} bytes")


def find(packet: Buffer, *, codec: Codec, extradata: Buffer | None, uuid: bytes = UUID) -> bytes | None:
    """The payload that `insert` put into `packet` (first one; without UUID); None when there is none.

    A unit truncated after the UUID yields the rest of its payload.

    Args:
        packet: one coded packet as returned by a demuxer.
        codec: "h264", "hevc" or "av1".
        extradata, uuid: as for `insert`.

    Raises:
        IdentityError: the extradata has neither form.
        ValueError: unsupported codec.
    """
    view = memoryview(packet)
    for unit in units(view, codec, length_bytes(codec, extradata)):
        if unit.role == "picture":
            return None
        if unit.role == "message" and (payload := _payload(view, unit, codec, uuid)) is not None:
            return payload
    return None


def sei_nal(codec: Literal["h264", "hevc"], payload: bytes, uuid: bytes = UUID) -> bytes:
    """An SEI NAL unit with one user_data_unregistered message: UUID, then `payload`. Without framing.

    H.264: D.1.7 (D.2.7). H.265: D.2.7 (D.3.7).
    """
    return any_sei_nal(codec, _USER_DATA_UNREGISTERED, [uuid + payload])


def metadata_obu(payload: bytes, uuid: bytes = UUID) -> bytes:
    """A metadata OBU of the ITU-T T.35 type: UUID, then `payload`."""
    return t35_obu(_UNASSIGNED_COUNTRY + uuid + payload)


def _payload(view: memoryview, unit: Unit, codec: Codec, uuid: bytes) -> bytes | None:
    """The payload with this UUID in an SEI NAL unit or metadata OBU, None for any other message."""
    if codec == "av1":
        message, prefix = t35_payload(view, unit), _UNASSIGNED_COUNTRY + uuid
        return message.removeprefix(prefix) if message is not None and message.startswith(prefix) else None
    for kind, message in sei_messages(view, unit, codec):
        if kind == _USER_DATA_UNREGISTERED and message.startswith(uuid):
            return message[len(uuid) :]
    return None

"""Identity of a small file: the pair that restores it, and the size to restore.

The identity is one line of JSON, in a user data unit in front of every keyframe (`vidscale.media.bitstream`) and in the
container tag ``VIDSCALE``. In a file whose upscaler was adapted, it names the update that follows it in the keyframe.
`vidscale.media.file_identity` reads it from a file. ``docs/identity.md`` documents the schema, the bytes and which
operations preserve it.
"""

import math
import re
import zlib
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from vidscale.errors import DamagedIdentityError, UnusableIdentityError, plain_reason
from vidscale.media import bitstream
from vidscale.media.frames import Chroma, Siting
from vidscale.media.units import Buffer, Codec

TAG = "VIDSCALE"
SCHEMA_VERSION = 2

_MAX_JSON_BYTES = 1 << 16
_MAX_PADDING = 64  # luma samples: the largest block that a small picture is rounded up to
_CHECKSUM = re.compile(rb',"crc32":"([0-9a-f]{8})"\}\s*$')


def _rational(text: str) -> str:
    """`text`, such as ``2`` or ``3/2``, in lowest terms."""
    numerator, slash, denominator = text.partition("/")
    parts = (numerator, denominator if slash else "1")
    if not all(part.isascii() and part.isdigit() and len(part) <= 10 and int(part) for part in parts):
        raise ValueError("not a positive rational such as 2 or 3/2")
    return str(Fraction(int(parts[0]), int(parts[1])))


def _scale(text: str) -> str:
    scale = _rational(text)
    if not 1 <= Fraction(scale) <= 8:
        raise ValueError("outside 1 to 8")
    return scale


Size = Annotated[int, Field(ge=1, le=65536)]


class Identity(BaseModel):
    """The pair that restores a small file, and the size to restore.

    Unknown fields are ignored on reading: fields that older readers do not need may be added without a new schema
    version.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    vidscale: Literal[1, 2] = Field(default=1, description="schema version; 2 where the upscaler is adapted")
    pair: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$", description="name of the pair")
    sha256: Annotated[str, BeforeValidator(lambda value: "" if value is None else value)] = Field(
        default="",
        pattern=r"^([0-9a-f]{64})?$",
        description="content hash of the pair's weights, lower-case hex; empty for a pair without weights",
    )
    scale: Annotated[str, AfterValidator(_scale)] = Field(description="source size over coded size, 1 to 8")
    width: Size = Field(description="source, luma samples, before rotation")
    height: Size = Field(description="source, luma samples, before rotation")
    coded_width: Size = Field(description="small picture as decoded, luma samples")
    coded_height: Size = Field(description="small picture as decoded, luma samples")
    crf: Annotated[int | float, Field(ge=0, le=63)] | None = Field(
        default=None, description="on the encoder's scale; null when encoded without a crf"
    )
    codec: str = Field(pattern=r"^[a-z0-9_]{1,32}$", description="coded format: h264, hevc, av1")
    time_base: Annotated[str, AfterValidator(_rational)] = Field(description="unit of the source's pts, seconds")
    chroma_location: Siting | None = Field(default=None, description="of the source; not every format stores it")
    chroma: Chroma | None = Field(default=None, description="of the source; gray H.264 is decoded as 4:2:0")
    tool: str = Field(default="", pattern=r"^[ -~]{0,64}$", description="program and version that wrote it")
    update: str = Field(
        default="",
        pattern=r"^([0-9a-f]{8})?$",
        description="CRC-32 of the update in the same packet, which holds until the next keyframe; empty for none",
    )

    @model_validator(mode="after")
    def _check_sizes(self) -> "Identity":
        for axis, size, coded in (("width", self.width, self.coded_width), ("height", self.height, self.coded_height)):
            needed = math.ceil(size / self.scale_fraction)
            if not needed <= coded < needed + _MAX_PADDING:
                raise ValueError(f"coded_{axis} {coded} does not fit {axis} {size} at scale {self.scale}")
        if self.update and self.vidscale == 1:
            raise ValueError("update needs schema version 2")
        return self

    @property
    def scale_fraction(self) -> Fraction:
        """Source size over coded size."""
        return Fraction(self.scale)

    def to_json(self) -> str:
        """One line of ASCII without spaces between the fields, ending with a checksum of everything before it.

        Empty fields (null, an empty string) are omitted.
        """
        empty = {name for name in type(self).model_fields if getattr(self, name) in (None, "")}
        text = self.model_dump_json(exclude=empty).removesuffix("}")
        return f'{text},"crc32":"{zlib.crc32(text.encode("ascii")):08x}"}}'

    @classmethod
    def from_json(cls, text: str | bytes) -> "Identity":
        """Parses the output of `to_json`. A checksum at the end is verified.

        Raises:
            DamagedIdentityError: not an identity.
            UnusableIdentityError: an unknown schema version.
        """
        fields = _json_object(text)
        version = fields.get("vidscale")
        if type(version) is not int or version < 1:  # True == 1, hence not isinstance
            raise DamagedIdentityError("broken identity: no schema version")
        if version > SCHEMA_VERSION:
            raise UnusableIdentityError(
                f"the identity has schema version {version}, this program reads versions 1 to {SCHEMA_VERSION}: "
                "a newer vidscale is needed"
            )
        try:
            return cls.model_validate(fields)
        except ValidationError as exc:
            raise DamagedIdentityError(f"broken identity: {_one_line(exc)}") from exc


def _json_object(text: str | bytes) -> dict[str, object]:
    if len(text) > _MAX_JSON_BYTES:
        raise DamagedIdentityError(f"broken identity: {len(text)} bytes long")
    # Python's str may hold surrogates (undecodable tags), for which from_json raises TypeError.
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    checksum = _CHECKSUM.search(data)
    if checksum and int(checksum[1], 16) != zlib.crc32(data[: checksum.start()]):
        raise DamagedIdentityError("broken identity: checksum mismatch")
    try:
        value = from_json(data, allow_inf_nan=False)
    except ValueError as exc:
        raise DamagedIdentityError("broken identity: not JSON") from exc
    if not isinstance(value, dict):
        raise DamagedIdentityError("broken identity: not a JSON object")
    return value


def _one_line(error: ValidationError) -> str:
    parts: dict[str, str] = {}
    for item in error.errors(include_url=False):
        name = str(item["loc"][0]) if item["loc"] else ""  # of a field that takes two types each type complains
        reason = plain_reason({**item, "loc": item["loc"][:1]})
        if name and item["type"] == "value_error":  # a check of ours on one field does not name it
            reason = f"{name} = {ascii(item['input'])[:60]}: {reason}"
        parts[name] = reason
    return "; ".join(parts.values())


def insert(packet: Buffer, *, codec: Codec, extradata: Buffer | None, identity: Identity, update: bytes = b"") -> bytes:
    """A copy of a keyframe packet with `identity` in front of its picture; see `vidscale.media.bitstream.insert`.

    The tool is named only in the container's tag, to save bits in every keyframe.

    Args:
        packet, codec, extradata: see `vidscale.media.bitstream.insert`.
        identity: of the file.
        update: of the upscaler from this keyframe on, see `vidscale.models.updates`; b"" for none.
    """
    identity = identity.model_copy(update={"tool": "", "update": f"{zlib.crc32(update):08x}" if update else ""})
    signed = bitstream.insert(packet, codec=codec, extradata=extradata, payload=identity.to_json().encode("ascii"))
    if not update:
        return signed
    return bitstream.insert(signed, codec=codec, extradata=extradata, payload=update, uuid=bitstream.UPDATE_UUID)


def extract(packet: Buffer, *, codec: Codec, extradata: Buffer | None) -> Identity | None:
    """The identity in a packet, None when there is none.

    Args:
        packet: one coded packet as returned by a demuxer; ``memoryview(packet)`` avoids a copy.
        codec: "h264", "hevc" or "av1".
        extradata: the stream's, None when it has none.

    Raises:
        UnusableIdentityError: the identity is damaged or of an unknown schema version.
    """
    payload = bitstream.find(packet, codec=codec, extradata=extradata)
    return None if payload is None else Identity.from_json(payload)


def extract_update(packet: Buffer, *, codec: Codec, extradata: Buffer | None, identity: Identity) -> bytes:
    """The update of the upscaler that a packet's identity names, b"" when it names none.

    Args:
        packet, codec, extradata: as for `extract`.
        identity: the result of `extract` for this packet.

    Raises:
        DamagedIdentityError: the update is missing, too long, or not the one that the identity names.
    """
    if not identity.update:
        return b""
    found = bitstream.find(packet, codec=codec, extradata=extradata, uuid=bitstream.UPDATE_UUID)
    if found is None or len(found) > bitstream.LARGEST_UPDATE or f"{zlib.crc32(found):08x}" != identity.update:
        raise DamagedIdentityError("the update of the upscaler is missing or damaged")
    return found


def tag_from_metadata(metadata: Mapping[str, str]) -> Identity | None:
    """The identity in a container's tags, None when there is none. Keys are compared without case.

    Raises:
        UnusableIdentityError: the tag is damaged or of an unknown schema version.
    """
    for key, value in metadata.items():
        if key.upper() == TAG:
            return Identity.from_json(value)
    return None

"""The identity of a small picture: a property in its XMP packet, which all four formats support.

The schema is the one of small videos (docs/identity.md). The property is an ``rdf:Description`` of its own at the end
of the packet, so the rest of the packet stays the same, byte for byte, even after the property is removed.
"""

import re
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from vidscale.errors import IdentityError
from vidscale.media.identity import Identity

_NAMESPACE = "urn:uuid:17aa6e42-5908-4f2d-969e-0ecab733dd6a#"
_PROPERTY = f"{{{_NAMESPACE}}}identity"
_BEGIN, _END = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">',
    b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>',
)
_END_OF_RDF = b"</rdf:RDF>"
_OPENING = f'<rdf:Description rdf:about="" xmlns:vidscale="{_NAMESPACE}" vidscale:identity='
_OURS = re.compile(re.escape(_OPENING).encode() + rb"(?:'[^']*'|\"[^\"]*\")/>")


def with_identity(packet: bytes | None, identity: Identity) -> bytes | None:
    """The packet with this identity, replacing any it has; None if it cannot hold one.

    Args:
        packet: an XMP packet; None for a new one.
        identity: of the picture.
    """
    packet = without_identity(packet) or _BEGIN + _END
    head, end, tail = packet.rpartition(_END_OF_RDF)
    if not end:  # UTF-16, or an unusual namespace prefix
        return None
    return head + f"{_OPENING}{quoteattr(identity.to_json())}/>".encode() + end + tail


def without_identity(packet: bytes | None) -> bytes | None:
    """The packet without its identity; None if nothing is left."""
    rest = None if packet is None else _OURS.sub(b"", packet)
    return None if rest == _BEGIN + _END else rest


def find_identity(packet: bytes | None) -> Identity | None:
    """The identity in an XMP packet, even if another program has rewritten the packet.

    Raises:
        IdentityError: it is broken or its schema version is unknown.
    """
    if packet is None:
        return None
    try:
        root = ElementTree.fromstring(packet.rstrip(b"\0"))
    except ElementTree.ParseError:
        return None
    for element in root.iter():
        text = element.get(_PROPERTY) or (element.text if element.tag == _PROPERTY else None)
        if text:
            return Identity.from_json(text)
    return None


def check_size(identity: Identity, height: int, width: int) -> None:
    """Raises IdentityError if the picture's size differs from the one in its identity."""
    if (width, height) != (identity.coded_width, identity.coded_height):
        raise IdentityError(
            f"its identity says {identity.coded_width}x{identity.coded_height}, but the picture is {width}x{height}: "
            "was it scaled afterwards?"
        )

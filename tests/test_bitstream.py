"""`vidscale.media.bitstream` on synthetic packets; encoded streams are in test_identity.py."""

import re
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vidscale.errors import IdentityError
from vidscale.media.bitstream import UUID, find, insert, metadata_obu, sei_nal

AVCC_2 = bytes([1, 100, 0, 10, 0xFC | 1, 0xE1, 0])  # lengthSizeMinusOne = 1
AVCC_4 = bytes([1, 100, 0, 10, 0xFC | 3, 0xE1, 0])
HVCC_4 = bytes([1] + [0] * 20 + [0xFC | 3, 0])
RECORD_4 = {"h264": AVCC_4, "hevc": HVCC_4}
IDR = {"h264": b"\x65\x88\x84", "hevc": b"\x26\x01\xaf"}  # first bytes of an IDR slice
AUD = {"h264": b"\x09\x10", "hevc": b"\x46\x01\x10"}
FOREIGN = {"h264": b"\x06\x05\x11" + b"x" * 17 + b"\x80", "hevc": b"\x4e\x01\x05\x11" + b"x" * 17 + b"\x80"}
TEMPORAL_DELIMITER = b"\x12\x00"
SEQUENCE_HEADER = b"\x0a\x03abc"
AV1_FRAME = b"\x32\x05frame"


def prefixed(size: int, *nals: bytes) -> bytes:
    return b"".join(len(nal).to_bytes(size, "big") + nal for nal in nals)


def annex_b(*nals: bytes) -> bytes:
    return b"".join(b"\0\0\0\1" + nal for nal in nals)


@given(payload=st.lists(st.sampled_from([b"\0", b"\1", b"\2", b"\3", b"\4", b"{"]), max_size=600).map(b"".join))
@example(payload=b"\0\0\0\0\0\1\0\0\2\0\0\3\0\0\3\0\0\0")
@example(payload=b"\0" * (255 - 16))
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_sei_nal_round_trip(codec, payload):
    nal = sei_nal(codec, payload)
    assert not re.search(rb"\x00\x00[\x00-\x02]", nal)
    assert not re.search(rb"\x00\x00\x03[^\x00-\x03]", nal)
    assert nal[-1] != 0
    for extradata, packet in ((None, annex_b(nal, IDR[codec])), (RECORD_4[codec], prefixed(4, nal, IDR[codec]))):
        assert find(packet, codec=codec, extradata=extradata) == payload


def test_sei_nal_layout():
    # H.264: header, payload type 5, size 16 + 300 as 255 + 61, UUID, payload, trailing bits.
    assert sei_nal("h264", b"a" * 300) == b"\x06\x05\xff\x3d" + UUID + b"a" * 300 + b"\x80"
    assert sei_nal("hevc", b"\0\0\1") == b"\x4e\x01\x05\x13" + UUID + b"\0\0\3\1\x80"
    assert sei_nal("h264", b"a" * 239)[1:4] == b"\x05\xff\x00"


def test_metadata_obu_layout():
    assert metadata_obu(b"{}") == b"\x2a\x16\x04\xff\xff" + UUID + b"{}\x80"
    assert metadata_obu(b"a" * 200)[1:4] == b"\xdc\x01\x04"  # size 3 + 16 + 200 + 1 = 220 as leb128


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_insert_position(codec):
    nals = AUD[codec], FOREIGN[codec], IDR[codec]
    ours = sei_nal(codec, b"{}")
    expected = AUD[codec], FOREIGN[codec], ours, IDR[codec]
    tagged = insert(prefixed(4, *nals), codec=codec, extradata=RECORD_4[codec], payload=b"{}")
    assert tagged == prefixed(4, *expected)
    for extradata in (None, b"", annex_b(b"\x67abc"), b"\0\0\1\x67abc"):
        assert insert(annex_b(*nals), codec=codec, extradata=extradata, payload=b"{}") == annex_b(*expected)


def test_insert_short_start_codes():
    packet = b"\0\0\1" + AUD["h264"] + b"\0\0\1" + IDR["h264"] + b"\0\0\1" + IDR["h264"]
    tagged = insert(packet, codec="h264", extradata=None, payload=b"{}")
    head = b"\0\0\1" + AUD["h264"]
    assert tagged == head + annex_b(sei_nal("h264", b"{}")) + packet[len(head) :]


def test_insert_length_sizes():
    packet = prefixed(2, b"\x67sps", IDR["h264"])
    tagged = insert(packet, codec="h264", extradata=AVCC_2, payload=b"{}")
    assert tagged == prefixed(2, b"\x67sps", sei_nal("h264", b"{}"), IDR["h264"])
    assert find(tagged, codec="h264", extradata=AVCC_2) == b"{}"
    one_byte = bytes([1, 100, 0, 10, 0xFC, 0xE1, 0])
    with pytest.raises(IdentityError, match="does not fit a length field of 1 byte"):
        insert(prefixed(1, IDR["h264"]), codec="h264", extradata=one_byte, payload=b"a" * 250)


def test_insert_av1():
    ours = metadata_obu(b"{}")
    others = b"\x2a\x03\x01\x80\x00"  # another metadata OBU
    packet = TEMPORAL_DELIMITER + SEQUENCE_HEADER + others + AV1_FRAME
    tagged = insert(packet, codec="av1", extradata=None, payload=b"{}")
    assert tagged == TEMPORAL_DELIMITER + SEQUENCE_HEADER + others + ours + AV1_FRAME
    assert find(tagged, codec="av1", extradata=b"\x81") == b"{}"
    assert find(packet, codec="av1", extradata=b"\x81") is None
    # The last OBU of a sample may go without size, and an OBU may have an extension byte.
    unsized = b"\x0e\x00\x03abc" + b"\x30frame"
    assert insert(unsized, codec="av1", extradata=None, payload=b"{}") == b"\x0e\x00\x03abc" + ours + b"\x30frame"
    assert find(metadata_obu(b"{}") + b"\0\0", codec="av1", extradata=None) == b"{}"


def test_find_among_other_messages():
    # One NAL unit with a recovery point (type 6, 1 byte), somebody else's user data and ours.
    ours = sei_nal("h264", b"{}")[1:]
    nal = b"\x06" + b"\x06\x01\x84" + FOREIGN["h264"][1:-1] + ours
    assert find(annex_b(nal, IDR["h264"]), codec="h264", extradata=None) == b"{}"
    assert find(annex_b(FOREIGN["h264"], IDR["h264"]), codec="h264", extradata=None) is None
    assert find(annex_b(IDR["h264"], b"\x06" + ours), codec="h264", extradata=None) is None


def test_insert_twice_errors():
    for codec, packet in (("h264", annex_b(IDR["h264"])), ("av1", AV1_FRAME)):
        tagged = insert(packet, codec=codec, extradata=None, payload=b"{}")
        with pytest.raises(IdentityError, match="already"):
            insert(tagged, codec=codec, extradata=None, payload=b"{}")


def test_insert_errors():
    for codec in ("h264", "hevc", "av1"):
        with pytest.raises(IdentityError, match="packet of 0 bytes"):
            insert(b"", codec=codec, extradata=None, payload=b"{}")
    with pytest.raises(IdentityError, match="no h264 picture"):
        insert(annex_b(AUD["h264"]), codec="h264", extradata=None, payload=b"{}")
    with pytest.raises(IdentityError, match="neither a configuration record nor Annex B"):
        insert(annex_b(IDR["h264"]), codec="h264", extradata=b"\x01\x64", payload=b"{}")
    with pytest.raises(ValueError, match="vp9"):
        insert(b"\x82", codec="vp9", extradata=None, payload=b"{}")


PIECES = [b"\0\0\1", b"\0\0\0\1", b"\0\0\0\x19", b"\x06\x05", b"\x4e\x01\x05", b"\x2a", b"\x1f", b"\xff", UUID, b"{"]
NOISE = st.lists(st.one_of(st.binary(max_size=6), st.sampled_from(PIECES)), max_size=20).map(b"".join)


@given(codec=st.sampled_from(["h264", "hevc", "av1"]), packet=NOISE, extradata=st.one_of(st.none(), NOISE))
def test_garbage_never_breaks(codec, packet, extradata):
    try:
        found = find(packet, codec=codec, extradata=extradata)
        assert found is None or isinstance(found, bytes)
        tagged = insert(packet, codec=codec, extradata=extradata, payload=b"{}")
    except IdentityError:
        return
    assert len(tagged) > len(packet)
    assert find(tagged, codec=codec, extradata=extradata) == b"{}"


@given(data=st.data(), codec=st.sampled_from(["h264", "hevc", "av1"]))
def test_damaged_packet_never_breaks(data, codec):
    picture = AV1_FRAME if codec == "av1" else annex_b(AUD[codec], IDR[codec])
    packet = bytearray(insert(picture, codec=codec, extradata=None, payload=b'{"vidscale":1}'))
    packet[data.draw(st.integers(0, len(packet) - 1))] ^= data.draw(st.integers(1, 255))
    found = find(packet[: data.draw(st.integers(0, len(packet)))], codec=codec, extradata=None)
    assert found is None or isinstance(found, bytes)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_picture_data_is_copied_once(codec):
    slice_data = bytes(4 << 20)
    packet = b"\x30" + slice_data if codec == "av1" else annex_b(AUD[codec], IDR[codec] + slice_data)
    tracemalloc.start()
    tagged = insert(memoryview(packet), codec=codec, extradata=None, payload=b"{}")
    insert_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert insert_peak < 1.1 * len(packet)
    tracemalloc.start()
    assert find(memoryview(tagged), codec=codec, extradata=None) == b"{}"
    find_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert find_peak < 1 << 16

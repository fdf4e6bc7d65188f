"""`vidscale.media.identity` on encoded streams; synthetic packets are in test_bitstream.py."""

import binascii
import json
import logging
import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidscale.errors import DecodeError, IdentityError
from vidscale.media import bitstream
from vidscale.media.file_identity import probe_identity
from vidscale.media.identity import Identity, extract, insert, tag_from_metadata

CODECS = ["h264", "hevc", "av1"]
ENCODER = {
    "h264": ["libx264", "-bf", "2"],
    "hevc": ["libx265", "-bf", "2", "-x265-params", "log-level=error"],
    "av1": ["libsvtav1", "-preset", "12"],
}
KEYFRAMES = 3
FIELDS = {
    "vidscale": 1,
    "pair": "adaptive-x2",
    "sha256": "0123456789abcdef" * 4,
    "scale": "2",
    "width": 255,
    "height": 191,
    "coded_width": 128,
    "coded_height": 96,
    "crf": 28,
    "codec": "hevc",
    "time_base": "1/12800",
    "chroma_location": "center",
    "chroma": "420",
    "tool": "vidscale 0.1.0",
}
IDENTITY = Identity.model_validate(FIELDS)
OTHER = Identity.model_validate(FIELDS | {"pair": "lanczos-x2", "sha256": ""})


def ffmpeg(*args: str | Path) -> str:
    """ffmpeg's stdout; fails when it prints anything to stderr."""
    cmd = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "warning", "-nostdin", "-y", *map(str, args)]
    run = subprocess.run(cmd, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout


def encode(path: Path, encoder: str, *options: str) -> None:
    """25 frames, 128x96, with a keyframe every 10. The encoders print much to stderr."""
    source = ["-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=1,format=yuv420p"]
    cmd = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", *source, "-g", "10", "-c:v", encoder, *options]
    run = subprocess.run([*cmd, path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def framemd5(path: Path) -> list[str]:
    """Timestamps and hash of every decoded frame."""
    return ffmpeg("-i", path, "-map", "0:v", "-f", "framemd5", "-").splitlines()


def pictures(path: Path) -> list[str]:
    return [line.rsplit(",", 1)[1] for line in framemd5(path) if not line.startswith("#")]


def write(source: Path, target: Path, payload: bytes | None, tag: str | None = None, **options: str) -> int:
    """Copies the video of `source` with `payload` in every keyframe and `tag`; returns the number of keyframes."""
    keyframes = 0
    with av.open(str(source)) as reader, av.open(str(target), "w", options=options) as writer:
        stream = reader.streams.video[0]
        codec = stream.codec_context.codec.canonical_name
        copy = writer.add_stream_from_template(stream, opaque=True)
        if tag is not None:
            writer.metadata["VIDSCALE"] = tag
        for packet in reader.demux(stream):
            if not packet.size:
                continue
            if packet.is_keyframe and payload is not None:
                keyframes += 1
                extradata = stream.codec_context.extradata
                data = bitstream.insert(memoryview(packet), codec=codec, extradata=extradata, payload=payload)
                tagged = av.Packet(data)
                tagged.pts, tagged.dts, tagged.duration = packet.pts, packet.dts, packet.duration
                tagged.time_base, tagged.is_keyframe = packet.time_base, True
                packet = tagged
            packet.stream = copy
            writer.mux(packet)
    return keyframes


def identities(path: Path) -> list[Identity | None]:
    """The result of `extract` for each keyframe."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec, extradata = stream.codec_context.codec.canonical_name, stream.codec_context.extradata
        keyframes = (packet for packet in container.demux(stream) if packet.size and packet.is_keyframe)
        return [extract(memoryview(packet), codec=codec, extradata=extradata) for packet in keyframes]


def side_data(path: Path) -> list[bytes]:
    """Payloads after our UUID, as libavcodec attaches them to keyframes."""
    with av.open(str(path)) as container:
        found = [
            bytes(data)
            for frame in container.decode(video=0)
            if frame.key_frame
            for data in frame.side_data
            if data.type.name == "SEI_UNREGISTERED"
        ]
    return [data[16:] for data in found if data[:16] == bitstream.UUID]


@pytest.fixture(scope="session")
def coded(tmp_path_factory) -> dict[str, Path]:
    """For each codec an MP4 with B-frames and three keyframes."""
    folder = tmp_path_factory.mktemp("coded")
    for codec in CODECS:
        encode(folder / f"{codec}.mp4", *ENCODER[codec])
    return {codec: folder / f"{codec}.mp4" for codec in CODECS}


@pytest.fixture(scope="session")
def tagged(coded, tmp_path_factory) -> dict[str, Path]:
    """The same with the identity in every keyframe."""
    folder = tmp_path_factory.mktemp("tagged")
    for path in coded.values():
        assert write(path, folder / path.name, IDENTITY.to_json().encode()) == KEYFRAMES
    return {codec: folder / path.name for codec, path in coded.items()}


def test_json_round_trip():
    text = IDENTITY.to_json()
    assert text.startswith('{"vidscale":1,"pair":"adaptive-x2",')
    assert text.isascii()
    assert " " not in text.replace("vidscale 0.1.0", "")
    head, _, checksum = text.rpartition(',"crc32":')
    assert checksum == f'"{binascii.crc32(head.encode()):08x}"}}'
    assert json.loads(head + "}") == FIELDS
    assert Identity.from_json(text) == Identity.from_json(text.encode()) == IDENTITY


def test_json_defaults_and_forms():
    # A later minor version's field is left out; null and absent optional fields read as the defaults.
    fields = FIELDS | {"scale": "4/2", "time_base": "100/3000", "sha256": None, "crf": 23.5, "later": [1]}
    del fields["tool"], fields["chroma_location"]
    identity = Identity.from_json(json.dumps(fields))
    assert (identity.scale, identity.scale_fraction, identity.time_base) == ("2", 2, "1/30")
    assert (identity.sha256, identity.crf, identity.tool, identity.chroma_location) == ("", 23.5, "", None)
    assert "later" not in identity.to_json()
    del fields["crf"], fields["sha256"]
    assert Identity.from_json(json.dumps(fields)) == identity.model_copy(update={"crf": None})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vidscale": 3}, "the identity has schema version 3, this program reads versions 1 to 2: a newer"),
        ({"vidscale": None}, "no schema version"),
        ({"vidscale": 0}, "no schema version"),
        ({"vidscale": True}, "no schema version"),
        ({"pair": "../weights"}, "^broken identity: pair = '../weights': not of the right form$"),
        ({"pair": None}, "pair = None: not text"),
        ({"sha256": "abc"}, "sha256 = 'abc': not of the right form"),
        ({"scale": "1.5"}, "scale = '1.5': not a positive rational such as 2 or 3/2"),
        ({"scale": "9"}, "scale = '9': outside 1 to 8"),
        ({"scale": "3/0"}, "scale = '3/0': not a positive rational"),
        ({"scale": 2}, "scale = 2: not text"),
        ({"width": 0}, "width = 0: below 1"),
        ({"width": "255"}, "width = '255': not a whole number"),
        ({"coded_width": 127}, "coded_width 127 does not fit width 255 at scale 2"),
        ({"coded_height": 191}, "coded_height 191 does not fit height 191 at scale 2"),
        ({"crf": -1, "width": 0}, "width = 0: below 1; crf = -1: below 0"),
        ({"crf": "low"}, "^broken identity: crf = 'low': not a number$"),
        ({"crf": float("nan")}, "^broken identity: not JSON$"),
        ({"chroma": "411"}, "chroma = '411': not '420', '422', '444' or 'gray'"),
        ({"codec": "H.264"}, "codec = 'H.264': not of the right form"),
        ({"time_base": "1/-2"}, "time_base = '1/-2': not a positive rational"),
        ({"tool": "a\nb"}, "tool = .*: not of the right form"),
    ],
)
def test_json_field_errors(change, message):
    with pytest.raises(IdentityError, match=message) as caught:
        Identity.from_json(json.dumps(FIELDS | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "{}", "[]", "null", b"\xff{}", "\ud800", "[" * 10000, "1" * 5000, " " * 70000),
        *('{"vidscale":1}', '{"vidscale":1,"crf":NaN}', '{"vidscale":' + "9" * 5000 + "}"),
        *(IDENTITY.to_json()[:-1], IDENTITY.to_json() + "}"),
    ],
)
def test_json_errors(text):
    with pytest.raises(IdentityError) as caught:
        Identity.from_json(text)
    assert "\n" not in str(caught.value)


@given(text=st.one_of(st.text(), st.binary(), st.dictionaries(st.sampled_from([*FIELDS]), st.text()).map(json.dumps)))
def test_json_garbage_never_breaks(text):
    with pytest.raises(IdentityError):
        Identity.from_json(text)


def test_extract_errors():
    for codec, picture in (("h264", b"\0\0\1\x65\x88"), ("hevc", b"\0\0\1\x26\x01\xaf"), ("av1", b"\x32\x01a")):
        packet = insert(picture, codec=codec, extradata=None, identity=IDENTITY)
        assert extract(packet, codec=codec, extradata=None) == IDENTITY.model_copy(update={"tool": ""})
        assert extract(picture, codec=codec, extradata=None) is None
        with pytest.raises(IdentityError, match="broken identity: not JSON"):
            extract(packet[:100], codec=codec, extradata=None)
        newer = IDENTITY.model_dump_json().replace('"vidscale":1', '"vidscale":3').encode()
        with pytest.raises(IdentityError, match="schema version 3"):
            extract(bitstream.insert(picture, codec=codec, extradata=None, payload=newer), codec=codec, extradata=None)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", CODECS)
def test_every_keyframe_and_every_picture(coded, codec, container, tmp_path):
    plain, small = tmp_path / f"plain.{container}", tmp_path / f"small.{container}"
    ffmpeg("-i", coded[codec], "-c", "copy", plain)
    assert write(plain, small, IDENTITY.to_json().encode()) == KEYFRAMES
    assert framemd5(small) == framemd5(plain)
    assert identities(small) == [IDENTITY] * KEYFRAMES
    assert identities(plain) == [None] * KEYFRAMES
    assert (probe_identity(small), probe_identity(plain)) == (IDENTITY, None)
    if codec != "av1":
        assert side_data(small) == [IDENTITY.to_json().encode()] * KEYFRAMES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "chain"),
    [
        ("h264", ["mkv", "ts", "mp4", "mov"]),
        ("hevc", ["mkv", "ts", "mp4", "mov"]),
        ("av1", ["mkv", "ivf", "mp4", "obu", "webm"]),
    ],
)
def test_stream_copy_keeps_it(coded, tagged, codec, chain, tmp_path):
    path = tagged[codec]
    for step, container in enumerate(chain):
        copy = tmp_path / f"{step}.{container}"
        ffmpeg("-i", path, "-c", "copy", copy)
        assert identities(copy) == [IDENTITY] * KEYFRAMES, container
        assert probe_identity(copy) == IDENTITY
        assert pictures(copy) == pictures(coded[codec])
        path = copy


@pytest.mark.parametrize(("codec", "extension"), [("h264", "h264"), ("hevc", "hevc")])
def test_raw_annex_b(coded, codec, extension, tmp_path):
    raw, small = tmp_path / f"raw.{extension}", tmp_path / f"small.{extension}"
    ffmpeg("-i", coded[codec], "-c", "copy", raw)
    assert write(raw, small, IDENTITY.to_json().encode()) == KEYFRAMES
    assert pictures(small) == pictures(raw) == pictures(coded[codec])
    assert probe_identity(small) == IDENTITY


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "extension"), [("h264", "h264"), ("hevc", "hevc")])
@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("changes", [{"sha256": "", "tool": ""}, {"tool": ""}, {"tool": "x" * 64}])
def test_stream_copy_to_raw_annex_b(coded, codec, extension, container, changes, tmp_path):
    """From a later keyframe on, which starts with the identity: ffmpeg takes lengths of 256 to 511 for start codes."""
    tag = IDENTITY.model_copy(update=changes)
    assert (256 <= len(tag.to_json()) + 20 < 512) == bool(tag.sha256)
    small, raw = tmp_path / f"small.{container}", tmp_path / f"raw.{extension}"
    assert write(coded[codec], small, tag.to_json().encode()) == KEYFRAMES
    assert pictures(small) == pictures(coded[codec])
    ffmpeg("-ss", "0.5", "-i", small, "-c", "copy", raw)
    found = pictures(raw)
    assert found
    assert found == pictures(coded[codec])[-len(found) :]
    assert probe_identity(raw) == tag


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["libx264", "-x264-params", "aud=1:nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500:open-gop=1"],
        ["libx264", "-x264-params", "tff=1:slices=3:pic-struct=1"],
        ["libx265", "-x265-params", "log-level=error:aud=1:hrd=1:vbv-maxrate=500:vbv-bufsize=500"],
        ["libx265", "-x265-params", "log-level=error:repeat-headers=1:hash=1:interlace=tff"],
        ["libaom-av1", "-cpu-used", "8", "-usage", "realtime"],
        ["libsvtav1", "-svtav1-params", "content-light=1000,400:preset=12"],
    ],
)
def test_beside_other_units(options, tmp_path):
    # Delimiters, buffering period (which must stay first), picture hash, content light level, several slices.
    plain, small = tmp_path / "plain.mp4", tmp_path / "small.mp4"
    encode(plain, *options)
    write(plain, small, IDENTITY.to_json().encode())
    assert framemd5(small) == framemd5(plain)
    assert set(identities(small)) == {IDENTITY}


def test_av1_decoders(coded, tagged):
    for decoder in ("libdav1d", "libaom-av1"):
        hashes = ffmpeg("-c:v", decoder, "-i", tagged["av1"], "-f", "framemd5", "-").splitlines()
        assert [line.rsplit(",", 1)[1] for line in hashes if not line.startswith("#")] == pictures(coded["av1"])


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_emulation_prevention_in_libavcodec(coded, codec, tmp_path):
    payload = b"\0\0\0\0\1\0\0\1\0\0\2\0\0\3\0\0\3\3\0\0\0\3\xff" * 30 + b"\0\0"
    small = tmp_path / "small.mp4"
    write(coded[codec], small, payload)
    assert side_data(small) == [payload] * KEYFRAMES
    assert pictures(small) == pictures(coded[codec])


@pytest.mark.parametrize("codec", CODECS)
def test_coding_again_loses_it(tagged, codec, tmp_path):
    again = tmp_path / "again.mp4"
    ffmpeg("-i", tagged[codec], "-c:v", "libx264", again)
    assert probe_identity(again) is None


def test_tag_containers(coded, tmp_path):
    text = IDENTITY.to_json()
    keep = {"movflags": "use_metadata_tags"}
    for name, options, found in (("a.mp4", keep, True), ("b.mp4", {}, False), ("a.mkv", {}, True), ("a.ts", {}, False)):
        write(coded["h264"], tmp_path / name, None, text, **options)
        assert probe_identity(tmp_path / name) == (IDENTITY if found else None), name
    # Copied by ffmpeg: Matroska keeps it, MP4 only when asked again.
    ffmpeg("-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "c.mkv")
    assert probe_identity(tmp_path / "c.mkv") == IDENTITY
    ffmpeg("-i", tmp_path / "c.mkv", "-c", "copy", tmp_path / "c.mp4")
    assert probe_identity(tmp_path / "c.mp4") is None
    ffmpeg("-i", tmp_path / "c.mkv", "-c", "copy", "-movflags", "use_metadata_tags", tmp_path / "d.mp4")
    assert probe_identity(tmp_path / "d.mp4") == IDENTITY


def test_tag_from_metadata():
    assert tag_from_metadata({"title": "x"}) is None
    assert tag_from_metadata({"title": "x", "Vidscale": IDENTITY.to_json()}) == IDENTITY
    with pytest.raises(IdentityError, match="broken identity"):
        tag_from_metadata({"vidscale": "x2"})


def test_probe_stream_wins_over_tag(coded, tmp_path, caplog):
    small = tmp_path / "small.mkv"
    write(coded["h264"], small, IDENTITY.to_json().encode(), IDENTITY.model_copy(update={"crf": 30}).to_json())
    assert probe_identity(small) == IDENTITY
    write(coded["h264"], small, IDENTITY.to_json().encode(), "{")
    with caplog.at_level(logging.WARNING):
        assert probe_identity(small) == IDENTITY
    assert "tag VIDSCALE ignored: broken identity" in caplog.text


def test_probe_errors(coded, tmp_path):
    small, text = tmp_path / "small.mkv", IDENTITY.to_json()
    write(coded["h264"], small, text.encode(), OTHER.to_json())
    with pytest.raises(IdentityError, match="pair is 'adaptive-x2' in the stream, 'lanczos-x2' in the tag"):
        probe_identity(small)
    write(coded["h264"], small, None, "{")
    with pytest.raises(IdentityError, match="broken identity"):
        probe_identity(small)
    write(coded["h264"], small, text.encode()[:-1], "{")
    with pytest.raises(IdentityError, match="broken identity"):
        probe_identity(small)
    write(coded["h264"], small, text.encode()[:-1], text)
    assert probe_identity(small) == IDENTITY
    with pytest.raises(DecodeError, match=r"none\.mkv: No such file"):
        probe_identity(tmp_path / "none.mkv")
    small.write_bytes(b"no video at all")
    with pytest.raises(DecodeError, match="Invalid data"):
        probe_identity(small)
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.1", small)
    with pytest.raises(DecodeError, match="no video stream"):
        probe_identity(small)


def test_probe_stale_tag_errors(coded, tmp_path):
    # Matroska keeps the tag when the picture is coded again, whatever its size.
    small, again = tmp_path / "small.mkv", tmp_path / "again.mkv"
    write(coded["h264"], small, IDENTITY.to_json().encode(), IDENTITY.to_json())
    ffmpeg("-i", small, "-c:v", "libx264", again)
    assert probe_identity(again) == IDENTITY
    ffmpeg("-i", small, "-vf", "scale=64:48", "-c:v", "libx264", again)
    with pytest.raises(IdentityError, match="for pictures of 128x96, these are 64x48"):
        probe_identity(again)


def test_probe_steps_over_cover_and_sound(tagged, tmp_path):
    cover, small = tmp_path / "cover.png", tmp_path / "small.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=s=320x320", "-frames:v", "1", "-update", "1", cover)
    inputs = ["-i", cover, "-f", "lavfi", "-i", "sine=d=1", "-i", tagged["hevc"]]
    maps = ["-map", "0", "-map", "1", "-map", "2:v", "-c:v", "copy", "-disposition:v:0", "attached_pic"]
    ffmpeg(*inputs, *maps, small)
    assert probe_identity(small) == IDENTITY

"""Closed captions and other side data of frames: kept or reported, wherever in a movie they start."""

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.sidedata.sidedata import Type as SideData
from material import coded, coding, ffmpeg, make, picture, plan, restored, shown_times
from robustness import FAST, content, run_here

from vidscale.config import DecodeSettings
from vidscale.errors import ConfigError, IdentityError
from vidscale.jobs.pipeline import decode
from vidscale.jobs.planning import plan_decode
from vidscale.media.captions import Captions, insert

pytestmark = pytest.mark.slow  # most cases encode and decode a file

LATE = 10  # pictures that carry nothing; a probe looks at four
B_FRAMES = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", "25"]
Payload = Callable[[int], bytes]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources that several tests share; outputs go elsewhere."""
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="session")
def plain(folder: Path) -> Path:
    """25 frames, with B-frames."""
    return make(folder / "plain.mp4", *picture(), *B_FRAMES)


def cc_data(number: int) -> bytes:
    """Captions of one frame: two characters, two of the second service, padding; sometimes 31 constructs."""
    constructs = [b"\xfc" + bytes([0x80 | number, 0x20]), b"\xfd\x80\x80", b"\xfa\x00\x00", b"\xff\x00\x01"]
    return b"".join(constructs) + b"\xfa\x00\x00" * (27 if number % 3 == 0 else 6)


def atsc(data: bytes) -> bytes:
    """An ITU-T T.35 message with captions (ATSC A/53 part 4, 6.2.3)."""
    return b"\xb5\x00\x31GA94\x03" + bytes([0xC0 | len(data) // 3, 0xFF]) + data + b"\xff"


def edited(path: Path, source: Path, edit: Callable[[int, bytes], bytes]) -> Path:
    """A copy whose coded frames went through ``edit``, which gets their number in display order."""
    shown = shown_times(source)
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for packet in (p for p in old.demux(stream) if p.size):
            number = shown.index(packet.pts * packet.time_base)  # type: ignore[operator]
            out = av.Packet(edit(number, bytes(packet)))
            out.pts, out.dts, out.duration, out.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
            out.is_keyframe = packet.is_keyframe
            out.stream = copy
            new.mux(out)
    return path


def with_sei(path: Path, source: Path, kind: int, payload: Payload, *, header: bytes = b"\x06") -> Path:
    """A copy of an MP4 file with an SEI message in every frame from the eleventh on.

    Args:
        path, source: the files.
        kind: payloadType.
        payload: by frame number in display order.
        header: of the NAL unit, H.264's or H.265's.
    """

    def edit(number: int, packet: bytes) -> bytes:
        if number < LATE:
            return packet
        message = payload(number)
        body = bytes([kind, len(message)]) + message + b"\x80"
        unit = header + re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", body)
        return len(unit).to_bytes(4, "big") + unit + packet

    return edited(path, source, edit)


@pytest.fixture(scope="session")
def captioned(folder: Path, plain: Path) -> Path:
    """Different captions in every frame from the eleventh on."""
    return with_sei(folder / "captioned.mp4", plain, 4, lambda number: atsc(cc_data(number)))


def captions_of(path: Path) -> dict[Fraction, bytes]:
    """The captions of each frame that has some, by time."""
    found = {}
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            entries: list[Any] = list(frame.side_data)
            data = b"".join(bytes(entry) for entry in entries if entry.type == SideData.A53_CC)
            if data:
                found[frame.pts * frame.time_base] = data  # type: ignore[operator]
    return found


@pytest.mark.parametrize(
    ("codec", "containers"),
    [("x264", ("mp4", "mkv", "ts", "mov")), ("x265", ("mp4", "mkv", "ts")), ("svtav1", ("mp4", "mkv", "webm"))],
)
def test_captions_stay_with_their_pictures(
    codec: str, containers: tuple[str, ...], captioned: Path, tmp_path: Path
) -> None:
    wanted = captions_of(captioned)
    assert list(wanted.values()) == [cc_data(number) for number in range(LATE, 25)]
    for container in containers:
        outcome = coding(captioned, tmp_path / f"small.{container}", codec=codec, scale="2", strict=True)
        assert outcome.notes == ()
        again = restored(outcome.path, tmp_path / f"restored.{container}", codec=codec, strict=True)
        for path in (outcome.path, again):
            found = captions_of(path)
            assert list(found.values()) == list(wanted.values())
            assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= Fraction(1, 2000)
            ffmpeg("-xerror", "-err_detect", "explode", "-i", path, "-f", "null", "-")


def test_captions_of_mpeg2_are_kept(folder: Path, tmp_path: Path) -> None:
    """As broadcast: MPEG-2 with B-frames in MPEG-TS; the user data precede the first slice."""
    source = make(folder / "plain.ts", *picture(), "-c:v", "mpeg2video", "-bf", "2", "-g", "12")
    data = [b"\xfc" + bytes([0x80 | number, 0x20]) + b"\xff\x11\x12" for number in range(25)]

    def edit(number: int, packet: bytes) -> bytes:
        before, slices = re.split(rb"(?=\x00\x00\x01\x01)", packet, maxsplit=1)
        return before + b"\x00\x00\x01\xb2" + atsc(data[number])[3:] + slices

    captioned = edited(folder / "broadcast.ts", source, edit)
    wanted = captions_of(captioned)
    assert list(wanted.values()) == data
    outcome = coding(captioned, tmp_path / "small.ts")
    assert not any("captions" in note for note in (*plan(captioned).notes, *outcome.notes))
    small = outcome.path
    found = captions_of(small)
    start = shown_times(captioned)[0]
    assert [t - start for t in wanted] == [t - shown_times(small)[0] for t in found]
    assert list(found.values()) == list(wanted.values())


def test_captions_follow_a_range(captioned: Path, tmp_path: Path) -> None:
    small = coded(captioned, tmp_path / "small.mp4", range="0.36:0.6")
    assert captions_of(small) == {Fraction(n - 9, 25): cc_data(n) for n in range(LATE, 15)}


def test_captions_are_named_where_they_have_no_place(captioned: Path, tmp_path: Path) -> None:
    """FFV1 cannot store captions."""
    small = coded(captioned, tmp_path / "small.mp4", scale="2")
    decided = plan_decode(small, tmp_path / "restored.mkv", DecodeSettings(lossless=True))
    assert decided.notes == ()  # they are late
    assert decode(decided).notes == ("the output does not hold: closed captions (A53) (from 0.400 s on)",)
    early = coded(small, tmp_path / "early.mp4", range="0.4:")
    decided = plan_decode(early, tmp_path / "early.mkv", DecodeSettings(lossless=True))
    assert "the output does not hold: closed captions (A53)" in decided.notes
    assert decode(decided).notes == ()


# Up to 400 cd/m2, one window, one percentile (SMPTE ST 2094-40, as CTA-861 writes it).
HDR10_PLUS = bytes.fromhex("b5003c0001040140000c8007d003e801f4007d07180e100000")
MASTERING = b"".join(n.to_bytes(2, "big") for n in (8500, 39850, 6550, 2300, 35400, 14600, 15635, 16450))
MASTERING += (10_000_000).to_bytes(4, "big") + (50).to_bytes(4, "big")
TURNED = bytes([0x08, 0x00, 0x0A])  # not cancelled, no flips, a quarter turn; no period, no extension
LIGHT = (1000).to_bytes(2, "big") + (400).to_bytes(2, "big")


@pytest.fixture(scope="session")
def plain_hevc(folder: Path) -> Path:
    words = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:bframes=2"]
    return make(folder / "plain_hevc.mp4", *picture(), *words)


@pytest.mark.parametrize(
    ("origin", "kind", "payload", "words"),
    [
        ("plain_hevc", 4, HDR10_PLUS, "HDR10+ metadata"),
        ("plain", 137, MASTERING, "mastering display"),
        ("plain_hevc", 144, LIGHT, "content light"),
        ("plain", 47, TURNED, "rotation"),
    ],
    ids=["hdr10plus", "mastering", "light", "turned"],
)
def test_side_data_that_begins_late_is_named(
    origin: str, kind: int, payload: bytes, words: str, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    header = b"\x4e\x01" if "hevc" in origin else b"\x06"
    plain: Path = request.getfixturevalue(origin)
    source = with_sei(folder / f"late_{kind}.mp4", plain, kind, lambda number: payload, header=header)
    told = f"the output does not hold: {words} (from 0.400 s on)"
    assert plan(source, strict=True).notes == ()
    assert coding(source, tmp_path / "small.mp4").notes == (told,)
    assert coding(source, tmp_path / "part.mp4", range="0:0.4", strict=True).notes == ()
    with pytest.raises(ConfigError, match="--strict refuses to lose: " + re.escape(words)):
        coding(source, tmp_path / "strict.mp4", strict=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part.mp4", "small.mp4"]


def test_command_line_reports_what_begins_late(folder: Path, plain_hevc: Path, tmp_path: Path) -> None:
    source = with_sei(tmp_path / "late.mp4", plain_hevc, 4, lambda number: HDR10_PLUS, header=b"\x4e\x01")
    run = run_here("encode", source, "-o", tmp_path / "small.mp4", *FAST)
    assert run.code == 0
    assert "the output does not hold: HDR10+ metadata (from 0.400 s on)" in run.stderr
    there = content(tmp_path)
    run = run_here("encode", source, "-o", tmp_path / "strict.mp4", "--strict", *FAST)
    assert (run.code, run.stdout) == (1, "")
    assert "--strict refuses to lose: HDR10+ metadata (from 0.400 s on)" in run.stderr
    assert content(tmp_path) == there


# Packets


def test_captions_by_timestamp() -> None:
    captions = Captions()
    assert not captions
    for pts, text in ((-3, b"abc"), (0, b"abc"), (7, b"def")):
        captions.add(pts, text)
    assert [captions.at(pts) for pts in (-4, -3, -1, 0, 7, 8)] == [b"", b"abc", b"", b"abc", b"def", b""]
    assert len(captions) == 3


AVCC = bytes([1, 100, 0, 10, 0xFC | 3, 0xE1, 0])
HVCC = bytes([1] + [0] * 20 + [0xFC | 3, 0])


def test_messages_have_up_to_31_constructs() -> None:
    slice_unit = b"\x41\x9a\x00"
    packet = insert(slice_unit, codec="h264", extradata=None, cc_data=b"")
    assert packet == slice_unit  # no start code: no picture
    framed = len(slice_unit).to_bytes(4, "big") + slice_unit
    cut = insert(framed, codec="h264", extradata=AVCC, cc_data=b"\xfc\x80\x80" * 40)
    sei = b"\x06" + b"".join(
        bytes([4, len(message)]) + message for message in (atsc(b"\xfc\x80\x80" * 31), atsc(b"\xfc\x80\x80" * 9))
    )
    assert cut == (len(sei) + 1).to_bytes(4, "big") + sei + b"\x80" + framed


def test_sei_has_the_temporal_layer_of_its_picture() -> None:
    """H.265 7.4.2.2: it must not be lower."""
    for temporal_id in (0, 2):
        unit = bytes([0x02, temporal_id + 1, 0xAF])
        packet = insert(b"\0\0\0\3" + unit, codec="hevc", extradata=HVCC, cc_data=b"\xfc\x80\x80")
        assert packet[4:6] == bytes([0x4E, temporal_id + 1])


def test_damaged_extradata_is_refused() -> None:
    with pytest.raises(IdentityError, match="neither a configuration record"):
        insert(b"\0\0\0\1\x41", codec="h264", extradata=b"\1\2", cc_data=b"\xfc\x80\x80")

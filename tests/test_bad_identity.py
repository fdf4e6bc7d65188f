"""Small files whose identity is damaged, unknown, contradictory or changing: one clear line, and no files left."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from robustness import frame_count, message, refused, run_here

from vidscale.errors import DamagedIdentityError
from vidscale.media import bitstream
from vidscale.media.file_identity import probe_identity
from vidscale.media.identity import TAG, Identity

Clip = Callable[..., Path]


@pytest.fixture
def clip(make_clip: Clip) -> Path:
    """Two seconds with audio, a keyframe every ten frames, the index at the front."""
    return make_clip("clip.mp4", frames=50, audio=True, options=["-g", "10", "-bf", "0", "-movflags", "+faststart"])


IDENTITY = Identity(
    pair="lanczos-x1",
    scale="1",
    width=64,
    height=48,
    coded_width=64,
    coded_height=48,
    crf=28,
    codec="h264",
    time_base="1/12800",
)


def signed(source: Path, target: Path, *payloads: bytes | None, tag: str | None = None) -> Path:
    """A copy of an H.264 file with one of the payloads in each keyframe; the last one is repeated."""
    remaining = list(payloads)
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream, opaque=True)
        extradata = stream.codec_context.extradata
        if tag is not None:
            writer.metadata[TAG] = tag
        for packet in reader.demux(stream):
            if not packet.size:
                continue
            payload = remaining[0] if remaining else None
            if packet.is_keyframe and payload is not None:
                data = bitstream.insert(memoryview(packet), codec="h264", extradata=extradata, payload=payload)
                copied = av.Packet(data)
                copied.pts, copied.dts, copied.time_base = packet.pts, packet.dts, packet.time_base
                copied.is_keyframe = True
                packet = copied
                remaining = remaining[1:] or remaining
            packet.stream = copy
            writer.mux(packet)
    return target


def named(**changes: Any) -> bytes:
    """An identity as stored in a file, with some fields changed, without validation and checksum."""
    return json.dumps(json.loads(IDENTITY.model_dump_json()) | changes).encode()


BAD_IDENTITIES = [
    ([b"{"], None, "broken identity: not JSON"),
    ([b"\xff\xfe\x00"], None, "broken identity: not JSON"),
    ([b"[]"], None, "broken identity: not a JSON object"),
    ([named(scale="0")], None, "broken identity: scale"),
    ([named(width=0)], None, "broken identity: width"),
    ([named(width="64")], None, "broken identity: width"),
    ([named(width=500)], None, "broken identity: coded_width 64 does not fit width 500"),
    ([named(vidscale=3)], None, "schema version 3"),
    ([named(pair="phantom-x1")], None, "needs pair 'phantom-x1', which is not installed"),
    ([named(pair="../../etc-x1")], None, "broken identity: pair"),
    (
        [named(sha256="ab" * 32)],
        None,
        "needs pair 'lanczos-x1', which is not installed: pair 'lanczos-x1' has no weights",
    ),
    ([named(width=128, coded_width=128)], None, "the identity is for pictures of 128x48, these are 64x48"),
    ([named()], named(pair="bicubic-x1"), "contradictory identity: pair is 'lanczos-x1' in the stream, 'bicubic-x1'"),
    ([None], b"nonsense", "broken identity: not JSON"),
    ([None], named(pair="phantom-x1"), "needs pair 'phantom-x1'"),
    ([named(), named(crf=30)], None, "is spliced from different files: its identity changes at 0.400 s"),
    ([named(), named(pair="bicubic-x1")], None, "is spliced from different files: its identity changes at 0.400 s"),
    ([named(), named(vidscale=3)], None, "schema version 3"),
    ([None], None, "has no vidscale identity; name its pair and scale"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("payloads", "tag", "words"), BAD_IDENTITIES)
@pytest.mark.parametrize(("command", "restored"), [("decode", "restored.mkv"), ("decode --y4m", "restored.y4m")])
def test_identity_that_does_not_fit_is_refused(
    tmp_path: Path,
    clip: Path,
    payloads: list[bytes | None],
    tag: bytes | None,
    words: str,
    command: str,
    restored: str,
) -> None:
    small = signed(clip, tmp_path / "small.mkv", *payloads, tag=tag.decode() if tag else None)
    said = refused(tmp_path, *command.split(), small, "-o", tmp_path / restored)
    assert words in said
    assert "small.mkv" in said


def test_identity_that_does_not_fit_is_refused_by_measure(tmp_path: Path, clip: Path) -> None:
    small = signed(clip, tmp_path / "small.mkv", named(), named(pair="bicubic-x1"))
    assert "spliced from different files" in refused(tmp_path, "measure", clip, small)
    small = signed(clip, tmp_path / "other.mkv", b"{")
    assert "broken identity" in refused(tmp_path, "measure", clip, small)


def test_pair_that_contradicts_the_identity_is_refused(tmp_path: Path, clip: Path) -> None:
    small = signed(clip, tmp_path / "small.mkv", named())
    said = refused(tmp_path, "decode", small, "--pair", "bicubic")
    assert "was made with lanczos-x1, not with bicubic-x1" in said


SOUND = IDENTITY.to_json().encode()
DAMAGED = SOUND.replace(b"lanczos", b"lanczas")


@pytest.mark.parametrize(
    ("payloads", "tag", "said"),
    [
        ([SOUND, DAMAGED, SOUND], None, "the identity of 1 keyframe of small.mkv cannot be read"),
        ([DAMAGED, SOUND], None, "the identity of 1 keyframe of small.mkv cannot be read"),
        ([b"{"] * 4 + [SOUND], None, "the identities of 4 keyframes of small.mkv cannot be read"),
        ([DAMAGED], SOUND, "the identities of 5 keyframes of small.mkv cannot be read"),
        ([SOUND], DAMAGED, "tag VIDSCALE ignored: broken identity: checksum mismatch"),
    ],
)
def test_damaged_identity_beside_a_sound_one_is_noted(
    tmp_path: Path, clip: Path, caplog: Any, payloads: list[bytes], tag: bytes | None, said: str
) -> None:
    small = signed(clip, tmp_path / "small.mkv", *payloads, tag=tag.decode() if tag else None)
    run = run_here("decode", small, "-o", tmp_path / "restored.mkv", "--preset", "ultrafast")
    assert run.code == 0, run.stderr
    assert said in run.stderr + caplog.text  # of the tag speaks the log, which pytest takes away from stderr
    assert frame_count(tmp_path / "restored.mkv") == 50


def test_sound_identity_behind_the_first_packets_is_found(tmp_path: Path, make_clip: Clip) -> None:
    clip = make_clip("long.mp4", frames=75, options=["-g", "70", "-keyint_min", "70", "-bf", "0"])
    assert probe_identity(signed(clip, tmp_path / "small.mkv", DAMAGED, SOUND)) == IDENTITY


UNUSABLE = [
    ([DAMAGED], None, "broken identity: checksum mismatch"),
    ([b"{"], DAMAGED, "broken identity"),
    ([None], b"nonsense", "broken identity: not JSON"),
    ([named(vidscale=3)], None, "schema version 3"),
    ([named(width=128, coded_width=128)], None, "re-encoded since?"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("payloads", "tag", "said"), UNUSABLE)
@pytest.mark.parametrize("command", ["decode", "decode --y4m"])
def test_pair_and_scale_by_hand_restore_what_no_identity_can(
    tmp_path: Path, clip: Path, payloads: list[bytes | None], tag: bytes | None, said: str, command: str
) -> None:
    small = signed(clip, tmp_path / "small.mkv", *payloads, tag=tag.decode() if tag else None)
    target = tmp_path / ("restored.y4m" if "y4m" in command else "restored.mkv")
    assert "name its pair and scale with --pair and --scale" in message(run_here(*command.split(), small, "-o", target))
    by_hand = ["--pair", "lanczos", "--scale", "2", "--preset", "ultrafast"]
    run = run_here(*command.split(), small, "-o", target, *by_hand)
    assert run.code == 0, run.stderr
    assert said in run.stderr
    assert "restored by lanczos-x2 to 128x96" in run.stderr
    assert frame_count(target) == 50


def test_by_hand_does_not_override_contradictions(tmp_path: Path, clip: Path) -> None:
    small = signed(clip, tmp_path / "small.mkv", named(), tag=named(pair="bicubic-x1").decode())
    said = refused(tmp_path, "decode", small, "--pair", "lanczos", "--scale", "1", "-o", tmp_path / "restored.mkv")
    assert "contradictory identity" in said


def test_one_flipped_bit_is_damage_or_harmless() -> None:
    """It never becomes another identity, which would be taken for a splice."""
    for at in range(8 * len(SOUND)):
        flipped = bytearray(SOUND)
        flipped[at // 8] ^= 1 << at % 8
        try:
            assert Identity.from_json(bytes(flipped)) == IDENTITY
        except DamagedIdentityError:
            continue

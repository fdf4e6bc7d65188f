"""Tags in MP4 and QuickTime files: standard ones where players look for them, others under keys."""

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from material import (
    coded,
    cover,
    dispositions,
    ffmpeg,
    make,
    packet_data,
    packet_times,
    picture,
    plan,
    restored,
    sound,
    tags,
)

from vidscale.errors import EncodeError
from vidscale.media import mp4
from vidscale.media.file_identity import probe_identity
from vidscale.media.identity import tag_from_metadata
from vidscale.media.mp4 import write_keys

pytestmark = pytest.mark.slow  # most cases encode and decode a file

X264 = ["-c:v", "libx264", "-preset", "ultrafast"]
# What ffmpeg has an atom for: in MP4 (moov/udta/meta/ilst) and in QuickTime files (moov/udta).
COMMON = {
    "title": "My Film",
    "artist": "Me",
    "comment": "hello",
    "date": "2021",
    "genre": "Drama",
    "copyright": "(c) Me",
}
ILST = ["©nam", "©ART", "©cmt", "©day", "©gen", "cprt", "©too"]
UDTA = ["©nam", "©ART", "©cmt", "©day", "©gen", "©cpy", "©swr"]
PHONE = {
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.location.ISO6709": "+48.1371+011.5754/",
    "com.apple.quicktime.creationdate": "2021-03-04T06:06:07+0100",
}


def boxes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Type and content of each box (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind.decode("latin-1"), data[at + 8 : at + size]
        at += size


def box(data: bytes, *path: str) -> bytes:
    """The content of the first box with that path; ``meta`` has a version before its boxes in MP4."""
    for kind in path:
        data = next(content for found, content in boxes(data) if found == kind)
        if kind == "meta" and data[4:8] != b"hdlr":
            data = data[4:]
    return data


def atoms(path: Path) -> dict[str, bytes]:
    """The atoms that players read as tags."""
    user_data = box(path.read_bytes(), "moov", "udta")
    return dict(boxes(box(user_data, "meta", "ilst") if path.suffix == ".mp4" else user_data))


def keys(path: Path) -> dict[str, str]:
    """Keys and their values in moov/meta (QuickTime File Format, Metadata)."""
    meta = box(path.read_bytes(), "moov", "meta")
    assert box(meta, "hdlr")[8:12] == b"mdta"
    listed = box(meta, "keys")
    names = [content.decode() for kind, content in boxes(listed[8:]) if kind == "mdta"]
    assert int.from_bytes(listed[4:8], "big") == len(names)
    values = [box(content, "data") for _, content in boxes(box(meta, "ilst"))]
    assert {value[:8] for value in values} == {b"\0\0\0\1\0\0\0\0"}  # UTF-8, no locale
    return {name: value[8:].decode() for name, value in zip(names, values, strict=True)}


def tagged(path: Path, values: dict[str, str], *options: object) -> Path:
    """A movie with tags."""
    words = [word for key, value in values.items() for word in ("-metadata", f"{key}={value}")]
    return make(path, *picture(duration=0.4), *sound(0.4), *X264, "-c:a", "aac", *words, *options)


@pytest.mark.parametrize(("container", "wanted"), [("mp4", ILST), ("mov", UDTA)])
def test_tags_stand_where_players_look(container: str, wanted: list[str], tmp_path: Path) -> None:
    source = tagged(tmp_path / f"film.{container}", COMMON)
    assert set(wanted) <= set(atoms(source))
    small = coded(source, tmp_path / f"small.{container}", scale="2", strict=True)
    again = restored(small, tmp_path / f"restored.{container}", strict=True)
    for path in (small, again):
        found, origin = atoms(path), atoms(source)
        own = ("©too", "©swr")  # the program that wrote the file
        assert {kind: found[kind] for kind in wanted if kind not in own} == {
            kind: origin[kind] for kind in wanted if kind not in own
        }
        assert {key: tags(path)[key] for key in COMMON} == COMMON
    assert list(keys(small)) == ["VIDSCALE"]
    assert "meta" not in dict(boxes(box(again.read_bytes(), "moov")))


@pytest.mark.parametrize("container", ["mp4", "mov"])
def test_tags_of_a_phone_are_kept(container: str, tmp_path: Path) -> None:
    source = tagged(tmp_path / f"film.{container}", COMMON | PHONE, "-movflags", "use_metadata_tags")
    assert tags(source).items() >= {key.lower(): value for key, value in PHONE.items()}.items()
    small = coded(source, tmp_path / f"small.{container}", scale="2", strict=True)
    again = restored(small, tmp_path / f"restored.{container}", strict=True)
    for path in (small, again):
        assert keys(path).items() >= PHONE.items()
        assert set(atoms(path)) >= set(ILST if container == "mp4" else UDTA)
        assert {key: tags(path)[key] for key in COMMON} == COMMON


@pytest.mark.parametrize(
    ("codec", "container"), [("x264", "mp4"), ("x265", "mp4"), ("svtav1", "mp4"), ("x264", "mov"), ("x265", "mov")]
)
def test_identity_stands_under_a_key(codec: str, container: str, tmp_path: Path) -> None:
    source = tagged(tmp_path / "film.mkv", COMMON)
    decided = plan(source, tmp_path / f"small.{container}", scale="2", codec=codec)
    small = coded(source, decided.output.path, scale="2", codec=codec)
    assert keys(small) == {"VIDSCALE": decided.identity.to_json()}
    assert probe_identity(small) == decided.identity.model_copy(update={"tool": ""})


def test_file_with_the_identity_among_use_metadata_tags_is_read(tmp_path: Path) -> None:
    """As earlier versions wrote it."""
    source = tagged(tmp_path / "film.mp4", {})
    small = coded(source, tmp_path / "small.mp4", scale="2")
    old = make(tmp_path / "old.mp4", "-i", small, "-c", "copy", "-movflags", "use_metadata_tags")
    assert "meta" not in dict(boxes(box(old.read_bytes(), "moov")))
    with av.open(str(old)) as container:
        assert tag_from_metadata(container.metadata) == plan(source, tmp_path / "x.mp4", scale="2").identity
    assert probe_identity(old) == probe_identity(small)
    again = restored(old, tmp_path / "restored.mp4")
    assert not {"vidscale", "major_brand"} & set(keys(again) if b"mdta" in again.read_bytes() else ())


def test_cover_art_free_tags_and_identity_stand_together(tmp_path: Path) -> None:
    picture_file = make(tmp_path / "cover.jpg", *picture("32x32"), "-frames:v", "1")
    source = tagged(tmp_path / "plain.mkv", COMMON | {"mood": "calm"})
    words = ["-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic"]
    source = make(tmp_path / "film.mp4", "-i", source, "-i", picture_file, *words)
    write_keys(source, {"mood": "calm"})
    assert tags(source)["mood"] == "calm"
    small = coded(source, tmp_path / "small.mp4", scale="2", strict=True)
    assert {"covr", "©nam"} <= set(atoms(small))
    assert set(keys(small)) == {"mood", "VIDSCALE"}
    assert "attached_pic" in dispositions(small)[-1]
    assert cover(small) == cover(source)


def test_title_in_a_language_is_no_second_tag(tmp_path: Path) -> None:
    source = tagged(tmp_path / "film.mov", {"title-eng": "My Film", "title": "My Film"})
    assert "title-eng" in tags(source)
    small = coded(source, tmp_path / "small.mp4")
    assert list(keys(small)) == ["VIDSCALE"]
    assert tags(small)["title"] == "My Film"


# The rewriting


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Two streams in several chunks, with the index after the media."""
    return make(tmp_path / "film.mp4", *picture(duration=2), *sound(2), *X264, "-c:a", "aac", "-metadata", "title=T")


def played(path: Path) -> bytes:
    return ffmpeg("-xerror", "-i", path, "-map", "0", "-f", "framemd5", "-")


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("block", [1 << 23, 1000])
def test_media_are_found_again(
    first: bool, wide: bool, block: int, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the index was at the front already, and when it needs 64-bit offsets, for 4 GiB of media."""
    if first:
        film = make(film.with_name("fast.mp4"), "-i", film, "-c", "copy", "-movflags", "faststart")
    monkeypatch.setattr(mp4, "_MOST_OFFSET", 1000 if wide else 2**32 - 1)
    monkeypatch.setattr(mp4, "_BLOCK", block)
    before = played(film), [packet_data(film, i) for i in (0, 1)], [packet_times(film, i) for i in (0, 1)]
    media = box(film.read_bytes(), "mdat")
    values = {"mood": "calm", "Ünï": "ço∂é", "long": "x" * 5000}
    write_keys(film, values)
    assert keys(film) == values
    assert tags(film).items() >= {key.lower(): value for key, value in values.items()}.items()
    order = [kind for kind, _ in boxes(film.read_bytes())]
    assert order.index("moov") < order.index("mdat")
    assert box(film.read_bytes(), "mdat") == media
    table = "co64" if wide else "stco"
    assert table in dict(boxes(box(film.read_bytes(), "moov", "trak", "mdia", "minf", "stbl")))
    assert before == (played(film), [packet_data(film, i) for i in (0, 1)], [packet_times(film, i) for i in (0, 1)])


def test_without_keys_the_index_is_moved_only(film: Path) -> None:
    old = dict(boxes(film.read_bytes()))
    frames = played(film)
    write_keys(film, {})
    assert sorted(kind for kind, _ in boxes(film.read_bytes())) == sorted(old)
    assert len(box(film.read_bytes(), "moov")) == len(old["moov"])
    assert played(film) == frames


@pytest.mark.parametrize("cut", [0, 20, 2000])
def test_file_without_an_index_is_refused(cut: int, film: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copy(film, tmp_path / "broken.mp4"))
    broken.write_bytes(film.read_bytes()[:cut])
    with pytest.raises(EncodeError, match="ffmpeg wrote"):
        write_keys(broken, {"mood": "calm"})

"""Complete files are reported as complete, truncated ones as truncated, in every container, whichever stream ends first
or starts late."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from material import make, picture, sound
from robustness import FAST, cut, refused, run_here

from vidscale.media.probe import probe
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

pytestmark = pytest.mark.slow  # most cases encode and decode a file

X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "25", "-pix_fmt", "yuv420p"]
CODECS: dict[str, list[str]] = {
    **{suffix: [*X264, "-c:a", "aac"] for suffix in (".mkv", ".mp4", ".mov", ".ts", ".flv", ".nut")},
    ".avi": ["-c:v", "mpeg4", "-c:a", "mp2"],
    ".mpg": ["-c:v", "mpeg2video", "-c:a", "mp2"],
    ".wmv": ["-c:v", "wmv2", "-c:a", "wmav2"],
    ".webm": ["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"],
}
FRAGMENTED = ["-movflags", "frag_keyframe+empty_moov+default_base_moof"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources that several tests share."""
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="session")
def segments(folder: Path) -> tuple[bytes, list[bytes]]:
    """The header and three seconds of a CMAF stream with sound."""
    words = ["-f", "hls", "-hls_time", "1", "-hls_segment_type", "fmp4", "-hls_playlist_type", "vod"]
    make(folder / "stream.m3u8", *picture(duration=3), *sound(3), *X264, "-c:a", "aac", *words)
    return (folder / "init.mp4").read_bytes(), [(folder / f"stream{n}.m4s").read_bytes() for n in range(3)]


def read(path: Path, stream: int = 0) -> ReadLog:
    """The log of reading a video."""
    log = ReadLog()
    for _ in decode_frames(probe(path, stream=stream), log=log, clock=Clock("decode")):
        pass
    return log


def is_whole(path: Path, frames: int, stream: int = 0) -> bool:
    log = read(path, stream)
    return (log.frames, log.damaged) == (frames, False)


# Whole files.


@pytest.mark.parametrize("suffix", CODECS)
def test_sound_may_outlast_the_picture(suffix: str, folder: Path) -> None:
    assert is_whole(make(folder / f"longer{suffix}", *picture(duration=2), *sound(6), *CODECS[suffix]), 50)


@pytest.mark.parametrize("suffix", CODECS)
def test_sound_may_be_much_shorter(suffix: str, folder: Path) -> None:
    assert is_whole(make(folder / f"shorter{suffix}", *picture(duration=4), *sound(1), *CODECS[suffix]), 100)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".ts"])
def test_sound_may_start_later(suffix: str, folder: Path) -> None:
    path = make(folder / f"later{suffix}", *picture(duration=2), "-itsoffset", "3", *sound(3), *CODECS[suffix])
    assert is_whole(path, 50)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".ts", ".flv", ".webm"])
def test_everything_may_start_late(suffix: str, folder: Path) -> None:
    later = ["-output_ts_offset", "20"]
    assert is_whole(make(folder / f"late{suffix}", *picture(duration=2), *sound(2), *CODECS[suffix], *later), 50)
    assert is_whole(make(folder / f"late2{suffix}", *picture(duration=2), *sound(6), *CODECS[suffix], *later), 50)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_subtitles_may_outlast_the_picture(suffix: str, folder: Path) -> None:
    text = folder / "text.srt"
    text.write_text("1\n00:00:01,000 --> 00:00:08,000\nlong\n", encoding="utf-8")
    words = ["-c:s", "srt" if suffix == ".mkv" else "mov_text"]
    path = make(folder / f"text{suffix}", *picture(duration=2), "-i", text, *X264, *words)
    assert is_whole(path, 50)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_one_video_may_be_shorter_than_another(suffix: str, folder: Path) -> None:
    maps = ["-map", "0:v", "-map", "1:v"]
    path = make(folder / f"two{suffix}", *picture(duration=6), *picture(duration=2), *maps, *X264)
    assert is_whole(path, 50, stream=1)
    assert is_whole(path, 150)


@pytest.mark.parametrize("movflags", ["frag_keyframe+empty_moov+default_base_moof", "cmaf", "dash+global_sidx"])
def test_fragments_may_have_longer_sound(movflags: str, folder: Path) -> None:
    words = ["-movflags", movflags, *([] if "frag" in movflags else ["-frag_duration", "500000"])]
    path = make(folder / "fragments.mp4", *picture(duration=2), *sound(5), *X264, "-c:a", "aac", *words)
    assert is_whole(path, 50)


@pytest.mark.parametrize("numbers", [(0,), (2,), (1, 2), (0, 2), (0, 1, 2)], ids=str)
def test_segments_of_a_stream_are_whole(
    numbers: tuple[int, ...], segments: tuple[bytes, list[bytes]], tmp_path: Path
) -> None:
    header, parts = segments
    path = tmp_path / "part.mp4"
    path.write_bytes(header + b"".join(parts[number] for number in numbers))
    assert is_whole(path, 25 * len(numbers))
    run = run_here("encode", path, "-o", tmp_path / "small.mp4", "--strict", *FAST)
    assert run.code == 0, run.stderr
    assert "breaks off" not in run.stderr


def test_late_segment_is_whole_where_the_header_has_the_length_of_the_stream(
    segments: tuple[bytes, list[bytes]], tmp_path: Path
) -> None:
    header = bytearray(segments[0])
    at = header.index(b"mvhd") + 16  # version and flags, two times; then ticks per second and the length
    header[at + 4 : at + 8] = (60 * int.from_bytes(header[at : at + 4], "big")).to_bytes(4, "big")
    path = tmp_path / "part.mp4"
    path.write_bytes(header + segments[1][2])
    assert is_whole(path, 25)


@pytest.mark.parametrize("suffix", [".mkv", ".flv", ".mp4", ".mov"])
def test_last_picture_may_stand_for_long(suffix: str, folder: Path) -> None:
    path = make(folder / f"held{suffix}", "-i", held(folder), "-c", "copy")
    assert is_whole(path, 50)


def held(folder: Path) -> Path:
    """Two seconds, the last frame of which is shown for three more."""
    filters = ["-bsf:v", r"setts=pts=PTS:dts=DTS:duration=if(eq(N\,49)\,3/TB\,DURATION)"]
    plain = make(folder / "plain.mp4", *picture(duration=2), *X264)
    return make(folder / "three_seconds_more.mp4", "-i", plain, "-c", "copy", *filters)


def test_last_picture_of_matroska_may_stand_until_the_end_of_the_file(folder: Path, tmp_path: Path) -> None:
    """As other muxers write it: the file has a duration, its last block has none."""
    data = bytearray(make(folder / "held.mkv", "-i", held(folder), "-c", "copy").read_bytes())
    block_duration = data.rindex(bytes.fromhex("9b82"))
    data[block_duration] = 0xEC  # an element that means nothing
    path = tmp_path / "held.mkv"
    path.write_bytes(data)
    log = ReadLog()
    *_, last = decode_frames(probe(path), log=log, clock=Clock("decode"))
    with av.open(str(path)) as container:
        assert container.duration is not None
        assert container.duration > 4_800_000
        assert last.duration is not None
        assert last.time + last.duration * last.time_base == Fraction(container.duration, 1_000_000)
    assert not log.damaged


def test_edit_list_that_ends_early_is_followed(folder: Path, tmp_path: Path) -> None:
    data = bytearray(make(folder / "plain.mp4", *picture(duration=2), *X264).read_bytes())
    ticks = int.from_bytes(data[data.index(b"mvhd") + 16 :][:4], "big")
    at = data.index(b"elst") + 12
    data[at : at + 4] = (ticks * 3 // 2).to_bytes(4, "big")
    path = tmp_path / "edited.mp4"
    path.write_bytes(data)
    assert is_whole(path, 38)


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_whole_file_passes_strict(suffix: str, folder: Path, tmp_path: Path) -> None:
    path = make(tmp_path / f"longer{suffix}", *picture(duration=2), *sound(6), *CODECS[suffix])
    run = run_here("encode", path, "-o", tmp_path / "small.mkv", "--strict", *FAST)
    assert run.code == 0, run.stderr
    assert "breaks off" not in run.stderr


def test_transport_stream_that_begins_within_a_packet_does_not_break_off(folder: Path, tmp_path: Path) -> None:
    whole = make(folder / "all.ts", *picture(duration=4), *sound(4), *CODECS[".ts"])
    path = tmp_path / "part.ts"
    path.write_bytes(whole.read_bytes()[188 * 30 + 77 :])
    assert read(path).truncated_at_s is None


# Cut ones.


def cut_source(suffix: str, folder: Path, sound_s: int) -> Path:
    front = ["-movflags", "+faststart"] if suffix in (".mp4", ".mov") else []
    noise = picture("96x64", duration=4, then="noise=alls=20:allf=t")
    return make(folder / f"all{sound_s}{suffix}", *noise, *sound(sound_s), *CODECS[suffix], *front)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.85])
@pytest.mark.parametrize("sound_s", [1, 4, 8])
@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4", ".mov", ".ts", ".flv", ".avi"])
def test_cut_file_breaks_off(suffix: str, sound_s: int, part: float, folder: Path, tmp_path: Path) -> None:
    source = tmp_path / f"all{suffix}"
    source.write_bytes(cut_source(suffix, folder, sound_s).read_bytes())
    log = read(cut(source, part))
    if log.frames < 97:  # or it is the sound that lacks its end
        assert log.truncated_at_s is not None


@pytest.mark.parametrize("part", [0.3, 0.55, 0.8])
def test_cut_fragments_break_off(part: float, folder: Path, tmp_path: Path) -> None:
    whole = make(folder / "fragments4.mp4", *picture(duration=4), *sound(4), *X264, "-c:a", "aac", *FRAGMENTED)
    source = tmp_path / "all.mp4"
    source.write_bytes(whole.read_bytes())
    assert read(source).truncated_at_s is None
    assert read(cut(source, part)).truncated_at_s is not None


@pytest.mark.parametrize("part", [0.4, 0.7])
def test_cut_segment_breaks_off(part: float, segments: tuple[bytes, list[bytes]], tmp_path: Path) -> None:
    path = tmp_path / "part.mp4"
    last = segments[1][2]
    path.write_bytes(segments[0] + segments[1][1] + last[: int(len(last) * part)])
    assert read(path).truncated_at_s is not None
    assert "is damaged" in refused(tmp_path, "encode", path, "--strict", "-o", tmp_path / "small.mp4", *FAST)


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4", ".avi", ".flv"])
def test_end_of_zeros_breaks_off(suffix: str, folder: Path, tmp_path: Path) -> None:
    """An unfinished download in a preallocated file."""
    data = cut_source(suffix, folder, 4).read_bytes()
    path = tmp_path / f"zeros{suffix}"
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    log = read(path)
    assert log.frames < 80
    assert log.truncated_at_s is not None

"""Sources in several files: playlists, lists, numbered pictures. Their size, and that they can be encoded."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from material import coded, coding, make, picture, plan, shown_times, sound
from robustness import FAST, run_here

from vidscale.jobs.evaluation import evaluate_encode
from vidscale.media.parts import media_bytes
from vidscale.media.probe import probe
from vidscale.report.totals import summary_lines, totals

H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25"]
HLS = ["-f", "hls", "-hls_time", "1", "-hls_playlist_type", "vod"]


def size(folder: Path, *patterns: str) -> int:
    """Total bytes of all files with these names."""
    files = [file for pattern in patterns for file in folder.glob(pattern)]
    assert files
    return sum(file.stat().st_size for file in files)


def playlist(folder: Path, *options: str) -> Path:
    return make(folder / "film.m3u8", *picture(duration=3), *H264, *HLS, *options)


def with_sound(folder: Path, variants: str, *maps: object) -> Path:
    """A master playlist, written by ffmpeg next to the playlists it names."""
    words = [*maps, *H264, "-c:a", "aac", *HLS, "-master_pl_name", "master.m3u8", "-var_stream_map", variants]
    make(folder / "part%v.m3u8", *picture(duration=3), *sound(3), *words)
    return folder / "master.m3u8"


SOURCES: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "segments": (playlist, ("*.ts",)),
    "fragments": (lambda folder: playlist(folder, "-hls_segment_type", "fmp4"), ("*.m4s", "init.mp4")),
    "ranges": (lambda folder: playlist(folder, "-hls_flags", "single_file"), ("*.ts",)),
    "fragment ranges": (
        lambda folder: playlist(folder, "-hls_segment_type", "fmp4", "-hls_flags", "single_file"),
        ("*.m4s",),
    ),
    "one variant": (lambda folder: with_sound(folder, "v:0,a:0"), ("*.ts",)),
    "sound apart": (lambda folder: with_sound(folder, "v:0,agroup:a a:0,agroup:a"), ("*.ts",)),
}


@pytest.mark.parametrize("name", list(SOURCES))
def test_playlist_is_as_large_as_its_parts(name: str, tmp_path: Path) -> None:
    make_source, parts = SOURCES[name]
    source = make_source(tmp_path)
    wanted = size(tmp_path, *parts)
    assert source.stat().st_size < wanted / 10
    assert probe(source).size_bytes == wanted
    outcome = coding(source, tmp_path / "small.mp4", scale="2")
    assert shown_times(outcome.path) == shown_times(source)
    assert outcome.notes == ()


def test_variants_of_a_film_have_no_size(tmp_path: Path) -> None:
    """Only one of them is played; the player chooses which."""
    maps = ["-map", "0:v", "-map", "0:v", "-map", "1:a", "-b:v:0", "100k", "-b:v:1", "300k"]
    source = with_sound(tmp_path, "v:0,agroup:a v:1,agroup:a a:0,agroup:a", *maps)
    assert probe(source).size_bytes is None


def test_list_is_as_large_as_its_files(tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        make(tmp_path / name, *picture(duration=1), *H264)
    source = tmp_path / "list.ffconcat"
    source.write_text("ffconcat version 1.0\n# both\nfile one.mp4\nduration 1\nfile 'two.mp4'\n")
    assert probe(source).size_bytes == size(tmp_path, "*.mp4")
    source.write_text("ffconcat version 1.0\nfile one.mp4\ninpoint 0.2\n")
    assert probe(source).size_bytes is None


def test_numbered_pictures_have_no_size_and_are_coded(tmp_path: Path) -> None:
    make(tmp_path / "%03d.png", *picture("32x32", duration=0.2))
    source = tmp_path / "%03d.png"
    assert probe(source).size_bytes is None
    for _ in range(2):  # the second time the output is there
        small = coded(source, tmp_path / "small.mkv", scale="2")
        assert len(shown_times(small)) == 5
    assert probe(tmp_path / "001.png").size_bytes == (tmp_path / "001.png").stat().st_size


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXTINF:1,\nhttps://example.com/a.ts\n",
        "#EXTM3U\n#EXTINF:1,\nmissing.ts\n",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfilm.m3u8\n",
        "#EXTM3U\n#EXT-X-BYTERANGE:many@0\na.ts\n",
        '#EXTM3U\n#EXT-X-MAP:URI=""\na.ts\n',
    ],
)
def test_parts_that_cannot_be_told_have_no_size(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.ts").write_bytes(bytes(188))
    (path := tmp_path / "film.m3u8").write_text(text)
    assert media_bytes(path, "hls") is None
    assert media_bytes(path, "sdp") is None
    assert media_bytes(path, "mpegts") == len(text)


def test_notes_on_a_source_without_a_size(tmp_path: Path) -> None:
    source = playlist(tmp_path)
    run = run_here("encode", source, "-o", tmp_path / "small.mkv", *FAST, "--json")
    assert json.loads(run.stdout)["source_bytes"] == size(tmp_path, "*.ts")
    run = run_here("encode", source, "-o", tmp_path / "small.mkv", "-y", *FAST)
    share = (tmp_path / "small.mkv").stat().st_size / size(tmp_path, "*.ts")
    assert f"{100 * share:.1f} % of the source" in run.stdout

    numbered = tmp_path / "%03d.png"
    make(numbered, *picture("32x32", duration=0.2))
    run = run_here("encode", numbered, "-o", tmp_path / "small.mkv", "-y", *FAST, "--json")
    assert json.loads(run.stdout)["source_bytes"] is None
    run = run_here("encode", numbered, "-o", tmp_path / "small.mkv", "-y", *FAST)
    assert "of the source" not in run.stdout
    decided = plan(numbered, tmp_path / "small.mkv")
    report = evaluate_encode(decided, coding(numbered, tmp_path / "small.mkv"))
    assert report.source.size_bytes is None
    assert totals(report).size_ratio is None
    assert not any(" of the source" in line for line in summary_lines(report))

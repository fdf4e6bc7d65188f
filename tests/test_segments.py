"""`--segments`: what is decided for each part of a movie, how the parts are joined, and that they are restored."""

import json
import re
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from material import Codes, ffmpeg, make, picture, restored, shown_times, sound
from robustness import documented, message, run_here

from vidscale import api
from vidscale.config import DecodeSettings, EncodeSettings, TimeRange
from vidscale.errors import DecodeError, ModelError, UsageError
from vidscale.jobs.restore import open_small
from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.media.playlists import joined_text, part_playlists
from vidscale.media.probe import probe
from vidscale.per_title.segments import segments_of
from vidscale.players.mpv import shader_playback

CUT = 56  # frame; 24 a second


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sharp scene of 2.33 s and a soft one of 1.67 s, with a tone."""
    joined = (
        f"[0]trim=end_frame={CUT}[a];[1]trim=end_frame=40,setpts=PTS-STARTPTS[b];[a][b]concat=n=2,format=yuv420p[v]"
    )
    soft = ["-f", "lavfi", "-i", "mandelbrot=s=160x96:r=24"]
    streams = ["-filter_complex", joined, "-map", "[v]", "-map", "2:a", "-crf", "4"]
    folder = tmp_path_factory.mktemp("segments")
    return make(folder / "film.mp4", *picture("160x96", 24, 4), *soft, *sound(4), *streams)


@pytest.fixture(scope="module")
def parts(movie: Path) -> tuple[Path, dict[str, Any]]:
    """The folder and the JSON record of an encode by shots."""
    folder = movie.with_name("film.hls")
    words = ["--segments", "shots", "--target", "vmaf=70", "--preset", "veryfast", "--json"]
    done = run_here("encode", movie, "-o", folder, *words)
    assert done.code == 0, done.stderr
    return folder, json.loads(done.stdout)


def luma(path: Path) -> Codes:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray()[: frame.height] for frame in container.decode(video=0)])


def test_shots_begin_at_the_cut(movie: Path) -> None:
    found = segments_of(probe(movie), EncodeSettings(segments="shots"))
    assert found == (TimeRange(end=Fraction(CUT, 24)), TimeRange(start=Fraction(CUT, 24)))


@pytest.mark.parametrize(
    ("seconds", "starts"), [("1", [0, 1, 2, 3]), ("1.5", [0, Fraction(3, 2), 3]), ("3", [0]), ("100", [0])]
)
def test_parts_of_equal_length_cover_the_movie(seconds: str, starts: list[Fraction], movie: Path) -> None:
    """The last one is at least half as long."""
    found = segments_of(probe(movie), EncodeSettings(segments=seconds))  # type: ignore[arg-type]
    assert [part.start for part in found] == starts
    assert [part.end for part in found] == [*starts[1:], None]


def test_shots_are_on_the_source_s_timeline(tmp_path: Path) -> None:
    """Of a recording whose timestamps begin late: parts are counted from there, as --range does."""
    cut = "[0]trim=end_frame=60[a];[1]trim=end_frame=60,setpts=PTS-STARTPTS[b];[a][b]concat=n=2,format=yuv420p[v]"
    scenes = [*picture(rate=24, duration=4), "-f", "lavfi", "-i", "mandelbrot=s=64x48:r=24"]
    late = ["-filter_complex", cut, "-map", "[v]", "-output_ts_offset", "100", "-crf", "4"]
    film = make(tmp_path / "late.ts", *scenes, *late)
    assert probe(film).start_s > 99
    assert [part.start for part in segments_of(probe(film), EncodeSettings(segments="shots"))] == [0, Fraction(5, 2)]


def test_each_part_is_encoded_as_decided(movie: Path, parts: tuple[Path, dict[str, Any]]) -> None:
    folder, record = parts
    (rendition,) = record["renditions"]
    sharp, soft = rendition["parts"]
    assert (sharp["start_s"], soft["start_s"]) == (0, pytest.approx(CUT / 24))
    assert soft["width"] != sharp["width"]
    assert rendition["width"] == max(soft["width"], sharp["width"]) <= 160
    assert rendition["measured"] == pytest.approx(70, abs=1)
    for number, part in enumerate((sharp, soft), start=1):
        with av.open(str(folder / "v1" / f"p{number}" / "video.m3u8")) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height) == (part["width"], part["height"])
    times = [time for number in (1, 2) for time in shown_times(folder / "v1" / f"p{number}" / "video.m3u8")]
    assert times == pytest.approx(shown_times(movie), abs=1e-4)


def test_playlist_joins_the_parts(parts: tuple[Path, dict[str, Any]]) -> None:
    folder, record = parts
    text = (folder / "v1" / "video.m3u8").read_text()
    assert re.findall(r'URI="(.*)"', text) == ["p1/init.mp4", "p2/init.mp4"]
    assert re.findall(r"^p.*", text, re.MULTILINE) == ["p1/00000.m4s", "p2/00000.m4s"]
    durations = list(map(float, re.findall(r"#EXTINF:([0-9.]+)", text)))
    assert durations == pytest.approx([CUT / 24, 40 / 24], abs=1e-4)
    assert record["segments"] == 2
    (rendition,) = record["renditions"]
    assert f"RESOLUTION={rendition['width']}x{rendition['height']}," in (folder / "master.m3u8").read_text()


def test_dash_manifest_has_a_period_for_each_part(parts: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """By ffmpeg's own demuxer, which reads one period of a manifest: each has all pictures of its part, and sound."""
    space = {"": "urn:mpeg:dash:schema:mpd:2011"}
    ElementTree.register_namespace("", space[""])  # ffmpeg does not read prefixes
    folder = shutil.copytree(parts[0], tmp_path / "film.hls")
    manifest = folder / "manifest.mpd"
    whole = ElementTree.parse(manifest).getroot()
    periods = whole.findall("Period", space)
    starts = [float(period.attrib["start"].strip("PTS")) for period in periods]
    assert starts == pytest.approx([0, CUT / 24], abs=1e-6)
    assert float(whole.attrib["mediaPresentationDuration"].strip("PTS")) == pytest.approx(4, abs=0.05)
    for number, start in enumerate(starts, start=1):
        root = ElementTree.parse(manifest).getroot()
        for other in root.findall("Period", space):
            if other.attrib["id"] != str(number - 1):
                root.remove(other)
        for template in root.iterfind(".//SegmentTemplate", space):
            assert int(template.get("presentationTimeOffset", "0")) == round(start * 1e6)
        alone = folder / f"{number}.mpd"
        ElementTree.ElementTree(root).write(alone)
        options = ["-map", "0:v", "-fps_mode", "passthrough", "-f", "md5", "-"]
        found, wanted = (ffmpeg("-i", path, *options) for path in (alone, folder / "v1" / f"p{number}" / "video.m3u8"))
        assert found == wanted
        seconds = len(ffmpeg("-i", alone, "-map", "0:a", "-ac", "1", "-ar", "8000", "-f", "u8", "-")) / 8000
        assert seconds > [CUT / 24, 40 / 24][number - 1] - 0.05


def test_all_parts_are_restored_as_one_movie(movie: Path, parts: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = parts
    path = restored(folder / "v1.m3u8", movie.with_name("restored.mkv"), lossless=True)
    assert shown_times(path) == pytest.approx(shown_times(movie), abs=2e-3)
    before, after = luma(movie), luma(path)
    assert before.shape == after.shape
    errors = np.square(before.astype(float) - after).mean(axis=(1, 2))
    assert 10 * np.log10(255**2 / errors).min() > 20  # every frame is that of the source, at its full size
    sounds = [ffmpeg("-i", file, "-map", "0:a", "-f", "s16le", "-") for file in (movie, folder / "v1.m3u8")]
    assert sounds[1].startswith(sounds[0])  # fragments end with a whole AAC frame


def test_plan_has_a_decision_and_a_command_for_each_part(movie: Path) -> None:
    words = ["--segments", "2", "--target", "psnr=24", "--preset", "veryfast", "--scale", "2", "--pair", "lanczos"]
    done = run_here("plan", movie, *words, "--json")
    assert done.code == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["range"] for record in records] == [{"start": "0", "end": "2"}, {"start": "2", "end": None}]
    assert set(records[0]) - {"event"} == documented("decision")
    assert "--range 2:" in records[1]["ways"][0]["command"]
    text = run_here("plan", movie, *words).stdout
    assert "film.mp4 from 2.000 s: lanczos-x2 at crf" in text


@pytest.mark.slow
def test_every_rendition_of_a_ladder_has_all_parts(movie: Path, tmp_path: Path) -> None:
    words = ["--segments", "2", "--target", "psnr=25", "--target", "psnr=22", "--scale", "2", "--pair", "lanczos"]
    done = run_here("ladder", movie, "-o", tmp_path / "out", *words, "--preset", "ultrafast", "--json")
    assert done.code == 0, done.stderr
    assert [len(row["parts"]) for row in json.loads(done.stdout)["renditions"]] == [2, 2]
    for name in ("v1", "v2"):
        playlists = part_playlists(tmp_path / "out" / f"{name}.m3u8")
        starts = [shown_times(playlist)[0] for playlist in playlists]
        assert starts == pytest.approx([0, 2], abs=1e-4)
    assert part_playlists(tmp_path / "out" / "master.m3u8") == ()


def test_other_playlists_have_no_parts(tmp_path: Path) -> None:
    text = joined_text([("p1/video.m3u8", '#EXT-X-TARGETDURATION:4\n#EXT-X-MAP:URI="init.mp4"\n#EXTINF:4.0,\na.m4s\n')])
    assert "#EXT-X-TARGETDURATION:4" in text
    assert 'URI="p1/init.mp4"\n#EXTINF:4.0,\np1/a.m4s' in text
    (tmp_path / "x.m3u8").write_text(text.replace("p1/", "../p1/"))
    assert part_playlists(tmp_path / "x.m3u8") == ()
    (tmp_path / "loop.m3u8").write_text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nloop.m3u8\n")
    assert part_playlists(tmp_path / "loop.m3u8") == ()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"segments": "scenes"}, "segments 'scenes' are neither shots nor a number of seconds"),
        ({"segments": "0.5"}, "segments of 0.5 s are outside 1 to 600 s"),
        ({"segments": "1/0"}, "neither shots nor"),
        ({"segments": "6", "range": "1:2"}, "--range does not go with it"),
        ({"segments": "shots", "max_size": "7M"}, "--max-size does not go with it"),
    ],
)
def test_settings_errors(given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as error:
        EncodeSettings.resolve(given)
    assert words in str(error.value)


def test_errors_are_one_line(movie: Path, tmp_path: Path) -> None:
    failed = run_here("encode", movie, "--segments", "2", "--scale", "2", "-o", tmp_path / "out")
    assert message(failed, code=2).startswith("there is nothing to decide for each segment")
    unreached = ["--target", "psnr=60", "--scale", "2", "--pair", "lanczos", "--preset", "ultrafast"]
    failed = run_here("encode", movie, "--segments", "2", *unreached, "-o", tmp_path / "out")
    assert failed.code == 1
    assert message(failed).startswith("from 0.000 s on: --target psnr_y=60 cannot be reached")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="segments write a playlist"):
        api.encode(movie, segments=2)
    with pytest.raises(DecodeError):
        segments_of(probe(tmp_path / "none.mp4"), EncodeSettings(segments="shots"))


def test_parts_have_no_shader_but_a_page(parts: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Each may have a pair of its own; `play` restores them through a pipe, a page by the time of the picture."""
    playlist = parts[0] / "v1.m3u8"
    small = open_small(playlist, ffmpeg=find_ffmpeg(None).path, settings=DecodeSettings())
    with pytest.raises(ModelError, match="no shader fits"):
        shader_playback(small)
    told = json.loads(api.web(playlist, tmp_path / "site").index.with_name("v1.json").read_text())
    sharp, soft = told["renditions"]["v1/video.m3u8"]
    assert [sharp["first"], sharp["last"]] == pytest.approx([0, (CUT - 1) / 24], abs=1e-4)
    assert [soft["first"], soft["last"]] == pytest.approx([CUT / 24, 95 / 24], abs=1e-4)
    widths = [told["networks"][part["network"]]["coded_width"] for part in (sharp, soft)]
    assert widths == [row["width"] for row in parts[1]["renditions"][0]["parts"]]

"""`decode`: what it restores, in which formats, and from which files."""

import json
from fractions import Fraction
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from material import (
    coded,
    ffmpeg,
    kinds,
    make,
    packet_data,
    packet_times,
    picture,
    pixels,
    restored,
    shown_times,
    sound,
    stream_tags,
    tags,
)
from typer.testing import CliRunner

from vidscale import api
from vidscale.cli import app
from vidscale.config import DecodeSettings
from vidscale.errors import ConfigError, IdentityError, UsageError
from vidscale.jobs.restore import open_small, restored_frames
from vidscale.media.file_identity import probe_identity
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

FFV1 = ["-c:v", "ffv1", "-level", "3"]
LOSSLESS: dict[str, dict[str, Any]] = {
    "x264": {"codec": "x264", "encoder_params": "qp=0"},
    "x265": {"codec": "x265", "encoder_params": "lossless=1"},
    "svtav1": {"codec": "svtav1", "encoder_params": "lossless=1"},
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources that several tests share; outputs go elsewhere."""
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="session")
def movie(folder: Path) -> Path:
    """64x48 with audio."""
    return make(folder / "movie.mp4", *picture(), *sound(), "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")


def expected_codes(small: Path) -> npt.NDArray[Any]:
    """The upscaler's result for a small file: [frames, samples] of all planes."""
    found = open_small(small, ffmpeg="", settings=DecodeSettings())
    frames = restored_frames(found, log=ReadLog(), decoding=Clock("d"), upscaling=Clock("u"))
    return np.stack([np.concatenate([plane.ravel() for plane in frame.planes]) for frame in frames])


def run(*words: object) -> Any:
    """Runs the command line in this process."""
    return CliRunner().invoke(app, [str(word) for word in words])


def complaint(result: Any) -> str:
    """The line on stderr of a failed command."""
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return str(line)


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["x264", "x265", "svtav1"])
def test_restored_picture_is_that_of_the_scalers(codec: str, folder: Path, tmp_path: Path) -> None:
    # Coded without loss, the small picture is known exactly: zscale makes both halves of the way.
    source = make(folder / "smooth.mkv", *picture(duration=0.2, then="gblur=2"), "-pix_fmt", "yuv420p", *FFV1)
    small = coded(source, tmp_path / "small.mkv", scale="2", pair="lanczos", **LOSSLESS[codec])
    path = restored(small, tmp_path / "restored.mkv", lossless=True)
    sited = "filter=lanczos:chromalin=left:chromal=left"
    there_and_back = f"setparams=chroma_location=left,zscale=32:24:{sited},zscale=64:48:{sited}"
    truth = pixels(source, "yuv420p", (48, 64), "-vf", there_and_back).astype(int)
    found = pixels(path, "yuv420p", (48, 64)).astype(int)
    assert abs(found - truth).max() <= 2  # one code for each way


@pytest.mark.slow
@pytest.mark.parametrize("chroma", ["420", "422", "444", "gray"])
@pytest.mark.parametrize("depth", [8, 10, 12])
def test_lossless_is_exact(chroma: str, depth: int, folder: Path, tmp_path: Path) -> None:
    suffix = "" if depth == 8 else f"{depth}le"
    pix_fmt = f"gray{suffix}" if chroma == "gray" else f"yuv{chroma}p{suffix}"
    source = make(folder / f"{pix_fmt}.mkv", *picture(duration=0.2), "-pix_fmt", pix_fmt, *FFV1)
    small = coded(source, tmp_path / "small.mkv", scale="1.5", codec="x265")
    expected = expected_codes(small)
    path = restored(small, lossless=True)
    assert kinds(path) == ["video ffv1"]
    np.testing.assert_array_equal(pixels(path, pix_fmt, (48, 64)), expected)
    if depth == 12:
        with pytest.raises(ConfigError, match=f"lossless H.264 does not support {pix_fmt}; write Matroska"):
            restored(small, tmp_path / "restored.mp4", lossless=True)
    else:
        path = restored(small, tmp_path / "restored.mp4", lossless=True)
        assert kinds(path) == ["video h264"]
        np.testing.assert_array_equal(pixels(path, pix_fmt, (48, 64)), expected)


@pytest.mark.parametrize("container", ["mkv", "mp4"])
def test_lossless_keeps_the_aspect_ratio(container: str, folder: Path, tmp_path: Path) -> None:
    source = make(folder / "wide.mkv", *picture("160x120", duration=0.2), "-vf", "setsar=4/3", "-c:v", "libx264")
    path = restored(coded(source, tmp_path / "small.mkv", scale="2"), tmp_path / f"back.{container}", lossless=True)
    with av.open(str(path)) as container_:
        assert container_.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def raw_clip(path: Path, width: int, height: int) -> Path:
    """Two noisy frames of any size, yuv420p."""
    size = width * height + 2 * ceil(width / 2) * ceil(height / 2)
    data = np.random.default_rng(1).integers(40, 200, 2 * size).astype(np.uint8).tobytes()
    words = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", 25, "-i", "pipe:0"]
    return make(path, *words, *FFV1, data=data)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(35, 27), (34, 27), (1, 1)])
def test_odd_sizes_are_exact_or_refused(width: int, height: int, folder: Path, tmp_path: Path) -> None:
    source = raw_clip(folder / f"{width}x{height}.mkv", width, height)
    small = coded(source, tmp_path / "small.mkv", scale="2")
    expected = expected_codes(small)
    path = restored(small, lossless=True)
    np.testing.assert_array_equal(pixels(path, "yuv420p", (height, width)), expected)
    result = run("decode", small, "--y4m", "-o", tmp_path / "out.y4m")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (tmp_path / "out.y4m").read_bytes().startswith(f"YUV4MPEG2 W{width} H{height} ".encode())
    np.testing.assert_array_equal(pixels(tmp_path / "out.y4m", "yuv420p", (height, width)), expected)
    for words in (["--codec", "x264"], ["--codec", "x265"]):
        result = run("decode", small, "-o", tmp_path / "out.mkv", *words)
        assert result.exit_code == 1
        assert complaint(result) == (
            f"vidscale: {width}x{height} yuv420p cannot be encoded at this exact size; use --lossless or --y4m"
        )
    result = run("decode", small, "-o", tmp_path / "out.mp4", "--lossless")
    assert result.exit_code == 1
    assert "cannot be encoded at this exact size; write Matroska" in complaint(result)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.y4m", "small.mkv", "small.restored.mkv"]


@pytest.mark.parametrize("words", [["--y4m"], ["-o", "-"]])
def test_y4m_on_stdout(words: list[str], movie: Path, tmp_path: Path) -> None:
    small = coded(movie, tmp_path / "small.mp4", scale="1.5")
    result = run("decode", small, "--quiet", *words)
    assert (result.exit_code, result.stderr) == (0, "")
    (tmp_path / "out.y4m").write_bytes(result.stdout_bytes)
    header = result.stdout_bytes.split(b"\n")[0].decode()
    assert header.startswith("YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420")
    np.testing.assert_array_equal(pixels(tmp_path / "out.y4m", "yuv420p", (48, 64)), expected_codes(small))


def test_y4m_from_python_is_that_of_the_command(movie: Path, tmp_path: Path) -> None:
    small = coded(movie, tmp_path / "small.mkv")
    stream = BytesIO()
    assert api.decode_y4m(small, stream) == api.decode_y4m(small, tmp_path / "out.y4m") == len(expected_codes(small))
    assert stream.getvalue() == (tmp_path / "out.y4m").read_bytes() == run("decode", small, "--y4m").stdout_bytes
    with pytest.raises(ConfigError, match=r"out\.y4m exists"):
        api.decode_y4m(small, tmp_path / "out.y4m")


def test_y4m_keeps_depth_range_and_aspect(folder: Path, tmp_path: Path) -> None:
    words = ["-vf", "format=yuv422p10le,setparams=range=pc,setsar=4/3", "-c:v", "libx265", "-preset", "ultrafast"]
    source = make(folder / "deep.mkv", *picture(duration=0.2), *words)
    small = coded(source, tmp_path / "small.mkv", scale="2", codec="x265")
    result = run("decode", small, "--y4m")
    assert result.exit_code == 0
    header = result.stdout_bytes.split(b"\n")[0].decode()
    assert "A4:3" in header
    assert "C422p10" in header
    assert "XCOLORRANGE=FULL" in header
    frame = 48 * 64 * 2 * 2
    assert len(result.stdout_bytes) == len(header) + 1 + 5 * (len("FRAME\n") + frame)


def test_everything_else_of_the_small_file_is_kept(folder: Path, tmp_path: Path) -> None:
    (folder / "text.srt").write_text("1\n00:00:00,100 --> 00:00:00,500\nhello\n")
    (folder / "meta.txt").write_text(
        ";FFMETADATA1\ntitle=The film\nmood=calm\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=100\nEND=900\ntitle=One\n"
    )
    make(folder / "cover.png", *picture("32x32"), "-frames:v", "1")
    inputs = ["-i", folder / "text.srt", "-i", folder / "meta.txt"]
    words = ["-map", 0, "-map", 1, "-map", 2, "-map_metadata", 3, "-map_chapters", 3, "-c:s", "srt", "-c:a", "aac"]
    words += ["-metadata:s:a:0", "language=deu", "-disposition:s:0", "forced", "-attach", folder / "cover.png"]
    words += ["-metadata:s:t:0", "mimetype=image/png", "-c:v", "libx264", "-preset", "ultrafast"]
    source = make(folder / "rich.mkv", *picture(), *sound(), *inputs, *words)
    small = coded(source, scale="2")
    for path in (restored(small), restored(small, tmp_path / "restored.mkv", lossless=True)):
        assert kinds(path)[1:] == kinds(source)[1:]
        for stream in (1, 2):
            assert packet_data(path, stream) == packet_data(source, stream)
            assert packet_times(path, stream) == packet_times(source, stream)
            assert stream_tags(path, stream) == stream_tags(source, stream)
        assert {key: tags(path)[key] for key in ("title", "mood")} == {"title": "The film", "mood": "calm"}
        assert "vidscale" not in tags(path)
        assert probe_identity(path) is None
        with av.open(str(path)) as opened:
            (chapter,) = opened.chapters()
            assert chapter["metadata"] == {"title": "One"}
            assert chapter["start"] * chapter["time_base"] == Fraction(1, 10)
        assert shown_times(path) == shown_times(source)
    assert small.with_name("rich.restored.mkv").exists()


def test_lossless_matroska_has_a_frame_rate(movie: Path, tmp_path: Path) -> None:
    small = coded(movie, tmp_path / "small.mkv", scale="2")
    with av.open(str(restored(small, lossless=True))) as opened:
        assert opened.streams.video[0].average_rate == 25


@pytest.mark.slow
def test_settings_of_the_encoder_are_used(movie: Path, tmp_path: Path) -> None:
    small = coded(movie, tmp_path / "small.mp4", scale="2")
    sizes = [len(b"".join(packet_data(restored(small, crf=crf), 0))) for crf in (10, 30)]
    assert sizes[0] > 2 * sizes[1]
    for codec, kind in (("x264", "video h264"), ("x265", "video hevc"), ("svtav1", "video av1")):
        assert kinds(restored(small, codec=codec)) == [kind, "audio aac"]


def test_json_and_dry_run(movie: Path, tmp_path: Path) -> None:
    small = coded(movie, tmp_path / "film.vs2.mp4", scale="2")
    result = run("decode", small, "--dry-run", "--json")
    plan = json.loads(result.stdout)
    assert (plan["event"], plan["pair"], plan["output"]) == ("plan", "adaptive-x2", str(tmp_path / "film.restored.mp4"))
    assert "-crf 16" in plan["commands"][0]
    assert not (tmp_path / "film.restored.mp4").exists()
    result = run("decode", small, "--json", "--preset", "ultrafast")
    done = json.loads(result.stdout)
    assert (done["event"], done["frames"], done["width"], done["height"]) == ("restored", 25, 64, 48)
    assert done["bytes"] == (tmp_path / "film.restored.mp4").stat().st_size


# Where the identity comes from


def test_file_without_identity_needs_a_pair_and_a_scale(movie: Path, tmp_path: Path) -> None:
    result = run("decode", movie, "-o", tmp_path / "out.mkv")
    assert result.exit_code == 1
    assert "has no vidscale identity; name its pair and scale with --pair and --scale" in complaint(result)
    with pytest.raises(UsageError, match="needs a scale"):
        restored(movie, tmp_path / "out.mkv", pair="lanczos")
    for words in ({"pair": "bicubic", "scale": "1.5"}, {"pair": "bicubic-x1.5"}):
        path = restored(movie, tmp_path / "out.mkv", lossless=True, **words)
        sited = "filter=bicubic:param_a=0:param_b=0.5:chromalin=left:chromal=left"
        truth = pixels(movie, "yuv420p", (72, 96), "-vf", f"setparams=chroma_location=left,zscale=96:72:{sited}")
        found = pixels(path, "yuv420p", (72, 96))
        assert abs(found.astype(int) - truth).max() <= 1


def test_another_pair_than_the_file_names_is_refused(movie: Path, tmp_path: Path) -> None:
    small = coded(movie, tmp_path / "small.mp4", scale="2", pair="lanczos")
    with pytest.raises(ConfigError, match="was made with lanczos-x2, not with bicubic-x2"):
        restored(small, pair="bicubic")
    with pytest.raises(ConfigError, match="made for scale 2, not for 3"):
        restored(small, scale="3")
    assert restored(small, pair="lanczos", scale="2").exists()


def test_identity_in_the_stream_survives_remuxing_without_tags(movie: Path, tmp_path: Path) -> None:
    small = coded(movie, tmp_path / "small.mkv", scale="2")
    moved = make(tmp_path / "moved.mp4", "-i", small, "-map_metadata", "-1", "-c", "copy")
    assert "vidscale" not in tags(moved)
    np.testing.assert_array_equal(expected_codes(moved), expected_codes(small))


def test_identity_in_the_tag_survives_coding_again(movie: Path, tmp_path: Path) -> None:
    small = coded(movie, tmp_path / "small.mkv", scale="2")
    again = make(tmp_path / "again.mkv", "-i", small, "-c:v", "libx264", "-preset", "ultrafast", "-udu_sei", "0")
    path = restored(again, lossless=True)
    with av.open(str(path)) as opened:
        assert (opened.streams.video[0].width, opened.streams.video[0].height) == (64, 48)


def test_spliced_file_is_refused_where_it_changes(movie: Path, tmp_path: Path) -> None:
    parts = [coded(movie, tmp_path / f"{crf}.mp4", scale="2", crf=crf) for crf in (20, 30, 20)]
    listing = tmp_path / "list.txt"
    listing.write_text("".join(f"file '{part}'\n" for part in (parts[0], parts[2])))
    alike = make(tmp_path / "alike.mp4", "-f", "concat", "-safe", 0, "-i", listing, "-c", "copy")
    assert len(expected_codes(alike)) == 50
    listing.write_text("".join(f"file '{part}'\n" for part in parts[:2]))
    mixed = make(tmp_path / "mixed.mp4", "-f", "concat", "-safe", 0, "-i", listing, "-c", "copy")
    with pytest.raises(IdentityError, match=r"spliced from different files: its identity changes at 1\.0\d\d s"):
        restored(mixed)
    assert not (tmp_path / "mixed.restored.mp4").exists()
    assert ffmpeg("-i", mixed, "-f", "null", "-") == b""

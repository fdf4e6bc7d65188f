"""`encode --chunks`: the file is that of one run, whatever the source; checked with PyAV and ffmpeg."""

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from material import FASTEST, coded, ffmpeg, kinds, luma, make, packet_data, picture, shown_times, sound, tags
from robustness import content, cut, fake_ffmpeg, frame_count, message, refused, run_here

from vidscale import api
from vidscale.batch.chunked import ChunkedEncoder, plan_chunked
from vidscale.batch.chunks import LEAST_S, divide, expected_count
from vidscale.batch.encoder_threads import with_threads
from vidscale.batch.local import LocalEngine
from vidscale.config import EncodeSettings, TimeRange
from vidscale.errors import EncodeError
from vidscale.jobs.pipeline import Outcome
from vidscale.media.probe import probe
from vidscale.stages.pieces import reordering


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    """Two workers, started once."""
    with LocalEngine(2) as engine:
        yield engine


Chunked = Callable[..., Outcome]


@pytest.fixture
def chunked(engine: LocalEngine) -> Chunked:
    def encode(source: Path, output: Path, count: int | None = 3, **settings: Any) -> Outcome:
        defaults = {"scale": "1", "preset": FASTEST[settings.get("codec", "x264")], "overwrite": True, "report": False}
        planned = plan_chunked(source, output, EncodeSettings.resolve(defaults, settings))
        with ChunkedEncoder(engine, count) as encoder:
            outcome = encoder(planned.plan)
            encoder.discard()
        return outcome

    return encode


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s with a cut at 4.52 s, B-frames and sound; its keyframes are at cuts and 2 s apart."""
    scene = "color=c={}:s=64x48:r=25:d={},noise=alls=20:all_seed=3"
    graph = f"{scene.format('navy', '4.52')}[a];{scene.format('orange', '7.48')}[b];[a][b]concat"
    path = tmp_path_factory.mktemp("movie") / "movie.mp4"
    return make(path, "-f", "lavfi", "-i", graph, *sound(12), "-pix_fmt", "yuv420p", "-g", "50", "-bf", "3")


def keyframes(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        return [p.pts * p.time_base for p in container.demux(video) if p.size and p.is_keyframe]


def assert_as_one_run(chunked: Path, whole: Path) -> None:
    """Every picture at the same time, and everything but the picture the same bytes."""
    assert shown_times(chunked) == shown_times(whole)
    assert kinds(chunked) == kinds(whole)
    assert tags(chunked).keys() | {"encoder"} == tags(whole).keys() | {"encoder"}
    for stream in range(1, len(kinds(whole))):
        assert packet_data(chunked, stream) == packet_data(whole, stream)
    with av.open(str(chunked)) as container:
        dts = [packet.dts for packet in container.demux(video=0) if packet.size and packet.dts is not None]
    assert all(before < after for before, after in pairwise(dts))
    assert frame_count(chunked) == frame_count(whole)
    ffmpeg("-xerror", "-i", chunked, "-f", "null", "-")  # decodes without an error


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("codec", ["x264", "x265", "svtav1"])
def test_chunks_of_each_encoder(tmp_path: Path, movie: Path, chunked: Chunked, codec: str, suffix: str) -> None:
    preset = {"x264": "medium", "x265": "fast", "svtav1": "10"}[codec]  # with B-frames
    whole = coded(movie, tmp_path / f"whole{suffix}", codec=codec, preset=preset)
    outcome = chunked(movie, tmp_path / f"chunked{suffix}", codec=codec, preset=preset)
    assert_as_one_run(outcome.path, whole)
    assert set(content(tmp_path)) == {whole.name, outcome.path.name}  # no journal is left


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["x264", "x265", "svtav1"])
def test_chunks_of_ten_bits(tmp_path: Path, chunked: Chunked, codec: str) -> None:
    source = make(tmp_path / "deep.mkv", *picture(duration=7), "-pix_fmt", "yuv420p10le", "-g", "25")
    outcome = chunked(source, tmp_path / "chunked.mp4", 2, codec=codec)
    assert_as_one_run(outcome.path, coded(source, tmp_path / "whole.mp4", codec=codec))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vfr.mp4", ["-vf", "select='not(mod(n,7)*mod(n,5))',setpts=PTS+mod(N\\,3)*TB*0.01/TB", "-fps_mode", "vfr"]),
        ("late.mkv", ["-output_ts_offset", "1.3"]),
        ("early.mkv", ["-output_ts_offset", "-0.5", "-avoid_negative_ts", "disabled", "-bf", "0"]),
        ("ntsc.mp4", ["-r", "30000/1001", "-bf", "2"]),
        ("broadcast.ts", ["-g", "30"]),
        ("intra.mkv", ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]),
        ("open.mp4", ["-c:v", "libx265", "-x265-params", "keyint=25:open-gop=1:log-level=none", "-tag:v", "hvc1"]),
    ],
)
def test_chunks_of_all_kinds_of_sources(tmp_path: Path, chunked: Chunked, name: str, words: list[str]) -> None:
    source = make(tmp_path / name, *picture(duration=8), *sound(8), "-preset", "ultrafast", "-g", "40", *words)
    target = Path(name).with_suffix(".chunked.mkv" if name == "intra.mkv" else f".chunked{source.suffix}")
    outcome = chunked(source, tmp_path / target, 2)
    whole = coded(source, tmp_path / f"whole{target.suffix}")
    assert_as_one_run(outcome.path, whole)
    chunks = divide(probe(source), None, 2, workers=2).chunks
    assert len(chunks) == (1 if name == "early.mkv" else 2)  # libavformat has no times before Matroska's zero


@pytest.mark.slow
def test_rounded_timestamps_in_chunks_are_said_once(tmp_path: Path, chunked: Chunked) -> None:
    source = make(tmp_path / "ntsc.mp4", *picture(rate="30000/1001", duration=8), "-preset", "ultrafast", "-g", "40")
    outcome = chunked(source, tmp_path / "chunked.mkv", 2)
    count = sum(a != b for a, b in zip(shown_times(source), shown_times(outcome.path), strict=True))
    assert count > 200
    assert outcome.notes == (f"Matroska stores timestamps in ms: those of {count} frames are rounded",)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["1.48:9.2", "2:", ":8.04"])
def test_chunks_of_a_range(tmp_path: Path, movie: Path, chunked: Chunked, text: str) -> None:
    outcome = chunked(movie, tmp_path / "chunked.mp4", 2, range=text)
    assert_as_one_run(outcome.path, coded(movie, tmp_path / "whole.mp4", range=text))


def test_chunks_begin_at_cuts(movie: Path) -> None:
    division = divide(probe(movie), None, 3, workers=2)
    unit = probe(movie).video.time_base
    assert division.note == ""
    starts = [chunk.start * unit for chunk in division.chunks if chunk.start is not None]
    assert float(starts[0]) == 4.52
    assert starts[1] in keyframes(movie)
    assert sum(chunk.frames or 0 for chunk in division.chunks) == 300
    assert min(chunk.frames or 0 for chunk in division.chunks) >= LEAST_S * 25


def test_chunks_begin_at_cuts_that_no_keyframe_tells(tmp_path: Path, movie: Path) -> None:
    source = make(tmp_path / "intra.mkv", "-i", movie, "-c:v", "mjpeg", "-an", "-t", "9")
    begin = divide(probe(source), None, 2, workers=2).chunks[1].start
    assert begin is not None
    assert float(begin * probe(source).video.time_base) == 4.52


@pytest.mark.parametrize(
    ("count", "workers", "expected"),
    [(None, 1, 1), (None, 2, 1), (2, 1, 2), (100, 1, 3), (1, 8, 1)],
)
def test_number_of_chunks(movie: Path, count: int | None, workers: int, expected: int) -> None:
    assert len(divide(probe(movie), TimeRange(end=Fraction(12)), count, workers=workers).chunks) == expected


@pytest.mark.parametrize(
    ("seconds", "size", "workers", "expected"),
    [
        (60, (1920, 1080), 2, 1),  # another worker takes longer to start than it saves
        (600, (160, 96), 2, 1),
        (120, (1920, 1080), 2, 4),
        (120, (3840, 2160), 8, 12),
        (120, (160, 96), 1, 4),  # to resume
    ],
)
def test_automatic_number_of_chunks(
    movie: Path, seconds: int, size: tuple[int, int], workers: int, expected: int
) -> None:
    source = probe(movie)
    video = replace(source.video, width=size[0], height=size[1], frame_count=25 * seconds)
    assert expected_count(replace(source, video=video), None, None, workers=workers) == expected


def test_few_frames_are_one_chunk(tmp_path: Path, chunked: Chunked) -> None:
    source = make(tmp_path / "three.mp4", *picture(duration=0.12))
    assert_as_one_run(chunked(source, tmp_path / "chunked.mp4", 8).path, coded(source, tmp_path / "whole.mp4"))


@pytest.mark.slow
def test_source_that_cannot_be_divided_is_one_chunk(tmp_path: Path, chunked: Chunked) -> None:
    source = make(tmp_path / "old.avi", *picture(duration=8), "-c:v", "mpeg4", "-bf", "2")
    division = divide(probe(source), None, 2, workers=2)
    assert len(division.chunks) == 1
    assert "in one piece" in division.note
    assert_as_one_run(chunked(source, tmp_path / "chunked.mp4", 2).path, coded(source, tmp_path / "whole.mp4"))


@pytest.mark.slow
def test_broken_source_in_chunks(tmp_path: Path, movie: Path, chunked: Chunked) -> None:
    data = bytearray(movie.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 600] = bytes(600)
    (broken := tmp_path / "broken.mp4").write_bytes(data)
    whole = coded(broken, tmp_path / "whole.mp4")
    outcome = chunked(broken, tmp_path / "chunked.mp4")
    assert outcome.log.damaged
    assert shown_times(outcome.path) == shown_times(whole)


@pytest.mark.slow
def test_source_that_breaks_off_in_chunks(tmp_path: Path, chunked: Chunked) -> None:
    source = make(tmp_path / "long.mkv", *picture(duration=10), *sound(10), "-g", "25")
    broken = cut(source, 0.8)
    outcome = chunked(broken, tmp_path / "chunked.mkv", 2)
    assert shown_times(outcome.path) == shown_times(coded(broken, tmp_path / "whole.mkv"))
    assert any("breaks off at" in note for note in outcome.notes)


@pytest.mark.slow
def test_quality_at_the_joints_is_that_of_one_run(tmp_path: Path, chunked: Chunked) -> None:
    moving = picture("160x96", duration=9, then="noise=alls=8:allf=t:all_seed=1")
    source = make(tmp_path / "source.mkv", *moving, "-pix_fmt", "yuv420p", "-crf", "8", "-g", "40")
    whole = coded(source, tmp_path / "whole.mkv", preset="medium")
    parts = chunked(source, tmp_path / "chunked.mkv", 3, preset="medium").path
    truth = luma(source, "yuv420p", 96, 160).astype(float)
    psnr = [
        10 * np.log10(255**2 / ((luma(path, "yuv420p", 96, 160) - truth) ** 2).mean(axis=(1, 2)))
        for path in (parts, whole)
    ]
    unit = probe(source).video.time_base
    for chunk in divide(probe(source), None, 3, workers=2).chunks[1:]:
        assert chunk.start is not None
        joint = round(chunk.start * unit * 25)
        around = slice(joint - 12, joint + 12)
        assert psnr[0][around].mean() > psnr[1][around].mean() - 0.1
        assert Fraction(joint, 25) in keyframes(parts)


@pytest.mark.slow
def test_qp_in_chunks_reaches_the_upscaler(tmp_path: Path, movie: Path, chunked: Chunked) -> None:
    words = {"encoder_params": "qp=30"}
    notes = chunked(movie, tmp_path / "chunked.mp4", 2, **words).notes
    assert any("about as strongly as with crf" in note for note in notes)


def test_reordering() -> None:
    assert reordering([0, 1, 2]) == 0
    assert reordering([0, 2, 1, 4, 3]) == 1
    assert reordering([0, 8, 4, 2, 6]) == 2


def test_encoder_threads_of_the_user_win() -> None:
    assert with_threads("x264", "", 2) == "threads=3:sync-lookahead=0"
    assert with_threads("x264", "threads=1", 4) == "threads=6:sync-lookahead=0:threads=1"
    assert with_threads("x265", "", 1) == "pools=1:frame-threads=1"
    assert with_threads("svtav1", "", 2) == "lp=2"


@pytest.mark.slow
def test_encoder_threads_reach_the_encoder(tmp_path: Path, movie: Path, chunked: Chunked, engine: LocalEngine) -> None:
    outcome = chunked(movie, tmp_path / "chunked.mp4", 2, preset="medium", encoder_params="bframes=1")
    first = packet_data(outcome.path, 0)[0]
    assert f" threads={ceil(1.5 * engine.threads)} ".encode() in first
    assert b" bframes=1 " in first


@pytest.mark.slow
def test_command_in_chunks(tmp_path: Path, movie: Path) -> None:
    source = shutil.copy(movie, tmp_path / "movie.mp4")
    run = run_here("encode", source, "--scale", "1", "--preset", "ultrafast", "--chunks", "2", "--no-report")
    assert run.code == 0, run.stderr
    assert frame_count(tmp_path / "movie.vs1.mp4") == 300
    assert set(content(tmp_path)) == {"movie.mp4", "movie.vs1.mp4"}
    again = refused(tmp_path, "encode", source, "--scale", "1", "--chunks", "2", "--no-report")
    assert "movie.vs1.mp4 exists; -y replaces it" in again


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--chunks", "0"], "--chunks 0 is neither auto nor a number of 1 or more"),
        (["--chunks", "many"], "--chunks many is neither auto nor a number of 1 or more"),
        (["--chunks", "2", "--jobs", "0"], "jobs = 0: below 1"),
        (["--jobs", "2"], "--jobs 2 is for --chunks, which is not given"),
    ],
)
def test_options_of_chunks_errors(tmp_path: Path, words: list[str], expected: str) -> None:
    assert expected in message(run_here("encode", tmp_path / "none.mp4", *words), code=2)


@pytest.mark.slow
def test_chunk_that_always_fails_is_named(tmp_path: Path, movie: Path, chunked: Chunked) -> None:
    binary = fake_ffmpeg(tmp_path / "ffmpeg", "*pipe:0*chunks*", "echo 'the encoder has had enough' >&2; exit 3")
    words = r"movie.mp4, chunk [12] of 2 \(.* s to .*\) failed 3 times: .*ffmpeg the encoder has had enough"
    with pytest.raises(EncodeError, match=words):
        chunked(movie, tmp_path / "out.mp4", 2, ffmpeg=binary)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.slow
def test_full_disk_ends_the_job_and_is_reported(tmp_path: Path, movie: Path, chunked: Chunked) -> None:
    action = "echo 'av_interleaved_write_frame(): No space left on device' >&2; exit 1"
    binary = fake_ffmpeg(tmp_path / "ffmpeg", "*pipe:0*chunks/00001*", action)
    with pytest.raises(EncodeError, match="the disk is full; free some space and run the same command again"):
        chunked(movie, tmp_path / "out.mp4", 3, ffmpeg=binary)
    fake_ffmpeg(binary, "never", "exit 1")
    assert_as_one_run(chunked(movie, tmp_path / "out.mp4", 3, ffmpeg=binary).path, coded(movie, tmp_path / "whole.mp4"))


@pytest.mark.slow
def test_disk_that_will_be_full_is_reported_before_the_start(
    tmp_path: Path, movie: Path, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_chunked(movie, tmp_path / "out.mp4", EncodeSettings.resolve({"scale": 1, "report": False})).plan
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr("vidscale.batch.chunked.shutil.disk_usage", lambda _: usage)
    with ChunkedEncoder(engine, 2, expected_bytes=6e8) as encoder:
        with pytest.raises(EncodeError, match="room for 1,000,000,000 bytes, and the rest needs about 1,2"):
            encoder(plan)
        assert not list((tmp_path / "out.mp4.chunks").glob("*.mp4"))


@pytest.mark.slow
def test_one_chunk_needs_no_worker(tmp_path: Path, movie: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `encode`; what fails then is told as of others."""
    monkeypatch.setattr(LocalEngine, "submit", None)
    monkeypatch.setattr(LocalEngine, "prepare", None)
    words = ["encode", movie, "-o", tmp_path / "out.mp4", "--scale", "1", "--no-report", "--chunks", "auto"]
    run = run_here(*words, "--preset", "ultrafast")
    assert run.code == 0, run.stderr
    assert_as_one_run(tmp_path / "out.mp4", coded(movie, tmp_path / "whole.mp4"))
    binary = fake_ffmpeg(tmp_path / "ffmpeg", "*pipe:0*chunks*", "echo 'had enough' >&2; exit 3")
    failed = message(run_here(*words, "-y", "--ffmpeg", binary))
    assert failed.startswith("movie.mp4, chunk 1 of 1 failed 3 times: ")
    assert failed.endswith("ffmpeg had enough")


@pytest.mark.slow
def test_muxer_that_fails_is_reported_and_chunks_are_kept(tmp_path: Path, movie: Path, chunked: Chunked) -> None:
    binary = fake_ffmpeg(tmp_path / "ffmpeg", "*-c?copy*", "head -c 999 >/dev/null; echo 'no more' >&2; exit 1")
    with pytest.raises(EncodeError, match="writing the output failed: ffmpeg no more"):
        chunked(movie, tmp_path / "out.mp4", 3, ffmpeg=binary)
    assert not (tmp_path / "out.mp4").exists()
    fake_ffmpeg(binary, "*pipe:0*chunks/*", "exit 1")  # nothing is encoded again
    assert_as_one_run(chunked(movie, tmp_path / "out.mp4", 3, ffmpeg=binary).path, coded(movie, tmp_path / "whole.mp4"))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_scratch_is_the_chunks(tmp_path: Path, chunked: Chunked, suffix: str) -> None:
    """At no time more than 1.1 times the output lies beside it, and a chunk for each worker."""
    noisy = picture("320x180", duration=12, then="noise=alls=40:allf=t:all_seed=1")
    source = make(tmp_path / "source.mkv", *noisy, "-pix_fmt", "yuv420p", "-preset", "ultrafast", "-g", "25")
    (folder := tmp_path / "out").mkdir()
    most, is_over = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not is_over.wait(0.002):
            most = max(most, bytes_in(folder))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        output = chunked(source, folder / f"small{suffix}", 4, crf=16).path
    finally:
        is_over.set()
        watching.join()
    size = output.stat().st_size
    assert size > 4_000_000  # beside which the journal is small
    assert most > 1.5 * size  # it was seen while it was joined
    assert most - size < 1.1 * size + 2 * size / 4


def bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


@pytest.mark.slow
def test_chunks_as_a_function(tmp_path: Path, movie: Path) -> None:
    done = api.encode(movie, tmp_path / "out.mp4", scale=1, preset="ultrafast", chunks=2, jobs=1, verdict=False)
    assert done.report_dir is not None
    assert (done.report_dir / "report.json").exists()
    assert frame_count(done.path) == 300
    assert not (tmp_path / "out.mp4.chunks").exists()

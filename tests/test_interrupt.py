"""Ctrl-C and other signals at every stage of a job: it ends at once and leaves nothing unfinished."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from material import coded, ffmpeg
from robustness import Run, content, fake_ffmpeg, finish, message, processes_naming, run_here, start, wait_for

from vidscale.system.workspace import remove_abandoned

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc"),
]

AT_ONCE_S = 4  # a second or so, on a machine that has much else to do
SLOW = ["--scale", "1", "--preset", "placebo"]


@pytest.fixture(scope="session")
def _film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds of 640x360, which take long to encode with a slow preset."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=640x360:r=30:d=10,format=yuv420p", "-preset", "ultrafast", path)
    return path


@pytest.fixture
def film(_film: Path, tmp_path: Path) -> Path:
    (link := tmp_path / "film.mp4").symlink_to(_film)
    return link


def encoder_at_work(folder: Path) -> int:
    """Process ID of the encoding ffmpeg, once it is encoding."""

    def found() -> int:
        encoders = [pid for pid in processes_naming(f"{folder}/.") if b"pipe:0" in words_of(pid)]
        return encoders[0] if encoders else 0

    pid: int = wait_for(found)
    wait_for(lambda: any(path.stat().st_size > 0 for path in folder.glob(".*.video.mp4")))
    return pid


def words_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def interrupted(process: "subprocess.Popen[bytes]", number: int, *, within_s: float = AT_ONCE_S) -> Run:
    """Sends a signal to a running program, which must exit in time and cleanly."""
    begin = time.monotonic()
    process.send_signal(number)
    run = finish(process, timeout_s=30)
    assert time.monotonic() - begin < within_s
    assert run.code == 130, run.stderr
    assert "Traceback" not in run.stderr
    assert "Fatal" not in run.stderr
    return run


def assert_nothing_but(folder: Path, *names: str) -> None:
    """The folder holds only these files, and no process uses it."""
    wait_for(lambda: not processes_naming(folder))
    assert {path.name for path in folder.iterdir()} == set(names)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_encode_ends_at_once(tmp_path: Path, film: Path, number: int) -> None:
    process = start("encode", film, *SLOW)
    encoder_at_work(tmp_path)
    run = interrupted(process, number)
    assert run.stderr.splitlines()[-1] == "interrupted"
    assert_nothing_but(tmp_path, "film.mp4")


def test_ladder_ends_at_once_and_keeps_the_folder_that_it_was_to_replace(tmp_path: Path, film: Path) -> None:
    (folder := tmp_path / "out").mkdir()
    (folder / "master.m3u8").write_text("#EXTM3U")
    targets = ["--target", "psnr=30", "--target", "psnr=25", "--scale", "1", "--pair", "lanczos"]
    process = start("ladder", film, "-o", folder, "-y", *targets, "--preset", "medium", "--range", ":1.5")
    wait_for(lambda: len(list(tmp_path.glob(".vidscale-*/.*.video.mp4"))) == 2)
    interrupted(process, signal.SIGINT)
    assert_nothing_but(tmp_path, "film.mp4", "out")
    assert content(folder) == {"master.m3u8": b"#EXTM3U"}


def test_encode_keeps_the_output_that_it_was_to_replace(tmp_path: Path, film: Path) -> None:
    (tmp_path / "small.mkv").write_bytes(b"dear to somebody")
    process = start("encode", film, "-o", tmp_path / "small.mkv", "-y", "--codec", "x265", *SLOW)
    encoder_at_work(tmp_path)
    interrupted(process, signal.SIGINT)
    assert_nothing_but(tmp_path, "film.mp4", "small.mkv")
    assert (tmp_path / "small.mkv").read_bytes() == b"dear to somebody"


def test_impatience_does_no_harm(tmp_path: Path, film: Path) -> None:
    process = start("encode", film, *SLOW)
    encoder_at_work(tmp_path)
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    interrupted(process, signal.SIGINT)
    assert_nothing_but(tmp_path, "film.mp4")


def test_hangup_is_ignored_under_nohup(tmp_path: Path, film: Path) -> None:
    words = [sys.executable, "-m", "vidscale", "encode", film, *SLOW]
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *words]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    encoder_at_work(tmp_path)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    interrupted(process, signal.SIGTERM)
    assert_nothing_but(tmp_path, "film.mp4")


@pytest.mark.parametrize(
    "case",
    ["*-version*", "*-filters*", "*-i*film.mp4", "*pipe:0*film*", "*signed.mp4*part*"],
    ids=lambda case: case.strip("*"),
)
def test_ffmpeg_that_hangs_can_be_interrupted(tmp_path: Path, film: Path, case: str) -> None:
    """While probing, encoding and muxing; the script waits for its own child process."""
    fake = fake_ffmpeg(tmp_path / "ffmpeg", case, 'touch "$0.hangs"; tail -f "$0"; true')
    part = ["--range", "0:0.5"]
    process = start("encode", film, "--ffmpeg", fake, "--scale", "1", "--preset", "ultrafast", *part)
    wait_for(lambda: (tmp_path / "ffmpeg.hangs").exists())
    interrupted(process, signal.SIGINT)
    assert_nothing_but(tmp_path, "film.mp4", "ffmpeg", "ffmpeg.hangs")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_finished_movie_stays_when_its_report_is_interrupted(tmp_path: Path, film: Path, number: int) -> None:
    (scratch := tmp_path / "tmp").mkdir()
    words = ["encode", film, "-o", tmp_path / "small.mp4", "--scale", "1", "--preset", "ultrafast", "--vmaf"]
    process = start(*words, env=os.environ | {"TMPDIR": str(scratch)})
    wait_for(lambda: (tmp_path / "small.mp4").exists())
    run = interrupted(process, number)
    assert run.stderr.splitlines()[-1].endswith("small.mp4 is complete, its report is not")
    assert_nothing_but(tmp_path, "film.mp4", "small.mp4", "tmp")
    assert_nothing_but(scratch)
    with av.open(str(tmp_path / "small.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 300


def test_decode_ends_at_once(tmp_path: Path, film: Path) -> None:
    process = start("decode", film, "--pair", "lanczos-x1", "--preset", "placebo")
    encoder_at_work(tmp_path)
    interrupted(process, signal.SIGINT)
    assert_nothing_but(tmp_path, "film.mp4")


def test_decode_to_y4m_ends_at_once(tmp_path: Path, film: Path) -> None:
    process = start("decode", film, "--pair", "lanczos-x1", "--y4m", "-o", tmp_path / "big.y4m")
    wait_for(lambda: list(tmp_path.glob(".big*")))
    interrupted(process, signal.SIGINT)
    assert_nothing_but(tmp_path, "film.mp4")


def test_decode_to_a_reader_that_does_not_read_ends_at_once(tmp_path: Path, film: Path) -> None:
    reading, writing = os.pipe()
    process = start("decode", film, "--pair", "lanczos-x1", "-o", "-", stdout=writing)
    os.close(writing)
    assert os.read(reading, 9) == b"YUV4MPEG2"
    time.sleep(0.3)  # until the pipe is full
    run = interrupted(process, signal.SIGINT)
    os.close(reading)
    assert run.stderr.splitlines()[-1] == "interrupted"
    assert_nothing_but(tmp_path, "film.mp4")


@pytest.mark.parametrize("command", [["stage", "down"], ["stage", "up", "--scale", "1.5"]])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stage_that_waits_for_its_writer_ends_at_once(command: list[str], number: int) -> None:
    reading, writing = os.pipe()
    process = start(*command, stdin=reading)
    os.close(reading)
    os.write(writing, b"YUV4MPEG2 W64 H48 F25:1\nFRAME\n" + bytes(64 * 48 * 3 // 2) + b"FRAME\n1234")
    stdout = process.stdout
    assert stdout is not None
    assert stdout.read(9) == b"YUV4MPEG2"  # at work, and now waiting for the rest of the second frame
    interrupted(process, number)
    os.close(writing)


def test_stage_ends_quietly_when_its_reader_goes_away() -> None:
    process = start("stage", "down", stdin=subprocess.PIPE, bufsize=0)
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None
    frame = b"FRAME\n" + bytes(640 * 360 * 3 // 2)
    stdin.write(b"YUV4MPEG2 W640 H360 F25:1\n" + frame)
    assert stdout.read(9) == b"YUV4MPEG2"
    stdout.close()
    with contextlib.suppress(BrokenPipeError):
        while True:
            stdin.write(frame)
    stdin.close()
    process.stdout = process.stdin = None
    run = finish(process)
    assert (run.code, run.stderr) == (0, "")


def test_results_for_a_reader_that_went_away_end_quietly(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start("encode", make_clip(), "--scale", "2", "--dry-run", "--json", stdout=writing)
    os.close(writing)
    run = finish(process)
    assert "Traceback" not in run.stderr
    assert "internal error" not in run.stderr
    assert "Exception ignored" not in run.stderr


def test_killed_program_leaves_nothing_at_the_final_name(tmp_path: Path, film: Path) -> None:
    process = start("encode", film, "-o", tmp_path / "small.mkv", "--scale", "1", "--preset", "slow")
    encoder_at_work(tmp_path)
    process.kill()
    finish(process)
    wait_for(lambda: not processes_naming(tmp_path))  # the encoder sees the end of its pipe
    left = {path.name for path in tmp_path.iterdir()} - {"film.mp4"}
    assert all(name.startswith(".small.mkv.") for name in left)


def test_encoder_that_is_killed_is_reported(tmp_path: Path, film: Path) -> None:
    process = start("encode", film, *SLOW)
    os.kill(encoder_at_work(tmp_path), signal.SIGKILL)
    run = finish(process)
    assert message(run) == "encoding stopped: ffmpeg was killed by SIGKILL"
    assert_nothing_but(tmp_path, "film.mp4")


PLAYERS = {  # a player that plays on when its input has ended
    "shader": ("mpv", []),
    "pipe": ("mpv", ["--pipe"]),
    "pipe of two": ("ffplay", ["--player", "ffplay"]),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("name", "words"), PLAYERS.values(), ids=PLAYERS)
def test_play_ends_with_its_player(
    tmp_path: Path, make_clip: Callable[..., Path], name: str, words: list[str], number: int
) -> None:
    small = coded(make_clip(audio=True), tmp_path / "small.mp4", scale="2", pair="adaptive")
    (scratch := tmp_path / "tmp").mkdir()
    (player := tmp_path / "bin" / name).parent.mkdir()
    player.write_text(f"#!/bin/sh\ntouch {scratch}/plays\nexec timeout 30 tail -f {player}\n")
    player.chmod(0o755)
    paths = {"PATH": f"{player.parent}:{os.environ['PATH']}", "TMPDIR": str(scratch)}
    process = start("play", small, *words, env=os.environ | paths, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: (scratch / "plays").exists())
    interrupted(process, number)
    wait_for(lambda: not processes_naming(tmp_path), timeout_s=5)
    assert set(content(scratch)) == {"plays"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("exists", [False, True])
def test_web_ends_at_once(tmp_path: Path, make_clip: Callable[..., Path], exists: bool, number: int) -> None:
    """While it copies a large movie."""
    small = coded(make_clip(), tmp_path / "small.mp4", scale="2", pair="adaptive")
    site = tmp_path / "new" / "site"
    if exists:
        assert run_here("web", small, "-o", site).code == 0
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*")}
    slow = "import shutil, sys, time; from pathlib import Path; from vidscale.cli import app\n"
    slow += "shutil.copyfile = lambda source, target: (Path(target).write_bytes(b'slowly'), time.sleep(60))\n"
    words = [sys.executable, "-c", f"{slow}app()", "web", small, "-o", site, "-y"]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: any(path.read_bytes() == b"slowly" for path in site.glob(".*")))
    interrupted(process, number)
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*")} == before
    assert (tmp_path / "new").exists() == exists


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_pipe_recipe_ends_with_all_its_stages(tmp_path: Path, film: Path, number: int) -> None:
    (tmp_path / "pipe.toml").write_text(
        'command = "pipe"\nstages = [\n'
        '["{ffmpeg}", "-v", "error", "-i", "{input}", "-f", "yuv4mpegpipe", "-"],\n'
        '["vidscale", "stage", "down"],\n'
        '["{ffmpeg}", "-v", "error", "-i", "-", "-preset", "placebo", "{output}"]]\n'
    )
    process = start("run", tmp_path / "pipe.toml", film, "-o", tmp_path / "small.mp4")
    wait_for(lambda: list(tmp_path.glob(".small*")))
    interrupted(process, number)
    assert_nothing_but(tmp_path, "film.mp4", "pipe.toml")


def test_signals_mean_what_they_meant_before_a_command_ran(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    clip = make_clip()
    assert run_here("encode", clip, "--scale", "2", "--dry-run").code == 0
    assert run_here("encode", tmp_path / "none").code == 1
    assert [signal.getsignal(number) for number in numbers] == before
    assert set(content(tmp_path)) == {"clip.mp4"}


def test_what_a_killed_run_left_is_removed_by_the_next(
    tmp_path: Path, film: Path, make_clip: Callable[..., Path]
) -> None:
    target = tmp_path / "small.mp4"
    process = start("encode", film, "-o", target, *SLOW)
    encoder_at_work(tmp_path)
    process.kill()
    finish(process)
    wait_for(lambda: not processes_naming(tmp_path))
    left = hidden(tmp_path)
    assert any(name.endswith(".video.mp4") for name in left)
    stem = next(name.removesuffix(".video.mp4") for name in left if name.endswith(".video.mp4"))
    for other in ("again.mp4", "joined.mkv", "cover3.jpg"):  # of runs that come so far
        (tmp_path / f"{stem}.{other}").touch()
    strangers = {".small.mp4.swp", ".small.mp4.0123456789ab.part.mp4", left[0].replace("small.mp4", "other.mp4")}
    strangers.add(re.sub(r"[0-9a-f]{6}-", "000000-", left[0]))  # of another machine, which may be at work
    for name in strangers:
        (tmp_path / name).touch()
    run = run_here("encode", make_clip("clip.mp4"), "-o", target, "--scale", "2", "--no-report")
    assert run.code == 0, run.stderr
    assert set(hidden(tmp_path)) == strangers


def test_files_of_a_running_program_are_kept(tmp_path: Path, film: Path) -> None:
    process = start("encode", film, "-o", tmp_path / "small.mp4", *SLOW)
    encoder_at_work(tmp_path)
    before = hidden(tmp_path)
    remove_abandoned(tmp_path / "small.mp4")
    assert hidden(tmp_path) == before
    interrupted(process, signal.SIGINT)
    assert_nothing_but(tmp_path, "film.mp4")


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))

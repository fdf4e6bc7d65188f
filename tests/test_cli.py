"""The command line itself: help, dry runs, JSON records as documented, --quiet, exit codes."""

import json
import os
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import pytest
from material import FFMPEG, make
from robustness import Run, content, documented, fake_ffmpeg, message, nothing_left, run_apart, run_here, start

Clip = Callable[..., Path]
COMMANDS = ["encode", "plan", "decode", "play", "web", "measure", "compare", "stage down", "stage up", "run", "doctor"]
COMMANDS += ["images down", "images up", "images roundtrip", "images bench"]
FAST = ["--scale", "2", "--preset", "ultrafast"]


def records(run: Run) -> list[dict[str, Any]]:
    """The records on stdout: one JSON object per line, without NaN and Infinity."""
    assert run.code == 0, run.stderr

    def refuse(word: str) -> None:
        raise ValueError(word)

    return [json.loads(line, parse_constant=refuse) for line in run.stdout.splitlines()]


# Help and version.


def processor_seconds(*words: str) -> float:
    """The lowest CPU time of a program in five runs."""
    needed = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        needed.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(needed)


@pytest.mark.slow
def test_help_is_quick() -> None:
    """0.3 s where Python itself starts in 0.035 s; the limit is relative, so that slow or busy machines pass."""
    assert processor_seconds("-m", "vidscale", "--help") < 8.5 * processor_seconds("-c", "pass")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_tells(command: str) -> None:
    run = run_here(*command.split(), "--help")
    assert run.code == 0
    assert "Usage" in run.stdout
    assert run_here(*command.split(), "-h") == run


@pytest.mark.parametrize("group", ["", "images", "models", "train", "recipe", "stage"])
def test_help_of_a_group_cuts_no_sentence(group: str) -> None:
    assert "..." not in run_here(*group.split(), "--help").stdout.partition("Commands:")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_of_this_command(command: str) -> None:
    """Texts that commands share must hold for each of them."""
    words = " ".join(run_here(*command.split(), "--help").stdout.split())
    assert "...}" not in words
    assert ("at --crf" in words) <= ("--crf CRF" in words)
    if command == "batch":
        assert "Chunks of each movie. [default: (auto)]" in words  # `encode` has one piece


def test_no_command_shows_the_help() -> None:
    run = run_here()
    assert run.code == 2
    assert "encode" in run.stdout + run.stderr


def test_version_is_the_packages() -> None:
    assert run_here("--version") == Run(0, f"vidscale {version('vidscale')}\n", "")


@pytest.mark.parametrize("args", [["paint"], ["encode"], ["encode", "a", "--colour"], ["encode", "a", "--crf", "low"]])
def test_usage_errors_end_with_2(args: list[str]) -> None:
    run = run_here(*args)
    assert run.code == 2
    assert run.stdout == ""
    assert "Usage" in run.stderr


# Dry runs.


def test_dry_run_prints_settings_and_commands_and_does_nothing(tmp_path: Path, make_clip: Clip) -> None:
    clip = make_clip(audio=True)
    with nothing_left(tmp_path):
        run = run_here("encode", clip, "--scale", "2", "--crf", "30", "--dry-run")
    assert run.code == 0, run.stderr
    lines = run.stdout.splitlines()
    assert {"crf = 30.0", "scale = 2", "codec = x264", f"output = {tmp_path}/clip.vs2.mp4"} <= set(lines)
    encoding, muxing = (shlex.split(line) for line in lines[-2:])
    assert encoding[0] == muxing[0] == FFMPEG
    assert encoding[encoding.index("-crf") + 1] == "30"
    assert f"{tmp_path}/clip.vs2.mp4" in muxing


@pytest.mark.parametrize(
    ("words", "scale"),
    [(["lanczos-x3"], "3"), (["adaptive-x1.5"], "3/2"), (["lanczos"], "2"), (["lanczos", "--scale", "4"], "4")],
)
def test_a_pair_that_is_made_for_a_scale_needs_none(make_clip: Clip, words: list[str], scale: str) -> None:
    run = run_here("encode", make_clip(), "--dry-run", "--pair", *words)
    assert run.code == 0, run.stderr
    assert f"scale = {scale}" in run.stdout.splitlines()


@pytest.mark.parametrize("words", [["--y4m"], ["-o", "-"], ["--y4m", "-o", "-"]])
def test_records_and_video_do_not_share_stdout(tmp_path: Path, words: list[str]) -> None:
    run = run_here("decode", tmp_path / "clip.vs2.mp4", *words, "--json")
    assert (run.code, run.stdout) == (2, "")
    assert "name an output file" in run.stderr


def test_dry_run_as_json_is_documented(tmp_path: Path, make_clip: Clip) -> None:
    clip = make_clip()
    (plan,) = records(run_here("encode", clip, "--scale", "2", "--dry-run", "--json"))
    assert set(plan) == documented("plan") | {"event"}
    assert plan["event"] == "plan"
    assert plan["settings"]["scale"] == "2"
    run_here("encode", clip, *FAST, "--no-report")
    (plan,) = records(run_here("decode", tmp_path / "clip.vs2.mp4", "--dry-run", "--json"))
    assert set(plan) == documented("plan") | {"event"}
    assert plan["pair"] == "adaptive-x2"
    raw = tmp_path / "big.y4m"
    (plan,) = records(run_here("decode", tmp_path / "clip.vs2.mp4", "--y4m", "-o", raw, "--dry-run", "--json"))
    assert set(plan) == documented("plan") | {"event"}
    (done,) = records(run_here("decode", tmp_path / "clip.vs2.mp4", "--y4m", "-o", raw, "--json"))
    assert set(done) == documented("restored") | {"event"}
    assert (done["event"], done["output"], done["bytes"]) == ("restored", str(raw), raw.stat().st_size)


def test_dry_run_of_decode_does_nothing(tmp_path: Path, make_clip: Clip) -> None:
    run_here("encode", make_clip(), *FAST, "--no-report")
    small = tmp_path / "clip.vs2.mp4"
    for options in ([], ["--lossless"], ["--y4m", "-o", tmp_path / "big.y4m"]):
        with nothing_left(tmp_path):
            run = run_here("decode", small, "--dry-run", *options)
        assert run.code == 0, run.stderr
        assert "output = " in run.stdout


def test_dry_run_finds_what_would_fail(tmp_path: Path, make_clip: Clip) -> None:
    clip = make_clip()
    assert "is the input" in message(run_here("encode", clip, "-o", clip, "--dry-run"))
    assert "does not exist" in message(run_here("encode", clip, "-o", tmp_path / "no" / "small.mkv", "--dry-run"))


COMPILING = """
import numpy as np
from vidscale.cli.console import run_job
from vidscale.triton_kernels.metrics import squared_error
plane = np.zeros((4, 4), np.uint8)
codes = [plane, plane.astype(np.uint16)]
run_job(lambda console: [squared_error(plane, plane) for plane in codes], quiet=QUIET)
"""


@pytest.mark.slow
def test_compiling_is_said_once_and_done_once(tmp_path: Path) -> None:
    said = []
    for quiet, cache in ((True, "other"), (False, "cache"), (False, "cache"), (False, None)):
        script = COMPILING.replace("QUIET", str(quiet))
        if cache is None:  # as numba finds it where no folder can be written to
            script = "import numba.core.caching as c; c.CacheImpl._locator_classes = []" + script
        env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / str(cache))}
        run = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
        said.append(run.stderr)
    ready = "compiling the filters for this processor; the next run finds them ready\n"
    assert said[:3] == ["", ready, ""]
    assert said[3].endswith("NUMBA_CACHE_DIR can name a folder to keep them\n")


# Results.


def test_results_as_json_are_documented(tmp_path: Path, make_clip: Clip) -> None:
    clip = make_clip(frames=12)
    (encoded,) = records(run_here("encode", clip, *FAST, "--json"))
    assert set(encoded) == documented("encoded") | {"event"}
    assert (encoded["event"], encoded["frames"], encoded["unreadable_frames"]) == ("encoded", 12, 0)
    assert encoded["bytes"] == (tmp_path / "clip.vs2.mp4").stat().st_size
    assert encoded["source_bytes"] == clip.stat().st_size
    report = json.loads((Path(encoded["report"]) / "report.json").read_text())
    assert encoded["totals"] == report["totals"]
    (restored,) = records(run_here("decode", encoded["output"], "--preset", "ultrafast", "--json"))
    assert set(restored) == documented("restored") | {"event"}
    assert (restored["event"], restored["frames"], restored["pair"]) == ("restored", 12, "adaptive-x2")
    assert (restored["width"], restored["height"]) == (64, 48)
    (measured,) = records(run_here("measure", clip, restored["output"], "--json"))
    assert set(measured) == documented("measured") | {"event"}
    assert measured["totals"]["frames"] == 12


def test_a_perfect_copy_is_json_too(make_clip: Clip) -> None:
    clip = make_clip()
    (measured,) = records(run_here("measure", clip, clip, "--json"))
    assert measured["totals"]["psnr_y"]["mean_of_frames"] == "inf"


@pytest.mark.parametrize(
    "words",
    [
        "encode -o {}.mp4 --no-verdict --target psnr=40",
        "batch -o {} --no-verdict",
        "plan --target psnr=40",
        pytest.param("ladder -o {} --target psnr=40 --verify", marks=pytest.mark.slow),
    ],
)
def test_a_perfect_encode_is_json_too(tmp_path: Path, words: str) -> None:
    """Of gray, which every encoder copies exactly."""
    movie = make(tmp_path / "gray.mp4", "-f", "lavfi", "-i", "color=gray:s=64x48:r=25:d=0.4", "-pix_fmt", "yuv420p")
    command, *others = words.format(tmp_path / "out").split()
    found = records(run_here(command, movie, *FAST, *others, "--json"))
    assert found


def test_results_without_a_report_as_json(make_clip: Clip) -> None:
    (encoded,) = records(run_here("encode", make_clip(), *FAST, "--no-report", "--json"))
    assert set(encoded) == documented("encoded") | {"event"}
    assert (encoded["report"], encoded["totals"]) == (None, None)


def test_result_of_a_pipe_as_json_is_documented(tmp_path: Path, make_clip: Clip) -> None:
    (tmp_path / "copy.toml").write_text('command = "pipe"\nstages = [["cp", "{input}", "{output}"]]')
    clip = make_clip()
    (piped,) = records(run_here("run", tmp_path / "copy.toml", clip, "--json"))
    assert set(piped) == documented("piped") | {"event"}
    assert piped == {"event": "piped", "output": str(tmp_path / "clip.out.mkv"), "bytes": clip.stat().st_size}


def test_result_for_people_names_sizes(tmp_path: Path, make_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = run_here("encode", make_clip().name, *FAST, "--no-verdict")
    assert run.code == 0, run.stderr
    assert run.stdout.startswith("clip.vs2.mp4: 10 frames, 64x48 encoded at 32x24, ")
    assert "PSNR-Y" in run.stdout
    assert run.stdout.splitlines()[-1] == "report: clip.vs2.mp4.report/index.html"


def test_result_for_people_counts_a_single_frame(tmp_path: Path, make_clip: Clip) -> None:
    small, restored = tmp_path / "small.mp4", tmp_path / "restored.mp4"
    run = run_here("encode", make_clip(frames=1), "-o", small, *FAST, "--no-report")
    assert run.stdout.startswith(f"{small}: 1 frame, 64x48 encoded at ")
    assert run_here("decode", small, "-o", restored).stdout.startswith(f"{restored}: 1 frame, 64x48, ")


@pytest.mark.slow
@pytest.mark.parametrize("report", [[], ["--no-report"]])
def test_quiet_is_silent(tmp_path: Path, make_clip: Clip, report: list[str]) -> None:
    clip = make_clip("clip.avi")  # of which there would be something to say: the container changes
    assert run_here("encode", clip, *FAST, *report, "--no-verdict", "--quiet") == Run(0, "", "")
    assert run_here("decode", tmp_path / "clip.vs2.mkv", "--preset", "ultrafast", "-q") == Run(0, "", "")
    assert run_here("measure", clip, tmp_path / "clip.restored.mkv", "-q") == Run(0, "", "")


def test_quiet_still_prints_errors(tmp_path: Path) -> None:
    assert "does not exist" in message(run_here("encode", tmp_path / "none.mp4", "--quiet"))


def test_quiet_json_is_json_alone(make_clip: Clip) -> None:
    run = run_here("encode", make_clip("clip.avi"), *FAST, "--no-report", "--quiet", "--json")
    assert records(run)[0]["event"] == "encoded"
    assert run.stderr == ""


def test_notes_go_to_stderr(make_clip: Clip) -> None:
    run = run_here("encode", make_clip("clip.avi"), *FAST, "--no-report", "--json")
    assert len(records(run)) == 1
    assert ".avi cannot be written; the output is Matroska" in run.stderr


def test_progress_is_lines_where_there_is_no_terminal(make_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidscale.cli.console.PLAIN_LINE_S", 0.0)
    run = run_here("encode", make_clip(), *FAST, "--no-report")
    assert re.search(r"^encoding: 5/10 frames, [\d.]+ fps$", run.stderr, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_progress_is_a_bar_on_a_terminal(make_clip: Clip) -> None:
    import os
    import pty

    ours, theirs = pty.openpty()
    process = start("encode", make_clip(frames=60), *FAST, "--no-report", stderr=theirs)
    os.close(theirs)
    drawn = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # the end, as Linux tells it
            break
        if not chunk:
            break
        drawn += chunk
    os.close(ours)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"60/60" in drawn
    assert b"clip.vs2.mp4: 60 frames" in stdout


@pytest.mark.slow
def test_debug_shows_where(tmp_path: Path) -> None:
    run = run_apart("--debug", "encode", tmp_path / "none.mp4")
    assert run.code == 1
    assert "vidscale: " in run.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("closed", "args", "words"),
    [
        ("<&-", ["stage", "down"], "standard input is closed"),
        (">&-", ["decode", "clip.mp4", "--pair", "lanczos-x2", "-o", "-"], "standard output is closed"),
        (">&-", ["encode", "clip.mp4", *FAST, "--no-report"], None),
        (">&- 2>&-", ["encode", "clip.mp4", *FAST, "--no-report"], None),
    ],
)
def test_streams_that_are_closed(
    tmp_path: Path, make_clip: Clip, closed: str, args: list[str], words: str | None
) -> None:
    make_clip()
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "vidscale", *args]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    run = Run(result.returncode, result.stdout, result.stderr)
    if words is None:
        assert (run.code, run.stderr) == (0, "")
        assert (tmp_path / "clip.vs2.mp4").exists()
    else:
        assert words in message(run)


def test_internal_error_is_one_line(make_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LookupError("two\nlines")

    monkeypatch.setattr("vidscale.batch.movie.plan_movie", broken)
    run = run_here("encode", make_clip())
    assert run.code == 1
    assert run.stderr.startswith("vidscale: internal error, LookupError: two lines (vidscale --debug")
    assert len(run.stderr.splitlines()) == 1


def test_out_of_memory_is_one_line(make_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("vidscale.batch.movie.plan_movie", hungry)
    assert message(run_here("encode", make_clip())) == "out of memory"


# Doctor.


def test_doctor_finds_everything_here() -> None:
    run = run_here("doctor")
    assert run.code == 0, run.stdout
    for word in ("vidscale", "torch", "PyAV", "ffmpeg", "x264", "x265", "encoder svtav1", "filter libvmaf", "scalers"):
        assert word in run.stdout
    assert not re.search(r"^MISS +(ffmpeg|encoder|filter|scalers)", run.stdout, re.MULTILINE)


def test_doctor_as_json_is_documented() -> None:
    found = records(run_here("doctor", "--json"))
    assert all(set(record) == documented("checked") | {"event"} for record in found)
    assert {record["event"] for record in found} == {"checked"}


def test_doctor_without_ffmpeg_ends_with_1(tmp_path: Path) -> None:
    run = run_here("doctor", "--ffmpeg", tmp_path / "none")
    assert run.code == 1
    assert re.search(r"^MISS +ffmpeg .*cannot be started", run.stdout, re.MULTILINE)
    assert "Traceback" not in run.stderr


def test_doctor_without_any_encoder_ends_with_1(tmp_path: Path) -> None:
    decoder = fake_ffmpeg(tmp_path / "ffmpeg", "*rawvideo*", "echo 'Unknown encoder' >&2; exit 8")
    run = run_here("doctor", "--ffmpeg", decoder)
    assert run.code == 1
    assert re.search(r"^ok +ffmpeg ", run.stdout, re.MULTILINE)
    assert len(re.findall(r"^MISS +encoder ", run.stdout, re.MULTILINE)) == 3


# Playing.


def test_play_without_a_player_says_so(make_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert message(run_here("play", make_clip())) == "no player found: install mpv or ffplay"
    assert message(run_here("play", make_clip(), "--player", "vlc")).startswith("no player found")


def test_play_feeds_the_player(tmp_path: Path, make_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    player = tmp_path / "bin" / "mpv"
    player.parent.mkdir()
    player.write_text(f"#!/bin/sh\ncat > {tmp_path}/played.y4m\n")
    player.chmod(0o755)
    monkeypatch.setenv("PATH", f"{player.parent}:/usr/bin:/bin")
    run = run_here("play", make_clip(), "--pair", "lanczos-x2")
    assert run.code == 0, run.stderr
    with av.open(str(tmp_path / "played.y4m")) as container:
        assert [(frame.width, frame.height) for frame in container.decode(video=0)] == [(128, 96)] * 10


@pytest.mark.parametrize("script", ["head -c 100 >/dev/null", "exit 1", "kill -9 $$"])
def test_player_that_is_closed_ends_quietly(
    tmp_path: Path, make_clip: Clip, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    player = tmp_path / "bin" / "mpv"
    player.parent.mkdir()
    player.write_text(f"#!/bin/sh\n{script}\n")
    player.chmod(0o755)
    monkeypatch.setenv("PATH", f"{player.parent}:/usr/bin:/bin")
    clip = make_clip(size="320x240", frames=30)
    run = run_here("play", clip, "--pair", "lanczos-x2")
    assert (run.code, run.stderr) == (0, "")
    assert set(content(tmp_path)) == {"clip.mp4", "bin", "bin/mpv"}

"""The ffmpeg binary and child processes: which binary is used, and that child processes always end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import pytest
from material import FFMPEG
from robustness import fake_ffmpeg, processes_naming, wait_for

from vidscale.errors import ConfigError, EncodeError
from vidscale.media.ffmpeg import find_ffmpeg, library_versions, refused_params
from vidscale.media.ffmpeg_process import FfmpegProcess, run_ffmpeg
from vidscale.system import processes


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """No child process with the test's folder in its command line, and no thread that reads its stderr."""
    threads = set(threading.enumerate())
    yield
    wait_for(lambda: not processes_naming(tmp_path))
    wait_for(lambda: set(threading.enumerate()) <= threads)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


# Which binary.


def test_ffmpeg_of_the_package_comes_first() -> None:
    found = find_ffmpeg(encoders=["libx264", "libx265", "libsvtav1"], filters=["setparams", "setsar"])
    assert (found.path, found.origin) == (FFMPEG, "imageio-ffmpeg")
    assert found.version[0].isdigit()


def test_named_ffmpeg_is_taken(tmp_path: Path) -> None:
    (link := tmp_path / "mine").symlink_to(FFMPEG)
    found = find_ffmpeg(link, encoders=["libx264"])
    assert (found.path, found.origin) == (str(link), "--ffmpeg")


def test_named_ffmpeg_in_this_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").symlink_to(FFMPEG)
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "./mine", Path("mine"), f"../{tmp_path.name}/mine"):
        assert Path(find_ffmpeg(name).path).samefile(FFMPEG)


def test_named_ffmpeg_on_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").symlink_to(FFMPEG)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_ffmpeg("mine").path == str(tmp_path / "mine")


def test_next_ffmpeg_is_taken_when_the_first_cannot_do_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poor = fake_ffmpeg(tmp_path / "poor", "*libx265*", "echo \"Unknown encoder 'libx265'\" >&2; exit 8")
    (tmp_path / "ffmpeg").symlink_to(FFMPEG)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(poor))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_ffmpeg(encoders=["libx264"]).path == str(poor)
    found = find_ffmpeg(encoders=["libx265"])
    assert (found.path, found.origin) == (str(tmp_path / "ffmpeg"), "PATH")


def test_named_ffmpeg_is_not_replaced_by_another(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none \(--ffmpeg\): cannot be started \(No such file or directory\)$"):
        find_ffmpeg(tmp_path / "none")


def test_every_ffmpeg_that_was_tried_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "ffmpeg", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(tmp_path / "none"))
    with pytest.raises(ConfigError) as error:
        find_ffmpeg()
    assert f"{tmp_path}/none (imageio-ffmpeg): cannot be started" in str(error.value)
    assert f"{tmp_path}/ffmpeg (PATH): is not ffmpeg" in str(error.value)


def test_no_ffmpeg_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no ffmpeg found: install the package imageio-ffmpeg, or name one"):
        find_ffmpeg()


@pytest.mark.parametrize(
    ("case", "action", "words"),
    [
        ("*libx265*", "echo \"Unknown encoder 'libx265'\" >&2; exit 8", "has no encoder libx265"),
        ("*libx265*", "echo 'Unrecognized option fps_mode:v:0' >&2; exit 1", "cannot encode with libx265 (Unrecog"),
        ("*libx265*", "kill -9 $$", "cannot encode with libx265 (-9)"),
        ("*-filters*", "echo ' ... setsar V->V set'; exit 0", "has no filter setparams"),
        ("*-version*", "echo avconv version 12; exit 0", "is not ffmpeg"),
    ],
)
def test_what_an_ffmpeg_lacks_is_reported(tmp_path: Path, case: str, action: str, words: str) -> None:
    fake = fake_ffmpeg(tmp_path / "ffmpeg", case, action)
    with pytest.raises(ConfigError) as error:
        find_ffmpeg(fake, encoders=["libx264", "libx265"], filters=["setparams", "setsar"])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_ffmpeg_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = processes.captured
    monkeypatch.setattr(
        processes, "captured", lambda command, *, data=b"", timeout_s: real(command, data=data, timeout_s=0.3)
    )
    hanging = script(tmp_path / "ffmpeg", f"tail -f {tmp_path}/*")  # the shell waits: both must go
    with pytest.raises(ConfigError, match="does not respond"):
        find_ffmpeg(hanging)


def test_version_of_a_development_build_is_read(tmp_path: Path) -> None:
    fake = script(tmp_path / "ffmpeg", "echo ffmpeg version n8.1-3-gabcdef Copyright")
    assert find_ffmpeg(fake).version == "8.1-3-gabcdef"


def test_library_versions_are_those_of_the_encoders() -> None:
    versions = library_versions(FFMPEG)
    assert versions["x264"].split()[0].isdigit()
    assert versions["x265"][0].isdigit()


def test_library_versions_of_what_is_not_there_are_left_out(tmp_path: Path) -> None:
    assert library_versions(str(tmp_path / "none")) == {}


@pytest.mark.parametrize(
    ("encoder", "option", "params"),
    [
        ("libx264", "x264-params", "keyint=30:ref=2:scenecut=0"),
        ("libx265", "x265-params", "keyint=30:log-level=error"),
        ("libsvtav1", "svtav1-params", "keyint=30:tune=0"),
    ],
)
def test_params_that_an_encoder_takes_are_not_refused(encoder: str, option: str, params: str) -> None:
    ffmpeg = find_ffmpeg(encoders=[encoder])
    assert refused_params(ffmpeg, encoder, option, params) is None
    assert "foo" in (refused_params(ffmpeg, encoder, option, f"{params}:foo=1") or "")


# A running ffmpeg.


def flood(folder: Path, lines: int, *, end: str) -> list[str]:
    """A program that writes more to stderr than a pipe holds before it reads its stdin."""
    code = f"""
import sys
for number in range({lines}):
    sys.stderr.write("line %d of a long story" % number + {end!r})
sys.stderr.flush()
sys.exit(len(sys.stdin.buffer.read()) % 256)
"""
    return [sys.executable, "-c", code, str(folder)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("end", ["\n", "\r"])
def test_stderr_that_floods_does_not_hang(tmp_path: Path, end: str) -> None:
    with FfmpegProcess(flood(tmp_path, 100_000, end=end), stdin=True) as process:
        process.stdin.write(b"12345")
        process.stdin.close()
        with pytest.raises(EncodeError) as error:
            process.wait("telling a story")
    assert error.value.returncode == 5
    assert error.value.stderr_tail[-1].endswith("line 99999 of a long story")
    assert len(error.value.stderr_tail) <= 20
    assert sum(map(len, error.value.stderr_tail)) < 1 << 18
    assert error.value.cmd[0] == sys.executable
    assert "\n" not in str(error.value)


def test_process_that_ends_well_is_no_error(tmp_path: Path) -> None:
    run_ffmpeg([FFMPEG, "-v", "error", "-version"], "asking")
    with FfmpegProcess(["cat", str(script(tmp_path / "text", "words"))], stdout=True) as process:
        assert process.stdout.read() == b"#!/bin/sh\nwords\n"
        process.wait("reading")
        process.wait("reading")  # once more does no harm


@pytest.mark.parametrize(
    ("text", "words", "code"),
    [
        ("exit 3", "coding: ffmpeg exit status 3", 3),
        ("kill -9 $$", "coding: ffmpeg was killed by SIGKILL", -9),
        (
            f"kill -{signal.SIGRTMIN + 5} $$",
            f"coding: ffmpeg was killed by signal {signal.SIGRTMIN + 5}",
            -(signal.SIGRTMIN + 5),
        ),
        ("echo ' first '; echo first >&2; echo second >&2; exit 1", "coding: ffmpeg first", 1),
        ("echo odd >&2; echo 'x: No space left on device' >&2; exit 1", "coding: ffmpeg x: No space left on device", 1),
        ("echo '[v @ 0xf0] no' >&2; echo 'Task finished with error (Invalid)' >&2; exit 1", "coding: ffmpeg [v] no", 1),
        ("printf 'no end' >&2; exit 1", "coding: ffmpeg no end", 1),
        ("printf '\\377\\376' >&2; exit 1", "coding: ffmpeg \ufffd\ufffd", 1),
        ("echo Exiting with exit code 2 >&2; exit 2", "coding: ffmpeg exit status 2", 2),
    ],
)
def test_process_that_fails_says_why(tmp_path: Path, text: str, words: str, code: int) -> None:
    with pytest.raises(EncodeError) as error:
        run_ffmpeg([str(script(tmp_path / "ffmpeg", text)), "a b"], "coding")
    assert str(error.value) == words
    assert error.value.returncode == code
    assert error.value.cmd == [f"{tmp_path}/ffmpeg", "a b"]


def test_program_that_cannot_be_started_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match=r"cannot start .*none: No such file or directory"):
        FfmpegProcess([str(tmp_path / "none")])


def test_pipes_that_were_not_asked_for_are_refused(tmp_path: Path) -> None:
    with FfmpegProcess(["true", str(tmp_path)]) as process:
        with pytest.raises(ValueError, match="stdin=True"):
            _ = process.stdin
        with pytest.raises(ValueError, match="stdout=True"):
            _ = process.stdout


def test_process_does_not_outlive_the_with_block(tmp_path: Path) -> None:
    endless = script(tmp_path / "ffmpeg", f"tail -f {tmp_path}/* & tail -f {tmp_path}/*; true")
    with FfmpegProcess([str(endless)], stdin=True):
        wait_for(lambda: len(processes_naming(tmp_path)) == 3)
    wait_for(lambda: not processes_naming(tmp_path))


def test_children_of_a_script_end_with_it(tmp_path: Path) -> None:
    dying = script(tmp_path / "ffmpeg", f"tail -f {tmp_path}/* & kill -9 $$")
    start = time.monotonic()
    with pytest.raises(EncodeError, match="SIGKILL"):
        run_ffmpeg([str(dying)], "coding")
    assert time.monotonic() - start < 20


def test_kill_all_ends_every_process(tmp_path: Path) -> None:
    one = FfmpegProcess(["tail", "-f", str(script(tmp_path / "one", ""))])
    two = processes.start([str(script(tmp_path / "two", f"tail -f {tmp_path}/*; true"))])
    three = processes.start(["true"])
    three.wait()
    wait_for(lambda: len(processes_naming(tmp_path)) == 3)
    processes.kill_all()
    with one, pytest.raises(EncodeError, match="SIGKILL"):
        one.wait("sleeping")
    assert two.wait() == -signal.SIGKILL
    for process in (two, three):
        processes.end(process)
    processes.kill_all()  # of nothing does no harm


def test_captured_gives_what_was_written(tmp_path: Path) -> None:
    echo = script(tmp_path / "echo", "cat; echo error >&2; exit 4")
    result = processes.captured([str(echo)], data=b"x" * 1_000_000, timeout_s=30)
    assert (result.returncode, result.stdout, result.stderr) == (4, b"x" * 1_000_000, b"error\n")


def test_captured_does_not_mind_who_does_not_read(tmp_path: Path) -> None:
    assert processes.captured(["true", str(tmp_path)], data=b"x" * 1_000_000, timeout_s=30).returncode == 0


def test_captured_ends_who_takes_too_long(tmp_path: Path) -> None:
    slow = script(tmp_path / "slow", f"tail -f {tmp_path}/*; true")
    with pytest.raises(subprocess.TimeoutExpired):
        processes.captured([str(slow)], timeout_s=0.3)
    wait_for(lambda: not processes_naming(tmp_path))


@pytest.mark.parametrize("action", ["echo said then >&2; tail -f {0}/*", "echo 'not said' >&2; echo said >&2; exit 3"])
def test_announces_ends_who_has_said_it(tmp_path: Path, action: str) -> None:
    program = script(tmp_path / "program", action.format(tmp_path))
    assert processes.announces([str(program)], b"said", timeout_s=30)
    wait_for(lambda: not processes_naming(tmp_path))


def test_announces_waits_for_the_end_or_no_longer_than_it_may(tmp_path: Path) -> None:
    silent = script(tmp_path / "silent", "echo not said >&2")
    assert not processes.announces([str(silent)], b"said", timeout_s=30)
    slow = script(tmp_path / "slow", f"echo not said >&2; tail -f {tmp_path}/*; true")
    with pytest.raises(subprocess.TimeoutExpired):
        processes.announces([str(slow)], b"said", timeout_s=0.3)
    wait_for(lambda: not processes_naming(tmp_path))
    crashing = script(tmp_path / "crashing", "echo not said >&2; kill -SEGV $$")
    with pytest.raises(subprocess.CalledProcessError):
        processes.announces([str(crashing)], b"said", timeout_s=30)
    with pytest.raises(OSError, match="missing"):
        processes.announces([str(tmp_path / "missing")], b"said", timeout_s=1)

"""What a container can hold: tested with ffmpeg's muxers, without reading the movie."""

import sys
from pathlib import Path

import pytest
from material import FFMPEG, kinds, make, picture, plan, sound

from vidscale.errors import DecodeError
from vidscale.media import containers


def script(path: Path, text: str) -> Path:
    """Writes an executable script."""
    path.write_text(text)
    path.chmod(0o755)
    return path


MEASURING = """#!{python}
import os, re, subprocess, sys, time

def read_by(process):
    return int(re.search(r"rchar: (\\d+)", open(f"/proc/{{process}}/io").read())[1])

def write(number):
    log = f"{folder}/{{process.pid}}.read"
    with open(log + ".part", "w") as file:  # killed at any time, it leaves a whole log
        file.write(f"{{number}} " + " ".join(sys.argv[1:]))
    os.replace(log + ".part", log)

before = read_by("self")
process = subprocess.Popen(["{ffmpeg}", *sys.argv[1:]])
while process.poll() is None:
    try:
        write(read_by(process.pid))
    except (OSError, TypeError):
        pass
    time.sleep(0.002)
write(read_by("self") - before)  # what it read is counted as its parent's now; it may have been too quick to be seen
sys.exit(process.returncode)
"""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """29 MB of video, a subtitle 0.5 s before its end, and an attachment."""
    folder = tmp_path_factory.mktemp("film")
    (folder / "late.srt").write_text("1\n00:00:09,500 --> 00:00:09,900\nthe end\n")
    (folder / "note.txt").write_text("an attachment\n")
    inputs = [*picture("320x240", duration=10), *sound(10), "-i", folder / "late.srt"]
    words = ["-pix_fmt", "yuv420p", "-c:v", "rawvideo", "-c:a", "flac", "-c:s", "srt"]
    words += ["-attach", folder / "note.txt", "-metadata:s:t:0", "mimetype=text/plain"]
    return make(folder / "film.mkv", *inputs, "-map", 0, "-map", 1, "-map", 2, *words)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count what a process reads")
@pytest.mark.parametrize("container", ["mkv", "mp4", "mov", "ts"])
def test_planning_does_not_read_the_film(container: str, film: Path, tmp_path: Path) -> None:
    text = MEASURING.format(python=sys.executable, ffmpeg=FFMPEG, folder=tmp_path)
    decided = plan(film, tmp_path / f"small.{container}", ffmpeg=script(tmp_path / "ffmpeg", text))
    kept = [stream.codec for stream in decided.output.kept]
    assert kept == ["rawvideo", *{"mkv": ["flac", "subrip", "none"], "mp4": ["flac"]}.get(container, [])]
    logs = [file.read_text() for file in tmp_path.glob("*.read")]
    read = [int(log.split()[0]) for log in logs if str(film) in log]
    assert len(read) >= 2
    assert max(read) < film.stat().st_size / 4


AUDIO = ("aac", "libmp3lame", "libopus", "libvorbis", "flac", "ac3", "eac3", "pcm_s16le", "alac", "mp2", "tta")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A movie with audio in many formats, subtitles in three, and an attachment."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "text.srt").write_text("1\n00:00:00,100 --> 00:00:00,300\nhello\n")
    inputs = [*picture(duration=0.4), *sound(0.4), "-i", folder / "text.srt"]
    words: list[object] = ["-map", 0, "-c:v", "libx264", "-preset", "ultrafast"]
    for number, codec in enumerate(AUDIO):
        words += ["-map", 1, f"-c:a:{number}", codec]
    for number, codec in enumerate(("srt", "ass", "webvtt")):
        words += ["-map", 2, f"-c:s:{number}", codec]
    words += ["-attach", folder / "text.srt", "-metadata:s:t:0", "mimetype=text/plain"]
    return make(folder / "many.mkv", *inputs, *words)


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm"])
def test_what_is_kept_is_what_ffmpeg_copies(container: str, many: Path, tmp_path: Path) -> None:
    names = kinds(many)
    found = plan(many, tmp_path / f"small.{container}", codec="svtav1" if container == "webm" else "x264").output.kept
    truth, video = [], "libvpx" if container == "webm" else "copy"
    for index in range(1, len(names)):
        try:
            words = ["-map", "0:0", "-map", f"0:{index}", "-c", "copy", "-c:v", video]
            copied = make(tmp_path / f"copy.{container}", "-i", many, *words)
            truth += [index] if len(kinds(copied)) == 2 else []
        except RuntimeError:
            pass
    assert [stream.index for stream in found][1:] == truth
    assert truth


def test_ffmpeg_that_does_not_get_far_is_reported(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow network drive is no reason to drop a stream."""
    text = f'#!/bin/sh\ncase "$*" in *map*) sleep 60;; *) exec "{FFMPEG}" "$@";; esac\n'
    monkeypatch.setattr(containers, "_OPEN_TIMEOUT_S", 0.3)
    with pytest.raises(DecodeError, match=r"ffmpeg took more than 0\.3 s to open .*film\.mkv"):
        plan(film, tmp_path / "small.mkv", ffmpeg=script(tmp_path / "ffmpeg", text))

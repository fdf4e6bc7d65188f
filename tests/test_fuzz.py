"""Damaged files of all kinds, see fuzz.py: success or one clear line, never a crash, a hang or leftover files."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from robustness import processes_naming, run_here, wait_for

pytestmark = pytest.mark.slow

FUZZ = Path(__file__).with_name("fuzz.py")
CASES = 25
SECONDS = 60  # for a file's cases, which take a few; some more for the one that is running then, and for starting

MAKE = {
    "h264.mp4": ["-c:v", "libx264", "-bf", "2", "-movflags", "+faststart"],
    "hevc.mkv": ["-c:v", "libx265", "-x265-params", "log-level=none"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-b:v", "200k"],
    "vp8.webm": ["-c:v", "libvpx", "-b:v", "200k"],
    "h264.ts": ["-c:v", "libx264", "-c:a", "mp2"],
    "mpeg4.avi": ["-c:v", "mpeg4", "-c:a", "mp2"],
}


def fuzz(target: str, original: Path, folder: Path, *, count: int = CASES, first: int = 0) -> None:
    """Runs cases in a separate process. Fails at the first bad case, or when less than half of them ran."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    command = [sys.executable, FUZZ, target, original, work, "--first", first, "--count", count, "--seconds", SECONDS]
    result = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, errors="replace", timeout=120, check=False
    )
    last = result.stdout[result.stdout.rfind(f"{target} {original.name} seed") :]
    assert result.returncode == 0, f"status {result.returncode} at {last}\n{result.stderr[-3000:]}"
    wait_for(lambda: not processes_naming(folder))
    total = re.search(r"^total (\{.*\})$", result.stdout, re.MULTILINE)
    assert total, result.stdout
    ended = ast.literal_eval(total[1])  # what came of them, and how often
    assert sum(ended.values()) > count / 2, f"{ended} of {count} cases in {SECONDS} s"
    assert ended["done"] > 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", MAKE)
def test_damaged_sources(tmp_path: Path, make_clip: Callable[..., Path], name: str) -> None:
    sound = not name.endswith(".webm")
    fuzz("encode", make_clip(name, frames=12, audio=sound, options=MAKE[name]), tmp_path)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("codec", "suffix"), [("x264", ".mp4"), ("x265", ".mkv"), ("svtav1", ".mkv")])
def test_damaged_small_files(tmp_path: Path, make_clip: Callable[..., Path], codec: str, suffix: str) -> None:
    clip, small = make_clip(frames=12, audio=True), tmp_path / f"small_{codec}{suffix}"
    run = run_here("encode", clip, "-o", small, "--codec", codec, "--scale", "2", "--no-report")
    assert run.code == 0, run.stderr
    fuzz("decode", small, tmp_path)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["raw.y4m", "raw.nut"])
def test_damaged_pipes(tmp_path: Path, make_clip: Callable[..., Path], name: str) -> None:
    fuzz("stage", make_clip(name, frames=3, options=["-c:v", "rawvideo"]), tmp_path, count=200)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["bunny_1080p60_vp8.webm", "hlg10_1080p_vfr.mp4", "motionphoto_two_video_streams.mp4"])
def test_damaged_real_files(tmp_path: Path, shared_data: Path, name: str) -> None:
    original = shared_data / "odd" / name
    if not original.exists():
        pytest.skip(f"no {original}")
    fuzz("encode", original, tmp_path, count=8)

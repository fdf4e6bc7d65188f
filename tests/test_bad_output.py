"""Outputs that cannot be written, full disks, a missing or dying ffmpeg: one clear line, and no files left."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from robustness import (
    FAST,
    content,
    cut,
    fake_ffmpeg,
    frame_count,
    message,
    refused,
    run_apart,
    run_here,
    run_unprivileged,
)

from vidscale.errors import EncodeError
from vidscale.system.workspace import Workspace, partial_files

Clip = Callable[..., Path]


@pytest.fixture
def clip(make_clip: Clip) -> Path:
    """Two seconds with audio, a keyframe every ten frames, the index at the front."""
    return make_clip("clip.mp4", frames=50, audio=True, options=["-g", "10", "-bf", "0", "-movflags", "+faststart"])


@pytest.fixture(scope="session")
def _coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("coded") / "small.mkv"


@pytest.fixture
def small(_coded: Path, clip: Path) -> Path:
    """The clip as a small file, next to it."""
    if not _coded.exists():
        assert run_here("encode", clip, "-o", _coded, *FAST).code == 0
    return Path(shutil.copy(_coded, clip.parent))


# Outputs that cannot be.


def test_output_folder_that_is_missing_is_refused(tmp_path: Path, clip: Path) -> None:
    assert "gone does not exist" in refused(tmp_path, "encode", clip, "-o", tmp_path / "gone" / "small.mkv", *FAST)


def test_output_folder_that_is_a_file_is_refused(tmp_path: Path, clip: Path) -> None:
    assert "does not exist" in refused(tmp_path, "encode", clip, "-o", clip / "small.mkv", *FAST)


@pytest.mark.skipif(sys.platform != "linux", reason="privileges are dropped as Linux does it")
def test_output_folder_that_is_not_writable_is_refused(tmp_path: Path, clip: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(0o555)
    run = run_unprivileged("encode", clip, "-o", locked / "small.mkv", *FAST)
    assert message(run).endswith("locked is not writable")
    assert list(locked.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="privileges are dropped as Linux does it")
def test_comparison_that_cannot_be_written_keeps_nothing(tmp_path: Path, clip: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(0o555)
    run = run_unprivileged("compare", clip, "-o", locked / "out", "--pairs", "lanczos", "--metrics", "psnr")
    assert message(run).endswith("locked is not writable")


@pytest.mark.parametrize("overwrite", [[], ["-y"]])
def test_output_that_is_a_folder_is_refused(tmp_path: Path, clip: Path, overwrite: list[str]) -> None:
    (tmp_path / "small.mkv").mkdir()
    (tmp_path / "out").mkdir()
    for name in ("small.mkv", "out"):
        assert "is a directory" in refused(tmp_path, "encode", clip, "-o", tmp_path / name, *FAST, *overwrite)


@pytest.mark.parametrize("command", ["encode", "decode", "decode --y4m"])
def test_existing_output_is_kept(tmp_path: Path, small: Path, command: str) -> None:
    (tmp_path / "there.mkv").write_bytes(b"dear to somebody")
    said = refused(tmp_path, *command.split(), small, "-o", tmp_path / "there.mkv")
    assert said.endswith("there.mkv exists; -y replaces it")


def test_existing_output_is_kept_when_its_replacement_fails(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "there.mkv").write_bytes(b"dear to somebody")
    args = ["encode", cut(clip, 0.5), "-o", tmp_path / "there.mkv", "--strict", "-y", *FAST]
    assert "damaged" in refused(tmp_path, *args)


def same(path: Path) -> Path:
    return path


def by_symlink(path: Path) -> Path:
    (link := path.with_name("link.mkv")).symlink_to(path)
    return link


def by_hardlink(path: Path) -> Path:
    (link := path.with_name("link.mkv")).hardlink_to(path)
    return link


def by_folder(path: Path) -> Path:
    (folder := path.with_name("folder")).symlink_to(path.parent)
    return folder / path.name


def relative(path: Path) -> Path:
    return Path(os.path.relpath(path))


@pytest.mark.slow
@pytest.mark.parametrize("other_name", [same, by_symlink, by_hardlink, by_folder, relative])
@pytest.mark.parametrize("command", ["encode", "decode", "decode --y4m", "run"])
def test_output_that_is_the_input_is_refused(
    tmp_path: Path, small: Path, other_name: Callable[[Path], Path], command: str
) -> None:
    other = other_name(small)
    words = command.split()
    if command == "run":
        (tmp_path / "pipe.toml").write_text('command = "pipe"\nstages = [["cp", "{input}", "{output}"]]\n')
        words.append(str(tmp_path / "pipe.toml"))
    assert "is the input; choose another output" in refused(tmp_path, *words, small, "-o", other, "-y")


def test_report_folder_that_is_a_file_is_refused_before_work_starts(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        args = ["encode", clip, "-o", tmp_path / "small.mkv", "--report-dir", folder]
        assert "taken is a file" in refused(tmp_path, *args)
        assert "taken is a file" in refused(tmp_path, "measure", clip, clip, "--report-dir", folder)


@pytest.mark.parametrize("name", ["clip.mp4", "other.mp4", "notes", "report.pdf"])
@pytest.mark.parametrize("words", [["plan", "-o"], ["batch", "-o", "folder", "--status"]])
def test_page_replaces_no_other_file(tmp_path: Path, clip: Path, words: list[str], name: str) -> None:
    if name != clip.name:
        (tmp_path / name).write_text("mine")
    before = content(tmp_path)
    command, *options = words
    run = run_here(
        command, clip, *(str(tmp_path / word) if word == "folder" else word for word in options), tmp_path / name
    )
    assert run.code == 1
    assert f"{name} would be a web page: its name must end in .html" in run.stderr
    assert content(tmp_path) == before


@pytest.mark.slow
def test_page_of_something_else_is_not_replaced(tmp_path: Path, clip: Path, small: Path) -> None:
    (page := tmp_path / "site" / "index.html").parent.mkdir()
    page.write_text("mine")
    for words in (
        ["encode", clip, "-o", tmp_path / "new.mkv", "--report-dir", page.parent],
        ["measure", clip, small, "-o", page.parent],
        ["compare", clip, "-o", page.parent],
        ["batch", clip, "-o", page.parent],
    ):
        assert "has an index.html that vidscale did not write" in refused(tmp_path, *words)
    run = run_here(
        "encode", clip, "-o", tmp_path / "new.mkv", "--report-dir", tmp_path / "report", "--no-verdict", *FAST[:4]
    )
    again = run_here(
        "encode", clip, "-o", tmp_path / "new.mkv", "-y", "--report-dir", tmp_path / "report", "--no-verdict", *FAST[:4]
    )
    assert (run.code, again.code) == (0, 0), again.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("words", [["encode"], ["encode", "--no-report"], ["encode", "--dry-run"], ["decode"]])
def test_gpu_that_is_not_here_is_missed_before_work_starts(tmp_path: Path, small: Path, words: list[str]) -> None:
    said = refused(tmp_path, words[0], small, "-o", tmp_path / "new.mkv", "--device", "cuda", *words[1:])
    assert "torch finds no CUDA device" in said


def test_raw_video_gets_no_name_of_a_container(tmp_path: Path, small: Path) -> None:
    said = refused(tmp_path, "decode", small, "--y4m", "-o", tmp_path / "raw.mp4", code=2)
    assert "name the output .y4m" in said
    said = refused(tmp_path, "decode", small, "-o", tmp_path / "raw.y4m", code=2)
    assert said.endswith("raw.y4m: --y4m writes raw video, without audio")


@pytest.mark.parametrize("links", [True, False])
def test_file_that_appears_meanwhile_is_kept_and_so_is_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def no_links(*_: object) -> None:
        raise OSError("Operation not supported")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    target = tmp_path / "small.mp4"

    def writing(result: str) -> None:
        with partial_files(target, source=None, overwrite=False) as workspace:
            workspace.result.write_text(result)
            target.write_text("precious")

    for number in (2, 3):
        message = f"created by another program in the meantime: the result is in small-{number}"
        with pytest.raises(EncodeError, match=message):
            writing(f"result {number}")
        if number == 2:
            target.unlink()
    texts = {"small.mp4": b"precious", "small-2.mp4": b"result 2", "small-3.mp4": b"result 3"}
    assert content(tmp_path) == texts


@pytest.mark.parametrize("name", ["small.xyz", "small", "-"])
def test_output_of_unknown_kind_is_refused(tmp_path: Path, clip: Path, name: str) -> None:
    assert "cannot write" in refused(tmp_path, "encode", clip, "-o", tmp_path / name, *FAST)


# Disks that are full. A link to /dev/full takes every open and refuses every write, as a full disk does, without the
# right to mount one.

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")


@needs_dev_full
@pytest.mark.parametrize("case", ["*pipe:0*video.mp4*", "*signed.mp4*part*"])
def test_full_disk_is_reported(tmp_path: Path, clip: Path, case: str) -> None:
    fake = fake_ffmpeg(tmp_path / "ffmpeg", case, 'ln -s /dev/full "$out"')
    said = refused(tmp_path, "encode", clip, "-o", tmp_path / "small.mp4", "--ffmpeg", fake, *FAST)
    assert "No space left on device" in said


@needs_dev_full
def test_full_disk_is_reported_while_signing(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def file(self: Workspace, suffix: str) -> Path:
        path = make(self, suffix)
        if suffix.startswith("signed"):
            path.symlink_to("/dev/full")
        return path

    make = Workspace.file
    monkeypatch.setattr(Workspace, "file", file)
    assert "No space left on device" in refused(tmp_path, "encode", clip, "-o", tmp_path / "small.mp4", *FAST)


@pytest.mark.parametrize("name", ["small.mp4", "small.mov"])
def test_full_disk_is_reported_while_tags_are_written(
    tmp_path: Path, clip: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vidscale.media.mp4._shift", full)
    said = refused(tmp_path, "encode", clip, "-o", tmp_path / name, *FAST)
    assert said.endswith("writing the tags failed: No space left on device")


@needs_dev_full
def test_full_disk_is_reported_by_decode_to_y4m(tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def file(self: Workspace, suffix: str) -> Path:
        path = make(self, suffix)
        path.symlink_to("/dev/full")
        return path

    make = Workspace.file
    monkeypatch.setattr(Workspace, "file", file)
    assert "No space left on device" in refused(tmp_path, "decode", small, "--y4m", "-o", tmp_path / "big.y4m")


@pytest.mark.slow
@needs_dev_full
@pytest.mark.parametrize("name", ["report.json", "frames.csv", "index.html"])
def test_full_disk_is_reported_while_the_report_is_written(
    tmp_path: Path, clip: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidscale.system.workspace.secrets.token_hex", lambda count: 2 * count * "0")
    report = tmp_path / "report"
    report.mkdir()
    (report / f".{name}.00000000.part").symlink_to("/dev/full")
    run = run_here("encode", clip, "-o", tmp_path / "small.mp4", "--report-dir", report, "--no-verdict", *FAST[:4])
    said = message(run)
    assert "cannot write the report" in said
    assert "No space left on device" in said
    assert said.endswith("small.mp4 is complete, its report is not")
    assert frame_count(tmp_path / "small.mp4") == 50  # the movie itself is whole, and stays
    assert not any(path.name.startswith(".") for path in report.iterdir())


@needs_dev_full
def test_full_disk_is_reported_for_results(clip: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        run = run_apart("encode", clip, "--scale", "2", "--dry-run", stdout=full)
    assert message(run) == "No space left on device"


def test_small_disk_is_reported(tmp_path: Path, make_clip: Clip) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("no right to mount")
    try:
        source = make_clip("clip.mp4", size="320x240", frames=50, audio=True)
        said = refused(tmp_path, "encode", source, "-o", disk / "small.mp4", "--crf", "10", *FAST)
        assert "No space left on device" in said
    finally:
        subprocess.run(["umount", disk], check=True)


# An ffmpeg that is not there, cannot do it, or dies.


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (None, "cannot be started (No such file or directory)"),
        ("text", "cannot be started (Permission denied)"),
        ("#!/bin/sh\nexit 0\n", "is not ffmpeg"),
        ("#!/bin/sh\necho hello\nexit 3\n", "is not ffmpeg"),
        ("#!/nonexistent/shell\n", "cannot be started (No such file or directory)"),
        ("no script\n", "cannot be started (Exec format error)"),
    ],
)
@pytest.mark.parametrize("command", ["encode", "decode", "measure", "decode --y4m"])
def test_ffmpeg_that_cannot_be_is_refused(
    tmp_path: Path, clip: Path, write: str | None, words: str, command: str
) -> None:
    program = tmp_path / "ffmpeg"
    if write is not None:
        program.write_text(write)
        program.chmod(0o644 if write == "text" else 0o755)
    if write == "text" and os.access(program, os.X_OK):
        pytest.skip("this user may execute anything")
    films = [clip, clip] if command == "measure" else [clip]
    assert words in refused(tmp_path, *command.split(), *films, "--ffmpeg", program)


def test_ffmpeg_that_is_a_folder_is_refused(tmp_path: Path, clip: Path) -> None:
    assert "cannot be started" in refused(tmp_path, "encode", clip, "--ffmpeg", tmp_path)


def test_ffmpeg_without_the_encoder_is_refused(tmp_path: Path, clip: Path) -> None:
    fake = fake_ffmpeg(tmp_path / "ffmpeg", "*libx265*", "echo \"Unknown encoder 'libx265'\" >&2; exit 8")
    said = refused(tmp_path, "encode", clip, "--codec", "x265", "--ffmpeg", fake)
    assert said.endswith("ffmpeg (--ffmpeg): has no encoder libx265")


def test_old_ffmpeg_is_refused(tmp_path: Path, clip: Path) -> None:
    """ffmpeg 7.0 cannot tag the siting of chroma."""
    error = "Error applying option 'chroma_location' to filter 'setparams': Option not found"
    fake = fake_ffmpeg(tmp_path / "ffmpeg", "*chroma_location*", f'echo "{error}" >&2; exit 8')
    said = refused(tmp_path, "encode", clip, "-o", tmp_path / "small.mp4", "--ffmpeg", fake, *FAST)
    assert said.endswith(f"cannot encode with libx264 ({error}); a newer one is needed")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("head -c 5000 >/dev/null; kill -9 $$", "ffmpeg was killed by SIGKILL"),
        ("cat >/dev/null; kill -9 $$", "encoding failed: ffmpeg was killed by SIGKILL"),
        ("head -c 5000 >/dev/null; kill -11 $$", "ffmpeg was killed by SIGSEGV"),
        ("kill -9 $$", "ffmpeg was killed by SIGKILL"),
        ("echo 'x264 [error]: no' >&2; exit 1", "ffmpeg x264 [error]: no"),
        ("exit 77", "ffmpeg exit status 77"),
        ("cat >/dev/null; exit 0", "copying the encoded video failed"),  # claims to have done it, and wrote nothing
        # A script that dies leaves the real program, which holds on to its pipes.
        ("sleep 1000 & head -c 5000 >/dev/null; kill -9 $$", "ffmpeg was killed by SIGKILL"),
    ],
)
def test_encoder_that_dies_is_reported(tmp_path: Path, clip: Path, action: str, words: str) -> None:
    fake = fake_ffmpeg(tmp_path / "ffmpeg", "*pipe:0*video.mp4*", action)
    assert words in refused(tmp_path, "encode", clip, "-o", tmp_path / "small.mp4", "--ffmpeg", fake, *FAST)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("kill -9 $$", "writing the output failed: ffmpeg was killed by SIGKILL"),
        ("exit 3", "writing the output failed: ffmpeg exit status 3"),
        ("exit 0", "the output cannot be read back"),
        ('"$ffmpeg" "$@"; truncate -s 20000 "$out"', "output"),
    ],
)
def test_muxer_that_dies_is_reported(tmp_path: Path, clip: Path, action: str, words: str) -> None:
    fake = fake_ffmpeg(tmp_path / "ffmpeg", "*signed.mp4*part*", f"{action}; exit 0")
    assert words in refused(tmp_path, "encode", clip, "-o", tmp_path / "small.mp4", "--ffmpeg", fake, *FAST)


def test_trial_of_the_muxer_that_dies_loses_no_sound(tmp_path: Path, clip: Path) -> None:
    fake = fake_ffmpeg(tmp_path / "ffmpeg", "*readrate*", "kill -9 $$")
    said = refused(tmp_path, "encode", clip, "-o", tmp_path / "small.mp4", "--ffmpeg", fake, *FAST)
    assert said.endswith(f"ffmpeg was killed by SIGKILL while it opened {clip}")


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("head -c 5000 >/dev/null; kill -9 $$", "ffmpeg was killed by SIGKILL"),
        ("cat >/dev/null; kill -9 $$", "measuring failed: ffmpeg was killed by SIGKILL"),
        ("exit 5", "ffmpeg exit status 5"),
        ("cat >/dev/null; exit 0", "measuring failed: ffmpeg did not write a score"),
    ],
)
def test_meter_that_dies_is_reported(tmp_path: Path, clip: Path, action: str, words: str) -> None:
    fake = fake_ffmpeg(tmp_path / "ffmpeg", "*pipe:0*libvmaf*", action)
    assert words in refused(tmp_path, "measure", clip, clip, "--vmaf", "--ffmpeg", fake)


def test_encoder_that_drops_frames_is_reported(tmp_path: Path, clip: Path) -> None:
    action = 'exec "$ffmpeg" -f nut -i pipe:0 -frames:v 14 -c:v libx264 -copyts -y "$out"'
    fake = fake_ffmpeg(tmp_path / "ffmpeg", "*pipe:0*video.mp4*", action)
    said = refused(tmp_path, "encode", clip, "-o", tmp_path / "small.mp4", "--ffmpeg", fake, *FAST)
    assert "encoding" in said or "14 are in the output" in said

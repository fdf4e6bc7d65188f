"""What bad input gets: one clear line, exit code 1 (2 for usage), and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import av
import pytest
from robustness import FFMPEG, fake_ffmpeg, message, nothing_left, run_apart, run_here, run_unprivileged

from vidscale import bitstream
from vidscale.identity import TAG, Identity
from vidscale.workspace import Workspace

FAST = ["--scale", "1", "--preset", "ultrafast", "--no-report"]
Clip = Callable[..., Path]


@pytest.fixture
def clip(make_clip: Clip) -> Path:
    """Two seconds with sound, a keyframe every ten pictures, the index in front."""
    return make_clip("clip.mp4", frames=50, audio=True, options=["-g", "10", "-bf", "0", "-movflags", "+faststart"])


@pytest.fixture(scope="session")
def _coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("coded") / "small.mkv"


@pytest.fixture
def small(_coded: Path, clip: Path) -> Path:
    """The clip as a small file, beside it."""
    if not _coded.exists():
        assert run_here("encode", clip, "-o", _coded, *FAST).code == 0
    return Path(shutil.copy(_coded, clip.parent))


def refused(folder: Path, *args: object, code: int = 1) -> str:
    """Runs the program, which must refuse and leave nothing; what it says."""
    with nothing_left(folder):
        return message(run_here(*args), code)


# What is no video.


def not_a_video(path: Path) -> None:
    path.write_text("Mary had a little lamb.\n" * 100)


def empty(path: Path) -> None:
    path.touch()


def directory(path: Path) -> None:
    path.mkdir()


def missing(path: Path) -> None:
    pass


def fifo(path: Path) -> None:
    os.mkfifo(path)


def noise(path: Path) -> None:
    path.write_bytes(bytes((i * i * 31 + i // 7) % 256 for i in range(100_000)))


BROKEN = [
    (not_a_video, "cannot be opened as a video"),
    (empty, "is empty"),
    (directory, "is a directory"),
    (missing, "does not exist"),
    (fifo, "is not a regular file"),
    (noise, "cannot be opened as a video"),
]


@pytest.mark.parametrize(("write", "words"), BROKEN)
@pytest.mark.parametrize("command", ["encode", "decode", "measure", "decode --y4m"])
def test_no_video_is_refused(
    tmp_path: Path, make_clip: Clip, write: Callable[[Path], None], words: str, command: str
) -> None:
    source = tmp_path / "bad.mp4"
    write(source)
    args = [*command.split(), source]
    if command == "measure":
        args.append(make_clip("good.mp4"))
    said = refused(tmp_path, *args)
    assert words in said
    assert "bad.mp4" in said


def test_no_video_is_refused_as_the_second_of_measure(tmp_path: Path, clip: Path) -> None:
    not_a_video(tmp_path / "bad.mp4")
    assert "bad.mp4 cannot be opened as a video" in refused(tmp_path, "measure", clip, tmp_path / "bad.mp4")


@pytest.mark.parametrize("size", [30, 600, 2000])
def test_source_truncated_in_the_header_is_refused(tmp_path: Path, clip: Path, size: int) -> None:
    source = tmp_path / "cut.mp4"
    source.write_bytes(clip.read_bytes()[:size])
    said = refused(tmp_path, "encode", source, *FAST)
    assert "cut.mp4 cannot be opened as a video" in said or said.endswith("cut.mp4 ends within its header")


def test_source_with_its_index_cut_off_is_refused(tmp_path: Path, make_clip: Clip) -> None:
    whole = make_clip("late.mp4", frames=50)  # MP4 keeps its index at the end where it is not asked for faststart
    source = tmp_path / "cut.mp4"
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert "cut.mp4 cannot be opened as a video" in refused(tmp_path, "encode", source, *FAST)


def test_source_without_video_is_refused(tmp_path: Path, run_ffmpeg: Callable[..., str]) -> None:
    source = tmp_path / "sound.m4a"
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=1", source)
    assert refused(tmp_path, "encode", source, *FAST).endswith("sound.m4a holds no video stream")


def test_source_with_cover_art_alone_is_refused(tmp_path: Path, run_ffmpeg: Callable[..., str]) -> None:
    source = tmp_path / "song.m4a"
    picture = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=1:d=1", "-c:v", "png", "-disposition:v", "attached_pic"]
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=1", *picture, source)
    assert refused(tmp_path, "encode", source, *FAST).endswith("song.m4a holds no video stream but cover art")


def header_of_y4m(path: Path) -> None:
    path.write_bytes(b"YUV4MPEG2 W64 H48 F25:1\n")


def header_of_mp4(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()


def pictures_of_zeros(path: Path) -> None:
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
        for number in range(10):
            packet = av.Packet(bytes(500))
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, stream.time_base
            packet.is_keyframe = True
            container.mux(packet)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (header_of_y4m, "holds no decodable frame"),
        (header_of_mp4, "holds no video stream"),
        (pictures_of_zeros, "holds no decodable frame"),
    ],
)
def test_source_with_zero_frames_is_refused(tmp_path: Path, write: Callable[[Path], None], words: str) -> None:
    source = tmp_path / "none.mkv"
    write(source)
    assert words in refused(tmp_path, "encode", source, *FAST)


@pytest.mark.skipif(sys.platform != "linux", reason="privileges are dropped as Linux does it")
def test_unreadable_source_is_refused(tmp_path: Path, clip: Path) -> None:
    clip.chmod(0)
    assert message(run_unprivileged("encode", clip, *FAST)).endswith("clip.mp4 cannot be read: permission denied")
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_file_name_that_is_not_utf8_is_refused(tmp_path: Path, clip: Path) -> None:
    source = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    clip.rename(source)
    assert "is not UTF-8" in refused(tmp_path, "encode", source, *FAST)
    clip.symlink_to(source)
    assert "is not UTF-8" in refused(tmp_path, "encode", clip, "-o", source.with_suffix(".mkv"), *FAST)


@pytest.mark.parametrize(
    "name",
    ["a:b.mp4", "file:x.mp4", "-dash.mp4", "per%03d cent.mp4", "q'uote\"s.mp4", "new\nline.mp4", "n" * 250 + ".mp4"],
)
def test_file_names_that_mean_something_to_ffmpeg_are_names(
    tmp_path: Path, clip: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clip.rename(tmp_path / name)
    output = f"{name[:-4]}.mkv"
    run = run_here("encode", *FAST, f"--output={output}", "--", name)
    assert run.code == 0, run.stderr
    assert set(os.listdir(tmp_path)) == {name, output}


# Sources that are damaged: what is there is coded.


def cut(source: Path, part: float) -> Path:
    """The first part of a file, as another file beside it."""
    target = source.with_name(f"cut{source.suffix}")
    target.write_bytes(source.read_bytes()[: int(source.stat().st_size * part) | 1])  # never whole packets of MPEG-TS
    return target


def bent(source: Path, seed: int, bytes_flipped: int) -> Path:
    """A copy of an MP4 with some bytes of its media data flipped."""
    data, random = bytearray(source.read_bytes()), Random(seed)
    start = data.index(b"mdat") + 1000  # the first picture must stay, or the file holds no video
    for _ in range(bytes_flipped):
        data[random.randrange(start, len(data))] ^= random.randrange(1, 256)
    target = source.with_name(f"bent{source.suffix}")
    target.write_bytes(data)
    return target


def frame_count(path: Path) -> int:
    """How many pictures of a file decode."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.98])
def test_truncated_mp4_codes_what_is_there_and_counts_the_rest(tmp_path: Path, clip: Path, part: float) -> None:
    source = cut(clip, part)
    run = run_here("encode", source, "-o", tmp_path / "small.mkv", *FAST)
    assert run.code == 0, run.stderr
    coded = frame_count(tmp_path / "small.mkv")
    assert 0 < coded < 50
    assert f"{50 - coded} frames of cut.mp4 were unreadable" in run.stderr
    assert f"cut.mp4 breaks off at {(coded - 1) / 25:.2f} s" in run.stderr
    assert set(os.listdir(tmp_path)) == {"clip.mp4", "cut.mp4", "small.mkv"}


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".avi"])
def test_truncated_source_codes_what_is_there(tmp_path: Path, clip: Path, suffix: str, run_ffmpeg: Any) -> None:
    whole = tmp_path / f"whole{suffix}"
    run_ffmpeg("-i", clip, "-c", "copy", whole)
    source = cut(whole, 0.35)
    run = run_here("encode", source, "-o", tmp_path / "small.mkv", *FAST)
    assert run.code == 0, run.stderr
    assert 10 < frame_count(tmp_path / "small.mkv") < 35
    assert f"cut{suffix} breaks off at" in run.stderr


def test_truncated_source_is_refused_when_strict(tmp_path: Path, clip: Path) -> None:
    source = cut(clip, 0.6)
    said = refused(tmp_path, "encode", source, "--strict", "-o", tmp_path / "small.mp4", *FAST)
    assert "cut.mp4 is damaged" in said
    assert "frames of cut.mp4 were unreadable" in said


def test_truncated_small_file_restores_what_is_there(tmp_path: Path, clip: Path) -> None:
    run_here("encode", clip, "-o", tmp_path / "small.mp4", *FAST)
    small = cut(tmp_path / "small.mp4", 0.6)
    run = run_here("decode", small, "-o", tmp_path / "restored.mkv", "--preset", "ultrafast")
    assert run.code == 0, run.stderr
    restored = frame_count(tmp_path / "restored.mkv")
    assert 10 < restored < 45
    assert f"{50 - restored} frames of cut.mp4 were unreadable" in run.stderr
    (tmp_path / "restored.mkv").unlink()
    assert "damaged" in refused(tmp_path, "decode", small, "-o", tmp_path / "restored.mkv", "--strict")
    assert "damaged" in refused(tmp_path, "decode", small, "--y4m", "-o", tmp_path / "restored.y4m", "--strict")
    run = run_here("decode", small, "--y4m", "-o", tmp_path / "restored.y4m")
    assert f"{50 - restored} frames of cut.mp4 were unreadable" in run.stderr


def test_measure_tells_of_a_truncated_video(tmp_path: Path, clip: Path) -> None:
    run = run_here("measure", clip, cut(clip, 0.6))
    assert run.code == 0, run.stderr
    assert "frames of cut.mp4 were unreadable" in run.stderr
    assert "only in the source" in run.stdout


@pytest.mark.parametrize("seed", range(3))
def test_corrupt_packets_are_counted(tmp_path: Path, clip: Path, seed: int) -> None:
    source = bent(clip, seed, 60)
    run = run_here("encode", source, "-o", tmp_path / "small.mp4", *FAST)
    assert run.code == 0, run.stderr
    coded = frame_count(tmp_path / "small.mp4")
    assert 30 <= coded <= 50
    assert "of bent.mp4" in run.stderr
    assert coded == 50 or f"{50 - coded} frame" in run.stderr
    (tmp_path / "small.mp4").unlink()
    assert "bent.mp4 is damaged" in refused(tmp_path, "encode", source, "--strict", "-o", tmp_path / "small.mp4", *FAST)


# Pictures and timestamps that do not go together.


@pytest.mark.parametrize("change", [{"size": "80x48"}, {"pix_fmt": "yuv444p"}])
@pytest.mark.parametrize("suffix", [".ts", ".h264"])
def test_picture_that_changes_mid_stream_is_refused(
    tmp_path: Path, make_clip: Clip, change: dict[str, str], suffix: str
) -> None:
    h264 = ["-c:v", "libx264"]
    later = ["-output_ts_offset", "1"] if suffix == ".ts" else []
    first, second = (
        make_clip(f"first{suffix}", options=h264),
        make_clip(f"second{suffix}", options=h264 + later, **change),
    )
    source = tmp_path / f"both{suffix}"
    source.write_bytes(first.read_bytes() + second.read_bytes())
    said = refused(tmp_path, "encode", source, "-o", tmp_path / "small.mkv", *FAST)
    assert "the picture changes at" in said
    assert "64x48 yuv420p to 80x48 yuv420p" in said or "64x48 yuv420p to 64x48 yuv444p" in said


def with_timestamps(source: Path, target: Path, pts: list[int]) -> Path:
    """The packets of a source without reordered pictures, each with another pts, in units of its time base / 40 ms."""
    with av.open(str(source)) as reader, av.open(str(target), "w", format=target.suffix[1:]) as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        unit = Fraction(1, 25) / stream.time_base
        for number, packet in enumerate(p for p in reader.demux(stream) if p.size):
            packet.pts, packet.dts = int(pts[number] * unit), int(number * unit)
            packet.stream = copy
            writer.mux(packet)
    return target


@pytest.mark.parametrize("suffix", [".nut", ".mov"])
@pytest.mark.parametrize(
    ("pts", "words"),
    [
        ([0, 1, 2, 3, 5, 5, 6, 7, 8, 9], "repeats after 0.200 s"),
        ([0, 1, 7, 4, 5, 6, 9, 10, 11, 12], "goes back to 0.160 s after 0.280 s"),
    ],
)
def test_timestamps_that_do_not_rise_are_refused(
    tmp_path: Path, make_clip: Clip, suffix: str, pts: list[int], words: str
) -> None:
    clip = make_clip("clip.mp4", options=["-bf", "0", "-g", "1"])
    source = with_timestamps(clip, tmp_path / f"odd{suffix}", pts)
    assert words in refused(tmp_path, "encode", source, "-o", tmp_path / "small.mkv", *FAST)


@pytest.mark.parametrize("suffix", [".h264", ".hevc"])
def test_missing_timestamps_are_made_up_and_told(tmp_path: Path, make_clip: Clip, suffix: str) -> None:
    codec = {".h264": "libx264", ".hevc": "libx265"}[suffix]
    quiet = ["-x265-params", "log-level=none"] if codec == "libx265" else []
    source = make_clip(f"raw{suffix}", options=["-c:v", codec, *quiet])
    run = run_here("encode", source, "-o", tmp_path / "small.mkv", *FAST)
    assert run.code == 0, run.stderr
    assert f"10 frames of raw{suffix} had no timestamp and got one from the frame rate" in run.stderr
    with av.open(str(tmp_path / "small.mkv")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([number / 25 for number in range(10)], abs=5e-4)


# Sizes and settings.


@pytest.mark.parametrize(("codec", "size"), [("x264", "16386x32"), ("x265", "32x16400"), ("svtav1", "32x8706")])
def test_size_over_the_encoders_limit_is_refused(tmp_path: Path, make_clip: Clip, codec: str, size: str) -> None:
    source = make_clip("large.mkv", size=size, frames=1, options=["-c:v", "mjpeg", "-strict", "-1"])
    args = ["encode", source, "-o", tmp_path / "small.mkv", "--scale", "1", "--no-report", "--codec", codec]
    assert f"{size} is over the limit of {codec}" in refused(tmp_path, *args)


@pytest.mark.parametrize(
    ("codec", "crf"),
    [
        ("x264", "52"),
        ("x264", "51.01"),
        ("x265", "52"),
        ("svtav1", "64"),
        *[(codec, crf) for codec in ("x264", "x265", "svtav1") for crf in ("-1", "nan", "inf", "-inf", "1e9")],
    ],
)
@pytest.mark.parametrize("command", ["encode", "decode"])
def test_crf_outside_the_codecs_range_is_a_usage_error(clip: Path, codec: str, crf: str, command: str) -> None:
    said = refused(clip.parent, command, clip, "--codec", codec, f"--crf={crf}", code=2)
    assert "crf" in said
    assert codec in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--preset", "warp"], "preset 'warp' is not one of x264: ultrafast"),
        (["--codec", "svtav1", "--preset", "medium"], "preset 'medium' is not one of svtav1: 0"),
        (["--codec", "vp9"], "codec = 'vp9'"),
        (["--pair", "lanczos-x3", "--scale", "2"], "pair 'lanczos-x3' is made for scale 3, not for 2"),
        (["--scale", "0.5"], "scale 0.5 is outside 1 to 8"),
        (["--scale", "8.1"], "scale 8.1 is outside 1 to 8"),
        (["--scale", "1e999999999"], "is not a number"),
        (["--scale", "1.1234567"], "a denominator may be 10000 at most"),
        (["--range", "5:2"], "ends before it starts"),
        (["--range", "1e999999999:"], "is not START:END"),
        (["--stream", "v:x"], "stream = 'x'"),
        (["--stream", "a:0"], "stream = 'a:0'"),
        (["--device", "tpu"], "device = 'tpu'"),
        (["--interlaced", "maybe"], "interlaced = 'maybe'"),
        (["--ssim", "fast"], "ssim = 'fast'"),
        (["--encoder-params", "=3"], "encoder parameter '=3' is not key=value"),
    ],
)
def test_setting_that_cannot_be_is_a_usage_error(clip: Path, options: list[str], words: str) -> None:
    assert words in refused(clip.parent, "encode", clip, *options, code=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pair", "phantom"], "there is no pair 'phantom'; there are lanczos"),
        (["--pair", "lanczos-xtwo"], "there is no pair 'lanczos-xtwo'"),
        (["--pair", ""], "there is no pair ''"),
        (["--stream", "v:7"], "there is no v:7"),
        (["--range", "100:", *FAST], "holds no decodable frame in that range"),
    ],
)
def test_setting_that_the_material_cannot_follow_is_refused(clip: Path, options: list[str], words: str) -> None:
    assert words in refused(clip.parent, "encode", clip, *options)


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
    assert os.listdir(locked) == []


@pytest.mark.parametrize("overwrite", [[], ["-y"]])
def test_output_that_is_a_folder_is_refused(tmp_path: Path, clip: Path, overwrite: list[str]) -> None:
    (tmp_path / "small.mkv").mkdir()
    assert "is a directory" in refused(tmp_path, "encode", clip, "-o", tmp_path / "small.mkv", *FAST, *overwrite)


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


@pytest.mark.parametrize("name", ["small.xyz", "small", "-"])
def test_output_of_unknown_kind_is_refused(tmp_path: Path, clip: Path, name: str) -> None:
    assert "cannot write" in refused(tmp_path, "encode", clip, "-o", tmp_path / name, *FAST)


# Disks that are full. A link to /dev/full takes every open and refuses every write, as a full disk does, without the
# right to mount one.

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")


@needs_dev_full
@pytest.mark.parametrize("case", ["*pipe:0*video.mp4*", "*signed.mp4*part*"])
def test_full_disk_is_told(tmp_path: Path, clip: Path, case: str) -> None:
    fake = fake_ffmpeg(tmp_path / "ffmpeg", case, 'ln -s /dev/full "$out"')
    said = refused(tmp_path, "encode", clip, "-o", tmp_path / "small.mp4", "--ffmpeg", fake, *FAST)
    assert "No space left on device" in said


@needs_dev_full
def test_full_disk_is_told_while_signing(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def file(self: Workspace, suffix: str) -> Path:
        path = make(self, suffix)
        if suffix.startswith("signed"):
            path.symlink_to("/dev/full")
        return path

    make = Workspace.file
    monkeypatch.setattr(Workspace, "file", file)
    assert "No space left on device" in refused(tmp_path, "encode", clip, "-o", tmp_path / "small.mp4", *FAST)


@needs_dev_full
def test_full_disk_is_told_by_decode_to_y4m(tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def file(self: Workspace, suffix: str) -> Path:
        path = make(self, suffix)
        path.symlink_to("/dev/full")
        return path

    make = Workspace.file
    monkeypatch.setattr(Workspace, "file", file)
    assert "No space left on device" in refused(tmp_path, "decode", small, "--y4m", "-o", tmp_path / "big.y4m")


@needs_dev_full
@pytest.mark.parametrize("name", ["report.json", "frames.csv", "index.html"])
def test_full_disk_is_told_while_the_report_is_written(tmp_path: Path, clip: Path, name: str) -> None:
    report = tmp_path / "report"
    report.mkdir()
    (report / f".{name}.{os.getpid()}.part").symlink_to("/dev/full")
    run = run_here("encode", clip, "-o", tmp_path / "small.mp4", "--report-dir", report, *FAST[:4])
    said = message(run)
    assert "report cannot be written: No space left on device" in said
    assert frame_count(tmp_path / "small.mp4") == 50  # the movie itself is whole, and stays
    assert not any(path.name.startswith(".") for path in report.iterdir())


@needs_dev_full
def test_full_disk_is_told_of_results(clip: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        run = run_apart("encode", clip, "--dry-run", stdout=full)
    assert run.code == 1
    assert run.stderr.splitlines()[-1].startswith("vidscale: ")
    assert "No space left on device" in run.stderr
    assert "Traceback" not in run.stderr


def test_small_disk_is_told(tmp_path: Path, make_clip: Clip) -> None:
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


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("head -c 5000 >/dev/null; kill -9 $$", "ffmpeg was killed by SIGKILL"),
        ("cat >/dev/null; kill -9 $$", "encoding failed: ffmpeg was killed by SIGKILL"),
        ("head -c 5000 >/dev/null; kill -11 $$", "ffmpeg was killed by SIGSEGV"),
        ("kill -9 $$", "ffmpeg was killed by SIGKILL"),
        ("echo 'x264 [error]: no' >&2; exit 1", "ffmpeg x264 [error]: no"),
        ("exit 77", "ffmpeg exit status 77"),
        ("cat >/dev/null; exit 0", "cannot"),  # claims to have done it, and wrote nothing
        # A script that dies leaves the real program, which holds on to its pipes.
        ("sleep 1000 & head -c 5000 >/dev/null; kill -9 $$", "ffmpeg was killed by SIGKILL"),
    ],
)
def test_encoder_that_dies_is_told(tmp_path: Path, clip: Path, action: str, words: str) -> None:
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
def test_muxer_that_dies_is_told(tmp_path: Path, clip: Path, action: str, words: str) -> None:
    fake = fake_ffmpeg(tmp_path / "ffmpeg", "*signed.mp4*part*", f"{action}; exit 0")
    assert words in refused(tmp_path, "encode", clip, "-o", tmp_path / "small.mp4", "--ffmpeg", fake, *FAST)


def test_encoder_that_drops_frames_is_told(tmp_path: Path, clip: Path) -> None:
    action = 'exec "$ffmpeg" -f nut -i pipe:0 -frames:v 14 -c:v libx264 -copyts -y "$out"'
    fake = fake_ffmpeg(tmp_path / "ffmpeg", "*pipe:0*video.mp4*", action)
    said = refused(tmp_path, "encode", clip, "-o", tmp_path / "small.mp4", "--ffmpeg", fake, *FAST)
    assert "encoding" in said or "14 are in the output" in said


# Small files whose identity does not fit.

IDENTITY = Identity(
    pair="lanczos-x1",
    scale="1",
    width=64,
    height=48,
    coded_width=64,
    coded_height=48,
    crf=28,
    codec="h264",
    time_base="1/12800",
)


def signed(source: Path, target: Path, *payloads: bytes | None, tag: str | None = None) -> Path:
    """A copy of an H.264 file with one payload after the other in its keyframes, the last for all that follow."""
    remaining = list(payloads)
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream, opaque=True)
        extradata = stream.codec_context.extradata
        if tag is not None:
            writer.metadata[TAG] = tag
        for packet in reader.demux(stream):
            if not packet.size:
                continue
            payload = remaining[0] if remaining else None
            if packet.is_keyframe and payload is not None:
                data = bitstream.insert(memoryview(packet), codec="h264", extradata=extradata, payload=payload)
                copied = av.Packet(data)
                copied.pts, copied.dts, copied.time_base = packet.pts, packet.dts, packet.time_base
                copied.is_keyframe = True
                packet = copied
                remaining = remaining[1:] or remaining
            packet.stream = copy
            writer.mux(packet)
    return target


def named(**changes: Any) -> bytes:
    """An identity as it stands in a file, with some fields changed, without any check."""
    return json.dumps(json.loads(IDENTITY.to_json()) | changes).encode()


BAD_IDENTITIES = [
    ([b"{"], None, "broken identity: not JSON"),
    ([b"\xff\xfe\x00"], None, "broken identity: not JSON"),
    ([b"[]"], None, "broken identity: not a JSON object"),
    ([named(scale="0")], None, "broken identity: scale"),
    ([named(width=0)], None, "broken identity: width"),
    ([named(width="64")], None, "broken identity: width"),
    ([named(width=500)], None, "broken identity: coded_width 64 does not fit width 500"),
    ([named(vidscale=2)], None, "schema version 2"),
    ([named(pair="phantom-x1")], None, "needs the pair 'phantom-x1', which is not here"),
    ([named(pair="../../etc-x1")], None, "broken identity: pair"),
    ([named(sha256="ab" * 32)], None, "needs other weights of the pair 'lanczos-x1'"),
    ([named(width=128, coded_width=128)], None, "the identity is for pictures of 128x48, these are 64x48"),
    ([named()], named(pair="bicubic-x1"), "contradictory identity: pair is 'lanczos-x1' in the stream, 'bicubic-x1'"),
    ([None], b"nonsense", "broken identity: not JSON"),
    ([None], named(pair="phantom-x1"), "needs the pair 'phantom-x1'"),
    ([named(), named(crf=30)], None, "is spliced from files made differently: it changes at 0.400 s"),
    ([named(), named(pair="bicubic-x1")], None, "is spliced from files made differently: it changes at 0.400 s"),
    ([named(), b"{"], None, "broken identity: not JSON"),
    ([None], None, "does not say how it was made; name its pair and scale"),
]


@pytest.mark.parametrize(("payloads", "tag", "words"), BAD_IDENTITIES)
@pytest.mark.parametrize("command", ["decode", "decode --y4m"])
def test_identity_that_does_not_fit_is_refused(
    tmp_path: Path, clip: Path, payloads: list[bytes | None], tag: bytes | None, words: str, command: str
) -> None:
    small = signed(clip, tmp_path / "small.mkv", *payloads, tag=tag.decode() if tag else None)
    said = refused(tmp_path, *command.split(), small, "-o", tmp_path / "restored.mkv")
    assert words in said
    assert "small.mkv" in said


def test_identity_that_does_not_fit_is_refused_by_measure(tmp_path: Path, clip: Path) -> None:
    small = signed(clip, tmp_path / "small.mkv", named(), named(pair="bicubic-x1"))
    assert "spliced from files made differently" in refused(tmp_path, "measure", clip, small)
    small = signed(clip, tmp_path / "other.mkv", b"{")
    assert "broken identity" in refused(tmp_path, "measure", clip, small)


def test_pair_that_contradicts_the_identity_is_refused(tmp_path: Path, clip: Path) -> None:
    small = signed(clip, tmp_path / "small.mkv", named())
    said = refused(tmp_path, "decode", small, "--pair", "bicubic")
    assert "was made with lanczos-x1, not with bicubic-x1" in said

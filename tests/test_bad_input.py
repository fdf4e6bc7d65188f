"""Bad input: one clear line, exit code 1 (2 for usage errors), and no files left."""

import os
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random

import av
import pytest
from material import ffmpeg
from robustness import FAST, cut, frame_count, message, refused, run_apart, run_here, run_unprivileged

Clip = Callable[..., Path]


@pytest.fixture
def clip(make_clip: Clip) -> Path:
    """Two seconds with audio, a keyframe every ten frames, the index at the front."""
    return make_clip("clip.mp4", frames=50, audio=True, options=["-g", "10", "-bf", "0", "-movflags", "+faststart"])


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


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_source_with_its_index_cut_off_is_refused(tmp_path: Path, make_clip: Clip, suffix: str) -> None:
    whole = make_clip(f"late.{suffix}", frames=50)  # the index is at the end where it is not asked for faststart
    source = tmp_path / f"cut.{suffix}"
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    said = refused(tmp_path, "encode", source, *FAST)
    assert f"cut.{suffix} cannot be opened as a video: its index (moov) is missing" in said


@pytest.mark.parametrize("command", ["encode", "decode", "plan"])
def test_standard_input_is_refused_with_the_way_out(command: str) -> None:
    run = run_here(command, "-")
    assert run.code == 1
    assert "cannot come from standard input; name a file, or use vidscale stage in a pipe" in run.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["encode", "https://example.org/movie.mp4"], 1, "movie.mp4 is an address, not a file"),
        (["compare", "CLIP", "--codec", "x264,x266"], 2, "codecs = 'x266': not 'x264'"),
        (["decode", "CLIP", "--lossless", "--crf", "20"], 2, "--lossless has no --crf"),
    ],
)
def test_what_cannot_be_meant_is_named(words: list[str], code: int, said: str, clip: Path) -> None:
    run = run_here(*(str(clip) if word == "CLIP" else word for word in words))
    assert run.code == code
    assert said in run.stderr


def test_redirected_standard_input_is_refused(clip: Path, tmp_path: Path) -> None:
    with clip.open("rb") as file:  # a regular file here, but not for the ffmpeg that copies the audio
        run = run_apart("encode", "/dev/stdin", "-o", tmp_path / "small.mp4", *FAST, stdin=file)
    assert run.code == 1
    assert "/dev/stdin: a video is read more than once" in run.stderr
    assert not list(tmp_path.glob("*small*"))


def test_source_without_video_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "sound.m4a"
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", source)
    assert refused(tmp_path, "encode", source, *FAST).endswith("sound.m4a holds no video stream")


def test_source_with_cover_art_alone_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "song.m4a"
    picture = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=1:d=1", "-c:v", "png", "-disposition:v", "attached_pic"]
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", *picture, source)
    assert refused(tmp_path, "encode", source, *FAST).endswith("song.m4a holds no video stream but cover art")


@pytest.mark.parametrize("command", ["encode", "decode", "measure"])
def test_unknown_codec_is_refused(tmp_path: Path, clip: Path, command: str) -> None:
    source = tmp_path / "strange.mp4"
    source.write_bytes(clip.read_bytes().replace(b"avc1", b"zz99"))
    said = refused(tmp_path, command, source, *([clip] if command == "measure" else []))
    assert "strange.mp4 cannot be decoded: there is no decoder for its video stream 0" in said


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
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.slow
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
    assert {path.name for path in tmp_path.iterdir()} == {name, output}


# Sources that are damaged: what is there is coded.


def bent(source: Path, seed: int, bytes_flipped: int) -> Path:
    """A copy of an MP4 with some bytes of its media data changed."""
    data, random = bytearray(source.read_bytes()), Random(seed)
    start = data.index(b"mdat") + 1000  # the first picture must stay, or the file holds no video
    for _ in range(bytes_flipped):
        data[random.randrange(start, len(data))] ^= random.randrange(1, 256)
    target = source.with_name(f"bent{source.suffix}")
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.98])
def test_truncated_mp4_codes_what_is_there_and_counts_the_rest(tmp_path: Path, clip: Path, part: float) -> None:
    source = cut(clip, part)
    run = run_here("encode", source, "-o", tmp_path / "small.mkv", *FAST)
    assert run.code == 0, run.stderr
    coded = frame_count(tmp_path / "small.mkv")
    assert 0 < coded < 50
    assert f"{50 - coded} frames of cut.mp4 were unreadable" in run.stderr
    assert f"cut.mp4 breaks off at {(coded - 1) / 25:.2f} s" in run.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "cut.mp4", "small.mkv"}


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".avi"])
def test_truncated_source_codes_what_is_there(tmp_path: Path, clip: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    ffmpeg("-i", clip, "-c", "copy", whole)
    source = cut(whole, 0.35)
    run = run_here("encode", source, "-o", tmp_path / "small.mkv", *FAST)
    assert run.code == 0, run.stderr
    coded = frame_count(tmp_path / "small.mkv")
    assert 10 < coded < 35
    end_s = re.search(rf"^cut{suffix} breaks off at (\S+) s;", run.stderr, re.MULTILINE)
    assert end_s is not None
    assert float(end_s[1]) == pytest.approx((coded - 1) / 25, abs=0.03)  # also where MPEG-TS starts at 1.4 s


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_missing_end_of_a_long_film_is_reported(tmp_path: Path, suffix: str) -> None:
    """1.5 of 100 seconds: Matroska has no frame count, but its segment has a size."""
    codec = ["-c:v", "libx264"] if suffix == ".mkv" else ["-c:v", "libvpx"]
    whole = tmp_path / f"whole{suffix}"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x36:r=4:d=100", "-g", "20", *codec, whole)
    source = cut(whole, 0.985)
    assert "is damaged" in refused(tmp_path, "encode", source, "--strict", "-o", tmp_path / "small.mkv", *FAST)
    run = run_here("encode", whole, "-o", tmp_path / "small.mkv", "--strict", *FAST)
    assert run.code == 0, run.stderr


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


def test_measure_reports_a_truncated_video(tmp_path: Path, clip: Path) -> None:
    run = run_here("measure", clip, cut(clip, 0.6))
    assert run.code == 0, run.stderr
    assert "frames of cut.mp4 were unreadable" in run.stderr
    assert "only in the source" in run.stdout


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [["-c:v", "mpeg4"], ["-c:v", "mpeg4", "-bf", "2"], ["-c:v", "libx264", "-bf", "2"], ["-c:v", "mjpeg"]]
)
def test_lost_picture_does_not_shift_those_behind_it(tmp_path: Path, make_clip: Clip, options: list[str]) -> None:
    """In AVI, timestamps count packets, not frames."""
    source = make_clip("clip.avi", frames=50, options=options)
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        lost = next(packet for packet in packets[20:] if options[1] == "mjpeg" or not packet.is_keyframe)
    chunk = data.index(bytes(lost), lost.pos)
    data[chunk : chunk + lost.size] = bytes(lost.size)
    (tmp_path / "bent.avi").write_bytes(data)
    times = []
    for name in (source, tmp_path / "bent.avi"):
        run = run_here("encode", name, "-o", tmp_path / "small.mkv", "-y", *FAST)
        assert run.code == 0, run.stderr
        with av.open(str(tmp_path / "small.mkv")) as small:
            times.append([frame.time for frame in small.decode(video=0)])
    whole, bent = times
    assert 45 <= len(bent) < 50
    assert set(bent) < set(whole)
    assert bent[-1] == whole[-1]


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
    """The packets of a source without B-frames, each with a new pts, in units of its time base / 40 ms."""
    with av.open(str(source)) as reader, av.open(str(target), "w", format=target.suffix[1:]) as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        unit = Fraction(1, 25) / stream.time_base
        for number, packet in enumerate(p for p in reader.demux(stream) if p.size):
            packet.pts, packet.dts = int(pts[number] * unit), int(number * unit)
            packet.stream = copy
            writer.mux(packet)
    return target


@pytest.mark.parametrize(
    ("suffix", "pts", "wanted"),
    [
        (".nut", [0, 1, 2, 3, 5, 5, 6, 7, 8, 9], [0, 1, 2, 3, 5, 5.5, 6, 7, 8, 9]),
        (".mov", [0, 1, 2, 3, 5, 5, 6, 7, 8, 9], [0, 1, 2, 3, 5, 5.5, 6, 7, 8, 9]),
        (".nut", [0, 1, 7, 4, 5, 6, 9, 10, 11, 12], [0, 1, 7, 7.5, 8, 8.5, 9, 10, 11, 12]),
        # ffmpeg trusts the decoding times of MP4 more, which are 0 to 9, once presentation times have gone back.
        (".mov", [0, 1, 7, 4, 5, 6, 9, 10, 11, 12], [0, 1, 7, 7.2, 7.4, 7.6, 7.8, 8, 9, 12]),
    ],
)
def test_timestamps_that_do_not_rise_are_put_in_order_and_told(
    tmp_path: Path, make_clip: Clip, suffix: str, pts: list[int], wanted: list[float]
) -> None:
    clip = make_clip("clip.mp4", options=["-bf", "0", "-g", "1"])
    source = with_timestamps(clip, tmp_path / f"odd{suffix}", pts)
    run = run_here("encode", source, "-o", tmp_path / "small.mkv", "--strict", *FAST)
    assert run.code == 0, run.stderr
    (told,) = [line for line in run.stderr.splitlines() if "odd" in line]
    assert f"of odd{suffix} are duplicate or out of order: they were corrected" in told
    with av.open(str(tmp_path / "small.mkv")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([time / 25 for time in wanted], abs=1e-3)


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


@pytest.mark.parametrize(("codec", "size"), [("x264", "16386x32"), ("x265", "64x16400"), ("svtav1", "32x8706")])
def test_size_over_the_encoders_limit_is_refused(tmp_path: Path, make_clip: Clip, codec: str, size: str) -> None:
    source = make_clip("large.mkv", size=size, frames=1, options=["-c:v", "mjpeg", "-strict", "-1"])
    args = ["encode", source, "-o", tmp_path / "small.mkv", "--scale", "1", "--no-report", "--codec", codec]
    assert f"{size} is over the limit of {codec}" in refused(tmp_path, *args)


@pytest.mark.slow
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
        (["--scale", "1.1234567"], "above 10000"),
        (["--range", "5:2"], "ends before it starts"),
        (["--range", "1e999999999:"], "is not START:END"),
        (["--stream", "v:x"], "stream = 'x'"),
        (["--stream", "a:0"], "stream = 'a:0'"),
        (["--device", "tpu"], "device = 'tpu'"),
        (["--interlaced", "maybe"], "interlaced = 'maybe'"),
        (["--ssim", "fast"], "ssim = 'fast'"),
        (["--encoder-params", "=3"], "encoder parameter '=3' is not key=value"),
        (["--encoder-params", "keyint=30:foo=1"], "rejected by x264 (Error parsing option 'foo = 1'.)"),
        (["--encoder-params", "keyint=often"], "rejected by x264 (Error parsing option 'keyint = often'.)"),
        (["--encoder-params", "keyint=30:foo"], "rejected by x264 (Error setting option x264-params"),
        (["--codec", "x265", "--encoder-params", "foo=1"], "rejected by x265 (Unknown option: foo.)"),
        (["--codec", "x265", "--encoder-params", "keyint=often"], "(Invalid value for keyint: often.)"),
        (
            ["--codec", "svtav1", "--encoder-params", "foo=1"],
            "rejected by svtav1 (Error parsing option foo",
        ),
    ],
)
def test_setting_that_cannot_be_is_a_usage_error(clip: Path, options: list[str], words: str) -> None:
    assert words in refused(clip.parent, "encode", clip, *options, code=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pair", "phantom"], "unknown pair 'phantom'; choose from lanczos"),
        (["--pair", "lanczos-xtwo"], "unknown pair 'lanczos-xtwo'"),
        (["--pair", ""], "unknown pair ''"),
        (["--stream", "v:7"], "has no video stream v:7, only v:0"),
        (["--range", "100:", *FAST], "holds no decodable frame in that range"),
    ],
)
def test_setting_that_the_material_cannot_follow_is_refused(clip: Path, options: list[str], words: str) -> None:
    assert words in refused(clip.parent, "encode", clip, *options)

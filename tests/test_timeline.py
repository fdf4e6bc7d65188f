"""Presentation times of files with bad or no timestamps: those of ffmpeg, always increasing."""

import struct
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from material import coded, ffmpeg_times, make, picture, shown_times

from vidscale.compare.trials.samples import scene_cuts
from vidscale.config import FilesSettings, TimeRange
from vidscale.errors import EncodeError
from vidscale.jobs.evaluation import evaluate_files
from vidscale.media.probe import probe
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

pytestmark = pytest.mark.slow  # most cases encode and decode a file

X264 = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
B_FRAMES = [*X264, "-bf", "3", "-g", "12"]
MILLISECOND = 1e-3


class Shown(NamedTuple):
    """A decoded frame: time, content, and coded size."""

    time: float
    luma: bytes
    coded_bytes: int | None


def shown(path: Path, time_range: TimeRange | None = None) -> tuple[list[Shown], ReadLog]:
    """All frames of a file, or of a part of it, at their times in the file."""
    log = ReadLog()
    frames = [
        Shown(float(frame.time), np.ascontiguousarray(frame.planes[0]).tobytes(), frame.coded_bytes)
        for frame in decode_frames(probe(path), log=log, clock=Clock("decode"), time_range=time_range)
    ]
    return [frame._replace(time=frame.time + float(log.origin_s)) for frame in frames], log


def times(path: Path) -> list[float]:
    return [frame.time for frame in shown(path)[0]]


def notes(path: Path) -> tuple[str, ...]:
    return shown(path)[1].notes(probe(path))


def rise(values: list[float]) -> bool:
    return all(b > a for a, b in pairwise(values))


def assert_parts_are_those_of_the_whole(path: Path) -> None:
    """Every range holds the frames that fall in it when the whole file is read."""
    whole, start = shown(path)[0], float(probe(path).start_s)
    tried = 0
    for first, last in (("0.1", "0.4"), ("0.52", "1.4"), ("0.96", "2"), ("1", "2"), ("1.24", "1.9"), ("1.52", "9")):
        wanted = [f for f in whole if float(first) - 1e-6 <= f.time - start < float(last) - 1e-6]
        if wanted:
            tried += 1
            found, _ = shown(path, TimeRange(start=Fraction(first), end=Fraction(last)))
            assert [f.time for f in found] == pytest.approx([f.time for f in wanted], abs=1e-6)
            assert [f.luma for f in found] == [f.luma for f in wanted]
    assert tried


# AVI: decoding times only

AVI = {
    "h264": B_FRAMES,
    "h264-long-gop": [*X264, "-bf", "3", "-g", "250", "-x264-params", "scenecut=0"],
    "h264-open-gop": [*B_FRAMES, "-x264-params", "open-gop=1"],
    "h264-no-b": [*X264, "-bf", "0", "-g", "12"],
    "mpeg4": ["-c:v", "mpeg4", "-bf", "2", "-g", "12"],
    "mpeg4-packed": ["-c:v", "libxvid", "-bf", "2", "-g", "30"],
    "mpeg2": ["-c:v", "mpeg2video", "-bf", "2", "-g", "12"],
    "mpeg2-intra": ["-c:v", "mpeg2video", "-g", "1"],
    "mjpeg": ["-c:v", "mjpeg"],
}
GAPS = {
    "whole": "1",
    "gap": "lt(n,20)+gte(n,45)",
    "gaps": "lt(n,12)+between(n,20,33)+gte(n,50)",
    "gap-at-the-start": "eq(n,0)+gte(n,30)",
    "gap-at-the-end": "lt(n,40)+gte(n,73)",
}


def avi(folder: Path, codec: str, gap: str) -> Path:
    """Three seconds at 25 frames per second, some of them dropped."""
    words = ["-vf", f"select='{GAPS[gap]}'", "-fps_mode", "passthrough", *AVI[codec]]
    return make(folder / f"{codec}-{gap}.avi", *picture(duration=3), *words)


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("codec", AVI)
def test_avi_shows_pictures_when_ffmpeg_does(codec: str, gap: str, tmp_path: Path) -> None:
    source = avi(tmp_path, codec, gap)
    assert times(source) == pytest.approx(ffmpeg_times(source), abs=1e-6)
    assert notes(source) == ()


@pytest.mark.parametrize("gap", ["whole", "gaps"])
@pytest.mark.parametrize("codec", AVI)
def test_avi_range_holds_the_pictures_of_the_whole(codec: str, gap: str, tmp_path: Path) -> None:
    assert_parts_are_those_of_the_whole(avi(tmp_path, codec, gap))


def test_avi_picture_behind_a_gap_is_not_late(tmp_path: Path) -> None:
    small = coded(avi(tmp_path, "h264", "gap"), tmp_path / "small.mkv")
    found = shown_times(small)
    assert found[20] - found[0] == Fraction(45, 25)
    assert found[19] - found[0] == Fraction(19, 25)


@pytest.mark.parametrize("codec", ["h264", "mpeg4", "mpeg2"])
def test_avi_pictures_know_their_bytes(codec: str, tmp_path: Path) -> None:
    source = avi(tmp_path, codec, "gap")
    with av.open(str(source)) as container:
        sizes = sorted(packet.size for packet in container.demux(video=0) if packet.size)
    assert sorted(frame.coded_bytes or 0 for frame in shown(source)[0]) == sizes


def test_avi_is_measured_against_what_was_made_from_it(tmp_path: Path) -> None:
    source = avi(tmp_path, "h264", "gap")
    lossless = coded(source, tmp_path / "small.mkv", encoder_params="qp=0")
    report = evaluate_files(source, lossless, FilesSettings())
    assert (len(report.rows), report.unpaired.ref_only, report.unpaired.dist_only) == (50, [], [])
    assert not any(row.mse[0] for row in report.rows)


def test_avi_is_measured_against_what_it_was_made_from(tmp_path: Path) -> None:
    movie = make(tmp_path / "movie.mp4", *picture(duration=3), *B_FRAMES)
    copy = make(tmp_path / "copy.avi", "-i", movie, "-c", "copy")
    delay = times(copy)[0] - times(movie)[0]
    assert delay == pytest.approx(ffmpeg_times(copy)[0])
    report = evaluate_files(movie, copy, FilesSettings(align=True))
    assert len(report.rows) == 75
    assert not any(row.mse[0] for row in report.rows)
    told = f"copy.avi starts {delay:.3f} s after movie.mp4; if the content is the same, use --align"
    assert told in evaluate_files(movie, copy, FilesSettings()).notes


def test_scene_cuts_of_avi_are_found(tmp_path: Path) -> None:
    words = ["-f", "lavfi", "-i", "color=red:s=64x48:r=25:d=1", "-f", "lavfi", "-i", "mandelbrot=s=64x48:r=25"]
    cut = ["-filter_complex", "[1]trim=duration=2[b];[0][b]concat", *B_FRAMES]
    source = make(tmp_path / "cut.avi", *words, *cut)
    assert scene_cuts(probe(source), Fraction(0), Fraction(3)) == [Fraction(25 + 2, 25)]  # two pictures are reordered


# MP4 with decoding times only, and with times that repeat


def boxes(data: bytes, start: int, end: int) -> list[tuple[int, bytes, int]]:
    """Offset, name and size of the boxes between two offsets of an MP4 file."""
    found = []
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        found.append((start, name, size))
        start += size
    return found


def with_table(source: Path, target: Path, name: bytes, entries: list[tuple[int, int]] | None) -> Path:
    """An MP4 file, with its index after its data, whose first track has another table of times; None removes it."""
    data = bytearray(source.read_bytes())
    start, end, path = 0, len(data), []
    for step in (b"moov", b"trak", b"mdia", b"minf", b"stbl", name):
        at, _, size = next(box for box in boxes(data, start, end) if box[1] == step)
        start, end = at + 8, at + size
        path.append(at)
    table = b""
    if entries is not None:
        table = struct.pack(">I4sII", 16 + 8 * len(entries), name, 0, len(entries))
        table += b"".join(struct.pack(">II", *entry) for entry in entries)
    old = end - path[-1]
    data[path[-1] : end] = table
    for at in path[:-1]:
        struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + len(table) - old)
    target.write_bytes(data)
    return target


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources that several tests share."""
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    """25 frames of 512/12800 s, without B-frames."""
    return make(folder / "plain.mp4", *picture(), *X264, "-bf", "0", "-g", "12")


@pytest.fixture(scope="module")
def reordered(folder: Path) -> Path:
    """The same with B-frames."""
    return make(folder / "reordered.mp4", *picture(), *B_FRAMES)


@pytest.mark.parametrize("way", ["raw h264", "raw hevc", "without ctts"])
def test_decoding_times_alone_give_the_order(way: str, reordered: Path, tmp_path: Path) -> None:
    source = tmp_path / "dts.mp4"
    if way == "without ctts":
        with_table(reordered, source, b"ctts", None)
    else:
        codec = ["-c:v", "libx265", "-x265-params", "log-level=none"] if way == "raw hevc" else B_FRAMES
        raw = make(tmp_path / f"raw.{way[4:]}", *picture(duration=3), *codec)
        make(source, "-r", "25", "-i", raw, "-c", "copy")
    truth = ffmpeg_times(source)
    assert not rise(truth)  # the source is what the test is about
    found = times(source)
    assert len(found) == len(truth)
    assert rise(found)
    sure = next(at for at, (a, b) in enumerate(pairwise(truth), start=1) if b <= a)
    assert found[:sure] == pytest.approx(truth[:sure], abs=1e-6)
    assert sure >= len(truth) - 2  # the last ones come when there is no packet left whose time they could have
    (note,) = notes(source)
    assert "frames of dts.mp4 are duplicate or out of order: they were corrected" in note
    assert_parts_are_those_of_the_whole(source)
    small = coded(source, tmp_path / "small.mp4")
    assert [float(time) for time in shown_times(small)] == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("suffix", ["h264", "hevc"])
def test_raw_streams_are_counted(suffix: str, tmp_path: Path) -> None:
    codec = ["-c:v", "libx265", "-x265-params", "log-level=none"] if suffix == "hevc" else B_FRAMES
    source = make(tmp_path / f"raw.{suffix}", *picture(duration=3), *codec)
    assert times(source) == pytest.approx([number / 25 for number in range(75)])
    assert notes(source) == (f"75 frames of raw.{suffix} had no timestamp and got one from the frame rate",)
    assert_parts_are_those_of_the_whole(source)


@pytest.mark.parametrize("rate", ["24", "30000/1001", "50"])
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("h264", B_FRAMES),
        ("hevc", ["-c:v", "libx265", "-x265-params", "log-level=none"]),
        ("m2v", ["-c:v", "mpeg2video", "-bf", "2"]),
    ],
)
def test_raw_streams_have_their_own_frame_rate(suffix: str, codec: list[str], rate: str, tmp_path: Path) -> None:
    source = make(tmp_path / f"raw.{suffix}", *picture(rate=rate), *codec)
    assert probe(source).video.frame_rate == Fraction(rate)
    truth = ffmpeg_times(source)
    assert truth[-1] == pytest.approx((len(truth) - 1) / Fraction(rate))  # not at the demuxer's 25 frames/s
    found = times(source)
    assert np.diff(found) == pytest.approx(np.diff(truth), abs=1e-5)  # PyAV starts MPEG-2 one frame later


@pytest.mark.parametrize("flags", ["", "negative_cts_offsets"])
def test_reordered_pictures_with_good_timestamps_are_left_alone(flags: str, tmp_path: Path) -> None:
    source = make(tmp_path / "good.mp4", *picture(duration=3), *B_FRAMES, *(["-movflags", flags] if flags else []))
    assert times(source) == pytest.approx(ffmpeg_times(source), abs=1e-6)
    assert notes(source) == ()
    assert_parts_are_those_of_the_whole(source)


TICKS = 512  # of 1/12800 s a picture
REPEATS: dict[str, tuple[list[tuple[int, int]], list[float]]] = {
    # lengths of samples as (count, ticks); when the pictures must be shown, in pictures' lengths
    "the next one is longer": ([(9, TICKS), (1, 0), (1, 2 * TICKS), (14, TICKS)], [*range(25)]),
    "two on one tick": ([(9, TICKS), (1, 0), (15, TICKS)], [*range(10), 9.5, *range(10, 24)]),
    "four on one tick": ([(9, TICKS), (3, 0), (13, TICKS)], [*range(10), 9.25, 9.5, 9.75, *range(10, 22)]),
    "two twice": (
        [(5, TICKS), (1, 0), (9, TICKS), (1, 0), (9, TICKS)],
        [*range(6), 5.5, *range(6, 15), 14.5, *range(15, 23)],
    ),
    "before a long one": (
        [(5, TICKS), (1, 0), (1, 10 * TICKS), (18, TICKS // 2)],
        [*range(6), 5.5, *(15 + at / 2 for at in range(18))],
    ),
    "last two": ([(23, TICKS), (2, 0)], [*range(24), 23 + 23 / 25]),
    "none has a length": ([(25, 0)], [*range(25)]),
}


@pytest.mark.parametrize("case", REPEATS)
def test_equal_timestamps_are_put_between_their_neighbours(case: str, plain: Path, tmp_path: Path) -> None:
    lengths, wanted = REPEATS[case]
    source = with_table(plain, tmp_path / "equal.mp4", b"stts", lengths)
    assert len(ffmpeg_times(source)) == 25
    assert not rise(ffmpeg_times(source))
    found = times(source)
    assert found == pytest.approx([at / 25 for at in wanted], abs=1e-3)
    assert rise(found)
    moved = 25 - len(set(ffmpeg_times(source)))
    what = "1 frame" if moved == 1 else f"{moved} frames"
    assert notes(source) == (
        f"the timestamps of {what} of equal.mp4 are duplicate or out of order: they were corrected",
    )
    for suffix in (".mp4", ".mkv"):
        small = coded(source, tmp_path / f"small{suffix}")
        assert [float(time) for time in shown_times(small)] == pytest.approx(found, abs=MILLISECOND)


def test_equal_timestamps_of_reordered_pictures(reordered: Path, tmp_path: Path) -> None:
    lengths = [(9, TICKS), (1, 0), (1, 2 * TICKS), (14, TICKS)]
    source = with_table(reordered, tmp_path / "equal.mp4", b"stts", lengths)
    assert not rise(ffmpeg_times(source))
    assert times(source) == pytest.approx([number / 25 for number in range(25)], abs=1e-6)


def moved(source: Path, target: Path, pts_ms: list[int]) -> Path:
    """The packets of a source without B-frames, at other times."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        for pts, packet in zip(pts_ms, (p for p in reader.demux(stream) if p.size), strict=True):
            packet.pts = packet.dts = pts
            packet.time_base = Fraction(1, 1000)
            packet.stream = copy
            writer.mux(packet)
    return target


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_equal_timestamps_in_matroska(suffix: str, plain: Path, tmp_path: Path) -> None:
    source = (
        plain
        if suffix == "mkv"
        else make(tmp_path / "vp9.webm", *picture(), "-c:v", "libvpx-vp9", "-deadline", "realtime")
    )
    stamps = [number * 40 for number in range(25)]
    stamps[10], stamps[15], stamps[16] = stamps[9], stamps[14], stamps[14]
    equal = moved(source, tmp_path / f"equal.{suffix}", stamps)
    assert ffmpeg_times(equal) == pytest.approx([stamp / 1000 for stamp in stamps])
    assert times(equal) == pytest.approx([number / 25 for number in range(25)])
    assert "3 frames" in notes(equal)[0]


@pytest.mark.parametrize("b_frames", [0, 2])
def test_more_than_a_thousand_pictures_a_second_in_matroska(b_frames: int, tmp_path: Path) -> None:
    source = make(tmp_path / "fast.mkv", *picture(rate=1200, duration=0.1), *X264, "-bf", b_frames)
    truth = ffmpeg_times(source)
    assert len(set(truth)) < len(truth) == 120
    found = times(source)
    assert rise(found)
    assert found == pytest.approx(truth, abs=MILLISECOND)
    small = coded(source)
    assert small.suffix == ".mp4"
    assert [float(time) for time in shown_times(small)] == pytest.approx(found, abs=1e-6)
    report = evaluate_files(source, small, FilesSettings())
    assert (len(report.rows), report.unpaired.ref_only) == (120, [])
    with pytest.raises(EncodeError, match=r"would get the same timestamp in \.mkv; write \.mp4"):
        coded(source, tmp_path / "small.mkv")

"""Undecodable packets near the end: the frames after them are still decoded, on any number of cores."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from material import ffmpeg, make, picture
from robustness import FAST, frame_count, run_here

from vidscale.config import TimeRange
from vidscale.media.probe import probe
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

pytestmark = pytest.mark.slow  # most cases encode and decode a file

COUNT = 30
QUIET = ["-x265-params", "log-level=none:pools=1"]
STREAMS: dict[str, list[str]] = {
    "h264.mp4": ["-c:v", "libx264", "-bf", "3", "-x264-params", "sliced-threads=0:slices=1"],
    "h264.mkv": ["-c:v", "libx264", "-bf", "2", "-g", "10"],
    "h264.avi": ["-c:v", "libx264", "-bf", "2"],
    "intra.mp4": ["-c:v", "libx264", "-g", "1"],
    "hevc.mp4": ["-c:v", "libx265", *QUIET],
    "hevc.mkv": ["-c:v", "libx265", *QUIET],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-b:v", "200k"],
    "mpeg2.mkv": ["-c:v", "mpeg2video", "-bf", "2"],
    "mpeg4.avi": ["-c:v", "mpeg4"],
    "mpeg4.mp4": ["-c:v", "mpeg4", "-bf", "2"],
    "ffv1.mkv": ["-c:v", "ffv1", "-level", "3"],
}
FORMATS = {".mkv": "matroska", ".webm": "webm", ".mp4": "mp4", ".avi": "avi"}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Intact streams that several tests damage."""
    return tmp_path_factory.mktemp("whole")


def whole(folder: Path, name: str) -> Path:
    path = folder / name
    return path if path.exists() else make(path, *picture("160x96", 30), *STREAMS[name], "-pix_fmt", "yuv420p")


def damaged(source: Path, target: Path, numbers: tuple[int, ...]) -> Path:
    """A copy in which some packets, by number in decoding order, cannot be decoded."""
    with av.open(str(source)) as reader, av.open(str(target), "w", format=FORMATS[target.suffix]) as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream, opaque=True)
        for number, packet in enumerate(p for p in reader.demux(stream) if p.size):
            bad: Any = packet
            if number in numbers:
                bad = av.Packet(b"\x7f\xff\xff\xff" + bytes(packet)[4:])
                bad.pts, bad.dts, bad.duration, bad.time_base = (
                    packet.pts,
                    packet.dts,
                    packet.duration,
                    packet.time_base,
                )
                bad.is_keyframe = packet.is_keyframe
            bad.stream = copy
            writer.mux(bad)
    return target


@pytest.fixture
def with_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the number of decoder threads, which normally depends on the cores."""
    opened = av.open

    def take(count: int) -> None:
        def open_with_threads(*args: Any, **options: Any) -> Any:
            container = opened(*args, **options)
            for stream in container.streams.video:
                stream.codec_context.thread_count = count
            return container

        monkeypatch.setattr(av, "open", open_with_threads)

    return take


def read(path: Path, time_range: TimeRange | None = None) -> tuple[list[Fraction], ReadLog]:
    """Times of the frames, in seconds, and the log."""
    log = ReadLog()
    frames = decode_frames(probe(path), log=log, clock=Clock("decode"), time_range=time_range)
    return [frame.time for frame in frames], log


def pictures_by_ffmpeg(path: Path) -> int:
    """Number of frames that ffmpeg decodes."""
    lines = ffmpeg("-v", "quiet", "-i", path, "-fps_mode", "passthrough", "-f", "framecrc", "-").decode().splitlines()
    return sum(not line.startswith("#") for line in lines)


@pytest.mark.parametrize("numbers", [(29,), (28,), (25,), (27, 29), (24, 26, 28)], ids=str)
@pytest.mark.parametrize("name", STREAMS)
def test_all_other_pictures_come(
    name: str, numbers: tuple[int, ...], folder: Path, tmp_path: Path, with_threads: Callable[[int], None]
) -> None:
    source = whole(folder, name)
    bad = damaged(source, tmp_path / name, numbers)
    wanted = pictures_by_ffmpeg(bad)
    assert wanted >= 24
    times, _ = read(source)
    for threads in (1, 2, 9):
        with_threads(threads)
        found, log = read(bad)
        assert (threads, len(found), log.unreadable) == (threads, wanted, COUNT - wanted)
        assert found == sorted(set(found))
        assert set(found) <= set(times)


def test_pictures_without_timestamps_come_too(
    folder: Path, tmp_path: Path, with_threads: Callable[[int], None]
) -> None:
    annexb = make(folder / "raw.h264", "-i", whole(folder, "h264.mp4"), "-c", "copy")
    with av.open(str(annexb)) as container:
        packets = [bytearray(bytes(packet)) for packet in container.demux(video=0) if packet.size]
    packets[28][5:] = b"\xff" * (len(packets[28]) - 5)
    bad = tmp_path / "bad.h264"
    bad.write_bytes(b"".join(packets))
    wanted = pictures_by_ffmpeg(bad)
    for threads in (1, 2, 9):
        with_threads(threads)
        assert len(read(bad)[0]) == wanted


def test_the_last_keyframe_may_be_the_damaged_one(
    folder: Path, tmp_path: Path, with_threads: Callable[[int], None]
) -> None:
    bad = damaged(whole(folder, "h264.mkv"), tmp_path / "bad.mkv", (20, 29))
    wanted = pictures_by_ffmpeg(bad)
    results = []
    for threads in (1, 2, 9):
        with_threads(threads)
        results.append(read(bad)[0])
    assert results[0] == results[1] == results[2]
    assert len(results[0]) == wanted


def test_they_come_in_a_part_of_the_source(folder: Path, tmp_path: Path, with_threads: Callable[[int], None]) -> None:
    bad = damaged(whole(folder, "h264.mp4"), tmp_path / "bad.mp4", (28,))
    with_threads(9)
    everything, _ = read(bad)
    part, log = read(bad, TimeRange(start=Fraction(1, 2)))
    assert part == [time - Fraction(1, 2) for time in everything if time >= Fraction(1, 2)]
    assert log.unreadable == 1


@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
def test_mpeg2_that_begins_anywhere_is_whole(suffix: str, tmp_path: Path) -> None:
    """Leading frames without their references are dropped silently and do not count as damaged."""
    source = make(tmp_path / f"all{suffix}", *picture(duration=4), "-c:v", "mpeg2video", "-bf", "2", "-g", "12")
    data = source.read_bytes()
    part = tmp_path / f"part{suffix}"
    part.write_bytes(data[len(data) // 3 :])
    times, log = read(part)
    assert 40 < len(times) < 80
    assert (log.unreadable, log.concealed, log.truncated_at_s) == (0, 0, None)


@pytest.mark.parametrize("packets", [3, 20])
def test_what_the_decoder_holds_where_a_file_breaks_off_is_read(packets: int, tmp_path: Path) -> None:
    source = make(tmp_path / "all.mp4", *picture(duration=2), "-c:v", "libx264", "-bf", "3", "-movflags", "+faststart")
    with av.open(str(source)) as container:
        sizes = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(source.read_bytes()[: sum(sizes[packets - 1])])
    times, log = read(bad)
    assert len(times) == pictures_by_ffmpeg(bad) == packets
    assert log.unreadable == 50 - packets
    assert log.truncated_at_s == max(times)


def test_encode_keeps_them(folder: Path, tmp_path: Path) -> None:
    bad = damaged(whole(folder, "h264.mp4"), tmp_path / "bad.mp4", (28,))
    run = run_here("encode", bad, "-o", tmp_path / "small.mp4", *FAST)
    assert run.code == 0, run.stderr
    assert frame_count(tmp_path / "small.mp4") == 29
    assert "1 frame of bad.mp4 was unreadable" in run.stderr
    assert "breaks off" not in run.stderr

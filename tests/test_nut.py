"""NUT against ffmpeg in both directions: every format bit for bit, every timestamp exact."""

import errno
import gc
import hashlib
import io
import os
import subprocess
import threading
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rawvideo import YUV420P, Dribble, ffmpeg, noise, raw

from vidscale.errors import ConfigError, DecodeError
from vidscale.media.frames import Color, Frame, PixelFormat, VideoInfo
from vidscale.media.nut import NutWriter, read_nut
from vidscale.media.rawpipe import sniff

FORMATS = [PixelFormat(c, d) for c in ("420", "422", "444", "gray") for d in (8, 9, 10, 12, 14, 16)]
EXACT = ["-fps_mode", "passthrough", "-enc_time_base", "demux"]


def video(pixel_format=YUV420P, width=17, height=15, time_base=Fraction(1, 30000), **fields):
    return VideoInfo(width, height, pixel_format, Color(), time_base, **fields)


def written(info, frames):
    stream = io.BytesIO()
    with NutWriter(stream, info) as writer:
        for frame in frames:
            writer.write(frame)
    return stream.getvalue()


def seen_by_ffmpeg(data):
    """Times and MD5 of the frames as a filter or an encoder gets them, and ffmpeg's log."""
    done = ffmpeg("-copyts", "-f", "nut", "-i", "pipe:0", *EXACT, "-f", "framemd5", "-", data=data)
    lines = done.stdout.decode().splitlines()
    time_base = next(Fraction(line.split(":")[1].strip()) for line in lines if line.startswith("#tb"))
    rows = [line.split(",") for line in lines if not line.startswith("#")]
    return [int(row[2]) * time_base for row in rows], [row[5].strip() for row in rows], done.stderr.decode()


def nut_of_ffmpeg(pix_fmt, *options, data, size="17x15"):
    args = ["-f", "rawvideo", "-pix_fmt", pix_fmt, "-video_size", size, "-framerate", "30", "-i", "pipe:0"]
    return ffmpeg(*args, *options, "-c:v", "rawvideo", "-f", "nut", "-", data=data).stdout


@pytest.mark.parametrize("pixel_format", FORMATS, ids=lambda f: f.name)
def test_nut_written_is_read_by_ffmpeg(pixel_format):
    info = video(pixel_format, sar=Fraction(4, 3), frame_rate=Fraction(30000, 1001))
    frames = list(noise(info))
    times, hashes, log = seen_by_ffmpeg(written(info, frames))
    assert times == [frame.time for frame in frames]
    assert hashes == [hashlib.md5(raw(frame)).hexdigest() for frame in frames]
    source = next(line for line in log.splitlines() if "Video: rawvideo" in line)
    assert f" {pixel_format.name}," in source
    assert "17x15" in source
    assert "SAR 4:3" in source
    assert "29.97 fps" in source
    assert "30k tbn" in source


@pytest.mark.parametrize("pixel_format", FORMATS, ids=lambda f: f.name)
def test_nut_of_ffmpeg_is_read(pixel_format):
    info = video(pixel_format)
    frames = list(noise(info))
    data = nut_of_ffmpeg(pixel_format.name, "-vf", "setsar=8/9", data=b"".join(map(raw, frames)))
    read, back = read_nut(io.BytesIO(data))
    assert (read.width, read.height, read.format, read.color) == (17, 15, pixel_format, Color())
    assert (read.frame_rate, read.sar) == (30, Fraction(8, 9))
    back = list(back)
    assert [raw(frame) for frame in back] == [raw(frame) for frame in frames]
    assert [frame.time for frame in back] == [0, Fraction(1, 30), Fraction(2, 30)]
    assert all(plane.dtype == pixel_format.dtype for frame in back for plane in frame.planes)


@pytest.mark.parametrize(
    "time_base",
    [
        Fraction(1, 25),
        Fraction(1, 1000),
        Fraction(1, 30000),
        Fraction(1, 90000),
        Fraction(1001, 30000),
        Fraction(1, 10_000_000),
        Fraction(1, 2**31 - 1),
        Fraction(7, 3),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "pts",
    [
        (0, 1, 2, 3),
        (0, 1, 5, 6, 1000, 100_003, 100_004),
        (7, 8, 12),
        (1_000_000_007, 1_000_000_008, 1_000_003_011),
    ],
    ids=str,
)
def test_nut_timestamps_are_exact(time_base, pts):
    info = video(YUV420P, 2, 2, time_base)
    data = written(info, noise(info, pts))
    expected = [one * time_base for one in pts]
    assert seen_by_ffmpeg(data)[0] == expected
    read, frames = read_nut(io.BytesIO(data))
    assert read.time_base == time_base
    assert [frame.time for frame in frames] == expected


def test_nut_of_an_hour_keeps_every_time():
    info = video(PixelFormat("gray", 8), 2, 2, Fraction(1, 90000))
    pts = np.cumsum(np.random.default_rng(3).integers(1, 90_000, 5000)).tolist()
    data = written(info, noise(info, pts))
    assert seen_by_ffmpeg(data)[0] == [one * info.time_base for one in pts]


def test_nut_writer_targets(tmp_path):
    info = video()
    expected = written(info, noise(info))
    writers = {"path": NutWriter(str(tmp_path / "path"), info)}
    stream = (tmp_path / "stream").open("wb")
    descriptor = os.open(tmp_path / "descriptor", os.O_CREAT | os.O_WRONLY)
    writers |= {"stream": NutWriter(stream, info), "descriptor": NutWriter(descriptor, info)}
    for name, writer in writers.items():
        for frame in noise(info):
            writer.write(frame)
        writer.close()
        writer.close()
        assert (tmp_path / name).read_bytes() == expected
    stream.write(b"still open")
    stream.close()
    os.close(descriptor)


def test_nut_without_frames():
    info = video(sar=Fraction(4, 3))
    with pytest.raises(DecodeError, match="or it holds no frame"):
        read_nut(io.BytesIO(written(info, [])))


def test_nut_writer_is_done_with_the_planes_when_it_returns():
    info = video()
    (frame,) = noise(info, (0,))
    before = raw(frame)
    stream = io.BytesIO()
    with NutWriter(stream, info) as writer:
        for pts in range(3):
            writer.write(Frame(frame.planes, info.format, pts, info.time_base))
            frame.planes[0][...] += 1
    back = [raw(one) for one in read_nut(io.BytesIO(stream.getvalue()))[1]]
    assert back[0] == before
    assert len(set(back)) == 3


def test_nut_planes_with_padded_rows_are_written():
    info = video(PixelFormat("gray", 10))
    (frame,) = noise(info, (0,))
    padded = np.zeros((15, 32), np.uint16)
    padded[:, :17] = frame.planes[0]
    assert written(info, [Frame((padded[:, :17],), info.format, 0, info.time_base)]) == written(info, [frame])


def test_nut_short_reads():
    info = video(PixelFormat("420", 10), 3, 5)
    data = written(info, noise(info))
    for stream in (Dribble(data), io.BufferedReader(Dribble(data), 8)):
        assert [raw(frame) for frame in read_nut(stream)[1]] == [raw(frame) for frame in noise(info)]


def test_nut_through_a_pipe_after_sniffing():
    info = video(width=320, height=240)
    read_end, write_end = os.pipe()

    def write():
        with os.fdopen(write_end, "wb") as stream, NutWriter(stream, info) as writer:
            for frame in noise(info, range(40)):
                writer.write(frame)

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(read_end, "rb") as stream:
        assert sniff(stream) == "nut"
        back = [raw(frame) for frame in read_nut(stream)[1]]
    thread.join()
    assert back == [raw(frame) for frame in noise(info, range(40))]


def test_nut_from_a_descriptor(tmp_path):
    info = video()
    (tmp_path / "a.nut").write_bytes(written(info, noise(info)))
    descriptor = os.open(tmp_path / "a.nut", os.O_RDONLY)
    frames = list(read_nut(descriptor)[1])
    gc.collect()
    os.close(descriptor)
    assert [raw(frame) for frame in frames] == [raw(frame) for frame in noise(info)]


@pytest.mark.parametrize(
    "pix_fmt", ["nv12", "p010le", "rgb24", "gbrp", "yuva420p", "yuv411p", "yuv440p", "yuv420p10be", "gray16be"]
)
def test_nut_pixel_format_errors(pix_fmt):
    picture = bytes(4 * 4 * 4 * 2)
    args = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-video_size", "4x4", "-i", "pipe:0"]
    args += ["-pix_fmt", pix_fmt, "-c:v", "rawvideo", "-f", "nut", "-"]
    # NUT has no tag for p010: ffmpeg itself reads it back as rgb555.
    named = {"p010le": "rgb555le"}.get(pix_fmt, pix_fmt)
    with pytest.raises(DecodeError, match=f"reads as {named}: planar YUV or gray"):
        read_nut(io.BytesIO(ffmpeg(*args, data=picture).stdout))


def test_nut_stream_errors():
    sources = ["-f", "lavfi", "-i", "testsrc=d=0.2:s=32x32", "-f", "lavfi", "-i", "sine=d=0.2"]
    both = ffmpeg(*sources, "-pix_fmt", "yuv420p", "-c:v", "rawvideo", "-f", "nut", "-").stdout
    with pytest.raises(DecodeError, match="a video stream and a audio stream: a single video stream"):
        read_nut(io.BytesIO(both))
    coded = ffmpeg(*sources[:4], "-c:v", "mpeg4", "-f", "nut", "-").stdout
    with pytest.raises(DecodeError, match="holds mpeg4 video: raw video was expected"):
        read_nut(io.BytesIO(coded))
    sound = ffmpeg(*sources[4:], "-c:a", "pcm_s16le", "-f", "nut", "-").stdout
    with pytest.raises(DecodeError, match="holds a audio stream"):
        read_nut(io.BytesIO(sound))
    with pytest.raises(DecodeError, match="empty"):
        read_nut(io.BytesIO())
    with pytest.raises(DecodeError, match=r"cannot be read as NUT.*: Invalid data"):
        read_nut(io.BytesIO(b"YUV4MPEG2 W16 H16\n" * 1000))
    wide = video(width=20000, height=2)
    with pytest.raises(DecodeError, match="20000x2 is outside"):
        read_nut(io.BytesIO(written(wide, noise(wide))))


@pytest.mark.parametrize("value", [0, 16, 128, 255])
def test_nut_cut_off_anywhere_is_said(value):
    info = video(YUV420P, 4, 4)
    planes = tuple(np.full(shape, value, np.uint8) for shape in info.format.plane_shapes(4, 4))
    frames = [Frame(planes, info.format, pts, info.time_base) for pts in range(3)]
    data = written(info, frames)
    first = len(written(info, []))
    for cut in range(first + 24, len(data)):
        with pytest.raises(DecodeError, match="NUT"):  # noqa: PT012 where it is noticed depends on the cut
            for frame in read_nut(io.BytesIO(data[:cut]))[1]:
                assert raw(frame) == raw(frames[0])


def test_nut_cut_off_names_the_frame():
    info = video()
    size = info.format.frame_bytes(15, 17)
    data = written(info, noise(info))
    frames = read_nut(io.BytesIO(data[: len(data) - size]))[1]
    next(frames)
    next(frames)
    with pytest.raises(DecodeError, match=rf"frame 2 has \d+ of {size} bytes"):
        next(frames)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 40))
def test_nut_garbage_is_a_decode_error_or_frames(garbage, start, removed):
    info = video(YUV420P, 4, 4)
    data = written(info, noise(info))
    try:
        info, frames = read_nut(io.BytesIO(data[:start] + garbage + data[start + removed :]))
        for frame in frames:
            assert [plane.shape for plane in frame.planes] == list(info.format.plane_shapes(info.height, info.width))
    except DecodeError as error:
        assert "\n" not in str(error)  # noqa: PT017 one line, whatever the stream holds


def test_nut_reading_error_of_the_stream_is_kept():
    class Broken(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            raise OSError(errno.EIO, "broken disk")

    with pytest.raises(OSError, match="broken disk"):
        read_nut(Broken())


def test_nut_writer_errors():
    info = video()
    writer = NutWriter(io.BytesIO(), info)
    with pytest.raises(ValueError, match="in a stream of"):
        writer.write(next(noise(video(PixelFormat("420", 10)))))
    with pytest.raises(ValueError, match=r"frame.pts = -1, .* after -1"):
        writer.write(next(noise(info, (-1,))))
    with pytest.raises(ValueError, match="time_base"):
        writer.write(next(noise(video(time_base=Fraction(1, 25)))))
    writer.write(next(noise(info, (5,))))
    with pytest.raises(ValueError, match=r"frame.pts = 5, .* after 5"):
        writer.write(next(noise(info, (5,))))
    writer.close()
    with pytest.raises(ValueError, match="has been closed"):
        writer.write(next(noise(info, (6,))))
    with pytest.raises(ConfigError, match="NUT cannot hold yuv420p11le"):
        NutWriter(io.BytesIO(), video(PixelFormat("420", 11)))
    with pytest.raises(FileNotFoundError):
        NutWriter("/nonexistent/a.nut", info)


def test_nut_round_trip_of_the_header():
    info = video(sar=Fraction(8, 9), frame_rate=Fraction(24000, 1001))
    assert read_nut(io.BytesIO(written(info, noise(info))))[0] == info


def test_nut_file_is_read_by_ffmpeg_with_seeking(tmp_path):
    info = video()
    (tmp_path / "a.nut").write_bytes(written(info, noise(info, range(0, 90_000, 1001))))
    done = ffmpeg("-ss", "2.5", "-i", str(tmp_path / "a.nut"), *EXACT, "-f", "framemd5", "-")
    assert len([line for line in done.stdout.splitlines() if not line.startswith(b"#")]) == 15


def test_nut_written_is_read_by_ffmpeg_without_complaint():
    info = video(PixelFormat("420", 10), 1920, 1080, frame_rate=Fraction(30))
    data = written(info, noise(info))
    done = ffmpeg("-v", "warning", "-f", "nut", "-i", "pipe:0", "-c", "copy", "-f", "null", "-", data=data)
    assert done.stderr == b""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["descriptor", "stream", "object"])
def test_nut_reader_gone_is_a_broken_pipe(kind):
    info = video(width=320, height=240)
    read_end, write_end = os.pipe()

    class Pipe:
        def write(self, data):
            return os.write(write_end, data)

        def flush(self):
            pass

    with os.fdopen(write_end, "wb") as stream:
        writer = NutWriter({"descriptor": write_end, "stream": stream, "object": Pipe()}[kind], info)
        writer.write(next(noise(info, (0,)))) if kind == "descriptor" else None
        os.close(read_end)
        start = time.monotonic()
        with pytest.raises(BrokenPipeError):  # noqa: PT012 the first frames may fit into a buffer
            for frame in noise(info, range(1, 20)):
                writer.write(frame)
        writer.close()
        del writer
        gc.collect()
        assert time.monotonic() - start < 30  # hangs otherwise


def test_nut_reader_gone_before_the_header_and_before_the_end():
    info = video()
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as stream:
        writer = NutWriter(stream, info)
        writer.write(next(noise(info)))
        os.close(read_end)
        with pytest.raises(BrokenPipeError):
            writer.close()
        writer.close()
        with pytest.raises(BrokenPipeError):
            NutWriter(write_end, info)
    gc.collect()


def test_nut_reader_process_that_stops_is_a_broken_pipe():
    info = video(width=640, height=480)
    with subprocess.Popen(["head", "-c", "100000"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        writer = NutWriter(process.stdin, info)
        with pytest.raises(BrokenPipeError):  # noqa: PT012 the pipe takes some
            for frame in noise(info, range(50)):
                writer.write(frame)
        writer.close()

"""y4m against ffmpeg in both directions, and with truncated, damaged or slow streams."""

import hashlib
import io
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rawvideo import YUV420P, Dribble, ffmpeg, noise, raw

from vidscale.errors import ConfigError, DecodeError
from vidscale.media.frames import Color, Frame, PixelFormat, VideoInfo
from vidscale.media.rawpipe import enlarge_pipe, sniff
from vidscale.media.y4m import Y4mWriter, read_y4m

FORMATS = [PixelFormat(c, d) for c in ("420", "422", "444") for d in (8, 9, 10, 12, 14, 16)]
FORMATS += [PixelFormat("gray", d) for d in (8, 9, 10, 12, 16)]


def video(pixel_format=YUV420P, width=17, height=15, **fields):
    fields = {"color": Color(), "time_base": Fraction(1, 30), "frame_rate": Fraction(30)} | fields
    return VideoInfo(width, height, pixel_format, **fields)


def written(info, frames):
    stream = io.BytesIO()
    with Y4mWriter(stream, info) as writer:
        for frame in frames:
            writer.write(frame)
    return stream.getvalue()


def header_of(info):
    return written(info, []).decode().rstrip("\n")


def read_header(text, layout="420jpeg"):
    return read_y4m(io.BytesIO(f"YUV4MPEG2 W16 H16 C{layout} {text}\n".encode()))[0]


@pytest.mark.parametrize("pixel_format", FORMATS, ids=lambda f: f.name)
def test_y4m_written_is_read_by_ffmpeg(pixel_format):
    info = video(pixel_format)
    frames = list(noise(info))
    done = ffmpeg("-f", "yuv4mpegpipe", "-i", "pipe:0", "-f", "framemd5", "-", data=written(info, frames))
    hashes = [line.split()[-1] for line in done.stdout.decode().splitlines() if not line.startswith("#")]
    assert hashes == [hashlib.md5(raw(frame)).hexdigest() for frame in frames]
    source = next(line for line in done.stderr.decode().splitlines() if "Video: rawvideo" in line)
    assert f" {pixel_format.name}(" in source
    assert "17x15" in source
    assert "30 fps" in source


@pytest.mark.parametrize("pixel_format", FORMATS, ids=lambda f: f.name)
def test_y4m_of_ffmpeg_is_read(pixel_format):
    info = video(pixel_format)
    frames = list(noise(info))
    args = ["-f", "rawvideo", "-pix_fmt", pixel_format.name, "-video_size", "17x15", "-framerate", "30000/1001"]
    args += ["-i", "pipe:0", "-vf", "setsar=8/9", "-strict", "-1", "-f", "yuv4mpegpipe", "-"]
    read, back = read_y4m(io.BytesIO(ffmpeg(*args, data=b"".join(map(raw, frames))).stdout))
    assert (read.width, read.height, read.format) == (17, 15, pixel_format)
    assert (read.frame_rate, read.time_base, read.sar) == (
        Fraction(30000, 1001),
        Fraction(1001, 30000),
        Fraction(8, 9),
    )
    back = list(back)
    assert [raw(frame) for frame in back] == [raw(frame) for frame in frames]
    assert [frame.pts for frame in back] == [0, 1, 2]
    assert {frame.time_base for frame in back} == {read.time_base}


@pytest.mark.parametrize(
    ("color_range", "location"),
    [("tv", "left"), ("pc", "center"), ("pc", "topleft"), ("tv", "center")],
)
def test_y4m_color_range_and_chroma_location_through_ffmpeg(color_range, location):
    info = video(color=Color(color_range=color_range, chroma_location=location), sar=Fraction(4, 3))
    data = written(info, noise(info))
    back = ffmpeg("-f", "yuv4mpegpipe", "-i", "pipe:0", "-f", "yuv4mpegpipe", "-", data=data).stdout
    assert read_y4m(io.BytesIO(back))[0] == info
    assert read_y4m(io.BytesIO(data))[0] == info


def test_y4m_header_as_ffmpeg_writes_it():
    info = video(PixelFormat("422", 10), 1920, 1080, color=Color("pc"), sar=Fraction(4, 3))
    assert header_of(info) == "YUV4MPEG2 W1920 H1080 F30:1 Ip A4:3 C422p10 XCOLORRANGE=FULL"
    assert header_of(video(frame_rate=None)) == "YUV4MPEG2 W17 H15 F0:0 Ip A1:1 C420mpeg2"


def test_y4m_header_of_locations_it_has_no_word_for(caplog):
    assert header_of(video(color=Color(chroma_location="bottomleft"))).endswith(" C420jpeg")
    assert header_of(video(PixelFormat("420", 10), color=Color(chroma_location="topleft"))).endswith(" C420p10")
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


@pytest.mark.parametrize(
    ("layout", "pixel_format", "location"),
    [
        ("420", PixelFormat("420", 8), "center"),
        ("420jpeg", PixelFormat("420", 8), "center"),
        ("420mpeg2", PixelFormat("420", 8), "left"),
        ("420paldv", PixelFormat("420", 8), "topleft"),
        ("420p10", PixelFormat("420", 10), None),
        ("422", PixelFormat("422", 8), None),
        ("444p16", PixelFormat("444", 16), None),
        ("mono", PixelFormat("gray", 8), None),
        ("mono12", PixelFormat("gray", 12), None),
    ],
)
def test_y4m_layouts(layout, pixel_format, location):
    info = read_header("F25:1", layout)
    assert (info.format, info.color.chroma_location) == (pixel_format, location)


def test_y4m_header_without_optional_fields():
    info, frames = read_y4m(io.BytesIO(b"YUV4MPEG2 W16 H8\n"))
    assert (info.format, info.color) == (PixelFormat("420", 8), Color(chroma_location="center"))
    assert (info.frame_rate, info.time_base, info.sar) == (None, Fraction(1, 25), 1)
    assert list(frames) == []


def test_y4m_header_fields():
    assert read_header("F0:0").time_base == Fraction(1, 25)
    assert read_header("F0:0").frame_rate is None
    assert read_header("A0:0").sar == 1
    assert read_header("I? XCOLORRANGE=LIMITED XSOMETHING=1 X").color.color_range == "tv"
    assert read_header("Ip").color.color_range is None
    assert read_y4m(io.BytesIO(b"YUV4MPEG2 W4 H4 XYSCSS=422P10\n"))[0].format == PixelFormat("422", 10)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"RIFF1234AVI \n", r"not y4m: it begins with b'RIFF1234AVI \\n'"),
        (b"YUV4MPEG2", "breaks off"),
        (b"YUV4MPEG2 W16 H16", "breaks off, after b'4MPEG2 W16 H16'|breaks off"),
        (b"YUV4MPEG2 W16 H16 " + b"X" * 2000, "longer than 1024 bytes"),
        (b"YUV4MPEG2\n", "W'' where a size"),
        (b"YUV4MPEG2 W16\n", "H'' where a size"),
        (b"YUV4MPEG2 W-6 H16\n", "W'-6' where a size"),
        (b"YUV4MPEG2 W0 H16\n", "0x16 is outside"),
        (b"YUV4MPEG2 W16385 H16\n", "16385x16 is outside"),
        (b"YUV4MPEG2 W999999999 H999999999\n", "is outside"),
        (b"YUV4MPEG2 W16 H16 F25\n", "F'25' where a ratio"),
        (b"YUV4MPEG2 W16 H16 A1:-1\n", "A'1:-1' where a ratio"),
        (b"YUV4MPEG2 W16 H16 It\n", "It: top field first"),
        (b"YUV4MPEG2 W16 H16 Ib\n", "Ib: bottom field first"),
        (b"YUV4MPEG2 W16 H16 Im\n", "Im: mixed"),
        (b"YUV4MPEG2 W16 H16 C444alpha\n", "C444alpha"),
        (b"YUV4MPEG2 W16 H16 C411\n", "C411"),
        (b"YUV4MPEG2 W16 H16 Cmono14\n", "Cmono14"),
    ],
)
def test_y4m_header_errors(data, message):
    with pytest.raises(DecodeError, match=message) as error:
        read_y4m(io.BytesIO(data))
    assert "\n" not in str(error.value)


def test_y4m_frame_parameters_are_ignored():
    picture = bytes(range(16))
    stream = io.BytesIO(b"YUV4MPEG2 W4 H4 Cmono\nFRAME Ip XSOMETHING\n" + picture + b"FRAME\n" + picture)
    assert [raw(frame) for frame in read_y4m(stream)[1]] == [picture, picture]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 2), (3, 5)])
def test_y4m_short_reads(width, height):
    info = video(PixelFormat("420", 10), width, height)
    frames = list(noise(info))
    data = written(info, frames)
    for stream in (Dribble(data), io.BufferedReader(Dribble(data), 8)):
        assert [raw(frame) for frame in read_y4m(stream)[1]] == [raw(frame) for frame in frames]


def test_y4m_short_writes():
    class Sip(io.BytesIO):
        def write(self, data):
            return super().write(memoryview(data)[:3])

    info = video()
    stream = Sip()
    writer = Y4mWriter(stream, info)
    for frame in noise(info):
        writer.write(frame)
    assert stream.getvalue() == written(info, noise(info))


def test_y4m_planes_are_views_on_one_buffer():
    info = video(PixelFormat("420", 10))
    first, second = list(read_y4m(io.BytesIO(written(info, noise(info, (0, 1)))))[1])
    assert all(plane.base is first.planes[0].base for plane in first.planes)
    assert first.planes[0].base is not second.planes[0].base
    assert all(plane.flags.writeable and plane.dtype == np.uint16 for plane in first.planes)


def test_y4m_planes_with_padded_rows_are_written():
    info = video(PixelFormat("gray", 8))
    (frame,) = noise(info, (0,))
    padded = np.zeros((15, 32), np.uint8)
    padded[:, :17] = frame.planes[0]
    same = Frame((padded[:, :17],), info.format, 0, info.time_base)
    assert written(info, [same]) == written(info, [frame])


def test_y4m_cut_off_anywhere_is_said():
    info = video(PixelFormat("420", 8), 3, 3)
    data = written(info, noise(info, (0, 1)))
    start = len(header_of(info)) + 1
    size = len(b"FRAME\n") + info.format.frame_bytes(3, 3)
    assert len(data) == start + 2 * size
    for cut in range(start, len(data)):
        frames = read_y4m(io.BytesIO(data[:cut]))[1]
        whole, rest = divmod(cut - start, size)
        for _ in range(whole):
            next(frames)
        if rest == 0:
            assert next(frames, None) is None
            continue
        missing = size - rest if rest >= 6 else 6 - rest
        with pytest.raises(DecodeError, match=rf"of frame {whole}\b.*{missing}|frame {whole}: {missing} "):
            next(frames)


def test_y4m_damaged_between_frames():
    data = b"YUV4MPEG2 W2 H2 Cmono\nFRAME\n1234GARBAGE\n1234"
    frames = read_y4m(io.BytesIO(data))[1]
    next(frames)
    with pytest.raises(DecodeError, match="frame 1 begins with b'GARBAGE"):
        next(frames)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"YUV4MPEG2 ", b"YUV4MPEG2 W16384 H16384 C444p16\nFRAME\n"]))
def test_y4m_garbage_is_a_decode_error_or_frames(garbage, prefix):
    try:
        for frame in read_y4m(io.BytesIO(prefix + garbage))[1]:
            assert frame.planes
    except DecodeError as error:
        assert "\n" not in str(error)  # noqa: PT017 one line, whatever the stream holds


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="WHFIACX0123456789:p=tbm? ", max_size=60))
def test_y4m_garbage_fields_are_a_decode_error_or_frames(fields):
    try:
        list(read_y4m(io.BytesIO(f"YUV4MPEG2 W4 H4 {fields}\nFRAME\n1234".encode()))[1])
    except DecodeError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_y4m_writer_errors():
    info = video()
    writer = Y4mWriter(io.BytesIO(), info)
    for other in (video(PixelFormat("420", 10)), video(width=16)):
        with pytest.raises(ValueError, match="in a stream of"):
            writer.write(next(noise(other)))
    for pixel_format in (PixelFormat("420", 11), PixelFormat("gray", 14)):
        with pytest.raises(ConfigError, match=f"y4m cannot hold {pixel_format.name}"):
            Y4mWriter(io.BytesIO(), video(pixel_format))


def test_y4m_reader_gone_is_a_broken_pipe():
    info = video(width=640, height=480)
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb", buffering=0) as stream:
        writer = Y4mWriter(stream, info)
        os.close(read_end)
        with pytest.raises(BrokenPipeError):
            writer.write(next(noise(info)))
        writer.close()


def test_y4m_does_not_import_av():
    code = "import sys, vidscale.media.y4m, vidscale.media.rawpipe; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_sniff():
    assert sniff(io.BufferedReader(io.BytesIO(b"YUV4MPEG2 W16 H16\n"))) == "y4m"
    assert sniff(io.BufferedReader(io.BytesIO(b"nut/multimedia container\0N"))) == "nut"
    stream = io.BufferedReader(Dribble(written(video(), noise(video()))))
    assert sniff(stream) == "y4m"
    assert len(list(read_y4m(stream)[1])) == 3


@pytest.mark.parametrize(
    ("data", "message"), [(b"", "empty"), (b"\x1aE\xdf\xa3matroska", "neither y4m nor NUT"), (b"YUV5", "neither")]
)
def test_sniff_errors(data, message):
    with pytest.raises(DecodeError, match=message):
        sniff(io.BufferedReader(io.BytesIO(data)))


@pytest.mark.skipif(sys.platform != "linux", reason="a pipe has a settable size on Linux only")
def test_enlarge_pipe():
    import fcntl

    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as reader, os.fdopen(write_end, "wb"):
        before = fcntl.fcntl(read_end, fcntl.F_GETPIPE_SZ)
        enlarge_pipe(reader)
        assert fcntl.fcntl(read_end, fcntl.F_GETPIPE_SZ) >= before
    enlarge_pipe(io.BytesIO())

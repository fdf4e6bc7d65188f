"""`stage down` and `stage up` in real use: raw video through pipes, between two ffmpeg processes."""

import io
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import numpy as np
import numpy.typing as npt
import pytest
from material import FFMPEG, ffmpeg, frame_samples, make, picture, pixels, shown_times
from typer.testing import CliRunner

from vidscale import api
from vidscale.cli import app
from vidscale.errors import UsageError
from vidscale.media.frames import PixelFormat, YuvImage
from vidscale.media.geometry import Geometry
from vidscale.models.pairs import find_pair

pytestmark = pytest.mark.slow

H, W = 48, 64
QUIET = [FFMPEG, "-hide_banner", "-v", "error", "-nostdin"]
SITED = "filter=lanczos:chromalin=left:chromal=left"
Codes = npt.NDArray[Any]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources that several tests share."""
    return tmp_path_factory.mktemp("raw")


@pytest.fixture(scope="session")
def y4m(folder: Path) -> Path:
    """Ten frames, 4:2:0, left siting."""
    words = ["-pix_fmt", "yuv420p", "-chroma_sample_location", "left"]
    return make(folder / "source.y4m", *picture(duration=0.4), *words, "-f", "yuv4mpegpipe")


@dataclass(frozen=True)
class Result:
    """Outcome of a command."""

    exit_code: int
    stdout: bytes
    stderr: str


def stage(*words: object, data: bytes = b"") -> Result:
    """`vidscale stage` in this process, with a standard input that can be peeked at like the real one."""
    stdin, stdout = io.BufferedReader(io.BytesIO(data)), io.BytesIO()  # type: ignore[arg-type]
    with (
        patch("vidscale.cli.stage.raw_stdin", lambda: stdin),
        patch("vidscale.cli.stage.raw_stdout", lambda: stdout),
    ):
        result = CliRunner().invoke(app, ["stage", *map(str, words)])
    return Result(result.exit_code, stdout.getvalue() + result.stdout_bytes, result.stderr)


def program(*words: object) -> list[str]:
    """The command line of `vidscale stage` as a separate process."""
    return [sys.executable, "-m", "vidscale", "stage", *map(str, words)]


def chain(*commands: list[str]) -> tuple[bytes, list[int], bytes]:
    """Runs programs connected by pipes: stdout of the last, exit codes, everything on stderr."""
    running: list[subprocess.Popen[bytes]] = []
    for command in commands:
        source = running[-1].stdout if running else subprocess.DEVNULL
        running.append(subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        if len(running) > 1 and running[-2].stdout:
            running[-2].stdout.close()
    output, said = running[-1].communicate(timeout=60)
    for process in running[:-1]:
        assert process.stderr is not None
        said += process.stderr.read()
        process.stderr.close()
        process.wait(timeout=60)
    return output, [process.returncode for process in running], said


def raw_of(stream: bytes, path: Path, pix_fmt: str, height: int, width: int) -> Codes:
    """Frames [frames, samples] of a raw stream, as ffmpeg reads it."""
    path.write_bytes(stream)
    return pixels(path, pix_fmt, (height, width))


def scaled(frames: Codes, pixel_format: PixelFormat, size: tuple[int, int], scale: str, *, up: bool = False) -> Codes:
    """The pair's own result for such frames."""
    height, width = size
    pair = find_pair("lanczos", Fraction(scale))
    out = []
    for samples in frames:
        planes, start = [], 0
        for h, w in pixel_format.plane_shapes(height, width):
            planes.append(samples[start : start + h * w].reshape(h, w))
            start += h * w
        if up:
            large = Geometry(
                int(width * Fraction(scale)), int(height * Fraction(scale)), Fraction(scale), width, height
            )
            planes = pair.upscale(YuvImage(tuple(planes), pixel_format), large, 28)
        else:
            planes = pair.downscale(YuvImage(tuple(planes), pixel_format))
        out.append(np.concatenate([plane.ravel() for plane in planes]))
    return np.stack(out)


# Between two processes of ffmpeg


def test_down_in_a_y4m_chain_of_processes(y4m: Path, tmp_path: Path) -> None:
    reader = [*QUIET, "-i", str(y4m), "-f", "yuv4mpegpipe", "-"]
    writer = [*QUIET, "-f", "yuv4mpegpipe", "-i", "-", "-f", "rawvideo", "-"]
    output, codes, said = chain(reader, program("down", "--scale", "2"), writer)
    assert (codes, said) == ([0, 0, 0], b"")
    found = np.frombuffer(output, np.uint8).reshape(10, frame_samples("yuv420p", H // 2, W // 2))
    truth = pixels(y4m, "yuv420p", (H // 2, W // 2), "-vf", f"zscale=32:24:{SITED}")
    assert abs(found.astype(int) - truth).max() <= 1
    source = pixels(y4m, "yuv420p", (H, W))
    np.testing.assert_array_equal(found, scaled(source, PixelFormat("420", 8), (H, W), "2"))


def test_nut_keeps_timestamps_through_a_chain_of_processes(folder: Path, tmp_path: Path) -> None:
    uneven = r"settb=1/90000,setpts=90000+N*3600+mod(N*N*377\,1700)"
    words = ["-fps_mode", "passthrough", "-enc_time_base", "1/90000", "-copyts", "-pix_fmt", "yuv420p"]
    source = make(folder / "vfr.nut", *picture(duration=0.4, then=uneven), *words, "-c:v", "rawvideo")
    passed_on = ["-copyts", "-fps_mode", "passthrough", "-enc_time_base", "demux"]
    reader = [*QUIET, "-copyts", "-i", str(source), *passed_on[1:], "-c:v", "rawvideo", "-f", "nut", "-"]
    writer = [*QUIET, "-f", "nut", "-i", "-", *passed_on, "-c:v", "ffv1", "-f", "nut", "-y", str(tmp_path / "out.nut")]
    _, codes, said = chain(
        reader, program("down", "--scale", "1.5"), program("up", "--scale", "1.5", "--size", "64x48"), writer
    )
    assert (codes, said) == ([0, 0, 0, 0], b"")
    times = shown_times(tmp_path / "out.nut")
    assert times == shown_times(source)
    assert len({b - a for a, b in pairwise(times)}) > 5
    with av.open(str(tmp_path / "out.nut")) as opened:
        assert (opened.streams.video[0].width, opened.streams.video[0].height) == (64, 48)


def test_reader_that_goes_away_ends_it_quietly(y4m: Path) -> None:
    # Enough pictures to fill every pipe on the way.
    reader = [*QUIET, "-stream_loop", "400", "-i", str(y4m), "-f", "yuv4mpegpipe", "-"]
    head = [sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read(5000))"]
    output, codes, said = chain(reader, program("up", "--scale", "8"), head)
    assert len(output) == 5000
    assert codes[1:] == [0, 0]
    assert b"vidscale" not in said
    assert b"Traceback" not in said


@pytest.mark.parametrize("cut", ["picture", "header"])
def test_writer_that_dies_in_the_middle_is_an_error(cut: str, y4m: Path, tmp_path: Path) -> None:
    data = y4m.read_bytes()
    (tmp_path / "cut.y4m").write_bytes(data[:-100] if cut == "picture" else data[:20])
    writer = [
        sys.executable,
        "-c",
        "import sys, shutil; shutil.copyfileobj(open(sys.argv[1], 'rb'), sys.stdout.buffer)",
    ]
    output, codes, said = chain([*writer, str(tmp_path / "cut.y4m")], program("down", "--scale", "2"))
    assert codes == [0, 1]
    (line,) = said.decode().splitlines()
    if cut == "header":
        assert line.startswith("vidscale: the header of the y4m stream breaks off")
        return
    assert line == "vidscale: the y4m stream ends within frame 9: 100 of its 4608 bytes are missing"
    assert output.count(b"FRAME\n") == 9  # what came before is passed on


# Every format, in this process


@pytest.mark.parametrize("container", ["y4m", "nut"])
@pytest.mark.parametrize("chroma", ["420", "422", "444", "gray"])
@pytest.mark.parametrize("depth", [8, 10, 12])
def test_down_and_up_in_every_format(container: str, chroma: str, depth: int, folder: Path, tmp_path: Path) -> None:
    pixel_format = PixelFormat(chroma, depth)  # type: ignore[arg-type]
    pix_fmt = pixel_format.name
    words = ["-pix_fmt", pix_fmt, "-c:v", "rawvideo", "-f", "nut"]
    if container == "y4m":
        words = ["-pix_fmt", pix_fmt, "-strict", "-1", "-chroma_sample_location", "left", "-f", "yuv4mpegpipe"]
    source = make(folder / f"{pix_fmt}.{container}", *picture(duration=0.12), *words)
    truth = pixels(source, pix_fmt, (H, W))

    small = stage("down", "--scale", "2", data=source.read_bytes())

    assert (small.exit_code, small.stderr) == (0, "")
    found = raw_of(small.stdout, tmp_path / f"small.{container}", pix_fmt, H // 2, W // 2)
    np.testing.assert_array_equal(found, scaled(truth, pixel_format, (H, W), "2"))
    if pix_fmt != "gray12le":  # zscale does not take it
        filters = f"setparams=chroma_location=left,zscale=32:24:{SITED}"
        by_zscale = pixels(source, pix_fmt, (H // 2, W // 2), "-vf", filters)
        assert (abs(found.astype(int) - by_zscale) <= 1).mean() >= 0.999

    large = stage("up", "--pair", "lanczos-x2", data=small.stdout)

    assert (large.exit_code, large.stderr) == (0, "")
    restored = raw_of(large.stdout, tmp_path / f"large.{container}", pix_fmt, H, W)
    np.testing.assert_array_equal(restored, scaled(found, pixel_format, (H // 2, W // 2), "2", up=True))


@pytest.mark.parametrize("scale", ["1", "4/3", "1.5", "2", "3", "8"])
@pytest.mark.parametrize(("width", "height"), [(35, 27), (1, 1), (7, 5)])
def test_up_restores_the_exact_size(width: int, height: int, scale: str) -> None:
    samples = frame_samples("yuv420p", height, width)
    rng = np.random.default_rng(0)
    data = f"YUV4MPEG2 W{width} H{height} F25:1 Ip A4:3 C420mpeg2\n".encode()
    data += b"".join(b"FRAME\n" + rng.integers(16, 235, samples).astype(np.uint8).tobytes() for _ in range(3))
    small = stage("down", "--scale", scale, data=data)
    assert small.exit_code == 0
    w, h = (ceil(ceil(side / Fraction(scale)) / 2) * 2 for side in (width, height))
    header, rest = small.stdout.split(b"\n", 1)
    assert header.startswith(f"YUV4MPEG2 W{w} H{h} F25:1 Ip A4:3 C420mpeg2".encode())
    assert len(rest) == 3 * (6 + frame_samples("yuv420p", h, w))
    large = stage("up", "--scale", scale, "--size", f"{width}x{height}", data=small.stdout)
    assert large.exit_code == 0
    header, rest = large.stdout.split(b"\n", 1)
    assert header.startswith(f"YUV4MPEG2 W{width} H{height} F25:1".encode())
    assert len(rest) == 3 * (6 + samples)
    if scale == "1":
        assert rest == data.split(b"\n", 1)[1]


def test_chroma_location_and_range_over_what_the_stream_says(y4m: Path, tmp_path: Path) -> None:
    words = ["--scale", "2", "--chroma-location", "center", "--color-range", "pc"]
    result = stage("down", *words, data=y4m.read_bytes())
    header = result.stdout.split(b"\n")[0]
    assert b" C420jpeg" in header
    assert b"XCOLORRANGE=FULL" in header
    sited = "filter=lanczos:chromalin=center:chromal=center"
    truth = pixels(y4m, "yuv420p", (H // 2, W // 2), "-vf", f"setparams=chroma_location=center,zscale=32:24:{sited}")
    found = raw_of(result.stdout, tmp_path / "small.y4m", "yuv420p", H // 2, W // 2)
    assert abs(found.astype(int) - truth).max() <= 1
    left = stage("down", "--scale", "2", data=y4m.read_bytes())
    assert left.stdout.split(b"\n", 1)[1] != result.stdout.split(b"\n", 1)[1]  # chroma lies elsewhere


def test_another_format_is_written_when_asked(y4m: Path, tmp_path: Path) -> None:
    nut = stage("down", "--scale", "2", "--format", "nut", data=y4m.read_bytes())
    assert (nut.exit_code, nut.stderr) == (0, "")
    assert nut.stdout.startswith(b"nut/multimedia container\0")
    (tmp_path / "small.nut").write_bytes(nut.stdout)
    assert shown_times(tmp_path / "small.nut") == [Fraction(n, 25) for n in range(10)]
    back = stage("up", "--format", "y4m", data=nut.stdout)
    assert back.exit_code == 0
    assert back.stdout.startswith(b"YUV4MPEG2 W64 H48 F25:1")


@pytest.mark.parametrize("container", ["y4m", "nut"])
def test_video_in_memory_and_in_files_is_scaled(container: str, y4m: Path, tmp_path: Path) -> None:
    data = ffmpeg("-i", y4m, "-c:v", "rawvideo", "-f", "nut", "-") if container == "nut" else y4m.read_bytes()
    truth = stage("down", "--scale", "2", data=data).stdout
    source, sink = io.BytesIO(data), io.BytesIO()
    assert api.stage("down", source, sink, scale=2) == 10
    assert (sink.getvalue(), source.closed) == (truth, False)
    path = tmp_path / "source"
    path.write_bytes(data)
    for buffering in (-1, 0):
        with path.open("rb", buffering=buffering) as file:
            assert api.stage("down", file, sink := io.BytesIO(), scale=2) == 10
        assert sink.getvalue() == truth


def test_pipe_without_a_buffer_is_refused() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        with pytest.raises(ValueError, match=r"has no buffer: io\.BufferedReader adds one$"):
            api.stage("down", process.stdout, io.BytesIO())


def test_another_direction_is_refused(y4m: Path) -> None:
    with y4m.open("rb") as source, pytest.raises(UsageError, match="'sideways' is neither 'down' nor 'up'"):
        api.stage("sideways", source, io.BytesIO())  # type: ignore[arg-type]


def test_varying_frame_rate_warns_in_y4m(caplog: pytest.LogCaptureFixture, y4m: Path) -> None:
    data = y4m.read_bytes()
    assert stage("down", "--scale", "2", data=data).exit_code == 0
    assert caplog.messages == []
    for rate in (b"F1000:1", b"F0:0"):
        caplog.clear()
        assert stage("down", "--scale", "2", data=data.replace(b"F25:1", rate, 1)).exit_code == 0
        assert any("if it is variable, use NUT" in message for message in caplog.messages)
    caplog.clear()
    nut = stage("down", "--scale", "2", "--format", "nut", data=data)
    assert stage("up", "--format", "y4m", data=nut.stdout).exit_code == 0
    assert any("y4m has no timestamps" in message for message in caplog.messages)


# What bad input gets


def test_cut_off_nut_is_an_error(folder: Path) -> None:
    words = ["-pix_fmt", "yuv420p", "-c:v", "rawvideo", "-f", "nut"]
    data = make(folder / "whole.nut", *picture(duration=0.4), *words).read_bytes()
    for end in (len(data) // 2, len(data) - 40):
        result = stage("down", "--scale", "2", data=data[:end])
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith("vidscale: the NUT stream ")


WIDE = b"YUV4MPEG2 W96 H24 F25:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(96 * 24 * 3 // 2)


@pytest.mark.parametrize(
    ("words", "data", "code", "told"),
    [
        (["down"], b"", 1, "the input is empty: y4m or NUT was expected"),
        (["up"], b"RIFF....AVI ", 1, "the input is neither y4m nor NUT"),
        (["down", "--pair", "lanczos-x2", "--scale", "3"], None, 2, "made for scale 2, not for 3"),
        (["down", "--pair", "nearest"], None, 1, "unknown pair 'nearest'"),
        (["down", "--scale", "9"], None, 2, "scale 9 is outside 1 to 8"),
        (["up", "--size", "0x10"], None, 2, "size '0x10' is not WIDTHxHEIGHT"),
        (["up", "--size", "130x96"], None, 1, "130x96 at scale 2 needs an input larger than 64x48"),
        (["up", "--size", "64x48"], WIDE, 1, "64x48 at scale 2 needs an input of 32x24, not of 96x24"),
        (["down", "--format", "avi"], None, 2, "format = 'avi'"),
    ],
)
def test_bad_input_and_options_are_one_line(
    words: list[str], data: bytes | None, code: int, told: str, y4m: Path
) -> None:
    result = stage(*words, data=y4m.read_bytes() if data is None else data)
    assert (result.exit_code, result.stdout) == (code, b"")
    (line,) = result.stderr.splitlines()
    assert told in line


def test_coded_video_in_nut_is_refused(folder: Path) -> None:
    data = ffmpeg(*picture(duration=0.2), "-c:v", "ffv1", "-f", "nut", "-")
    result = stage("down", data=data)
    assert result.exit_code == 1
    assert "holds ffv1 video: raw video was expected" in result.stderr

"""Side data of pictures: unknown kinds are skipped, known ones are read, and reading keeps no picture in memory."""

import gc
import struct
import zlib
from pathlib import Path

import av
import pytest
from material import coded, make, picture, plan

from vidscale.config import FilesSettings
from vidscale.jobs.evaluation import evaluate_files
from vidscale.media.probe import probe
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

pytestmark = pytest.mark.slow  # most cases encode and decode a file

MATRIX_OF_ORIENTATION_6 = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)  # turned by a quarter, clockwise


def exif(orientation: int) -> bytes:
    """A TIFF structure with one tag."""
    tag = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"II*\0" + struct.pack("<IH", 8, 1) + tag + bytes(4)


def in_jpeg(data: bytes, tiff: bytes) -> bytes:
    content = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[2:]


def in_png(data: bytes, tiff: bytes) -> bytes:
    body = b"eXIf" + tiff
    return data[:33] + struct.pack(">I", len(tiff)) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]


@pytest.fixture(params=["jpg", "png"])
def timelapse(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Photographs with EXIF in sequence, as a camera's interval timer records them."""
    suffix, insert = request.param, in_jpeg if request.param == "jpg" else in_png
    words = ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"] if suffix == "jpg" else ["-c:v", "png", "-pix_fmt", "rgb24"]
    make(tmp_path / f"p%d.{suffix}", *picture("64x48", 5, 1), *words)
    for path in tmp_path.glob(f"p*.{suffix}"):
        path.write_bytes(insert(path.read_bytes(), exif(6)))
    return make(tmp_path / "timelapse.mov", "-framerate", "5", "-i", tmp_path / f"p%d.{suffix}", "-c", "copy")


def test_pictures_with_exif_are_coded_and_turned(timelapse: Path, tmp_path: Path) -> None:
    with av.open(str(timelapse)) as container:
        turned = next(container.decode(video=0)).rotation
    assert turned == -90  # what the orientation says; ffmpeg makes a display matrix of it
    assert probe(timelapse).video.display_matrix == MATRIX_OF_ORIENTATION_6
    small = coded(timelapse, tmp_path / "small.mkv", crf=10)
    with av.open(str(small)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 5
    assert {frame.rotation for frame in frames} == {-90}


def test_pictures_with_exif_are_measured(timelapse: Path) -> None:
    report = evaluate_files(timelapse, timelapse, FilesSettings())
    assert [row.mse for row in report.rows] == [(0.0, 0.0, 0.0)] * 5


def test_nothing_is_lost_of_pictures_with_exif(timelapse: Path) -> None:
    assert not any("does not hold" in note for note in plan(timelapse, strict=True).notes)


def test_decoded_pictures_are_freed_without_the_cyclic_collector(tmp_path: Path) -> None:
    movie = make(tmp_path / "movie.mp4", *picture("64x48", "25", 2), "-c:v", "libx264", "-preset", "ultrafast")
    source = probe(movie)
    gc.collect()
    gc.disable()  # as between two of its runs, in which hundreds of pictures are decoded
    try:
        before = video_frames_in_memory()
        frames = sum(1 for _ in decode_frames(source, log=ReadLog(), clock=Clock("decode")))
        left = video_frames_in_memory() - before
    finally:
        gc.enable()
    assert frames == 50
    assert left <= 1


def video_frames_in_memory() -> int:
    return sum(type(thing) is av.VideoFrame for thing in gc.get_objects())  # isinstance would ask lazy objects

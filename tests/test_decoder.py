"""The decoder: which packet a frame was decoded from, and that it can be closed at any time."""

import subprocess
import sys
from pathlib import Path

import av
import pytest
from material import make, picture

from vidscale.media.probe import probe
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

pytestmark = pytest.mark.slow  # most cases encode and decode a file

B_FRAMES = {
    "mpeg4": ["-c:v", "mpeg4", "-bf", "2"],
    "mpeg2": ["-c:v", "mpeg2video", "-bf", "2"],
    "vp9": ["-c:v", "libvpx-vp9", "-b:v", "200k", "-auto-alt-ref", "1", "-lag-in-frames", "16"],
}
NOISE = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2,noise=alls=40:allf=t,format=yuv420p"]
STOP_EARLY = """
import sys
from fractions import Fraction
from pathlib import Path
from vidscale.config import TimeRange
from vidscale.media.probe import probe
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

source = probe(Path(sys.argv[1]))
for count in [*range(5, 25)] * 3:
    part = TimeRange(start=Fraction(0), end=Fraction(count, 25))
    assert sum(1 for _ in decode_frames(source, log=ReadLog(), clock=Clock("decode"), time_range=part)) == count
"""


def sizes_of_pictures(path: Path) -> list[int | None]:
    frames = decode_frames(probe(path), log=ReadLog(), clock=Clock("decode"))
    return [frame.coded_bytes for frame in frames]


@pytest.mark.parametrize("container", ["avi", "mkv"])  # AVI stores no presentation times
@pytest.mark.parametrize("codec", B_FRAMES)
def test_every_picture_knows_the_size_of_its_packet(codec: str, container: str, tmp_path: Path) -> None:
    movie = make(tmp_path / "movie.mkv", *picture(duration=2), *B_FRAMES[codec], "-pix_fmt", "yuv420p")
    with av.open(str(movie)) as file:
        sizes = {packet.pts: packet.size for packet in file.demux(video=0) if packet.pts is not None}
    copy = make(tmp_path / f"copy.{container}", "-i", movie, "-c", "copy")
    assert sizes_of_pictures(copy) == [sizes[pts] for pts in sorted(sizes)]


@pytest.mark.parametrize("codec", [["libx264", "-preset", "ultrafast"], ["libsvtav1", "-preset", "12"]], ids=" ".join)
def test_decoding_may_stop_while_the_decoder_is_busy(codec: list[str], tmp_path: Path) -> None:
    source = make(tmp_path / "noise.mkv", *NOISE, "-c:v", *codec)
    subprocess.run([sys.executable, "-c", STOP_EARLY, source], check=True, timeout=60)

"""How long each frame is shown: the same in the source, the small file and the restored file."""

import re
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from material import FASTEST, coded, described, make, picture, restored, shown_times, sound

from vidscale.config import TimeRange
from vidscale.media.frames import Frame
from vidscale.media.probe import probe
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

pytestmark = pytest.mark.slow  # most cases encode and decode a file

X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]
PASS = ["-fps_mode", "passthrough", "-enc_time_base", "1/12800"]
TICK = Fraction(1, 1000)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources that several tests share."""
    return tmp_path_factory.mktemp("sources")


def held(folder: Path, b_frames: int = 0, frames: int = 30) -> Path:
    """A clip whose frame decoded last is shown for three seconds, as screen recorders write it."""
    plain = make(folder / f"plain{b_frames}.mp4", *picture(duration=frames / 25), *X264, "-bf", b_frames)
    last = rf"setts=pts=PTS:dts=DTS:duration=if(eq(N\,{frames - 1})\,3/TB\,DURATION)"
    return make(folder / f"held{b_frames}.mp4", "-i", plain, "-c", "copy", "-bsf:v", last)


def uneven(folder: Path, gap_before: int, *, b_frames: int = 0) -> Path:
    """Thirty frames, with three seconds between the last ``gap_before`` of them and the others."""
    times = rf"settb=1/12800,setpts=N*512+if(gte(N\,{30 - gap_before})\,3*12800\,0)"
    path = folder / f"uneven{gap_before}{b_frames}.mp4"
    return make(path, *picture(duration=2, then=f"trim=end_frame=30,{times}"), *PASS, *X264, "-bf", b_frames)


def length_s(path: Path) -> float:
    """Duration of a file according to ffmpeg, in seconds."""
    match = re.search(r"Duration: (\d+):(\d+):([\d.]+)", described(path))
    assert match is not None
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])


def durations(path: Path) -> list[Fraction]:
    """Durations of a video's packets, in seconds, in presentation order."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [p for p in container.demux(stream) if p.size]
        return [p.duration * p.time_base for p in sorted(packets, key=lambda p: p.pts or 0)]  # type: ignore[operator]


def frames_of(path: Path, time_range: TimeRange | None = None) -> list[Frame]:
    return list(decode_frames(probe(path), log=ReadLog(), clock=Clock("decode"), time_range=time_range))


def length_of(frame: Frame) -> Fraction:
    assert frame.duration is not None
    return frame.duration * frame.time_base


def test_frames_last_until_the_next_one(folder: Path) -> None:
    frames = frames_of(uneven(folder, 7, b_frames=2))
    assert [length_of(a) for a in frames[:-1]] == [b.time - a.time for a, b in pairwise(frames)]
    assert length_of(frames[-1]) == Fraction(1, 25)


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "fragmented.mp4", "flv"])
def test_last_frame_lasts_as_long_as_the_file_says(container: str, b_frames: int, folder: Path) -> None:
    words = ["-movflags", "frag_keyframe+empty_moov"] if container.startswith("frag") else []
    source = make(folder / f"source{b_frames}.{container}", "-i", held(folder, b_frames), "-c", "copy", *words)
    frames = frames_of(source)
    with av.open(str(source)) as opened:
        # What flv and Matroska say is the end. libavformat counts fragments from the first decoding time.
        start_s = 0 if container in ("flv", "mkv") else Fraction(opened.start_time or 0, 1_000_000)
        end_s = start_s + Fraction(opened.duration or 0, 1_000_000)
    slack = Fraction(1, 25) * b_frames if container.startswith("frag") else TICK
    assert abs(frames[-1].time + length_of(frames[-1]) - end_s) <= slack


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize(("codec", "container"), [("x264", "mp4"), ("x264", "mov"), ("x265", "mp4"), ("svtav1", "mp4")])
def test_last_picture_stands_as_long_in_mp4(
    codec: str, container: str, b_frames: int, folder: Path, tmp_path: Path
) -> None:
    source = held(folder, b_frames)
    wanted = length_s(source)
    assert wanted > 4
    small = coded(source, tmp_path / f"small.{container}", codec=codec, scale="2", preset=_reordering(codec))
    assert length_s(small) == pytest.approx(wanted, abs=0.02)
    again = restored(small, tmp_path / f"restored.{container}", codec=codec, preset=_reordering(codec))
    assert length_s(again) == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize(
    ("codec", "container"), [("x264", "mkv"), ("x265", "mkv"), ("svtav1", "mkv"), ("svtav1", "webm")]
)
def test_last_picture_stands_as_long_in_matroska(codec: str, container: str, folder: Path, tmp_path: Path) -> None:
    source = held(folder)
    small = coded(source, tmp_path / f"small.{container}", codec=codec, scale="2", preset=_reordering(codec))
    for path in (
        small,
        restored(small, tmp_path / "restored.mkv", codec=codec, preset=_reordering(codec)),
        restored(small, tmp_path / "lossless.mkv", lossless=True),
    ):
        assert length_s(path) == pytest.approx(length_s(source), abs=0.02)
        assert durations(path)[-1] == 3
        assert set(durations(path)[:-1]) == {Fraction(1, 25)}


def _reordering(codec: str) -> str:
    """A preset with B-frames."""
    return {"x264": "veryfast", "x265": "superfast", "svtav1": FASTEST["svtav1"]}[codec]


@pytest.mark.parametrize("gap_before", [1, 2, 3, 4])
@pytest.mark.parametrize(("codec", "container"), [("x264", "mp4"), ("x265", "mp4"), ("svtav1", "mp4"), ("x264", "mov")])
def test_mp4_is_as_long_where_its_last_pictures_lie_far_apart(
    codec: str, container: str, gap_before: int, folder: Path, tmp_path: Path
) -> None:
    source = uneven(folder, gap_before)
    assert length_s(source) == pytest.approx(4.2)
    small = coded(source, tmp_path / f"small.{container}", codec=codec, scale="2", preset=_reordering(codec))
    assert length_s(small) == pytest.approx(4.2, abs=0.02)
    assert shown_times(small) == shown_times(source)
    again = restored(small, tmp_path / f"restored.{container}")
    assert length_s(again) == pytest.approx(4.2, abs=0.02)


@pytest.mark.parametrize("codec", ["x264", "x265", "svtav1"])
def test_matroska_says_of_every_picture_how_long_it_stands(codec: str, folder: Path, tmp_path: Path) -> None:
    source = uneven(folder, 7, b_frames=2)
    times = [*shown_times(source), Fraction("4.2")]
    wanted = [b - a for a, b in pairwise(times)]
    small = coded(source, tmp_path / "small.mkv", codec=codec, scale="2", preset=_reordering(codec))
    for path in (small, restored(small, tmp_path / "lossless.mkv", lossless=True)):
        assert max(abs(a - b) for a, b in zip(durations(path), wanted, strict=True)) <= TICK


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize(
    ("part", "length", "last"),
    [
        ("0:1", 1, Fraction("0.12")),
        ("0:0.9", 0.9, Fraction(1, 50)),  # a part ends where it is told to, be it within a picture's time
        ("0:2.5", 2.5, Fraction("1.62")),
        ("0:100", 4.2, Fraction(1, 25)),
        ("0.5:", 3.7 - 0.02, Fraction(1, 25)),
    ],
)
def test_part_ends_where_asked(
    part: str, length: float, last: Fraction, container: str, folder: Path, tmp_path: Path
) -> None:
    small = coded(uneven(folder, 7), tmp_path / f"small.{container}", scale="2", range=part)
    assert length_s(small) == pytest.approx(length, abs=0.02)
    assert abs(length_of(frames_of(small)[-1]) - last) <= TICK


def test_sound_that_outlasts_the_last_picture_is_all_there(folder: Path, tmp_path: Path) -> None:
    source = make(folder / "with_sound.mp4", "-i", held(folder), *sound(6), "-c:v", "copy", "-c:a", "aac")
    small = coded(source, tmp_path / "small.mp4", scale="2")
    assert length_s(small) == pytest.approx(length_s(source), abs=0.02)
    with av.open(str(small)) as container:
        video = container.streams.video[0]
        assert video.duration * video.time_base == pytest.approx(4.16, abs=0.02)  # type: ignore[operator]


def test_single_picture_keeps_its_time(folder: Path, tmp_path: Path) -> None:
    still = make(folder / "still.mp4", *picture(rate="1/5", duration=5), *X264)
    assert length_s(still) == pytest.approx(5)
    for container in ("mp4", "mkv"):
        small = coded(still, tmp_path / f"small.{container}", scale="2")
        assert length_s(small) == pytest.approx(5, abs=0.02)

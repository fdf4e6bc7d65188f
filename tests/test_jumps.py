"""Recordings whose clock jumps: joined as ffmpeg joins them, video and audio by the same offset."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
from material import (
    coded,
    coding,
    ffmpeg_times,
    make,
    packet_data,
    packet_times,
    picture,
    restored,
    shown_times,
    sound,
)
from robustness import FAST, refused, run_here

from vidscale.compare.settings import Samples
from vidscale.compare.trials.samples import sample_ranges
from vidscale.config import FilesSettings, TimeRange
from vidscale.jobs.evaluation import evaluate_files
from vidscale.media.jumps import Joiner
from vidscale.media.probe import probe
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

pytestmark = pytest.mark.slow  # most cases encode and decode a file

CODECS = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-pix_fmt", "yuv420p", "-c:a", "aac"]
MILLISECOND = Fraction(1, 1000)
AAC_PACKET_S = Fraction(1024, 48000)
FRAME_S = Fraction(1, 25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


# A second each, with the clock at another time, and of another tone, so that packets differ.
PARTS: dict[str, dict[str, Any]] = {
    "a": {"tone": 300},
    "b": {"tone": 500},
    "far": {"tone": 700, "clock": "30"},
    "near": {"tone": 900, "clock": "12"},
    "turn": {"tone": 400, "clock": "95441.8"},  # 2**33 / 90000 lies within
    "sound early": {"tone": 600, "late": "picture"},
    "sound late": {"tone": 800, "late": "sound"},
}


def part(folder: Path, name: str) -> Path:
    path = folder / f"{name}.ts"
    if not path.exists():
        words = PARTS[name]
        delay = ["-itsoffset", "0.5"]
        inputs = [*(delay if words.get("late") == "picture" else []), *picture()]
        inputs += [*(delay if words.get("late") == "sound" else []), *sound(frequency=words["tone"])]
        clock = ["-output_ts_offset", words["clock"]] if "clock" in words else []
        make(path, *inputs, *CODECS, *clock)
    return path


def recording(folder: Path, *names: str) -> Path:
    path = folder / f"{'+'.join(names)}.ts"
    path.write_bytes(b"".join(part(folder, name).read_bytes() for name in names))
    return path


def rise(times: list[Fraction]) -> bool:
    return all(b > a for a, b in pairwise(times))


def assert_joined(small: Path, parts: list[Path], *, origin: Fraction = Fraction(0)) -> list[Fraction]:
    """Video and audio of each part are complete and moved by the same offset, which is returned."""
    video, audio = sorted(shown_times(small)), packet_times(small, 1)
    assert rise(video)
    assert rise(audio)
    moves = []
    for path in parts:
        theirs, heard = sorted(shown_times(path)), packet_times(path, 1)
        ours, video = video[: len(theirs)], video[len(theirs) :]
        sounds, audio = audio[: len(heard)], audio[len(heard) :]
        move = ours[0] - theirs[0]
        assert max(abs(a - b - move) for a, b in zip(ours, theirs, strict=True)) <= MILLISECOND
        apart = [a - b - move for a, b in zip(sounds, heard, strict=True)]
        assert max(apart) < AAC_PACKET_S + MILLISECOND  # the first may have to wait for the last of the part before
        assert max(apart[2:]) <= MILLISECOND
        assert min(apart) >= -MILLISECOND
        moves.append(move)
    assert not video
    assert not audio
    return moves


@pytest.mark.parametrize("container", ["ts", "mkv", "mp4"])
def test_recordings_put_one_behind_the_other(container: str, folder: Path, tmp_path: Path) -> None:
    source = recording(folder, "a", "b")
    outcome = coding(source, tmp_path / f"small.{container}")
    moves = assert_joined(outcome.path, [part(folder, "a"), part(folder, "b")])
    assert moves == [0, 1]
    told = "the timestamps of a+b.ts jump once: the parts were joined, video and audio alike"
    assert [note for note in outcome.notes if "jump" in note] == [told]
    truth = shown_times(make(tmp_path / "truth.mkv", "-i", source, "-c:v", "libx264", "-preset", "ultrafast"))
    ours = shown_times(outcome.path)
    apart = [a - b for a, b in zip(ours, truth, strict=True)]
    assert max(apart) - min(apart) <= MILLISECOND  # ffmpeg lets the file start at 0
    if container == "ts":
        data = [packet for name in "ab" for packet in packet_data(part(folder, name), 1)]
        assert packet_data(outcome.path, 1) == data


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes")
def test_folder_of_a_joined_recording_need_not_be_text(folder: Path, tmp_path: Path) -> None:
    (output := tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    outcome = coding(recording(folder, "a", "b"), output / "small.mkv")
    assert_joined(outcome.path, [part(folder, "a"), part(folder, "b")])


@pytest.mark.parametrize(
    ("names", "moves"),
    [
        (("a", "far"), [0, -29]),
        (("far", "a"), [0, 31]),
        (("a", "turn"), [0, None]),
        (("a", "b", "far", "near", "a"), [0, 1, -28, -9, 4]),
        (("a", "sound late"), [0, 1]),
        (("sound late", "a"), [0, None]),
        (("a", "sound early"), [0, None]),
        (("sound early", "a"), [0, None]),
    ],
)
def test_jumps_back_ahead_and_past_the_end_of_the_clock(
    names: tuple[str, ...], moves: list[int | None], folder: Path, tmp_path: Path
) -> None:
    source = recording(folder, *names)
    parts = [part(folder, name) for name in names]
    outcome = coding(source, tmp_path / "small.mkv")
    found = assert_joined(outcome.path, parts)
    for move, wanted in zip(found, moves, strict=True):
        assert wanted is None or abs(move - wanted) < Fraction(1, 10)  # muxing starts each part a little apart
    steps = [b - a for a, b in pairwise(shown_times(outcome.path))]
    assert min(steps) >= FRAME_S - MILLISECOND
    if None not in moves:
        assert max(steps) <= FRAME_S + MILLISECOND
    (note,) = [note for note in outcome.notes if "jump" in note]
    joints = len(names) - 1 + ("turn" in names)  # its own clock starts anew
    assert ("once" if joints == 1 else f"{joints} times") in note


def test_pause_of_a_few_seconds_is_a_pause(folder: Path, tmp_path: Path) -> None:
    """ffmpeg joins gaps of 10 s and more."""
    words = [*picture(), *sound(), *CODECS, "-output_ts_offset", "5"]
    (tmp_path / "pause.ts").write_bytes(
        part(folder, "a").read_bytes() + make(tmp_path / "later.ts", *words).read_bytes()
    )
    outcome = coding(tmp_path / "pause.ts", tmp_path / "small.mkv")
    assert shown_times(outcome.path)[25] - shown_times(outcome.path)[24] > 3
    assert not any("jump" in note for note in outcome.notes)


def test_jump_is_refused_when_strict(folder: Path, tmp_path: Path) -> None:
    source = recording(folder, "a", "b")
    said = refused(tmp_path, "encode", source, "--strict", "-o", tmp_path / "small.ts", *FAST)
    assert "a+b.ts jump and --strict refuses to join its parts; remux it first" in said


def test_small_file_whose_clock_jumps_is_restored(folder: Path, tmp_path: Path) -> None:
    small = coded(part(folder, "a"), tmp_path / "small.ts", scale="2")
    twice = tmp_path / "twice.ts"
    twice.write_bytes(2 * small.read_bytes())
    path = restored(twice, tmp_path / "restored.mkv")
    assert_joined(path, [small, small])
    assert (
        "restore.ts jump" not in run_here("decode", twice, "-o", tmp_path / "again.mkv", "--preset", "ultrafast").stderr
    )
    said = refused(tmp_path, "decode", twice, "--strict", "-o", tmp_path / "strict.mkv", "--preset", "ultrafast")
    assert "twice.ts jump and --strict refuses" in said
    said = refused(tmp_path, "decode", twice, "--y4m", "--strict", "-o", tmp_path / "strict.y4m")
    assert "twice.ts jump and --strict refuses" in said


def test_recording_is_measured(folder: Path, tmp_path: Path) -> None:
    source = recording(folder, "a", "b")
    small = coded(source, tmp_path / "small.ts", encoder_params="qp=0")
    report = evaluate_files(source, small, FilesSettings())
    assert (len(report.rows), report.unpaired.ref_only, report.unpaired.dist_only) == (50, [], [])
    assert not any(row.mse[0] for row in report.rows)
    assert any("a+b.ts jump once" in note for note in report.notes)


@pytest.mark.parametrize("names", [("a", "b"), ("b", "far", "a")])
@pytest.mark.parametrize("text", ["0.2:0.7", "0.5:1.5", "1.2:1.6", "1.5:"])
def test_range_of_a_recording(names: tuple[str, ...], text: str, folder: Path, tmp_path: Path) -> None:
    """It counts in the joined video, whichever part it is in."""
    source = recording(folder, *names)
    whole = coded(source, tmp_path / "whole.ts")
    small = coded(source, tmp_path / "small.ts", range=text)
    times, heard, data = shown_times(whole), packet_times(whole, 1), packet_data(whole, 1)
    first = Fraction(probe(source).start_s)
    begin, end = (Fraction(word or 9) for word in text.split(":"))
    wanted = [time for time in times if first + begin <= time < first + end]
    assert shown_times(small) == [time - wanted[0] for time in wanted]
    packets = packet_data(small, 1)
    at = next(at for at, time in enumerate(heard) if abs(time - wanted[0] - packet_times(small, 1)[0]) <= MILLISECOND)
    assert data[at : at + len(packets)] == packets
    moved = [a - b - wanted[0] for a, b in zip(heard[at:], packet_times(small, 1), strict=False)]
    assert max(map(abs, moved)) <= MILLISECOND
    assert abs(heard[at] - first - begin) < 2 * AAC_PACKET_S


def test_range_of_a_plain_recording_seeks(folder: Path) -> None:
    """Whatever follows the range."""
    source = probe(make(folder / "long.ts", *picture(duration=3), *sound(3), *CODECS, "-g", "10"))
    wanted = [float(time - source.start_s) for time in shown_times(source.path)]
    for begin in ("0.3", "1", "2.2"):
        log = ReadLog()
        time_range = TimeRange(start=Fraction(begin), end=Fraction(begin) + Fraction(1, 2))
        frames = list(decode_frames(source, log=log, clock=Clock("decode"), time_range=time_range))
        found = [float(frame.time + log.origin_s - source.start_s) for frame in frames]
        assert found == pytest.approx([t for t in wanted if float(begin) <= t < float(begin) + 0.5])


def test_samples_of_a_recording_lie_in_it(folder: Path) -> None:
    """Its duration in the header is half a minute, its video lasts two seconds."""
    source = probe(recording(folder, "a", "far"))
    assert source.video.duration_s is not None
    assert source.video.duration_s > 20
    assert sample_ranges(source, None) == (None,)
    samples = sample_ranges(source, Samples(count=2, seconds=Fraction(1, 2)))
    for sample in samples:
        assert list(decode_frames(source, log=ReadLog(), clock=Clock("decode"), time_range=sample))


def test_playlist_with_a_discontinuity(folder: Path, tmp_path: Path) -> None:
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:2", "#EXT-X-MEDIA-SEQUENCE:0"]
    for name in ("a", "b", "far"):
        (tmp_path / f"{name}.ts").write_bytes(part(folder, name).read_bytes())
        lines += ["#EXT-X-DISCONTINUITY", "#EXTINF:1.0,", f"{name}.ts"]
    source = tmp_path / "list.m3u8"
    source.write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    moves = assert_joined(coded(source, tmp_path / "small.mkv"), [part(folder, name) for name in ("a", "b", "far")])
    assert moves[:2] == [0, 1]
    piece = coded(source, tmp_path / "piece.mkv", range="0.5:2.2")
    assert len(shown_times(piece)) == pytest.approx(1.7 * 25, abs=1)


def test_programme_stream_whose_clock_jumps(tmp_path: Path) -> None:
    one = make(tmp_path / "one.mpg", *picture(), *sound(), "-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2")
    (tmp_path / "two.mpg").write_bytes(2 * one.read_bytes())
    outcome = coding(tmp_path / "two.mpg", tmp_path / "small.mkv")
    assert len(shown_times(outcome.path)) == 2 * len(ffmpeg_times(one))
    assert_joined(outcome.path, [one, one])


def test_streams_that_begin_later_are_left_out_and_named(folder: Path, tmp_path: Path) -> None:
    """A second programme, as after an inserted advertisement."""
    ids = ["-mpegts_pmt_start_pid", "0x1100", "-mpegts_start_pid", "0x200", "-mpegts_service_id", "7"]
    other = make(tmp_path / "other.ts", "-i", part(folder, "far"), "-c", "copy", *ids)
    source = tmp_path / "three.ts"
    source.write_bytes(part(folder, "a").read_bytes() + other.read_bytes() + part(folder, "b").read_bytes())
    assert len(ffmpeg_times(source)) == 50
    outcome = coding(source, tmp_path / "small.mkv")
    assert_joined(outcome.path, [part(folder, "a"), part(folder, "b")])
    assert any("three.ts has streams that begin later: they were dropped" in note for note in outcome.notes)
    (tmp_path / "two.ts").write_bytes(part(folder, "a").read_bytes() + other.read_bytes())
    said = refused(tmp_path, "encode", tmp_path / "two.ts", "--strict", "-o", tmp_path / "strict.mkv", *FAST)
    assert "has streams that begin later and --strict refuses to drop them" in said


# What the joiner decides, on packets made by hand

TICK = Fraction(1, 90000)


@dataclass
class Packet:
    """The part of a packet that the joiner reads."""

    stream_index: int
    time: float
    length: float
    kind: str
    pts: int | None = None
    dts: int | None = None
    time_base: Fraction = TICK
    stream: Any = field(init=False)

    def __post_init__(self) -> None:
        self.stream = SimpleNamespace(type=self.kind)
        self.pts = self.dts = round(self.time / TICK)

    @property
    def duration(self) -> int:
        return round(self.length / TICK)


def stream(index: int, start: float, seconds: float, *, at: float, clock: float = 0) -> list[tuple[float, Packet]]:
    """Packets of a stream with their positions in the file, in seconds; index 0 is video, 9 subtitles, others audio."""
    length, kind = {0: (0.04, "video"), 9: (0.5, "subtitle")}.get(index, (0.024, "audio"))
    count = round(seconds / length)
    return [(at + n * length, Packet(index, clock + start + n * length, length, kind)) for n in range(count)]


def joined(*streams: list[tuple[float, Packet]]) -> tuple[int, dict[int, list[float]]]:
    """Number of joints, and the times of each stream's packets after joining in file order."""
    packets = [packet for _, packet in sorted((entry for s in streams for entry in s), key=lambda entry: entry[0])]
    joiner, times = Joiner(iter(packets), main=0), dict[int, list[float]]()
    for packet in joiner:
        times.setdefault(packet.stream_index, []).append(float(packet.dts * TICK))
    return joiner.joints, times


@pytest.mark.parametrize("clock", [-100.0, -3.0, 20.0, 5000.0])
@pytest.mark.parametrize("lag", [0.0, 0.7, 2.0])
def test_joiner_waits_for_sound_that_lies_behind_in_the_file(clock: float, lag: float) -> None:
    """Broadcasts send video ahead of its audio."""
    joints, times = joined(
        stream(0, 0, 10, at=0, clock=200),
        stream(1, 0, 10, at=lag, clock=200),
        stream(0, 10, 10, at=10, clock=200 + clock),
        stream(1, 10, 10, at=10 + lag, clock=200 + clock),
    )
    assert joints == 1
    assert times[0] == pytest.approx([200 + 0.04 * n for n in range(500)], abs=1e-4)
    assert times[1][-1] == pytest.approx(times[0][-1], abs=0.1)
    assert all(b > a - 0.1 for a, b in pairwise(times[1]))


def test_joiner_leaves_a_gap_in_one_stream() -> None:
    """20 s of video are missing, but no audio."""
    joints, times = joined(
        stream(0, 0, 5, at=0), stream(0, 25, 5, at=25), stream(1, 0, 30, at=0), stream(9, 0, 30, at=0)
    )
    assert joints == 0
    assert times[0][125] == pytest.approx(25)
    assert times[1][-1] == pytest.approx(30 - 0.024, abs=1e-3)


def test_joiner_leaves_sound_that_goes_back_alone() -> None:
    joints, times = joined(stream(0, 0, 20, at=0), stream(1, 0, 10, at=0), stream(1, 9.5, 10, at=10))
    assert joints == 0
    assert times[0][-1] == pytest.approx(20 - 0.04)
    assert max(times[1]) == pytest.approx(19.5, abs=0.03)


@pytest.mark.parametrize("wild", [-500.0, 500.0])
@pytest.mark.parametrize("index", [0, 1])
def test_joiner_gives_a_wild_timestamp_the_one_that_is_due(wild: float, index: int) -> None:
    """As after a bit error."""
    streams = [stream(0, 0, 20, at=0, clock=1000), stream(1, 0, 20, at=0, clock=1000)]
    packet = streams[index][100][1]
    right = packet.dts
    packet.dts = packet.pts = packet.dts + round(wild / TICK)  # type: ignore[operator]
    joints, times = joined(*streams)
    assert joints == 0
    assert packet.dts == pytest.approx(right, abs=1)
    assert times[0] == pytest.approx([1000 + 0.04 * n for n in range(500)], abs=1e-4)


def test_joiner_finds_a_jump_of_one_programme_among_others() -> None:
    """The streams of other programmes in the file go on."""
    joints, times = joined(
        stream(0, 0, 10, at=0, clock=500),
        stream(1, 0, 10, at=0.3, clock=500),
        stream(0, 0, 10, at=10, clock=100),
        stream(1, 0, 10, at=10.3, clock=100),
        stream(2, 0, 20, at=0, clock=505),
    )
    assert joints == 1
    assert times[0] == pytest.approx([500 + 0.04 * n for n in range(500)], abs=1e-4)
    assert times[1][-1] == pytest.approx(520 - 0.024, abs=0.1)
    assert times[2][-1] == pytest.approx(525 - 0.024, abs=0.1)


def test_joiner_takes_subtitles_along() -> None:
    joints, times = joined(
        stream(0, 0, 10, at=0, clock=300),
        stream(1, 0, 10, at=0.2, clock=300),
        stream(9, 0, 10, at=0, clock=300),
        stream(0, 0, 10, at=10, clock=100),
        stream(1, 0, 10, at=10.2, clock=100),
        stream(9, 0.02, 10, at=10.02, clock=100),
    )
    assert joints == 1
    assert times[9] == pytest.approx([300 + 0.5 * n for n in range(40)], abs=0.03)


def test_joiner_continues_where_sound_had_ended_early() -> None:
    joints, times = joined(
        stream(0, 0, 10, at=0), stream(1, 0, 3, at=0), stream(0, 0, 10, at=10), stream(1, 3.02, 6, at=13.02)
    )
    assert joints == 1
    assert times[1][125] == pytest.approx(13.02, abs=0.03)


def test_joiner_reports_an_error_after_what_was_read_before() -> None:
    packets = [packet for _, packet in [*stream(0, 0, 1, at=0), *stream(0, 0, 1, at=1)]]

    def breaking() -> Iterator[Packet]:
        yield from packets
        raise av.error.InvalidDataError(1, "broken")

    joiner = Joiner(breaking(), main=0)
    read = [float(next(joiner).dts * TICK) for _ in packets]
    with pytest.raises(av.error.InvalidDataError):
        next(joiner)
    assert read == pytest.approx([0.04 * n for n in range(50)], abs=1e-4)

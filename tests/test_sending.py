"""Packets of a range for a worker that cannot open the movie: its chunk is the one from the movie itself."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from material import make, picture, sound

from vidscale.batch.chunk_encode import run_chunk, run_sent, send
from vidscale.batch.chunks import divide
from vidscale.batch.sending import read_range
from vidscale.batch.source_state import SourceChangedError, SourceState
from vidscale.batch.tasks import ChunkResult, ChunkTask, task_of
from vidscale.config import EncodeSettings, TimeRange
from vidscale.jobs.planning import plan_encode
from vidscale.media.packets import video_packets
from vidscale.media.probe import probe

TICKS = ["-an", "-enc_time_base", "1/24000", "-fps_mode", "passthrough", "-video_track_timescale", "24000"]


def tasks_of(source: Path, folder: Path, *, jumps: bool | None = None) -> list[ChunkTask]:
    """Tasks of three chunks; ``jumps``: in place of what was found."""
    settings = EncodeSettings.resolve({"scale": 1, "preset": "ultrafast", "report": False})
    plan = plan_encode(source, folder / "small.mkv", settings)
    division = divide(plan.source, None, 3, workers=2)
    state, told = SourceState.of(source), division.jumps if jumps is None else jumps
    return [
        task_of(plan, chunk, folder / f"{number}.mp4", name="a", state=state, threads=1, jumps=told)
        for number, chunk in enumerate(division.chunks)
    ]


def times(result: ChunkResult, unit: Fraction) -> list[Fraction]:
    """Times of all pictures in the movie and the end of the last one."""
    ends = [] if result.until is None else [result.until]
    return [each * unit + result.log.origin_s for each in (*result.pts, *ends)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bframes.mp4", ["-bf", "3"]),
        ("vfr.mp4", ["-vf", "select='not(mod(n,7)*mod(n,5))',setpts=PTS+mod(N\\,3)*TB*0.01/TB", "-fps_mode", "vfr"]),
        ("late.mkv", ["-output_ts_offset", "1.3"]),
        ("rounded.mp4", [*TICKS, "-vf", "settb=1/24000,setpts=PTS+2002"]),  # starts at 83416.7 us
        ("broadcast.ts", ["-g", "30"]),
        ("intra.mkv", ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]),
        ("open.mp4", ["-c:v", "libx265", "-x265-params", "keyint=25:open-gop=1:log-level=none", "-tag:v", "hvc1"]),
        ("vp9.webm", ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-c:a", "libopus"]),
    ],
)
def test_chunks_of_packets_are_those_of_the_movie(tmp_path: Path, name: str, words: list[str]) -> None:
    source = make(tmp_path / name, *picture(duration=10), *sound(10), "-preset", "ultrafast", "-g", "40", *words)
    check_sent(source, tasks_of(source, tmp_path), tmp_path)


@pytest.mark.slow
def test_movie_cut_without_encoding(tmp_path: Path) -> None:
    """Its edit list hides the first pictures, whose timestamps are below zero."""
    whole = make(
        tmp_path / "whole.mp4", *picture(duration=14), *sound(14), "-preset", "ultrafast", "-g", "40", "-bf", "3"
    )
    source = make(tmp_path / "cut.mp4", "-ss", "1.1", "-i", whole, "-t", "10.3", "-c", "copy")
    with video_packets(probe(source)) as packets:
        hidden = [packet.pts for packet in packets if packet.size and packet.is_discard]
    assert min(hidden) < 0
    tasks = tasks_of(source, tmp_path)
    assert send(tasks[0]).shift_s > 0
    check_sent(source, tasks, tmp_path)


def check_sent(source: Path, tasks: list[ChunkTask], folder: Path) -> None:
    """Three chunks are the same from packets as from the movie."""
    unit = probe(source).video.time_base
    assert len(tasks) == 3
    for task in tasks:
        sent = send(task)
        found = run_sent(replace(task, file=str(folder / "sent.mp4")), sent)
        wanted = run_chunk(task, lambda: None)
        assert times(found, unit) == times(wanted, unit)
        assert pictures(folder / "sent.mp4") == pictures(Path(task.file))
        assert found.captions == wanted.captions
        assert len(sent.data) < 0.6 * source.stat().st_size


def pictures(path: Path) -> list[bytes]:
    """Coded pictures of a file, without their times."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


@pytest.mark.slow
def test_worker_seeks_in_a_transport_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not read what is before its range: that no timestamp jumps was found while the movie was divided."""
    source = make(tmp_path / "a.ts", *picture(duration=12), *sound(12), "-preset", "ultrafast", "-g", "25")
    wanted = [run_chunk(task, lambda: None).sha256 for task in tasks_of(source, tmp_path, jumps=True)]

    def refuse(*_: object) -> None:
        raise AssertionError("reads from the beginning")

    monkeypatch.setattr("vidscale.media.packets._keyframe_position", refuse)
    tasks = tasks_of(source, tmp_path)
    assert [task.movie.jumps for task in tasks] == [False] * 3
    assert [run_chunk(task, lambda: None).sha256 for task in tasks] == wanted
    begin = Fraction(tasks[2].start_s or 0) + probe(source).start_s
    with video_packets(replace(probe(source), may_jump=False), begin) as packets:
        first = next(packet.pts * packets.time_base for packet in packets if packet.pts is not None)
    assert begin - 2 < first <= begin


def test_packets_of_a_range(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    """From the keyframe in front of the range to its end, in decoding order, and nothing else."""
    source = make_clip(frames=100, audio=True, options=["-g", "10", "-bf", "2"])
    sent = read_range(probe(source), TimeRange(start=Fraction(1), end=Fraction(2)))
    (path := tmp_path / "sent.nut").write_bytes(sent.data)
    with av.open(str(path)) as container:
        assert len(container.streams) == 1
        seconds = [packet.pts * packet.time_base for packet in container.demux() if packet.pts is not None]
    assert min(seconds) > Fraction(6, 10)
    assert max(seconds) < Fraction(22, 10)
    assert {Fraction(number, 25) for number in range(25, 50)} <= set(seconds)
    assert sent.until == 2 / probe(source).video.time_base


def test_movie_that_has_changed_is_not_sent(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    task = tasks_of(make_clip(), tmp_path)[0]
    with pytest.raises(SourceChangedError):
        send(replace(task, movie=replace(task.movie, state=SourceState(1, 1))))

"""What `encode` does to everything but the pixels: timestamps, other streams, tags, containers, the identity."""

import json
import re
import shutil
from array import array
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from material import (
    coded,
    coding,
    cover,
    described,
    dispositions,
    ffmpeg,
    kinds,
    make,
    packet_data,
    packet_times,
    picture,
    pixels,
    plan,
    restored,
    shown_times,
    sound,
    stream_line,
    stream_tags,
    tags,
)
from typer.testing import CliRunner

from vidscale.cli import app
from vidscale.config import DecodeSettings
from vidscale.errors import ConfigError, EncodeError, UsageError
from vidscale.jobs.evaluation import evaluate_encode
from vidscale.jobs.pipeline import Outcome, decode
from vidscale.jobs.planning import plan_decode
from vidscale.jobs.restore import find_identity
from vidscale.media.file_identity import probe_identity
from vidscale.media.identity import Identity, extract, tag_from_metadata
from vidscale.media.probe import probe
from vidscale.media.timing import Timing
from vidscale.models.cards import find_pair_dir, read_card
from vidscale.report.files import write_report
from vidscale.report.reading import read_json
from vidscale.report.rows import Unpaired
from vidscale.stages.check import check_output

pytestmark = pytest.mark.slow

MILLISECOND = Fraction(1, 1000)
AAC_PACKET_S = Fraction(1024, 48000)
X264 = ["-c:v", "libx264", "-preset", "ultrafast"]
B_FRAMES = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "3"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources that several tests share; outputs go elsewhere."""
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="session")
def vfr(folder: Path) -> Path:
    """25 frames, 26 to 55 ms apart, in 1/90000 s, with B-frames and audio."""
    uneven = r"settb=1/90000,setpts=N*3600+mod(N*N*377\,1700)"
    words = ["-fps_mode", "passthrough", "-enc_time_base", "1/90000", "-video_track_timescale", "90000"]
    return make(folder / "vfr.mp4", *picture(then=uneven), *sound(), *B_FRAMES, *words, "-c:a", "aac")


@pytest.fixture(scope="session")
def vfr_mkv(folder: Path, vfr: Path) -> Path:
    """The same with every timestamp rounded to 1 ms."""
    return make(folder / "vfr.mkv", "-i", vfr, "-c", "copy")


@pytest.fixture(scope="session")
def long_gop(folder: Path) -> Path:
    """Two seconds with one keyframe, and audio."""
    return make(folder / "long.mp4", *picture(duration=2), *sound(2), *B_FRAMES, "-g", "50", "-c:a", "aac")


@pytest.fixture(scope="session")
def edited(folder: Path, long_gop: Path) -> Path:
    """The part from 0.7 s on, cut without encoding: an edit list hides the frames after the keyframe until there."""
    return make(folder / "edited.mp4", "-ss", "0.7", "-i", long_gop, "-c", "copy")


METADATA = """;FFMETADATA1
title=The film
artist=Nobody
mood=calm
creation_time=2021-03-04T05:06:07.000000Z
[CHAPTER]
TIMEBASE=1/1000
START=0
END=400
title=First
[CHAPTER]
TIMEBASE=1/1000
START=400
END=1000
title=Second
"""


@pytest.fixture(scope="session")
def texts(folder: Path) -> dict[str, Path]:
    """Tags and chapters, two subtitle tracks, an attachment, two covers."""
    files = {
        "metadata.txt": METADATA,
        "english.srt": "1\n00:00:00,100 --> 00:00:00,500\nhello\n\n2\n00:00:00,700 --> 00:00:00,900\nworld\n",
        "italian.srt": "1\n00:00:00,600 --> 00:00:00,900\nciao\n",
        "note.txt": "an attachment\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    for name in ("cover.png", "cover.jpg"):
        make(folder / name, *picture("32x32"), "-frames:v", "1")
    return {name: folder / name for name in (*files, "cover.png", "cover.jpg")}


STREAM_TAGS = [
    *("-metadata:s:v:0", "title=The picture", "-metadata:s:v:0", "language=fra"),
    *("-metadata:s:a:0", "title=Ton", "-metadata:s:a:0", "language=deu"),
    *("-metadata:s:s:0", "language=eng", "-metadata:s:s:1", "language=ita"),
]


@pytest.fixture(scope="session")
def rich_mkv(folder: Path, texts: dict[str, Path]) -> Path:
    """Everything that Matroska holds: two subtitle tracks, dispositions, chapters, tags, an attachment, cover art."""
    inputs = ["-i", texts["english.srt"], "-i", texts["italian.srt"], "-i", texts["metadata.txt"]]
    words = ["-map", 0, "-map", 1, "-map", 2, "-map", 3, "-map_metadata", 4, "-map_chapters", 4, *STREAM_TAGS]
    words += ["-disposition:a:0", "default+original", "-disposition:s:0", "default"]
    words += ["-disposition:s:1", "forced+hearing_impaired", "-metadata:s:s:1", "title=signs"]
    words += ["-attach", texts["note.txt"], "-metadata:s:t:0", "mimetype=text/plain"]
    words += ["-attach", texts["cover.png"], "-metadata:s:t:1", "mimetype=image/png"]
    return make(folder / "rich.mkv", *picture(), *sound(), *inputs, *X264, "-c:a", "aac", "-c:s", "srt", *words)


@pytest.fixture(scope="session")
def rich_mp4(folder: Path, texts: dict[str, Path]) -> Path:
    """Everything that MP4 holds: two text tracks, dispositions, chapters, tags, cover art."""
    inputs = ["-i", texts["english.srt"], "-i", texts["italian.srt"], "-i", texts["metadata.txt"]]
    inputs += ["-i", texts["cover.jpg"]]
    words = [word for stream in (0, 1, 2, 3, 5) for word in ("-map", stream)]
    words += ["-map_metadata", 4, "-map_chapters", 4, *STREAM_TAGS, "-disposition:v:1", "attached_pic"]
    words += ["-disposition:s:0", "default", "-disposition:s:1", "forced"]
    codecs = ["-c:v:0", "libx264", "-preset", "ultrafast", "-c:v:1", "copy", "-c:a", "aac", "-c:s", "mov_text"]
    return make(folder / "rich.mp4", *picture(), *sound(), *inputs, *codecs, *words)


def chapters(path: Path) -> list[tuple[float, float, str]]:
    """Start, end and title of each chapter."""
    with av.open(str(path)) as container:
        return [
            (float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"]), c["metadata"]["title"])
            for c in container.chapters()
        ]


# Timestamps


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("late", ["video", "audio"])
def test_streams_that_start_apart_stay_apart(container: str, late: str, folder: Path, tmp_path: Path) -> None:
    delay = ["-itsoffset", "0.507"]
    video, audio = picture(), sound()
    inputs = [*delay, *video, *audio] if late == "video" else [*video, *delay, *audio]
    source = make(folder / f"late_{late}.{container}", *inputs, *B_FRAMES, "-fps_mode", "passthrough", "-c:a", "aac")
    starts = [min(packet_times(source, stream)) for stream in (0, 1)]
    apart = starts[0] - starts[1] if late == "video" else starts[1] - starts[0]
    assert apart > Fraction(4, 10)  # the source is what the test is about

    small = coded(source, tmp_path / f"small.{container}")

    assert shown_times(small) == shown_times(source)
    assert packet_times(small, 1) == packet_times(source, 1)
    assert packet_data(small, 1) == packet_data(source, 1)


@pytest.mark.parametrize("late", ["video", "audio"])
def test_streams_that_start_apart_stay_apart_in_another_container(late: str, folder: Path, tmp_path: Path) -> None:
    delay = ["-itsoffset", "0.507"]
    inputs = [*delay, *picture(), *sound()] if late == "video" else [*picture(), *delay, *sound()]
    source = make(folder / f"apart_{late}.mp4", *inputs, *B_FRAMES, "-fps_mode", "passthrough", "-c:a", "aac")
    for container in ("mkv", "ts"):
        small = coded(source, tmp_path / f"small.{container}")
        moved = [b - a for a, b in zip(shown_times(source), shown_times(small), strict=True)]
        moved += [b - a for a, b in zip(packet_times(source, 1), packet_times(small, 1), strict=True)]
        assert max(map(abs, moved)) <= MILLISECOND / 2


@pytest.mark.parametrize("codec", ["x264", "x265", "svtav1"])
@pytest.mark.parametrize(
    ("origin", "container"), [("vfr", "mp4"), ("vfr", "mkv"), ("vfr_mkv", "mkv"), ("vfr_mkv", "mp4")]
)
def test_varying_frame_rate_keeps_every_timestamp(
    codec: str, origin: str, container: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source: Path = request.getfixturevalue(origin)
    wanted = shown_times(source)
    gaps = {b - a for a, b in pairwise(wanted)}
    assert len(wanted) == 25
    assert len(gaps) > 10
    preset = {"x264": "veryfast", "x265": "veryfast", "svtav1": "8"}[codec]

    small = coded(source, tmp_path / f"small.{container}", codec=codec, preset=preset)

    found = shown_times(small)
    rounded = origin == "vfr" and container == "mkv"
    error = max(abs(a - b) for a, b in zip(wanted, found, strict=True))
    assert error <= (MILLISECOND / 2 if rounded else 0)
    with av.open(str(small)) as opened:
        assert any(p.pts != p.dts for p in opened.demux(video=0) if p.size) == (codec != "svtav1")  # B-frames


def moved(source: Path, written: Path) -> int:
    """How many frames have another timestamp than in the source."""
    return sum(a != b for a, b in zip(shown_times(source), shown_times(written), strict=True))


def rounded(outcome: Outcome) -> list[str]:
    """The notes about rounded timestamps."""
    return [note for note in outcome.notes if "Matroska stores timestamps in ms" in note]


@pytest.mark.parametrize("container", ["mkv", "webm", "mp4", "ts"])
@pytest.mark.parametrize("rate", ["25", "30", "30000/1001", "62.5", "vfr"])
def test_rounded_timestamps_are_said_once(rate: str, container: str, vfr: Path, tmp_path: Path) -> None:
    source = vfr if rate == "vfr" else make(tmp_path / "source.mp4", *picture(rate=rate, duration=2), *X264)
    outcome = coding(source, tmp_path / f"small.{container}", codec="svtav1" if container == "webm" else "x264")
    count = moved(source, outcome.path)
    assert (count > 0) == (container in ("mkv", "webm") and rate not in ("25", "62.5"))
    expected = f"Matroska stores timestamps in ms: those of {count} frames are rounded"
    assert rounded(outcome) == ([expected] if count else [])


def test_rounded_timestamps_of_a_restored_file(tmp_path: Path) -> None:
    source = make(tmp_path / "source.mp4", *picture(rate=30), *X264)
    exact, in_ms = coded(source, tmp_path / "exact.mp4"), coded(source, tmp_path / "in_ms.mkv")
    settings = DecodeSettings(lossless=True)
    of_exact, of_rounded = (decode(plan_decode(path, None, settings)) for path in (exact, in_ms))
    assert moved(exact, of_exact.path) == 20
    assert [note.split(": ")[1] for note in rounded(of_exact)] == ["those of 20 frames are rounded"]
    assert moved(in_ms, of_rounded.path) == 0
    assert rounded(of_rounded) == []


def test_time_base_of_the_source_is_in_the_identity(vfr: Path, tmp_path: Path) -> None:
    assert plan(vfr, tmp_path / "small.mkv").identity.time_base == "1/90000"


@pytest.mark.parametrize("container", ["mkv", "mp4"])
def test_frames_that_matroska_cannot_tell_apart(container: str, folder: Path, tmp_path: Path) -> None:
    """Every second frame follows the one before by a third of a millisecond."""
    near = "settb=1/90000,setpts=3000*trunc(N/2)+30*mod(N\\,2)"
    words = ["-vf", near, "-fps_mode", "passthrough", "-enc_time_base", "demux", "-video_track_timescale", "90000"]
    source = make(folder / "near.mp4", *picture(duration=0.3), *words, *X264)
    wanted = shown_times(source)
    assert min(b - a for a, b in pairwise(wanted)) < MILLISECOND / 2
    if container == "mkv":
        with pytest.raises(EncodeError, match=r"would get the same timestamp in \.mkv"):
            coded(source, tmp_path / "small.mkv")
        assert not list(tmp_path.iterdir())
    else:
        assert shown_times(coded(source, tmp_path / "small.mp4")) == wanted


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_edit_list_that_hides_frames_is_honoured(container: str, edited: Path, tmp_path: Path) -> None:
    shown = int(ffmpeg("-i", edited, "-map", "0:v", "-f", "framemd5", "-").count(b"\n0,"))
    assert len(packet_data(edited, 0)) > shown  # there is something to hide

    small = coded(edited, tmp_path / f"small.{container}", crf=1)

    assert shown_times(small) == shown_times(edited)
    assert len(packet_data(small, 0)) == len(shown_times(edited)) == shown
    heard = [ffmpeg("-i", path, "-map", "0:a", "-f", "s16le", "-") for path in (edited, small)]
    assert heard[0] == heard[1]
    first, last = (pixels(path, "gray", (48, 64))[[0, -1]].astype(int) for path in (edited, small))
    assert abs(first - last).mean() < 2  # the same pictures, not their neighbours


@pytest.mark.parametrize(
    ("name", "rate", "options", "time_base"),
    [
        ("ntsc.mp4", "30000/1001", ["-video_track_timescale", "30000"], "1/30000"),
        ("fine.mp4", "24", ["-video_track_timescale", "90000"], "1/90000"),
        ("film.mov", "24000/1001", ["-video_track_timescale", "24000"], "1/24000"),
        ("ms.mkv", "60000/1001", [], "1/1000"),
        ("broadcast.ts", "50", [], "1/90000"),
        ("h264.avi", "30000/1001", [], "1001/30000"),
    ],
)
def test_time_base_is_kept(
    name: str, rate: str, options: list[str], time_base: str, folder: Path, tmp_path: Path
) -> None:
    source = make(folder / name, *picture(rate=rate), *sound(), *B_FRAMES, *options, "-c:a", "libmp3lame")
    with av.open(str(source)) as opened:
        assert opened.streams.video[0].time_base == Fraction(time_base)
    decided = plan(source, tmp_path / f"small{source.suffix.replace('avi', 'mp4')}")
    assert decided.identity.time_base == time_base

    small = coded(source, decided.output.path)

    # PyAV reads wrong timestamps out of AVI; ffmpeg numbers the decoded pictures as a player does.
    words = ["-map", "0:v", "-fps_mode", "passthrough", "-enc_time_base", "demux"]
    lines = ffmpeg("-copyts", "-i", source, *words, "-f", "framecrc", "-").splitlines()
    ticks = [int(line.split(b",")[2]) for line in lines if line.startswith(b"0,")]
    assert shown_times(small) == [tick * Fraction(time_base) for tick in ticks]
    assert packet_data(small, 1) == packet_data(source, 1)


@pytest.mark.parametrize("container", ["ts", "mp4", "mkv"])
def test_source_that_starts_before_zero_is_moved_as_a_whole(container: str, folder: Path, tmp_path: Path) -> None:
    # MPEG-TS counts to 2**33 and starts again; what lies before the turn is negative.
    words = ["-output_ts_offset", "95441.8", *B_FRAMES, "-c:a", "aac"]
    source = make(folder / "turn.ts", *picture(), *sound(), *words)
    times = shown_times(source)
    assert times[0] < -Fraction(4, 10)
    assert times[-1] > 0
    decided = plan(source, tmp_path / f"small.{container}")

    outcome = coding(source, tmp_path / f"small.{container}")

    told = f"starts at {float(times[0]):.3f} s: all streams were shifted to start at 0"
    assert any(told in note for note in outcome.notes)
    assert shown_times(outcome.path) == [t - times[0] for t in times]
    moved = [b - a + times[0] for a, b in zip(packet_times(source, 1), packet_times(outcome.path, 1), strict=True)]
    assert max(map(abs, moved)) <= MILLISECOND / 2
    report = evaluate_encode(decided, outcome)
    assert (len(report.rows), report.unpaired) == (25, Unpaired())


def test_decode_keeps_timestamps_and_sound(vfr: Path, tmp_path: Path) -> None:
    small = coded(vfr, tmp_path / "small.mp4", scale="2")
    for path in (restored(small), restored(small, lossless=True)):
        error = max(abs(a - b) for a, b in zip(shown_times(vfr), shown_times(path), strict=True))
        assert error <= (MILLISECOND / 2 if path.suffix == ".mkv" else 0)
        assert packet_data(path, 1) == packet_data(vfr, 1)


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
def test_written_file_is_checked(container: str, long_gop: Path, tmp_path: Path) -> None:
    whole = make(tmp_path / f"whole.{container}", "-i", long_gop, "-map", "0:v", "-c", "copy")
    times = shown_times(whole)
    pts = array("q", [int(t * 90000) for t in times])
    timing = Timing(pts, pts[-1] + 3600, Fraction(1, 90000))
    check_output(whole, stream_index=0, timing=timing)
    with pytest.raises(EncodeError, match="51 frames were encoded, but 50 are in the output"):
        check_output(whole, stream_index=0, timing=replace(timing, pts=array("q", [*pts, pts[-1] + 3600])))
    with pytest.raises(EncodeError, match=r"timestamps in the output are off by up to 0\.0010"):
        check_output(whole, stream_index=0, timing=replace(timing, pts=array("q", [*pts[:-1], pts[-1] + 90])))
    if container != "ts":  # which says nothing of it
        with pytest.raises(EncodeError, match=r"the last frame in the output ends -1\.000000 s from the expected time"):
            check_output(whole, stream_index=0, timing=replace(timing, until=pts[-1] + 3600 + 90000))
    data = bytearray(whole.read_bytes())
    last = data.rindex(packet_data(whole, 0)[-1][-20:]) if container != "ts" else len(data) - 200
    data[last - 200 : last + 20] = bytes(220)
    broken = tmp_path / f"broken.{container}"
    broken.write_bytes(data)
    with pytest.raises(EncodeError, match=r"frames were encoded, but|does not decode|cannot be read back"):
        check_output(broken, stream_index=0, timing=timing)


# A part of the source


@pytest.mark.parametrize("name", ["part.mp4", "part.mkv", "part.ts"])
@pytest.mark.parametrize(
    ("text", "start", "end"), [("0.25:1.3", "0.25", "1.3"), ("0.4:", "0.4", "9"), (":0.52", "0", "0.52")]
)
def test_range_is_exact_to_the_frame(
    name: str, text: str, start: str, end: str, folder: Path, long_gop: Path, tmp_path: Path
) -> None:
    source = folder / name
    if not source.exists():
        make(source, "-i", long_gop, "-c", "copy", "-copyts")
    times = shown_times(source)
    with av.open(str(source)) as opened:
        first = Fraction(opened.start_time, 1_000_000)
    wanted = [t for t in times if Fraction(start) <= t - first < Fraction(end)]
    assert 0 < len(wanted) < len(times)

    small = coded(source, tmp_path / name, range=text, crf=1)

    assert shown_times(small) == [t - wanted[0] for t in wanted]
    index = times.index(wanted[0])
    ours, theirs = (pixels(path, "gray", (48, 64)).astype(int) for path in (small, source))
    assert abs(ours - theirs[index : index + len(wanted)]).mean() < 2
    heard, all_packets, data = packet_times(small, 1), packet_times(source, 1), packet_data(source, 1)
    assert -AAC_PACKET_S < heard[0] <= AAC_PACKET_S + MILLISECOND
    stop = min(wanted[-1] + Fraction(1, 25), first + Fraction(end), all_packets[-1] + AAC_PACKET_S) - wanted[0]
    assert abs(heard[-1] + AAC_PACKET_S - stop) < 2 * AAC_PACKET_S
    for time, packet in zip(heard, packet_data(small, 1), strict=True):
        moved = abs(all_packets[data.index(packet)] - wanted[0] - time)
        assert moved <= MILLISECOND


def test_range_moves_chapters_and_keeps_cover_art(rich_mp4: Path, rich_mkv: Path, tmp_path: Path) -> None:
    for source in (rich_mp4, rich_mkv):
        small = coded(source, tmp_path / f"small{source.suffix}", range="0.2:0.8")
        assert len(shown_times(small)) == 15
        assert chapters(small)[0] == (0, pytest.approx(0.2), "First")
        assert chapters(small)[1][0] == pytest.approx(0.2)
        assert chapters(small)[1][2] == "Second"
        assert cover(small) == cover(source)
        assert small.suffix == ".mp4" or packet_times(small, 3) == [Fraction(4, 10)]  # one subtitle, 0.6 s before
        late = coded(source, tmp_path / f"late{source.suffix}", range="0.5:")
        assert [title for _, _, title in chapters(late)] == ["Second"]


# Other streams and tags


def test_everything_in_matroska_is_kept(rich_mkv: Path, tmp_path: Path) -> None:
    decided = plan(rich_mkv, tmp_path / "small.mkv", strict=True)
    assert decided.notes == ()
    small = coded(rich_mkv, tmp_path / "small.mkv", strict=True)
    assert kinds(small) == kinds(rich_mkv)
    assert dispositions(small) == dispositions(rich_mkv)
    assert chapters(small) == chapters(rich_mkv) != []
    for stream in (1, 2, 3):
        assert packet_data(small, stream) == packet_data(rich_mkv, stream) != []
        assert packet_times(small, stream) == packet_times(rich_mkv, stream)
        assert stream_tags(small, stream) == stream_tags(rich_mkv, stream)
    for key in ("title", "artist", "mood", "creation_time"):
        assert tags(small)[key] == tags(rich_mkv)[key]
    assert stream_tags(small, 0)["title"] == "The picture"
    assert stream_tags(small, 0)["language"] == "fra"
    assert "encoder" not in stream_tags(small, 0)  # the source's encoder
    for path in (rich_mkv, small):
        ffmpeg("-dump_attachment:t:0", tmp_path / f"{path.stem}.txt", "-i", path, "-t", "0", "-f", "null", "-")
    assert (tmp_path / "rich.txt").read_text() == (tmp_path / "small.txt").read_text() == "an attachment\n"
    assert stream_tags(small, 4) == {"filename": "note.txt", "mimetype": "text/plain"}
    assert stream_tags(small, 5) == {"filename": "cover.png", "mimetype": "image/png"}
    assert cover(small) == cover(rich_mkv)


def test_everything_in_mp4_is_kept(rich_mp4: Path, tmp_path: Path) -> None:
    decided = plan(rich_mp4, tmp_path / "small.mp4", strict=True)
    assert decided.notes == ()
    small = coded(rich_mp4, tmp_path / "small.mp4", strict=True)
    assert kinds(small) == kinds(rich_mp4)
    assert dispositions(small) == dispositions(rich_mp4)
    assert chapters(small) == chapters(rich_mp4) != []
    for stream in (1, 2, 3):
        assert packet_data(small, stream) == packet_data(rich_mp4, stream) != []
        assert packet_times(small, stream) == packet_times(rich_mp4, stream)
        assert stream_tags(small, stream) == stream_tags(rich_mp4, stream)
    for key in ("title", "artist", "creation_time"):
        assert tags(small)[key] == tags(rich_mp4)[key]
    assert stream_tags(small, 0)["name"] == stream_tags(rich_mp4, 0)["name"] == "The picture"
    assert stream_tags(small, 0)["language"] == "fra"
    assert stream_tags(small, 1)["name"] == "Ton"
    assert cover(small) == cover(rich_mp4)


def test_free_tags_are_kept_in_mp4(folder: Path, texts: dict[str, Path], tmp_path: Path) -> None:
    words = ["-map", 0, "-map", 1, "-map_metadata", 2, "-movflags", "use_metadata_tags"]
    source = make(folder / "tagged.mp4", *picture(), *sound(), "-i", texts["metadata.txt"], *X264, *words)
    assert tags(source)["mood"] == "calm"
    small = coded(source, tmp_path / "small.mp4", strict=True)
    assert tags(small)["mood"] == "calm"
    assert tags(small)["title"] == "The film"


def test_cover_art_changes_container(rich_mp4: Path, rich_mkv: Path, tmp_path: Path) -> None:
    for source, name in ((rich_mp4, "small.mkv"), (rich_mkv, "small.mp4")):
        small = coded(source, tmp_path / name)
        assert "attached_pic" in dispositions(small)[-1]
        assert cover(small) == cover(source)
        title = stream_tags(small, 1)["title" if name == "small.mkv" else "name"]
        assert title == "Ton"


@pytest.mark.parametrize(
    ("origin", "name", "codec", "missing"),
    [
        ("rich_mkv", "o.mp4", "x264", ["subtitle stream 2 (subrip, eng)", "subtitle stream 3", "attachment"]),
        ("rich_mp4", "o.mkv", "x264", ["subtitle stream 2 (mov_text, eng)", "subtitle stream 3 (mov_text, ita)"]),
        ("rich_mp4", "o.mov", "x264", ["video stream 5 (mjpeg)"]),
        (
            "rich_mkv",
            "o.ts",
            "x264",
            ["subtitle stream 2", "attachment", "video stream 5", "chapters", "title", "mood"],
        ),
        ("rich_mkv", "o.webm", "svtav1", ["audio stream 1 (aac, deu)", "subtitle", "attachment", "video stream 5"]),
    ],
)
def test_what_another_container_cannot_hold_is_named(
    origin: str, name: str, codec: str, missing: list[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source: Path = request.getfixturevalue(origin)
    decided = plan(source, tmp_path / name, codec=codec)
    (note,) = [note for note in decided.notes if note.startswith("the output does not hold: ")]
    for words in missing:
        assert words in note
    with pytest.raises(ConfigError, match="--strict refuses to lose: ") as refused:
        plan(source, tmp_path / name, codec=codec, strict=True)
    assert missing[0] in str(refused.value)

    small = coded(source, tmp_path / name, codec=codec)

    # Nothing is missing that was not named, nor named and there all the same.
    kept = len(kinds(small)) - sum(kind == "data -" for kind in kinds(small))  # MP4's chapters are a track of text
    wanted = len(kinds(source)) - sum(kind == "data -" for kind in kinds(source))
    assert kept == wanted - note.count(" stream ")
    assert bool(chapters(small)) == ("chapters" not in note)
    for tag in ("title", "mood"):
        assert (tag in tags(small)) == (tag in tags(source) and f" {tag}" not in note)


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "ts"])
def test_flags_of_streams_are_kept_or_named(container: str, folder: Path, tmp_path: Path) -> None:
    flags = ["forced", "original", "hearing_impaired", "visual_impaired", "dub", "comment"]
    words = [word for i, flag in enumerate(flags, start=1) for word in ("-map", "1:a", f"-disposition:{i}", flag)]
    source = make(folder / "flags.mkv", *picture(), *sound(), "-map", "0:v", *words, *X264, "-c:a", "aac")
    assert dispositions(source)[1:] == [{flag} for flag in flags]
    decided = plan(source, tmp_path / f"out.{container}")

    found = dispositions(coded(source, tmp_path / f"out.{container}"))

    for index, flag in enumerate(flags, start=1):
        named = any(f"the flag {flag} of audio {index}" in note for note in decided.notes)
        assert (flag in found[index]) != named


def test_webm_becomes_matroska_with_h264_and_stays_webm_with_av1(folder: Path, tmp_path: Path) -> None:
    source = make(folder / "film.webm", *picture(), *sound(), "-c:v", "libvpx", "-c:a", "libopus")
    decided = plan(source)
    assert decided.output.path == source.with_name("film.vs1.mkv")
    assert ".webm cannot hold h264; the output is Matroska" in decided.notes
    small = coded(source, tmp_path / "small.mkv")
    assert kinds(small) == ["video h264", "audio opus"]
    assert packet_data(small, 1) == packet_data(source, 1)
    assert packet_times(small, 1) == packet_times(source, 1)

    decided = plan(source, codec="svtav1")
    assert (decided.output.path, decided.notes) == (source.with_name("film.vs1.webm"), ())
    small = coded(source, tmp_path / "small.webm", codec="svtav1")
    assert described(small).count("matroska,webm") == 1
    assert kinds(small) == ["video av1", "audio opus"]
    assert packet_data(small, 1) == packet_data(source, 1)


def test_avi_becomes_matroska(folder: Path, tmp_path: Path) -> None:
    words = ["-c:v", "mpeg4", "-bf", "2", "-c:a", "libmp3lame"]
    source = make(folder / "film.avi", *picture(rate="30000/1001"), *sound(), *words)
    decided = plan(source)
    assert decided.output.path == source.with_name("film.vs1.mkv")
    assert ".avi cannot be written; the output is Matroska" in decided.notes
    small = coded(source, tmp_path / "small.mkv", crf=1)
    assert packet_data(small, 1) == packet_data(source, 1)
    ours, theirs = (pixels(path, "gray", (48, 64)).astype(int) for path in (small, source))
    assert abs(ours - theirs).mean() < 2


def test_container_that_cannot_hold_the_codec_is_refused(rich_mkv: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.webm cannot hold h264 video; use \.mkv"):
        plan(rich_mkv, tmp_path / "o.webm")
    with pytest.raises(ConfigError, match=r"\.mov cannot hold av1 video; use \.mkv"):
        plan(rich_mkv, tmp_path / "o.mov", codec="svtav1")
    with pytest.raises(ConfigError, match=r"cannot write \.avi"):
        plan(rich_mkv, tmp_path / "o.avi")


@pytest.fixture(scope="session")
def two_videos(folder: Path) -> Path:
    """Two video streams, audio, and a data stream that ffmpeg's TS muxer accepts but nothing plays."""
    (folder / "data.bin").write_bytes(bytes(100))
    inputs = [*picture(), *picture("80x48", rate=10), *sound(), "-f", "data", "-i", folder / "data.bin"]
    words = [word for stream in range(4) for word in ("-map", stream)]
    return make(folder / "two.ts", *inputs, *words, *X264, "-c:a", "aac", "-c:d", "copy")


@pytest.mark.parametrize(("chosen", "other", "size"), [(0, 1, (64, 48)), (1, 0, (80, 48))])
def test_one_of_two_video_streams_is_coded_the_other_copied(
    chosen: int, other: int, size: tuple[int, int], two_videos: Path, tmp_path: Path
) -> None:
    decided = plan(two_videos, tmp_path / "small.ts", codec="x265", stream=str(chosen))
    assert "the output does not hold: data stream 3 (none)" in decided.notes
    small = coded(two_videos, tmp_path / "small.ts", codec="x265", stream=str(chosen))
    assert sorted(kinds(small)) == ["audio aac", "video h264", "video hevc"]
    assert kinds(small)[chosen] == "video hevc"
    assert packet_data(small, other) == packet_data(two_videos, other)
    assert packet_times(small, other) == packet_times(two_videos, other)
    assert shown_times(small, chosen) == shown_times(two_videos, chosen)
    with av.open(str(small)) as opened:
        stream = opened.streams.video[chosen]
        assert (stream.width, stream.height) == size


def test_restoring_finds_the_coded_one_of_two_video_streams(two_videos: Path, tmp_path: Path) -> None:
    small = coded(two_videos, tmp_path / "small.ts", scale="2", stream="1", codec="x265")
    path = restored(small, tmp_path / "restored.ts")
    with av.open(str(path)) as opened:
        sizes = [(stream.width, stream.height) for stream in opened.streams.video]
    assert sizes == [(64, 48), (80, 48)]
    assert packet_data(path, 0) == packet_data(two_videos, 0)


@pytest.mark.parametrize("first", ["80x48", "40x24"])
def test_the_coded_stream_is_found_where_the_tag_fits_another(first: str, folder: Path, tmp_path: Path) -> None:
    """The second of two streams is encoded; the first has its size, or that of the small picture."""
    inputs = [*picture(first), *picture("80x48", rate=10)]
    source = make(folder / f"two_{first}.mkv", *inputs, "-map", "0", "-map", "1", *X264)
    small = coded(source, tmp_path / "small.mkv", scale="2", stream="1")
    assert find_identity(small)[1] == 1
    path = restored(small, tmp_path / "restored.mkv")
    with av.open(str(path)) as opened:
        sizes = [f"{stream.width}x{stream.height}" for stream in opened.streams.video]
    assert sizes == [first, "80x48"]
    assert packet_data(path, 0) == packet_data(source, 0)


def test_video_stream_that_is_not_there_is_refused(two_videos: Path) -> None:
    with pytest.raises(Exception, match=r"no video stream v:2, only v:0 to v:1$"):
        plan(two_videos, stream="2")


def test_phone_file_with_two_video_and_two_data_streams(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "odd" / "motionphoto_two_video_streams.mp4"
    decided = plan(source, tmp_path / "small.mp4", scale="4", stream="1")
    assert "data stream 2 (mett, eng), data stream 3 (mett, eng)" in "".join(decided.notes)
    small = coded(source, tmp_path / "small.mp4", scale="4", stream="1")
    assert packet_data(small, 0) == packet_data(source, 0)
    assert tags(small)["creation_time"] == tags(source)["creation_time"]
    assert described(small).count("rotation of -90.00 degrees") == 2


def test_timecode_track_is_kept(folder: Path, tmp_path: Path) -> None:
    source = make(folder / "timecode.mov", *picture(), *sound(), "-timecode", "01:02:03:04", *X264, "-c:a", "pcm_s16le")
    for name in ("small.mov", "small.mp4"):
        small = coded(source, tmp_path / name)
        assert stream_tags(small, 0)["timecode"] == "01:02:03:04"
    assert packet_data(coded(source, tmp_path / "again.mov"), 1) == packet_data(source, 1)


# Identity and report


@pytest.mark.parametrize("codec", ["x264", "x265", "svtav1"])
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_identity_is_in_every_keyframe_and_in_the_tag(
    codec: str, container: str, long_gop: Path, tmp_path: Path
) -> None:
    params = {"x264": "keyint=10", "x265": "keyint=10:min-keyint=10", "svtav1": "keyint=10"}[codec]
    decided = plan(long_gop, tmp_path / f"small.{container}", codec=codec, scale="1.5", crf=30, encoder_params=params)
    small = coded(long_gop, decided.output.path, codec=codec, scale="1.5", crf=30, encoder_params=params)
    with av.open(str(small)) as opened:
        stream = opened.streams.video[0]
        name: Any = stream.codec_context.codec.canonical_name
        extradata = stream.codec_context.extradata
        packets = [p for p in opened.demux(stream) if p.size]
        found = [extract(memoryview(p), codec=name, extradata=extradata) for p in packets]
        keys = [p.is_keyframe for p in packets]
        assert tag_from_metadata(opened.metadata) == decided.identity
    in_band = decided.identity.model_copy(update={"tool": ""})  # who wrote it stands in the tag alone
    assert [identity == in_band for identity in found] == keys
    assert 3 <= sum(keys) < len(keys)
    assert decided.identity == Identity(
        pair="adaptive-x1.5",
        sha256=read_card(find_pair_dir("adaptive-x1.5")).sha256,
        scale="3/2",
        width=64,
        height=48,
        coded_width=44 if codec != "x265" else 64,
        coded_height=32,
        crf=30,
        codec={"x264": "h264", "x265": "hevc", "svtav1": "av1"}[codec],
        time_base="1/12800",
        chroma_location="left",
        chroma="420",
        tool=decided.identity.tool,
    )
    assert decided.identity.tool.startswith("vidscale ")


@pytest.mark.parametrize("container", ["mp4", "mov"])
def test_h265_is_tagged_hvc1_and_a_copied_stream_keeps_its_tag(container: str, folder: Path, tmp_path: Path) -> None:
    two = [*picture(), *picture("80x48"), "-map", "0", "-map", "1", "-c:v:0", "libx264", "-c:v:1", "libx265"]
    source = make(folder / f"hev1.{container}", *two, "-tag:v:1", "hev1", "-x265-params", "log-level=error")
    small = coded(source, tmp_path / f"small.{container}", codec="x265", encoder_params="repeat-headers=1")
    for path in (small, restored(small, codec="x265")):
        assert "(hvc1 / " in stream_line(path, 0)
        assert "(hev1 / " in stream_line(path, 1)
        with av.open(str(path)) as file:
            assert {32, 33, 34} <= set(hvcc_units(file.streams[0].codec_context.extradata))
        for packet in packet_data(path, 0):  # ISO/IEC 14496-15: hvc1 has its parameter sets there and nowhere else
            assert not {32, 33, 34} & set(hevc_units(packet))
    assert 39 in hevc_units(packet_data(small, 0)[0])
    said = tag_from_metadata(tags(small))
    assert said is not None
    assert probe_identity(small) == said.model_copy(update={"tool": ""})


def hvcc_units(record: bytes) -> list[int]:
    """NAL_unit_type of each array of a configuration record (ISO/IEC 14496-15, 8.3.3.1)."""
    kinds, at = [], 23
    for _ in range(record[22]):
        kinds.append(record[at] & 63)
        count, at = int.from_bytes(record[at + 1 : at + 3], "big"), at + 3
        for _ in range(count):
            at += 2 + int.from_bytes(record[at : at + 2], "big")
    return kinds


def hevc_units(packet: bytes) -> list[int]:
    """nal_unit_type of each unit of a packet with lengths of four bytes."""
    kinds, at = [], 0
    while at < len(packet):
        kinds.append(packet[at + 4] >> 1 & 63)
        at += 4 + int.from_bytes(packet[at : at + 4], "big")
    return kinds


def test_default_names(vfr: Path, vfr_mkv: Path, tmp_path: Path) -> None:
    assert plan(vfr, scale="2").output.path == vfr.with_name("vfr.vs2.mp4")
    assert plan(vfr_mkv, scale="3/2").output.path == vfr.with_name("vfr.vs1.5.mkv")
    assert plan(vfr, scale="4/3").output.path == vfr.with_name("vfr.vs4-3.mp4")
    assert plan(vfr, scale="2").report_dir == vfr.with_name("vfr.vs2.mp4.report")
    small = coded(vfr, tmp_path / "movie.vs2.mp4", scale="2")
    assert restored(small) == tmp_path / "movie.restored.mp4"
    assert restored(small, lossless=True) == tmp_path / "movie.restored.mkv"


def test_pair_that_disagrees_with_the_scale_is_a_usage_error(vfr: Path) -> None:
    with pytest.raises(UsageError, match="'lanczos-x2' is made for scale 2, not for 3"):
        plan(vfr, pair="lanczos-x2", scale="3")
    result = CliRunner().invoke(app, ["encode", str(vfr), "--pair", "lanczos-x2", "--scale", "3"])
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line == "vidscale: pair 'lanczos-x2' is made for scale 2, not for 3"


def test_command_line_writes_file_and_report_beside_the_source(vfr: Path, tmp_path: Path) -> None:
    movie = Path(shutil.copy(vfr, tmp_path / "movie.mp4"))
    result = CliRunner().invoke(
        app, ["encode", str(movie), "--scale", "2", "--crf", "30", "--preset", "ultrafast", "--no-verdict", "--json"]
    )
    record = json.loads(result.stdout)
    assert (record["event"], record["frames"], record["unreadable_frames"]) == ("encoded", 25, 0)
    assert Path(record["output"]) == tmp_path / "movie.vs2.mp4"
    assert Path(record["report"]) == tmp_path / "movie.vs2.mp4.report"
    assert record["bytes"] == (tmp_path / "movie.vs2.mp4").stat().st_size
    report = json.loads((tmp_path / "movie.vs2.mp4.report" / "report.json").read_text())
    assert report["totals"] == record["totals"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["movie.mp4", "movie.vs2.mp4", "movie.vs2.mp4.report"]


def test_report_has_the_right_totals(vfr: Path, tmp_path: Path) -> None:
    settings = {"scale": "2", "crf": 30}
    decided = plan(vfr, tmp_path / "small.mp4", **settings)
    outcome = coding(vfr, tmp_path / "small.mp4", **settings)
    write_report(evaluate_encode(decided, outcome), decided.report_dir)

    report = json.loads((tmp_path / "small.mp4.report" / "report.json").read_text())
    times = shown_times(vfr)
    packets = packet_data(outcome.path, 0)
    with av.open(str(vfr)) as container:
        stream = container.streams.video[0]
        duration = stream.duration * stream.time_base  # type: ignore[operator]
    assert report["totals"]["frames"] == len(report["frames"]) == len(times)
    assert [Fraction(frame["pts_s_exact"]) for frame in report["frames"]] == times
    assert report["unpaired"]["ref_only_pts_s"] == report["unpaired"]["dist_only_pts_s"] == []
    assert sum(frame["bytes"] for frame in report["frames"]) == sum(map(len, packets))
    assert report["totals"]["bitrate_kbps"] == pytest.approx(sum(map(len, packets)) * 8 / 1000 / float(duration))
    assert report["totals"]["bpp"] == pytest.approx(sum(map(len, packets)) * 8 / (64 * 48 * len(times)))
    assert report["totals"]["size_ratio"] == pytest.approx(outcome.path.stat().st_size / vfr.stat().st_size)
    assert report["distorted"]["coded_width"] == 32
    assert report["settings"]["scale"] == "2"
    assert read_json(tmp_path / "small.mp4.report" / "report.json").rows[0].bytes in map(len, packets)


@pytest.mark.parametrize("variant", [0, 1])
@pytest.mark.parametrize("sounds", ["own", "shared"])
def test_one_variant_of_an_hls_playlist_is_kept_with_its_audio(sounds: str, variant: int, tmp_path: Path) -> None:
    """A master playlist has the same movie in several qualities: they are no further tracks of the output."""
    frequencies = (440, 880) if sounds == "own" else (440,)
    inputs = [*picture("128x96"), *picture("64x48"), *(word for f in frequencies for word in sound(frequency=f))]
    maps = [word for number in range(2 + len(frequencies)) for word in ("-map", str(number))]
    streams = "v:0,a:0 v:1,a:1" if sounds == "own" else "v:0,agroup:a v:1,agroup:a a:0,agroup:a"
    hls = ["-var_stream_map", streams, "-master_pl_name", "master.m3u8", "-f", "hls", "-hls_time", "10"]
    make(tmp_path / "%v.m3u8", *inputs, *maps, *X264, "-c:a", "aac", *hls)
    master = tmp_path / "master.m3u8"
    program = make(tmp_path / "program.mkv", "-i", master, "-map", f"0:p:{variant}", "-c", "copy")
    assert sorted(kinds(program)) == ["audio aac", "video h264"]  # ffmpeg's own choice of the streams of a variant

    decided = plan(master, tmp_path / "small.mkv", stream=variant, strict=True)
    width = (128, 64)[variant]
    assert f"the one of {width}x{width * 3 // 4} is read, the others are left out" in " ".join(decided.notes)
    small = coded(master, tmp_path / "small.mkv", stream=variant)
    assert sorted(kinds(small)) == ["audio aac", "video h264"]
    assert probe(small).video.width == width
    audio, expected = (packet_data(path, kinds(path).index("audio aac")) for path in (small, program))
    assert audio == expected
    assert not any("variant_bitrate" in key.lower() for key in stream_tags(small, kinds(small).index("video h264")))


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_name_of_an_hls_track_becomes_its_title(suffix: str, tmp_path: Path) -> None:
    maps = ["-map", "0", "-map", "1", *X264, "-c:a", "aac"]
    hls = ["-var_stream_map", "v:0,agroup:a a:0,agroup:a,name:English", "-master_pl_name", "master.m3u8", "-f", "hls"]
    make(tmp_path / "%v.m3u8", *picture("64x48"), *sound(), *maps, *hls)
    master = tmp_path / "master.m3u8"
    named = re.sub(r'NAME="[^"]*"', 'NAME="Director"', master.read_text())
    master.write_text(named)
    decided = plan(master, tmp_path / f"small.{suffix}", strict=True)
    assert not any("does not hold" in note for note in decided.notes)
    small = coded(master, tmp_path / f"small.{suffix}")
    tags_of_audio = stream_tags(small, kinds(small).index("audio aac"))
    assert (tags_of_audio.get("title") or tags_of_audio.get("name")) == "Director"

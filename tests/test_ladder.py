"""`vidscale ladder`: playlists and segments by ffprobe and ffmpeg, keyframes, codec strings, errors."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from material import FFMPEG, Codes, ffmpeg, make, picture, restored, shown_times, sound
from robustness import content, documented, message, run_here

from vidscale import api
from vidscale.config import LadderSettings
from vidscale.config.ladder import OF_ONE_FILE
from vidscale.errors import UsageError
from vidscale.jobs.ladder import Rendition
from vidscale.media.codec_strings import codec_string
from vidscale.media.dash import manifest_text
from vidscale.media.playlists import Segment, Sound, Variant, master_text, mean_rate, peak_rate
from vidscale.per_title import ladder as per_title_ladder
from vidscale.per_title.ladder import plan_ladder, run_ladder
from vidscale.system.folders import partial_folder
from vidscale.system.progress import Progress
from vidscale.system.threads import Shared, StoppedError

Clip = Callable[..., Path]
QUICK = ["--preset", "veryfast", "--segment-duration", "0.6", "--no-verify"]
TARGETS = ["--target", "vmaf=70", "--target", "vmaf=94"]


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.6 s with a cut, where encoders like to put keyframes, and a tone; 23.976 frames a second."""
    rate = "24000/1001"
    pictures = [*picture("160x120", rate), "-f", "lavfi", "-i", f"mandelbrot=s=160x120:r={rate}"]
    cut = "[0]trim=end_frame=17[a];[1]trim=end_frame=21,setpts=PTS-STARTPTS[b];[a][b]concat=n=2,format=yuv420p[v]"
    folder = tmp_path_factory.mktemp("ladder") / "100%d: films"  # what a pattern of file names must not mistake
    folder.mkdir()
    streams = ["-filter_complex", cut, "-map", "[v]", "-map", "2:a", "-metadata:s:a", "language=deu"]
    return make(folder / "film.mp4", *pictures, *sound(1.6), *streams, "-c:a", "aac", "-crf", "4")


@pytest.fixture(scope="module")
def ladder(movie: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a ladder of two renditions, and its JSON record."""
    folder = movie.with_name("film.hls")
    done = run_here("ladder", movie, "-o", folder, *TARGETS, *QUICK, "--verify", "--json")
    assert done.code == 0, done.stderr
    return folder, json.loads(done.stdout)


def attributes(line: str) -> dict[str, str]:
    """Of a tag of a playlist."""
    found = re.findall(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)', line.partition(":")[2])
    return {name: value.strip('"') for name, value in found}


def variants(master: Path) -> list[tuple[dict[str, str], Path]]:
    lines = master.read_text().splitlines()
    return [
        (attributes(line), master.parent / uri)
        for line, uri in pairwise(lines)
        if line.startswith("#EXT-X-STREAM-INF:")
    ]


def packets(playlist: Path) -> list[tuple[Fraction, bool, int]]:
    """(time, whether a keyframe, bytes) of all video packets, in presentation order."""
    with av.open(str(playlist)) as container:
        stream = container.streams.video[0]
        found = [(p.pts * p.time_base, p.is_keyframe, p.size) for p in container.demux(stream) if p.size]
    return sorted(found)  # type: ignore[type-var]


def trace(init: Path, fields: str) -> dict[str, int]:
    """Values in the parameter sets by ffmpeg's own parser."""
    command = [FFMPEG, "-v", "trace", "-i", str(init), "-c", "copy", "-bsf:v", "trace_headers", "-f", "null", "-"]
    log = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    return {name: int(value) for name, value in re.findall(rf"({fields}) +[01]+ = (\d+)", log)}


def decode_time(segment: Path) -> int:
    """baseMediaDecodeTime of a fragment (ISO/IEC 14496-12 8.8.12), version 1, which browsers start from."""
    data = segment.read_bytes()
    at = data.index(b"tfdt") + 4
    assert data[at] == 1
    return int.from_bytes(data[at + 4 : at + 12], "big")


def test_every_rendition_has_all_frames_at_the_source_s_times(movie: Path, ladder: tuple[Path, dict[str, Any]]) -> None:
    folder, record = ladder
    times = shown_times(movie)
    assert record["frames"] == len(times) == 38
    for _, playlist in variants(folder / "master.m3u8"):
        assert shown_times(playlist) == pytest.approx(times, abs=1e-4)


def test_keyframes_are_where_segments_begin_in_all_renditions(ladder: tuple[Path, dict[str, Any]]) -> None:
    """Also at the cut after 17 frames: none there."""
    folder, record = ladder
    keys = [[time for time, is_key, _ in packets(path) if is_key] for _, path in variants(folder / "master.m3u8")]
    wanted = [Fraction(1001, 24000) * frame for frame in (0, 15, 30)]
    assert record["segments"] == len(wanted)
    for times in keys:
        assert times == pytest.approx(wanted, abs=1e-4)


def test_segments_can_be_decoded_alone(ladder: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Closed GOPs: each segment behind its initialization section has all its frames, without a message."""
    folder, _ = ladder
    for _, playlist in variants(folder / "master.m3u8"):
        for segment, frames in zip(sorted(playlist.parent.glob("*.m4s")), (15, 15, 8), strict=True):
            alone = tmp_path / "alone.mp4"
            alone.write_bytes((playlist.parent / "init.mp4").read_bytes() + segment.read_bytes())
            command = [FFMPEG, "-v", "warning", "-i", str(alone), "-f", "framecrc", "-"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            assert done.stderr == ""
            assert len([line for line in done.stdout.splitlines() if not line.startswith("#")]) == frames


def test_durations_add_up(movie: Path, ladder: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = ladder
    for _, playlist in variants(folder / "master.m3u8"):
        text = playlist.read_text()
        durations = [Fraction(value) for value in re.findall(r"#EXTINF:([0-9.]+)", text)]
        frames = [15, 15, 8]
        assert durations == pytest.approx([Fraction(1001, 24000) * count for count in frames], abs=1e-4)
        target = int(re.findall(r"#EXT-X-TARGETDURATION:(\d+)", text)[0])
        assert max(map(round, durations)) <= target
        assert "#EXT-X-PLAYLIST-TYPE:VOD" in text
        assert text.rstrip().endswith("#EXT-X-ENDLIST")


def test_master_playlist_tells_the_truth(ladder: tuple[Path, dict[str, Any]]) -> None:
    folder, record = ladder
    found = variants(folder / "master.m3u8")
    assert [row["goal"] for row in record["renditions"]] == ["vmaf=94", "vmaf=70"]
    sound_bytes = sum(file.stat().st_size for file in (folder / "audio1").glob("*.m4s"))
    sound_s = sum(map(float, re.findall(r"#EXTINF:([0-9.]+)", (folder / "audio1" / "audio.m3u8").read_text())))
    for (told, playlist), row in zip(found, record["renditions"], strict=True):
        with av.open(str(playlist)) as container:
            stream = container.streams.video[0]
            assert told["RESOLUTION"] == f"{stream.width}x{stream.height}" == f"{row['width']}x{row['height']}"
            assert stream.width <= 160
        sizes = [file.stat().st_size for file in sorted(playlist.parent.glob("*.m4s"))]
        durations = list(map(float, re.findall(r"#EXTINF:([0-9.]+)", playlist.read_text())))
        rates = [8 * size / seconds for size, seconds in zip(sizes, durations, strict=True)]
        mean = 8 * sum(sizes) / sum(durations) + 8 * sound_bytes / sound_s
        assert int(told["AVERAGE-BANDWIDTH"]) == pytest.approx(mean, abs=3)
        assert int(told["BANDWIDTH"]) >= max(rates)  # every segment is longer than half the target duration or smaller
        assert int(told["BANDWIDTH"]) <= max(rates) + 8 * sound_bytes / sound_s * 1.5
        assert told["FRAME-RATE"] == "23.976"
        assert told["AUDIO"] == "audio"
    assert int(found[0][0]["BANDWIDTH"]) > int(found[1][0]["BANDWIDTH"])


def test_dash_manifest_has_the_same_pictures(movie: Path, ladder: tuple[Path, dict[str, Any]]) -> None:
    """By ffmpeg's own demuxer: all frames of each rendition, at the same times but for the start of the sound."""
    folder, _ = ladder
    for number, (_, playlist) in enumerate(variants(folder / "master.m3u8")):
        found = checksums("-i", folder / "manifest.mpd", "-map", f"0:v:{number}")
        wanted = checksums("-i", playlist)
        assert [data for _, data in found] == [data for _, data in wanted]
        assert {time - other for (time, _), (other, _) in zip(found, wanted, strict=True)} <= {0, 1}
    tree = ElementTree.parse(folder / "manifest.mpd")
    seconds = float(tree.getroot().attrib["mediaPresentationDuration"].strip("PTS"))
    assert seconds == pytest.approx(1.6, abs=0.05)


def checksums(*words: object) -> list[tuple[int, str]]:
    """(time in frames, checksum) of each picture."""
    command = [FFMPEG, "-v", "error", *map(str, words), "-fps_mode", "passthrough", "-an", "-f", "framecrc", "-"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [line.split(",") for line in lines if not line.startswith("#")]
    return [(int(row[2]), row[5]) for row in rows]


def test_codec_string_of_h264_is_that_of_the_parameter_set(ladder: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = ladder
    for told, playlist in variants(folder / "master.m3u8"):
        names = r"profile_idc|constraint_set\d_flag|level_idc"
        alone = ffmpeg("-i", playlist, "-c", "copy", "-frames:v", 1, "-f", "mp4", "-movflags", "empty_moov", "-")
        (folder.parent / "one.mp4").write_bytes(alone)
        found = trace(folder.parent / "one.mp4", names)
        flags = sum(found[f"constraint_set{bit}_flag"] << 7 - bit for bit in range(6))
        wanted = f"avc1.{found['profile_idc']:02x}{flags:02x}{found['level_idc']:02x}"
        assert told["CODECS"] == f"{wanted},mp4a.40.2"


def test_audio_is_there_once_and_copied(movie: Path, ladder: tuple[Path, dict[str, Any]]) -> None:
    folder, record = ladder
    assert record["audio"] == ["audio1/audio.m3u8"]
    lines = (folder / "master.m3u8").read_text().splitlines()
    media = [attributes(line) for line in lines if line.startswith("#EXT-X-MEDIA:")]
    assert media[0] | {"NAME": ""} == {
        **{"TYPE": "AUDIO", "GROUP-ID": "audio", "NAME": "", "LANGUAGE": "deu", "DEFAULT": "YES"},
        **{"AUTOSELECT": "YES", "CHANNELS": "1", "URI": "audio1/audio.m3u8"},
    }
    before, after = (ffmpeg("-i", path, "-map", "0:a", "-f", "s16le", "-") for path in (movie, folder / "v1.m3u8"))
    assert before == after


def test_a_rendition_is_restored_with_its_sound(movie: Path, ladder: tuple[Path, dict[str, Any]]) -> None:
    folder, record = ladder
    assert record["renditions"][1]["width"] < 160
    path = restored(folder / "v2.m3u8", movie.with_name("restored.mp4"))
    assert shown_times(path) == pytest.approx(shown_times(movie), abs=1e-4)
    with av.open(str(path)) as container:
        assert sorted(stream.type for stream in container.streams) == ["audio", "video"]
        assert (container.streams.video[0].width, container.streams.video[0].height) == (160, 120)


def test_quality_is_near_the_targets(ladder: tuple[Path, dict[str, Any]]) -> None:
    for row in ladder[1]["renditions"]:
        assert row["measured"] == pytest.approx(float(row["goal"].partition("=")[2]), abs=1.5)


def test_record_is_documented(ladder: tuple[Path, dict[str, Any]]) -> None:
    _, record = ladder
    rows = [record, *record["renditions"], *(part for row in record["renditions"] for part in row["parts"])]
    assert {key for row in rows for key in row} - {"event"} == documented("ladder")


def test_existing_folder_is_replaced_only_on_demand(ladder: tuple[Path, dict[str, Any]], movie: Path) -> None:
    folder, _ = ladder
    before = content(folder / "v1")
    refused = run_here("ladder", movie, "-o", folder, *TARGETS, *QUICK)
    assert message(refused) == f"{folder} exists; -y replaces it"
    assert content(folder / "v1") == before
    other = movie.with_name("photos")
    other.mkdir()
    (other / "holiday.jpg").write_bytes(b"x")
    refused = run_here("ladder", movie, "-o", other, *TARGETS, *QUICK, "-y")
    assert message(refused) == f"{other} has no master.m3u8, so it is not replaced; choose another folder"
    assert (other / "holiday.jpg").exists()


def of_other_crf(rendition: Rendition, part: int, crf: float) -> Rendition:
    plans = list(rendition.plans)
    plans[part] = replace(plans[part], settings=plans[part].settings.model_copy(update={"crf": crf}))
    return replace(rendition, plans=tuple(plans))


@pytest.mark.slow
@pytest.mark.parametrize("segments", [None, "1"])
def test_rendition_that_misses_its_target_is_encoded_again(segments: str | None, movie: Path, tmp_path: Path) -> None:
    """The crf of one part of one rendition is spoiled."""
    settings = {"targets": ["psnr=36", "psnr=31"], "scale": "1", "pair": "lanczos", "preset": "veryfast"}
    resolved = LadderSettings.resolve({**settings, "segments": segments})
    planned = plan_ladder(movie, tmp_path / "out", resolved)
    good, spoiled = planned.plan.renditions
    last = len(spoiled.plans) - 1
    spoiled = of_other_crf(spoiled, last, spoiled.plans[last].settings.crf - 3)
    steps: list[str] = []

    class Steps(Progress):
        def start(self, name: str, total: int | None) -> None:
            steps.append(name)

    planned = replace(planned, plan=replace(planned.plan, renditions=(good, spoiled)))
    finished = run_ladder(planned, Steps(), verify=True)
    assert finished.measured == pytest.approx((36, 31), abs=0.5)  # 3 crf are 2 dB
    encodes = [step for step in steps if step.startswith("encoding")]
    assert encodes[0] == "encoding 2 renditions"
    assert encodes[1].endswith("again")
    corrected = finished.ladder.renditions[1].plans[last].settings.crf
    assert corrected > spoiled.plans[last].settings.crf + 1
    for _, playlist in variants(tmp_path / "out" / "master.m3u8"):
        assert shown_times(playlist) == pytest.approx(shown_times(movie), abs=1e-3)


def test_earlier_try_that_is_closer_is_kept(movie: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is taken as it is: the source is not read a third time."""
    settings = {"targets": ["psnr=34"], "scale": "1", "pair": "lanczos", "preset": "veryfast"}
    planned = plan_ladder(movie, tmp_path / "out", LadderSettings.resolve(settings))
    run_ladder(planned)
    first = {path.name: path.read_bytes() for path in (tmp_path / "out" / "v1").iterdir()}
    monkeypatch.setattr(
        per_title_ladder, "better_crf", lambda decision, checks: checks[0].crf + 8 if len(checks) == 1 else None
    )
    steps: list[str] = []

    class Steps(Progress):
        def start(self, name: str, total: int | None) -> None:
            steps.append(name)

    finished = run_ladder(planned, Steps(), verify=True)
    assert [step for step in steps if step.startswith("encoding")] == [
        "encoding 1 rendition",
        "encoding 1 rendition again",
    ]
    assert finished.measured == pytest.approx([34], abs=0.5)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "v1").iterdir()} == first


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["x265", "svtav1"])
def test_other_codecs(codec: str, movie: Path, tmp_path: Path) -> None:
    """Aligned keyframes and codec strings; SVT-AV1's by ffmpeg's own muxer, H.265's from the parameter sets."""
    preset = {"x265": "veryfast", "svtav1": "10"}[codec]
    words = ["--codec", codec, "--preset", preset, "--segment-duration", "0.6", "--scale", "1", "--pair", "lanczos"]
    done = run_here("ladder", movie, "-o", tmp_path / "out", "--target", "psnr=34", *words)
    assert done.code == 0, done.stderr
    ((told, playlist),) = variants(tmp_path / "out" / "master.m3u8")
    keys = [time for time, is_key, _ in packets(playlist) if is_key]
    assert keys == pytest.approx([Fraction(1001, 24000) * frame for frame in (0, 15, 30)], abs=1e-4)
    assert shown_times(playlist) == pytest.approx(shown_times(movie), abs=1e-4)
    if codec == "svtav1":
        make(
            tmp_path / "x.m3u8", "-i", playlist, "-c", "copy", "-hls_segment_type", "fmp4", "-master_pl_name", "m.m3u8"
        )
        assert f'"{told["CODECS"].partition(",")[0]}"' in (tmp_path / "m.m3u8").read_text()
        return
    with av.open(str(playlist)) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"
    names = r"general_\w+|general_profile_compatibility_flag\[\d+\]"
    found = trace(playlist, names)
    compatible = sum(found[f"general_profile_compatibility_flag[{bit}]"] << bit for bit in range(32))
    flags = ("progressive_source", "interlaced_source", "non_packed_constraint", "frame_only_constraint")
    first = sum(found[f"general_{name}_flag"] << 7 - bit for bit, name in enumerate(flags))
    tier = "LH"[found["general_tier_flag"]]
    wanted = f"hvc1.{found['general_profile_idc']}.{compatible:X}.{tier}{found['general_level_idc']}.{first:X}"
    assert told["CODECS"] == f"{wanted},mp4a.40.2"


@pytest.mark.parametrize(
    ("codec", "record", "text"),
    [
        ("h264", "0164001f", "avc1.64001f"),
        ("hevc", "01016000000090000000000078", "hvc1.1.6.L120.90"),  # ISO/IEC 14496-15 has such examples in E.3
        ("hevc", "01224000000000000000000096", "hvc1.2.2.H150"),
        ("av1", "81054d00", "av01.0.05M.10"),
        ("aac", "1190", "mp4a.40.2"),
        ("aac", "f8e60000", "mp4a.40.39"),
        ("eac3", "", "ec-3"),
    ],
)
def test_codec_strings(codec: str, record: str, text: str) -> None:
    assert codec_string(codec, bytes.fromhex(record)) == text


def test_high_dynamic_range_is_announced() -> None:
    text = master_text([Variant("v1/x.m3u8", "hvc1", 64, 48, None, "smpte2084", (Segment("", Fraction(4), 1000),))], [])
    (line,) = [line for line in text.splitlines() if line.startswith("#EXT-X-STREAM-INF:")]
    told = {"BANDWIDTH": "2000", "AVERAGE-BANDWIDTH": "2000", "RESOLUTION": "64x48"}
    assert attributes(line) == told | {"CODECS": "hvc1", "VIDEO-RANGE": "PQ"}


def test_recipe_and_dry_run(movie: Path, tmp_path: Path) -> None:
    recipe = Path(__file__).parents[1] / "pipelines" / "hls_ladder.toml"
    words = ["--set", "targets=psnr=25", "--set", "preset=ultrafast", "-o", tmp_path / "out", "--dry-run", "--json"]
    done = run_here("run", recipe, movie, *words)
    assert done.code == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["output"] == str(tmp_path / "out")
    assert record["settings"]["targets"] == ["psnr_y=25"]
    assert record["settings"]["segment_duration"] == "6"
    assert set(OF_ONE_FILE) & set(record["settings"]) == set()  # those of `encode` that a ladder refuses
    (command,) = record["commands"]
    assert "-force_key_frames:v:0 'expr:if(isnan(prev_forced_t),1,gte(t,prev_forced_t+5.999500))'" in command
    assert not (tmp_path / "out").exists()


def test_rotation_is_kept(make_clip: Clip, tmp_path: Path) -> None:
    plain = make_clip(size="64x48")
    turned = make(tmp_path / "turned.mp4", "-display_rotation:v:0", 90, "-i", plain, "-c", "copy")
    api.ladder(turned, tmp_path / "out", targets="psnr=34", preset="ultrafast", scale=1, pair="lanczos")
    shown = [ffmpeg("-i", path, "-frames:v", 1, "-f", "rawvideo", "-") for path in (turned, tmp_path / "out/v1.m3u8")]
    before, after = (np.frombuffer(picture[: 64 * 48], np.uint8).astype(float) for picture in shown)
    assert np.square(before - after).mean() < 100  # turned by ffmpeg, or this would be noise


def test_peak_is_that_of_runs_near_the_target_duration() -> None:
    def segments(*parts: tuple[float, int]) -> list[Segment]:
        return [Segment("", Fraction(seconds), size) for seconds, size in parts]

    steady = segments((4, 1000), (4, 3000), (4, 1000))
    assert (mean_rate(steady), peak_rate(steady)) == (3334, 6000)
    assert peak_rate(segments((4, 1000), (4, 1000), (0.04, 500))) == 2971  # the short end counts with what precedes it
    assert peak_rate(segments((0.2, 100))) == 4000


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"targets": ["sharp=3"]}, "unknown metric 'sharp'"),
        ({"targets": "vmaf=90,psnr=40"}, "are not of one metric"),
        ({"targets": "vmaf=90,vmaf=90"}, "name one of them twice"),
        ({"targets": []}, "targets"),
        ({"segment_duration": 0}, "segment_duration = 0: not above 0"),
        ({"segment_duration": "1/0"}, "segment duration '1/0' is not a number"),
        ({"segment_duration": 100}, "segment_duration"),
        ({"crf": 20}, "a ladder has no setting 'crf'"),
        ({"max_size": "7M"}, "a ladder has no setting 'max_size'"),
        ({"encoder_params": "keyint=50"}, "--encoder-params sets keyint"),
        ({"encoder_params": "crf=50"}, "--encoder-params crf=50 sets crf"),
    ],
)
def test_settings_errors(given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as error:
        LadderSettings.resolve(given)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("made", "options", "words"),
    [
        (None, [], "does not exist"),
        ({"size": "32x32"}, ["--codec", "x265"], "32x32 is smaller than x265 encodes, 64x16"),
        ({"frames": 1}, ["--target", "psnr=60", "--scale", "4"], "--target psnr_y=60 cannot be reached: the best is"),
    ],
)
def test_source_errors(
    make_clip: Clip, tmp_path: Path, made: dict[str, Any] | None, options: list[str], words: str
) -> None:
    path = tmp_path / "none.mp4" if made is None else make_clip(**made)
    target = [] if "--target" in options else ["--target", "psnr=30"]
    failed = run_here("ladder", path, "-o", tmp_path / "out", "--preset", "ultrafast", *target, *options)
    assert failed.code == 1
    assert words in message(failed)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".vidscale-*"))


def vfr(folder: Path) -> Path:
    """Every third frame, and all of the first second."""
    kept = "select='not(mod(n,3))+lt(n,25)'"
    return make(folder / "a.mkv", *picture("160x120", duration=3, then=kept), "-fps_mode", "vfr", "-crf", "10")


def still(folder: Path) -> Path:
    return make(folder / "a.png", *picture("64x48"), "-frames:v", 1)


def noise(folder: Path) -> Path:
    random = "nullsrc=s=64x48:r=25:d=0.4,geq=lum='random(1)*255':cb=128:cr=128"
    return make(folder / "a.mp4", "-f", "lavfi", "-i", random, "-crf", "4")


def damaged(folder: Path) -> Path:
    path = make(folder / "a.mp4", *picture("160x120", duration=2), "-g", 10, "-crf", "10")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(value * 7 % 256 for value in range(4000))
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("made", [vfr, still, noise, damaged])
def test_odd_sources(made: Callable[[Path], Path], tmp_path: Path) -> None:
    """All frames that can be decoded, at their times; damage is told."""
    source = made(tmp_path)
    words = ["--target", "psnr=15", "--scale", "1", "--pair", "lanczos", "--preset", "ultrafast"]
    done = run_here("ladder", source, "-o", tmp_path / "out", *words, "--segment-duration", "1")
    assert done.code == 0, done.stderr
    times = shown_times(tmp_path / "out" / "v1" / "video.m3u8")
    if made is damaged:
        assert "a.mp4 is damaged, concealed by the decoder" in done.stderr
        assert 45 <= len(times) <= 50
    else:
        assert times == pytest.approx(shown_times(source), abs=2e-3)
    keys = [time for time, is_key, _ in packets(tmp_path / "out" / "v1" / "video.m3u8") if is_key]
    assert all(after - before >= 0.99 for before, after in pairwise(keys))


def heard(path: Path) -> Codes:
    """The first audio channel from time 0 on, 48 kHz; not every decoder skips what is before."""
    samples = np.zeros(2 * 48000)
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            at = round(Fraction(frame.pts * frame.time_base) * 48000)
            values = frame.to_ndarray()[0][max(0, -at) :]
            samples[max(0, at) : max(0, at) + len(values)] = values
    return samples


def test_a_range_begins_at_zero_with_its_sound(movie: Path, tmp_path: Path) -> None:
    words = ["--target", "psnr=25", "--scale", "1", "--pair", "lanczos", "--range", "0.5:1.2"]
    done = run_here("ladder", movie, "-o", tmp_path / "out", *words, "--preset", "ultrafast")
    assert done.code == 0, done.stderr
    whole = [time for time in shown_times(movie) if Fraction(1, 2) <= time < Fraction(6, 5)]
    times = shown_times(tmp_path / "out" / "v1.m3u8")
    assert times == pytest.approx([time - whole[0] for time in whole], abs=1e-4)
    begin = round(whole[0] * 48000)
    inner = slice(2048, 24000)  # AAC needs the packet before
    error = heard(tmp_path / "out" / "v1.m3u8")[inner] - heard(movie)[begin:][inner]
    assert np.abs(error).max() < 1e-4


def test_strict_refuses_to_lose_subtitles(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    film = make(tmp_path / "a.mkv", *picture(), "-i", tmp_path / "a.srt", "-c:s", "srt", "-preset", "ultrafast")
    failed = run_here("ladder", film, "-o", tmp_path / "out", "--target", "psnr=30", "--strict")
    assert failed.code == 1
    assert "--strict refuses to lose: subtitle stream 1 (subrip)" in message(failed)


def test_one_frame_and_black_are_one_rendition(make_clip: Clip, tmp_path: Path) -> None:
    """Targets that ask for the same encode give it once. The target duration, in whole seconds, is not rounded to 0."""
    image = ["-f", "lavfi", "-i", "color=s=64x64:d=0.04:r=25", "-f", "lavfi", "-i", "sine=d=0.04", "-frames:v", 1]
    black = make(tmp_path / "black.mp4", *image)
    done = run_here("ladder", black, "-o", tmp_path / "out", "--target", "psnr=30", "--target", "psnr=40")
    assert done.code == 0, done.stderr
    assert "psnr_y=30 would be the same rendition as psnr_y=40: it is left out" in done.stderr
    assert len(variants(tmp_path / "out" / "master.m3u8")) == 1
    for playlist in ("v1/video.m3u8", "audio1/audio.m3u8"):
        assert "#EXT-X-TARGETDURATION:1\n" in (tmp_path / "out" / playlist).read_text()


def test_only_what_was_measured_is_printed(make_clip: Clip, tmp_path: Path) -> None:
    words = ["--target", "psnr=30", "--scale", "1", "--pair", "lanczos", "--preset", "ultrafast"]
    heads = [
        run_here("ladder", make_clip(), "-o", tmp_path / name, *words, *more).stdout.splitlines()[1].split()
        for name, more in (("one", []), ("other", ["--no-verify"]))
    ]
    assert heads[0] == [*heads[1], "measured"]


def test_other_audio_is_encoded_as_aac_and_picture_keeps_its_delay(tmp_path: Path) -> None:
    late = ["-filter_complex", "[0]setpts=PTS+0.4/TB[v]", "-map", "[v]", "-map", "1", "-c:a", "flac"]
    film = make(tmp_path / "a.mkv", *picture(), *sound(1.4), *late, "-preset", "ultrafast")
    api.ladder(film, tmp_path / "out", targets="psnr=30", preset="ultrafast", scale=1, pair="lanczos")
    with av.open(str(tmp_path / "out" / "v1.m3u8")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
    assert shown_times(tmp_path / "out" / "v1.m3u8") == pytest.approx(shown_times(film), abs=2e-3)
    assert (
        decode_time(tmp_path / "out" / "v1" / "00000.m4s") == 6400
    )  # of 16000: ffmpeg has no time scale below 10000, and 1000 is the movie's
    (pictures, heard) = timelines((tmp_path / "out" / "manifest.mpd").read_text())
    assert [pictures[:2], heard[:2]] == [(0, 0.4), (0, 0)]


def timelines(manifest: str) -> list[tuple[float, float, float]]:
    """What each representation of a manifest says of its media timestamps, in seconds: the one that is shown at 0, that
    of the first segment, and the end of the last one."""
    found = []
    for template in ElementTree.fromstring(manifest).findall(".//{*}SegmentTemplate"):
        unit = float(template.attrib["timescale"])
        rows = [(int(row.attrib["t"]), int(row.attrib["d"])) for row in template.findall(".//{*}S")]
        origin = int(template.attrib.get("presentationTimeOffset", "0"))
        found.append((origin / unit, rows[0][0] / unit, sum(rows[-1]) / unit))
    return found


def test_dash_manifest_has_the_timestamps_of_the_segments() -> None:
    """A segment's time is that of its media (ISO/IEC 23009-1, 5.3.9.6); a movie that begins late is shown at once."""
    segments = (Segment("0", Fraction(2), 1000), Segment("1", Fraction(1), 1000))
    variant = Variant("v1/x.m3u8", "avc1", 64, 48, None, None, segments, start_s=Fraction(3))
    sound = Sound("a1/x.m3u8", "a", "", 2, "mp4a", True, segments, start_s=Fraction(5, 2))
    text = manifest_text([[variant]], [sound])
    assert timelines(text) == [(2.5, 3, 6), (2.5, 2.5, 5.5)]
    assert 'mediaPresentationDuration="PT3.500000S"' in text


def test_folders_that_killed_runs_left_are_removed(tmp_path: Path) -> None:
    with partial_folder(tmp_path / "a") as living:
        left = living.with_name(f"{living.name}x")
        shutil.copytree(living, left)
        foreign = tmp_path / ".vidscale-000000-x"  # of another machine
        shutil.copytree(living, foreign)
        with partial_folder(tmp_path / "b"):
            assert living.exists()
            assert not left.exists()
            assert foreign.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [foreign.name, "a", "b"]


def test_shared_frames_reach_every_reader_in_order_and_errors_too() -> None:
    def broken() -> Any:
        yield from range(20)
        raise ValueError("at the end")

    with Shared(range(20), 2, depth=3) as shared:
        pairs = list(zip(shared.read(0), shared.read(1), strict=True))
    assert pairs == [(item, item) for item in range(20)]
    with Shared(broken(), 1, depth=30) as shared, pytest.raises(ValueError, match="at the end"):
        list(shared.read(0))
    with Shared(range(99), 2, depth=2) as shared:
        first = shared.read(0)
        next(first)
    with pytest.raises(StoppedError):
        list(first)

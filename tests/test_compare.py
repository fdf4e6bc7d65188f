"""`vidscale compare` as a whole: its numbers against ffmpeg's, what it computes and reuses, what it prints."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from material import FFMPEG, ffmpeg
from robustness import finish, processes_naming, run_here, start, wait_for
from test_cli import documented

from vidscale import api
from vidscale.compare.analysis.bd_rate import Delta, bd_rate
from vidscale.compare.output.files import read_comparison
from vidscale.compare.points import Comparison, Curve, Point
from vidscale.jobs.restore import find_identity
from vidscale.models import network_pair, resampling
from vidscale.triton_kernels.polyphase import polyphase_resample

pytestmark = pytest.mark.slow

QUICK: dict[str, Any] = {"preset": "ultrafast", "metrics": "psnr_y", "rates": "24,36", "pairs": "lanczos"}
WORDS = ["--preset", "ultrafast", "--metrics", "psnr_y", "--rates", "24,36"]
Clip = Callable[..., Path]


@pytest.fixture
def clip(make_clip: Clip) -> Path:
    return make_clip("clip.mp4", size="160x96", frames=12, options=["-crf", "8"])


def curve_of(comparison: Comparison, scaling: str) -> Curve:
    (found,) = [curve for curve in comparison.curves if curve.candidate.scaling == scaling]
    return found


def made(folder: Path) -> dict[str, int]:
    """Stored results: file name to modification time."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("points/*.json")}


def videos(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("coded/*.mp4")}


def packet_bytes(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(packet.size for packet in container.demux(video=0))


def filtered(source: Path, coded: Path, chain: str) -> str:
    """Output of an ffmpeg filter for a coded file (first input) and its source (second)."""
    command = [FFMPEG, "-hide_banner", "-i", str(coded), "-i", str(source), "-lavfi", chain, "-f", "null", "-"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return result.stderr


def psnr_y(source: Path, coded: Path, before: str = "null") -> float:
    match = re.search(r"PSNR y:(\S+)", filtered(source, coded, f"[0:v]{before}[a];[a][1:v]psnr"))
    assert match
    return float(match.group(1))


def coded_file(folder: Path, point: Point) -> Path:
    words = shlex.split(point.commands[0])
    return folder / "coded" / next(word for word in words if word.endswith(".mp4") and word != words[2])


# Numbers.


def test_points_are_what_ffmpeg_measures(tmp_path: Path, clip: Path) -> None:
    folder = tmp_path / "out"
    comparison = api.compare(clip, output=folder, **QUICK | {"pairs": "ffmpeg-bicubic,lanczos:ffmpeg-lanczos"})
    flags = "accurate_rnd+full_chroma_int"
    for scaling, upscaling in {
        "full size": "null",
        "ffmpeg-bicubic-x2": f"scale=160:96:flags=bicubic+{flags}",
        "lanczos-x2, up by ffmpeg-lanczos": f"scale=160:96:flags=lanczos+{flags}",
    }.items():
        for point in curve_of(comparison, scaling).points:
            coded = coded_file(folder, point)
            assert point.metrics["psnr_y"] == pytest.approx(psnr_y(clip, coded, upscaling), abs=2e-4)
            assert point.video_bytes == packet_bytes(coded)
            assert (point.frames, float(point.duration_s)) == (12, 0.48)
            assert point.encode_s > 0
            assert point.decode_s > 0


def test_perceptual_metrics_are_those_of_ffmpeg_with_two_files(tmp_path: Path, clip: Path) -> None:
    folder = tmp_path / "out"
    wanted = {"metrics": "ssim_y,vmaf,vmaf_neg,xpsnr", "rates": "36"}
    comparison = api.compare(clip, output=folder, **QUICK | wanted)
    (point,) = curve_of(comparison, "full size").points
    coded = coded_file(folder, point)
    for metric, model in {"vmaf": "vmaf_v0.6.1", "vmaf_neg": "vmaf_v0.6.1neg"}.items():
        log_text = filtered(clip, coded, f"libvmaf=model=version={model}")
        expected = float(re.search(r"VMAF score: (\S+)", log_text)[1])  # type: ignore[index]
        assert point.metrics[metric] == pytest.approx(expected, abs=1e-4)
    log = tmp_path / "xpsnr.log"
    filtered(clip, coded, f"[1:v][0:v]xpsnr=stats_file={log}")  # it weighs by its first input: the source
    values = [float(value) for value in re.findall(r"XPSNR y: *(\S+)", log.read_text())[:12]]
    assert point.metrics["xpsnr_y"] == pytest.approx(sum(values) / 12, abs=1e-3)
    assert 0.5 < point.metrics["ssim_y"] < 1
    assert set(point.metrics) == {"ssim_y", "vmaf", "vmaf_neg", "xpsnr_y"}


def test_first_trial_has_no_compilation_in_its_times(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here each direction of a filter, down and up, takes three seconds longer on its first run."""
    compiled, slow_s = set(), 3.0

    def resample(plane: Any, *, step: Any, **more: Any) -> Any:
        if step not in compiled:
            compiled.add(step)
            time.sleep(slow_s)
        return polyphase_resample(plane, step=step, **more)

    monkeypatch.setattr(resampling, "polyphase_resample", resample)
    comparison = api.compare(clip, output=tmp_path / "out", **QUICK)
    assert len(compiled) == 2
    for point in curve_of(comparison, "lanczos-x2").points:
        assert point.encode_s < slow_s
        assert point.decode_s < slow_s


def test_commands_of_a_point_make_it_again(tmp_path: Path, clip: Path) -> None:
    """Commands of vidscale, of ffmpeg, and pipes of both."""
    settings = QUICK | {"pairs": "ffmpeg-lanczos,area:bicubic", "rates": "30"}
    comparison = api.compare(clip, output=tmp_path / "out", **settings)
    (programs := tmp_path / "programs").mkdir()
    (programs / "ffmpeg").symlink_to(FFMPEG)
    (programs / "vidscale").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vidscale "$@"\n')
    (programs / "vidscale").chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    for at, curve in enumerate(comparison.curves):
        (again := tmp_path / str(at)).mkdir()
        (point,) = curve.points
        for command in point.commands:
            subprocess.run(
                command,
                shell=True,
                cwd=again,
                check=True,
                capture_output=True,
                timeout=60,
                env=os.environ | {"PATH": path},
            )
        assert packet_bytes(again / coded_file(tmp_path / "out", point).name) == pytest.approx(
            point.video_bytes, rel=2e-3
        )
        (restored,) = again.glob("*restored.mkv")
        assert point.metrics["psnr_y"] == pytest.approx(psnr_y(clip, restored), abs=0.01)


def test_more_bits_are_better_for_every_candidate(tmp_path: Path, clip: Path) -> None:
    settings = QUICK | {"pairs": "bicubic,ffmpeg-bicubic", "scales": "1.5,2", "rates": "20,28,36"}
    comparison = api.compare(clip, output=tmp_path / "out", **settings)
    assert len(comparison.curves) == 5
    for curve in comparison.curves:
        assert [point.crf for point in curve.points] == [36, 28, 20]
        values = [point.metrics["psnr_y"] for point in curve.points]
        assert values == sorted(values)


@pytest.mark.parametrize("pix_fmt", ["gray", "yuv422p10le"])
def test_other_pixel_formats(tmp_path: Path, make_clip: Clip, pix_fmt: str) -> None:
    clip = make_clip("clip.mkv", size="64x48", frames=6, pix_fmt=pix_fmt, options=["-c:v", "ffv1"])
    settings = QUICK | {"pairs": "lanczos,ffmpeg-lanczos", "rates": "24"}
    comparison = api.compare(clip, output=tmp_path / "out", **settings)
    assert not comparison.failures
    full, ours, theirs = (curve.points[0].metrics["psnr_y"] for curve in comparison.curves)
    assert full > max(ours, theirs)
    assert ours == pytest.approx(theirs, abs=1)
    assert len(comparison.stills) == 4


# What is computed again.


def test_finished_comparison_computes_nothing(tmp_path: Path, clip: Path) -> None:
    folder = tmp_path / "out"
    first = api.compare(clip, output=folder, **QUICK)
    before = made(folder), videos(folder)
    assert len(before[0]) == 4
    assert api.compare(clip, output=folder, **QUICK) == first == read_comparison(folder)
    assert (made(folder), videos(folder)) == before


def test_another_pair_or_rate_computes_only_that(tmp_path: Path, clip: Path) -> None:
    folder = tmp_path / "out"
    api.compare(clip, output=folder, **QUICK)
    before = made(folder)
    api.compare(clip, output=folder, **QUICK | {"pairs": "lanczos,area"})
    with_pair = made(folder)
    assert before.items() <= with_pair.items()
    assert len(with_pair) == 6
    api.compare(clip, output=folder, **QUICK | {"pairs": "lanczos,area", "rates": "24,30"})
    assert with_pair.items() <= made(folder).items()
    assert len(made(folder)) == 9


def test_candidates_with_different_upscalers_share_encoded_files(tmp_path: Path, clip: Path) -> None:
    pairs = "lanczos,lanczos:area,lanczos:ffmpeg-bicubic,area"
    comparison = api.compare(clip, output=tmp_path / "out", **QUICK | {"pairs": pairs, "rates": "30"})
    assert len(made(tmp_path / "out")) == 5
    assert len(videos(tmp_path / "out")) == 3
    full, one, two, three, other = (curve.points[0] for curve in comparison.curves)
    assert one.video_bytes == two.video_bytes == three.video_bytes != other.video_bytes
    assert len({point.metrics["psnr_y"] for point in (full, one, three, other)}) == 4
    assert two.metrics == one.metrics  # area upscales by Lanczos


def test_pair_with_other_weights_is_another_pair(tmp_path: Path, make_clip: Clip) -> None:
    from test_network_pair import write_pair

    clip = make_clip("clip.mp4", size="64x48", frames=4)
    folder, weights = tmp_path / "out", tmp_path / "trained" / "mine-x2"
    settings = QUICK | {"pairs": f"lanczos,{weights},{weights}:ffmpeg-bicubic", "rates": "30"}
    write_pair(weights, name="mine-x2")
    first = api.compare(clip, output=folder, **settings)
    assert [curve.candidate.scaling for curve in first.curves[2:]] == ["mine-x2", "mine-x2, up by ffmpeg-bicubic"]
    assert (len(made(folder)), len(videos(folder))) == (4, 3)
    assert api.compare(clip, output=folder, **settings) == first
    shutil.rmtree(weights)
    write_pair(weights, seed=1, name="mine-x2")
    second = api.compare(clip, output=folder, **settings)
    assert (len(made(folder)), len(videos(folder))) == (6, 4)
    assert second.curves[:2] == first.curves[:2]
    assert second.curves[2] != first.curves[2]


def test_weights_are_loaded_once(tmp_path: Path, make_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_network_pair import write_pair

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    write_pair(tmp_path / "data" / "vidscale" / "pairs" / "mine-x2", name="mine-x2")
    loaded, load = [], network_pair.load_pair_dir
    monkeypatch.setattr(network_pair, "load_pair_dir", lambda folder: loaded.append(folder) or load(folder))
    clip = make_clip("clip.mp4", size="64x48", frames=4)
    comparison = api.compare(clip, output=tmp_path / "out", **QUICK | {"pairs": "mine,mine:ffmpeg-bicubic"})
    assert len(loaded) == 1
    coded = coded_file(tmp_path / "out", curve_of(comparison, "mine-x2").points[0])
    assert find_identity(coded)[0].pair == "mine-x2"  # type: ignore[union-attr]


def test_another_metric_measures_what_is_coded(tmp_path: Path, clip: Path) -> None:
    folder = tmp_path / "out"
    api.compare(clip, output=folder, **QUICK)
    coded = videos(folder)
    later = api.compare(clip, output=folder, **QUICK | {"metrics": "psnr_y,ssim_y"})
    assert videos(folder) == coded
    parallel_frames = api.compare(clip, output=tmp_path / "other", **QUICK | {"metrics": "psnr_y,ssim_y"})
    for ours, theirs in zip(later.curves, parallel_frames.curves, strict=True):
        assert [point.metrics for point in ours.points] == [point.metrics for point in theirs.points]


def test_another_content_is_another_movie(tmp_path: Path, make_clip: Clip) -> None:
    """Same name, duration and modification time: only the content differs."""
    clip = make_clip("clip.mkv", size="64x48", frames=8, options=["-c:v", "ffv1"])
    folder = tmp_path / "out"
    api.compare(clip, output=folder, **QUICK | {"rates": "24"})
    before = made(folder)
    stat = clip.stat()
    data = bytearray(clip.read_bytes())
    data[len(data) // 2] ^= 1
    clip.write_bytes(data)
    os.utime(clip, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    api.compare(clip, output=folder, **QUICK | {"rates": "24"})
    assert len(made(folder)) == 2 * len(before)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"format": 1}', None])
def test_damaged_numbers_are_computed_again(tmp_path: Path, clip: Path, damage: bytes | None) -> None:
    folder = tmp_path / "out"
    first = api.compare(clip, output=folder, **QUICK)
    broken, *sound = sorted(folder.glob("points/*.json"))
    times = made(folder)
    broken.write_bytes(broken.read_bytes()[:-40] if damage is None else damage)
    again = api.compare(clip, output=folder, **QUICK)
    points = [[(point.crf, point.metrics) for point in curve.points] for curve in first.curves]
    assert [[(point.crf, point.metrics) for point in curve.points] for curve in again.curves] == points
    assert json.loads(broken.read_bytes())["key"] == broken.stem
    assert all(made(folder)[path.name] == times[path.name] for path in sound)


def test_damaged_video_is_coded_again_when_it_is_needed(tmp_path: Path, clip: Path) -> None:
    folder = tmp_path / "out"
    first = api.compare(clip, output=folder, **QUICK)
    whole = {path: path.read_bytes() for path in folder.glob("coded/*.mp4")}
    for path in whole:
        path.write_bytes(path.read_bytes()[:300])
    second = api.compare(clip, output=folder, **QUICK | {"metrics": "psnr_y,ssim_y"})
    assert {path: path.read_bytes() for path in whole} == whole != {}
    for ours, theirs in zip(first.curves, second.curves, strict=True):
        pairs = zip(ours.points, theirs.points, strict=True)
        assert all(one.metrics["psnr_y"] == other.metrics["psnr_y"] for one, other in pairs)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Two seconds of 320x180, which take a while with a slow preset."""
    path = tmp_path / "film.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2,format=yuv420p", "-preset", "ultrafast", path)
    return path


SLOW = ["--preset", "slower", "--metrics", "psnr_y", "--rates", "20,28,36", "--pairs", "lanczos"]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")
def test_killed_run_resumes_where_it_was(tmp_path: Path, film: Path) -> None:
    folder = tmp_path / "out"
    process = start("compare", film, "-o", folder, *SLOW)
    wait_for(lambda: len(made(folder)) >= 2)
    process.send_signal(signal.SIGKILL)
    finish(process)
    kept = made(folder)
    assert len(kept) < 6
    wait_for(lambda: not processes_naming(folder))
    run = run_here("compare", film, "-o", folder, *SLOW)
    assert run.code == 0, run.stderr
    assert kept.items() <= made(folder).items()
    assert len(made(folder)) == 6
    assert [len(curve.points) for curve in read_comparison(folder).curves] == [3, 3]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")
def test_interrupted_run_ends_at_once_and_keeps_points(tmp_path: Path, film: Path) -> None:
    folder = tmp_path / "out"
    process = start("compare", film, "-o", folder, *SLOW)
    wait_for(lambda: made(folder))
    process.send_signal(signal.SIGINT)
    run = finish(process, timeout_s=4)
    assert run.code == 130
    assert run.stderr.splitlines()[-1].startswith("interrupted: finished trials are kept in ")
    assert "Traceback" not in run.stderr
    wait_for(lambda: not processes_naming(folder))
    kept = made(folder)
    assert kept
    assert not list(folder.glob("*/.*"))
    run_here("compare", film, "-o", folder, *SLOW)
    assert kept.items() <= made(folder).items()


# What it prints.


def test_movie_that_fails_does_not_stop_the_others(tmp_path: Path, clip: Path) -> None:
    (bad := tmp_path / "bad.mp4").write_text("no movie")
    folder = tmp_path / "out"
    run = run_here("compare", bad, clip, tmp_path / "none.mp4", "-o", folder, *WORDS, "--pairs", "lanczos", "--json")
    assert run.code == 1
    lines = sorted(run.stderr.splitlines())
    assert [line.split(":")[:2] for line in lines] == [["vidscale", " bad.mp4"], ["vidscale", " none.mp4"]]
    records = [json.loads(line) for line in run.stdout.splitlines()]
    assert sorted(record["movie"] for record in records if record["event"] == "failed") == ["bad.mp4", "none.mp4"]
    (compared,) = [record for record in records if record["event"] == "compared"]
    assert (compared["movies"], compared["failed"], compared["points"]) == (1, 2, 4)
    comparison = read_comparison(folder)
    assert [movie.name for movie in comparison.movies] == ["clip.mp4"]
    assert sorted(movie for movie, _ in comparison.failures) == ["bad.mp4", "none.mp4"]
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    run = run_here("compare", bad, "-o", folder, *WORDS, "--pairs", "lanczos")
    assert (run.code, run.stdout) == (1, "")  # where nothing could be compared, what is there stays
    assert [line.split(":")[:2] for line in run.stderr.splitlines()] == [["vidscale", " bad.mp4"]]
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert "bad.mp4" in (folder / "index.html").read_text()


def test_movie_that_one_encoder_cannot_code(tmp_path: Path, make_clip: Clip) -> None:
    clip = make_clip("clip.mkv", size="64x48", frames=4, pix_fmt="yuv420p12le", options=["-c:v", "ffv1"])
    words = [*WORDS, "--pairs", "ffmpeg-lanczos", "--codec", "x264,x265"]
    run = run_here("compare", clip, "-o", tmp_path / "out", *words)
    assert run.code == 1
    assert "vidscale: clip.mkv: x264: x264 cannot encode yuv420p12le; x265 can (--codec)" in run.stderr
    comparison = read_comparison(tmp_path / "out")
    assert {curve.candidate.codec for curve in comparison.curves} == {"x265"}
    assert len(comparison.failures) == 1


def test_two_movies_of_one_name(tmp_path: Path, clip: Path, make_clip: Clip) -> None:
    (folder := tmp_path / "sub").mkdir()
    other = make_clip("other.mp4", size="64x48", frames=6).rename(folder / "clip.mp4")
    comparison = api.compare(clip, other, output=tmp_path / "out", **QUICK | {"rates": "24"})
    assert [movie.name for movie in comparison.movies] == [f"{tmp_path.name}/clip.mp4", "sub/clip.mp4"]
    assert len(comparison.stills) == len({still.path for still in comparison.stills}) == 6


def test_candidates_are_compared_with_the_first_one_named(tmp_path: Path, clip: Path) -> None:
    words = [*WORDS, "--pairs", "area-x2,lanczos-x1.5", "--json"]
    run = run_here("compare", clip, "-o", tmp_path / "out", *words)
    records = [json.loads(line) for line in run.stdout.splitlines()[:-1]]
    assert [(record["anchor"], record["test"]) for record in records] == [
        ("full size", "area-x2"),
        ("full size", "lanczos-x1.5"),
        ("area-x2", "lanczos-x1.5"),
    ]


def test_text_names_figures_and_their_lack(tmp_path: Path, clip: Path) -> None:
    run = run_here("compare", clip, "-o", tmp_path / "out", *WORDS, "--pairs", "lanczos,area")
    assert run.code == 0, run.stderr
    assert re.match("x264 ultrafast: .*(fewer bits|as many bits|does not pay|no figure)", run.stdout)
    assert "x264 ultrafast, PSNR-Y, against full size" in run.stdout
    assert "x264 ultrafast, PSNR-Y, against lanczos-x2" in run.stdout
    assert re.search(r"area-x2 +[-+]\d+\.\d % +[-+]\d+\.\d\d dB +\d+ %", run.stdout)
    assert "index.html" in run.stderr
    quiet = run_here("compare", clip, "-o", tmp_path / "out", *WORDS, "--pairs", "lanczos,area", "--quiet")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (0, "", "")


def test_records_are_as_documented(tmp_path: Path, clip: Path) -> None:
    words = [*WORDS[:4], "--pairs", "lanczos", "--scales", "1.25", "--rates", "20,50", "--json"]
    other = Path(shutil.copy(clip, tmp_path / "copy.mp4"))
    run = run_here("compare", clip, other, tmp_path / "none.mp4", "-o", tmp_path / "out", *words)
    records = [json.loads(line) for line in run.stdout.splitlines()]
    assert [record["event"] for record in records] == ["bd", "bd", "bd", "failed", "compared"]
    for record in records:
        assert set(record) - {"event"} == documented(record["event"])
    first, second, mean = records[:3]
    assert (first["movie"], second["movie"], mean["movie"]) == ("clip.mp4", "copy.mp4", None)
    assert mean["bd_rate"] == pytest.approx((first["bd_rate"] + second["bd_rate"]) / 2)
    assert (mean["movies"], first["movies"]) == (2, None)
    comparison = read_comparison(tmp_path / "out")
    figure = bd_rate(comparison.curves[0], comparison.curves[1], "psnr_y")
    assert isinstance(figure, Delta)
    assert (first["bd_rate"], first["overlap"]) == (figure.value, figure.overlap)


def test_csv_holds_every_point(tmp_path: Path, clip: Path) -> None:
    comparison = api.compare(clip, output=tmp_path / "out", **QUICK)
    with (tmp_path / "out" / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    points = [(curve, point) for curve in comparison.curves for point in curve.points]
    for row, (curve, point) in zip(rows, points, strict=True):
        assert (row["movie"], float(row["crf"])) == ("clip.mp4", point.crf)
        assert row["down"] == (curve.candidate.down or "none")
        assert float(row["bitrate_kbps"]) == pytest.approx(point.bitrate_kbps, abs=1e-3)
        assert float(row["psnr_y"]) == pytest.approx(point.metrics["psnr_y"], abs=1e-5)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--pairs", "nearest"], 1, "unknown pair 'nearest"),
        (["--pairs", "lanczos-x2:area-x3"], 2, "names two scales"),
        (["--pairs", "a:b:c"], 2, "neither FAMILY nor DOWN:UP"),
        (["--scales", "1"], 1, "lanczos at scale 1 is the full size"),
        (["--pairs", "ffmpeg-lanczos-x9"], 2, "ffmpeg-lanczos-x9': scale 9 is outside 1 to 8"),
        (["--scales", "9"], 2, "outside 1 to 8"),
        (["--codec", "vp9"], 2, "vp9"),
        (["--preset", "fastest"], 2, "no encoder has preset 'fastest'"),
        (["--rates", "20,60"], 2, "rate 60 is outside 0 to 51 of x264"),
        (["--rates", "low"], 2, "low"),
        (["--samples", "5"], 2, "samples '5' is not NxSECONDS"),
        (["--samples", "0x4"], 2, "samples '0x4' is not NxSECONDS"),
        (["--metrics", "psnr_y,mos"], 2, "unknown metric 'mos'"),
        (["--metrics", ""], 2, "metrics"),
        (["--within", "vmaf=88:60"], 2, "LOW must be less than HIGH"),
        (["--within", "88:60"], 2, "is not METRIC=LOW:HIGH"),
        (["--jobs", "0"], 2, "jobs"),
        (["--ffmpeg", "/none/ffmpeg"], 1, "no ffmpeg can do this"),
        (["-o", "{clip}"], 1, "cannot be a folder"),
        (["--plot", "curves.jpg"], 1, "its name must end in .png, .svg, .pdf"),
        (["--plot", "{clip}/nowhere/curves.png"], 1, "does not exist"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    tmp_path: Path, clip: Path, words: list[str], code: int, text: str
) -> None:
    out = [] if "-o" in words else ["-o", tmp_path / "out"]
    run = run_here("compare", clip, *out, *(word.format(clip=clip) for word in words))
    assert run.code == code, run.stderr
    (line,) = run.stderr.splitlines()
    assert line.startswith("vidscale: ")
    assert text in line
    assert run.stdout == ""
    assert not (tmp_path / "out").exists()


def test_plot_goes_into_the_folder_that_is_made(tmp_path: Path, clip: Path) -> None:
    run = run_here("compare", clip, "-o", tmp_path / "out", *WORDS, "--plot", tmp_path / "out" / "curves.png")
    assert run.code == 0, run.stderr
    assert (tmp_path / "out" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_pair_is_skipped_at_scales_where_it_is_missing(tmp_path: Path, clip: Path) -> None:
    run = run_here("compare", clip, "-o", tmp_path / "out", *WORDS, "--pairs", "lanczos", "--scales", "1,2")
    assert run.code == 0
    assert "skipped: lanczos at scale 1 is the full size" in run.stderr
    comparison = read_comparison(tmp_path / "out")
    assert [curve.candidate.scaling for curve in comparison.curves] == ["full size", "lanczos-x2"]


# Rates that are chosen.


def test_within_adds_rates_until_curves_span_the_range(tmp_path: Path, clip: Path) -> None:
    settings = {"preset": "ultrafast", "pairs": "lanczos", "metrics": "psnr_y", "within": "psnr_y=20:22"}
    comparison = api.compare(clip, output=tmp_path / "out", **settings)
    for curve in comparison.curves:
        values = [point.metrics["psnr_y"] for point in curve.points]
        near = [value for value in values if 20 <= value <= 22]
        if curve.candidate.is_full:
            continue
        assert min(values) <= 20 or max(point.crf for point in curve.points) == 51
        assert max(values) >= 22 or min(point.crf for point in curve.points) == 0
        assert near


def test_within_that_cannot_be_reached_gives_no_figure(tmp_path: Path, clip: Path) -> None:
    words = ["--preset", "ultrafast", "--pairs", "lanczos", "--metrics", "psnr_y", "--within", "psnr=30:48"]
    run = run_here("compare", clip, "-o", tmp_path / "out", *words, "--json")
    assert run.code == 0, run.stderr
    (record,) = [r for r in map(json.loads, run.stdout.splitlines()) if r["event"] == "bd"]
    assert record["bd_rate"] is None
    assert record["no_figure"].startswith("does not span PSNR-Y 30 to 48")
    tried = [point.crf for point in curve_of(read_comparison(tmp_path / "out"), "lanczos-x2").points]
    assert min(tried) == 0

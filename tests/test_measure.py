"""`measure`: pairing by time, and every figure against ffmpeg's own filter on the two files."""

import json
import math
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from material import coded, coding, ffmpeg, make, packet_data, picture, plan, restored, shown_times
from typer.testing import CliRunner

from vidscale.cli import app
from vidscale.config import FilesSettings
from vidscale.errors import ConfigError, MeasureError
from vidscale.jobs.evaluation import _timings, evaluate_encode, evaluate_files
from vidscale.media.frames import Frame, PixelFormat
from vidscale.report.files import write_json
from vidscale.report.reading import read_json
from vidscale.report.rows import Report, Unpaired
from vidscale.report.totals import columns, psnr, remarks, totals
from vidscale.stages.pairing import paired
from vidscale.system.threads import Clock

FFV1 = ["-c:v", "ffv1", "-level", "3"]
SIZE = "176x144"  # libvmaf wants some pixels
PAIRED = "settb=1/25,setpts=N"  # ffmpeg pairs by time, of which one file has only ms


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos that several tests share."""
    return tmp_path_factory.mktemp("measured")


@pytest.fixture(scope="session")
def pair(folder: Path) -> tuple[Path, Path]:
    """A moving picture, and the same encoded with x264."""
    ref = make(
        folder / "ref.mkv", *picture(SIZE, duration=0.6, then="noise=alls=8:allf=t"), "-pix_fmt", "yuv420p", *FFV1
    )
    dist = make(folder / "dist.mp4", "-i", ref, "-c:v", "libx264", "-crf", "32", "-bf", "3", "-pix_fmt", "yuv420p")
    return ref, dist


def measured(ref: Path, dist: Path, **settings: Any) -> Report:
    """The report about two files."""
    return evaluate_files(ref, dist, FilesSettings.resolve(settings))


def stats(ref: Path, dist: Path, name: str, path: Path) -> list[dict[str, float]]:
    """Per-frame values that an ffmpeg filter writes, such as ``psnr_y:34.20``."""
    ffmpeg("-i", dist, "-i", ref, "-lavfi", f"[0:v][1:v]{name}=stats_file={path.as_posix()}", "-f", "null", "-")
    pairs = [re.findall(r"(\w+):([\d.inf-]+)", line) for line in path.read_text().splitlines()]
    return [{key: float(value) for key, value in line} for line in pairs]


# Against ffmpeg


@pytest.mark.slow
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le", "gray", "yuv422p12le"])
def test_psnr_equals_ffmpeg_in_every_frame(pix_fmt: str, folder: Path, tmp_path: Path) -> None:
    noise = "noise=alls=8:allf=t"
    ref = make(folder / f"ref_{pix_fmt}.mkv", *picture("66x50", duration=0.4), "-pix_fmt", pix_fmt, *FFV1)
    dist = make(folder / f"dist_{pix_fmt}.mkv", "-i", ref, "-vf", f"{noise},format={pix_fmt}", *FFV1)
    truth = stats(ref, dist, "psnr", tmp_path / "psnr.log")
    table = columns(measured(ref, dist))
    assert len(truth) == len(table["psnr_y"]) == 10
    planes = ["y"] if pix_fmt == "gray" else ["y", "u", "v"]
    for plane in planes:
        np.testing.assert_allclose(table[f"psnr_{plane}"], [row[f"psnr_{plane}"] for row in truth], rtol=0, atol=0.01)
        np.testing.assert_allclose(table[f"mse_{plane}"], [row[f"mse_{plane}"] for row in truth], rtol=0, atol=0.006)
    if pix_fmt != "gray":
        np.testing.assert_allclose(table["psnr_yuv"], [row["psnr_avg"] for row in truth], rtol=0, atol=0.01)


@pytest.mark.parametrize("size", ["176x144", "66x50", "37x29"])
def test_ssim_equals_ffmpeg_in_every_frame(size: str, folder: Path, tmp_path: Path) -> None:
    words = ["-pix_fmt", "yuv444p", *FFV1]
    ref = make(
        folder / f"ref_{size}.mkv", *picture("176x144", duration=0.4, then=f"scale={size.replace('x', ':')}"), *words
    )
    dist = make(folder / f"dist_{size}.mkv", "-i", ref, "-vf", "gblur=1,noise=alls=8:allf=t", *words)
    truth = stats(ref, dist, "ssim", tmp_path / "ssim.log")
    report = measured(ref, dist, ssim="ffmpeg")
    table = columns(report)
    assert report.ssim_window == "ffmpeg8x8"
    for plane in ("y", "u", "v"):
        np.testing.assert_allclose(table[f"ssim_{plane}"], [row[plane.upper()] for row in truth], rtol=0, atol=1e-4)


def test_totals_are_those_of_the_frames(pair: tuple[Path, Path], tmp_path: Path) -> None:
    truth = stats(*pair, "psnr", tmp_path / "psnr.log")
    ffmpeg_log = [row["psnr_y"] for row in truth]
    sums = totals(measured(*pair))
    assert sums.frames == 15
    assert sums.psnr_y.mean_of_frames == pytest.approx(np.mean(ffmpeg_log), abs=0.01)
    of_mean = 10 * math.log10(255**2 / np.mean([row["mse_y"] for row in truth]))
    assert sums.psnr_y.of_mean_mse == pytest.approx(of_mean, abs=0.01)
    assert sums.psnr_y.minimum == pytest.approx(min(ffmpeg_log), abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_vmaf_equals_libvmaf_on_two_files(pix_fmt: str, pair: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    ref, dist = pair
    if pix_fmt != "yuv420p":
        ref = make(folder / "ref10.mkv", "-i", pair[0], "-pix_fmt", pix_fmt, *FFV1)
        dist = make(folder / "dist10.mkv", "-i", pair[1], "-pix_fmt", pix_fmt, *FFV1)
    log = tmp_path / "vmaf.json"
    models = r"version=vmaf_v0.6.1\\:name=vmaf|version=vmaf_v0.6.1neg\\:name=neg"
    graph = f"[0:v]{PAIRED}[d];[1:v]{PAIRED}[r];[d][r]libvmaf=model={models}:log_fmt=json:log_path={log.as_posix()}"
    ffmpeg("-i", dist, "-i", ref, "-lavfi", graph, "-f", "null", "-")
    truth = [frame["metrics"] for frame in json.loads(log.read_text())["frames"]]
    rows = measured(ref, dist, vmaf=True, xpsnr=True).rows
    assert [row.vmaf for row in rows] == pytest.approx([frame["vmaf"] for frame in truth], abs=1e-4)
    assert [row.vmaf_neg for row in rows] == pytest.approx([frame["neg"] for frame in truth], abs=1e-4)
    assert 1 < min(row.vmaf for row in rows) < max(row.vmaf for row in rows) < 99.9


def test_xpsnr_equals_ffmpeg_on_two_files(pair: tuple[Path, Path], tmp_path: Path) -> None:
    ref, dist = pair
    log = tmp_path / "xpsnr.log"
    graph = f"[0:v]{PAIRED}[d];[1:v]{PAIRED}[r];[r][d]xpsnr=stats_file={log.as_posix()}"
    ffmpeg("-i", dist, "-i", ref, "-lavfi", graph, "-f", "null", "-")
    truth = [float(value) for value in re.findall(r"XPSNR y: *(\S+)", log.read_text())]
    rows = measured(ref, dist, xpsnr=True).rows
    assert [row.xpsnr_y for row in rows] == pytest.approx(truth[: len(rows)], abs=1e-4)
    assert all(row.vmaf is None for row in rows)


def test_pictures_too_small_for_vmaf_are_refused(folder: Path) -> None:
    ref = make(folder / "tiny.mkv", *picture("18x16", duration=0.2), *FFV1)
    with pytest.raises(MeasureError, match="VMAF needs pictures of 18x18 or more, these are 18x16"):
        measured(ref, ref, vmaf=True)
    assert all(row.xpsnr_y is not None for row in measured(ref, ref, xpsnr=True).rows)


@pytest.mark.parametrize("size", ["97x75", "176x143"])
def test_perceptual_figures_of_odd_sizes(size: str, folder: Path, tmp_path: Path) -> None:
    crop = f"crop={size.replace('x', ':')}:exact=1"
    ref = make(folder / f"odd_{size}.mkv", *picture(SIZE, duration=0.2, then=crop), "-pix_fmt", "yuv444p", *FFV1)
    dist = make(folder / f"odd_dist_{size}.mkv", "-i", ref, "-vf", "gblur=1", "-pix_fmt", "yuv444p", *FFV1)
    log = tmp_path / "vmaf.json"
    graph = f"[0:v][1:v]libvmaf=model=version=vmaf_v0.6.1:log_fmt=json:log_path={log.as_posix()}"
    ffmpeg("-i", dist, "-i", ref, "-lavfi", graph, "-f", "null", "-")
    truth = [frame["metrics"]["vmaf"] for frame in json.loads(log.read_text())["frames"]]
    rows = measured(ref, dist, vmaf=True).rows
    assert [row.vmaf for row in rows] == pytest.approx(truth, abs=1e-4)


# Perfect, and not comparable


def test_identical_files_are_infinite(pair: tuple[Path, Path], tmp_path: Path) -> None:
    copy = make(tmp_path / "copy.mp4", "-i", pair[0], "-c:v", "libx264", "-qp", "0")
    report = measured(pair[0], copy, xpsnr=True)
    assert {row.mse for row in report.rows} == {(0.0, 0.0, 0.0)}
    assert {row.ssim for row in report.rows} == {(1.0, 1.0, 1.0)}
    assert {row.xpsnr_y for row in report.rows} == {math.inf}
    sums = totals(report)
    assert sums.psnr_y.perfect_frames == 15
    assert sums.psnr_y.mean_of_frames == sums.psnr_y.of_mean_mse == sums.psnr_y.minimum == math.inf
    result = CliRunner().invoke(app, ["measure", str(pair[0]), str(copy), "--json"])
    record = json.loads(result.stdout)
    assert record["totals"]["psnr_y"]["mean_of_frames"] == "inf"
    assert record["totals"]["frames"] == 15


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-vf", "scale=88:72"], "88x72 yuv420p"),
        (["-vf", "crop=174:144"], "174x144 yuv420p"),
        (["-pix_fmt", "yuv444p"], "176x144 yuv444p"),
        (["-pix_fmt", "yuv420p10le"], "176x144 yuv420p10le"),
    ],
)
def test_videos_that_differ_in_size_or_format_are_refused(
    words: list[str], told: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    other = make(tmp_path / "other.mkv", "-i", pair[0], "-frames:v", 2, *words, *FFV1)
    with pytest.raises(
        MeasureError, match=f"other.mkv is {told}, .*ref.mkv is 176x144 yuv420p: only videos of the same size"
    ):
        measured(pair[0], other)
    result = CliRunner().invoke(app, ["measure", str(pair[0]), str(other)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_small_file_is_restored_before_it_is_measured(pair: tuple[Path, Path], tmp_path: Path) -> None:
    settings = {"scale": "2", "crf": 25}
    decided = plan(pair[0], tmp_path / "small.mkv", **settings)
    outcome = coding(pair[0], tmp_path / "small.mkv", **settings)
    rows = evaluate_encode(decided, outcome).rows
    report = measured(pair[0], outcome.path)
    assert report.rows == list(rows)
    assert (report.distorted.coded_width, report.distorted.coded_height) == (88, 72)
    # The restored file, stored without loss, is another road to the same figures.
    lossless = measured(pair[0], restored(outcome.path, lossless=True))
    assert [row.mse for row in lossless.rows] == [row.mse for row in rows]
    assert [row.ssim for row in lossless.rows] == [row.ssim for row in rows]


# Pairing


def test_missing_frames_are_reported_never_shifted(pair: tuple[Path, Path], tmp_path: Path) -> None:
    ref, dist = pair
    full = {row.pts_s: row.mse for row in measured(ref, dist).rows}
    # Frames 0, 4, 5 and 14 are taken out, in turn, of either side.
    words = ["-vf", "select=not(eq(n\\,0)+between(n\\,4\\,5)+eq(n\\,14))", "-fps_mode", "passthrough", *FFV1]
    missing = [Fraction(n, 25) for n in (0, 4, 5, 14)]
    for ours, theirs in ((ref, dist), (dist, ref)):
        gap = make(tmp_path / "gap.mkv", "-i", theirs, *words)
        assert len(shown_times(gap)) == 11
        report = measured(ours, gap) if ours == ref else measured(gap, dist)
        lonely = report.unpaired.ref_only if ours == ref else report.unpaired.dist_only
        others = report.unpaired.dist_only if ours == ref else report.unpaired.ref_only
        assert (list(lonely), list(others)) == (missing, [])
        assert {row.pts_s: row.mse for row in report.rows} == {t: e for t, e in full.items() if t not in missing}


def test_frames_on_both_sides_alone(pair: tuple[Path, Path], tmp_path: Path) -> None:
    ref = make(tmp_path / "a.mkv", "-i", pair[0], "-vf", "select=not(eq(n\\,3))", "-fps_mode", "passthrough", *FFV1)
    dist = make(tmp_path / "b.mkv", "-i", pair[1], "-vf", "select=not(eq(n\\,9))", "-fps_mode", "passthrough", *FFV1)
    report = measured(ref, dist)
    assert report.unpaired.ref_only == [Fraction(9, 25)]
    assert report.unpaired.dist_only == [Fraction(3, 25)]
    full = {row.pts_s: row.mse for row in measured(*pair).rows}
    assert {row.pts_s: row.mse for row in report.rows} == {
        t: e for t, e in full.items() if t not in (Fraction(9, 25), Fraction(3, 25))
    }


def test_time_bases_that_round_differently_pair_up(folder: Path, tmp_path: Path) -> None:
    source = picture(SIZE, rate="30000/1001", duration=1)
    ref = make(folder / "ntsc.mp4", *source, "-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv420p")
    dist = make(tmp_path / "ms.mkv", "-i", ref, "-c", "copy")
    assert shown_times(ref) != shown_times(dist)
    report = measured(ref, dist)
    assert len(report.rows) == 30
    assert report.unpaired == Unpaired()
    assert {row.mse for row in report.rows} == {(0.0, 0.0, 0.0)}


def test_videos_that_never_meet_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    late = make(tmp_path / "late.mkv", "-itsoffset", "100", "-i", pair[0], "-c", "copy", "-copyts")
    with pytest.raises(MeasureError, match="no frame of one video has a partner in the other"):
        measured(pair[0], late)


def frames(times: list[int], unit: Fraction) -> list[Frame]:
    """Frames without content."""
    plane = np.zeros((1, 1), np.uint8)
    return [Frame((plane,), PixelFormat("gray", 8), pts=pts, time_base=unit) for pts in times]


@pytest.mark.parametrize(
    ("ref", "ref_unit", "dist", "dist_unit", "pairs"),
    [
        ([0, 1001, 2002], "1/30000", [0, 33, 67], "1/1000", [(0, 0), (1001, 33), (2002, 67)]),
        ([0, 1, 2], "1/25", [0, 40, 81], "1/1000", [(0, 0), (1, 40), (2, 81)]),
        ([0, 2, 4], "1/50", [1, 3, 5], "1/50", []),  # half a tick apart at most, never the neighbour
        ([0, 10, 20], "1/1000", [0, 9, 10, 20], "1/1000", [(0, 0), (10, 10), (20, 20)]),
        # Ticks coarser than the distance of two frames: the nearest wins, one to one.
        ([0, 1, 2, 3], "1/1000", [0, 1], "1/500", [(0, 0), (2, 1)]),
        ([], "1/25", [0, 1], "1/25", []),
    ],
)
def test_pairing(ref: list[int], ref_unit: str, dist: list[int], dist_unit: str, pairs: list[tuple[int, int]]) -> None:
    unpaired = Unpaired()
    ours, theirs = frames(ref, Fraction(ref_unit)), frames(dist, Fraction(dist_unit))
    found = [(a.pts, b.pts) for a, b in paired(iter(ours), iter(theirs), unpaired)]
    assert found == pairs
    assert len(unpaired.ref_only) == len(ref) - len(pairs)
    assert len(unpaired.dist_only) == len(dist) - len(pairs)


def test_report_is_written_when_asked(pair: tuple[Path, Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["measure", str(pair[0]), str(pair[1]), "-o", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert record["totals"] == report["totals"]
    assert report["distorted"]["codec"] == "h264"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["frames.csv", "index.html", "report.json"]


def test_small_file_measured_at_scale_one_is_as_its_decoder_sees_it(pair: tuple[Path, Path], tmp_path: Path) -> None:
    small = coded(pair[0], tmp_path / "small.mkv", crf=30)
    truth = stats(pair[0], small, "psnr", tmp_path / "psnr.log")
    table = columns(measured(pair[0], small))
    np.testing.assert_allclose(table["psnr_y"], [row["psnr_y"] for row in truth], rtol=0, atol=0.01)


# A part of the frames, of the picture, another size


def test_every_third_frame_has_the_same_scores(pair: tuple[Path, Path], tmp_path: Path) -> None:
    settings = {"vmaf": True, "xpsnr": True}
    whole, third = measured(*pair, **settings), measured(*pair, every=3, **settings)
    assert [replace(row, span_bytes=None) for row in third.rows] == whole.rows[::3]
    assert [row.span_bytes for row in third.rows] == [
        sum(row.bytes or 0 for row in whole.rows[start : start + 3]) for start in range(0, 15, 3)
    ]
    assert (third.pairs, third.pairing.every) == (15, 3)
    ours, theirs = totals(third), totals(whole)
    assert (ours.frames, ours.bitrate_kbps, ours.bpp) == (5, theirs.bitrate_kbps, theirs.bpp)
    assert third.distorted.duration_s == whole.distorted.duration_s
    assert "5 of 15 frame pairs were measured, one in 3; bitrates cover all frames." in remarks(third, ours)
    write_json(third, tmp_path / "report.json")
    assert read_json(tmp_path / "report.json") == replace(third, rows=tuple(third.rows))


@pytest.mark.parametrize("every", [1, 2])
def test_frames_without_a_partner_count_towards_bitrates(every: int, tmp_path: Path) -> None:
    coding = ["-c:v", "libx264", "-crf", "20", "-bf", "0", "-g", "1"]
    slow, fast = (make(tmp_path / f"{rate}.mkv", *picture(rate=rate), *coding) for rate in (25, 50))
    sizes = {path: [len(packet) for packet in packet_data(path, 0)] for path in (slow, fast)}
    for ref, dist, seconds in ((slow, fast, 1), (fast, slow, 0.98)):  # until the source's last paired frame ends
        report = measured(ref, dist, every=every, ssim="ffmpeg")
        read, coded_sizes = sizes[ref][: 49 if ref == fast else 25], sizes[dist]
        assert report.pairs == 25
        assert report.source.video_bytes == sum(read)
        sums = totals(report)
        assert sums.bitrate_kbps == pytest.approx(sum(coded_sizes) * 8 / 1000 / seconds)
        assert sums.bpp == pytest.approx(sum(coded_sizes) * 8 / (64 * 48 * len(coded_sizes)))
        assert sum(shot.bytes or 0 for shot in report.shots) == report.distorted.video_bytes
        write_json(report, tmp_path / "report.json")
        assert read_json(tmp_path / "report.json") == replace(report, rows=tuple(report.rows))
    table, whole = (columns(measured(ref, fast, ssim="ffmpeg", every=every)) for ref in (slow, fast))
    whole_kbps = whole["bitrate_kbps"][np.isin(whole["pts_s"], table["pts_s"])]
    assert table["bitrate_kbps"] == pytest.approx(whole_kbps, rel=0.02)  # the window cuts spans


def test_bitrates_are_of_the_compared_part(tmp_path: Path) -> None:
    coding = ["-c:v", "libx264", "-crf", "20", "-bf", "0", "-g", "1"]
    film = make(tmp_path / "film.mkv", *picture("64x48", duration=1), *coding)
    middle = make(tmp_path / "middle.mkv", "-ss", "0.4", "-t", "0.2", "-copyts", "-i", film, *coding)
    for ref, dist in ((film, middle), (middle, film)):
        report = measured(ref, dist)
        assert report.pairs == 5
        sizes = {film: sum(map(len, packet_data(film, 0)[10:15])), middle: sum(map(len, packet_data(middle, 0)))}
        assert (report.source.video_bytes, report.distorted.video_bytes) == (sizes[ref], sizes[dist])


@pytest.mark.slow
def test_every_fifth_frame_keeps_the_sliding_bitrate(tmp_path: Path) -> None:
    coding = ["-c:v", "libx264", "-crf", "20", "-bf", "0", "-g", "1"]
    film = make(tmp_path / "film.mp4", *picture(SIZE, duration=8), *coding)
    whole, some = (columns(measured(film, film, ssim="ffmpeg", every=every)) for every in (1, 5))
    assert some["bitrate_kbps"] == pytest.approx(whole["bitrate_kbps"][::5], rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("crop", "where"),
    [("96:64:48:20", "96:64:48:20"), ("96:64", "96:64:40:40"), ("95:63:0:2", "95:63:0:2")],
)
def test_part_of_the_source_is_compared(pair: tuple[Path, Path], tmp_path: Path, crop: str, where: str) -> None:
    ref, dist = (
        make(tmp_path / f"{path.stem}.mkv", "-i", path, "-vf", f"crop={where}:exact=1", *FFV1) for path in pair
    )
    report = measured(pair[0], dist, crop=crop)
    assert [row.mse for row in report.rows] == [row.mse for row in measured(ref, dist).rows]
    width, height, x, y = where.split(":")
    assert (report.source.width, report.source.height) == (int(width), int(height))
    assert f"only {width}x{height} at {x},{y} of ref.mkv is compared" in report.notes


@pytest.mark.parametrize(
    ("crop", "words"),
    [
        ("176:146", "176x146 at 0,-2 reaches beyond"),
        ("100:100:80:0", "100x100 at 80,0 reaches beyond .*ref.mkv, which is 176x144"),
        ("100:100:1:0", "1,0 is not a multiple of 2,2, as the chroma of yuv420p"),
        ("0:8", "crop.width"),
        ("8x8", "crop '8x8' is not W:H:X:Y or W:H"),
    ],
)
def test_crop_that_cannot_be_is_refused(pair: tuple[Path, Path], crop: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        measured(*pair, crop=crop)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", ["88:72", "118:96"])
def test_smaller_video_is_scaled_as_ffmpeg_does(
    pair: tuple[Path, Path], tmp_path: Path, kernel: str, size: str
) -> None:
    rung = make(tmp_path / "rung.mkv", "-i", pair[0], "-vf", f"scale={size}", *FFV1)
    scale = f"scale=176:144:flags={kernel}+accurate_rnd+full_chroma_int"
    scaled = make(tmp_path / "scaled.mkv", "-i", rung, "-vf", scale, *FFV1)
    report, wanted = measured(pair[0], rung, scale_dist=kernel), measured(pair[0], scaled)
    for ours, theirs in zip(report.rows, wanted.rows, strict=True):
        assert psnr(ours.mse, 255) == pytest.approx(psnr(theirs.mse, 255), abs=0.01)
    assert report.distorted.coded_width == int(size.split(":")[0])
    assert any(f"to 176x144 by ffmpeg's {kernel}" in note for note in report.notes)


@pytest.mark.parametrize("pix_fmt", ["yuvj420p", "yuv420p10le"])
def test_scaling_and_cropping_keep_full_range(tmp_path: Path, pix_fmt: str) -> None:
    """White in full range stays white and does not become limited-range white."""
    codec = ["-c:v", "mjpeg", "-q:v", "1"] if pix_fmt == "yuvj420p" else FFV1
    white = bytes([255]) * (64 * 64) if pix_fmt == "yuvj420p" else b"\xff\x03" * (64 * 64)
    chroma = bytes([128]) * (64 * 64 // 2) if pix_fmt == "yuvj420p" else b"\x00\x02" * (64 * 64 // 2)
    raw = ["-f", "rawvideo", "-pix_fmt", pix_fmt, "-r", "25"]
    big = make(tmp_path / "64.mkv", *raw, "-s", "64x64", "-i", "pipe:0", *codec, data=2 * (white + chroma))
    small = make(
        tmp_path / "32.mkv", *raw, "-s", "32x32", "-i", "pipe:0", *codec,
        data=2 * (white[: len(white) // 4] + chroma[: len(chroma) // 4]),
    )  # fmt: skip
    report = measured(big, small, scale_dist="bicubic", crop="48:48")
    assert {row.mse for row in report.rows} == {(0.0, 0.0, 0.0)}


def test_files_that_are_tagged_differently_are_compared_with_a_note(pair: tuple[Path, Path], tmp_path: Path) -> None:
    ref, dist = (
        make(tmp_path / f"{name}.mkv", "-i", pair[0], "-vf", f"setparams=range=tv:color_trc={transfer}", *FFV1)
        for name, transfer in (("ref", "smpte2084"), ("dist", "bt709"))
    )
    report = measured(ref, dist)
    note = "the two are tagged differently (transfer smpte2084 and bt709): code values are compared"
    assert note in report.notes
    assert any("computed on code values" in line for line in remarks(report, totals(report)))
    assert {row.mse for row in report.rows} == {(0.0, 0.0, 0.0)}


@pytest.mark.parametrize(
    ("ours", "theirs", "options", "code"),
    [
        ("all", "third", [], 0),  # an excerpt in time: all of its frames have a partner
        ("all", "third", ["--max-unpaired", "50"], 1),
        ("all", "third", ["--max-unpaired", "67"], 0),
        ("odd", "third", [], 1),
        ("odd", "third", ["--max-unpaired", "100"], 0),
        ("all", "all", ["--max-unpaired", "0"], 0),
    ],
)
def test_many_frames_alone_are_told_first_and_fail(
    ours: str, theirs: str, options: list[str], code: int, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    chosen = {"all": "1", "third": r"not(mod(n\,3))", "odd": r"mod(n\,2)"}
    kept = {"all": set(range(15)), "third": set(range(0, 15, 3)), "odd": set(range(1, 15, 2))}
    ref, dist = (
        make(
            tmp_path / f"{name}.mkv", "-i", pair[0], "-vf", f"select={chosen[which]}", "-fps_mode", "passthrough", *FFV1
        )
        for name, which in (("ref", ours), ("dist", theirs))
    )
    page = tmp_path / "report"
    text = CliRunner().invoke(app, ["measure", str(ref), str(dist), "-o", str(page), *options])
    record = CliRunner().invoke(app, ["measure", str(ref), str(dist), "--json", *options])
    assert (text.exit_code, record.exit_code) == (code, code)
    assert json.loads(record.stdout)["unpaired"] == {
        "ref": len(kept[ours] - kept[theirs]), "dist": len(kept[theirs] - kept[ours])
    }  # fmt: skip
    alone = ours != theirs
    assert (text.stdout.split()[:2] == ["WARNING", "Unpaired:"]) == alone
    if alone:
        whole, without = len(kept[ours]), len(kept[ours] - kept[theirs])
        assert f"{without} of {whole} frames of ref.mkv ({100 * without / whole:.1f} %)" in text.stdout.splitlines()[0]
    html = (page / "index.html").read_text(encoding="utf-8")
    assert (html.index("Frames compared") < html.index("PSNR-Y</dt>")) == alone
    assert ("have no partner, over the limit of" in text.stderr) == bool(code)


def test_stage_that_did_nothing_has_no_speed() -> None:
    """With --adapt, the frames that are encoded have been decoded before: 0 frames in 0 s were "inf" per second."""
    (timing,) = _timings([Clock("decode"), Clock("encode", 50, 2.0)], {})
    assert (timing.name, timing.fps) == ("encode", 25)

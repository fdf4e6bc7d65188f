"""Shots of the report: cuts made by ffmpeg are found, and a shot's numbers are those of its own frames."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from material import ffmpeg, make, picture

from vidscale.config import FilesSettings
from vidscale.jobs.evaluation import evaluate_files
from vidscale.media.frames import Frame, PixelFormat
from vidscale.report.files import write_json, write_report
from vidscale.report.reading import read_json
from vidscale.report.rows import Report
from vidscale.report.totals import columns, shot_totals, summary_lines
from vidscale.stages.shots import ShotFinder

CUTS = [0, 30, 42, 75]  # first frames of the shots; the last is the end
SCENES = ["testsrc2", "mandelbrot=maxiter=100", "rgbtestsrc"]
X264 = ["-c:v", "libx264", "-preset", "veryfast"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shots")


def cut_together(path: Path, size: str, pix_fmt: str) -> Path:
    """A movie of three scenes."""
    words = []
    for scene, (start, end) in zip(SCENES, pairwise(CUTS), strict=True):
        options = f"{scene}{':' if '=' in scene else '='}s={size}:r=25"
        words += ["-f", "lavfi", "-i", f"{options},format={pix_fmt},trim=end_frame={end - start},setsar=1"]
    return make(path, *words, "-lavfi", "[0][1][2]concat=n=3", "-pix_fmt", pix_fmt, *X264, "-crf", "12")


@pytest.fixture(scope="module")
def films(folder: Path) -> tuple[Path, Path]:
    ref = cut_together(folder / "ref.mp4", "160x96", "yuv420p")
    return ref, make(folder / "dist.mp4", "-i", ref, *X264, "-crf", "35", "-g", "20")


@pytest.fixture(scope="module")
def report(films: tuple[Path, Path]) -> Report:
    return evaluate_files(*films, FilesSettings())


def test_shots_are_between_the_cuts(report: Report) -> None:
    assert [(shot.start_index, shot.frames) for shot in report.shots] == [(a, b - a) for a, b in pairwise(CUTS)]
    assert [shot.start_s for shot in report.shots] == [Fraction(start, 25) for start in CUTS[:-1]]


@pytest.mark.parametrize("height", [1, 2, 67])
def test_shots_of_a_strip(height: int) -> None:
    """Pictures far wider than high: a thumbnail has a row at least."""
    finder = ShotFinder()
    for pts, code in enumerate([16, 16, 235, 235]):
        luma = np.full((height, 16384), code, np.uint8)
        finder.offer(Frame((luma,), PixelFormat("gray", 8), pts, Fraction(1, 25)), None)
    assert [shot.start_index for shot in finder.shots()] == [0, 2]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "pix_fmt"), [("1280x720", "yuv420p"), ("322x182", "yuv422p10le"), ("62x38", "gray")])
def test_shots_are_found_at_any_size_and_depth(tmp_path: Path, size: str, pix_fmt: str) -> None:
    film = cut_together(tmp_path / "film.mkv", size, pix_fmt)
    found = evaluate_files(film, film, FilesSettings(ssim="ffmpeg")).shots
    assert [shot.start_index for shot in found] == CUTS[:-1]


def test_film_without_a_cut_is_one_shot(tmp_path: Path) -> None:
    film = make(tmp_path / "film.mp4", *picture("160x96", duration=2), *X264)
    (shot,) = (report := evaluate_files(film, film, FilesSettings())).shots
    assert (shot.start_index, shot.frames, shot.bytes) == (0, 50, report.distorted.video_bytes)
    assert not any(line.startswith("shots") for line in summary_lines(report))


def test_numbers_of_each_shot_are_those_of_its_frames(report: Report, films: tuple[Path, Path], tmp_path: Path) -> None:
    with av.open(str(films[1])) as file:
        sizes = {packet.pts * packet.time_base: packet.size for packet in file.demux(video=0) if packet.size}
    ordered = [sizes[time] for time in sorted(sizes)]
    for one, (start, end) in zip(shot_totals(report, columns(report)), pairwise(CUTS), strict=True):
        trim = f"trim=start_frame={start}:end_frame={end}"
        stats = tmp_path / "stats"
        graph = f"[0]{trim}[d];[1]{trim}[r];[d][r]psnr=stats_file={stats}"
        ffmpeg("-i", films[1], "-i", films[0], "-lavfi", graph, "-f", "null", "-")
        ratios = [float(line.split("psnr_y:")[1].split()[0]) for line in stats.read_text().splitlines()]
        errors = [255**2 / 10 ** (ratio / 10) for ratio in ratios]
        assert one.psnr_y == pytest.approx(10 * np.log10(255**2 / np.mean(errors)), abs=0.01)
        assert one.worst_psnr_y == pytest.approx(min(ratios), abs=0.01)
        assert ratios[(one.worst_index or 0) - start] == pytest.approx(min(ratios), abs=0.01)
        assert one.ssim_y == pytest.approx(np.mean([row.ssim[0] for row in report.rows[start:end]]))
        assert one.shot.bytes == sum(ordered[start:end])
        assert one.bitrate_kbps == pytest.approx(sum(ordered[start:end]) * 8 / 1000 / ((end - start) / 25))


def test_shots_are_told_in_every_form(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    assert read_json(tmp_path / "report.json").shots == report.shots
    page = (tmp_path / "index.html").read_text()
    assert "<summary>Shots</summary>" in page
    assert "0:01.680" in page
    (line,) = [line for line in summary_lines(report) if line.startswith("shots ")]
    assert line.split()[1] == "3,"


def test_shots_of_each_third_frame_count_all_frames(films: tuple[Path, Path], report: Report, tmp_path: Path) -> None:
    third = evaluate_files(*films, FilesSettings(every=13))
    assert third.shots == report.shots
    found = shot_totals(third, columns(third))
    assert [one.bitrate_kbps for one in found] == [one.bitrate_kbps for one in shot_totals(report, columns(report))]
    assert found[1].worst_index == 39  # of 30 to 41 the only one that was measured
    nothing = evaluate_files(*films, FilesSettings(every=60))
    assert np.isnan(shot_totals(nothing, columns(nothing))[1].psnr_y)
    write_json(nothing, tmp_path / "report.json")
    assert read_json(tmp_path / "report.json").shots == nothing.shots

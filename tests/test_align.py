"""`vidscale measure --align`: offsets made by ffmpeg are found, and none is found where there is none."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from material import coded, make, picture, shown_times
from robustness import message, run_here

from vidscale.config import FilesSettings
from vidscale.errors import MeasureError
from vidscale.jobs.evaluation import evaluate_files
from vidscale.media.frames import Frame, PixelFormat
from vidscale.report.rows import Report, Unpaired
from vidscale.stages.align import find_offset

pytestmark = pytest.mark.slow

X264 = ["-c:v", "libx264", "-preset", "veryfast"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("align")


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    """Seven seconds, timestamps in 1/30000 s."""
    return make(folder / "source.mp4", *picture("160x96", "30000/1001", 7, then="format=yuv420p"), *X264, "-crf", "16")


@pytest.fixture(scope="module")
def dist(folder: Path, source: Path) -> Path:
    """The source at low quality, with the same timestamps."""
    return make(folder / "dist.mp4", "-i", source, *X264, "-crf", "36")


@pytest.fixture(scope="module")
def truth(source: Path, dist: Path) -> list[tuple[float, ...]]:
    """Errors of the frames, paired by their unchanged times."""
    return [row.mse for row in evaluate_files(source, dist, FilesSettings()).rows]


def measured(ref: Path, dist: Path, **settings: Any) -> Report:
    return evaluate_files(ref, dist, FilesSettings.resolve({"align": True, "align_window": 3}, settings))


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("shift", [0.5, 2.6, 0.0417, 0])
def test_other_times_are_found(
    source: Path, dist: Path, truth: list[Any], tmp_path: Path, container: str, shift: float
) -> None:
    late = make(tmp_path / f"late.{container}", "-i", dist, "-c", "copy", "-output_ts_offset", shift)
    for ref, other, sign in ((source, late, 1), (late, source, -1)):
        report = measured(ref, other)
        assert float(report.pairing.offset_s or 0) == pytest.approx(sign * shift, abs=0.0006)
        assert report.unpaired == Unpaired()
        assert [row.mse for row in report.rows] == truth


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_missing_head_is_found_and_its_frames_are_named(
    source: Path, dist: Path, truth: list[Any], tmp_path: Path, container: str
) -> None:
    cut = ["-vf", "trim=start_frame=40,setpts=PTS-STARTPTS", *X264, "-qp", "0"]
    report = measured(source, make(tmp_path / f"cut.{container}", "-i", dist, *cut))
    assert float(report.pairing.offset_s or 0) == pytest.approx(-40 * 1001 / 30000, abs=0.0006)
    assert report.unpaired.ref_only == [Fraction(1001 * n, 30000) for n in range(40)]
    assert report.unpaired.dist_only == []
    assert [row.mse for row in report.rows] == truth[40:]
    assert any(re.search(r"are 1\.33\d+ s earlier than", line) for line in remarks_of(report))


def test_dropped_frames_stay_without_a_partner(source: Path, dist: Path, truth: list[Any], tmp_path: Path) -> None:
    fewer = ["-vf", r"select=not(eq(mod(n\,7)\,3)),setpts=PTS+1.5/TB", "-fps_mode", "passthrough", *X264, "-qp", "0"]
    shifted = make(tmp_path / "fewer.mkv", "-i", dist, *fewer)
    report = measured(source, shifted)
    assert float(report.pairing.offset_s or 0) == pytest.approx(float(shown_times(shifted)[0]), abs=0.0006)
    assert [row.mse for row in report.rows] == [mse for number, mse in enumerate(truth) if number % 7 != 3]


def test_black_intro_does_not_mislead(source: Path, tmp_path: Path) -> None:
    intro = ["-vf", "tpad=start_duration=2:color=black,setpts=PTS-STARTPTS", *X264]
    ref = make(tmp_path / "ref.mp4", "-i", source, *intro, "-crf", "16")
    late = make(tmp_path / "late.mp4", "-i", ref, *X264, "-crf", "36", "-output_ts_offset", "0.7")
    assert float(measured(ref, late).pairing.offset_s or 0) == pytest.approx(0.7, abs=0.0006)


def test_part_of_a_source_is_found_without_restoring_it(source: Path, tmp_path: Path) -> None:
    small = coded(source, tmp_path / "small.mp4", range="2:6", scale="2")
    report = measured(source, small)
    first = report.rows[0].pts_s
    assert first == Fraction(1001 * 60, 30000)
    assert report.pairing.offset_s == -first
    assert len(report.rows) == 120


def test_pictures_that_never_change_are_taken_in_time(tmp_path: Path) -> None:
    still = ["-f", "lavfi", "-i", "color=gray:s=64x48:d=3,format=yuv420p"]
    ref, dist = (make(tmp_path / f"{name}.mp4", *still, *X264) for name in ("ref", "dist"))
    report = measured(ref, dist)
    assert report.pairing.offset_s == 0
    assert any(note.endswith("fit as well as zero: no offset was applied") for note in report.notes)


def test_what_cannot_be_told_is_refused(source: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other.mp4", *picture("160x96", duration=7, then="hflip,negate,hue=h=90"), *X264)
    said = message(run_here("measure", source, other, "--align", "--align-window", "2"))
    assert said == "--align: the pictures match at no offset within 2 s"
    with pytest.raises(MeasureError, match=r"offsets from -\d\.\d+ to \d\.\d+ s fit equally well"):
        find_offset(blinking(0), blinking(5), window_s=Fraction(3), ref_size=SIZE, dist_size=SIZE)
    with pytest.raises(MeasureError, match="too few frames"):
        find_offset(blinking(0), iter([]), window_s=Fraction(3), ref_size=SIZE, dist_size=SIZE)


SIZE = (Fraction(8), Fraction(8))


def blinking(start: int) -> Any:
    """Ten identical seconds, from frame number ``start`` on."""
    planes = np.random.default_rng(0).integers(0, 256, (25, 8, 8), np.uint8)
    for n in range(start, 250):
        yield Frame(
            (planes[n % 25],), PixelFormat("gray", 8), pts=n - start + 7 * (start > 0), time_base=Fraction(1, 25)
        )


def remarks_of(report: Report) -> list[str]:
    from vidscale.report.totals import remarks, totals

    return remarks(report, totals(report))

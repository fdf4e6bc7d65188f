"""Pairs of frames whose times were rounded by different containers: every frame gets its partner, and never a
neighbour."""

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from material import make, picture

from vidscale.config import FilesSettings
from vidscale.jobs.evaluation import evaluate_files
from vidscale.media.frames import Frame, PixelFormat
from vidscale.report.rows import Unpaired
from vidscale.stages.pairing import paired

pytestmark = pytest.mark.slow  # most cases encode and decode a file

MS = Fraction(1, 1000)
ROUND: dict[str, Callable[[Fraction], int]] = {
    "nearest": lambda ticks: math.floor(ticks + Fraction(1, 2)),
    "down": math.floor,
    "up": math.ceil,
}
RATES = ["24000/1001", "25", "30000/1001", "50", "60000/1001", "120", "240"]
FORMAT = PixelFormat("gray", 8)


def stamped(
    times: Iterable[Fraction], unit: Fraction, way: str = "nearest", *, without: Iterable[int] = (), late: object = 0
) -> list[Frame]:
    """Frames that show their own number, at integer times."""
    found = []
    for number, time in enumerate(times):
        if number not in without:
            pts = ROUND[way]((time + Fraction(str(late))) / unit)
            found.append(Frame((np.array([[number % 256]], np.uint8),), FORMAT, pts=pts, time_base=unit))
    return found


def numbers(ref: list[Frame], dist: list[Frame], **options: Fraction) -> tuple[list[tuple[int, int]], Unpaired]:
    unpaired = Unpaired()
    found = [(int(a.planes[0][0, 0]), int(b.planes[0][0, 0])) for a, b in paired(ref, dist, unpaired, **options)]
    return found, unpaired


def regular(rate: str, count: int = 200) -> list[Fraction]:
    return [n / Fraction(rate) for n in range(count)]


def uneven(count: int = 200) -> list[Fraction]:
    """A variable frame rate, with 8 to 120 ms from frame to frame."""
    gaps = np.random.default_rng(3).integers(240, 3600, count)
    return [Fraction(int(total), 30000) for total in np.cumsum(gaps)]


@pytest.mark.parametrize("other", ["exact", "nearest", "down", "up"])
@pytest.mark.parametrize("way", ["nearest", "down", "up"])
@pytest.mark.parametrize("rate", [*RATES, "uneven"])
def test_every_way_to_round_to_milliseconds(rate: str, way: str, other: str) -> None:
    if rate == "240" and other != "exact":
        pytest.skip("two roundings of 1 ms are half a frame's distance: see the test of very fast cameras")
    times = uneven() if rate == "uneven" else regular(rate)
    unit = Fraction(1, 90000) if other == "exact" else MS
    gone, missing = {3, 4, 90, 199}, {0, 50, 90, 150}
    ref = stamped(times, unit, "nearest" if other == "exact" else other, without=missing)
    dist = stamped(times, MS, way, without=gone)
    kept = [(n, n) for n in range(200) if n not in gone | missing]
    for ours, theirs, lonely in ((ref, dist, (gone, missing)), (dist, ref, (missing, gone))):
        found, unpaired = numbers(ours, theirs)
        assert found == kept
        assert len(unpaired.ref_only) == len(lonely[0] - lonely[1])
        assert len(unpaired.dist_only) == len(lonely[1] - lonely[0])


@pytest.mark.parametrize("way", ["nearest", "down", "up"])
@pytest.mark.parametrize("late", ["-0.0006", "-0.0003", "0.0004"])
@pytest.mark.parametrize("rate", [*RATES[:-1], "uneven"])
def test_constant_shift_below_a_tick(rate: str, way: str, late: str) -> None:
    times = [time + 1 for time in (uneven() if rate == "uneven" else regular(rate))]
    found, unpaired = numbers(stamped(times, Fraction(1, 90000)), stamped(times, MS, way, late=late))
    assert found == [(n, n) for n in range(200)]
    assert unpaired.count == 0


@pytest.mark.parametrize("way", ["nearest", "down", "up"])
@pytest.mark.parametrize("rate", ["480", "600", "960", "1000"])
@pytest.mark.parametrize("gone", [set(), {57}, {60, 61, 140}])
def test_very_fast_cameras(rate: str, way: str, gone: set[int]) -> None:
    """Frame distances are close to the ticks: earlier frames show how times were rounded."""
    times = regular(rate)
    found, _ = numbers(stamped(times, Fraction(1, 90000)), stamped(times, MS, way, without=gone))
    assert found == [(n, n) for n in range(200) if n not in gone]


@pytest.mark.parametrize("unit", [MS, Fraction(1, 12800), Fraction(1, 25), Fraction(1, 50)])
def test_frames_that_only_one_side_has_are_never_paired_with_a_neighbour(unit: Fraction) -> None:
    times = regular("25")
    even, odd = set(range(0, 200, 2)), set(range(1, 200, 2))
    found, unpaired = numbers(stamped(times, Fraction(1, 12800), without=even), stamped(times, unit, without=odd))
    assert found == []
    assert unpaired.count == 200
    fast = regular("1000")
    found, _ = numbers(stamped(fast, MS, without=even), stamped(fast, MS, without=odd))
    assert found == []


@pytest.mark.parametrize("rate", ["25", "30000/1001"])
def test_ticks_as_long_as_frames(rate: str) -> None:
    """AVI counts frames."""
    times = regular(rate)
    found, _ = numbers(stamped(times, Fraction(1, 90000)), stamped(times, 1 / Fraction(rate), without={20, 33, 34}))
    assert found == [(n, n) for n in range(200) if n not in (20, 33, 34)]


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("floor.mkv", "30000/1001"),
        ("floor.mkv", "60"),
        ("ceil.mkv", "120"),
        ("same.flv", "24000/1001"),
        ("same.avi", "30000/1001"),
    ],
)
@pytest.mark.parametrize("align", [False, True])
def test_copies_in_other_containers(tmp_path: Path, name: str, rate: str, align: bool) -> None:
    """Remuxed packets: two files with the same content have no error."""
    codec = ["-c:v", "libx264", "-bf", "0", "-pix_fmt", "yuv420p"]
    ref = make(tmp_path / "ref.mp4", *picture("64x48", rate=rate, duration=4), *codec)
    cut = name.split(".")[0]
    setts = ["-bsf:v", f"setts=ts={cut}(PTS*TB*1000)/1000/TB"] if cut != "same" else []
    copy = make(tmp_path / name, "-i", ref, "-c", "copy", *setts)
    for ours, theirs in ((ref, copy), (copy, ref)):
        report = evaluate_files(ours, theirs, FilesSettings(align=align, align_window=Fraction(1)))
        assert report.unpaired == Unpaired()
        assert len(report.rows) == math.ceil(4 * Fraction(rate))
        assert {row.mse for row in report.rows} == {(0.0, 0.0, 0.0)}

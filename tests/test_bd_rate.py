"""BD-rate against published values and a second library; crossings; curves without a figure."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import bjontegaard
import hypothesis
import hypothesis.strategies as st
import pytest

from vidscale.compare.analysis.bd_rate import Delta, MeanDelta, NoFigure, bd_quality, bd_rate, mean_delta
from vidscale.compare.analysis.crossings import crossing_sentence, rate_intervals, rate_text
from vidscale.compare.points import Candidate, Curve, Point
from vidscale.quality import Metric

Pairs = Sequence[tuple[float, float]]


def curve(pairs: Pairs, family: str = "", *, metric: Metric = "psnr_y", other: Sequence[float] = ()) -> Curve:
    """A curve of (kbit/s, quality); ``other`` is the VMAF of the same points."""
    scale = Fraction(2 if family else 1)
    points = []
    for at, (kbps, quality) in enumerate(pairs):
        metrics: dict[Metric, float] = {metric: quality}
        if other:
            metrics["vmaf"] = other[at]
        seconds = Fraction(1_000_000)  # so that whole bytes tell the bitrate to enough digits
        points.append(Point(20 + at, round(kbps * 125 * 1_000_000), seconds, 10, metrics, 1.0, 1.0))
    return Curve("movie", Candidate(family, family, scale, "x264", "medium"), points)


def value(figure: Delta | NoFigure) -> float:
    assert isinstance(figure, Delta), figure
    return figure.value


def reason(figure: object) -> str:
    assert isinstance(figure, NoFigure), figure
    return figure.reason


# (anchor, test, BD-rate in %) of Netflix/vmaf, python/test/bd_rate_calculator_test.py, BDrateCalculatorJCTVCTest:
# results of the spreadsheet of JCT-VC, whose macro is PCHIP; there to four places of the ratio.
PUBLISHED = [
    (
        [(108048.8736, 43.6471), (61279.976, 40.3953), (33905.6656, 37.247), (18883.6928, 34.2911)],
        [(108061.2784, 43.6768), (61299.9936, 40.4232), (33928.7472, 37.2761), (18910.912, 34.3147)],
        -0.465215420752807,
    ),
    (
        [(40433.8848, 37.5761), (7622.7456, 35.3756), (2394.488, 33.8977), (1017.6184, 32.0603)],
        [(40370.12, 37.5982), (7587.0024, 35.4025), (2390.0944, 33.9194), (1017.0984, 32.0822)],
        -1.8779823450567612,
    ),
]


@pytest.mark.parametrize(("anchor", "test", "percent"), PUBLISHED)
def test_bd_rate_is_the_published_value(anchor: Pairs, test: Pairs, percent: float) -> None:
    assert value(bd_rate(curve(anchor), curve(test, "lanczos"), "psnr_y")) == pytest.approx(percent, abs=0.01)


# Test data of FAU-LMS/bjontegaard, example_usage.py: the second pair overlaps in part, the third has six points.
EXAMPLES = [
    (
        [(9487.76, 40.037), (4593.60, 38.615), (2486.44, 36.845), (1358.24, 34.851)],
        [(9787.80, 40.121), (4469.00, 38.651), (2451.52, 36.970), (1356.24, 34.987)],
    ),
    (
        [(82472.76, 43.825), (26875.24, 41.404), (9487.76, 40.037), (4593.6, 38.615)],
        [(99896.96, 44.731), (33952.04, 41.875), (9787.8, 40.121), (4469.0, 38.651)],
    ),
    (
        [(82472.76, 43.825), (26875.24, 41.404), (9487.76, 40.037), (4593.6, 38.615), (3600, 36.5), (2900, 35.1)],
        [(99896.96, 44.731), (33952.04, 41.875), (9787.8, 40.121), (4469.0, 38.651), (4040, 37), (3300, 36.5)],
    ),
]


@pytest.mark.parametrize(("anchor", "test"), EXAMPLES)
def test_both_differences_are_those_of_the_bjontegaard_package(anchor: Pairs, test: Pairs) -> None:
    columns = [list(column) for pairs in (anchor, test) for column in zip(*sorted(pairs), strict=True)]
    ours, theirs = curve(anchor), curve(test, "lanczos")
    expected = bjontegaard.bd_rate(*columns, method="pchip", min_overlap=0)
    assert value(bd_rate(ours, theirs, "psnr_y")) == pytest.approx(expected, abs=1e-6)
    expected = bjontegaard.bd_psnr(*columns, method="pchip", min_overlap=0)
    assert value(bd_quality(ours, theirs, "psnr_y")) == pytest.approx(expected, abs=1e-6)


STEPS = st.lists(st.tuples(st.floats(0.02, 0.6), st.floats(0.2, 5)), min_size=4, max_size=8)


def walked(steps: Pairs, quality: float) -> Pairs:
    """(kbit/s, quality) from steps in log10 of the bitrate and in quality."""
    log_rate, pairs = 2.0, []
    for more_rate, more_quality in steps:
        log_rate, quality = log_rate + more_rate, quality + more_quality
        pairs.append((10**log_rate, quality))
    return pairs


@hypothesis.given(STEPS, STEPS, st.floats(28, 32))
@hypothesis.settings(max_examples=50)
def test_any_curves_agree_with_the_bjontegaard_package(first: Pairs, second: Pairs, start: float) -> None:

    anchor, test = walked(first, 30), walked(second, start)
    low, high = max(anchor[0][1], test[0][1]), min(anchor[-1][1], test[-1][1])
    hypothesis.assume(high - low > 0.1)
    columns = [list(column) for pairs in (anchor, test) for column in zip(*pairs, strict=True)]
    options = {"method": "pchip", "require_matching_points": False, "min_overlap": 0}
    expected = bjontegaard.bd_rate(*columns, **options)
    assert value(bd_rate(curve(anchor), curve(test, "area"), "psnr_y")) == pytest.approx(expected, rel=1e-6, abs=1e-6)


ANCHOR = [(1000, 30.0), (2000, 33.0), (4000, 36.0), (8000, 39.0)]


def test_a_quarter_fewer_bits_everywhere_is_minus_25_percent() -> None:
    test = curve([(0.75 * kbps, quality) for kbps, quality in ANCHOR], "lanczos")
    figure = bd_rate(curve(ANCHOR), test, "psnr_y")
    assert value(figure) == pytest.approx(-25)
    assert isinstance(figure, Delta)
    assert (figure.low, figure.high, figure.overlap, figure.notes) == (30, 39, 1, ())


def test_one_decibel_more_everywhere_is_one_decibel() -> None:
    test = curve([(kbps, quality + 1) for kbps, quality in ANCHOR], "lanczos")
    figure = bd_quality(curve(ANCHOR), test, "psnr_y")
    assert value(figure) == pytest.approx(1)
    assert isinstance(figure, Delta)
    assert (figure.low, figure.high) == pytest.approx((1000, 8000))


def test_overlap_is_the_common_part_of_both_ranges() -> None:
    figure = bd_rate(curve(ANCHOR), curve([(1000, 36.0), (4000, 42.0)], "lanczos"), "psnr_y")
    assert isinstance(figure, Delta)
    assert (figure.low, figure.high) == (36, 39)
    assert figure.overlap == pytest.approx(3 / 12)


def test_no_overlap_is_an_answer() -> None:
    test = curve([(1000, 40.0), (2000, 43.0)], "lanczos")
    assert reason(bd_rate(curve(ANCHOR), test, "psnr_y")) == (
        "no overlap in PSNR-Y: full size covers 30 to 39, lanczos-x2 covers 40 to 43"
    )
    assert "no overlap" in reason(rate_intervals(curve(ANCHOR), test, "psnr_y"))
    far = curve([(10, 31.0), (20, 33.0)], "lanczos")
    assert "no common bitrate" in reason(bd_quality(curve(ANCHOR), far, "psnr_y"))


@pytest.mark.parametrize("pairs", [[], [(1000, 31.0)], [(1000, 31.0), (1000, 31.0)], [(1000, 31.0), (2000, math.inf)]])
def test_fewer_than_two_points_have_no_figure(pairs: Pairs) -> None:
    anchor, test = curve(ANCHOR), curve(pairs, "lanczos")
    assert "fewer than two points" in reason(bd_rate(anchor, test, "psnr_y"))
    assert "fewer than two points" in reason(bd_quality(test, anchor, "psnr_y"))
    assert "fewer than two points" in reason(rate_intervals(anchor, test, "psnr_y"))


def test_metric_that_was_not_measured_has_no_figure() -> None:
    assert "fewer than two" in reason(bd_rate(curve(ANCHOR), curve(ANCHOR, "lanczos"), "vmaf"))


def test_points_that_no_curve_goes_through_are_left_out_and_named() -> None:
    odd = [*ANCHOR, (5000, 35.0), (9000, 39.0), (16000, math.inf), (2000, 33.0)]
    figure = bd_rate(curve(odd), curve([(0.5 * kbps, quality) for kbps, quality in ANCHOR], "lanczos"), "psnr_y")
    assert value(figure) == pytest.approx(-50)
    assert isinstance(figure, Delta)
    assert figure.notes == (
        "full size: points without a finite PSNR-Y, such as perfect copies, are left out",
        "full size: 2 points are left out, of more bits but no better PSNR-Y than another",
    )


def test_within_compares_only_there() -> None:
    # Straight lines of 10 and of 20 dB a decade: the mean difference is the one in the middle of the range.
    anchor = curve([(10 ** (quality / 10), quality) for quality in (30, 33, 36, 39)])
    test = curve([(10 ** (quality / 20 + 1.5), quality) for quality in (29, 33, 37, 41)], "lanczos")
    for low, high in [(30, 39), (30, 33), (34.5, 38)]:
        middle = (low + high) / 2
        expected = (10 ** (middle / 20 + 1.5 - middle / 10) - 1) * 100
        assert value(bd_rate(anchor, test, "psnr_y", within=("psnr_y", low, high))) == pytest.approx(expected)


@pytest.mark.parametrize("bounds", [(29, 38), (31, 40)])
def test_within_that_a_curve_does_not_span_has_no_figure(bounds: tuple[float, float]) -> None:
    wide = curve([(500, 20.0), *ANCHOR, (16000, 45.0)], "lanczos")
    for anchor, test in [(curve(ANCHOR), wide), (wide, curve(ANCHOR))]:
        figure = bd_rate(anchor, test, "psnr_y", within=("psnr_y", *bounds))
        assert reason(figure).startswith("does not span PSNR-Y")
        assert reason(figure).endswith("full size covers 30 to 39")


def test_within_of_one_metric_takes_the_same_part_of_the_anchor_for_another() -> None:
    anchor = curve(ANCHOR, other=[60, 70, 80, 90])
    test = curve([(700, 29.0), (1500, 33.0), (6000, 40.0)], "lanczos", other=[55, 65, 75])
    by_rank = bd_rate(anchor, test, "psnr_y", within=("vmaf", 70, 80))
    assert isinstance(by_rank, Delta)
    assert (by_rank.low, by_rank.high) == pytest.approx((33, 36))
    assert by_rank.value == pytest.approx(value(bd_rate(anchor, test, "psnr_y", within=("psnr_y", 33, 36))))
    assert reason(bd_rate(anchor, test, "vmaf", within=("vmaf", 70, 80))).startswith("does not span VMAF 70 to 80")
    better = bd_quality(anchor, test, "psnr_y", within=("vmaf", 70, 80))
    assert isinstance(better, Delta)
    assert (better.low, better.high) == pytest.approx((2000, 4000))


def test_mean_counts_what_has_no_figure() -> None:
    figures = [Delta(-10, 0, 1, 1), NoFigure("none"), Delta(20, 0, 1, 1)]
    assert mean_delta(figures) == MeanDelta(5, 2, 3)
    assert isinstance(mean_delta([NoFigure("none")]), NoFigure)


def test_crossing_is_where_straight_lines_meet() -> None:
    # Both straight over log rate: 10 dB a decade from (1 Mbit/s, 30 dB), 20 dB a decade through (4 Mbit/s, 36.02 dB).
    meeting = 30 + 10 * math.log10(4)
    anchor = [(1000 * 10 ** ((quality - 30) / 10), quality) for quality in (30, 33, 36, 39)]
    test = [(4000 * 10 ** ((quality - meeting) / 20), quality) for quality in (30, 33, 36, 39)]
    found = rate_intervals(curve(anchor), curve(test, "lanczos"), "psnr_y")
    assert not isinstance(found, NoFigure)
    assert [interval.verdict for interval in found] == ["costs", "saves"]
    assert found[0].high_kbps == found[1].low_kbps == pytest.approx(4000)
    assert found[0].high == pytest.approx(meeting)
    assert crossing_sentence(curve(anchor), curve(test, "lanczos"), "psnr_y") == (
        "below 4 Mbit/s lanczos-x2 costs bits against full size, above it saves bits"
    )
    assert crossing_sentence(curve(test), curve(anchor, "lanczos"), "psnr_y") == (
        "below 4 Mbit/s lanczos-x2 saves bits against full size, above it costs bits"
    )


def test_intervals_of_one_winner_are_one() -> None:
    test = curve([(0.8 * kbps, quality) for kbps, quality in ANCHOR], "lanczos")
    found = rate_intervals(curve(ANCHOR), test, "psnr_y")
    assert not isinstance(found, NoFigure)
    assert [(s.low, s.high, s.verdict) for s in found] == [(30, 39, "saves")]
    assert found[0].rate == pytest.approx(-20)
    sentence = crossing_sentence(curve(ANCHOR), test, "psnr_y")
    assert sentence == "from 1 Mbit/s to 8 Mbit/s lanczos-x2 saves bits against full size"


def test_equal_curves_are_level() -> None:
    sentence = crossing_sentence(curve(ANCHOR), curve(ANCHOR, "area"), "psnr_y")
    assert sentence == "from 1 Mbit/s to 8 Mbit/s area-x2 is level with full size"


@hypothesis.given(STEPS, STEPS, st.floats(28, 32))
@hypothesis.settings(max_examples=50)
def test_intervals_add_up_to_the_bd_rate(first: Pairs, second: Pairs, start: float) -> None:
    anchor, test = curve(walked(first, 30)), curve(walked(second, start), "area")
    found, whole = rate_intervals(anchor, test, "psnr_y"), bd_rate(anchor, test, "psnr_y")
    if isinstance(whole, NoFigure) or isinstance(found, NoFigure):
        assert isinstance(whole, NoFigure)
        assert isinstance(found, NoFigure)
        return
    hypothesis.assume(whole.high - whole.low > 0.01)
    area = sum(math.log10(1 + s.rate / 100) * (s.high - s.low) for s in found)
    assert area / (whole.high - whole.low) == pytest.approx(math.log10(1 + whole.value / 100), abs=1e-6)
    assert all(left.high == right.low for left, right in pairwise(found))
    assert all((left.rate < 0) != (right.rate < 0) for left, right in pairwise(found))


@pytest.mark.parametrize(
    ("kbps", "text"),
    [
        *((849.7, "850 kbit/s"), (999.9, "1 Mbit/s"), (1923, "1.9 Mbit/s")),
        *((54, "54 kbit/s"), (12345, "12 Mbit/s"), (998.9, "1000 kbit/s")),
    ],
)
def test_bitrates_for_people(kbps: float, text: str) -> None:
    assert rate_text(kbps) == text

"""The page of a comparison: answers that follow from known curves, any text escaped, complete in every empty case."""

import json
import math
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelled import AREA, FULL, FULL_X264, LANCZOS, modelled_comparison, modelled_curve, modelled_point
from PIL import Image
from web import Page, assert_self_contained

from vidscale.compare.analysis.answers import answers
from vidscale.compare.analysis.bd_rate import Delta, NoFigure, bd_quality, bd_rate
from vidscale.compare.analysis.figures import Figures
from vidscale.compare.analysis.lines import SAMPLES, rate_line, relative_line
from vidscale.compare.output.page import render_page
from vidscale.compare.output.page_stills import shown_frames
from vidscale.compare.points import Candidate, Comparison, Curve, MovieFacts, Point, Still

MARKUP = "<script>alert(1)</script>"
NOISE = np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def data_of(page: str, name: str = "comparison") -> Any:
    """The JSON inside a page, parsed strictly: without NaN and Infinity."""
    text = page.split(f'id="{name}">')[1].split("</script>")[0]
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def visible(page: str) -> str:
    return " ".join("".join(Page(page).visible).replace("\N{NO-BREAK SPACE}", " ").split())


def png(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def still(path: Path, candidate: Candidate | None = None, movie: str = "film.mp4") -> Still:
    return Still(movie, Fraction(4, 5), candidate, modelled_point(800, {"psnr_y": 34.0}) if candidate else None, path)


def verdicts(comparison: Comparison) -> list[tuple[str, ...]]:
    return [answer.sentences for answer in answers(comparison, Figures(comparison))]


def test_answer_saving_candidate():
    comparison = modelled_comparison(
        modelled_curve(FULL), modelled_curve(LANCZOS, bits=0.9), modelled_curve(AREA, bits=0.95)
    )
    (answer,) = answers(comparison, Figures(comparison))
    amounts = "10.0 % by PSNR-Y and 10.0 % by VMAF"
    expected = f"lanczos-x2 needs fewer bits than the full size for equal quality on average: {amounts}."
    assert answer.sentences == (expected,)
    assert [(one.metric, one.candidate, one.considered) for one in answer.best] == [
        ("psnr_y", LANCZOS, 2),
        ("vmaf", LANCZOS, 2),
    ]


def test_answer_names_losing_candidates():
    one = modelled_comparison(modelled_curve(FULL), modelled_curve(LANCZOS, bits=1.25), metrics=["psnr_y"])
    expected = "By PSNR-Y, downscaling does not pay on average: lanczos-x2 needs more bits, 25.0 % by PSNR-Y."
    assert verdicts(one) == [(expected,)]
    two = modelled_comparison(*one.curves, modelled_curve(AREA, bits=1.1), metrics=["psnr_y"])
    assert "area-x1.5, up by lanczos comes closest but needs more bits, 10.0 %" in verdicts(two)[0][0]


def test_answer_level():
    comparison = modelled_comparison(modelled_curve(FULL), modelled_curve(LANCZOS, bits=1.004), metrics=["psnr_y"])
    assert verdicts(comparison) == [("By PSNR-Y, lanczos-x2 needs as many bits as the full size on average.",)]
    assert 'class="tile"' in render_page(comparison)


def test_answer_says_that_little_is_common():
    little = modelled_comparison(modelled_curve(FULL), modelled_curve(LANCZOS, bits=0.9, psnr=(27, 30, 33)))
    assert "the curves share only 20 % of their range of quality" in visible(render_page(little))


def test_answer_names_crossings_per_movie():
    steep = modelled_curve(LANCZOS, bits=1.9, slope=2, psnr=(30, 33, 36, 39))  # crosses where 1.9 * 2**x = 1
    comparison = modelled_comparison(modelled_curve(FULL), steep, metrics=["psnr_y"])
    (answer,) = answers(comparison, Figures(comparison))
    crossing = "below 530 kbit/s lanczos-x2 saves bits against full size, above it costs bits"
    assert answer.crossings == (("film.mp4", (f"By PSNR-Y, {crossing}.",)),)
    assert crossing in visible(render_page(comparison))


def test_answer_prefers_figures_on_more_movies():
    curves = [modelled_curve(candidate, movie=movie, bits=0.9) for movie in ("a", "b") for candidate in (FULL, LANCZOS)]
    curves += [modelled_curve(AREA, movie="a", bits=0.1), modelled_curve(AREA, movie="b", bits=0.1, psnr=(10, 12))]
    comparison = modelled_comparison(*curves, metrics=["psnr_y"])
    (answer,) = answers(comparison, Figures(comparison))
    assert answer.best[0].candidate == LANCZOS
    assert "mean of 2 movies" in visible(render_page(comparison))


def test_answer_mean_counts_movies_without_figure():
    curves = [modelled_curve(FULL, movie=movie) for movie in ("a", "b")]
    curves += [modelled_curve(LANCZOS, movie="a", bits=0.8), modelled_curve(LANCZOS, movie="b", psnr=(10, 12))]
    comparison = modelled_comparison(*curves, metrics=["psnr_y"])
    assert "20.0 % by PSNR-Y (mean of 1 of 2 movies)" in verdicts(comparison)[0][0]
    page = visible(render_page(comparison))
    assert "mean of 1 of 2 movies" in page
    assert "By PSNR-Y, nothing can be compared with the full size." in page


def test_answer_per_encoder_without_full_size():
    comparison = modelled_comparison(modelled_curve(LANCZOS), modelled_curve(FULL_X264))
    assert verdicts(comparison) == [
        ("No answer: the full size was not encoded with x265 medium.",),
        ("No answer: no pair of scalers was encoded with x264 slow.",),
    ]


@pytest.mark.parametrize("within", [None, ("vmaf", 66.0, 74.0)])
def test_figures_turned_equal_computed(within):
    curves = [modelled_curve(FULL), modelled_curve(LANCZOS, bits=1.3, slope=1.7, psnr=(31, 34, 36, 37, 40))]
    figures = Figures(modelled_comparison(*curves, within=within))
    for metric in ("psnr_y", "vmaf"):
        for anchor, test in ((FULL, LANCZOS), (LANCZOS, FULL)):
            a, t = (curves[candidate is LANCZOS] for candidate in (anchor, test))
            found = figures.deltas("film.mp4", anchor, test, metric)
            for ours, computed in (
                (found.rate, bd_rate(a, t, metric, within=within)),
                (found.quality, bd_quality(a, t, metric, within=within)),
            ):
                assert isinstance(ours, Delta)
                assert isinstance(computed, Delta)
                assert (ours.value, ours.overlap) == pytest.approx((computed.value, computed.overlap), rel=1e-9)
                assert (ours.low, ours.high) == pytest.approx((computed.low, computed.high))


def test_figures_missing_curve_is_said():
    figures = Figures(modelled_comparison(modelled_curve(FULL), modelled_curve(LANCZOS, movie="other")))
    assert figures.deltas("film.mp4", FULL, LANCZOS, "vmaf").rate == NoFigure(
        "film.mp4 was not encoded as lanczos-x2, x265 medium"
    )


def test_lines_go_through_the_points():
    curve = modelled_curve(FULL)
    line = rate_line(curve, "psnr_y")
    assert (line.kbps[0], line.kbps[-1]) == pytest.approx((250, 4000))
    assert np.log2(np.array(line.kbps) / 1000) == pytest.approx((np.array(line.values) - 36) / 3)
    relative = relative_line(curve, modelled_curve(LANCZOS, bits=0.8, psnr=(33, 36, 39)), "psnr_y")
    assert relative.values == pytest.approx([-20.0] * len(relative.values))
    assert (relative.kbps[0], relative.kbps[-1]) == pytest.approx((500, 2000))


def test_lines_have_no_gaps_where_a_curve_is_steep_or_flat():
    points = [modelled_point(kbps, {"psnr_y": psnr}) for kbps, psnr in ((100, 20), (110, 34), (1000, 36), (9000, 36.2))]
    full = Curve("film.mp4", FULL, points)
    test = Curve("film.mp4", LANCZOS, points)
    for line in (rate_line(full, "psnr_y"), relative_line(full, test, "psnr_y")):
        assert np.diff(np.log10(line.kbps)).max() < 0.05 * np.log10(90)
    assert np.diff(rate_line(full, "psnr_y").values).max() < 0.05 * 16.2


def test_page_holds_every_number():
    curves = [
        modelled_curve(candidate, movie=movie, bits=bits)
        for movie in ("a", "b")
        for candidate, bits in ((FULL, 1), (LANCZOS, 1.5))
    ]
    data = data_of(render_page(modelled_comparison(*curves)))
    assert data["movies"] == ["a", "b"]
    assert [candidate["name"] for candidate in data["candidates"]] == ["full size", "lanczos-x2"]
    assert data["figures"][1][0][0] is None
    rate, quality = data["figures"][1][0][1][0]
    assert rate == {"value": pytest.approx(50), "overlap": 1}
    assert quality["value"] == pytest.approx(-3 * math.log2(1.5), rel=1e-5)
    back, _ = data["figures"][0][1][0][1]
    assert back["value"] == pytest.approx(-100 / 3, rel=1e-5)
    assert data["means"][0][1][0][0] == {"value": pytest.approx(50), "overlap": 1, "movies": 2, "total": 2}
    point = data["curves"][0][1]["points"][2]
    assert point == {"crf": 14, "kbps": 1500, "quality": [36, 72], "encode_s": 1, "decode_s": 0.25}
    assert data["curves"][0][1]["relative"][0][1] == pytest.approx([50] * SAMPLES)
    assert data["curves"][0][0]["relative"] is None


def test_page_is_self_contained_and_small(tmp_path):
    stills = [still(png(tmp_path / "s.png", NOISE)), still(png(tmp_path / "f.png", NOISE // 2), FULL)]
    page = render_page(modelled_comparison(modelled_curve(FULL), modelled_curve(LANCZOS), stills=stills))
    assert_self_contained(page)
    assert len(page) < 6_000_000


def test_page_escapes_everything(tmp_path):
    candidate = Candidate("<i>down", "<i>down", Fraction(2), "x265", MARKUP)
    full = Candidate("", "", Fraction(1), "x265", MARKUP)
    curves = [
        modelled_curve(full, movie=MARKUP),
        modelled_curve(candidate, movie=MARKUP),
        modelled_curve(full, movie="b"),
    ]
    movies = [MovieFacts(MARKUP, 64, 48, None, ((Fraction(1), Fraction(3)),), f"note {MARKUP}")]
    stills = [still(png(tmp_path / f"{n}.png", NOISE), one, MARKUP) for n, one in enumerate((None, full))]
    others = {"failures": [(MARKUP, f"because {MARKUP}")], "versions": {MARKUP: MARKUP}, "stills": stills}
    page = render_page(modelled_comparison(*curves, movies=[*movies, MovieFacts("b", 64, 48, None)], **others))
    parsed = Page(page)
    assert parsed.tags.count("script") == 4
    assert "i" not in parsed.tags
    assert not parsed.handlers
    assert data_of(page)["movies"][0] == MARKUP
    text = visible(page)
    for part in (
        f"{MARKUP}: note {MARKUP}.",
        "1 sample encoded, 0:01.000 to 0:03.000",
        f"because {MARKUP}",
        "<i>down-x2",
    ):
        assert part in text


def test_page_lists_points_and_commands():
    page = render_page(modelled_comparison(modelled_curve(FULL, psnr=(36,))))
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall("<tr>.*?</tr>", page)]
    assert ["14", "1,000.0", "36.00", "72.00", "2.00", "0.50"] in rows
    assert "vidscale encode film.mp4 --crf 14" in visible(page)


def test_page_says_within():
    comparison = modelled_comparison(modelled_curve(FULL), modelled_curve(LANCZOS), within=("vmaf", 62.0, 80.0))
    assert "VMAF of the anchor is between 62 and 80" in visible(render_page(comparison))


def full_with(*points: Point) -> Comparison:
    """The full size from those points, with a modelled candidate."""
    return modelled_comparison(Curve("film.mp4", FULL, points), modelled_curve(LANCZOS))


PAIR = (modelled_curve(FULL), modelled_curve(LANCZOS))
PERFECT = modelled_point(9000, {"psnr_y": math.inf, "vmaf": 99.0})
EMPTY = {
    "nothing": Comparison([], [], []),
    "failures alone": Comparison([], [], ["psnr_y"], failures=[("film.mp4", "it cannot be read")]),
    "no metric": modelled_comparison(*PAIR, metrics=[]),
    "a movie without a curve": Comparison([MovieFacts("film.mp4", 64, 48, None)], [], ["psnr_y"]),
    "one candidate": modelled_comparison(modelled_curve(FULL)),
    "no full size": modelled_comparison(modelled_curve(LANCZOS), modelled_curve(AREA)),
    "a point a curve": modelled_comparison(modelled_curve(FULL, psnr=(36,)), modelled_curve(LANCZOS, psnr=(36,))),
    "no overlap": modelled_comparison(modelled_curve(FULL), modelled_curve(LANCZOS, psnr=(10, 12))),
    "no points": full_with(),
    "perfect": full_with(PERFECT, modelled_point(500, {"psnr_y": math.inf})),
    "one perfect": full_with(*modelled_curve(FULL).points, PERFECT),
    "a metric on one curve": full_with(modelled_point(900, {"psnr_y": 35.0}), modelled_point(950, {"psnr_y": 36.0})),
    "a metric nowhere": modelled_comparison(*PAIR, metrics=["psnr_y", "ssim_y"]),
    "no frames": full_with(modelled_point(900, {"psnr_y": 30.0}, frames=0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", EMPTY)
def test_page_of_empty_cases(case):
    page = render_page(EMPTY[case])
    data_of(page)
    assert "nan" not in visible(page).lower()
    assert "None" not in visible(page)


@pytest.mark.slow
def test_page_names_what_is_missing():
    text = {case: visible(render_page(comparison)) for case, comparison in EMPTY.items()}
    assert "No movie has a curve." in text["nothing"]
    assert "film.mp4: it cannot be read" in text["failures alone"]
    assert "There is no figure for PSNR-Y and VMAF." in text["a point a curve"]
    assert "There is no figure for SSIM-Y." in text["a metric nowhere"]
    assert "∞" in text["perfect"]
    data = data_of(render_page(EMPTY["one perfect"]))
    assert data["curves"][0][0]["points"][-1]["quality"] == ["inf", 99]
    assert "perfect copies, are left out." in data["curves"][0][0]["notes"][0][0]
    assert data_of(render_page(EMPTY["no overlap"]))["figures"][0][0][1][0][0].startswith("no overlap in PSNR-Y")


@pytest.mark.parametrize("down", ["lanczos", "mine", "my_pair"])
def test_notes_begin_with_a_capital_or_the_name_of_a_pair(down):
    named = Candidate(down, down, Fraction(2), FULL.codec, FULL.preset)
    apart = modelled_curve(named, psnr=(10, 12))
    full = replace(modelled_curve(FULL), points=[*modelled_curve(FULL).points, PERFECT])
    (curves,) = data_of(render_page(modelled_comparison(full, apart)))["curves"]
    (note,), (other,) = (curve["notes"][0] for curve in curves)
    assert note == "Full size: points without a finite PSNR-Y, such as perfect copies, are left out."
    assert other.startswith(f"{down}-x2 cannot be compared with full size: no overlap in PSNR-Y")
    (crossing,) = data_of(render_page(modelled_comparison(full, modelled_curve(named))))["curves"][0][1]["notes"][0]
    assert crossing.startswith("From ")


def test_stills_show_the_same_region_without_loss(tmp_path):
    stills = [still(png(tmp_path / "f.png", NOISE // 2), FULL), still(png(tmp_path / "s.png", NOISE))]
    (frame,) = shown_frames(stills)
    assert [one.candidate for one in frame.stills] == [None, FULL]
    for picture, expected in zip(frame.pictures, (NOISE, NOISE // 2), strict=True):
        (tmp_path / "out.webp").write_bytes(picture.data)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.webp").convert("RGB")), expected)
    assert frame.lossless


@pytest.mark.slow
def test_stills_stay_within_budget(tmp_path):
    large = np.random.default_rng(7).integers(0, 256, (400, 700, 3), dtype=np.uint8)
    stills = [
        still(png(tmp_path / f"{movie}{n}.png", large), candidate, movie)
        for movie in ("a", "b")
        for n, candidate in enumerate((None, FULL, LANCZOS))
    ]
    for budget, expected in ((6_000_000, (700, 400)), (700_000, (480, 270)), (300_000, (320, 180))):
        frames = shown_frames(stills, budget)
        assert sum(len(picture.data) for frame in frames for picture in frame.pictures) <= budget
        assert {(picture.width, picture.height) for frame in frames for picture in frame.pictures} == {expected}
        assert all(len(frame.pictures) == 3 for frame in frames)
    assert not frames[0].lossless
    assert shown_frames(stills, 20_000) == []
    assert shown_frames(stills[:1]) == []


def test_page_says_how_pictures_were_made(tmp_path):
    stills = [still(png(tmp_path / f"{n}.png", NOISE), candidate) for n, candidate in enumerate((None, FULL))]
    for width, text in (
        (64, "The whole frame, lossless."),
        (128, "64×48 of 128×48 pixels, the region with the most detail, lossless."),
    ):
        movies = [MovieFacts("film.mp4", width, 48, None)]
        page = render_page(modelled_comparison(modelled_curve(FULL), movies=movies, stills=stills))
        assert data_of(page, "frames")[0]["caption"].startswith(text)


def test_stills_of_two_encoders_share_their_source(tmp_path):
    path = png(tmp_path / "s.png", NOISE)
    (frame,) = shown_frames([still(path), still(path, FULL), still(path), still(path, FULL_X264)])
    assert [one.candidate for one in frame.stills] == [None, FULL, FULL_X264]


def test_page_names_movies_without_stills(tmp_path):
    alone = [still(png(tmp_path / "s.png", NOISE))]
    page = render_page(modelled_comparison(modelled_curve(FULL), stills=alone))
    assert "No stills, to keep this page small: film.mp4." in visible(page)
    assert 'id="stills"' not in page

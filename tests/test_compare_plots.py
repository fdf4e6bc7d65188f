"""How curves look: colours that everybody can distinguish, and figures for papers."""

import itertools
import re
import sys
from fractions import Fraction

import numpy as np
import pytest
from modelled import AREA, FULL, FULL_X264, LANCZOS, modelled_comparison, modelled_curve
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from vidscale.compare.output.plots import FORMATS, check_plot, plot_curves
from vidscale.compare.output.styles import PALETTE, SYMBOLS, curve_styles
from vidscale.compare.points import Candidate, Comparison, ordered_candidates
from vidscale.errors import ConfigError, VidscaleError

pytestmark = pytest.mark.slow

# Machado, Oliveira and Fernandes 2009: what is seen without one kind of cone, on linear RGB.
SIGHT = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
THEMES = {"light": (0, "#ffffff", "#1a1f26"), "dark": (1, "#1a1e25", "#e7eaee")}


def linear(color: str) -> np.ndarray:
    codes = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    codes = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return rgb2lab(codes[None, None])[0, 0]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("sight", SIGHT)
def test_colors_stay_apart(theme, sight):
    side, _, ink = THEMES[theme]
    seen = [lab(np.asarray(SIGHT[sight]) @ linear(color)) for color in (*(pair[side] for pair in PALETTE), ink)]
    assert min(deltaE_ciede2000(one, other) for one, other in itertools.combinations(seen, 2)) > 15


@pytest.mark.parametrize("theme", THEMES)
def test_colors_stand_out(theme):
    side, paper, _ = THEMES[theme]
    weights = [0.2126, 0.7152, 0.0722]
    for pair in PALETTE:
        bright, dark = sorted((linear(pair[side]) @ weights, linear(paper) @ weights), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 3, pair


def test_styles_are_the_same_for_every_encoder():
    x264 = Candidate(LANCZOS.down, LANCZOS.up, LANCZOS.scale, "x264", "slow")
    styles = curve_styles([FULL, LANCZOS, AREA, FULL_X264, x264])
    assert styles[LANCZOS] == styles[x264]
    assert styles[FULL] == styles[FULL_X264]
    assert styles[FULL].color is None
    assert len({styles[candidate].color for candidate in (FULL, LANCZOS, AREA)}) == 3
    assert styles[AREA].dash != styles[LANCZOS].dash


def test_styles_of_many_candidates_stay_distinct():
    candidates = [
        Candidate(f"pair{i}", f"pair{i}", scale, "x265", "medium")
        for i in range(9)
        for scale in map(Fraction, (2, 3, 4))
    ]
    styles = curve_styles(candidates)
    assert len(set(styles.values())) == len(candidates)
    assert np.gcd(len(PALETTE), len(SYMBOLS)) == 1


def test_candidates_are_ordered_full_size_first_then_as_named():
    other = Candidate("lanczos", "lanczos", Fraction(3), "x264", "slow")
    assert ordered_candidates([LANCZOS, other, AREA, FULL, FULL_X264, FULL]) == [FULL, LANCZOS, AREA, FULL_X264, other]
    assert ordered_candidates([FULL, AREA, LANCZOS]) == [FULL, AREA, LANCZOS]


@pytest.fixture
def comparison() -> Comparison:
    curves = [modelled_curve(FULL), modelled_curve(LANCZOS, bits=0.8), modelled_curve(FULL_X264, movie="$x_1$ & <b>")]
    return modelled_comparison(*curves, modelled_curve(FULL_X264, psnr=(36,)))


@pytest.mark.parametrize("kind", FORMATS)
def test_plot_is_written_and_the_same_every_time(kind, comparison, tmp_path):
    path = tmp_path / f"curves.{kind}"
    path.write_text("old")
    plot_curves(comparison, path)
    first = path.read_bytes()
    plot_curves(comparison, path)
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]
    if kind == "pdf":
        assert first.startswith(b"%PDF")
        assert b"/Type3" not in first


def test_plot_png_has_all_colors(comparison, tmp_path):
    plot_curves(comparison, tmp_path / "curves.png")
    pixels = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB"))
    for color in (PALETTE[0][0], "#1a1f26"):
        assert (pixels == [int(color[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=2).sum() > 200


def test_plot_svg_names_movies_and_metrics(comparison, tmp_path):
    plot_curves(comparison, tmp_path / "curves.svg")
    comments = re.findall("<!-- (.*?) -->", (tmp_path / "curves.svg").read_text())
    for text in ("film.mp4, x265 medium", "PSNR-Y, dB", "VMAF", "full size", "lanczos-x2", "Bitrate, kbit/s"):
        assert text in comments
    assert any("$x_1$" in text for text in comments)


def test_plot_errors(comparison, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"must end in .png, .svg, .pdf"):
        check_plot(tmp_path / "curves.jpg")
    with pytest.raises(ConfigError, match="does not exist"):
        check_plot(tmp_path / "nowhere" / "curves.png")
    with pytest.raises(ConfigError, match="nothing to draw"):
        plot_curves(modelled_comparison(), tmp_path / "curves.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(VidscaleError, match="cannot be written"):
        plot_curves(comparison, tmp_path / "folder.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'vidscale\[plot\]'"):
        check_plot(tmp_path / "curves.png")

"""The page of a comparison in Chromium: what its scripts draw, select and print."""

import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from modelled import FULL, FULL_X264, LANCZOS, modelled_comparison, modelled_curve, modelled_point
from PIL import Image

from vidscale.compare.output.page import render_page
from vidscale.compare.points import Candidate, Still

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def browsed(page: str, folder: Path, view: str = "", then: str = "", width: int = 800) -> str:
    """The page's text and markup after its scripts and then `then`, a line of JavaScript, ran in a browser."""
    assert CHROMIUM is not None
    errors = "<script>addEventListener('error', e => { document.documentElement.dataset.failed = e.message; })</script>"
    late = f"<script>setTimeout(() => {{ {then} }}, 300)</script>"
    (folder / "page.html").write_text(page.replace("<body>", f"<body>{errors}").replace("</body>", f"{late}</body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", f"--user-data-dir={folder / 'profile'}"]
    options.append(f"--window-size={width},600")
    command = [CHROMIUM, *options, "--virtual-time-budget=1500", "--dump-dom", f"file://{folder / 'page.html'}#{view}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "data-failed" not in result.stdout.split("<head>")[0]
    return result.stdout.split("<main>")[1].split("</main>")[0]


def table_rows(dom: str) -> list[list[str]]:
    table = dom[dom.index('<table id="table">') :]
    table = table[: table.index("</table>")]
    return [
        [re.sub(r"<[^>]+>", " ", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
        for row in re.findall("<tr.*?</tr>", table)
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("stills")
    x264 = Candidate("lanczos", "lanczos", Fraction(2), "x264", "slow")
    curves = [
        modelled_curve(candidate, movie=movie, bits=bits)
        for movie, more in (("a<b", 1.0), ("b", 1.5))
        for candidate, bits in ((FULL, 1.0), (LANCZOS, 0.8 * more), (FULL_X264, 2.0), (x264, 1.0 * more))
    ]
    curves[5] = modelled_curve(LANCZOS, movie="b", psnr=(10, 12))
    stills = []
    for candidate in (None, FULL, LANCZOS):
        path = folder / f"{len(stills)}.png"
        Image.fromarray(np.full((48, 64, 3), 50 * len(stills), np.uint8)).save(path)
        point = modelled_point(800, {"psnr_y": 34.0}) if candidate else None
        stills.append(Still("a<b", Fraction(4, 5), candidate, point, path))
    return render_page(modelled_comparison(*curves, stills=stills))


def test_table_and_curves_are_drawn(page, tmp_path):
    dom = browsed(page, tmp_path)
    head, full, lanczos = table_rows(dom)
    assert head == ["Mean of 2 movies", "PSNR-Y", "VMAF", "Encode", "Decode"]
    assert full[0] == "anchor: full size"
    assert [" ".join(cell.split()) for cell in lanczos[:2]] == [
        "lanczos-x2",
        "−20.0 % +0.97 dB 100 % overlap 1 of 2 movies",
    ]
    assert dom.count('class="trace scatter') > 3
    assert "From 250 kbit/s to 4 Mbit/s lanczos-x2 saves bits against full size." in dom


@pytest.mark.parametrize("octaves", [1, 2, 4, 10])
@pytest.mark.parametrize("width", [500, 1400])
def test_labels_of_the_rates_do_not_overlap(tmp_path, octaves, width):
    then = """
        const boxes = [...document.querySelectorAll('#curves .xtick text')].map(label => label.getBoundingClientRect());
        const ends = boxes.filter(box => box.width).map(box => [box.left, box.right]);
        document.querySelector('main').append('ends=' + ends + ';');"""
    curves = [modelled_curve(one, psnr=(30, 30 + 3 * octaves)) for one in (FULL, LANCZOS)]
    dom = browsed(render_page(modelled_comparison(*curves)), tmp_path, then=then, width=width)
    ends = [float(end) for end in dom.split("ends=")[1].split(";")[0].split(",")]
    assert len(ends) >= 6
    assert ends == sorted(ends)


def test_view_is_linked(page, tmp_path):
    dom = browsed(page, tmp_path, "encoder=x264+slow&movie=b&metric=vmaf&each=&anchor=full+size%2C+x265+medium")
    rows = [[" ".join(cell.split()) for cell in row[:2]] for row in table_rows(dom)]
    assert rows[1:] == [
        ["anchor: full size, x265 medium", ""],
        ["full size, x264 slow", "▲ +100.0 % −3.00 dB 100 % overlap"],
        ["a&lt;b", "▲ +100.0 % −3.00 dB 100 % overlap"],
        ["b", "▲ +100.0 % −3.00 dB 100 % overlap"],
        ["lanczos-x2, x264 slow", "▲ +25.0 % −0.88 dB 100 % overlap"],
        ["a&lt;b", "0.0 % 0.00 dB 100 % overlap"],
        ["b", "▲ +50.0 % −1.75 dB 100 % overlap"],
    ]


def test_reasons_are_listed(page, tmp_path):
    dom = browsed(page, tmp_path, "movie=b&each=")
    assert "no overlap" in table_rows(dom)[4][1]
    assert "lanczos-x2 on b by PSNR-Y: no overlap in PSNR-Y" in dom


def test_stills_can_be_chosen_and_cut(page, tmp_path):
    then = """
        const left = document.querySelector('select[name="left"]');
        left.value = 0; left.dispatchEvent(new Event('change'));
        const split = document.querySelector('input[name="split"]');
        split.value = 25; split.dispatchEvent(new Event('input'));"""
    dom = browsed(page, tmp_path, then=then)
    assert "Left: source" in dom
    assert "Right: lanczos-x2, x265 medium" in dom
    clip = re.search(r'<img class="left"[^>]*clip-path: inset\(0px ([0-9.]+)% 0px 0px\)', dom)
    assert clip is not None
    assert float(clip[1]) == pytest.approx(75, abs=0.1)

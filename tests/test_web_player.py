"""The page that plays a small file restored: what is written, and what headless Chromium shows."""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browsing import READ, READY, SEEK, TAGS, luma
from material import coded, make, picture, pixels, restored, sound
from robustness import content, documented, message, run_here
from skimage import data

from vidscale import api
from vidscale.players.web import MODULES

if TYPE_CHECKING:
    from playwright.sync_api import Page

SIZES = {"2": (134, 190), "3/2": (135, 189), "3": (134, 190)}
FRAMES, LEVEL, STEP = 20, 50, 8  # of a clip whose frames are gray, each brighter than the last


def photograph(folder: Path, scale: str) -> Path:
    """A small file of a photograph, five frames."""
    height, width = SIZES[scale]
    photo = data.astronaut()[: 2 * height : 2, 100 : 100 + 2 * width : 2]
    filters = f"lutrgb=r=40+val*0.7:g=40+val*0.7:b=40+val*0.7,scale=out_color_matrix=bt709,format=yuv420p,{TAGS}"
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-i", "-", "-vf", filters, "-c:v", "ffv1"]
    source = make(folder / "source.mkv", *raw, data=photo.tobytes() * 5)
    return coded(source, folder / "small file.mp4", scale=scale, pair="adaptive", crf=24)


def steps(folder: Path) -> Path:
    """A small file whose frames are gray, each brighter than the one before, with a tone."""
    levels = f"color=s=96x64:r=25:d={FRAMES / 25},format=yuv420p,geq=lum={LEVEL}+{STEP}*N:cb=128:cr=128,{TAGS}"
    words = ["-f", "lavfi", "-i", levels, *sound(FRAMES / 25), "-c:v", "ffv1", "-c:a", "flac"]
    return coded(make(folder / "steps.mkv", *words), folder / "steps.vs2.mp4", scale="2", pair="adaptive", crf=10)


def site_of(small: Path, folder: Path) -> Path:
    return api.web(small, folder).index.parent


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steps")
    return site_of(steps(folder), folder / "site")


@pytest.fixture(scope="module")
def photographed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photograph")
    return site_of(photograph(folder, "2"), folder / "site")


# What it shows.


@pytest.mark.slow
@pytest.mark.parametrize("scale", SIZES)
def test_page_restores_as_torch_does(scale: str, tmp_path: Path, browse: "Callable[..., Page]") -> None:
    """Torch gets the luma that the browser decoded, and agrees but for rounding to RGB."""
    import torch
    from torch.nn import functional as F

    from vidscale.models.cards import find_pair_dir
    from vidscale.models.pair_files import load_pair_dir

    height, width = SIZES[scale]
    small = photograph(tmp_path, scale)
    page = browse(site_of(small, tmp_path / "site"))
    assert page.evaluate(READY) == ""
    got = luma(page.evaluate(READ, [1, False]))
    name = f"adaptive-x{float(Fraction(scale)):g}"
    upscaler: Any = load_pair_dir(find_pair_dir(name)).upscaler
    cell = upscaler.cell.small
    seen = luma(page.evaluate(READ, [1, True]), top_first=True)
    rows, columns = (-(-side // Fraction(scale)) for side in (height, width))
    coded_small = pixels(small, "yuv420p", seen.shape)[0, : seen.size].reshape(seen.shape)
    assert np.sqrt(((seen - coded_small)[:rows, :columns] ** 2).mean()) < 0.3  # codes, what the browser costs
    true = torch.from_numpy(seen[:rows, :columns].copy())[None, None].float() / 255
    spare = -rows % cell, -columns % cell
    padded = F.pad(true, [0, spare[1], 0, spare[0]], mode="replicate")
    padded = F.pad(padded, [upscaler.margin * cell] * 4, mode="replicate")
    with torch.no_grad():
        wanted = upscaler(padded, torch.tensor([24.0]))[0, 0, :height, :width].double().numpy() * 255
    assert (np.abs(got - wanted) < 0.75).mean() > 0.999


@pytest.mark.slow
def test_page_shows_what_decode_writes(photographed: Path, tmp_path: Path, browse: "Callable[..., Page]") -> None:
    page = browse(photographed)
    assert page.evaluate(READY) == ""
    shape = SIZES["2"]
    big = pixels(restored(photographed / "small file.mp4", tmp_path / "big.mkv", lossless=True), "yuv420p", shape)
    decoded = big[0, : shape[0] * shape[1]].reshape(shape).astype(float)
    got, plain = (luma(page.evaluate(READ, [split, False])) for split in (1, 0))
    assert np.sqrt(((got - decoded) ** 2).mean()) < 0.5  # codes
    assert np.sqrt(((plain - decoded) ** 2).mean()) > 2  # the network does something
    slope = np.gradient(decoded, axis=1)
    assert abs(((got - decoded) * slope).sum() / (slope**2).sum()) < 0.01  # samples: no shift


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("MAX_UNIFORM_BLOCK_SIZE", 2000), ("MAX_DRAW_BUFFERS", 1)])
def test_passes_are_split_where_uniforms_or_outputs_are_few(
    name: str, most: int, photographed: Path, browse: "Callable[..., Page]"
) -> None:
    whole = browse(photographed)
    assert whole.evaluate(READY) == ""
    few = f"""const known = WebGL2RenderingContext.prototype.getParameter;
        WebGL2RenderingContext.prototype.getParameter = function (name) {{
            return name === this.{name} ? {most} : known.call(this, name);
        }};"""
    split = browse(photographed, few)
    assert split.evaluate(READY) == ""
    count = "document.querySelector('vidscale-video').restorer.passes.length"
    assert split.evaluate(count) > whole.evaluate(count)
    assert whole.evaluate(READ, [1, False]) == split.evaluate(READ, [1, False])


@pytest.mark.slow
def test_seeking_shows_the_frame_of_that_time(stepped: Path, browse: "Callable[..., Page]") -> None:
    page = browse(stepped)
    assert page.evaluate(READY) == ""
    for frame in (7, FRAMES - 1, 0, 12):
        page.evaluate(SEEK, (frame + 0.5) / 25)
        assert luma(page.evaluate(READ, [1, False])).mean() == pytest.approx(LEVEL + STEP * frame, abs=2)


@pytest.mark.slow
def test_playing_draws_each_picture_and_counts_them(stepped: Path, browse: "Callable[..., Page]") -> None:
    page = browse(stepped)
    assert page.evaluate(READY) == ""
    page.evaluate("""() => {
        const player = document.querySelector('vidscale-video'), draw = player.restorer.draw;
        window.times = new Set();
        player.restorer.draw = function (video, split) {
            window.times.add(video.currentTime);
            window.state = player.statePart.textContent;
            draw.call(this, video, split);
        };
    }""")
    page.evaluate("document.querySelector('vidscale-video').video.loop = true")  # a busy machine drops most pictures
    page.locator("vidscale-video").press("k")
    page.wait_for_function("() => window.times.size > 5 && window.state.includes('frames/s')")
    assert re.match(r"restored 96x64 from 48x32, \d+\.\d frames/s, \d+ dropped", page.evaluate("window.state"))


@pytest.mark.slow
def test_keys_and_controls(stepped: Path, browse: "Callable[..., Page]") -> None:
    page = browse(stepped, body='<vidscale-video src="steps.vs2.mp4" style="width: 90vh"></vidscale-video>')
    assert page.evaluate(READY) == ""
    player = page.locator("vidscale-video")
    state = "(name) => document.querySelector('vidscale-video').video[name]"
    player.press("m")
    assert page.evaluate(state, "muted") is True
    page.get_by_label("Mute").click()
    assert page.evaluate(state, "muted") is False
    player.press("ArrowDown")
    assert page.evaluate(state, "volume") == pytest.approx(0.9)
    player.press("ArrowRight")
    assert page.evaluate(state, "currentTime") == page.evaluate(state, "duration")
    player.press("ArrowLeft")
    assert page.evaluate(state, "currentTime") == 0
    page.get_by_label("Seek").fill("0.5")
    assert page.evaluate(state, "currentTime") == pytest.approx(FRAMES / 50, abs=0.05)
    player.press("c")
    assert page.evaluate("document.querySelector('vidscale-video').splitPart.value") == "0.5"
    page.get_by_label("Play or pause").click()
    page.wait_for_function("() => document.querySelector('vidscale-video').video.currentTime > 0")
    player.press("f")
    page.wait_for_function("() => document.fullscreenElement?.localName === 'vidscale-video'")


@pytest.mark.slow
def test_split_is_restored_to_the_left_and_plain_to_the_right(
    photographed: Path, browse: "Callable[..., Page]"
) -> None:
    page = browse(photographed)
    assert page.evaluate(READY) == ""
    both, plain, whole = (luma(page.evaluate(READ, [split, False])) for split in (0.5, 0, 1))
    half = both.shape[1] // 2
    np.testing.assert_array_equal(both[:, :half], whole[:, :half])
    np.testing.assert_array_equal(both[:, half:], plain[:, half:])
    assert (plain != whole).mean() > 0.5


@pytest.mark.slow
def test_picture_has_the_true_size_in_any_window(tmp_path: Path, browse: "Callable[..., Page]") -> None:
    """Padding is outside the stage, restored or not."""
    page = browse(site_of(photograph(tmp_path, "3"), tmp_path / "site"))
    assert page.evaluate(READY) == ""
    boxes = """() => Object.fromEntries(['video', 'canvas', '.stage'].map((part) => {
        const box = document.querySelector('vidscale-video').shadowRoot.querySelector(part).getBoundingClientRect();
        return [part, [box.width, box.height]];
    }))"""
    for width in (800, 150):
        page.set_viewport_size({"width": width, "height": 600})
        found = page.evaluate(boxes)
        stage = found[".stage"]
        assert stage[0] == pytest.approx(min(width, 190), abs=1)
        assert stage[0] / stage[1] == pytest.approx(190 / 134, rel=0.01)
        assert found["canvas"] == pytest.approx(stage)
        assert found["video"] == pytest.approx([stage[0] * 64 * 3 / 190, stage[1] * 46 * 3 / 134], rel=0.01)


@pytest.mark.slow
def test_samples_that_are_not_square(tmp_path: Path, browse: "Callable[..., Page]") -> None:
    gray = f"setsar=4/3,format=yuv420p,lutyuv=y=50+val*0.6:u=128:v=128,{TAGS}"
    source = make(tmp_path / "clip.mkv", *picture("96x64", then=gray), "-c:v", "ffv1")
    page = browse(site_of(coded(source, tmp_path / "clip.vs2.mp4", scale="2", pair="adaptive"), tmp_path / "site"))
    assert page.evaluate(READY) == ""
    assert page.evaluate("document.querySelector('vidscale-video').video.videoWidth") == 64
    seen = luma(page.evaluate(READ, [1, True]), top_first=True)
    wanted = pixels(tmp_path / "clip.vs2.mp4", "yuv420p", (32, 48))[0, : 32 * 48].reshape(32, 48)
    assert np.sqrt(((seen - wanted) ** 2).mean()) < 0.3
    state = page.evaluate("document.querySelector('vidscale-video').statePart.textContent")
    assert state.startswith("restored 96x64 from 48x32")


@pytest.mark.slow
def test_two_players_on_one_page(
    stepped: Path, photographed: Path, tmp_path: Path, browse: "Callable[..., Page]"
) -> None:
    site = Path(shutil.copytree(photographed, tmp_path / "site"))
    for path in stepped.glob("steps*"):
        shutil.copy(path, site)
    body = (
        '<vidscale-video src="small%20file.mp4"></vidscale-video><vidscale-video src="steps.vs2.mp4"></vidscale-video>'
    )
    page = browse(site, body=body)
    assert page.evaluate(READY) == ""
    states = "[...document.querySelectorAll('vidscale-video')].map((player) => player.statePart.textContent)"
    first, second = page.evaluate(states)
    assert first.startswith("restored 190x134 from 96x68")
    assert second.startswith("restored 96x64 from 48x32")


@pytest.mark.slow
def test_lost_context_comes_back(stepped: Path, browse: "Callable[..., Page]") -> None:
    page = browse(stepped)
    assert page.evaluate(READY) == ""
    before = page.evaluate(READ, [1, False])
    restoring = "document.querySelector('vidscale-video').stagePart.classList.contains('restoring')"
    page.evaluate("""() => {
        const {restorer} = document.querySelector('vidscale-video');
        window.extension = restorer.gl.getExtension('WEBGL_lose_context');
        window.extension.loseContext();
    }""")
    page.wait_for_function(f"() => !{restoring}")
    page.evaluate("window.extension.restoreContext()")
    page.wait_for_function(f"() => {restoring}")
    assert page.evaluate(READ, [1, False]) == before


# Where it cannot restore.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "note"),
    [
        ("HTMLCanvasElement.prototype.getContext = () => null;", "this browser has no WebGL2"),
        (
            "WebGL2RenderingContext.prototype.getExtension = () => null;",
            "this browser has no floating-point render targets",
        ),
        ("window.fetch = async () => new Response('', {status: 404});", "404"),
    ],
)
def test_page_plays_plain_and_says_why(before: str, note: str, stepped: Path, browse: "Callable[..., Page]") -> None:
    page = browse(stepped, before)
    assert note in page.evaluate(READY)
    page.locator("vidscale-video").press("k")
    page.wait_for_function("() => document.querySelector('vidscale-video').video.currentTime > 0.1")
    assert page.evaluate("getComputedStyle(document.querySelector('vidscale-video').canvas).visibility") == "hidden"


@pytest.mark.slow
def test_page_says_that_the_browser_has_no_hevc(tmp_path: Path, browse: "Callable[..., Page]") -> None:
    source = make(tmp_path / "clip.mp4", *picture("96x64"), "-preset", "ultrafast")
    small = coded(source, tmp_path / "small.mp4", scale="2", pair="adaptive", codec="x265")
    page = browse(site_of(small, tmp_path / "site"))
    page.wait_for_function("() => document.querySelector('vidscale-video').notePart.textContent.includes('HEVC')")


# What is written.


def test_site_is_small_and_needs_nothing_else(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    small = coded(make_clip(), tmp_path / "clip.vs2.mp4", scale="2", pair="adaptive")
    site = tmp_path / "site"
    run = run_here("web", small, "-o", site, "--json")
    assert (run.code, run.stderr) == (0, "")
    record = json.loads(run.stdout)
    assert set(record) == documented("page") | {"event"}
    written = {path.name: path for path in site.iterdir()}
    assert set(written) == {"index.html", *MODULES, "clip.vs2.mp4", "clip.vs2.json", "clip.vs2.weights"}
    assert written["clip.vs2.mp4"].read_bytes() == small.read_bytes()
    sizes = sum(path.stat().st_size for name, path in written.items() if not name.endswith(".mp4"))
    assert sizes == record["bytes"] < 60_000
    for name in ("index.html", *MODULES):
        assert not re.search(r"https?://", written[name].read_text())


def test_site_is_not_overwritten(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    small = coded(make_clip(), tmp_path / "clip.vs2.mp4", scale="2", pair="adaptive")
    site = tmp_path / "site"
    assert run_here("web", small, "-o", site).code == 0
    assert message(run_here("web", small, "-o", site)) == f"{site}/clip.vs2.json exists; -y replaces it"
    assert run_here("web", small, "-o", site, "-y").code == 0
    assert message(run_here("web", small, "-o", tmp_path, "-y")) == f"{small} is the input; choose another output"
    (tmp_path / "index.html").touch()
    assert "did not write" in message(run_here("web", small, "-o", tmp_path, "-y"))


@pytest.mark.parametrize("before", ["nothing", "a page"])
def test_site_is_whole_or_as_it_was(
    before: str, tmp_path: Path, make_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = coded(make_clip(), tmp_path / "clip.vs2.mp4", scale="2", pair="adaptive")
    site = tmp_path / "site"
    if before == "a page":
        assert run_here("web", small, "-o", site).code == 0
        (site / "index.html").write_text("an older page")
    kept = content(tmp_path)

    def full(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:1000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    assert message(run_here("web", small, "-o", site, "-y")) == f"cannot write to {site}: No space left on device"
    assert content(tmp_path) == kept


def test_site_errors_and_notes(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    fixed = run_here("web", make_clip(), "-o", tmp_path / "site", "--pair", "lanczos-x2")
    assert message(fixed) == "lanczos-x2 consists of fixed filters: there is no network to export"
    assert not (tmp_path / "site").exists()
    small = coded(make_clip("x.mkv"), tmp_path / "clip.vs2.mkv", scale="2", pair="adaptive", codec="x265")
    run = run_here("web", small, "-o", tmp_path / "site")
    assert run.code == 0
    assert "HEVC plays only in browsers that have a decoder for it" in run.stderr
    assert "few browsers play .mkv: encode to .mp4" in run.stderr

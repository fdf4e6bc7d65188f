"""The page with playlists: each part of each rendition is restored by its own network, in headless Chromium."""

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from browsing import READ, READY, SEEK, TAGS, luma
from material import make, picture, pixels, restored, sound
from robustness import message, run_here

from vidscale import api
from vidscale.models.networks.folded import FoldedNetwork
from vidscale.models.pairs import find_pair
from vidscale.models.plane_pair import PlanePair

if TYPE_CHECKING:
    from browsing import Pages
    from playwright.sync_api import Page

HEIGHT, WIDTH, RATE = 96, 160, 24
FADED = f"lutyuv=y=50+val*0.6:u=128:v=128,{TAGS}"  # no colour outside RGB
QUICK = ["--preset", "veryfast", "--quiet"]

IDLE = """async () => {  // until nothing is loaded any more
    const {stream} = document.querySelector('vidscale-video');
    while (stream.tracks.some((track) => track.filling)) await new Promise(requestAnimationFrame);
}"""
ALTERNATING = """async () => {  // loads everything again, each segment from another rendition than the one before
    const {stream} = document.querySelector('vidscale-video'), [track] = stream.tracks;
    let next = 0;
    stream.choose = (lists) => lists[next++ % 2];
    const removed = new Promise((done) => track.buffer.addEventListener('updateend', done, {once: true}));
    track.buffer.remove(0, Infinity);
    await removed;
    track.held.clear();
    await track.fill();
    return [...track.held.values()].map(({uri}) => uri);
}"""

Codes = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two renditions of 4 s in segments of 1 s, with sound: at full size, and at scale 2."""
    folder = tmp_path_factory.mktemp("ladder")
    streams = [*picture(f"{WIDTH}x{HEIGHT}", RATE, 4, then=FADED), *sound(4), "-c:a", "aac", "-pix_fmt", "yuv420p"]
    movie = make(folder / "film.mp4", *streams, "-crf", "8")
    words = ["--target", "psnr=35", "--target", "psnr=27", "--segment-duration", "1"]
    done = run_here("ladder", movie, "-o", folder / "film.hls", *words, *QUICK)
    assert done.code == 0, done.stderr
    return folder / "film.hls"


@pytest.fixture(scope="module")
def site(ladder: Path) -> Path:
    return api.web(ladder / "master.m3u8", ladder.with_name("site")).index.parent


@pytest.fixture(scope="module")
def decoded(ladder: Path) -> list[Codes]:
    """Luma of both renditions, as `decode` restores them."""
    return [luma_of(restored(ladder / f"v{n}.m3u8", ladder.with_name(f"{n}.mkv"), lossless=True)) for n in (1, 2)]


def luma_of(path: Path) -> Codes:
    frames = pixels(path, "yuv420p", (HEIGHT, WIDTH))
    return frames[:, : HEIGHT * WIDTH].reshape(-1, HEIGHT, WIDTH).astype(float)


def rms(got: Codes, wanted: Codes) -> float:
    return float(np.sqrt(((got - wanted) ** 2).mean()))


def shown_at(page: "Page", frame: int) -> Codes:
    """The luma that the page shows of a frame."""
    page.evaluate(SEEK, (frame + 0.5) / RATE)
    return luma(page.evaluate(READ, [1, False]))


def state(page: "Page") -> str:
    return str(page.evaluate("document.querySelector('vidscale-video').statePart.textContent"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rendition", "words"), [(1, "plain, 160x96"), (2, "restored 160x96 from 80x48")], ids=["full", "small"]
)
def test_rendition_is_shown_as_decode_restores_it(
    rendition: int, words: str, site: Path, decoded: list[Codes], browse: "Pages"
) -> None:
    """After seeking, also to the first and the last picture of a segment."""
    page = browse(site, body=f'<vidscale-video src="master.m3u8" rendition="{rendition}"></vidscale-video>')
    assert page.evaluate(READY) == ""
    for frame in (0, RATE, RATE - 1):
        wanted = decoded[rendition - 1]
        errors = [rms(shown_at(page, frame), wanted[n]) for n in range(max(0, frame - 1), min(frame + 2, 96))]
        assert min(errors) == errors[min(frame, 1)] < 0.6  # codes
    assert state(page).startswith(words)


@pytest.mark.slow
def test_network_changes_with_the_rendition(site: Path, decoded: list[Codes], browse: "Pages") -> None:
    page = browse(site)
    assert page.evaluate(READY) == ""
    page.evaluate(IDLE)
    uris = page.evaluate(ALTERNATING)
    assert uris == ["v1/video.m3u8", "v2/video.m3u8"] * 2
    for frame in (RATE - 1, RATE, 2 * RATE - 1, 2 * RATE, 3 * RATE):
        own = frame // RATE % 2
        got = shown_at(page, frame)
        assert rms(got, decoded[own][frame]) < 0.6
        assert rms(got, decoded[1 - own][frame]) > 2
    page.evaluate("document.querySelector('vidscale-video').video.currentTime = 2.5")
    page.locator("vidscale-video").press("k")
    page.wait_for_function("() => document.querySelector('vidscale-video').video.ended")
    told = "(({video, notePart}) => [video.duration, video.webkitAudioDecodedByteCount > 0, notePart.textContent])"
    duration, is_heard, note = page.evaluate(f"{told}(document.querySelector('vidscale-video'))")
    assert duration == pytest.approx(4, abs=0.05)
    assert is_heard
    assert note == ""


@pytest.mark.slow
def test_rendition_is_not_guessed_where_a_picture_may_be_of_the_next(site: Path, browse: "Pages") -> None:
    page = browse(site)
    assert page.evaluate(READY) == ""
    page.evaluate(IDLE)
    page.evaluate(ALTERNATING)
    told = """([time, late]) => document.querySelector('vidscale-video').stream.renditionAt(time, late)"""
    assert page.evaluate(told, [0.95, False]) == "v1/video.m3u8"
    assert page.evaluate(told, [0.95, True]) is None
    assert page.evaluate(told, [1.0, True]) == "v2/video.m3u8"
    assert page.evaluate(told, [None, True]) is None


@pytest.mark.slow
def test_rendition_is_chosen_by_rate_and_size(site: Path, browse: "Pages") -> None:
    page = browse(site)
    assert page.evaluate(READY) == ""
    choose = """([rate, width]) => {
        const {stream} = document.querySelector('vidscale-video');
        Object.assign(stream, {rate, width: () => width});
        return stream.choose(stream.tracks[0].lists).uri;
    }"""
    assert page.evaluate(choose, [1e6, 160]) == "v1/video.m3u8"
    assert page.evaluate(choose, [1e4, 160]) == "v2/video.m3u8"
    assert page.evaluate(choose, [1e6, 80]) == "v2/video.m3u8"


@pytest.mark.slow
def test_only_so_much_is_kept_loaded(site: Path, browse: "Pages") -> None:
    """What the browser or the page has thrown away is loaded again."""
    page = browse(site)
    assert page.evaluate(READY) == ""
    page.evaluate(SEEK, 3.5)
    page.evaluate(IDLE)
    held = """async () => {
        const {stream} = document.querySelector('vidscale-video'), [track] = stream.tracks;
        await track.keep(2.2);
        return [[...track.held.keys()], track.buffer.buffered.start(0)];
    }"""
    indices, start = page.evaluate(held)
    assert set(indices) in ({2, 3}, {3})
    assert start == pytest.approx(min(indices))
    page.evaluate(SEEK, 0.5)
    page.evaluate(IDLE)
    page.evaluate("""async () => {
        const {buffer} = document.querySelector('vidscale-video').stream.tracks[0];
        const removed = new Promise((done) => buffer.addEventListener('updateend', done, {once: true}));
        buffer.remove(0, 4);
        await removed;
    }""")
    page.evaluate(SEEK, 1.5)


@pytest.mark.slow
def test_browser_with_little_room(site: Path, browse: "Pages") -> None:
    """It takes the next segment only when all before the present one are removed."""
    little = """const append = SourceBuffer.prototype.appendBuffer;
        window.refused = 0;
        SourceBuffer.prototype.appendBuffer = function (data) {
            const {buffered} = this;
            let held = 0;
            for (let n = 0; n < buffered.length; ++n) held += buffered.end(n) - buffered.start(n);
            if (held > 1.9) {
                ++window.refused;
                throw new DOMException('full', 'QuotaExceededError');
            }
            append.call(this, data);
        };"""
    page = browse(site, little)
    assert page.evaluate(READY) == ""
    page.evaluate(IDLE)
    assert page.evaluate("window.refused") > 0
    page.evaluate(SEEK, 3.5)
    page.evaluate(SEEK, 0.5)
    page.locator("vidscale-video").press("k")
    page.wait_for_function("() => document.querySelector('vidscale-video').video.ended")
    assert page.evaluate(READY) == ""


HELD_BACK = """window.aborted = [];
    const given = window.fetch;
    window.fetch = (url, options) => String(url).includes('%s') ? new Promise((_, reject) => {
        options.signal.addEventListener('abort', () => {
            window.aborted.push(String(url));
            reject(options.signal.reason);
        });
    }) : given(url, options);"""


@pytest.mark.slow
def test_segment_is_not_waited_for_after_a_seek_or_in_another_movie(site: Path, browse: "Pages") -> None:
    page = browse(
        site, HELD_BACK % "00001.m4s", body='<vidscale-video src="master.m3u8" rendition="1"></vidscale-video>'
    )
    assert page.evaluate(READY) == ""
    page.evaluate(SEEK, 3.5)
    assert [Path(url).parent.name for url in page.evaluate("window.aborted")] == ["v1", "audio1"]
    page.evaluate("document.querySelector('vidscale-video').video.currentTime = 1.5")
    page.wait_for_function("() => document.querySelector('vidscale-video').stream.tracks.every(({loading}) => loading)")
    page.evaluate("document.querySelector('vidscale-video').setAttribute('src', 'v2.m3u8')")
    page.wait_for_function("() => window.aborted.length === 4")


@pytest.mark.slow
@pytest.mark.parametrize(("missing", "plays"), [(".weights", True), ("v2/00001.m4s", False), ("v2/init.mp4", False)])
def test_page_says_what_is_missing(missing: str, plays: bool, site: Path, browse: "Pages") -> None:
    """Without its network a rendition is played as it is."""
    lacking = f"""const given = window.fetch;
        window.fetch = (url, ...more) =>
            given(String(url).includes('{missing}') ? 'nothing' : url, ...more);"""
    page = browse(site, lacking, body='<vidscale-video src="master.m3u8" rendition="2"></vidscale-video>')
    note = "document.querySelector('vidscale-video').notePart.textContent"
    page.wait_for_function(f"() => {note}")
    if plays:
        page.locator("vidscale-video").press("k")
        page.wait_for_function("() => document.querySelector('vidscale-video').video.ended")
    else:
        page.wait_for_function("() => document.querySelector('vidscale-video').video.error")
    page.evaluate(READY)
    assert re.fullmatch(rf"Not restored: \S+{re.escape(missing)}: 404 Not Found", page.evaluate(note))


@pytest.mark.slow
def test_movie_that_begins_late(tmp_path: Path, browse: "Pages") -> None:
    """Later than what is loaded ahead; to seek before its beginning is to seek to it."""
    late = [*picture(f"{WIDTH}x{HEIGHT}", RATE, 2, then=FADED), "-output_ts_offset", "40"]
    movie = make(tmp_path / "film.mkv", *late, "-pix_fmt", "yuv420p", "-crf", "8")
    words = ["--target", "psnr=30", "--scale", "2", "--pair", "adaptive", "--segment-duration", "1", "--no-verify"]
    done = run_here("ladder", movie, "-o", tmp_path / "film.hls", *words, *QUICK)
    assert done.code == 0, done.stderr
    page = browse(api.web(tmp_path / "film.hls" / "master.m3u8", tmp_path / "site").index.parent)
    assert page.evaluate(READY) == ""
    page.evaluate(SEEK, 41.5 + 0.5 / RATE)
    page.evaluate("document.querySelector('vidscale-video').video.currentTime = 0")
    page.wait_for_function("""() => {
        const {video, seenAt} = document.querySelector('vidscale-video');
        return !video.seeking && seenAt !== null && Math.abs(seenAt - 40) < 0.01;
    }""")
    assert state(page).startswith("restored 160x96 from 80x48")


@pytest.mark.slow
def test_browser_that_plays_playlists_by_itself(site: Path, browse: "Pages") -> None:
    """It does not say which rendition it shows; here the sizes do."""
    page = browse(site, "delete window.MediaSource; delete window.ManagedMediaSource;")
    if not page.evaluate("document.createElement('video').canPlayType('application/vnd.apple.mpegurl')"):
        assert page.evaluate("document.querySelector('vidscale-video').ready.then(() => 0)") == 0
        assert "this browser cannot play" in page.evaluate(READY)
        return
    assert page.evaluate(READY) == ""
    assert state(page).startswith(("plain, 160x96", "restored 160x96 from 80x48"))


@pytest.mark.slow
def test_each_part_has_its_own_network(tmp_path: Path, browse: "Pages") -> None:
    """Two parts of one size and pair, and of different strengths."""
    scenes = [*picture(f"{WIDTH}x{HEIGHT}", RATE, 2), "-f", "lavfi", "-i", f"mandelbrot=s={WIDTH}x{HEIGHT}:r={RATE}"]
    joined = f"[1]trim=duration=2,setpts=PTS-STARTPTS[m];[0][m]concat=n=2,format=yuv420p,{FADED}[v]"
    movie = make(tmp_path / "scenes.mp4", *scenes, "-filter_complex", joined, "-map", "[v]", "-crf", "6")
    words = ["--target", "psnr=27", "--segments", "2", "--no-verify", "--scale", "2", "--pair", "adaptive"]
    done = run_here("encode", movie, "-o", tmp_path / "parts.hls", *words, *QUICK)
    assert done.code == 0, done.stderr
    site = api.web(tmp_path / "parts.hls" / "v1.m3u8", tmp_path / "site").index.parent
    identities = [part_strength(tmp_path / "parts.hls" / "v1" / f"p{n}" / "video.m3u8") for n in (1, 2)]
    assert abs(identities[0] - identities[1]) > 3
    page = browse(site)
    assert page.evaluate(READY) == ""
    for frame in (2 * RATE - 1, 2 * RATE, 0, 4 * RATE - 1):
        got = shown_at(page, frame)
        seen = luma(page.evaluate(READ, [1, True]), top_first=True)
        own, other = (by_torch(seen, strength) for strength in identities[:: 1 if frame < 2 * RATE else -1])
        assert (np.abs(got - own) < 0.75).mean() > 0.999
        assert abs(((got - own) * (other - own)).sum() / ((other - own) ** 2).sum()) < 0.2


def part_strength(playlist: Path) -> float:
    from vidscale.media.file_identity import probe_identity

    identity = probe_identity(playlist)
    assert identity is not None
    assert identity.crf is not None
    return float(identity.crf)


def by_torch(seen: Codes, strength: float) -> Codes:
    pair = find_pair("adaptive-x2", None, "cpu")
    assert isinstance(pair, PlanePair)
    network = FoldedNetwork(pair.chain(strength))
    padded = torch.from_numpy(np.pad(seen / 255, network.margin * network.cell.small, mode="edge")).float()
    with torch.no_grad():
        return network(padded[None, None])[0, 0].double().numpy() * 255


# What is written.


@pytest.mark.slow
def test_site_holds_all_that_the_playlist_names(ladder: Path, site: Path) -> None:
    names = {path.relative_to(ladder) for path in ladder.rglob("*") if path.is_file()}
    assert {path.name for path in ladder.glob("*.m3u8")} == {"master.m3u8", "v1.m3u8", "v2.m3u8"}
    unused = {"v1.m3u8", "v2.m3u8", "manifest.mpd"}  # the master names the renditions' playlists itself
    for name in names - {Path(name) for name in unused}:
        assert (site / name).read_bytes() == (ladder / name).read_bytes()
    told: Any = json.loads((site / "master.json").read_text())
    assert [len(network["layers"]) > 0 for network in told["networks"]] == [False, True]
    assert "<title>film</title>" in (site / "index.html").read_text()
    run = run_here("web", ladder / "v2.m3u8", "-o", ladder.with_name("one"), "--json")
    assert (run.code, run.stderr) == (0, "")
    assert not (ladder.with_name("one") / "v1").exists()


@pytest.mark.slow
def test_playlists_that_are_no_movie_for_a_page(ladder: Path, tmp_path: Path) -> None:
    run = run_here("web", ladder / "v2" / "video.m3u8", "-o", tmp_path / "site")
    assert "names no renditions: choose a master playlist, such as v1.m3u8" in message(run)
    copy = Path(shutil.copytree(ladder, tmp_path / "copy"))
    (copy / "v2" / "00001.m4s").unlink()
    assert "names" in message(run_here("web", copy / "master.m3u8", "-o", tmp_path / "site"))
    assert not (tmp_path / "site").exists()

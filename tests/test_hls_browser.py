"""A ladder in headless Chromium, played by hls.js and by dash.js from the npm registry."""

import functools
import http.server
import json
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from material import make, picture, sound
from robustness import run_here

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NPM = shutil.which("npm")
HLS_JS = ("hls.js", "1.6.19", "package/dist/hls.min.js")  # name, version, file
DASH_JS = ("dashjs", "5.2.1", "package/dist/modern/umd/dash.all.min.js")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

PAGE = """<!doctype html><link rel="icon" href="data:,"><video muted></video><script src="hls.min.js"></script><script>
const video = document.querySelector('video'), errors = [], loaded = [], sizes = [];
const [folder, number] = location.search.slice(1).split(','), level = Number(number);
const hls = new Hls({ startLevel: level, enableWorker: false });
const slow = ['bufferStalledError', 'bufferNudgeOnStall'];  // also on a busy machine; a hole is seen in `buffered`
hls.on(Hls.Events.ERROR, (_, data) => {
    if (!slow.includes(data.details)) errors.push(data.details);
    if (data.fatal) report();
});
hls.on(Hls.Events.FRAG_BUFFERED, (_, {frag}) => { if (frag.type === 'main') loaded.push([frag.level, frag.sn]); });
hls.on(Hls.Events.MANIFEST_PARSED, () => { hls.loadLevel = level; video.play(); });
function report() {
    const quality = video.getVideoPlaybackQuality(), buffered = [];
    for (let i = 0; i < video.buffered.length; i++) buffered.push([video.buffered.start(i), video.buffered.end(i)]);
    const levels = hls.levels.map(l => [l.width, l.height, l.bitrate, l.averageBitrate, l.videoCodec, l.audioCodec]);
    fetch('/done', { method: 'POST', body: JSON.stringify({ errors, loaded, sizes, buffered, levels,
        width: video.videoWidth, height: video.videoHeight, duration: video.duration, ended: video.ended,
        frames: quality.totalVideoFrames, corrupted: quality.corruptedVideoFrames,
        heard: video.webkitAudioDecodedByteCount, tracks: hls.audioTracks.map(t => t.lang) }) });
}
video.onresize = () => sizes.push([video.videoWidth, video.videoHeight]);
video.onended = report;
setTimeout(report, 100000);
hls.loadSource(folder + '/master.m3u8'); hls.attachMedia(video);
</script>"""


DASH_PAGE = """<!doctype html><link rel="icon" href="data:,"><video muted></video>
<script src="dash.js"></script><script>
const video = document.querySelector('video'), errors = [], sizes = [], names = dashjs.MediaPlayer.events;
const [folder, place] = location.search.slice(1).split(','), number = Number(place);
const player = dashjs.MediaPlayer().create();
player.updateSettings({ streaming: { abr: { autoSwitchBitrate: { video: false } } } });
player.on(names.ERROR, event => errors.push(String(event.error.message || event.error)));
player.on(names.STREAM_INITIALIZED, () => {
    player.setRepresentationForTypeByIndex('video', number, true);
    video.play();
});
function report() {
    const quality = video.getVideoPlaybackQuality();
    const found = player.getRepresentationsByType('video').map(r => [r.width, r.height]);
    fetch('/done', { method: 'POST', body: JSON.stringify({ errors, found, sizes, width: video.videoWidth,
        height: video.videoHeight, duration: video.duration, ended: video.ended, frames: quality.totalVideoFrames,
        corrupted: quality.corruptedVideoFrames, heard: video.webkitAudioDecodedByteCount }) });
}
video.onresize = () => sizes.push([video.videoWidth, video.videoHeight]);
video.onended = report;
setTimeout(report, 100000);
player.initialize(video, folder + '/manifest.mpd', false);
</script>"""


@pytest.fixture(scope="module")
def players(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """hls.js and dash.js, downloaded once; the tests are skipped where npm does not work."""
    keeps = request.config.pluginmanager.hasplugin("cacheprovider")
    folder = Path(request.config.cache.mkdir("hls.js") if keeps else tmp_path_factory.mktemp("npm"))
    return from_npm(folder, *HLS_JS), from_npm(folder, *DASH_JS)


def from_npm(folder: Path, name: str, version: str, member: str) -> Path:
    script = folder / f"{name}-{version}.min.js"
    if script.is_file():
        return script
    if NPM is None:
        pytest.skip(f"no npm on this machine to get {name} with")
    command = [NPM, "pack", f"{name}@{version}", "--silent", "--fetch-retries=0", "--fetch-timeout=30000"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=90, check=True)
        with tarfile.open(folder / done.stdout.split()[-1]) as package:
            file = package.extractfile(member)
            assert file is not None
            script.write_bytes(file.read())
    except (subprocess.SubprocessError, OSError, IndexError, KeyError):
        pytest.skip(f"npm cannot download {name} {version}")
    return script


class Site(http.server.ThreadingHTTPServer):
    """Serves a folder, and takes what the page reports."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
        self.reported = threading.Event()
        self.report: dict[str, Any] = {}


class _Handler(http.server.SimpleHTTPRequestHandler):
    server: Site

    def do_POST(self) -> None:
        self.server.report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.reported.set()

    def log_request(self, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture(scope="module")
def site(players: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    movie = make(folder / "film.mp4", *picture("160x96", duration=3), *sound(3), "-c:a", "aac", "-crf", "10")
    targets = ["--target", "vmaf=92", "--target", "vmaf=60"]
    done = run_here(
        *("ladder", movie, "-o", folder / "film.hls", *targets),
        *("--preset", "veryfast", "--segment-duration", "1", "--no-verify"),
    )
    assert done.code == 0, done.stderr
    scenes = [*picture("160x96", 24, 2), "-f", "lavfi", "-i", "mandelbrot=s=160x96:r=24", *sound(4)]
    joined = "[1]trim=duration=2,setpts=PTS-STARTPTS[m];[0][m]concat=n=2,format=yuv420p[v]"
    movie = make(folder / "scenes.mp4", *scenes, "-filter_complex", joined, "-map", "[v]", "-map", "2:a", "-crf", "6")
    words = ["--target", "vmaf=80", "--segments", "2", "--preset", "veryfast", "--no-verify"]
    done = run_here("encode", movie, "-o", folder / "parts.hls", *words)
    assert done.code == 0, done.stderr
    for script, name in zip(players, ("hls.min.js", "dash.js"), strict=True):
        shutil.copy(script, folder / name)
    (folder / "page.html").write_text(PAGE)
    (folder / "dash.html").write_text(DASH_PAGE)
    with Site(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def played(site: Site, page: str, profile: Path) -> dict[str, Any]:
    """What the page reports at the end of the movie."""
    assert CHROMIUM is not None
    site.reported.clear()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", f"--user-data-dir={profile}"]
    options += ["--autoplay-policy=no-user-gesture-required", "--mute-audio"]
    command = [CHROMIUM, *options, "--remote-debugging-port=0", f"http://127.0.0.1:{site.server_port}/{page}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            assert site.reported.wait(110), "the page reported nothing"
        finally:
            browser.terminate()
    return site.report


@pytest.mark.parametrize("level", [0, 1])
def test_a_rendition_is_played_to_its_end(level: int, site: Site, tmp_path: Path) -> None:
    """hls.js sorts levels by bitrate, lowest first."""
    told = played(site, f"page.html?film.hls,{level}", tmp_path / "profile")
    assert told["errors"] == []
    assert told["ended"]
    assert [row[:2] for row in told["levels"]][1] == [160, 96]
    assert [told["width"], told["height"]] == told["levels"][level][:2]
    assert told["levels"][0][:2] < [160, 96]
    assert told["levels"][0][2] < told["levels"][1][2]
    assert told["loaded"] == [[level, number] for number in range(3)]
    assert told["duration"] == pytest.approx(3.0, abs=0.05)
    assert len(told["buffered"]) == 1
    assert told["buffered"][0] == pytest.approx([0.0, 3.0], abs=0.05)
    assert told["frames"] > 50
    assert told["corrupted"] == 0
    assert told["heard"] > 0


@pytest.mark.parametrize("number", [0, 1])
def test_dash_is_played_to_its_end(number: int, site: Site, tmp_path: Path) -> None:
    told = played(site, f"dash.html?film.hls,{number}", tmp_path / "profile")
    assert told["errors"] == []
    assert told["ended"]
    assert [160, 96] in told["found"]
    assert [told["width"], told["height"]] == told["found"][number]
    assert told["duration"] == pytest.approx(3.0, abs=0.05)
    assert told["frames"] > 50
    assert told["corrupted"] == 0
    assert told["heard"] > 0


def test_parts_of_different_sizes_are_played_through(site: Site, tmp_path: Path) -> None:
    """The picture changes its size where the second part begins, and sound goes on."""
    told = played(site, "page.html?parts.hls,0", tmp_path / "profile")
    assert told["errors"] == []
    assert told["ended"]
    assert told["loaded"] == [[0, 0], [0, 1]]
    assert [told["width"], told["height"]] == told["sizes"][-1] < told["sizes"][0] == [160, 96]
    assert told["duration"] == pytest.approx(4.0, abs=0.05)
    assert len(told["buffered"]) == 1
    assert told["buffered"][0] == pytest.approx([0.0, 4.0], abs=0.05)
    assert told["frames"] > 70
    assert told["corrupted"] == 0
    assert told["heard"] > 0


def test_dash_periods_of_different_sizes_are_played_through(site: Site, tmp_path: Path) -> None:
    """The picture changes its size where the second period begins, and sound goes on."""
    told = played(site, "dash.html?parts.hls,0", tmp_path / "profile")
    assert told["errors"] == []
    assert told["ended"]
    assert [told["width"], told["height"]] == told["sizes"][-1] < told["sizes"][0] == [160, 96]
    assert told["duration"] == pytest.approx(4.0, abs=0.05)
    assert told["frames"] > 70
    assert told["corrupted"] == 0
    assert told["heard"] > 0

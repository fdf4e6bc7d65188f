"""Shared by tests of pages in headless Chromium: the browser, a site without a server, what the player shows."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from players import missing_program, need

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking"]
OPTIONS += ["--autoplay-policy=no-user-gesture-required"]
KINDS = {".js": "text/javascript", ".json": "application/json", ".html": "text/html", ".mp4": "video/mp4"}
BT709 = np.array([0.2126, 0.7152, 0.0722])
TAGS = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"

READ = """([split, picture]) => {
    const player = document.querySelector('vidscale-video'), {restorer, info, video} = player, gl = restorer.gl;
    restorer.draw(video, split);
    let [width, height] = [info.width, info.height];
    if (picture) {
        [width, height] = [info.coded_width, info.coded_height];
        gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
        gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, restorer.video, 0);
    }
    const read = new Uint8Array(width * height * 4);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, read);
    if (gl.getError()) throw new Error('an error of WebGL');
    return [height, width, Array.from(read)];
}"""
READY = """async () => {  // until the browser has told the page of the first picture, or there is none
    for (const player of document.querySelectorAll('vidscale-video')) {
        await player.ready;
        while (!player.notePart.textContent && player.seenAt === null) await new Promise(requestAnimationFrame);
    }
    return document.querySelector('vidscale-video').notePart.textContent;
}"""
SEEK = """async (time) => {  // until the browser has told the page of the picture, which may be after `seeked`
    const {video} = document.querySelector('vidscale-video');
    const done = new Promise((resolve) => video.addEventListener('seeked', resolve, {once: true}));
    const told = new Promise((resolve) => {
        const next = (now, {mediaTime}) => {
            if (mediaTime <= time && mediaTime > time - 0.05) resolve();
            else video.requestVideoFrameCallback(next);
        };
        video.requestVideoFrameCallback(next);
    });
    video.currentTime = time;
    await Promise.all([done, told]);
}"""


def luma(read: list[Any], *, top_first: bool = False) -> npt.NDArray[np.float64]:
    """Codes, not rounded, from what `READ` returns."""
    height, width, values = read
    rgb = np.array(values, np.float64).reshape(height, width, 4)[..., :3]
    return (rgb if top_first else rgb[::-1]) @ BT709 * 219 / 255 + 16


@contextmanager
def chromium(config: pytest.Config) -> "Iterator[Browser]":
    """Headless, with a software renderer; the test is skipped where it is missing."""
    need(config, missing_program(*CHROMIUM))
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, CHROMIUM)))
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=OPTIONS)
        yield opened
        opened.close()


class Pages:
    """Opens pages, which must load nothing from elsewhere and raise no error."""

    def __init__(self, browser: "Browser") -> None:
        self._browser = browser
        self._open: list[Page] = []
        self._failed: list[str] = []

    def __call__(self, site: Path, before: str = "", body: str = "") -> "Page":
        """Opens the page of a site.

        Args:
            site: its folder.
            before: a script that runs before the page's own.
            body: in place of the page's.
        """
        page = self._browser.new_page(viewport={"width": 800, "height": 600})
        self._open.append(page)
        page.set_default_timeout(120_000)  # ms; a busy machine compiles shaders slowly
        page.on("pageerror", lambda error: self._failed.append(str(error)))
        page.on("request", lambda request: self._failed.append(request.url) if not at_home(request.url) else None)
        page.route("**/*", lambda route: serve(route, site, body))
        page.add_init_script(before)
        page.goto("http://vidscale.test/index.html")
        return page

    def close(self) -> None:
        """Closes the pages; fails if one has raised an error or loaded anything from elsewhere."""
        for page in self._open:
            page.close()
        assert self._failed == []


def at_home(url: str) -> bool:
    return url.startswith(("http://vidscale.test/", "data:", "blob:http://vidscale.test/"))


def serve(route: "Route", site: Path, body: str) -> None:
    """Answers a request as a web server does, with ranges, which seeking needs."""
    from urllib.parse import unquote, urlsplit

    path = site / unquote(urlsplit(route.request.url).path).lstrip("/")
    if not path.is_file():
        route.fulfill(status=404)
        return
    content = path.read_bytes()
    if body and path.suffix == ".html":
        content = re.sub(rb"<main>.*</main>", f"<section>{body}</section>".encode(), content, flags=re.DOTALL)
    headers = {"content-type": KINDS.get(path.suffix, "application/octet-stream"), "accept-ranges": "bytes"}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", route.request.headers.get("range", ""))
    if not asked:
        route.fulfill(body=content, headers=headers)
        return
    first, last = int(asked[1]), int(asked[2] or len(content) - 1)
    headers["content-range"] = f"bytes {first}-{last}/{len(content)}"
    route.fulfill(status=206, body=content[first : last + 1], headers=headers)

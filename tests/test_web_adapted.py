"""The page with an adapted movie: every picture is restored with the numbers of its own segment."""

import base64
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from browsing import READ, READY, SEEK, TAGS, luma
from material import FFMPEG, coding, make, sound
from skimage import data

from vidscale import api
from vidscale.adapt import choice, training
from vidscale.adapt.training import Steps
from vidscale.config import DecodeSettings
from vidscale.jobs.restore import inspection, open_small
from vidscale.jobs.spans import spans
from vidscale.models.networks.folded import FoldedNetwork
from vidscale.models.pairs import find_pair
from vidscale.models.plane_pair import PlanePair
from vidscale.players.page_data import page_data
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

if TYPE_CHECKING:
    from browsing import Pages

HEIGHT, WIDTH, SHOT = 96, 128, 30
BITS, SIDE = 6, 16  # of the number of the frame, as dark and bright patches in the first rows
CRF = 20

NUMBER = """() => {  // of the frame that the page has taken
    const {restorer} = document.querySelector('vidscale-video'), {gl} = restorer, read = new Uint8Array(4 * 48);
    gl.bindFramebuffer(gl.FRAMEBUFFER, window.own ??= gl.createFramebuffer());
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, restorer.video, 0);
    gl.readPixels(0, 3, 48, 1, gl.RGBA, gl.UNSIGNED_BYTE, read);
    return [0, 1, 2, 3, 4, 5].reduce((number, bit) => number + (read[4 * (8 * bit + 3)] > 128 ? 2 ** bit : 0), 0);
}"""


@dataclass(frozen=True)
class Adapted:
    """An adapted movie, its page, and the update of each frame as `decode` uses them."""

    movie: Path
    site: Path
    updates: tuple[bytes, ...]
    times: tuple[float, ...]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    """Two shots with sound and B-frames; trainings of a few steps, for pictures so small that no update would pay."""
    folder = tmp_path_factory.mktemp("adapted")
    pictures = []
    for photo in (data.camera(), data.brick()):
        for n in range(SHOT):
            crop = photo[100 + n : 100 + n + 2 * HEIGHT : 2, 60 + 2 * n : 60 + 2 * n + 2 * WIDTH : 2]
            crop = (40 + crop * 0.7).astype(np.uint8)
            for bit in range(BITS):
                crop[:SIDE, bit * SIDE : (bit + 1) * SIDE] = 220 if len(pictures) >> bit & 1 else 40
            pictures.append(crop)
    gray = np.full(HEIGHT * WIDTH // 2, 128, np.uint8).tobytes()
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{WIDTH}x{HEIGHT}", "-r", "25", "-i", "-"]
    movie = make(
        folder / "movie.mkv", *raw, *sound(2 * SHOT / 25), "-vf", TAGS, "-c:v", "ffv1", "-c:a", "aac",
        data=b"".join(picture.tobytes() + gray for picture in pictures),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(choice, "_AT_CRF_12", 0.1)
        patched.setitem(training.STEPS, "full", Steps(light=12, full=30))
        settings = {"pair": "adaptive-x2", "scale": "2", "crf": CRF, "adapt": "full", "report": False}
        outcome = coding(movie, folder / "movie.vs2.mp4", preset="veryfast", **settings)
    assert [segment.kind != "none" for segment in outcome.adapted] == [True, True]
    small = open_small(outcome.path, ffmpeg=FFMPEG, settings=DecodeSettings())
    log = ReadLog()
    frames = list(decode_frames(small.source, log=log, clock=Clock("decode"), inspect=inspection(small, log)))
    updates, times = (tuple(values) for values in zip(*((f.update, float(f.time)) for f in frames), strict=True))
    assert len(set(updates)) == 2
    return Adapted(outcome.path, api.web(outcome.path, folder / "site").index.parent, updates, times)


def segment_of(adapted: Adapted, frame: int) -> int:
    """Number of the segment, from 0."""
    return list(dict.fromkeys(adapted.updates)).index(adapted.updates[frame])


@pytest.mark.slow
def test_spans_are_those_of_decode(adapted: Adapted) -> None:
    small = open_small(adapted.movie, ffmpeg=FFMPEG, settings=DecodeSettings())
    found = spans(small, ReadLog())
    assert [span.update for span in found] == list(dict.fromkeys(adapted.updates))
    firsts = [adapted.updates.index(span.update) for span in found]
    assert [float(span.first) for span in found] == [adapted.times[first] for first in firsts]
    assert [float(span.last) for span in found] == [adapted.times[first - 1] for first in [*firsts[1:], 0]]


@pytest.mark.slow
def test_site_has_the_numbers_of_each_segment(adapted: Adapted) -> None:
    told = json.loads((adapted.site / "movie.vs2.json").read_text())
    (network,) = told["networks"]
    segments = json.loads((adapted.site / network["adapted"]).read_text())["segments"]
    pair = find_pair("adaptive-x2", None, "cpu")
    assert isinstance(pair, PlanePair)
    for segment, update in zip(segments, dict.fromkeys(adapted.updates), strict=True):
        values = np.frombuffer(base64.b64decode(segment["weights"]), "<f2").astype(np.float32)
        chain = pair.chain(CRF, update)
        first = chain.convolutions[0]
        np.testing.assert_allclose(values[: first.bias.size], first.bias, rtol=1e-3, atol=1e-6)
        assert chain.linear is not None
        np.testing.assert_allclose(
            values[-chain.linear.size :], chain.linear.transpose(2, 3, 1, 0).reshape(-1), rtol=1e-3, atol=1e-6
        )


@pytest.mark.slow
def test_only_adapted_renditions_have_the_numbers(adapted: Adapted) -> None:
    small = open_small(adapted.movie, ffmpeg=FFMPEG, settings=DecodeSettings())
    assert small.identity
    plain = replace(small, identity=small.identity.model_copy(update={"vidscale": 1}))
    files = page_data({"a": (plain,), "b": (small,), "c": (plain,)}, "movie").files
    told = json.loads(files["movie.json"])
    networks = {uri: told["networks"][parts[0]["network"]] for uri, parts in told["renditions"].items()}
    assert [uri for uri, network in networks.items() if "adapted" in network] == ["b"]
    assert networks["a"] is networks["c"]


def restored_by(update: bytes, seen: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What torch makes of the luma that the browser has decoded, codes."""
    pair = find_pair("adaptive-x2", None, "cpu")
    assert isinstance(pair, PlanePair)
    network = FoldedNetwork(pair.chain(CRF, update))
    padded = np.pad(seen / 255, network.margin * network.cell.small, mode="edge")
    with torch.no_grad():
        return network(torch.from_numpy(padded).float()[None, None])[0, 0].double().numpy() * 255


@pytest.mark.slow
def test_first_and_last_picture_of_each_segment_have_its_numbers(adapted: Adapted, browse: "Pages") -> None:
    page = browse(adapted.site)
    assert page.evaluate(READY) == ""
    networks = {b"", *adapted.updates}
    for frame in (2 * SHOT - 1, 0, SHOT, SHOT - 1):
        page.evaluate(SEEK, adapted.times[frame] + 0.02)
        assert page.evaluate(NUMBER) == frame
        seen = luma(page.evaluate(READ, [1, True]), top_first=True)
        got = luma(page.evaluate(READ, [1, False]))
        error = np.abs(got - restored_by(adapted.updates[frame], seen))
        assert (error < 0.75).mean() > 0.999
        for other in networks - {adapted.updates[frame]}:
            assert np.abs(got - restored_by(other, seen)).mean() > 1.5 * error.mean()


def watched(page: Any) -> None:
    """Keeps number and segment of every picture that is drawn."""
    page.evaluate(f"""() => {{
        const player = document.querySelector('vidscale-video'), restore = player.restore;
        window.seen = {{}};
        player.restore = function (...given) {{
            restore.apply(this, given);
            (window.seen[({NUMBER})()] ??= []).push(player.segment);
        }};
        player.video.playbackRate = 0.5;
        player.video.loop = true;
    }}""")


@pytest.mark.slow
def test_playing_switches_at_the_right_picture(adapted: Adapted, browse: "Pages") -> None:
    page = browse(adapted.site)
    assert page.evaluate(READY) == ""
    watched(page)
    page.locator("vidscale-video").press("k")
    both = f"window.seen[{SHOT - 1}] && window.seen[{SHOT}]"
    page.wait_for_function(f"() => {both} && Object.keys(window.seen).length > 20")
    seen = page.evaluate("window.seen")
    assert {frame: set(found) for frame, found in seen.items()} == {
        frame: {segment_of(adapted, int(frame))} for frame in seen
    }


@pytest.mark.slow
def test_without_times_of_pictures_never_the_wrong_numbers(adapted: Adapted, browse: "Pages") -> None:
    """A browser that does not tell which picture it hands out: near the end of a segment, the pair's own network."""
    page = browse(adapted.site, "delete window.VideoFrame;")
    assert page.evaluate(READY) == ""
    watched(page)
    page.locator("vidscale-video").press("k")
    frames = "Object.keys(window.seen)"
    page.wait_for_function(f"() => {frames}.some((n) => n > {SHOT + 5}) && {frames}.some((n) => n < {SHOT - 9})")
    seen = page.evaluate("window.seen")
    for frame, found in seen.items():
        assert set(found) <= {-1, segment_of(adapted, int(frame))}
    assert any(segment >= 0 for found in seen.values() for segment in found)

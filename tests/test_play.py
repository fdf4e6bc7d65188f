"""``vidscale play``: what the player is told, what it shows."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from material import coded, make, picture, pixels, restored, sound
from PIL import Image
from players import missing_program, need
from robustness import content, message, run_here
from skimage import data

from vidscale.models.cards import find_pair_dir
from vidscale.players.files import shader_of
from vidscale.players.network import network_of

# A screenshot waits for the thread that draws, but that may not have drawn the frame yet: it does before the next one.
SHOT = """
local restarts = 0
local function shoot(times)
    mp.commandv("screenshot-to-file", os.getenv("SHOT"), "window")
    if times == 1 then
        mp.commandv("quit")
    else
        mp.add_timeout(0.1, function() shoot(times - 1) end)
    end
end
mp.register_event("playback-restart", function()
    restarts = restarts + 1
    if restarts == 1 then
        mp.commandv("seek", os.getenv("TIME"), "absolute+exact")
    elseif restarts == 2 then
        mp.add_timeout(0.1, function() shoot(3) end)
    end
end)
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file with sound, whose picture has padding."""
    folder = tmp_path_factory.mktemp("small")
    source = make(folder / "clip.mp4", *picture("190x134"), *sound(), "-pix_fmt", "yuv420p", "-preset", "ultrafast")
    return coded(source, folder / "clip.vs2.mp4", scale="2", pair="adaptive", crf=26)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a player that is a shell script on PATH; returns the file to which it writes its arguments."""

    def install(name: str, script: str) -> Path:
        player = tmp_path / "bin" / name
        player.parent.mkdir(exist_ok=True)
        told = tmp_path / "told"
        player.write_text(f'#!/bin/sh\nfor word in "$@"; do echo "$word"; done >{told}\n{script}\n')
        player.chmod(0o755)
        monkeypatch.setenv("PATH", f"{player.parent}:/usr/bin:/bin")
        return told

    return install


def test_mpv_restores_the_small_file_with_its_pair_and_strength(
    small: Path, tmp_path: Path, fake: Callable[[str, str], Path]
) -> None:
    told = fake(
        "mpv", f'for word in "$@"; do case $word in --glsl-shader=*) cp "${{word#*=}}" {tmp_path}/x;; esac; done'
    )
    run = run_here("play", small)
    assert (run.code, run.stderr) == (0, "")
    words = told.read_text().splitlines()
    assert words[-2:] == ["--", str(small)]
    assert "--vf=lavfi=[crop=w=95:h=67:x=0:y=0:exact=1]" in words
    assert "--autofit-smaller=190x134" in words
    assert (tmp_path / "x").read_text() == shader_of(network_of(find_pair_dir("adaptive-x2")), 26)
    (shader,) = [word.partition("=")[2] for word in words if word.startswith("--glsl-shader=")]
    assert not Path(shader).exists()


def test_mpv_without_a_gpu_gets_the_restored_picture_and_the_sound(
    small: Path, tmp_path: Path, fake: Callable[[str, str], Path]
) -> None:
    told = fake("mpv", f'case "$*" in *glsl*) exit 2;; esac; cat >{tmp_path}/played.y4m')
    run = run_here("play", small)
    assert (run.code, run.stderr) == (0, "mpv cannot use a GPU here; restoring on the CPU instead, without seeking\n")
    assert told.read_text().splitlines() == ["--no-terminal", f"--audio-file={small}", "-"]
    with av.open(str(tmp_path / "played.y4m")) as container:
        assert [(frame.width, frame.height) for frame in container.decode(video=0)] == [(190, 134)] * 25


@pytest.mark.parametrize("script", ["exit 2", "cat >/dev/null; exit 2"])
@pytest.mark.parametrize("words", [[], ["--pipe"]])
def test_mpv_that_cannot_play_is_an_error(
    small: Path, fake: Callable[[str, str], Path], words: list[str], script: str
) -> None:
    fake("mpv", script)
    run = run_here("play", small, *words)
    assert run.code == 1
    assert run.stderr.splitlines()[-1] == "vidscale: mpv could not show the picture; is there a display?"


def test_pipe_is_used_if_asked_for(small: Path, fake: Callable[[str, str], Path]) -> None:
    told = fake("mpv", "cat >/dev/null")
    assert run_here("play", small, "--pipe").code == 0
    assert told.read_text().splitlines()[-1] == "-"


def test_ffplay_gets_picture_and_sound(small: Path, tmp_path: Path, fake: Callable[[str, str], Path]) -> None:
    fake("ffplay", f"cat >{tmp_path}/played.nut")
    run = run_here("play", small, "--player", "ffplay")
    assert (run.code, run.stderr) == (0, "")
    with av.open(str(tmp_path / "played.nut")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert [(frame.width, frame.height) for frame in container.decode(video=0)] == [(190, 134)] * 25
    with av.open(str(tmp_path / "played.nut")) as container:
        heard = sum(frame.samples for frame in container.decode(audio=0))
    assert heard == pytest.approx(48000, abs=2048)


@pytest.mark.parametrize("script", ["head -c 100 >/dev/null", "exit 1"])
def test_ffplay_that_is_closed_ends_quietly(small: Path, fake: Callable[[str, str], Path], script: str) -> None:
    fake("ffplay", script)
    run = run_here("play", small, "--player", "ffplay")
    assert (run.code, run.stdout) == (0, "")


def test_export_player_writes_the_shader_and_prints_the_command(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    target = tmp_path / "it's.glsl"
    run = run_here("play", small, "--export-player", target)
    assert run.code == 0, run.stderr
    words = shlex.split(run.stdout)
    assert words[0] == "mpv"
    assert words[-3:] == [f"--glsl-shader={target}", "--", str(small)]
    assert target.read_text() == shader_of(network_of(find_pair_dir("adaptive-x2")), 26)
    assert set(content(tmp_path)) == {target.name}
    assert message(run_here("play", small, "--export-player", target)) == f"{target} exists; -y replaces it"


def test_export_player_needs_a_network(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    run = run_here("play", make_clip(), "--pair", "lanczos-x2", "--export-player", tmp_path / "x.glsl")
    assert message(run) == "lanczos-x2 consists of fixed filters: there is no network to export"


@pytest.mark.slow
def test_mpv_shows_what_decode_writes(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Its window after seeking, on Mesa's software OpenGL."""
    need(pytestconfig, missing_program("mpv"))
    need(pytestconfig, missing_program("xvfb-run"))
    height, width = 128, 192
    photo = 40 + 0.6 * data.astronaut()[: 2 * height : 2, 100 : 100 + 2 * width : 2, 1]
    gray = np.full(height * width // 2, 128)
    frames = [np.concatenate([photo.reshape(-1) + 5 * n, gray]).astype(np.uint8) for n in range(5)]  # each brighter
    tags = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-i", "-", "-vf", tags, "-c:v", "ffv1"]
    source = make(tmp_path / "source.mkv", *raw, data=b"".join(map(np.ndarray.tobytes, frames)))
    small = coded(source, tmp_path / "small.mp4", scale="2", pair="adaptive", crf=24)
    words = shlex.split(run_here("play", small, "--export-player", tmp_path / "x.glsl").stdout)
    (tmp_path / "shot.lua").write_text(SHOT)
    shown = tmp_path / "shown.png"
    told = ["--no-config", "--vo=gpu", "--gpu-api=opengl", "--gpu-sw=yes", "--ao=null", "--pause", "--no-osc"]
    told += ["--osd-level=0", "--dither-depth=no", f"--script={tmp_path / 'shot.lua'}"]
    command = ["xvfb-run", "-a", shutil.which("mpv") or "mpv", *words[1:-2], *told, *words[-2:]]
    environment = os.environ | {"SHOT": str(shown), "TIME": str(3 / 25), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert shown.exists(), done.stdout + done.stderr
    window = np.asarray(Image.open(shown).convert("RGB")) @ np.array([0.2126, 0.7152, 0.0722])
    assert window.shape == (height, width)
    luma = pixels(restored(small, tmp_path / "big.mkv", lossless=True), "yuv420p", (height, width))[3]
    wanted = (luma[: height * width].reshape(height, width).astype(float) - 16) * 255 / 219
    rounded = 1.5 * 255 / 219 + 0.5  # one code of luma apart after rounding, and the rounding to RGB
    assert (np.abs(window - wanted) <= rounded).mean() > 0.999
    slope = np.gradient(wanted, axis=1)
    assert abs(((window - wanted) * slope).sum() / (slope**2).sum()) < 0.01  # samples: no shift

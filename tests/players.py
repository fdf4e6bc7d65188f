"""Shared by tests of players: what this machine has, and libplacebo's filter on a software Vulkan device."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from material import FFMPEG

Codes = npt.NDArray[Any]

_VULKAN = ["-hide_banner", "-v", "error", "-init_hw_device", "vulkan=vk:0", "-filter_hw_device", "vk"]
_FULL_RANGE = "setparams=range=pc:colorspace=bt709:color_primaries=bt709:color_trc=bt709"


def need(config: pytest.Config, missing: str) -> None:
    """Skips the test, or fails it under ``--require-players``; `missing` is empty if nothing is missing."""
    if missing and config.getoption("--require-players"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


@cache
def missing_vulkan() -> str:
    """Why ffmpeg's libplacebo filter cannot run; empty if it can."""
    trial = ["-f", "lavfi", "-i", "color=s=16x16:d=0.1", "-vf", "libplacebo=w=32:h=32", "-f", "null", "-"]
    done = subprocess.run([FFMPEG, *_VULKAN, *trial], capture_output=True, text=True, timeout=120, check=False)
    return "" if done.returncode == 0 else "no Vulkan device for ffmpeg's libplacebo (Debian: mesa-vulkan-drivers)"


def missing_program(*names: str) -> str:
    """A line if none of these programs is installed."""
    return "" if any(map(shutil.which, names)) else f"no {' or '.join(names)} on this machine"


def enlarged(shader: str, luma: Codes, height: int, width: int, folder: Path) -> Codes:
    """Luma [h, w], uint8 or uint16 with 10 bits, enlarged by libplacebo with a shader.

    Full range, so that no code is outside the RGB that libplacebo works in; chroma is neutral.
    """
    depth = 8 if luma.dtype == np.uint8 else 10
    pix_fmt = "yuv444p" if depth == 8 else "yuv444p10le"
    chroma = np.full((2, *luma.shape), 1 << (depth - 1), luma.dtype)
    path = folder / "shader.glsl"
    path.write_text(shader)
    source = ["-f", "rawvideo", "-pix_fmt", pix_fmt, "-s", f"{luma.shape[1]}x{luma.shape[0]}", "-i", "-"]
    filters = f"{_FULL_RANGE},{_placebo(path, height, width, pix_fmt)}:range=pc"
    return _luma([*source, "-vf", filters], luma.tobytes() + chroma.tobytes(), pix_fmt, height, width)


def played(shader: str, movie: Path, height: int, width: int, folder: Path) -> Codes:
    """Luma of the first frame of a movie, enlarged by libplacebo with a shader, in the movie's own colours."""
    path = folder / "shader.glsl"
    path.write_text(shader)
    filters = _placebo(path, height, width, "yuv420p")
    return _luma(["-i", str(movie), "-frames:v", "1", "-vf", filters], None, "yuv420p", height, width)


def _placebo(path: Path, height: int, width: int, pix_fmt: str) -> str:
    return f"libplacebo=w={width}:h={height}:custom_shader_path={path}:format={pix_fmt}:dithering=none"


def _luma(words: list[str], data: bytes | None, pix_fmt: str, height: int, width: int) -> Codes:
    command = [FFMPEG, *_VULKAN, *words, "-f", "rawvideo", "-pix_fmt", pix_fmt, "-"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert not done.stderr, done.stderr.decode()
    dtype = np.uint8 if pix_fmt.endswith("p") else np.dtype("<u2")
    return np.frombuffer(done.stdout, dtype)[: height * width].reshape(height, width)

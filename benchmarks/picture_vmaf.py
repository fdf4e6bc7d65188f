"""VMAF of single pictures, by ffmpeg's filter."""

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidscale.media.ffmpeg import Ffmpeg

Codes = npt.NDArray[np.uint8]


def vmaf_of(sr: Codes, hr: Codes, ffmpeg: Ffmpeg) -> dict[str, float]:
    """``vmaf`` and ``vmaf_neg`` of a luma plane [H, W], sides even, against another, as a movie of one frame.

    Args:
        sr, hr: the planes.
        ffmpeg: with libvmaf.
    """
    height, width = hr.shape
    neutral = np.full((height // 2, width), 128, np.uint8).tobytes()
    with tempfile.TemporaryDirectory() as folder:
        command = [ffmpeg.path, "-v", "error"]
        for name, plane in (("sr", sr), ("hr", hr)):
            file = Path(folder, name)
            file.write_bytes(plane.tobytes() + neutral)
            command += ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-i", str(file)]
        models = "version=vmaf_v0.6.1\\\\:name=vmaf|version=vmaf_v0.6.1neg\\\\:name=neg"
        graph = f"libvmaf=model={models}:log_fmt=json:log_path=log"
        subprocess.run([*command, "-lavfi", graph, "-f", "null", "-"], cwd=folder, check=True)
        (frame,) = json.loads(Path(folder, "log").read_text())["frames"]
    return {"vmaf": frame["metrics"]["vmaf"], "vmaf_neg": frame["metrics"]["neg"]}

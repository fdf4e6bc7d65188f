"""Origin of results: recorded in every row."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from vidscale.media.ffmpeg import Ffmpeg
from vidscale.media.versions import versions


def origin(ffmpeg: Ffmpeg | None = None) -> dict[str, Any]:
    """Commit, processor, cores and versions."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "versions": versions(ffmpeg),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()

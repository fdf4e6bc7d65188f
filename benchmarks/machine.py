"""Origin of results, recorded in every row; and how a processor without AVX-512 is simulated."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from vidscale.media.ffmpeg import Ffmpeg
from vidscale.media.versions import versions

# With these, numba compiles for a processor with AVX2 and no more. numpy and ffmpeg still use what there is.
AVX2_ONLY = {"NUMBA_CPU_NAME": "znver3", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2"}


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

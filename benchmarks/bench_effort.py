"""What the downscaler's effort costs: `vidscale encode --no-report` against ffmpeg that encodes the full size.

    python benchmarks/bench_effort.py [MOVIE] [--scale 2] [--frames 200] [--rounds 3] [-o FILE]

Without MOVIE it makes a 1080p clip with synthetic motion (``benchmarks/synthetic.py``). For each encoder and preset
the programs alternate: ``full`` is ffmpeg alone; ``fast``, ``normal`` and ``patient`` are `vidscale encode` with the
pair `adaptive` of the scale and that effort; ``AVX2 normal`` and ``AVX2 patient`` have the code for processors with
AVX2 and without AVX-512 or VNNI. Times include process start-up.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_pipeline import clip
from machine import AVX2_ONLY, origin
from turns import Command, in_turns, wall_times

from vidscale.media.encoders import ENCODERS, CodecName
from vidscale.media.ffmpeg import Ffmpeg, find_ffmpeg
from vidscale.media.probe import probe

_CRF = {"x264": "28", "x265": "28", "svtav1": "35"}
_CASES: dict[CodecName, tuple[str, ...]] = {
    "x264": ("medium", "slow", "slower"),
    "x265": ("fast", "medium"),
    "svtav1": ("8",),
}


def main() -> None:
    """Runs the benchmark and prints its rows; appends them to a file when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("movie", nargs="?", type=Path)
    parser.add_argument("--scale", default="2")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode
    ffmpeg = find_ffmpeg(encoders=[ENCODERS[codec].ffmpeg_name for codec in _CASES])
    with tempfile.TemporaryDirectory(prefix="vidscale-bench-") as name:
        folder = Path(name)
        movie = options.movie or clip(folder, options.frames)
        for codec, presets in _CASES.items():
            for preset in presets:
                row = _row(movie, folder, ffmpeg, options.scale, codec, preset, options.rounds)
                line = json.dumps({**row, **origin(ffmpeg)})
                print(line, flush=True)
                if options.output:
                    with options.output.open("a") as file:
                        file.write(f"{line}\n")


def _row(
    movie: Path, folder: Path, ffmpeg: Ffmpeg, scale: str, codec: CodecName, preset: str, rounds: int
) -> dict[str, Any]:
    video = probe(movie).video
    rate = ["-preset", preset, "-crf", _CRF[codec]]
    full = [ffmpeg.path, "-v", "error", "-nostdin", "-y", "-i", str(movie), "-c:v", ENCODERS[codec].ffmpeg_name]
    small = [sys.executable, "-m", "vidscale", "encode", str(movie), "-o", str(folder / "small.mp4"), "-y", "--quiet"]
    small += ["--no-report", "--pair", "adaptive", "--scale", scale]
    small += ["--codec", codec, "--preset", preset, "--crf", _CRF[codec], "--effort"]
    ways: dict[str, Command] = {
        "full": [*full, *rate, "-an", str(folder / "full.mp4")],
        "fast": [*small, "fast"],
        "normal": [*small, "normal"],
        "patient": [*small, "patient"],
    }
    older = ["env", *(f"{name}={value}" for name, value in AVX2_ONLY.items())]
    ways |= {f"AVX2 {effort}": [*older, *ways[effort]] for effort in ("normal", "patient")}
    in_turns({way: command for way, command in ways.items() if way.startswith("AVX2")}, 1)  # compiles
    runs = in_turns(ways, rounds)
    medians = {way: statistics.median(found.wall_s) for way, found in runs.items()}
    return {
        "benchmark": "encode wall time by effort",
        "scale": scale,
        "codec": codec,
        "preset": preset,
        "frames": video.frame_count,
        "size": f"{video.width}x{video.height}",
        "rounds": rounds,
        **wall_times(runs),
        "to_full": {way: round(seconds / medians["full"], 3) for way, seconds in medians.items()},
    }


if __name__ == "__main__":
    main()

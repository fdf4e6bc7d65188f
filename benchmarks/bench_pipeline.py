"""Wall time and memory of `vidscale encode`, as ratios to the same ffmpeg doing the same work, in one run.

    python benchmarks/bench_pipeline.py [MOVIE] [--frames 1500] [--rounds 3] [-o benchmarks/results/pipeline.jsonl]

Without MOVIE it makes a 1080p clip with synthetic motion (``benchmarks/synthetic.py``). The programs alternate, so
that a drift in machine speed affects all of them; times include process start-up:

* ``full``: ffmpeg decodes and encodes at full size,
* ``scaled``: ffmpeg decodes, scales with ``scale=...:flags=lanczos``, encodes,
* ``vidscale``: ``vidscale encode --no-report``, by 2.

``--restore lanczos,adaptive-x3`` also times restoring: ``vidscale decode`` to y4m with these pairs, against ffmpeg
decoding the first pair's file and upscaling it with ``zscale``. ``--avx2`` repeats that with the code for processors
with AVX2 and without AVX-512 or VNNI; numpy and ffmpeg still use what the machine has.

``--memory`` also measures peak memory (vidscale alone, and with its ffmpeg) on one minute and on ten minutes of the
clip, repeated by stream copy.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from machine import AVX2_ONLY, origin
from turns import Command, Runs, in_turns, wall_times

from vidscale.media.ffmpeg import Ffmpeg, find_ffmpeg
from vidscale.media.probe import probe

_HERE = Path(__file__).parent
_AVX2 = "AVX2 "  # before the names of pairs
_CODED = ["-c:v", "libx264", "-preset", "medium", "-crf", "28", "-an"]


def main() -> None:
    """Runs the benchmark and prints its rows; appends them to a file when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("movie", nargs="?", type=Path)
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--restore", metavar="PAIRS", help="also time restoring with these")
    parser.add_argument("--avx2", action="store_true", help="with --restore: also as on a processor with AVX2 only")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode
    ffmpeg = find_ffmpeg(encoders=["libx264"])
    with tempfile.TemporaryDirectory(prefix="vidscale-bench-") as name:
        folder = Path(name)
        movie = options.movie or clip(folder, options.frames)
        rows = [*_start_up(folder, ffmpeg), *_speed(movie, folder, ffmpeg, options.rounds)]
        if options.restore:
            pairs, avx2 = options.restore.split(","), options.avx2
            rows += _restoring(movie, folder, ffmpeg, options.rounds, pairs, avx2=avx2)
        if options.memory:
            rows += _memory(movie, folder, ffmpeg)
    lines = [json.dumps({**row, **origin(ffmpeg)}) for row in rows]
    print("\n".join(lines))
    if options.output:
        with options.output.open("a") as file:
            file.write("\n".join(lines) + "\n")


def clip(folder: Path, frames: int) -> Path:
    """A 1080p clip with synthetic motion."""
    made = folder / "clip.mp4"
    command = [sys.executable, str(_HERE / "synthetic.py"), str(made), "--size", "1920x1080", "--frames", str(frames)]
    subprocess.run(command, check=True)
    return made


def _vidscale(*words: str) -> list[str]:
    return [sys.executable, "-m", "vidscale", *words]


def _encode(movie: Path, output: Path, pair: str = "auto") -> list[str]:
    scale = ["--scale", "2"] if pair == "auto" else []  # otherwise named by the pair
    return _vidscale("encode", str(movie), "-o", str(output), "--pair", pair, *scale, "--no-report", "-y", "--quiet")


def _speed(movie: Path, folder: Path, ffmpeg: Ffmpeg, rounds: int) -> list[dict[str, Any]]:
    video = probe(movie).video
    half = f"scale={-(-video.width // 4) * 2}:{-(-video.height // 4) * 2}:flags=lanczos"
    read = [ffmpeg.path, "-v", "error", "-nostdin", "-y", "-i", str(movie)]
    ways = {
        "full": [*read, *_CODED, str(folder / "full.mp4")],
        "scaled": [*read, "-vf", half, *_CODED, str(folder / "scaled.mp4")],
        "vidscale": _encode(movie, folder / "small.mp4"),
    }
    runs = in_turns(ways, rounds)
    medians = {way: statistics.median(found.wall_s) for way, found in runs.items()}
    return [
        {
            "benchmark": "encode wall time",
            "frames": video.frame_count,
            "size": f"{video.width}x{video.height}",
            "rounds": rounds,
            **wall_times(runs),
            "to_scaled": round(medians["vidscale"] / medians["scaled"], 3),
            "to_full": round(medians["vidscale"] / medians["full"], 3),
            "scaled_to_full": round(medians["scaled"] / medians["full"], 3),
        }
    ]


def _restoring(
    movie: Path, folder: Path, ffmpeg: Ffmpeg, rounds: int, pairs: Sequence[str], *, avx2: bool
) -> list[dict[str, Any]]:
    video = probe(movie).video
    ways: dict[str, Command] = {}
    for pair in pairs:
        small = folder / f"{pair}.mp4"
        subprocess.run(_encode(movie, small, pair), check=True)
        enlarge = f"zscale={video.width}:{video.height}:filter=lanczos"
        read = [ffmpeg.path, "-v", "error", "-nostdin", "-i", str(small), "-vf", enlarge]
        ways.setdefault("ffmpeg", [*read, "-f", "yuv4mpegpipe", "-strict", "-1", "-"])
        ways[pair] = _vidscale("decode", str(small), "--y4m", "-o", "-", "--quiet")
        if avx2:
            ways[_AVX2 + pair] = ["env", *(f"{name}={value}" for name, value in AVX2_ONLY.items()), *ways[pair]]
    runs = in_turns(ways, rounds)
    about = {"frames": video.frame_count, "size": f"{video.width}x{video.height}", "rounds": rounds}
    benchmarks = {"decode wall time": "", "decode wall time, AVX2 only": _AVX2}
    return [
        {"benchmark": benchmark, **about, **_restored(runs, {pair: kind + pair for pair in pairs})}
        for benchmark, kind in list(benchmarks.items())[: 1 + avx2]
    ]


def _restored(runs: Mapping[str, Runs], ways: Mapping[str, str]) -> dict[str, Any]:
    """Args: ways: by pair, the one of `runs` that restored with it."""
    baseline = statistics.median(runs["ffmpeg"].wall_s)
    found = {"ffmpeg": runs["ffmpeg"], **{pair: runs[way] for pair, way in ways.items()}}
    return {
        **wall_times(found),
        "processor_seconds": {name: round(statistics.median(one.processor_s), 2) for name, one in found.items()},
        "to_ffmpeg": {pair: round(statistics.median(found[pair].wall_s) / baseline, 2) for pair in ways},
    }


def _start_up(folder: Path, ffmpeg: Ffmpeg) -> list[dict[str, Any]]:
    one_frame = folder / "one.mp4"
    source = ["-f", "lavfi", "-i", "testsrc2=s=1920x1080:r=25:d=0.04"]
    subprocess.run([ffmpeg.path, "-v", "error", "-y", *source, "-c:v", "libx264", str(one_frame)], check=True)
    commands = {"vidscale --help": _vidscale("--help"), "encode one 1080p frame": _encode(one_frame, folder / "o.mp4")}
    runs = in_turns(commands, 5)
    medians = {name: round(statistics.median(found.wall_s), 3) for name, found in runs.items()}
    return [{"benchmark": "start-up", "command": name, "seconds": seconds} for name, seconds in medians.items()]


def _memory(movie: Path, folder: Path, ffmpeg: Ffmpeg) -> list[dict[str, Any]]:
    rows = []
    for minutes in (1, 10):
        long = folder / f"long{minutes}.mp4"
        loop = ["-stream_loop", "-1", "-i", str(movie), "-t", str(60 * minutes), "-c", "copy", str(long)]
        subprocess.run([ffmpeg.path, "-v", "error", "-nostdin", "-y", *loop], check=True)
        own, both = _peak_memory(_encode(long, folder / "small.mp4"))
        rows.append({"benchmark": "peak memory", "minutes": minutes, "vidscale_mb": own, "with_ffmpeg_mb": both})
        long.unlink()
    return rows


def _peak_memory(command: Sequence[str]) -> tuple[int, int]:
    """Highest resident memory in MB, of the process and of it and its children together, sampled."""
    process = subprocess.Popen(command)
    done = threading.Event()
    peaks = [0, 0]

    def watch() -> None:
        while not done.wait(0.05):
            own = _resident(process.pid)
            peaks[0] = max(peaks[0], own)
            peaks[1] = max(peaks[1], own + sum(_resident(child) for child in _children(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    failed = process.wait()
    done.set()
    watcher.join()
    if failed:
        raise subprocess.CalledProcessError(failed, command)
    return peaks[0] // 1_000_000, peaks[1] // 1_000_000


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _children(pid: int) -> list[int]:
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


if __name__ == "__main__":
    main()

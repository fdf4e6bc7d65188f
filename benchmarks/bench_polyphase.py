"""Time per picture of the fixed filters, compared with torch and ffmpeg doing the same work; one thread each.

    python benchmarks/bench_polyphase.py [--rounds 40] [-o benchmarks/results/polyphase.jsonl]

The implementations of a case alternate, so that a drift in machine speed affects all of them. ffmpeg is timed
as the difference between a run with and one without the filter, over 100 pictures, best of three. ``first_call`` is the
time in a new process from after ``import numba`` to the first picture, with a warm cache of compiled code.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from machine import origin

from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.triton_kernels.polyphase import implementation, polyphase_resample
from vidscale.triton_kernels.polyphase_filters import Name, filter_bank
from vidscale.triton_kernels.polyphase_ref import polyphase_ref

Planes = list[npt.NDArray[Any]]
HALF = Fraction(1, 2)
LEFT = (HALF, Fraction(1, 4))
FFMPEG_PICTURES = 100
CASES: list[tuple[str, tuple[int, int], Fraction, Name, int, bool]] = [
    ("luma 1080p / 2", (1080, 1920), Fraction(2), "lanczos", 8, False),
    ("luma 540p * 2", (540, 960), HALF, "lanczos", 8, False),
    ("luma 1080p / 2", (1080, 1920), Fraction(2), "bicubic", 8, False),
    ("luma 1080p / 2", (1080, 1920), Fraction(2), "area", 8, False),
    ("luma 1080p / 1.5", (1080, 1920), Fraction(3, 2), "lanczos", 8, False),
    ("luma 1080p / 3", (1080, 1920), Fraction(3), "lanczos", 8, False),
    ("luma 1080p / 2", (1080, 1920), Fraction(2), "lanczos", 10, False),
    ("yuv420p 1080p / 2", (1080, 1920), Fraction(2), "lanczos", 8, True),
    ("yuv420p 540p * 2", (540, 960), HALF, "lanczos", 8, True),
    ("yuv420p10 1080p / 2", (1080, 1920), Fraction(2), "lanczos", 10, True),
]


def main() -> None:
    """Runs the benchmark and prints its rows; appends them to a file when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ffmpeg = find_ffmpeg(encoders=[])
    rows = [{"case": "first_call", "implementation": "numba", "median_ms": _first_call_ms()}]
    for name, shape, step, kind, bit_depth, chroma in CASES:
        planes = _picture(shape, bit_depth, chroma)
        ways = _ways(planes, step, kind, bit_depth)
        measured = _taking_turns(ways, options.rounds)
        if chroma or kind == "area":
            ffmpeg_ways: dict[str, float] = {}
        else:
            ffmpeg_ways = _ffmpeg_ms(ffmpeg.path, shape, step, kind, bit_depth)
        case = {"case": name, "kind": kind, "bit_depth": bit_depth, "device": "cpu, 1 thread"}
        rows += [{**case, "implementation": way, **times} for way, times in measured.items()]
        rows += [{**case, "implementation": way, "median_ms": best} for way, best in ffmpeg_ways.items()]
    lines = [json.dumps({**row, **origin(ffmpeg)}) for row in rows]
    print("\n".join(lines))
    if options.output:
        with options.output.open("a") as file:
            file.write("\n".join(lines) + "\n")


def _picture(shape: tuple[int, int], bit_depth: int, chroma: bool) -> Planes:
    rng = np.random.default_rng(0)
    half = (shape[0] // 2, shape[1] // 2)
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    return [rng.integers(0, 2**bit_depth, s, dtype=dtype) for s in ([shape, half, half] if chroma else [shape])]


def _ways(planes: Planes, step: Fraction, kind: Name, bit_depth: int) -> dict[str, Callable[[], object]]:
    """Everything that resamples these planes, by name."""
    sizes = [(int(p.shape[0] / step), int(p.shape[1] / step)) for p in planes]
    work = list(zip(planes, [(HALF, HALF), LEFT, LEFT], sizes, strict=False))

    def ours() -> object:
        return [polyphase_resample(p, step=step, siting=c, size=s, kind=kind, bit_depth=bit_depth) for p, c, s in work]

    ways: dict[str, Callable[[], object]] = {f"polyphase ({implementation('cpu')})": ours}
    if len(planes) > 1:
        return ways
    plane, size = torch.from_numpy(planes[0]), sizes[0]
    centred = (HALF, HALF)
    ways["polyphase_ref"] = lambda: polyphase_ref(
        plane, step=step, siting=centred, size=size, kind=kind, bit_depth=bit_depth
    )
    if bit_depth == 8 and kind != "area":
        mode = kind
        ways["torch interpolate, uint8"] = lambda: F.interpolate(plane[None, None], size, mode=mode, antialias=True)
    if kind == "lanczos" and step == 2:
        taps = torch.tensor(filter_bank(kind, step, HALF, size[0]).taps, dtype=torch.float32)
        ways["torch conv2d, float32"] = lambda: _convolved(plane, taps)
    return ways


def _convolved(plane: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    edge = taps.shape[1] // 2 - 1
    image = F.pad(plane[None, None].float(), (edge,) * 4, mode="replicate")
    image = F.conv2d(F.conv2d(image, taps[:, None, :, None], stride=(2, 1)), taps[:, None, None, :], stride=(1, 2))
    return (image + 0.5).floor_().to(plane.dtype)


def _taking_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 2):
        for name, way in ways.items():
            if turn > 8 and times[name][0] > 30:
                continue
            started = time.perf_counter()
            way()
            if turn >= 2:
                times[name].append(1000 * (time.perf_counter() - started))
    result = {}
    for name, values in times.items():
        p20, *_, p80 = statistics.quantiles(values, n=5)
        rounded = {"median_ms": statistics.median(values), "p20_ms": p20, "p80_ms": p80}
        result[name] = {key: round(value, 3) for key, value in rounded.items()}
    return result


def _ffmpeg_ms(ffmpeg: str, shape: tuple[int, int], step: Fraction, kind: Name, bit_depth: int) -> dict[str, float]:
    """Milliseconds a picture of ffmpeg's two scaling filters, one thread."""
    pix_fmt = "gray" if bit_depth == 8 else f"gray{bit_depth}le"
    h, w = (int(n / step) for n in shape)
    filters = {
        "ffmpeg zscale": f"zscale=w={w}:h={h}:filter={kind}:threads=1",
        "ffmpeg scale (swscale)": f"scale={w}:{h}:flags={kind}:threads=1",
    }
    source = f"nullsrc=s={shape[1]}x{shape[0]},format={pix_fmt},trim=end_frame={FFMPEG_PICTURES}"
    idle = _best_s(ffmpeg, f"{source},null")
    busy = {name: _best_s(ffmpeg, f"{source},{text}") for name, text in filters.items()}
    return {name: round(1000 * (seconds - idle) / FFMPEG_PICTURES, 3) for name, seconds in busy.items()}


def _best_s(ffmpeg: str, graph: str) -> float:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        threads = ["-filter_threads", "1"]
        subprocess.run([ffmpeg, "-v", "error", *threads, "-f", "lavfi", "-i", graph, "-f", "null", "-"], check=True)
        times.append(time.perf_counter() - started)
    return min(times)


def _first_call_ms() -> float:
    code = """
import time, numba, numpy
started = time.perf_counter()
from vidscale.triton_kernels.polyphase import polyphase_resample
polyphase_resample(numpy.zeros((1080, 1920), "u1"), step=2, siting=(0, 0), size=(540, 960), kind="lanczos", bit_depth=8)
print(1000 * (time.perf_counter() - started))
"""
    runs = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True) for _ in range(3)]
    return round(min(float(run.stdout) for run in runs[1:]), 1)


if __name__ == "__main__":
    main()

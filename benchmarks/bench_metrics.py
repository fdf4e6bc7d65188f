"""Time of the metrics on one core, compared with other implementations and ffmpeg's filters on the same frame.

    python benchmarks/bench_metrics.py [--rounds 15] [--device cpu] [-o benchmarks/results/metrics.jsonl]
    python benchmarks/bench_metrics.py --movie MOVIE [--rounds 3] [-o benchmarks/results/metrics.jsonl]

One row for every metric, size, depth and implementation, for the luma plane: ``vidscale`` (numba, or Triton on
``--device cuda``), ``reference`` (plain torch, float64), scikit-image, and kornia's convolutions if installed. Rows
with ``planes: yuv420p`` are CPU time of whole frames: ``ratio`` is vidscale's over that of ffmpeg's filters ``psnr``
and ``ssim``, after subtracting the time to read the two files.

``--movie`` times whole programs instead: ``vidscale measure`` on the video and a coded copy, including start-up and
decoding, against ffmpeg with both filters on the same two files, in alternation. `benchmarks/synthetic.py` makes a
video. CPU time is listed as well as wall time, because other load on the machine affects it less.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from machine import origin
from skimage import data, metrics
from turns import in_turns, wall_times

from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.media.probe import probe
from vidscale.triton_kernels import metrics_ref
from vidscale.triton_kernels.metrics import implementation, squared_error, ssim_ffmpeg, ssim_gaussian

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Work = Callable[[], object]

_SIZES = {"1080p": (1080, 1920), "2160p": (2160, 3840)}
_FFMPEG_FRAMES = 40


def main() -> None:
    """Runs the benchmark and prints its rows; appends them to a file when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--movie", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ffmpeg = find_ffmpeg()
    if options.movie:
        _keep({**_whole_programs(options.movie, ffmpeg.path, options.rounds), **origin(ffmpeg)}, options.output)
        return
    source = {**origin(ffmpeg), "device": _device_name(options.device)}
    for size, shape in _SIZES.items():
        for bit_depth in (8, 10):
            ref, dist = _frame(shape, bit_depth), _frame(shape, bit_depth, noise=3)
            rows = [*_luma_rows(ref[0], dist[0], bit_depth, options.device, options.rounds)]
            if options.device == "cpu":
                rows += _frame_rows(ref, dist, bit_depth, ffmpeg.path, options.rounds)
            for row in rows:
                _keep({"size": size, "bit_depth": bit_depth, **row, **source}, options.output)


def _keep(row: dict[str, Any], output: Path | None) -> None:
    print(line := json.dumps(row), flush=True)
    if output:
        with output.open("a") as file:
            file.write(line + "\n")


def _whole_programs(movie: Path, ffmpeg: str, rounds: int) -> dict[str, Any]:
    """Wall time of measuring a movie against a coded copy of it."""
    video = probe(movie).video
    with tempfile.TemporaryDirectory(prefix="vidscale-bench-") as folder:
        copy = Path(folder) / "copy.mp4"
        read = [ffmpeg, "-v", "error", "-nostdin", "-y"]
        subprocess.run([*read, "-i", movie, "-an", "-c:v", "libx264", "-preset", "veryfast", copy], check=True)
        both = [*read, "-i", str(copy), "-i", str(movie)]
        filters = "[0:v]split[a][b];[1:v]split[c][d];[a][c]psnr[p];[b][d]ssim[s]"
        ours = [sys.executable, "-m", "vidscale", "measure", str(movie), str(copy), "--quiet"]
        ways = {
            "ffmpeg": [*both, "-lavfi", filters, "-map", "[p]", "-map", "[s]", "-f", "null", "-"],
            "decoding": [*both, "-map", "0:v", "-map", "1:v", "-f", "null", "-"],
            "ssim ffmpeg": [*ours, "--ssim", "ffmpeg"],
            "ssim gaussian": ours,
        }
        runs = in_turns(ways, rounds)
    medians = {way: statistics.median(found.wall_s) for way, found in runs.items()}
    used = {way: statistics.median(found.processor_s) for way, found in runs.items()}
    return {
        "benchmark": "measure wall time",
        "frames": video.frame_count,
        "size": f"{video.width}x{video.height}",
        "rounds": rounds,
        **wall_times(runs),
        "ssim_ffmpeg_to_ffmpeg": round(medians["ssim ffmpeg"] / medians["ffmpeg"], 3),
        "ssim_gaussian_to_ffmpeg": round(medians["ssim gaussian"] / medians["ffmpeg"], 3),
        "processor_seconds": {way: round(value, 2) for way, value in used.items()},
        "processor_ssim_ffmpeg_to_ffmpeg": round(used["ssim ffmpeg"] / used["ffmpeg"], 3),
        "processor_ssim_gaussian_to_ffmpeg": round(used["ssim gaussian"] / used["ffmpeg"], 3),
    }


def _device_name(device: str) -> str:
    return "cpu, 1 thread" if device == "cpu" else torch.cuda.get_device_name(device)


def _frame(shape: tuple[int, int], bit_depth: int, noise: float = 0) -> list[Plane]:
    """Planes of a yuv420p frame, from a photograph laid side by side; noise in 8-bit codes."""
    rng, photograph = np.random.default_rng(0), np.asarray(data.coffee())[..., 1].astype(float)  # type: ignore[no-untyped-call]
    planes = []
    for height, width in (shape, (shape[0] // 2, shape[1] // 2), (shape[0] // 2, shape[1] // 2)):
        tiled = np.tile(photograph, (-(-height // 400), -(-width // 600)))[:height, :width]
        values = (tiled + rng.normal(0, noise, tiled.shape)).clip(0, 255) * ((2**bit_depth - 1) / 255)
        planes.append(np.rint(values).astype(np.uint8 if bit_depth == 8 else np.uint16))
    return planes


def _luma_rows(x: Plane, y: Plane, bit_depth: int, device: str, rounds: int) -> Iterator[dict[str, Any]]:
    tensors = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
    pair: tuple[Any, Any] = (x, y) if device == "cpu" else tensors
    ours = f"vidscale ({implementation(pair[0])})"
    # What is a hundred times slower is not measured as often.
    few = max(3, rounds // 5)
    works: list[tuple[str, str, int, Work]] = [
        ("squared_error", ours, rounds, lambda: squared_error(*pair)),
        ("squared_error", "reference", few, lambda: metrics_ref.squared_error(*tensors)),
        ("ssim_ffmpeg", ours, rounds, lambda: ssim_ffmpeg(*pair, bit_depth=bit_depth)),
        ("ssim_ffmpeg", "reference", few, lambda: metrics_ref.ssim_ffmpeg(*tensors, bit_depth)),
        ("ssim_gaussian", ours, rounds, lambda: ssim_gaussian(*pair, bit_depth=bit_depth)),
        ("ssim_gaussian", "reference", few, lambda: metrics_ref.ssim_gaussian(*tensors, bit_depth)),
        ("ssim_gaussian", "scikit-image", few, lambda: _skimage(x, y, bit_depth)),
    ]
    if importlib.util.find_spec("kornia"):
        works.append(("ssim_gaussian", "kornia", few, lambda: _kornia(*tensors, bit_depth)))
    for metric, name, count, work in works:
        yield {"metric": metric, "planes": "luma", "implementation": name, **_time(work, count)}


def _skimage(x: Plane, y: Plane, bit_depth: int) -> object:
    return metrics.structural_similarity(  # type: ignore[no-untyped-call]
        x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=2**bit_depth - 1
    )


def _kornia(x: torch.Tensor, y: torch.Tensor, bit_depth: int) -> object:
    from kornia.metrics import ssim

    first, second = (p.float()[None, None] for p in (x, y))
    return ssim(first, second, 11, max_val=2.0**bit_depth - 1, padding="valid").mean().item()


def _time(work: Work, rounds: int) -> dict[str, float]:
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1e3)
    return _spread(times)


def _spread(times_ms: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times_ms, n=5, method="inclusive")
    spread = {"median_ms": statistics.median(times_ms), "p20_ms": cuts[0], "p80_ms": cuts[3]}
    return {name: round(value, 3) for name, value in spread.items()}


def _frame_rows(
    ref: list[Plane], dist: list[Plane], bit_depth: int, ffmpeg: str, rounds: int
) -> Iterator[dict[str, Any]]:
    """Squared error and SSIM of all planes of a frame; ffmpeg and vidscale take turns."""
    ours: dict[str, Callable[..., float]] = {"ssim_ffmpeg": ssim_ffmpeg, "ssim_gaussian": ssim_gaussian}
    times: dict[str, list[float]] = {name: [] for name in (*ours, "ffmpeg")}
    for ssim in ours.values():
        ssim(ref[0], dist[0], bit_depth=bit_depth)
    with tempfile.TemporaryDirectory(prefix="vidscale-bench-") as folder:
        commands = _ffmpeg_commands(ref, dist, bit_depth, ffmpeg, Path(folder))
        for _ in range(max(3, rounds // 3)):
            reading, measuring = (runs.processor_s[0] for runs in in_turns(commands, 1).values())
            times["ffmpeg"].append((measuring - reading) * 1e3 / _FFMPEG_FRAMES)
            for name, ssim in ours.items():
                start = time.thread_time()
                for x, y in zip(ref, dist, strict=True):
                    squared_error(x, y)
                    ssim(x, y, bit_depth=bit_depth)
                times[name].append((time.thread_time() - start) * 1e3)
    for name, spent in times.items():
        row = {"metric": f"squared_error + {name}", "implementation": f"vidscale ({implementation('cpu')})"}
        if name == "ffmpeg":
            row = {"metric": "psnr + ssim", "implementation": "ffmpeg"}
        ratio = statistics.median(spent) / statistics.median(times["ffmpeg"])
        yield {**row, "planes": "yuv420p", **_spread(spent), "ratio": round(ratio, 3)}


def _ffmpeg_commands(
    ref: list[Plane], dist: list[Plane], bit_depth: int, ffmpeg: str, folder: Path
) -> dict[str, list[str]]:
    """One that reads the frame pair again and again, and one that also measures it."""
    pix_fmt = "yuv420p" if bit_depth == 8 else f"yuv420p{bit_depth}le"
    height, width = ref[0].shape
    inputs = [ffmpeg, "-v", "error", "-nostdin", "-filter_complex_threads", "1"]
    for name, planes in (("ref", ref), ("dist", dist)):
        path = folder / name
        path.write_bytes(b"".join(p.tobytes() for p in planes))
        inputs += ["-stream_loop", str(_FFMPEG_FRAMES - 1), "-f", "rawvideo", "-pix_fmt", pix_fmt]
        inputs += ["-s", f"{width}x{height}", "-i", str(path)]
    filters = "[0]split[a][b];[1]split[c][d];[a][c]psnr[p];[b][d]ssim[s]"
    measure = ["-lavfi", filters, "-map", "[p]", "-map", "[s]", "-f", "null", "-"]
    return {"reading": [*inputs, "-map", "0", "-map", "1", "-f", "null", "-"], "measuring": [*inputs, *measure]}


if __name__ == "__main__":
    main()

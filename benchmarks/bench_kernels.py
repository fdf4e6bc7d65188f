"""Time and memory bandwidth of the operations, compared with their references and alternative kernels.

    python benchmarks/bench_kernels.py [--only adaptive] [-o benchmarks/results/kernels.jsonl]
    python benchmarks/bench_kernels.py --smoke

On a CUDA device it measures the Triton kernels at 1080p and 2160p, scales 2 and 4; otherwise the CPU paths at sizes
typical of a CPU. ``--smoke`` runs everything once on toy sizes, with Triton's kernels in its interpreter. All
implementations of a case must agree before any is timed. Needs only torch, triton and numpy; numba is measured if
installed.

One row per implementation: ``median_ms``, ``p20_ms``, ``p80_ms``; ``gb_s``, the minimum traffic (inputs once, results
once) per second; ``of_copy``, its fraction of ``copy_gb_s``, the bandwidth of a copy on the same device in the same
run; ``to_ref``, the speed-up over the reference.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def main() -> None:
    """Runs the benchmark and prints its rows as they come; appends them to a file when asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose operation has this in its name")
    parser.add_argument("--smoke", action="store_true", help="toy sizes, once")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.smoke and device.type == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # before anything imports triton
    from kernel_cases import cpu_cases, gpu_cases, toy_cases

    about, copy = origin(device), copy_gb_s(device, 1 << (20 if options.smoke else 28))
    cases = toy_cases(device) if options.smoke else gpu_cases(device) if device.type == "cuda" else cpu_cases()
    for case in cases:
        if options.only not in case.settings["operation"]:
            continue
        times = _checked(case.settings, case.ways)
        if not options.smoke:
            times = {name: milliseconds(way, device) for name, way in case.ways.items()}
        for row in _rows(times, case.moved, copy):
            line = json.dumps({**case.settings, **row, **about})
            print(line, flush=True)
            if options.output:
                with options.output.open("a") as file:
                    file.write(line + "\n")


def _checked(settings: dict[str, Any], ways: dict[str, Callable[[], Any]]) -> dict[str, tuple[float, float, float]]:
    """The first times, as `milliseconds` gives them, of ways that agree with the reference.

    Codes within one, floats within 0.1 % of their root mean square, which absolute float32 coordinates need.
    """
    times, want = {}, _numbers(ways["ref"]())
    for name, way in ways.items():
        before = time.perf_counter()
        results = way()
        times[name] = (1000 * (time.perf_counter() - before),) * 3
        for a, b in zip(_numbers(results), want, strict=True):
            codes = a.dtype == torch.uint8
            a, b = a.double(), b.double()
            error = (a - b).abs().max() if codes else (a - b).square().mean().sqrt() / b.square().mean().sqrt() * 1000
            if not error <= 1:
                raise RuntimeError(f"{name} disagrees with the reference: {error = }, {settings = }")
    return times


def _numbers(results: Any) -> list[Tensor]:
    several = results if isinstance(results, tuple | list) else [results]
    return [torch.as_tensor(t) for t in several if t is not None]


def milliseconds(way: Callable[[], Any], device: torch.device) -> tuple[float, float, float]:
    """Median, 20th and 80th percentile, after warming up; a second or so."""
    if device.type == "cuda":
        from triton.testing import do_bench

        median, p20, p80 = do_bench(way, warmup=200, rep=1000, quantiles=[0.5, 0.2, 0.8])
        return median, p20, p80
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < 3 or (len(times) < 50 and time.perf_counter() - started < 1.5):
        before = time.perf_counter()
        way()
        times.append(1000 * (time.perf_counter() - before))
    p20, *_, p80 = statistics.quantiles(times, n=5)
    return statistics.median(times), p20, p80


def copy_gb_s(device: torch.device, count: int) -> float:
    """What a copy of `count` bytes reads and writes."""
    source = torch.ones(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    median, *_ = milliseconds(lambda: target.copy_(source), device)
    return 2 * count / median / 1e6


def _rows(times: dict[str, tuple[float, float, float]], moved: int, copy: float) -> Iterator[dict[str, Any]]:
    for name, (median, p20, p80) in times.items():
        gb_s = moved / median / 1e6
        yield {
            "way": name,
            "median_ms": round(median, 4),
            "p20_ms": round(p20, 4),
            "p80_ms": round(p80, 4),
            "gb_s": round(gb_s, 3),
            "copy_gb_s": round(copy, 1),
            "of_copy": round(gb_s / copy, 4),
            "to_ref": round(times["ref"][0] / median, 2),
        }


def origin(device: torch.device) -> dict[str, Any]:
    """Commit, device and versions; asks for nothing that a bare GPU machine has not."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        commit = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False).stdout
    except OSError:
        commit = ""
    versions = {"python": platform.python_version()}
    for package in ("torch", "triton", "numba", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{_processor()}, {os.cpu_count()} cores"
    return {"commit": commit.strip(), "device": name, "versions": versions}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()

"""Frames per second of each stage on a GPU, the share of the bus, and the kernels against the memory's bandwidth.

    python benchmarks/bench_gpu.py [--only upscale] [-o benchmarks/results/gpu.jsonl]
    python benchmarks/bench_gpu.py --smoke

Measures scale 2 at 1080p and 2160p, 8-bit 4:2:0. ``--smoke`` runs everything once on toy sizes with shallow networks,
in Triton's interpreter where there is no GPU. An implementation must agree with the reference before it is timed: one
code apart on 99.9 % of the samples. One that does not, or fails, gets a row with ``error``, and the exit code is 1.
Needs only torch, triton and numpy.

One row per implementation: ``frames_s``, through `GpuFrames` from and to host memory; ``kernels_ms``, median with p20
and p80, on the GPU alone; ``bus_ms``, upload and download alone, and ``bus_share``, their part of the time of a frame
if nothing overlapped; ``gb_s``, codes read and written once per second of the kernels, and ``of_copy``, its fraction of
``copy_gb_s``, the bandwidth of a copy on the GPU.
"""

import argparse
import json
import os
import sys
import time
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from bench_kernels import copy_gb_s, milliseconds, origin

if TYPE_CHECKING:
    from gpu_stages import Stage

    from vidscale.models.gpu.frames import GpuFrames, Work

SIZES, TOY_SIZES = ((1080, 1920), (2160, 3840)), ((16, 24),)


def main() -> None:
    """Runs the benchmark and prints its rows as they come; appends them to a file when asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="stages with this in their name")
    parser.add_argument("--smoke", action="store_true", help="toy sizes, once")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available() and not options.smoke:
        sys.exit("bench_gpu.py: torch finds no CUDA device")  # to stderr, with exit code 1
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # before anything imports triton
    from gpu_stages import REFERENCE, stages

    from vidscale.models.gpu.frames import GpuFrames
    from vidscale.models.pair import IN_FLIGHT

    about, copy = origin(device), copy_gb_s(device, 1 << (20 if options.smoke else 28))
    frames, failed = GpuFrames(device, IN_FLIGHT if device.type == "cuda" else 1), False
    for size in TOY_SIZES if options.smoke else SIZES:
        for stage in stages(device, size, smoke=options.smoke):
            if options.only not in stage.name:
                continue
            reference = run_once(stage, stage.ways[REFERENCE], device)
            for name, work in stage.ways.items():
                try:
                    check(stage, work, reference, device)
                    row = measured(stage, work, frames, device, copy, smoke=options.smoke)
                except Exception as error:  # the others are measured all the same
                    failed, row = True, {"error": f"{type(error).__name__}: {error}".partition("\n")[0]}
                line = json.dumps({"stage": stage.name, "size": f"{size[1]}x{size[0]}", "way": name, **row, **about})
                print(line, flush=True)
                if options.output:
                    with options.output.open("a") as file:
                        file.write(line + "\n")
    if failed:
        sys.exit("bench_gpu.py: some implementations failed, see the rows with an error")


def check(stage: "Stage", work: "Work", reference: torch.Tensor, device: torch.device) -> None:
    """Raises RuntimeError if an implementation disagrees with the reference."""
    apart = (run_once(stage, work, device).int() - reference.int()).abs()
    if (apart > 1).float().mean() > 0.001:
        raise RuntimeError(f"more than one code apart on {(apart > 1).float().mean():.2%}, {apart.max()} at most")


def run_once(stage: "Stage", work: "Work", device: torch.device) -> torch.Tensor:
    """All codes of the result, on the GPU."""
    source, target = _on_gpu(stage, device)
    with torch.no_grad():
        work(source, target)
    return torch.cat([target.plane(index).flatten() for index in range(len(stage.shapes))])


def measured(
    stage: "Stage", work: "Work", frames: "GpuFrames", device: torch.device, copy: float, *, smoke: bool
) -> dict[str, Any]:
    """A row."""
    source, target = _on_gpu(stage, device)
    pinned = [
        torch.empty_like(buffer.data, device="cpu", pin_memory=device.type == "cuda") for buffer in (source, target)
    ]

    def kernels() -> None:
        with torch.no_grad():
            work(source, target)

    def bus() -> None:
        source.data.copy_(pinned[0], non_blocking=True)
        pinned[1].copy_(target.data, non_blocking=True)

    median, p20, p80 = (0.0, 0.0, 0.0) if smoke else milliseconds(kernels, device)
    on_bus = 0.0 if smoke else milliseconds(bus, device)[0]
    gb_s = (stage.uploaded + stage.downloaded) / median / 1e6 if median else 0.0
    return {
        "frames_s": round(frames_per_second(stage, work, frames, smoke=smoke), 1),
        "kernels_ms": round(median, 4),
        "p20_ms": round(p20, 4),
        "p80_ms": round(p80, 4),
        "bus_ms": round(on_bus, 4),
        "bus_share": round(on_bus / (on_bus + median), 3) if median else 0.0,
        "gb_s": round(gb_s, 2),
        "copy_gb_s": round(copy, 1),
        "of_copy": round(gb_s / copy, 4),
    }


def frames_per_second(stage: "Stage", work: "Work", frames: "GpuFrames", *, smoke: bool) -> float:
    """From decoded planes to planes for the encoder, several frames in flight; about two seconds."""
    from vidscale.models.pair import IN_FLIGHT
    from vidscale.system.threads import in_order

    def scale(_: int) -> None:
        if frames.run(stage.planes, stage.shapes, work) is None:
            raise RuntimeError(f"{stage.name} does not fit into the GPU's memory")

    count = 1 if smoke else 16
    while True:
        start = time.perf_counter()
        for _ in in_order(scale, repeat(0, count), IN_FLIGHT):
            pass
        seconds = time.perf_counter() - start
        if smoke or seconds > 1:
            return count / seconds
        count *= 2


def _on_gpu(stage: "Stage", device: torch.device) -> Any:
    """Source and target planes on the GPU."""
    from vidscale.triton_kernels.plane_buffer import PlaneBuffer

    source = PlaneBuffer.empty([plane.shape for plane in stage.planes], torch.uint8, device)
    for index, plane in enumerate(stage.planes):
        source.plane(index).copy_(torch.from_numpy(plane))
    return source, PlaneBuffer.empty(stage.shapes, torch.uint8, device)


if __name__ == "__main__":
    main()

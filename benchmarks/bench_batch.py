"""Chunks against one piece: time with two workers, what joints cost in bits, and what each serial step takes.

    python benchmarks/bench_batch.py [MOVIE] [--rounds 3] [--bits] [--steps] [-o benchmarks/results/batch.jsonl]

Without MOVIE it makes a 1080p clip with synthetic motion (``benchmarks/synthetic.py``). Without ``--bits`` and
``--steps`` it times `vidscale encode --no-report` in one piece and in chunks by two workers, in alternation, process
start-up included. ``--bits`` compares sizes for chunks of 10, 30 and 60 s (a movie of two minutes or more). ``--steps``
times what one program does for all workers: finding cuts, the journal, joining, measuring; `scale_model.py` predicts
from them what many workers do.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import av
from bench_pipeline import clip
from machine import origin
from turns import in_turns, wall_times

from vidscale.batch.chunked import ChunkedEncoder, plan_chunked
from vidscale.batch.chunks import Chunk, divide
from vidscale.batch.job import job_of
from vidscale.batch.journal import Journal
from vidscale.batch.local import LocalEngine
from vidscale.batch.tasks import ChunkResult
from vidscale.config import EncodeSettings
from vidscale.jobs.evaluation import evaluate_encode
from vidscale.jobs.pipeline import encode
from vidscale.jobs.plans import EncodePlan
from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.media.packets import length_s
from vidscale.media.probe import probe
from vidscale.stages.read_log import ReadLog
from vidscale.system.progress import Progress

_SPEED = (("x264", "superfast"), ("x264", "medium"), ("x265", "fast"))
_BITS = (("x264", "medium"), ("x265", "superfast"))
_LENGTHS_S = (10, 30, 60)
_WORKERS = 2


def main() -> None:
    """Runs the benchmark and prints its rows; appends them to a file when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("movie", nargs="?", type=Path)
    parser.add_argument("--frames", type=int, default=900)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bits", action="store_true")
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode
    facts = origin(find_ffmpeg(encoders=["libx264", "libx265"]))
    with tempfile.TemporaryDirectory(prefix="vidscale-bench-") as name:
        folder = Path(name)
        movie = options.movie or clip(folder, options.frames)
        if options.bits:
            rows = _bits(movie, folder)
        elif options.steps:
            rows = _steps(movie, folder)
        else:
            rows = _speed(movie, folder, options.rounds)
        for row in rows:
            line = json.dumps({**row, "load": round(os.getloadavg()[0], 1), **facts})
            print(line, flush=True)
            if options.output:
                with options.output.open("a") as file:
                    file.write(f"{line}\n")


def _speed(movie: Path, folder: Path, rounds: int) -> Iterator[dict[str, Any]]:
    for codec, preset in _SPEED:
        words = [sys.executable, "-m", "vidscale", "encode", str(movie), "--scale", "2", "--no-report", "-y", "-q"]
        words += ["--codec", codec, "--preset", preset, "-o"]
        chunks = ["--chunks", str(_WORKERS), "--jobs", str(_WORKERS)]
        ways = {
            "one piece": [*words, str(folder / "whole.mp4")],
            "chunks": [*words, str(folder / "chunks.mp4"), *chunks],
        }
        runs = in_turns(ways, rounds)
        share = median(runs["one piece"].wall_s) / median(runs["chunks"].wall_s)
        yield {
            "benchmark": "speed of chunks",
            "encoder": f"{codec} {preset}",
            "workers": _WORKERS,
            "chunks": _WORKERS,
            "speedup": round(share, 3),
            "processor_seconds": {name: round(median(found.processor_s), 2) for name, found in runs.items()},
            **wall_times(runs),
        }


def _bits(movie: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Bytes of the video in one piece and in chunks, with the same number of encoder threads."""
    length = length_s(probe(movie)) or Fraction(0)
    for codec, preset in _BITS:
        settings = EncodeSettings.resolve(
            {"scale": 2, "codec": codec, "preset": preset, "report": False, "overwrite": True}
        )
        sizes, joints = {}, {}
        for name, count in {"one piece": 1, **{f"{each} s": round(length / each) for each in _LENGTHS_S}}.items():
            output = folder / f"{codec}.{count}.mp4"
            plan = plan_chunked(movie, output, settings).plan
            with LocalEngine(_WORKERS) as engine, ChunkedEncoder(engine, count) as encoder:
                joints[name] = len(divide(plan.source, None, count, workers=_WORKERS).chunks) - 1
                encoder(plan)
                encoder.discard()
            sizes[name] = _video_bytes(output)
        added = {name: round(100 * (size / sizes["one piece"] - 1), 3) for name, size in sizes.items()}
        yield {
            "benchmark": "bits of chunks",
            "encoder": f"{codec} {preset}",
            "seconds": float(length),
            "bytes": sizes,
            "joints": joints,
            "added_percent": added,
        }


def _video_bytes(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(packet.size for packet in container.demux(video=0))


def _steps(movie: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Seconds of the serial steps for this movie, and of one chunk's work."""
    settings = EncodeSettings.resolve({"scale": 2, "preset": "medium", "overwrite": True})
    start = time.perf_counter()
    plan = plan_chunked(movie, folder / "steps.mp4", settings).plan
    planned = time.perf_counter()
    chunks = divide(plan.source, None, None, workers=_WORKERS).chunks
    divided = time.perf_counter()
    outcome = encode(plan)
    encoded = time.perf_counter()
    evaluate_encode(plan, outcome)
    measured = time.perf_counter()
    joining = _Joining()
    with LocalEngine(_WORKERS) as engine, ChunkedEncoder(engine, len(chunks)) as encoder:
        encoder(plan, joining)
        joined = time.perf_counter() - joining.began
        encoder.discard()
    yield {
        "benchmark": "steps of a movie",
        "frames": outcome.frames,
        "chunks": len(chunks),
        "seconds": {
            "plan": round(planned - start, 3),
            "cuts": round(divided - planned, 3),
            "encode": round(encoded - divided, 3),
            "join": round(joined, 3),
            "measure": round(measured - encoded, 3),
            "journal of a chunk": round(_journal_s(plan, folder, outcome.frames), 5),
        },
    }


class _Joining(Progress):
    """Notes when joining begins."""

    began = 0.0

    def start(self, task: str, total: int | None, unit: str = "frames") -> None:
        if task == "joining":
            self.began = time.perf_counter()


def _journal_s(plan: EncodePlan, folder: Path, frames: int) -> float:
    """Seconds to enter one chunk, which reaches the disk."""
    result = ChunkResult(array("q", range(frames)), frames, 2, (), None, ReadLog(), (), 1, "0" * 64)
    journal = Journal(folder / "journal.db")
    journal.begin(job_of(plan, None), [Chunk(None, None, frames)] * 20)
    start = time.perf_counter()
    for number in range(20):
        journal.finish(number, "depends", result)
    passed = time.perf_counter() - start
    journal.close()
    return passed / 20


if __name__ == "__main__":
    main()

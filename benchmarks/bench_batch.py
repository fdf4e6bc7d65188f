"""Chunks against one piece and Ray against local workers: time, what joints cost in bits, and each serial step.

    python benchmarks/bench_batch.py [--rounds 2] [-o benchmarks/results/batch.jsonl]
    python benchmarks/bench_batch.py --ray [-o benchmarks/results/batch.jsonl]
    python benchmarks/bench_batch.py [MOVIE] --bits|--steps [-o benchmarks/results/batch.jsonl]
    python benchmarks/bench_batch.py --table [-o docs/scale.md]

The first makes a 1080p clip with synthetic motion (``benchmarks/synthetic.py``), repeats it, and times `vidscale encode
--no-report` in one piece and in 4 chunks by two workers, in turns, process start-up included; then `vidscale batch`
with 8 chunks by local workers and by Ray, where that is installed. It takes about 10 minutes on two idle cores.
``--ray`` times the last alone.
``--table`` prints the rows as docs/scale.md has them, ``--table -o docs/scale.md`` writes them there. ``--bits``
compares sizes for chunks of 10, 30 and 60 s (a movie of two minutes or more). ``--steps`` times what one program does
for all workers: finding cuts, the journal, joining, measuring; `scale_model.py` predicts from them what many do.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.util import find_spec
from operator import truediv
from pathlib import Path
from statistics import median
from typing import Any

import av
from bench_pipeline import clip
from machine import origin
from turns import Runs, in_turns, wall_times

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

_CLIP_S = 20  # of which movies are made by repeating
_MOTION_JPEG = "Motion JPEG"  # its decoder has one thread


@dataclass(frozen=True, slots=True)
class _Case:
    """A movie of 1080p and its encoder; ``source`` is its coding."""

    source: str
    seconds: int
    scale: int
    codec: str
    preset: str


_SPEED = (
    _Case("H.264", 120, 2, "x264", "superfast"),
    _Case(_MOTION_JPEG, 120, 4, "x264", "superfast"),
    _Case("H.264", 60, 2, "x264", "medium"),
    _Case("H.264", 40, 2, "x265", "fast"),
)
_RAY = _Case("H.264", 120, 2, "x264", "medium")
_RAY_CHUNKS = 8
_BLOCK = re.compile(r"(?s)(<!-- chunk-speed -->\n).*?(<!-- /chunk-speed -->)")
_RESULTS = Path(__file__).parent / "results" / "batch.jsonl"
_BITS = (("x264", "medium"), ("x265", "superfast"))
_LENGTHS_S = (10, 30, 60)
_WORKERS, _CHUNKS = 2, 4
_PROGRAM = (sys.executable, "-m", "vidscale")


def main() -> None:
    """Runs the benchmark and prints its rows; appends them to a file when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("movie", nargs="?", type=Path)
    parser.add_argument("--frames", type=int, default=900, help="of the clip for --steps")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--bits", action="store_true")
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--table", action="store_true", help="the stored rows as docs/scale.md has them")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.table:
        text = _table(_RESULTS)
        print(text)
        if options.output:
            page = options.output.read_text()
            options.output.write_text(_BLOCK.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page))
        return
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode
    facts = origin(find_ffmpeg(encoders=["libx264", "libx265"]))
    with tempfile.TemporaryDirectory(prefix="vidscale-bench-") as name:
        folder = Path(name)
        if options.bits:
            rows = _bits(options.movie or clip(folder, options.frames), folder)
        elif options.steps:
            rows = _steps(options.movie or clip(folder, options.frames), folder)
        elif options.ray:
            rows = _ray(_movies(folder)[_RAY.source, _RAY.seconds], folder)
        else:
            rows = _speed(folder, options.rounds)
        for row in rows:
            line = json.dumps({**row, "load": round(os.getloadavg()[0], 1), **facts})
            print(line, flush=True)
            if options.output:
                with options.output.open("a") as file:
                    file.write(f"{line}\n")


def _speed(folder: Path, rounds: int) -> Iterator[dict[str, Any]]:
    movies = _movies(folder)
    for case in _SPEED:
        words = ["encode", str(movies[case.source, case.seconds]), *_options(case), "-o"]
        chunks = ["--chunks", str(_CHUNKS), "--jobs", str(_WORKERS)]
        ways = {"one piece": [*words, str(folder / "whole.mp4")], "chunks": [*words, str(folder / "a.mp4"), *chunks]}
        runs = in_turns({way: [*_PROGRAM, *words] for way, words in ways.items()}, rounds)
        whole = runs["one piece"]
        yield {
            "benchmark": "chunks against one piece",
            **_facts(case),
            "workers": _WORKERS,
            "chunks": _CHUNKS,
            **_ratio(runs, "one piece", "chunks"),
            "busy_cores": round(median(map(truediv, whole.processor_s, whole.wall_s)), 2),  # of the one piece
            "processor_seconds": {way: round(median(found.processor_s), 2) for way, found in runs.items()},
            **wall_times(runs),
        }
    if find_spec("ray") is not None:
        yield from _ray(movies[_RAY.source, _RAY.seconds], folder)


def _ray(movie: Path, folder: Path) -> Iterator[dict[str, Any]]:
    words = ["batch", str(movie), *_options(_RAY), "--jobs", str(_WORKERS), "--chunks", str(_RAY_CHUNKS), "-o"]
    ways = {engine: [*words, str(folder / engine), "--engine", engine] for engine in ("local", "ray")}
    runs = in_turns({way: [*_PROGRAM, *words] for way, words in ways.items()}, 1)  # a second time would find all done
    yield {
        "benchmark": "ray against local",
        **_facts(_RAY),
        "workers": _WORKERS,
        "chunks": _RAY_CHUNKS,
        **_ratio(runs, "local", "ray"),
        **wall_times(runs),
    }


def _options(case: _Case) -> list[str]:
    return [*("--scale", str(case.scale), "--codec", case.codec, "--preset", case.preset), "--no-report", "-y", "-q"]


def _facts(case: _Case) -> dict[str, Any]:
    facts = asdict(case)
    return {"seconds_of_movie": facts.pop("seconds"), **facts}


def _ratio(runs: dict[str, Runs], first: str, second: str) -> dict[str, Any]:
    """Throughput of the second way in that of the first, by pairs that ran one after the other."""
    ratios = [a / b for a, b in zip(runs[first].wall_s, runs[second].wall_s, strict=True)]
    return {"ratio": round(median(ratios), 3), "ratios": [round(ratio, 3) for ratio in ratios]}


def _movies(folder: Path) -> dict[tuple[str, int], Path]:
    """The movies of all cases, of one clip."""
    once = clip(folder, 30 * _CLIP_S)
    ffmpeg = [find_ffmpeg(encoders=["libx264"]).path, "-v", "error", "-y"]
    pictures = folder / "pictures.mkv"
    subprocess.run([*ffmpeg, "-i", once, "-c:v", "mjpeg", "-q:v", "5", pictures], check=True)
    made = {}
    for case in (*_SPEED, _RAY):
        part, suffix = (pictures, ".mkv") if case.source == _MOTION_JPEG else (once, ".mp4")
        made[case.source, case.seconds] = path = folder / f"movie{case.seconds}{suffix}"
        repeat = ["-stream_loop", str(case.seconds // _CLIP_S - 1)]
        subprocess.run([*ffmpeg, *repeat, "-i", part, "-c", "copy", path], check=True)
    return made


def _table(results: Path) -> str:
    """The newest rows about speed as a table."""
    stored = [json.loads(line) for line in results.read_text().splitlines()]
    newest = {
        tuple(row[name] for name in ("benchmark", "source", "codec", "preset")): row
        for row in stored
        if row["benchmark"] in ("chunks against one piece", "ray against local")
    }
    if not newest:
        return "Not measured yet on an idle machine."
    lines = ["| movie of 1080p, encoder | ways | seconds | throughput | cores that one piece keeps busy |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for row in newest.values():
        ways = list(row["seconds"])
        movie = f"{row['source']}, {row['seconds_of_movie']} s, {row['codec']} {row['preset']}, by {row['scale']}"
        seconds = " / ".join(f"{row['seconds'][way]:.1f}" for way in ways)
        cells = [movie, " / ".join(ways), seconds, f"{row['ratio']:.2f}", str(row.get("busy_cores", "–"))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


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

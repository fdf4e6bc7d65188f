"""What `encode --adapt` gains and costs, and what other entropy coders would make of its updates.

    python benchmarks/bench_adapt.py MOVIE... [--codec x265] [--crf 20,25,30,35] [--pair adaptive-x2]
        [--adapt off,light,full,best,plain] [--times | --coders] [-o benchmarks/results/adapt.jsonl]

A row for each movie and crf: bytes and quality with each value of ``--adapt`` ("plain" is a plain encode at
full size), what `encode` says of each segment, and seconds of `encode --no-report` and of measuring. `adapt_tables.py`
writes the tables of docs/adapt.md from these rows.

With ``--times``, processor seconds of `encode --no-report` with each value of ``--adapt`` and at full size; then
processor and wall seconds of decoding with and without the updates of `full`, in turns.

With ``--coders``, the bytes of a movie's updates without their headers, by the range coder as stored, LZMA with order-0
literals, a range coder with a distribution fitted to each group (where the package `constriction` is installed), and
their entropy: that of each group's own histogram, whose table is not counted.
"""

import argparse
import itertools
import json
import lzma
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from machine import origin

from vidscale import api
from vidscale.config import DecodeSettings
from vidscale.jobs.restore import open_small, restored_frames
from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.models.plane_pair import PlanePair
from vidscale.models.update_codes import Group, to_bytes
from vidscale.report.rows import Report
from vidscale.report.totals import totals
from vidscale.stages.read_log import ReadLog
from vidscale.system.threads import Clock

_PLAIN: dict[str, Any] = {"pair": "lanczos", "scale": 1}  # at full size, nothing restored
_ROUNDS = 12  # of decoding
_PROCESSES = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
_LZMA = [{"id": lzma.FILTER_LZMA1, "lc": 0, "lp": 0, "pb": 0, "dict_size": 4096}]
_WIDTHS = np.exp(np.linspace(-1.5, 5, 60))  # of the fitted distributions
_SHAPES = (1.0, 1.5, 2.0)


def main() -> None:
    """Runs the benchmark and prints its rows; appends them to a file when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("movies", nargs="+", type=Path)
    parser.add_argument("--codec", default="x265")
    parser.add_argument("--crf", type=lambda text: [float(crf) for crf in text.split(",")], default=[28.0])
    parser.add_argument("--pair", default="adaptive-x2")
    parser.add_argument("--adapt", type=lambda text: text.split(","), default=["off", "full"])
    parser.add_argument("--coders", action="store_true")
    parser.add_argument("--times", action="store_true")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    for movie, crf in itertools.product(options.movies, options.crf):
        settings = {"pair": options.pair, "codec": options.codec, "crf": crf}
        with tempfile.TemporaryDirectory(prefix="vidscale-bench-") as name:
            folder = Path(name)
            if options.coders:
                found = _coders(movie, folder, settings)
            elif options.times:
                found = _times(movie, folder, settings)
            else:
                found = _gain(movie, folder, settings, options.adapt)
        row = {"movie": movie.name, **settings, **found}
        line = json.dumps({**row, **origin(find_ffmpeg())})
        print(line, flush=True)
        if options.output:
            with options.output.open("a") as file:
                file.write(f"{line}\n")


def _gain(movie: Path, folder: Path, settings: dict[str, Any], kinds: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"benchmark": "adapt"}
    for kind in kinds:
        small, started = folder / f"{kind}.mp4", time.perf_counter()
        processor = time.process_time()
        way = settings | (_PLAIN if kind == "plain" else {"adapt": kind})
        encoded = api.encode(movie, small, report=False, verdict=False, **way)
        row[kind] = {
            **_quality(api.measure(movie, small, vmaf=True)),
            "encode_s": round(time.perf_counter() - started, 2),
            "own_cpu_s": round(time.process_time() - processor, 2),  # without ffmpeg
        }
        if encoded.adapted:
            row[kind]["segments"] = [asdict(one) for one in encoded.adapted]
    return row


def _times(movie: Path, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Processor seconds of each encode, also at full size; those and wall seconds of decoding, in turns."""
    row: dict[str, Any] = {"benchmark": "adapt times", "encode_cpu_s": {}}
    ways = {adapt: settings | {"adapt": adapt} for adapt in ("off", "light", "full", "best")}
    for name, way in {"warm-up": ways["off"], **ways, "plain": settings | _PLAIN}.items():
        started = _processor_s()
        api.encode(movie, folder / f"{name}.mp4", report=False, verdict=False, **way)
        row["encode_cpu_s"][name] = round(_processor_s() - started, 2)
    del row["encode_cpu_s"]["warm-up"]
    for names in itertools.islice(itertools.cycle((("off", "full"), ("full", "off"))), _ROUNDS + 1):
        for name in names:
            wall_s, processor_s = time.perf_counter(), time.process_time()
            for _ in _restored(folder / f"{name}.mp4"):
                pass
            row.setdefault("decode_cpu_s", {}).setdefault(name, []).append(round(time.process_time() - processor_s, 3))
            row.setdefault("decode_s", {}).setdefault(name, []).append(round(time.perf_counter() - wall_s, 3))
    for kind in ("decode_cpu_s", "decode_s"):  # the first round warms up
        row[kind] = {name: seen[1:] for name, seen in row[kind].items()}
    return row


def _processor_s() -> float:
    """Of this process and of all that it waited for."""
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, _PROCESSES))


def _quality(report: Report) -> dict[str, Any]:
    found = totals(report)
    assert found.vmaf
    assert found.vmaf_neg
    return {
        "video_bytes": report.distorted.video_bytes,
        "psnr_y": round(found.psnr_y.of_mean_mse, 4),
        "ssim_y": round(found.ssim_y.mean, 6),
        "vmaf": round(found.vmaf.mean, 3),
        "vmaf_neg": round(found.vmaf_neg.mean, 3),
    }


def _restored(small: Path) -> Iterator[Any]:
    opened = open_small(small, ffmpeg=find_ffmpeg().path, settings=DecodeSettings())
    return restored_frames(opened, log=ReadLog(), decoding=Clock("decode"), upscaling=Clock("upscale"))


def _coders(movie: Path, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    small = folder / "small.mp4"
    api.encode(movie, small, adapt="full", report=False, verdict=False, **settings)
    opened = open_small(small, ffmpeg=find_ffmpeg().path, settings=DecodeSettings())
    assert isinstance(opened.pair, PlanePair)
    updates = {frame.update for frame in _restored(small)} - {b""}
    groups = [group for update in sorted(updates) for group in opened.pair.update_of(update, opened.strength).groups]
    sizes = {"stored": len(to_bytes(groups)), "lzma": _lzma(groups), "entropy": round(sum(map(_entropy, groups)) / 8)}
    if find_spec("constriction"):
        sizes["constriction"] = _fitted(groups)
    return {"benchmark": "coders", "updates": len(updates), "bytes": sizes}


def _lzma(groups: list[Group]) -> int:
    codes = np.concatenate([group.codes for group in groups])
    whole = codes.astype("<i2").view(np.uint8).reshape(-1, 2).T  # low bytes, then high bytes
    return sum(len(lzma.compress(part.tobytes(), lzma.FORMAT_RAW, filters=_LZMA)) for part in whole)


def _entropy(group: Group) -> float:
    """Bits."""
    counts = np.unique(group.codes, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def _fitted(groups: list[Group]) -> int:
    """Bytes by a range coder, and three for each group: its step, and the width and shape of its distribution."""
    import constriction  # type: ignore[import-not-found]  # not a dependency

    coder = constriction.stream.queue.RangeEncoder()
    for group in groups:
        most = int(np.abs(group.codes).max())
        table = min(_tables(most), key=lambda table: -float(np.log2(table[group.codes + most]).sum()))
        coder.encode(group.codes + most, constriction.stream.model.Categorical(table, perfect=False))
    return 4 * len(coder.get_compressed()) + 3 * len(groups)


def _tables(most: int) -> Iterator[npt.NDArray[np.float64]]:
    distance = np.abs(np.arange(-most, most + 1))
    for width in _WIDTHS:
        for shape in _SHAPES:
            table = np.maximum(np.exp(-((distance / width) ** shape)), 1e-9)
            yield table / table.sum()


if __name__ == "__main__":
    main()

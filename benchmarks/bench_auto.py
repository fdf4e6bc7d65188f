"""How well `vidscale encode` decides: against an exhaustive search, against the full size, and against its targets.

    python benchmarks/bench_auto.py CLIP_OR_FOLDER... [--codec x264,x265] [--target 70,80,90,94] [--effort normal]
        [-o FILE.jsonl]

For each clip, codec and target VMAF it encodes with ``--target vmaf=N`` and an empty cache, as a user would, and then
probes every way (``plan --exhaustive``). A row has:

* ``chosen``, ``best``: the way that was taken, and the one that needs the fewest bits of those that also save by the
  judge, VMAF NEG, and lose little by other metrics: others are never taken;
* ``bits``, ``best_bits``: what they need against full size at equal VMAF, % (by the exhaustive search), and ``loss``,
  their difference;
* ``first_error``, ``error``: VMAF of the file over the target, before and after the correction;
* ``decide_s``, ``encode_s``: wall time of deciding, and of encoding once.

Rows that are in the file already are not measured again.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from machine import origin

from vidscale import api
from vidscale.errors import VidscaleError
from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.per_title.decision import Decision, WayEstimate, loses_too_much

_SUFFIXES = {".mp4", ".mkv", ".webm", ".mov"}


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--codec", default="x264,x265")
    parser.add_argument("--target", default="70,80,90,94", help="values of VMAF (default: %(default)s)")
    parser.add_argument("--preset", default="medium")
    parser.add_argument("--effort", help="of the downscaler (default: that of the encoder and its preset)")
    parser.add_argument("-o", "--output", type=Path, help="JSON lines, appended to")
    options = parser.parse_args()
    clips = sorted(clip for path in options.paths for clip in _clips(path))
    if not clips:
        sys.exit("no video files there")
    rows = _read(options.output)
    known = {(row["clip"], row["codec"], row["target"], row.get("effort")) for row in rows}
    common = origin(find_ffmpeg())
    for clip, codec, target in product(clips, options.codec.split(","), map(float, options.target.split(","))):
        if (clip.stem, codec, target, options.effort) in known:
            continue
        given = {"effort": options.effort} if options.effort else {}
        settings = {"codec": codec, "target": f"vmaf={target:g}", "preset": options.preset, **given}
        row = {"clip": clip.stem, "codec": codec, "target": target, **given, **_measured(clip, target, settings)}
        rows.append(row)
        print(_line(row), flush=True)
        if options.output:
            with options.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**row, **common}) + "\n")
    for line in summary_lines(rows):
        print(line)


def _clips(path: Path) -> list[Path]:
    return [file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES] if path.is_dir() else [path]


def _read(path: Path | None) -> list[dict[str, Any]]:
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _measured(clip: Path, target: float, settings: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="vidscale-auto-") as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # an empty cache: the cost of deciding is that of a new movie
        started = time.perf_counter()
        try:
            encoded = api.encode(clip, Path(folder) / "small.mp4", report=False, verdict=False, **settings)
            spent = time.perf_counter() - started
            exhaustive = api.plan(clip, exhaustive=True, **settings)
        except VidscaleError as error:
            return {"error_text": str(error)}
    decision = encoded.decision
    if decision is None:
        raise ValueError(f"{clip} was encoded without a decision")
    allowed = [
        one
        for one in exhaustive.ways
        if one.is_reached and (one.way.is_full or (one.judged.bits < 0 and not loses_too_much(one.lost)))
    ]
    best = min(allowed, key=lambda one: one.bits.bits)
    same = _estimate_of(exhaustive, decision.chosen)
    checks = [check.measured - target for check in encoded.checks]
    return {
        "chosen": decision.chosen.way.scaling,
        "best": best.way.scaling,
        "bits": round(100 * same.bits.bits, 2),
        "best_bits": round(100 * best.bits.bits, 2),
        "loss": round(100 * (same.bits.bits - best.bits.bits), 2),
        "first_error": round(checks[0], 3),
        "error": round(checks[-1], 3),
        "probes": decision.probes,
        "parts": len(decision.parts),
        "decide_s": round(decision.seconds, 2),
        "encode_s": round((spent - decision.seconds) / len(checks), 2),
    }


def _estimate_of(decision: Decision, one: WayEstimate) -> WayEstimate:
    return next(other for other in decision.ways if other.way == one.way)


def _line(row: dict[str, Any]) -> str:
    head = f"{row['clip']} {encoder(row)} vmaf={row['target']:g}:"
    if "error_text" in row:
        return f"{head} {row['error_text']}"
    return (
        f"{head} {row['chosen']} {row['bits']:+.1f} %, best {row['best']} {row['best_bits']:+.1f} %, error "
        f"{row['first_error']:+.2f} then {row['error']:+.2f}, decided in {row['decide_s']} s, encoded in "
        f"{row['encode_s']} s"
    )


def encoder(row: dict[str, Any]) -> str:
    """The encoder of a row, and the effort of the downscaler if it is not the default."""
    return f"{row['codec']}, --effort {row['effort']}" if "effort" in row else row["codec"]


def summary_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """What the rows say together, a line for each encoder and effort."""
    for name in dict.fromkeys(map(encoder, rows)):
        some = [row for row in rows if encoder(row) == name and "error_text" not in row]
        if not some:
            continue
        bits = [row["bits"] for row in some]
        errors = [abs(row["error"]) for row in some]
        losses = [row["loss"] for row in some]
        same = sum(row["chosen"] == row["best"] for row in some)
        yield (
            f"{name}: {len(some)} encodes, {statistics.mean(bits):+.1f} % bits (worst {max(bits):+.1f} %); the best "
            f"way in {same}, mean loss {statistics.mean(losses):.2f} % (worst {max(losses):.2f} %); target missed by "
            f"{statistics.mean(errors):.2f} (worst {max(errors):.2f})"
        )


if __name__ == "__main__":
    main()

"""Runs `vidscale encode` on real files, and measures time, size and quality.

    python benchmarks/real_input.py FILE_OR_FOLDER... [--scale 2] [--crf 28] [-o benchmarks/results/real_input]

Writes one JSON row per file and a Markdown table. A file that cannot be encoded gets a row with the error.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import origin

from vidscale import api
from vidscale.errors import VidscaleError
from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.report.totals import totals

_SUFFIXES = {".mp4", ".mkv", ".webm", ".mov", ".ts", ".avi"}


def main() -> None:
    """Codes, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--scale", default="2")
    parser.add_argument("--crf", type=float, default=28)
    parser.add_argument("--codec", default="x264")
    parser.add_argument("--pair", default="auto", help="as of vidscale encode (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, help="without extension")
    options = parser.parse_args()
    files = sorted(file for path in options.paths for file in _files(path))
    if not files:
        sys.exit("no video files there")
    rows = []
    with tempfile.TemporaryDirectory(prefix="vidscale-real-") as folder:
        for file in files:
            settings = {"scale": options.scale, "crf": options.crf, "codec": options.codec, "pair": options.pair}
            rows.append(_row(file, Path(folder), **settings))
            print(_line(rows[-1]), flush=True)
    if options.output:
        common = origin(find_ffmpeg())
        options.output.with_suffix(".jsonl").write_text("".join(json.dumps({**row, **common}) + "\n" for row in rows))
        options.output.with_suffix(".md").write_text(_table(rows, common))


def _files(path: Path) -> list[Path]:
    return [f for f in path.iterdir() if f.suffix.lower() in _SUFFIXES] if path.is_dir() else [path]


def _row(file: Path, folder: Path, **settings: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"file": file.name, **settings}
    started = time.perf_counter()
    try:
        result = api.encode(file, folder / f"{file.stem}.mkv", overwrite=True, **settings)
    except VidscaleError as error:
        return {**row, "error": str(error)}
    report = result.report
    if report is None:
        raise RuntimeError("the report is on by default")
    sums = totals(report)
    seconds = time.perf_counter() - started
    source = report.source
    return {
        **row,
        "frames": sums.frames,
        "size": f"{source.width}x{source.height}",
        "pix_fmt": source.format.name,
        "coded": f"{report.distorted.coded_width}x{report.distorted.coded_height}",
        "source_kbps": round(source.bitrate_kbps or 0, 1),
        "kbps": round(sums.bitrate_kbps or 0, 1),
        "psnr_y": round(sums.psnr_y.of_mean_mse, 2),
        "ssim_y": round(sums.ssim_y.mean, 4),
        "seconds": round(seconds, 2),
        "fps": round(sums.frames / seconds, 1),
        "unpaired": report.unpaired.count,
        "notes": list(result.notes),
    }


_COLUMNS = ("file", "size", "pix_fmt", "frames", "coded", "source_kbps", "kbps", "psnr_y", "ssim_y", "fps")


def _line(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"| {row['file']} | {row['error']} |" + " |" * (len(_COLUMNS) - 2)
    return "| " + " | ".join(str(row[column]) for column in _COLUMNS) + " |"


def _table(rows: list[dict[str, Any]], common: dict[str, Any]) -> str:
    first = rows[0]
    head = (
        f"Pair {first['pair']}, scale {first['scale']}, {first['codec']} medium, crf {first['crf']:g}. "
        "kbps are video packets only; fps counts everything: start, coding, restoring, measuring, report.\n"
        f"Commit {common['commit']}, {common['cpu']}, {common['cores']} cores, "
        f"ffmpeg {common['versions']['ffmpeg']}.\n\n"
    )
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + " --- |" * len(_COLUMNS), *map(_line, rows)]
    notes = [f"* {row['file']}: {note}" for row in rows for note in row.get("notes", [])]
    return head + "\n".join([*lines, "", *notes]) + "\n"


if __name__ == "__main__":
    main()

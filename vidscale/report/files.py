"""Writes reports: report.json (schema in docs/report-schema.md), frames.csv and index.html.

Each file is written under a temporary name in the same folder and renamed when complete.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vidscale.errors import VidscaleError, reason_of
from vidscale.report.rows import DistortedFacts, Report, SourceFacts
from vidscale.report.summary import ShotTotals
from vidscale.report.totals import Column, columns, remarks, shot_totals, totals
from vidscale.report.verdict import Verdict
from vidscale.system.workspace import replacing
from vidscale.text import json_number, json_value

SCHEMA_VERSION = 1
RECORD = "report.json"
# Decimal places of derived numbers; measured numbers are written in full.
_DIGITS = {"pts_s": 9, "bitrate_kbps": 3, "psnr_y": 4, "psnr_u": 4, "psnr_v": 4, "psnr_yuv": 4}


def write_report(report: Report, directory: Path) -> None:
    """Writes report.json, frames.csv and index.html to `directory`, which is created if missing.

    Raises:
        VidscaleError: a file cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_json(report, directory / RECORD)
        write_csv(report, directory / "frames.csv")
        write_html(report, directory / "index.html")
    except OSError as exc:
        raise VidscaleError(f"cannot write the report {directory}: {reason_of(exc)}") from exc


def write_html(report: Report, path: Path) -> None:
    """Writes the self-contained page."""
    from vidscale.report.page import render_html

    page = render_html(report)
    with replacing(path) as file:
        file.write(page)


def write_csv(report: Report, path: Path) -> None:
    """Writes one row per frame; columns as in docs/report-schema.md, infinity as ``inf``, missing numbers empty."""
    table = columns(report)
    with replacing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*(_cells(name, column, "") for name, column in table.items()), strict=True))


def write_json(report: Report, path: Path) -> None:
    """Writes the whole report except its pictures; infinity as ``"inf"``, missing numbers as null."""
    table = columns(report)
    sums = totals(report, table)
    head = {
        "schema_version": SCHEMA_VERSION,
        "source": _source_facts(report.source),
        "distorted": _distorted_facts(report.distorted),
        "verdict": _verdict(report.verdict),
        "decision": report.decision,
        "ssim_window": report.ssim_window,
        "totals": {name: value for name, value in asdict(sums).items() if value is not None},
        "unpaired": {
            "ref_only_pts_s": [float(time) for time in report.unpaired.ref_only],
            "ref_only_pts_s_exact": report.unpaired.ref_only,
            "dist_only_pts_s": [float(time) for time in report.unpaired.dist_only],
            "dist_only_pts_s_exact": report.unpaired.dist_only,
        },
        "pairing": {
            "pairs": report.pairs,
            "every": report.pairing.every,
            "offset_s": _seconds(report.pairing.offset_s),
            "offset_s_exact": report.pairing.offset_s,
        },
        "shots": [_shot(one) for one in shot_totals(report, table)],
        "stages": [asdict(stage) | {"fps": round(stage.fps, 3)} for stage in report.stages],
        "wall_s": report.wall_s,
        "settings": report.settings,
        "commands": report.commands,
        "versions": report.versions,
        "notes": report.notes,
        "remarks": remarks(report, sums),
    }
    with replacing(path) as file:
        text = json.dumps(json_value(head), indent=2, ensure_ascii=False, allow_nan=False)
        file.write(text.removesuffix("\n}") + ',\n  "frames": [')
        for number, row in enumerate(_json_rows(report, table)):
            file.write((",\n    " if number else "\n    ") + json.dumps(row, allow_nan=False))
        file.write("\n  ]\n}\n")


def totals_record(report: Report) -> dict[str, Any]:
    """The totals as in report.json: infinity as ``"inf"``, missing numbers as None."""
    record: dict[str, Any] = json_value(
        {name: value for name, value in asdict(totals(report)).items() if value is not None}
    )
    return record


def _source_facts(facts: SourceFacts) -> dict[str, Any]:
    return {
        "name": facts.name,
        "width": facts.width,
        "height": facts.height,
        "codec": facts.codec,
        "pix_fmt": facts.format.name,
        "chroma": facts.format.chroma,
        "bit_depth": facts.format.bit_depth,
        "color": asdict(facts.color),
        "duration_s": _seconds(facts.duration_s),
        "duration_s_exact": facts.duration_s,
        "size_bytes": facts.size_bytes,
        "video_bytes": facts.video_bytes,
        "bitrate_kbps": facts.bitrate_kbps,
    }


def _distorted_facts(facts: DistortedFacts) -> dict[str, Any]:
    return {
        "name": facts.name,
        "coded_width": facts.coded_width,
        "coded_height": facts.coded_height,
        "codec": facts.codec,
        "duration_s": _seconds(facts.duration_s),
        "duration_s_exact": facts.duration_s,
        "size_bytes": facts.size_bytes,
        "video_bytes": facts.video_bytes,
        "bitrate_kbps": facts.bitrate_kbps,
    }


def _verdict(verdict: Verdict | None) -> dict[str, Any] | None:
    return None if verdict is None else {"sentence": verdict.sentence, **asdict(verdict)}


def _shot(totals_: ShotTotals) -> dict[str, Any]:
    shot = totals_.shot
    return {
        "start_index": shot.start_index,
        "start_s": float(shot.start_s),
        "start_s_exact": shot.start_s,
        "frames": shot.frames,
        "bytes": shot.bytes,
        "psnr_y": totals_.psnr_y,
        "ssim_y": totals_.ssim_y,
        "bitrate_kbps": totals_.bitrate_kbps,
        "worst_index": totals_.worst_index,
        "worst_psnr_y": totals_.worst_psnr_y,
    }


def _number(value: float, missing: str | None) -> float | str | None:
    return missing if math.isnan(value) else json_number(value)


def _cells(name: str, column: Column, missing: str | None) -> list[Any]:
    """A column as plain values: `missing` for nan, "inf" for infinity, integers for sizes."""
    if name in _DIGITS:
        column = np.round(column, _DIGITS[name])
    values: list[Any] = column.tolist()
    if name == "bytes":
        return [missing if math.isnan(value) else int(value) for value in values]
    if column.dtype.kind != "f" or np.isfinite(column).all():
        return values
    return [_number(value, missing) for value in values]


def _json_rows(report: Report, table: Mapping[str, Column]) -> Iterator[dict[str, Any]]:
    names = [*table]
    names[names.index("pts_s") + 1 : names.index("pts_s") + 1] = ["pts_s_exact"]
    cells = {name: _cells(name, column, None) for name, column in table.items()}
    cells["pts_s_exact"] = [str(row.pts_s) for row in report.rows]
    if report.has_spans:
        names.insert(names.index("bytes") + 1, "span_bytes")
        cells["span_bytes"] = [row.span_bytes for row in report.rows]
    for values in zip(*(cells[name] for name in names), strict=True):
        yield dict(zip(names, values, strict=True))


def _seconds(exact: Fraction | None) -> float | None:
    return None if exact is None else float(exact)

"""Reads reports that were written before."""

import json
import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidscale.errors import VidscaleError
from vidscale.media.frames import Color, PixelFormat
from vidscale.report.files import SCHEMA_VERSION
from vidscale.report.rows import DistortedFacts, FrameScore, Pairing, Report, Shot, SourceFacts, StageTiming, Unpaired
from vidscale.report.totals import PLANE_NAMES
from vidscale.report.verdict import Verdict


def read_json(path: str | Path) -> Report:
    """Reads a report.json; the report has no pictures.

    Raises:
        VidscaleError: not a report, or an unsupported schema version.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        version = data["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise VidscaleError(f"{path} is not a vidscale report") from exc
    if version != SCHEMA_VERSION:
        raise VidscaleError(f"{path} has report schema {version!r}, this vidscale reads {SCHEMA_VERSION}")
    try:
        return _report_from(data)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise VidscaleError(f"{path} is a damaged report") from exc


def _report_from(data: dict[str, Any]) -> Report:
    source, distorted = data["source"], data["distorted"]
    return Report(
        source=SourceFacts(
            name=source["name"],
            width=source["width"],
            height=source["height"],
            format=PixelFormat(source["chroma"], source["bit_depth"]),
            color=Color(**source["color"]),
            duration_s=_fraction(source["duration_s_exact"]),
            size_bytes=source["size_bytes"],
            video_bytes=source["video_bytes"],
            codec=source.get("codec", ""),  # absent from older reports
        ),
        distorted=DistortedFacts(
            name=distorted["name"],
            coded_width=distorted["coded_width"],
            coded_height=distorted["coded_height"],
            codec=distorted["codec"],
            duration_s=_fraction(distorted["duration_s_exact"]),
            size_bytes=distorted["size_bytes"],
            video_bytes=distorted["video_bytes"],
        ),
        rows=tuple(_score_from(row) for row in data["frames"]),
        ssim_window=data["ssim_window"],
        unpaired=Unpaired(
            ref_only=[Fraction(time) for time in data["unpaired"]["ref_only_pts_s_exact"]],
            dist_only=[Fraction(time) for time in data["unpaired"]["dist_only_pts_s_exact"]],
        ),
        stages=tuple(
            StageTiming(item["name"], item["seconds"], item["frames"], item["device"], item["implementation"])
            for item in data["stages"]
        ),
        wall_s=data["wall_s"],
        settings=data["settings"],
        commands=tuple(data["commands"]),
        versions=data["versions"],
        notes=tuple(data["notes"]),
        pairing=_pairing_from(data.get("pairing"), len(data["frames"])),
        shots=tuple(
            Shot(item["start_index"], Fraction(item["start_s_exact"]), item["frames"], item["bytes"])
            for item in data.get("shots", ())
        ),
        verdict=_verdict_from(data.get("verdict")),
        decision=data.get("decision"),
    )


def _verdict_from(data: Mapping[str, Any] | None) -> Verdict | None:
    """The verdict; absent from older reports."""
    return None if data is None else Verdict(**{key: value for key, value in data.items() if key != "sentence"})


def _pairing_from(data: Mapping[str, Any] | None, rows: int) -> Pairing:
    """The pairing; absent from older reports."""
    if data is None:
        return Pairing()
    pairs = None if data["every"] == 1 and data["pairs"] == rows else data["pairs"]
    return Pairing(pairs, data["every"], _fraction(data["offset_s_exact"]))


def _score_from(row: Mapping[str, Any]) -> FrameScore:
    planes = [name for name in PLANE_NAMES if f"mse_{name}" in row]
    vmaf, vmaf_neg, xpsnr_y = (_measured(row.get(name)) for name in ("vmaf", "vmaf_neg", "xpsnr_y"))
    return FrameScore(
        index=row["index"],
        pts_s=Fraction(row["pts_s_exact"]),
        pict_type=row["pict_type"],
        bytes=row["bytes"],
        mse=tuple(float(row[f"mse_{name}"]) for name in planes),
        ssim=tuple(math.nan if row[f"ssim_{name}"] is None else float(row[f"ssim_{name}"]) for name in planes),
        vmaf=vmaf,
        vmaf_neg=vmaf_neg,
        xpsnr_y=xpsnr_y,
        span_bytes=row.get("span_bytes"),
    )


def _measured(value: float | str | None) -> float | None:
    return None if value is None else float(value)


def _fraction(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)

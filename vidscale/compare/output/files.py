"""Writes a comparison as comparison.json, points.csv and index.html; reads comparison.json back.

The files are described in docs/compare.md.
"""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked
from pydantic_core import from_json

from vidscale.compare.points import Comparison, Curve, Point
from vidscale.errors import ConfigError, VidscaleError, plain_reason, reason_of
from vidscale.media.geometry import scale_text
from vidscale.system.workspace import replacing

SCHEMA_VERSION = 2
RECORD = "comparison.json"


@checked(frozen=True, config=ConfigDict(extra="forbid", ser_json_inf_nan="strings"))
class _Document:
    schema_version: int
    comparison: Comparison


_DOCUMENTS = TypeAdapter(_Document)


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Writes comparison.json, points.csv and index.html, each atomically.

    Raises:
        VidscaleError: they cannot be written.
    """
    from vidscale.compare.output.page import render_page

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(comparison, folder / RECORD)
        write_csv(comparison, folder / "points.csv")
        with replacing(folder / "index.html") as file:
            file.write(render_page(comparison))
    except OSError as error:
        raise VidscaleError(f"the comparison {folder} cannot be written: {reason_of(error)}") from error


def write_json(comparison: Comparison, path: Path) -> None:
    """Writes comparison.json; paths of stills are relative to it, so that the folder can be moved."""
    stills = [replace(still, path=still.path.relative_to(path.parent)) for still in comparison.stills]
    document = _Document(SCHEMA_VERSION, replace(comparison, stills=stills))
    with replacing(path) as file:
        file.write(_DOCUMENTS.dump_json(document, indent=1).decode())


def read_comparison(path: str | Path) -> Comparison:
    """Reads a comparison that `write_comparison` wrote, also one of an older version.

    Args:
        path: comparison.json, or the folder that holds it.

    Raises:
        ConfigError: the file is missing, damaged, or of a newer version.
    """
    file = Path(path)
    file = file / RECORD if file.is_dir() else file
    try:
        data = from_json(file.read_bytes())
        version = data["schema_version"]
        if version == 1:
            data = _from_version_1(data)
        elif version != SCHEMA_VERSION:
            raise ConfigError(f"{file} has version {version}; this vidscale reads 1 to {SCHEMA_VERSION}")
        comparison = _DOCUMENTS.validate_python(data).comparison
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {reason_of(error)}") from error
    except ValidationError as error:
        raise ConfigError(f"{file} is not a comparison: {plain_reason(error.errors()[0])}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"{file} is not a comparison") from error
    return replace(
        comparison,
        movies=tuple(comparison.movies),
        curves=tuple(replace(curve, points=tuple(curve.points)) for curve in comparison.curves),
        metrics=tuple(comparison.metrics),
        failures=tuple(comparison.failures),
        stills=tuple(replace(still, path=file.parent / still.path) for still in comparison.stills),
    )


def _from_version_1(data: Any) -> Any:
    """Version 1 called the candidate of a curve or a still its ``way``."""
    comparison = data["comparison"]
    for entry in [*comparison["curves"], *comparison["stills"]]:
        entry["candidate"] = entry.pop("way")
    return data | {"schema_version": SCHEMA_VERSION}


def write_csv(comparison: Comparison, path: Path) -> None:
    """Writes a row per point; inf as ``inf``, an empty cell for a metric that was not measured."""
    rows = [_csv_row(comparison, curve, point) for curve in comparison.curves for point in curve.points]
    with replacing(path) as file:
        writer = csv.DictWriter(file, _csv_columns(comparison), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _csv_columns(comparison: Comparison) -> list[str]:
    trial = ["movie", "down", "up", "scale", "codec", "preset", "crf"]
    return [*trial, "bitrate_kbps", "video_bytes", "duration_s", "frames", *comparison.metrics, "encode_s", "decode_s"]


def _csv_row(comparison: Comparison, curve: Curve, point: Point) -> dict[str, object]:
    candidate = curve.candidate
    return {
        "movie": curve.movie,
        "down": candidate.down or "none",
        "up": candidate.up or "none",
        "scale": scale_text(candidate.scale),
        "codec": candidate.codec,
        "preset": candidate.preset,
        "crf": f"{point.crf:g}",
        "bitrate_kbps": f"{point.bitrate_kbps:.3f}",
        "video_bytes": point.video_bytes,
        "duration_s": f"{float(point.duration_s):.6f}",
        "frames": point.frames,
        **{metric: f"{value:.6f}" for metric, value in point.metrics.items() if metric in comparison.metrics},
        "encode_s": f"{point.encode_s:.3f}",
        "decode_s": f"{point.decode_s:.3f}",
    }

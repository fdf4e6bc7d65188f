"""Checks of this machine: versions, ffmpeg, encoders, scalers, CUDA."""

import os
import platform
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from vidscale.errors import VidscaleError
from vidscale.media.encoders import ENCODERS, Encoder
from vidscale.media.ffmpeg import find_ffmpeg
from vidscale.media.frames import PixelFormat, YuvImage
from vidscale.media.geometry import Geometry
from vidscale.media.versions import versions
from vidscale.models.fixed_pair import families
from vidscale.models.pairs import find_pair


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        check: name of the check.
        ok: whether it passed.
        detail: version, path, or the missing part.
        optional: vidscale works without it.
    """

    check: str
    ok: bool
    detail: str
    optional: bool = False


def diagnose(ffmpeg: Path | None = None) -> list[Finding]:
    """Checks everything that jobs depend on."""
    found = versions()
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, Python {platform.python_version()}"
    findings = [Finding("system", True, system)]
    findings += [Finding(name, True, text) for name, text in found.items() if name != "python"]
    findings += [_ffmpeg(ffmpeg)]
    encoders = [_encoder(ffmpeg, encoder) for encoder in ENCODERS.values()]
    any_works = any(encoder.ok for encoder in encoders)
    findings += [replace(encoder, optional=any_works) for encoder in encoders]
    findings += [_filter(ffmpeg, name) for name in ("libvmaf", "xpsnr")]
    findings += [_scaler(), _cuda()]
    return findings


def _ffmpeg(explicit: Path | None) -> Finding:
    try:
        ffmpeg = find_ffmpeg(explicit)
    except VidscaleError as error:
        return Finding("ffmpeg", False, str(error))
    libraries = ", ".join(f"{k} {v}" for k, v in versions(ffmpeg).items() if k in ("x264", "x265"))
    return Finding("ffmpeg", True, f"{ffmpeg.version} ({ffmpeg.origin}, {libraries}) {ffmpeg.path}")


def _encoder(explicit: Path | None, encoder: Encoder) -> Finding:
    check = f"encoder {encoder.name}"
    try:
        ffmpeg = find_ffmpeg(explicit, encoders=[encoder.ffmpeg_name])
    except VidscaleError as error:
        return Finding(check, False, str(error))
    return Finding(check, True, f"{encoder.ffmpeg_name} in {ffmpeg.origin}'s ffmpeg")


def _filter(explicit: Path | None, name: str) -> Finding:
    try:
        ffmpeg = find_ffmpeg(explicit, filters=[name])
    except VidscaleError as error:
        return Finding(f"filter {name}", False, str(error), optional=True)
    return Finding(f"filter {name}", True, f"in {ffmpeg.origin}'s ffmpeg")


def _scaler() -> Finding:
    """Scales a flat picture down and up with each fixed pair; it must stay flat."""
    flat = np.full((48, 64), 77, dtype=np.uint8)
    layout, geometry = PixelFormat("gray", 8), Geometry(64, 48, Fraction(2), 32, 24)
    for family in families():
        pair = find_pair(family, Fraction(2))
        small = pair.downscale(YuvImage((flat,), layout))
        back = pair.upscale(YuvImage(tuple(small), layout), geometry, 28.0)
        if back[0].shape != flat.shape or not (back[0] == flat).all():
            return Finding("scalers", False, f"{pair.name} changes a flat picture")
    return Finding(
        "scalers",
        True,
        f"{', '.join(families())} on the CPU by {find_pair('lanczos', Fraction(2)).downscale_backend.implementation}",
    )


def _cuda() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("CUDA", False, "torch finds no device; everything runs on the CPU", optional=True)
    return Finding("CUDA", True, torch.cuda.get_device_name())

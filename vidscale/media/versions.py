"""Versions of all software that affects the result."""

import platform
from importlib.metadata import PackageNotFoundError, version

from vidscale.media.ffmpeg import Ffmpeg, library_versions

_PACKAGES = {
    "vidscale": "vidscale",
    "torch": "torch",
    "triton": "triton",
    "PyAV": "av",
    "numpy": "numpy",
    "numba": "numba",
    "libvips": "pyvips-binary",
}


def versions(ffmpeg: Ffmpeg | None = None) -> dict[str, str]:
    """Versions by name: vidscale, its libraries, Python; with a binary also ffmpeg, x264 and x265.

    Read from the packages' metadata, without importing them; packages that are not installed are omitted.
    """
    found = {}
    for name, package in _PACKAGES.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            continue
    found["python"] = platform.python_version()
    if ffmpeg is not None:
        found["ffmpeg"] = ffmpeg.version
        found.update(library_versions(ffmpeg.path))
    return found

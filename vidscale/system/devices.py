"""Selection of the device that operations run on."""

import ctypes
import sys
from typing import Literal

from vidscale.errors import ConfigError

Device = Literal["auto", "cpu", "cuda"]


def resolve(device: Device, *, auto: Literal["cpu", "cuda"] = "cpu") -> Literal["cpu", "cuda"]:
    """The device to run on; ``auto`` is the preferred one for "auto".

    Raises:
        ConfigError: a CUDA device was requested, and torch finds none.
    """
    wanted = auto if device == "auto" else device
    if device == "auto" and wanted == "cuda" and not _has_driver():
        return "cpu"
    if wanted == "cuda":
        import torch

        if not torch.cuda.is_available():
            if device == "auto":
                return "cpu"
            raise ConfigError("--device cuda: torch finds no CUDA device")
    return wanted


def _has_driver() -> bool:
    """Whether NVIDIA's driver is installed; checked without torch, whose import takes seconds."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True

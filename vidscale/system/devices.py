"""Selection of the device that operations run on."""

import ctypes
import sys
from typing import TYPE_CHECKING, Literal

from vidscale.errors import ConfigError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda"]


def resolve(device: Device, *, auto: Literal["cpu", "cuda"] = "cpu") -> Literal["cpu", "cuda"]:
    """The device to run on; ``auto`` is the preferred one for "auto".

    Raises:
        ConfigError: a CUDA device was requested, and torch finds none.
    """
    wanted = auto if device == "auto" else device
    if wanted == "cuda" and not has_gpu():
        if device == "auto":
            return "cpu"
        raise ConfigError("--device cuda: torch finds no CUDA device")
    return wanted


def gpu() -> "torch.device":
    """The device that "cuda" stands for. Tests without a GPU put the CPU in its place."""
    import torch

    return torch.device("cuda")


def has_gpu() -> bool:
    """Whether there is a CUDA device; torch, whose import takes seconds, is only asked where there is a driver."""
    if not _has_driver():
        return False
    import torch

    return torch.cuda.is_available()


def gpu_name() -> str:
    """The GPU and the versions that its speed depends on."""
    import torch

    device = gpu()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{name}, torch {torch.__version__}"


def _has_driver() -> bool:
    """Whether NVIDIA's driver is installed."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True

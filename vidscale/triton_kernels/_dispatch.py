"""Which version of an operation runs: numba on the CPU, Triton on a CUDA device, plain torch everywhere else."""

import importlib
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Implementation = Literal["numba", "torch", "triton"]


def choose(array_or_device: "npt.NDArray[Any] | torch.Tensor | torch.device | str", cpu_module: str) -> Implementation:
    """The fastest version that can run here.

    Args:
        array_or_device: the input, a numpy array or a tensor, or the device it will be on, such as "cuda:0".
        cpu_module: name of the module in this folder that holds the numba version, such as "polyphase_cpu".
    """
    device = device_of(array_or_device)
    if device == "cpu":
        return "numba" if _can_import(f"vidscale.triton_kernels.{cpu_module}") else "torch"
    if device.startswith("cuda"):
        from vidscale.triton_kernels._triton_import import TRITON_AVAILABLE

        return "triton" if TRITON_AVAILABLE else "torch"
    return "torch"


def device_of(array_or_device: "npt.NDArray[Any] | torch.Tensor | torch.device | str") -> str:
    """Name of a device, such as "cpu" or "cuda:0". Arrays are on the CPU."""
    if isinstance(array_or_device, np.ndarray):
        return "cpu"
    return str(getattr(array_or_device, "device", array_or_device))


@cache
def _can_import(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True

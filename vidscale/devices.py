"""Where operations run."""

from typing import Literal

from vidscale.errors import ConfigError

Device = Literal["auto", "cpu", "cuda"]


def resolve(device: Device, *, auto: Literal["cpu", "cuda"] = "cpu") -> Literal["cpu", "cuda"]:
    """The device to run on; ``auto`` is what "auto" means for this work.

    Raises:
        ConfigError: a CUDA device was asked for, and torch finds none.
    """
    wanted = auto if device == "auto" else device
    if wanted == "cuda":
        import torch

        if not torch.cuda.is_available():
            if device == "auto":
                return "cpu"
            raise ConfigError("--device cuda: torch finds no CUDA device")
    return wanted

"""Chooses between GPU and CPU for the networks of a pair; measured once and cached."""

import logging
import time
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Literal

from vidscale.models.measured import fastest
from vidscale.models.precision import processor
from vidscale.system.devices import gpu_name
from vidscale.system.threads import core_count, in_order

Where = Literal["cuda", "cpu"]

_FRAMES = 6  # on a GPU, with some in flight at the ends
_TRIES = 2

logger = logging.getLogger(__name__)


def faster_device(
    job: str, scale: Callable[[Where], Callable[[int], object]], parallel: Callable[[Where], int]
) -> Where:
    """The device that scales more frames per second.

    Choices are cached in ``devices.json`` in the cache folder, by GPU, CPU, versions and job.

    Args:
        job: the network and its direction.
        scale: a function that scales a frame of the trial on a device; its argument has no meaning.
        parallel: frames that run in parallel on a device.
    """
    key = f"{gpu_name()}, {core_count()} cores of {processor()}: {job}"
    options: Sequence[Where] = ("cuda", "cpu")
    try:
        return fastest("devices.json", key, options, lambda where: _seconds(scale(where), where, parallel(where)))
    except RuntimeError as error:  # CUDA out of memory, or no compiler for Triton's launchers
        logger.warning("the GPU cannot be used: %s", str(error).partition("\n")[0])
        return "cpu"


def _seconds(scale: Callable[[int], object], where: Where, parallel: int) -> float:
    """Per frame, best of several."""
    scale(0)  # compiles
    times = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        if where == "cuda":
            for _ in in_order(scale, repeat(0, _FRAMES), parallel):
                pass
            times.append((time.perf_counter() - start) / _FRAMES)
        else:
            scale(0)
            times.append((time.perf_counter() - start) / parallel)
    return min(times)

"""Chooses the fastest precision for a network on this CPU; measured once and cached."""

import json
import platform
import time
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np

from vidscale.system.workspace import cache_folder, replacing
from vidscale.triton_kernels.chain import Chain, ChainRunner, Precision

_SIDE = 96  # side of the trial picture in cells
_TRIES = 5


def quickest(chain: Chain) -> Precision:
    """The fastest precision for a chain on this CPU.

    Measurements are cached in ``precisions.json`` in the cache folder, by CPU, numba version and network shape.
    """
    options = chain.precisions
    if len(options) == 1:
        return options[0]
    key = f"{_processor()}: {_shape(chain)}"
    known = _remembered()
    if known.get(key) not in options:
        known[key] = min(options, key=lambda option: _seconds(chain, option))
        _remember(known)
    return cast("Precision", known[key])


def _seconds(chain: Chain, precision: Precision) -> float:
    run = ChainRunner(chain, 8, precision)
    plane = np.tile(np.arange(_SIDE * chain.small, dtype=np.uint8), (_SIDE * chain.small, 1))
    size = _SIDE * chain.large
    run(plane, size, size)  # compiles
    times = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        run(plane, size, size)
        times.append(time.perf_counter() - start)
    return min(times)


def _shape(chain: Chain) -> str:
    layers = [layer.weight for layer in chain.convolutions] + ([] if chain.linear is None else [chain.linear])
    return " ".join([f"{chain.small}:{chain.large}", *("x".join(map(str, weight.shape[:3])) for weight in layers)])


def _processor() -> str:
    """The processor that numba compiles for: this one, unless its variables name another."""
    import llvmlite.binding as llvm
    import numba

    name = getattr(numba.config, "CPU_NAME", None) or llvm.get_host_cpu_name()
    return f"{platform.machine()} {name}, numba {numba.__version__}"


def _file() -> Path:
    return cache_folder() / "precisions.json"


def _remembered() -> dict[str, str]:
    try:
        known = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(known: dict[str, str]) -> None:
    with suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        with replacing(_file()) as file:
            json.dump(known, file, indent=2)

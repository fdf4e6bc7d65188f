"""Chooses the fastest precision for a network on this CPU; measured once and cached."""

import platform
import time

import numpy as np

from vidscale.models.measured import fastest
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
    return fastest(
        "precisions.json", f"{processor()}: {shape_of(chain)}", options, lambda option: _seconds(chain, option)
    )


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


def shape_of(chain: Chain) -> str:
    """The shape of a chain as text, on which its time depends: sides of its cells, sizes of its kernels."""
    layers = [layer.weight for layer in chain.convolutions] + ([] if chain.linear is None else [chain.linear])
    return " ".join([f"{chain.small}:{chain.large}", *("x".join(map(str, weight.shape[:3])) for weight in layers)])


def processor() -> str:
    """The processor that numba compiles for: this one, unless its variables name another; and numba's version."""
    import llvmlite.binding as llvm
    import numba

    name = getattr(numba.config, "CPU_NAME", None) or llvm.get_host_cpu_name()
    return f"{platform.machine()} {name}, numba {numba.__version__}"

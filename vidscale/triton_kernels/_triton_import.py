"""The one place that imports triton, which exists for Linux only and may be missing.

Kernels take `triton` and `tl` from here. Without triton they can be defined all the same; launching one raises
RuntimeError with the remedy. Without a GPU they run in triton's interpreter, when TRITON_INTERPRET=1 was set before.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

__all__ = ["TRITON_AVAILABLE", "tl", "triton"]


class _Unlaunchable:
    """Stands for a kernel where triton is missing."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = function.__name__

    def __getitem__(self, grid: object) -> NoReturn:
        raise RuntimeError(f"{self._name} needs triton, which cannot be imported here: pip install triton (Linux)")


try:
    import triton
    import triton.language as tl

    TRITON_AVAILABLE = True
except ImportError:
    triton = SimpleNamespace(jit=_Unlaunchable, cdiv=lambda a, b: -(-a // b))
    tl = SimpleNamespace(constexpr=None)
    TRITON_AVAILABLE = False

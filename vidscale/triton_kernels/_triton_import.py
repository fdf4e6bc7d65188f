"""The only module that imports triton, which is available on Linux only and may be missing.

Kernels import `triton` and `tl` from here. Without triton they can still be defined; launching one raises RuntimeError
with the remedy. Without a GPU they run in triton's interpreter if TRITON_INTERPRET=1 is set before the import.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

__all__ = ["TRITON_AVAILABLE", "tl", "triton"]


class _Unlaunchable:
    """Takes the place of a kernel where triton is missing."""

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

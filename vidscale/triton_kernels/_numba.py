"""How numba compiles the functions of this room: free of the interpreter's lock, and kept on disk where that works."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile `function` at its first call for each set of argument types.

    The result is kept beside the function's file, or in the user's cache directory where that is read-only, or in
    NUMBA_CACHE_DIR when that is set; where none can be written every process compiles anew.
    Floating-point: values are taken as finite and the sign of a zero as meaningless; the order of additions is kept.
    """
    # numba's own types do not say that a compiled function can still be called as the function it was made from.
    compile_: Any = numba.njit
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nnan", "nsz"}}
    try:
        return cast(_Function, compile_(function, cache=True, **options))
    except RuntimeError:  # no directory to keep it in
        return cast(_Function, compile_(function, **options))

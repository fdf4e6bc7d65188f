"""How numba compiles the functions in this folder: they release the GIL, and are cached on disk where possible."""

import logging
from collections.abc import Callable, Set
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import event

from vidscale.triton_kernels.compile_time import COMPILE_TIME

logger = logging.getLogger("vidscale.compiling")

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function, *, fastmath: Set[str] = frozenset({"contract", "nnan", "nsz"})) -> _Function:
    """Compile `function` at its first call for each set of argument types.

    The machine code is cached beside the function's file, or in the user's cache directory if that folder is read-only,
    or in NUMBA_CACHE_DIR if that is set. If none of them is writable, every process compiles again.
    A change to any module in the function's folder invalidates the cache.
    Floating point: no NaNs, the sign of a zero does not matter, products and sums may be fused; the order of additions
    is kept.

    Args:
        function: a function that numba can compile.
        fastmath: LLVM's fast-math flags, where the default is wrong.
    """
    # numba's types do not say that a compiled function has the signature of the function it was made from.
    compile_: Any = numba.njit
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath)}
    try:
        made = compile_(function, cache=True, **options)
    except RuntimeError:  # no writable cache directory
        _Announcer.keeps = False
        return cast(_Function, compile_(function, **options))
    with suppress(AttributeError):  # private attributes: another version of numba may cache differently
        kept = made._cache._cache_file
        # In the version, which numba compares first: the rest of an old index may name modules that are gone.
        kept._version = (kept._version, *_stamps(Path(function.__code__.co_filename).parent))
    return cast(_Function, made)


@cache
def _stamps(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, modification time and size of every module in a folder.

    numba itself checks only the file of the function, but the machine code contains functions imported from its
    neighbours. So modules that compile each other's functions must be in one folder.
    """
    files = ((path.name, path.stat()) for path in sorted(folder.glob("*.py")))
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in files)


class _Announcer(event.Listener):
    """Logs, once per process, that functions are being compiled, which takes seconds, and counts these."""

    keeps = True
    said = False

    def on_start(self, event: Any) -> None:
        COMPILE_TIME.start()
        if not self.said:
            self.said = True
            then = "the next run finds them ready" if self.keeps else "NUMBA_CACHE_DIR can name a folder to keep them"
            logger.info("compiling the filters for this processor; %s", then)

    def on_end(self, event: Any) -> None:
        COMPILE_TIME.stop()


event.register("numba:compile", _Announcer())  # type: ignore[no-untyped-call]

"""How numba compiles the functions of this room: free of the interpreter's lock, and kept on disk where that works."""

import logging
from collections.abc import Callable, Set
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import event

logger = logging.getLogger("vidscale.compiling")

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function, *, fastmath: Set[str] = frozenset({"contract", "nnan", "nsz"})) -> _Function:
    """Compile `function` at its first call for each set of argument types.

    The result is kept beside the function's file, or in the user's cache directory where that is read-only, or in
    NUMBA_CACHE_DIR when that is set; where none can be written every process compiles anew.
    A change of any module in the function's folder has it compiled anew.
    Floating-point: values are taken as finite and the sign of a zero as meaningless; the order of additions is kept.

    Args:
        function: what numba can compile.
        fastmath: LLVM's flags, where those are not right.
    """
    # numba's own types do not say that a compiled function can still be called as the function it was made from.
    compile_: Any = numba.njit
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath)}
    try:
        made = compile_(function, cache=True, **options)
    except RuntimeError:  # no directory to keep it in
        _Announcer.keeps = False
        return cast(_Function, compile_(function, **options))
    with suppress(AttributeError):  # none of it is public: another numba keeps what it compiled as it sees fit
        kept = made._cache._cache_file
        kept._source_stamp = (kept._source_stamp, *_stamps(Path(function.__code__.co_filename).parent))
    return cast(_Function, made)


@cache
def _stamps(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Of all modules of a folder: numba looks at a function's own, but has compiled what that imports into it."""
    files = ((path.name, path.stat()) for path in sorted(folder.glob("*.py")))
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in files)


class _Announcer(event.Listener):
    """Says in the log, once a process, that something has to be compiled first, which takes seconds."""

    keeps = True
    said = False

    def on_start(self, event: Any) -> None:
        if not self.said:
            self.said = True
            then = "the next run finds them ready" if self.keeps else "NUMBA_CACHE_DIR can name a folder to keep them"
            logger.info("compiling the filters for this processor; %s", then)

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _Announcer())  # type: ignore[no-untyped-call]

"""Keeps numba from importing its optional dependencies, scipy (BLAS) and cffi, so that commands start faster.

numba imports both when it loads its first function. No function of vidscale calls BLAS or C; numba works without them.
Only for vidscale's own process: another program may need them.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType

_OPTIONAL = ("scipy", "cffi")


def install() -> None:
    """Hides them from numba only, from now on."""
    sys.meta_path.insert(0, _Hidden())


class _Hidden(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _OPTIONAL and _importer(sys._getframe()).partition(".")[0] == "numba":
            raise ModuleNotFoundError(f"{fullname} is hidden from numba", name=fullname)
        return None


def _importer(frame: FrameType | None) -> str:
    """Name of the module whose import statement is being executed."""
    machinery = (__name__, "importlib._bootstrap", "importlib._bootstrap_external")
    while frame and frame.f_globals.get("__name__") in machinery:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__")) if frame else ""

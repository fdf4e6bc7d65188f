"""Keeps numba from loading what it would use if asked to: scipy's BLAS, cffi. Commands start sooner.

numba looks for both when it loads its first function. No function of vidscale calls BLAS or C; numba works without.
This is for a process that is vidscale's own: another program may want them.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType

_OPTIONAL = ("scipy", "cffi")


def install() -> None:
    """From now on numba does not find them; all others do."""
    sys.meta_path.insert(0, _Hidden())


class _Hidden(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _OPTIONAL and _importer(sys._getframe()).partition(".")[0] == "numba":
            raise ModuleNotFoundError(f"{fullname} is hidden from numba", name=fullname)
        return None


def _importer(frame: FrameType | None) -> str:
    """Name of the module whose import statement led to a frame."""
    machinery = (__name__, "importlib._bootstrap", "importlib._bootstrap_external")
    while frame and frame.f_globals.get("__name__") in machinery:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__")) if frame else ""

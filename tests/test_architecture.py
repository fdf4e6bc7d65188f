"""The packages of docs/architecture.md: which imports which, and what a quick command may load."""

import pkgutil
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

import vidscale

ROOT = Path(__file__).parents[1]
SLOW = {"torch", "triton", "numba", "av", "pydantic", "plotly", "numpy"}
MODULES = [m.name for m in pkgutil.walk_packages(vidscale.__path__, "vidscale.") if m.name != "vidscale.__main__"]


def loaded_after(code: str) -> set[str]:
    """Names of all modules that a fresh Python has loaded after the code ran."""
    script = f"import sys\n{code}\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split())


def test_imports_only_go_down() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_logo=True))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("package", ["vidscale"])
def test_imports_form_no_circle(package: str) -> None:
    """Including imports inside functions and under `if TYPE_CHECKING:`, which only hide a cycle."""
    graph = grimp.build_graph("vidscale", cache_dir=None)
    inside = {package, *graph.find_descendants(package)}
    imported = {module: graph.find_modules_directly_imported_by(module) & inside for module in inside}
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        pytest.fail("circle: " + " -> ".join(reversed(error.args[1])))


@pytest.mark.parametrize("module", ["vidscale", "vidscale.cli"])
def test_import_loads_nothing_slow(module: str) -> None:
    assert loaded_after(f"import {module}") & SLOW == set()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["--help", "--version", "encode --help"])
def test_help_loads_nothing_slow(command: str) -> None:
    code = f"""
sys.argv = ["vidscale", *"{command}".split()]
from vidscale.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
"""
    assert loaded_after(code) & SLOW <= {"pydantic"}  # typer itself parses some options with it


@pytest.mark.parametrize("operation", ["polyphase", "metrics"])
def test_operations_load_only_numpy(operation: str) -> None:
    loaded = loaded_after(f"import vidscale.triton_kernels.{operation}")
    assert loaded & SLOW == {"numpy"}


@pytest.mark.slow
def test_program_hides_from_numba_alone_what_it_does_not_need() -> None:
    code = """
sys.argv = ["vidscale", "--version"]
from vidscale.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
import numpy as np
from vidscale.models.pairs import find_pair
from vidscale.media.frames import Color, PixelFormat, YuvImage
planes = [np.zeros(shape, np.uint8) for shape in ((16, 16), (8, 8), (8, 8))]
color = Color("tv", "bt709", "bt709", "bt709", "left")
find_pair("lanczos", 2, "cpu").downscale(YuvImage(tuple(planes), PixelFormat("420", 8), color=color))
"""
    assert loaded_after(code) & {"numba", "scipy", "cffi"} == {"numba"}
    assert {"scipy.linalg", "cffi"} <= loaded_after(code + "import scipy.linalg, cffi")


def test_threads_load_the_kernels_at_once() -> None:
    """A thread that enters numba by a submodule while another one imports numba gets half a module: Python breaks the
    wait of one import for another, because numba's modules import each other."""
    files = (Path(vidscale.__file__).parent / "triton_kernels").glob("*.py")
    users = [f"vidscale.triton_kernels.{file.stem}" for file in files if "from numba" in file.read_text()]
    code = f"""
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from threading import Barrier
users = {users}
begin = Barrier(len(users))
def load(name):
    begin.wait()
    import_module(name)
sys.setswitchinterval(1e-5)
with ThreadPoolExecutor(len(users)) as pool:
    list(pool.map(load, users))
"""
    assert set(users) <= loaded_after(code)


@pytest.mark.slow
def test_every_module_imports_without_triton() -> None:
    code = f"""
from importlib import import_module
sys.modules["triton"] = None  # what makes `import triton` fail
for name in {MODULES}:
    import_module(name)
"""
    assert set(MODULES) <= loaded_after(code)

"""Shared by all tests: the device for kernels, the number of threads, media made by ffmpeg at run time, a summary at
the end.

Fixtures: `make_clip`, `browse`, `shared_data`, `home`, `with_numba`, `one_thread` and `poisoned_empty`. Functions to
make and read media are in `material`.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from browsing import Pages
    from playwright.sync_api import Browser


def _torch_sees_a_gpu() -> bool:
    """A guess, because importing torch takes longer than most tests."""
    has_device = any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()
    return has_device and not version("torch").endswith("+cpu")


# Before anything imports triton, numba or torch:
if not _torch_sees_a_gpu():
    os.environ.setdefault("TRITON_INTERPRET", "1")
# The pictures are small: more threads only get into each other's way. pytest-xdist's workers inherit what the process
# that starts them has set, and share it.
_threads = int(os.environ.setdefault("OMP_NUM_THREADS", str(min(4, os.cpu_count() or 1))))
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    os.environ["OMP_NUM_THREADS"] = str(max(1, _threads // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])))

# A script ignores SIGINT for what it starts behind "&", nohup ignores SIGHUP, and programs inherit that: tests of
# interruption need them as they are in a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

NOT_QUICK_S = 5  # for a test that is not marked slow; a busy machine takes longer than the marker's rule says

# The first call of a numba function compiles it; pytest-timeout watches over the rest.
hypothesis.settings.register_profile("vidscale", deadline=None)
hypothesis.settings.load_profile("vidscale")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-players", action="store_true", help="fail where Vulkan, mpv or Chromium is missing")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Reports how the GPU tests ran and, after the quick tests, which of them are slow."""
    kinds = (pytest.TestReport, pytest.CollectReport)
    reports = [report for some in terminalreporter.stats.values() for report in some if isinstance(report, kinds)]
    calls = [report for report in reports if report.when == "call"]
    gpu = {report.nodeid for report in calls if "_triton.py" in report.nodeid}
    skipped = {report.nodeid for report in reports if "_triton.py" in report.nodeid and report.skipped}
    if gpu | skipped:
        where = "in Triton's interpreter, no CUDA device" if os.environ.get("TRITON_INTERPRET") == "1" else "on the GPU"
        terminalreporter.line(f"GPU tests: {len(gpu - skipped)} run {where}; {len(skipped)} skipped")
    if config.option.markexpr == "not slow":
        seconds = Counter[str]()
        for report in calls:
            seconds[report.nodeid.partition("[")[0]] += report.duration
        for test, taken in seconds.most_common():
            if taken > NOT_QUICK_S:
                terminalreporter.line(f"{test} took {taken:.1f} s: mark it slow, unless the machine was busy")


@pytest.fixture(scope="session")
def _clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[object, ...], Path]]:
    return tmp_path_factory.mktemp("clips"), {}


@pytest.fixture
def make_clip(_clips: tuple[Path, dict[tuple[object, ...], Path]], tmp_path: Path) -> Callable[..., Path]:
    """Makes a clip in `tmp_path`; a clip that another test has made is copied instead of encoded again.

    Arguments of the function: name (its suffix is the container); size, frames, fps and pix_fmt of the moving picture;
    audio (adds a tone); options, further ffmpeg output options, such as ``["-c:v", "libx265"]``.
    """
    folder, made = _clips

    def clip(
        name: str = "clip.mp4",
        *,
        size: str = "64x48",
        frames: int = 10,
        fps: str = "25",
        pix_fmt: str = "yuv420p",
        audio: bool = False,
        options: tuple[str, ...] | list[str] = (),
    ) -> Path:
        suffix = Path(name).suffix
        recipe = (suffix, size, frames, fps, pix_fmt, audio, *options)
        if recipe not in made:
            from material import make, picture, sound  # not at the top: numba must find the number of threads set

            moving = picture(size, fps, duration=3600, then=f"format={pix_fmt},trim=end_frame={frames}")
            tone = [*sound(3600), "-shortest"] if audio else []
            made[recipe] = make(folder / f"{len(made)}{suffix}", *moving, *tone, "-preset", "ultrafast", *options)
        return Path(shutil.copy(made[recipe], tmp_path / name))

    return clip


@pytest.fixture(scope="module")
def browser(pytestconfig: pytest.Config) -> "Iterator[Browser]":
    """Headless Chromium."""
    from browsing import chromium

    with chromium(pytestconfig) as opened:
        yield opened


@pytest.fixture
def browse(browser: "Browser") -> "Iterator[Pages]":
    """Opens the page of a site."""
    from browsing import Pages

    pages = Pages(browser)
    yield pages
    pages.close()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real clips and photographs next to the checkout; tests that need them are skipped without them."""
    path = Path(__file__).parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no {path}")
    return path


@pytest.fixture(scope="module")
def with_numba(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, dict[str, str], list[str]], str]:
    """Runs Python with numba compiling for another processor, and returns what is printed.

    What is compiled, which takes most of the time, is kept in pytest's cache for the next run. Every module has its
    own, because two workers must not write to one index.

    Arguments of the function: a name for what is compiled; numba's variables; Python's arguments.
    """

    def run(name: str, told: dict[str, str], words: list[str]) -> str:
        folder = f"numba-{request.module.__name__}-{name}"
        keeps = request.config.pluginmanager.hasplugin("cacheprovider")
        kept = request.config.cache.mkdir(folder) if keeps else tmp_path_factory.getbasetemp() / folder
        env = os.environ | told | {"NUMBA_CACHE_DIR": str(kept)}
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(autouse=True)
def own_cache(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty cache folder for every test."""
    folder = tmp_path_factory.getbasetemp() / f"cache-{abs(hash(request.node.nodeid))}"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any pairs, not even the shipped ones, which have their own tests; the working folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("vidscale.models.cards._SHIPPED", tmp_path / "none")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread for torch: with small networks, more cost a lot where other programs use the cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(name="poisoned_empty")
def _poisoned_empty() -> Iterator[None]:
    """See `poison`."""
    from poison import poisoned_empty

    with poisoned_empty():
        yield

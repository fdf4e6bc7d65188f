"""`vidscale.triton_kernels.chain`: small luma networks on a CPU."""

import os
import subprocess
import sys

import numpy as np
import pytest

from vidscale.triton_kernels.chain import Chain, ChainRunner, Convolution


def averaging(side=2, reach=5):
    """A chain whose linear part averages all samples in reach, and whose other layers add nothing."""
    samples = side**2
    nothing = np.zeros((samples, samples, reach, reach), np.float32)
    linear = np.full_like(nothing, 1 / (samples * reach**2))
    layer = Convolution(nothing, np.zeros(samples, np.float32))
    ranges = [np.tile(np.array([[0.0], [1.0]], np.float32), samples)]
    return Chain(side, side, [layer, layer], linear, 0.1, ranges)


def precisions():
    return averaging().precisions


@pytest.mark.parametrize("bit_depth", [8, 10, 12, 16])
@pytest.mark.parametrize("precision", precisions())
def test_flat_picture_stays_flat_however_wide_the_linear_part(bit_depth, precision):
    """100 equal weights: with 12-bit samples and 16-bit weights, the sums exceed 32 bits."""
    run = ChainRunner(averaging(), bit_depth, precision)
    for code in (0, 1, 1 << bit_depth - 1, (1 << bit_depth) - 1):
        plane = np.full((7, 9), code, np.uint8 if bit_depth == 8 else np.uint16)
        assert np.array_equal(run(plane, 7, 9), plane)


def test_linear_part_of_zeros_adds_nothing():
    chain = averaging()
    chain.linear.fill(0)
    for precision in chain.precisions:
        assert not ChainRunner(chain, 8, precision)(np.full((6, 6), 200, np.uint8), 6, 6).any()


CALLER = """
from helper import weight
from vidscale.triton_kernels._numba import compiled

@compiled
def weighted(x):
    return weight(x)

print(weighted(1), sum(weighted.stats.cache_hits.values()))
"""
HELPER = """
import numba

@numba.njit
def weight(x):
    return {} * x
"""


@pytest.mark.slow
def test_compiled_code_is_kept_until_a_module_beside_it_changes(tmp_path):
    """numba's cache checks the function's own file only and would reuse outdated vector code."""
    (tmp_path / "caller.py").write_text(CALLER)

    def said():
        command = [sys.executable, str(tmp_path / "caller.py")]
        cache = {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | cache).stdout

    (tmp_path / "helper.py").write_text(HELPER.format(2))
    assert said() == "2 0\n"
    assert said() == "2 1\n"
    (tmp_path / "helper.py").write_text(HELPER.format(30))
    assert said() == "30 0\n"


TUPLES = """
from typing import NamedTuple

class Weight(NamedTuple):
    value: int
"""
TAKES_TUPLE = """
from {} import Weight
from vidscale.triton_kernels._numba import compiled

@compiled
def weighted(weight):
    return 2 * weight.value

print(weighted(Weight(4)))
"""


def test_compiled_code_of_another_release_is_passed_over(tmp_path):
    """Its index names modules that have been renamed; numba alone would raise an error."""
    caller = tmp_path / "caller.py"
    for module in ("old_name", "new_name"):
        (tmp_path / f"{module}.py").write_text(TUPLES)
        caller.write_text(TAKES_TUPLE.format(module))
        cache = {"NUMBA_CACHE_DIR": str(tmp_path / "kept"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, str(caller)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | cache)
        assert (done.stdout, done.stderr) == ("8\n", "")
        (tmp_path / f"{module}.py").unlink()

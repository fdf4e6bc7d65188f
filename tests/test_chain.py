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


@pytest.mark.parametrize("bit_depth", [8, *(pytest.param(depth, marks=pytest.mark.slow) for depth in (10, 12, 16))])
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


def integers(small, large, channels, support=3, seed=0, *, alternating=False):
    """Weights in -127 to 127 of layers with these channels between them, and a linear part in 1/512."""
    rng = np.random.default_rng(seed)
    sizes = [small**2, *channels, large**2]
    weights = [
        rng.integers(-127, 128, (out, into, k, k))
        for into, out, k in zip(sizes, sizes[1:], [support, 3, 3, 3], strict=False)
    ]
    for weight in weights:
        if alternating:
            weight[:] = 127 - 254 * (np.arange(weight.shape[1]) // 2 % 2)[:, None, None]
        weight[:, 0, 0, 0] = 127
    biases = [rng.integers(-64, 64, len(weight)) + 1 / 2048 for weight in weights]
    linear = rng.integers(-512, 513, (large**2, small**2, 3, 3))
    linear[0, 0, 0, 0] = 512
    return weights, biases, linear


def chain_of(small, large, weights, biases, linear, bit_depth):
    """The chain whose bytes are the activations themselves: the weights times 1/512."""
    peak = (1 << bit_depth) - 1
    scales = [1.0] * len(weights)
    scales[0], scales[-1] = peak / (1 << bit_depth - 8), 1 / peak
    layers = [
        Convolution(
            (weight / 512 * scale).astype(np.float32),
            (bias * (1 / peak if n == len(weights) - 1 else 1)).astype(np.float32),
        )
        for n, (weight, bias, scale) in enumerate(zip(weights, biases, scales, strict=True))
    ]
    ranges = [
        np.tile(np.array([[21.25], [233.75]], np.float32), len(bias)) for bias in biases[:-1]
    ]  # a tenth: 0 to 255
    return Chain(small, large, layers, (linear / 512).astype(np.float32), 0.25, ranges)


def convolved(x, weight):
    """Sums of an unpadded convolution of cells [rows, columns, in], in integers."""
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], (0, 1))
    return np.einsum("yxiab,oiab->yxo", windows, weight)


def by_integers(plane, size, cell, weights, biases, linear, bit_depth):
    """The truth: exact sums, and exact numbers after them."""
    small, large = cell
    margin = sum(weight.shape[2] // 2 for weight in weights)
    rows, columns = (-(-side // large) for side in size)
    padding = [
        (margin * small, (n + margin) * small - there) for n, there in zip((rows, columns), plane.shape, strict=True)
    ]
    codes = np.pad(plane.astype(np.int64), padding, mode="edge")
    codes = codes.reshape(rows + 2 * margin, small, -1, small).swapaxes(1, 2).reshape(rows + 2 * margin, -1, small**2)
    shift = bit_depth - 8
    x = np.minimum((codes + ((1 << shift) >> 1)) >> shift, 255)
    for weight, bias in zip(weights, biases, strict=True):
        y = convolved(x, weight) / 512 + bias
        x = np.clip(np.floor(np.maximum(y, y / 4) + 0.5), 0, 255).astype(np.int64)
    inner = slice(margin - 1, -(margin - 1) or None)
    y += convolved(codes[inner, inner], linear) / 512
    out = np.clip(np.floor(y + 0.5), 0, (1 << bit_depth) - 1)
    return out.reshape(rows, columns, large, large).swapaxes(1, 2).reshape(rows * large, -1)[: size[0], : size[1]]


@pytest.mark.skipif("int8" not in precisions(), reason="this processor has no integer dot products")
@pytest.mark.parametrize("bit_depth", [8, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("cell", "channels", "sizes"),
    [
        ((1, 2), (8, 8), {}),
        ((1, 2), (8, 8), {"alternating": True}),
        ((2, 3), (32, 32), {}),
        ((1, 1), (16, 3), {}),
        ((1, 4), (5, 1, 24), {}),
        ((1, 2), (8, 8), {"support": 5}),
    ],
    ids=str,
)
def test_int8_sums_are_exact(cell, channels, sizes, bit_depth):
    small, large = cell
    weights, biases, linear = integers(small, large, channels, **sizes)
    run = ChainRunner(chain_of(small, large, weights, biases, linear, bit_depth), bit_depth, "int8")
    rng = np.random.default_rng(1)
    for height, width in ((37, 251), (2, 3), (64, 1)):
        plane = rng.integers(0, 1 << bit_depth, (height, width)).astype(np.uint8 if bit_depth == 8 else np.uint16)
        size = [side * large // small - (side > 9) for side in plane.shape]
        want = by_integers(plane, size, cell, weights, biases, linear, bit_depth)
        assert np.array_equal(run(plane, *size), want)
        if height > 2 < width:  # few sums are so large that they hide errors
            assert np.mean((want > 0) & (want < (1 << bit_depth) - 1)) > 0.1


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


@pytest.mark.slow
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

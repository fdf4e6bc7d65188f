"""The Triton kernels of the metrics against their reference: compiled on a GPU, interpreted elsewhere."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

triton = pytest.importorskip("triton")

from vidscale.triton_kernels import metrics, metrics_ref, metrics_triton  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Decided when triton is first imported; tests/conftest.py turns the interpreter on where there is no GPU.
runnable = pytest.mark.skipif(
    DEVICE == "cpu" and not triton.knobs.runtime.interpret, reason="neither a GPU nor TRITON_INTERPRET=1"
)


def planes(shape, bit_depth):
    """Noise, and the same with more noise, as views of wider buffers."""
    rng, peak = np.random.default_rng(3), 2**bit_depth - 1
    height, width = shape
    x = rng.integers(0, peak + 1, (height, width + 7))
    y = np.clip(x + rng.normal(0, peak / 20, x.shape), 0, peak)
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    return tuple(torch.from_numpy(p.astype(dtype)).to(DEVICE)[:, 3:-4] for p in (x, y))


@pytest.fixture(autouse=True)
def every_empty_poisoned(poisoned_empty):
    """In all tests here."""


@runnable
@pytest.mark.parametrize("bit_depth", [8, 10, 16])
@pytest.mark.parametrize("shape", [(1, 1), (9, 300), (27, 75)])
def test_squared_error_triton_equals_ref(shape, bit_depth):
    x, y = planes(shape, bit_depth)
    assert metrics_triton.squared_error(x, y) == metrics_ref.squared_error(x, y)
    black, white = torch.zeros_like(x), torch.full_like(x, 2**bit_depth - 1)
    assert metrics_triton.squared_error(black, white) == (2**bit_depth - 1) ** 2 * x.numel()


# The smallest plane, a full tile, one position more than a tile each way. Triton's interpreter takes seconds a tile.
@pytest.mark.slow
@runnable
@pytest.mark.parametrize(("shape", "bit_depth"), [((11, 11), 8), ((26, 42), 16), ((27, 43), 10)])
def test_ssim_gaussian_triton_equals_ref(shape, bit_depth):
    x, y = planes(shape, bit_depth)
    expected = metrics_ref.ssim_gaussian(x, y, bit_depth)
    assert metrics_triton.ssim_gaussian(x, y, bit_depth) == pytest.approx(expected, abs=1e-6)


@runnable
def test_ssim_gaussian_triton_identical_planes():
    x, _ = planes((20, 30), 8)
    assert metrics_triton.ssim_gaussian(x, x.clone(), 8) == 1


@pytest.mark.slow
@runnable
def test_metrics_triton_layouts():
    x, y = planes((20, 30), 8)
    turned = x.T.contiguous().T
    assert metrics_triton.squared_error(turned, y) == metrics_triton.squared_error(x, y)
    assert metrics_triton.ssim_gaussian(turned, y, 8) == metrics_triton.ssim_gaussian(x, y, 8)


@pytest.mark.skipif(DEVICE == "cpu", reason="no GPU")
def test_metrics_dispatch_to_triton():
    x, y = planes((40, 50), 10)
    assert metrics.squared_error(x, y) == metrics_ref.squared_error(x, y)
    for name in ("ssim_gaussian", "ssim_ffmpeg"):
        expected = getattr(metrics_ref, name)(x, y, 10)
        assert getattr(metrics, name)(x, y, bit_depth=10) == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_metrics_triton_compiles():
    """For a GPU that this machine need not have: the compiler rejects some code that the interpreter accepts."""
    code = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vidscale.triton_kernels import metrics_triton

sizes = dict.fromkeys(("height", "width", "ref_stride", "dist_stride"), "i32")
floats = {"taps": "*fp32", "peak": "fp32", "c1": "fp32", "c2": "fp32"}
for kernel, partial, fixed in (
    (metrics_triton._squared_error_kernel, "*i64", {"block_h": 8, "block_w": 256}),
    (metrics_triton._ssim_gaussian_kernel, "*fp32", {"tile_h": 16, "tile_w": 32}),
):
    for plane in ("*u8", "*u16"):
        types = {"ref": plane, "dist": plane, "partial": partial, **sizes, **floats}
        signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
        constants = {(kernel.arg_names.index(name),): value for name, value in fixed.items()}
        options = {"num_warps": 1, "enable_fp_fusion": True}
        triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32), options=options)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TRITON_INTERPRET": "0"})

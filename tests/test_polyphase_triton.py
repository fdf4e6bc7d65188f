"""The Triton kernel of fixed resampling against the reference: compiled on a GPU, interpreted elsewhere."""

import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

triton = pytest.importorskip("triton")

from vidscale.triton_kernels import polyphase_triton  # noqa: E402
from vidscale.triton_kernels._triton_import import _Unlaunchable  # noqa: E402
from vidscale.triton_kernels.polyphase_ref import polyphase_ref  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Decided when triton is first imported; tests/conftest.py turns the interpreter on where there is no GPU.
runnable = pytest.mark.skipif(
    DEVICE == "cpu" and not triton.knobs.runtime.interpret, reason="neither a GPU nor TRITON_INTERPRET=1"
)


def noise(shape, bit_depth):
    codes = np.random.default_rng(0).integers(0, 2**bit_depth, shape)
    return torch.from_numpy(codes.astype(np.uint8 if bit_depth == 8 else np.uint16)).to(DEVICE)


@pytest.fixture
def poisoned_empty(monkeypatch):
    """Exposes memory that the kernel does not write."""
    plain = torch.empty

    def poisoned(*args, **kwargs):
        out = plain(*args, **kwargs)
        return out.fill_(torch.nan if out.is_floating_point() else 77)

    monkeypatch.setattr(torch, "empty", poisoned)


@pytest.mark.slow
@runnable
@pytest.mark.parametrize(
    ("kind", "step", "bit_depth"),
    [
        ("lanczos", Fraction(2), 8),
        ("lanczos", Fraction(3, 2), 12),
        ("lanczos", Fraction(2, 3), 16),
        ("bicubic", Fraction(1, 2), 8),
        ("area", Fraction(1), 8),
        ("area", Fraction(3, 2), 16),
    ],
)
def test_polyphase_triton_equals_ref(kind, step, bit_depth, poisoned_empty):
    siting = (Fraction(1, 2), Fraction(1, 4))
    for shape in ((9, 263), (2, 3), (30, 1)):
        plane = noise((shape[0], shape[1] + 5), bit_depth)[:, : shape[1]]
        size = (int(shape[0] / step) + 1, int(shape[1] / step) + 9)
        arguments = {"step": step, "siting": siting, "size": size, "kind": kind, "bit_depth": bit_depth}
        got = polyphase_triton.polyphase_triton(plane, **arguments)
        assert got.dtype == plane.dtype
        difference = (got.to(torch.int32) - polyphase_ref(plane, **arguments).to(torch.int32)).abs()
        assert difference.max() <= 1
        assert (difference > 0).float().mean() <= (0.001 if bit_depth < 16 else 0.01)


@pytest.mark.slow
def test_polyphase_triton_compiles():
    """For a GPU that this machine need not have: the compiler rejects some code that the interpreter accepts."""
    code = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vidscale.triton_kernels.polyphase_triton import _filter_axis_kernel as kernel

integers = dict.fromkeys(("length", "h", "w", "src_stride_y", "src_stride_x", "phases", "advance"), "i32")
constants = {"SUPPORT": 12, "BLOCK_Y": 4, "BLOCK_X": 256}
for src, dst, axis, last in (("*u8", "*fp32", 0, False), ("*fp32", "*u8", 1, True), ("*fp32", "*u16", 0, True)):
    types = {"src": src, "dst": dst, "start": "*i64", "taps": "*fp32", "peak": "fp32", "half": "fp32", **integers}
    fixed = {**constants, "AXIS": axis, "ROUND": last}
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, {(kernel.arg_names.index(name),): value for name, value in fixed.items()})
    triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": True})
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TRITON_INTERPRET": "0"})


def test_polyphase_triton_missing_errors():
    def some_kernel():
        pass

    with pytest.raises(RuntimeError, match="some_kernel needs triton"):
        _Unlaunchable(some_kernel)[(1, 1)]()

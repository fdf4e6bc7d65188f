"""The Triton kernel of mixed filters against the reference: compiled on a GPU, interpreted elsewhere."""

import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

triton = pytest.importorskip("triton")

from vidscale.triton_kernels import basis_triton  # noqa: E402
from vidscale.triton_kernels.basis_ref import basis_codes_ref, basis_resample_ref  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Decided when triton is first imported; tests/conftest.py turns the interpreter on where there is no GPU.
pytestmark = pytest.mark.skipif(
    DEVICE == "cpu" and not triton.knobs.runtime.interpret, reason="neither a GPU nor TRITON_INTERPRET=1"
)

HALF = Fraction(1, 2)
LEFT = (HALF, Fraction(1, 4))
# step, [H, W], block, support, filters, bit depth. The interpreter takes some ten milliseconds a tap.
CASES = [
    (Fraction(2), (9, 70), (2, 4), (4, 3), 3, 8),
    (Fraction(3, 2), (8, 9), (1, 1), (2, 3), 9, 12),
    (HALF, (5, 6), (4, 4), (3, 2), 2, 16),
    (Fraction(1), (2, 1), (3, 3), (5, 1), 1, 8),
]
if DEVICE == "cuda":
    CASES += [
        (Fraction(2), (270, 481), (4, 4), (8, 8), 8, 8),
        (Fraction(2), (135, 240), (1, 1), (12, 12), 16, 10),
        (Fraction(3, 2), (201, 333), (2, 2), (9, 9), 8, 8),
        (HALF, (101, 203), (8, 8), (6, 6), 11, 8),
        (Fraction(2, 3), (100, 90), (6, 6), (4, 4), 8, 10),
    ]


def material(step, shape, block, support, count, lead=()):
    rng = np.random.default_rng(0)
    size = tuple(int(n / step) + 1 for n in shape)
    basis = rng.normal(size=(count, step.denominator, step.denominator, *support))
    basis *= 0.2 / np.sqrt(count * support[0] * support[1])
    basis[0, :, :, (support[0] - 1) // 2, (support[1] - 1) // 2] += 1
    cells = rng.normal(size=(*lead, count, *(-(-n // b) for n, b in zip(size, block, strict=True))))
    cells[..., 0, :, :] = 2 + abs(cells[..., 0, :, :])
    geometry = {"step": step, "siting": LEFT, "size": size, "block": block}
    return torch.tensor(cells, dtype=torch.float32, device=DEVICE), torch.tensor(basis, device=DEVICE).float(), geometry


@pytest.mark.parametrize(("step", "shape", "block", "support", "count", "bit_depth"), CASES)
def test_basis_triton_codes(step, shape, block, support, count, bit_depth, poisoned_empty):
    cells, basis, geometry = material(step, shape, block, support, count)
    codes = np.random.default_rng(1).integers(0, 2**bit_depth, (shape[0], shape[1] + 5))
    plane = torch.from_numpy(codes.astype(np.uint8 if bit_depth == 8 else np.uint16)).to(DEVICE)[:, : shape[1]]
    got = basis_triton.basis_triton(plane, cells, basis, bit_depth=bit_depth, **geometry)
    assert got.dtype == plane.dtype
    difference = (got.int() - basis_codes_ref(plane, cells, basis, bit_depth=bit_depth, **geometry).int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() <= (0.001 if bit_depth < 16 else 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_basis_triton_floats(dtype, poisoned_empty):
    step, shape, block, support, count, _ = CASES[-1] if DEVICE == "cuda" else CASES[1]
    cells, basis, geometry = material(step, shape, block, support, count, lead=(2,))
    torch.manual_seed(0)
    plane = torch.rand(2, 3, *shape).to(DEVICE)
    inputs = [t.to(dtype).requires_grad_() for t in (plane.mT.contiguous().mT, cells, basis)]
    exact = [t.detach().double().requires_grad_() for t in inputs]
    got = basis_triton.basis_triton(*inputs, bit_depth=None, **geometry)
    want = basis_resample_ref(*exact, **geometry)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), want, atol=1e-6 if dtype == torch.float32 else 1e-2, rtol=0)
    grad = torch.randn_like(got)
    got.backward(grad)
    want.backward(grad.double())
    for a, b in zip(inputs, exact, strict=True):
        ratio = 1e-5 if dtype == torch.float32 else 1e-2
        assert a.grad.dtype == dtype
        assert (a.grad.double() - b.grad).square().mean().sqrt() <= ratio * b.grad.square().mean().sqrt()


def test_basis_triton_gradients_where_wanted():
    step, shape, block, support, count, _ = CASES[2]
    cells, basis, geometry = material(step, shape, block, support, count, lead=(1,))
    cells.requires_grad_()
    basis_triton.basis_triton(
        torch.rand(1, 1, *shape, device=DEVICE), cells, basis, bit_depth=None, **geometry
    ).sum().backward()
    assert cells.grad is not None
    assert basis.grad is None


@pytest.mark.slow
def test_basis_triton_compiles():
    """For a GPU that this machine need not have: the compiler rejects some code that the interpreter accepts."""
    code = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vidscale.triton_kernels.basis_triton import _resample_kernel as kernel

floats = {"taps": "*fp32", "sums": "*fp32", "peak": "fp32", "least_sum": "fp32", "start_y": "*i32", "start_x": "*i32"}
ones = dict.fromkeys(("H", "h", "cells_y", "cells_x", "block_y", "stride_x"), 1)  # what a launch makes of them
blocks = {"BLOCK_Y": 16, "BLOCK_X": 32, "C": 1}
for plane, cells, out, fixed in (
    ("*u8", "*bf16", "*u8", {"M": 8, "P": 1, "ADVANCE": 2, "SUPPORT_Y": 8, "SUPPORT_X": 8, "MIRRORS": 1}),
    ("*fp32", "*fp32", "*fp32", {"M": 11, "P": 2, "ADVANCE": 3, "SUPPORT_Y": 4, "SUPPORT_X": 5, "MIRRORS": 3, **ones}),
):
    types = {**floats, "plane": plane, "coefficients": cells, "out": out}
    constants = {**fixed, **blocks, "ROUND": out == "*u8"}
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, {(kernel.arg_names.index(name),): value for name, value in constants.items()})
    triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": True})
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TRITON_INTERPRET": "0"})

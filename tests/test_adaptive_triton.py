"""The Triton kernels of adaptive resampling against the reference: compiled on a GPU, interpreted elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton")

from vidscale.triton_kernels import adaptive_triton  # noqa: E402
from vidscale.triton_kernels.adaptive_ref import (  # noqa: E402
    activated,
    adaptive_heads_ref,
    adaptive_resample_ref,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Decided when triton is first imported; tests/conftest.py turns the interpreter on where there is no GPU.
pytestmark = pytest.mark.skipif(
    DEVICE == "cpu" and not triton.knobs.runtime.interpret, reason="neither a GPU nor TRITON_INTERPRET=1"
)

# (N, C, H, W), K, scale. The interpreter takes some ten milliseconds a tap.
SHAPES = [
    ((2, 3, 9, 11), 2, 2),
    ((1, 1, 6, 70), 3, 2),
    ((1, 4, 5, 8), 2, 3),
    ((1, 2, 7, 7), 1, 1),
    ((1, 1, 1, 2), 4, 2),
]
if DEVICE == "cuda":
    SHAPES += [
        ((2, 3, 130, 258), 7, 2),
        ((1, 3, 257, 190), 13, 4),
        ((3, 1, 1, 301), 7, 2),
        ((1, 4, 100, 77), 10, 3),
        ((1, 2, 3, 3), 13, 4),
    ]


def material(shape, support, scale, *, dtype=torch.float32):
    """x, taps, offset_x, offset_y; no offset within 0.05 of a sample's centre, some far outside the picture."""
    torch.manual_seed(0)
    size = (shape[0], support * support, *(-(-side // scale) for side in shape[2:]))
    offsets = []
    for _ in range(2):
        whole = torch.randint(-scale - 2, scale + 2, size).float()
        whole[torch.rand(size) < 0.05] *= 20
        offsets.append(whole + torch.empty(size).uniform_(0.05, 0.95) - 0.5 * ((scale - 1) % 2))
    inputs = torch.rand(shape), torch.randn(size).softmax(1), *offsets
    return [t.to(DEVICE, dtype) for t in inputs]


def compare(inputs, views, scale, *, atol, ratio):
    """Compares forward and gradients, on views of the inputs, with the reference in float64."""
    exact = [t.detach().double().requires_grad_() for t in inputs]
    want = adaptive_resample_ref(*exact, scale=scale)
    grad = torch.randn_like(want).to(inputs[0].dtype)
    want.backward(grad.double())
    got = adaptive_triton.forward(*views, scale=scale)
    assert got.dtype == inputs[0].dtype
    torch.testing.assert_close(got.double(), want.detach(), atol=atol, rtol=0)
    found = adaptive_triton.backward(grad, *views, scale=scale, of_x=True)
    assert [g.dtype for g in found] == [torch.float32, *(t.dtype for t in inputs[1:])]
    for a, b in zip(found, exact, strict=True):
        assert (a.double() - b.grad).square().mean().sqrt() <= ratio * b.grad.square().mean().sqrt()


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "support", "scale"), SHAPES)
def test_adaptive_triton_equals_ref(shape, support, scale, poisoned_empty):
    inputs = material(shape, support, scale)
    compare(inputs, inputs, scale, atol=1e-6, ratio=1e-5)


@pytest.mark.parametrize(("dtype", "atol", "ratio"), [(torch.float16, 1e-3, 2e-3), (torch.bfloat16, 8e-3, 1e-2)])
def test_adaptive_triton_half_precision(dtype, atol, ratio, poisoned_empty):
    inputs = material((1, 3, 6, 10), 2, 2, dtype=dtype)
    compare(inputs, inputs, 2, atol=atol, ratio=ratio)


@pytest.mark.parametrize("layout", ["channels last", "together", "mixed"])
def test_adaptive_triton_layouts(layout, poisoned_empty):
    inputs = material((2, 1, 6, 10), 2, 2)
    x, *maps = inputs
    if layout == "channels last":
        views = [m.contiguous(memory_format=torch.channels_last) for m in maps]
    elif layout == "together":
        views = torch.cat(maps, 1).chunk(3, 1)
    else:
        views = [maps[0], maps[1].contiguous(memory_format=torch.channels_last), maps[2]]
    compare(inputs, [x.mT.contiguous().mT, *views], 2, atol=1e-6, ratio=1e-5)


def test_adaptive_triton_without_picture_gradient(poisoned_empty):
    inputs = material((1, 1, 4, 4), 2, 2)
    grad = torch.randn(1, 1, 2, 2, device=DEVICE)
    none, *some = adaptive_triton.backward(grad, *inputs, scale=2, of_x=False)
    _, *want = adaptive_triton.backward(grad, *inputs, scale=2, of_x=True)
    assert none is None
    assert all(torch.equal(a, b) for a, b in zip(some, want, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "out", "depth", "dtype"),
    [
        ("uint8", "uint8", 8, torch.float16),
        ("uint16", "uint16", 10, torch.bfloat16),
        ("float32", "float32", 8, torch.float32),
    ],
)
def test_adaptive_triton_heads(source, out, depth, dtype, poisoned_empty):
    shape, support, peak = ((2, 3, 10, 70), 2, 2**depth - 1) if DEVICE == "cpu" else ((2, 3, 200, 330), 7, 2**depth - 1)
    torch.manual_seed(0)
    x = torch.rand(shape) if source == "float32" else torch.randint(0, peak + 1, shape).to(getattr(torch, source))
    size = (shape[0], support * support, *(side // 2 for side in shape[2:]))
    x, *heads = (t.to(DEVICE) for t in (x, *((4 * torch.randn(size)).to(dtype) for _ in range(3))))
    got = adaptive_triton.forward_heads(x, *heads, scale=2, out_name=out, gain=1.0, peak=peak)
    assert got.dtype == getattr(torch, out)
    if out == "float32":
        want = adaptive_resample_ref(x.double(), *activated(*(t.double() for t in heads), scale=2), scale=2)
        torch.testing.assert_close(got.double(), want, atol=1e-6, rtol=0)
        return
    want = adaptive_heads_ref(x, *heads, scale=2, out_name=out, gain=1.0, peak=peak)
    difference = (got.int() - want.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() <= 0.001


@pytest.mark.skipif(DEVICE == "cpu", reason="no GPU")
def test_adaptive_triton_autograd():
    from vidscale.triton_kernels.adaptive import adaptive_resample, implementation

    inputs = [t.requires_grad_() for t in material((2, 3, 40, 60), 7, 2)]
    assert implementation(inputs[0]) == "triton"
    adaptive_resample(*inputs, scale=2).square().sum().backward()
    exact = [t.detach().double().requires_grad_() for t in inputs]
    adaptive_resample_ref(*exact, scale=2).square().sum().backward()
    for a, b in zip(inputs, exact, strict=True):
        assert (a.grad - b.grad).square().mean().sqrt() <= 1e-5 * b.grad.square().mean().sqrt()


@pytest.mark.slow
@pytest.mark.skipif(DEVICE == "cuda", reason="the interpreter runs where there is no GPU")
def test_kernel_benchmark_smoke():
    """Every implementation of every case agrees with its reference on small sizes, and gets a row."""
    script = Path(__file__).parents[1] / "benchmarks" / "bench_kernels.py"
    done = subprocess.run([sys.executable, script, "--smoke"], check=True, capture_output=True, text=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"triton", "triton, straightforward", "triton, picture by gathering", "numba", "ref"} <= {
        r["way"] for r in rows
    }
    assert {"adaptive", "polyphase", "squared_error,"} <= {r["operation"].split()[0] for r in rows}
    for row in rows:
        assert 0 < row["p20_ms"] <= row["median_ms"] <= row["p80_ms"]
        assert row["copy_gb_s"] > 0
        assert {"gb_s", "of_copy", "to_ref", "commit", "device", "versions"} <= set(row)


@pytest.mark.slow
def test_adaptive_triton_compiles():
    """For a GPU that this machine need not have: the compiler rejects some code that the interpreter accepts."""
    code = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vidscale.triton_kernels import adaptive_triton

integers = dict.fromkeys(("H", "W", "h", "w", "stride_n", "stride_k", "stride_y", "stride_x"), "i32")
ones = dict.fromkeys(("H", "h", "stride_n", "stride_k"), 1)  # what a launch makes of them
blocks = {"BLOCK_Y": adaptive_triton._BLOCK_Y, "BLOCK_X": adaptive_triton._BLOCK_X}
def compiles(kernel, pointers, fixed):
    types = {**integers, "gain": "fp32", "peak": "fp32", **pointers}
    signature = {name: "constexpr" if name in fixed else types.get(name, "constexpr") for name in kernel.arg_names}
    constants = {(kernel.arg_names.index(name),): value for name, value in {**blocks, **fixed}.items()}
    source = ASTSource(kernel, signature, constants)
    triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": True})

maps = ("taps", "offset_x", "offset_y")
for x, heads, out, fixed in (
    ("*bf16", "*bf16", "*bf16", {"K": 4, "SCALE": 2, "C": 1, "MIRRORS": 3, "HEADS": False, "ROUND": False, **ones}),
    ("*u8", "*fp16", "*u8", {"K": 7, "SCALE": 2, "C": 3, "MIRRORS": 1, "HEADS": True, "ROUND": True}),
):
    compiles(adaptive_triton._forward_kernel, {"x": x, **dict.fromkeys(maps, heads), "out": out}, fixed)
grads = ("grad_x", "grad_taps", "grad_offset_x", "grad_offset_y")
for of_x, some in ((True, "*fp32"), (False, "*fp16")):
    pointers = {**dict.fromkeys(("grad", "x", *maps, *grads), some), "grad_x": "*fp32"}
    fixed = {"K": 7, "SCALE": 2, "C": 3, "MIRRORS": 1, "OF_X": of_x}
    compiles(adaptive_triton._backward_kernel, pointers, fixed)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TRITON_INTERPRET": "0"})

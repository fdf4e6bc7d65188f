"""Content-adaptive resampling: the reference against the formula, gradients against finite differences, numba against
both."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from math import isqrt

import numpy as np
import pytest
import torch

from vidscale.triton_kernels import _dispatch
from vidscale.triton_kernels.adaptive import adaptive_resample, adaptive_resample_heads, implementation
from vidscale.triton_kernels.adaptive_ref import activated, adaptive_heads_ref, adaptive_resample_ref

# (N, C, H, W), K, scale: odd sizes, sizes that are no multiple of the scale, pictures smaller than the border.
SHAPES = [
    ((2, 3, 9, 11), 3, 2),
    ((1, 1, 16, 34), 7, 2),
    ((1, 4, 13, 8), 4, 3),
    ((1, 3, 17, 16), 13, 4),
    ((2, 2, 7, 7), 1, 1),
    ((1, 1, 2, 3), 7, 2),
    ((1, 2, 1, 5), 5, 1),
]


def material(shape, support, scale, *, dtype=torch.float32, seed=0, round_up=True):
    """x, taps, offset_x, offset_y; no offset within 0.05 of a sample's centre, some far outside the picture."""
    torch.manual_seed(seed)
    n, _, height, width = shape
    h, w = ((side + (scale - 1 if round_up else 0)) // scale for side in (height, width))
    size = (n, support * support, h, w)
    taps = torch.randn(size, dtype=torch.float64).softmax(1)
    offsets = []
    for _ in range(2):
        whole = torch.randint(-scale - 2, scale + 2, size).double()
        whole[torch.rand(size) < 0.05] *= 20
        offsets.append(whole + torch.empty(size).uniform_(0.05, 0.95).double() - 0.5 * ((scale - 1) % 2))
    return [t.to(dtype) for t in (torch.rand(shape, dtype=torch.float64), taps, *offsets)]


def naive(x, taps, offset_x, offset_y, scale):
    """The formula, sample by sample, in absolute coordinates and float64."""
    support = isqrt(taps.shape[1])
    pad = support // 2
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="reflect")
    n, channels, height, width = padded.shape
    out = np.zeros((n, channels, *taps.shape[2:]))
    for i, k, y, x_ in np.ndindex(*taps.shape):
        at_x = (x_ + 0.5) * scale - 0.5 + k % support - pad + float(offset_x[i, k, y, x_]) + pad
        at_y = (y + 0.5) * scale - 0.5 + k // support - pad + float(offset_y[i, k, y, x_]) + pad
        at_x, at_y = min(max(at_x, 0), width - 1), min(max(at_y, 0), height - 1)
        left, top = min(int(at_x), max(width - 2, 0)), min(int(at_y), max(height - 2, 0))
        fx, fy = at_x - left, at_y - top
        right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
        above = padded[i, :, top, left] * (1 - fx) + padded[i, :, top, right] * fx
        below = padded[i, :, bottom, left] * (1 - fx) + padded[i, :, bottom, right] * fx
        out[i, :, y, x_] += float(taps[i, k, y, x_]) * (above * (1 - fy) + below * fy)
    return out


@pytest.mark.parametrize(("shape", "support", "scale"), SHAPES)
def test_adaptive_ref_equals_formula(shape, support, scale):
    inputs = material(shape, support, scale, dtype=torch.float64)
    np.testing.assert_allclose(adaptive_resample_ref(*inputs, scale=scale), naive(*inputs, scale), atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "support", "scale"),
    [((1, 2, 3, 4), 3, 2), ((1, 1, 2, 3), 4, 3), ((2, 1, 2, 1), 3, 1)],
)
def test_adaptive_gradcheck(shape, support, scale):
    """All four inputs; the sizes are so small that every tap is at a border."""
    inputs = [t.requires_grad_() for t in material(shape, support, scale, dtype=torch.float64)]
    assert torch.autograd.gradcheck(lambda *a: adaptive_resample(*a, scale=scale), inputs)


@pytest.fixture
def poisoned_empty(monkeypatch):
    """Exposes memory that a loop does not write; np.empty is left alone while numba may still have to compile."""
    inputs = [t.requires_grad_() for t in material((1, 1, 4, 4), 1, 2)]
    adaptive_resample(*inputs, scale=2).sum().backward()
    adaptive_resample_heads(*inputs, scale=2)
    plain = np.empty

    def poisoned(*args, **kwargs):
        out = plain(*args, **kwargs)
        out[...] = np.nan if out.dtype.kind == "f" else 77
        return out

    monkeypatch.setattr(np, "empty", poisoned)


def gradients(function, inputs, grad):
    inputs = [t.detach().clone().requires_grad_() for t in inputs]
    out = function(*inputs)
    out.backward(grad)
    return out.detach(), [t.grad for t in inputs]


def assert_gradients_close(got, want, ratio=1e-5):
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        assert (a.double() - b.double()).square().mean().sqrt() <= ratio * b.double().square().mean().sqrt()


@pytest.mark.slow
@pytest.mark.parametrize("round_up", [True, False])
@pytest.mark.parametrize(("shape", "support", "scale"), SHAPES)
def test_adaptive_equals_ref(shape, support, scale, round_up, poisoned_empty):
    if not round_up and min(shape[2:]) < scale:
        pytest.skip("nothing left")
    inputs = material(shape, support, scale, round_up=round_up)
    grad = torch.randn(shape[0], shape[1], *inputs[1].shape[2:])
    got, got_grads = gradients(lambda *a: adaptive_resample(*a, scale=scale), inputs, grad)
    want, want_grads = gradients(lambda *a: adaptive_resample_ref(*a, scale=scale), inputs, grad)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=0)
    assert_gradients_close(got_grads, want_grads)


@pytest.mark.parametrize(("dtype", "atol", "ratio"), [(torch.float16, 1e-3, 2e-3), (torch.bfloat16, 8e-3, 1e-2)])
def test_adaptive_half_precision(dtype, atol, ratio):
    """Sums are float32, so only inputs and results are rounded; the reference gets the rounded inputs, too."""
    inputs = material((1, 3, 18, 22), 5, 2, dtype=dtype)
    grad = torch.randn(1, 3, 9, 11, dtype=dtype)
    got, got_grads = gradients(lambda *a: adaptive_resample(*a, scale=2), inputs, grad)
    want, want_grads = gradients(
        lambda *a: adaptive_resample_ref(*a, scale=2), [t.double() for t in inputs], grad.double()
    )
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), want, atol=atol, rtol=0)
    assert_gradients_close(got_grads, [g.to(dtype) for g in want_grads], ratio)


def layouts(inputs):
    x, taps, dx, dy = inputs
    wide = torch.full((*x.shape[:3], x.shape[3] + 5), torch.nan)
    wide[..., 2:-3] = x
    last = [t.contiguous(memory_format=torch.channels_last) for t in (taps, dx, dy)]
    together = torch.cat([taps, dx, dy], 1).chunk(3, 1)
    return {
        "sliced": (wide[..., 2:-3], *together),
        "channels last": (x.mT.contiguous().mT, *last),
        "mixed": (x, taps, *last[1:]),
    }


def test_adaptive_layouts():
    inputs = material((2, 3, 12, 15), 3, 2)
    grad = torch.randn(2, 3, 6, 8)
    want, want_grads = gradients(lambda *a: adaptive_resample(*a, scale=2), inputs, grad)
    for name, views in layouts(inputs).items():
        got, got_grads = gradients(lambda *a: adaptive_resample(*a, scale=2), views, grad.mT.contiguous().mT)
        assert torch.equal(got, want), name
        assert all(torch.equal(a, b) for a, b in zip(got_grads, want_grads, strict=True)), name


def test_adaptive_gradients_where_wanted():
    inputs = material((1, 1, 8, 8), 3, 2)
    inputs[1].requires_grad_()
    adaptive_resample(*inputs, scale=2).sum().backward()
    assert inputs[1].grad is not None
    assert [t.grad for t in (inputs[0], *inputs[2:])] == [None] * 3


def test_adaptive_reads_where_it_says():
    x = np.arange(35, dtype=np.float32).reshape(1, 1, 5, 7)
    one, zero = np.ones((1, 1, 5, 7), np.float32), np.zeros((1, 1, 5, 7), np.float32)
    assert np.array_equal(adaptive_resample(x, one, zero, zero, scale=1), x)
    right = adaptive_resample(x, one, zero + 1, zero, scale=1)[0, 0]
    assert np.array_equal(right, np.pad(x[0, 0, :, 1:], ((0, 0), (0, 1)), mode="edge"))
    down = adaptive_resample(x, one, zero, zero + 0.5, scale=1)[0, 0]
    assert np.array_equal(down[:-1], (x[0, 0, :-1] + x[0, 0, 1:]) / 2)
    taps = np.zeros((1, 9, 5, 7), np.float32)
    taps[:, 1 * 3 + 2] = 1  # ky = 1, kx = 2: one to the right, mirrored at the edge
    zeros = np.zeros_like(taps)
    right = adaptive_resample(x, taps, zeros, zeros, scale=1)[0, 0]
    assert np.array_equal(right, np.pad(x[0, 0, :, 1:], ((0, 0), (0, 1)), mode="reflect"))


def test_adaptive_does_not_drift_in_wide_pictures():
    x = torch.arange(30_000).remainder(2).float().expand(1, 1, 2, -1)
    one, offset = torch.ones(1, 1, 1, 15_000), torch.full((1, 1, 1, 15_000), 0.3)
    got = adaptive_resample(x, one, offset, torch.zeros_like(offset), scale=2)
    assert (got[..., :-1] - 0.8).abs().max() <= 2e-7


def test_adaptive_survives_what_is_not_finite():
    inputs = material((1, 2, 8, 8), 3, 2)
    inputs[2][0, 0, 0, 0], inputs[2][0, 0, 1, 1], inputs[3][0, 0, 2, 2] = torch.nan, 1e30, -1e30
    got = adaptive_resample(*inputs, scale=2)
    assert got[0, 0].isfinite().equal(torch.arange(16).view(4, 4) > 0)


def heads_of(shape, support, scale, dtype):
    torch.manual_seed(1)
    size = (shape[0], support * support, *(-(-side // scale) for side in shape[2:]))
    return [torch.randn(size).to(dtype) for _ in range(3)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("shape", "support", "scale"), SHAPES[:4])
def test_adaptive_heads_floats(shape, support, scale, dtype, poisoned_empty):
    x, heads = torch.rand(shape), heads_of(shape, support, scale, dtype)
    got = adaptive_resample_heads(x, *heads, scale=scale)
    want = adaptive_resample_ref(x.double(), *activated(*(t.double() for t in heads), scale=scale), scale=scale)
    torch.testing.assert_close(got.double(), want, atol=1e-6, rtol=0)
    assert not got.requires_grad


@pytest.mark.parametrize("source", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(("out", "depth"), [("uint8", 8), ("uint16", 10), ("uint16", 16), ("float16", 10)])
def test_adaptive_heads_codes(source, out, depth):
    if (depth == 8) != (source == "uint8") and source != "float32":
        pytest.skip("one bit depth on both sides")
    shape, peak = (2, 3, 40, 50), 2**depth - 1
    x = torch.rand(shape) if source == "float32" else torch.randint(0, peak + 1, shape).to(getattr(torch, source))
    heads = heads_of(shape, 3, 2, torch.float16)
    got = adaptive_resample_heads(x, *heads, scale=2, out_dtype=getattr(torch, out), bit_depth=depth)
    gain = (peak if out.startswith("u") else 1) / (1 if source == "float32" else peak)
    want = adaptive_heads_ref(x, *heads, scale=2, out_name=out, gain=gain, peak=peak)
    assert got.dtype == want.dtype == getattr(torch, out)
    difference = (got.double() - want.double()).abs()
    assert difference.max() <= (1 if out.startswith("u") else 1e-3)
    assert (difference > 0).double().mean() <= (0.001 if depth < 16 else 0.05)


def test_adaptive_heads_clamp_to_codes():
    x = torch.tensor([[[[-1.0, 2.0], [0.5, 0.5]]]])
    heads = [torch.full((1, 1, 2, 2), value) for value in (1.0, 0.0, 0.0)]
    assert adaptive_resample_heads(x, *heads, scale=1, out_dtype="uint8").flatten().tolist() == [0, 255, 128, 128]


def test_adaptive_numpy():
    inputs = material((1, 3, 10, 12), 3, 2)
    arrays = [t.numpy() for t in inputs]
    arrays[0].flags.writeable = False
    got = adaptive_resample(*arrays, scale=2)
    assert isinstance(got, np.ndarray)
    assert np.array_equal(got, adaptive_resample(*inputs, scale=2).numpy())
    assert adaptive_resample(*(a.astype(np.float64) for a in arrays), scale=2).dtype == np.float64
    codes = adaptive_resample_heads(*arrays, scale=2, out_dtype="uint8")
    assert np.array_equal(codes, adaptive_resample_heads(*inputs, scale=2, out_dtype=torch.uint8).numpy())


def test_adaptive_threads():
    cases = [material((2, 3, 30, 40), 3, 2, seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda case: adaptive_resample(*case, scale=2), cases))
    assert all(torch.equal(adaptive_resample(*c, scale=2), r) for c, r in zip(cases, together, strict=True))


def test_adaptive_without_numba(monkeypatch):
    inputs = material((1, 3, 10, 12), 3, 2)
    want, heads_want = adaptive_resample(*inputs, scale=2), adaptive_resample_heads(*inputs, scale=2)
    monkeypatch.setitem(sys.modules, "vidscale.triton_kernels.adaptive_cpu", None)
    _dispatch._can_import.cache_clear()
    try:
        assert implementation("cpu") == "torch"
        arrays = [t.numpy() for t in inputs]
        np.testing.assert_allclose(adaptive_resample(*arrays, scale=2), want, atol=1e-6)
        torch.testing.assert_close(adaptive_resample(*inputs, scale=2), want, atol=1e-6, rtol=0)
        torch.testing.assert_close(adaptive_resample_heads(*inputs, scale=2), heads_want, atol=1e-6, rtol=0)
    finally:
        _dispatch._can_import.cache_clear()


@pytest.mark.slow
def test_adaptive_imports_nothing_heavy():
    code = """
import sys
import numpy as np
from vidscale.triton_kernels.adaptive import adaptive_resample, adaptive_resample_heads
assert not {"numba", "torch", "triton"} & set(sys.modules)
one = np.ones((1, 1, 4, 4), np.float32)
adaptive_resample(one, one, one, one, scale=1)
adaptive_resample_heads(one, one, one, one, scale=1, out_dtype="uint8")
assert not {"torch", "triton"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_adaptive_implementation_names():
    assert implementation(np.zeros(1, np.float32)) == implementation(torch.zeros(1)) == implementation("cpu") == "numba"
    assert implementation(torch.zeros(1).double()) == implementation(np.zeros(1)) == "torch"
    assert implementation("cuda:1") == implementation(torch.device("cuda")) == "triton"
    assert implementation("mps") == "torch"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(3, 8, 8)}, r"x\.shape = torch\.Size\(\[3, 8, 8\]\)"),
        ({"x": torch.zeros(1, 5, 8, 8)}, r"x\.shape = torch\.Size\(\[1, 5, 8, 8\]\)"),
        ({"x": torch.zeros(1, 1, 8, 0)}, r"x\.shape"),
        ({"x": torch.zeros(1, 1, 8, 8, dtype=torch.uint8)}, r"x\.dtype = torch\.uint8"),
        ({"x": torch.zeros(2, 1, 8, 8)}, r"taps\.shape = \(1, 9, 4, 4\)"),
        ({"x": np.zeros((1, 1, 8, 8), np.float32)}, "both be arrays or both tensors"),
        ({"taps": torch.zeros(1, 8, 4, 4)}, r"taps\.shape = \(1, 8, 4, 4\)"),
        ({"taps": torch.zeros(1, 9, 3, 4)}, r"taps\.shape = \(1, 9, 3, 4\)"),
        ({"taps": torch.zeros(9, 4, 4)}, r"taps\.shape = \(9, 4, 4\)"),
        ({"taps": torch.zeros(1, 9, 4, 4, dtype=torch.int32)}, r"taps\.dtype = torch\.int32"),
        ({"offset_x": torch.zeros(1, 4, 4, 4)}, r"offset_x must be shaped as taps: \(1, 4, 4, 4\)"),
        ({"offset_y": torch.zeros(1, 9, 4, 5)}, r"offset_y\.shape = \(1, 9, 4, 5\)"),
        ({"scale": 0}, "scale = 0"),
        ({"scale": 1.5}, r"scale = 1\.5"),
    ],
)
def test_adaptive_errors(change, message):
    good = {"x": torch.zeros(1, 1, 8, 8), **dict.fromkeys(("taps", "offset_x", "offset_y"), torch.zeros(1, 9, 4, 4))}
    with pytest.raises(ValueError, match=message):
        adaptive_resample(**{**good, "scale": 2, **change})


@pytest.mark.parametrize(
    ("x", "settings", "message"),
    [
        (torch.zeros(1, 1, 8, 8, dtype=torch.int32), {}, r"x\.dtype = torch\.int32"),
        (torch.zeros(1, 1, 8, 8), {"out_dtype": "int8"}, "out_dtype = int8"),
        (torch.zeros(1, 1, 8, 8), {"out_dtype": "uint16"}, "uint16 codes cannot have this bit depth: bit_depth = 8"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), {"bit_depth": 10}, "bit_depth = 10"),
    ],
)
def test_adaptive_heads_errors(x, settings, message):
    heads = [torch.zeros(1, 9, 4, 4)] * 3
    with pytest.raises(ValueError, match=message):
        adaptive_resample_heads(x, *heads, scale=2, **settings)
    with pytest.raises(ValueError, match=r"kernel_head\.shape = \(1, 9, 4, 4\)"):
        adaptive_resample_heads(torch.zeros(1, 1, 8, 8), *heads, scale=3)

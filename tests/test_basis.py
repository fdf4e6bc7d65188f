"""Resampling with mixed filters: the reference against the definition, numba against the reference, fixed filters,
gradients."""

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import color, data, transform

from vidscale.triton_kernels import _dispatch
from vidscale.triton_kernels.basis import basis_resample, fixed_basis, implementation
from vidscale.triton_kernels.basis_geometry import first_taps
from vidscale.triton_kernels.basis_ref import basis_codes_ref, basis_resample_ref
from vidscale.triton_kernels.polyphase import polyphase_resample

HALF = Fraction(1, 2)
CENTRED = (HALF, HALF)
LEFT = (HALF, Fraction(1, 4))
STEPS = [Fraction(s) for s in ("2", "3/2", "3", "4", "1", "1/2", "2/3")]


def noise(shape, bit_depth=8, seed=0):
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 2**bit_depth, shape, dtype=dtype)


def mixture(count, step, support, size, block, seed=1):
    """Coefficients and a basis with both signs, whose sum is not close to zero."""
    rng = np.random.default_rng(seed)
    phases = step.denominator
    basis = rng.normal(size=(count, phases, phases, *support)).astype(np.float32)
    basis *= 0.2 / np.sqrt(count * support[0] * support[1])
    basis[0, :, :, (support[0] - 1) // 2, (support[1] - 1) // 2] += 1
    coefficients = rng.normal(size=(count, *(-(-n // b) for n, b in zip(size, block, strict=True))))
    coefficients[0] = 2 + abs(coefficients[0])
    return coefficients.astype(np.float32), basis


def naive(plane, coefficients, basis, *, step, siting, size, block):
    """The definition, sample by sample, in float64."""
    phases, support = step.denominator, basis.shape[3:]
    out = np.zeros(size)
    for y, x in np.ndindex(*size):
        index = []
        for axis, i in ((0, y), (1, x)):
            position = step * (i + siting[axis]) - siting[axis]
            first = math.floor(position - Fraction(support[axis], 2)) + 1
            at = (first + np.arange(support[axis])) % (2 * plane.shape[axis])
            index.append(np.minimum(at, 2 * plane.shape[axis] - 1 - at))
        taps = np.tensordot(
            coefficients[:, y // block[0], x // block[1]].astype(float), basis[:, y % phases, x % phases], 1
        )
        out[y, x] = (taps * plane[np.ix_(*index)]).sum() / max(taps.sum(), 1e-6)
    return out


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_basis_ref_equals_definition(step):
    plane = noise((7, 9))
    for size, block, support in (((5, 6), (2, 3), (4, 3)), ((9, 4), (1, 4), (5, 6))):
        coefficients, basis = mixture(3, step, support, size, block)
        geometry = {"step": step, "siting": LEFT, "size": size, "block": block}
        tensors = (torch.tensor(a).double() for a in (plane[None, None], coefficients[None], basis))
        got = basis_resample_ref(*tensors, **geometry)[0, 0]
        np.testing.assert_allclose(got, naive(plane, coefficients, basis, **geometry), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("step", [Fraction(2), Fraction(3, 2)], ids=str)
@pytest.mark.parametrize("separable", [False, True])
def test_basis_gradcheck(step, separable):
    size, block = (2, 3), (2, 2)
    coefficients, basis = mixture(2, step, (2, 1), size, block)
    torch.manual_seed(0)
    phases = step.denominator
    pair = [torch.rand(2, phases, n, dtype=torch.float64) for n in (2, 1)]
    filters = pair if separable else [torch.tensor(basis).double()]
    inputs = [torch.rand(1, 2, 2, 3, dtype=torch.float64), torch.tensor(coefficients)[None].abs().double(), *filters]

    def run(plane, cells, *filters):
        basis = filters if separable else filters[0]
        return basis_resample(plane, cells, basis, step=step, siting=CENTRED, size=size, block=block)

    assert torch.autograd.gradcheck(run, [t.requires_grad_() for t in inputs])


def test_basis_float_planes():
    geometry = {"step": Fraction(2), "siting": CENTRED, "size": (6, 8), "block": (2, 4)}
    coefficients, basis = (torch.tensor(a) for a in mixture(4, Fraction(2), (6, 6), (6, 8), (2, 4)))
    planes = torch.rand(2, 3, 12, 16)
    cells = torch.stack([coefficients, coefficients.abs()])
    cells, basis = cells.bfloat16().float(), basis.bfloat16().float()
    got = basis_resample(planes, cells, basis, **geometry)
    assert got.shape == (2, 3, 6, 8)
    alone = basis_resample(planes[1:, 2:], cells[1:], basis, **geometry)
    torch.testing.assert_close(got[1:, 2:], alone, atol=1e-5, rtol=0)
    half = basis_resample(planes.half(), cells.bfloat16(), basis.bfloat16(), **geometry)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), got, atol=2e-3, rtol=0)


def assert_close_to_ref(plane, coefficients, basis, share=0.001, **arguments):
    got = basis_resample(plane, coefficients, basis, **arguments)
    assert got.dtype == plane.dtype
    assert got.shape == arguments["size"]
    tensors = (torch.tensor(a) for a in (plane, coefficients, basis))
    difference = np.abs(got.astype(int) - basis_codes_ref(*tensors, **arguments).numpy())
    assert difference.max() <= 1
    assert np.mean(difference > 0) <= share


@pytest.mark.slow
@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    block=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    support=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    count=st.integers(1, 9),
    step=st.sampled_from(STEPS),
    siting=st.tuples(*[st.sampled_from([Fraction(n, 4) for n in range(5)])] * 2),
    bit_depth=st.sampled_from([8, 10, 16]),
)
def test_basis_any_geometry(shape, size, block, support, count, step, siting, bit_depth):
    coefficients, basis = mixture(count, step, support, size, block)
    arguments = {"step": step, "siting": siting, "size": size, "block": block, "bit_depth": bit_depth}
    assert_close_to_ref(noise(shape, bit_depth), coefficients, basis, share=1, **arguments)


@pytest.mark.parametrize("block", [1, 2, 4, 8, 6, 600])
@pytest.mark.parametrize("step", [Fraction(2), Fraction(3, 2), HALF, Fraction(2, 3)], ids=str)
def test_basis_equals_ref(step, block):
    size = (int(150 / step), int(310 / step))
    coefficients, basis = mixture(8, step, (8, 8) if step > 1 else (4, 6), size, (block, block))
    arguments = {"step": step, "siting": LEFT, "size": size, "block": (block, block), "bit_depth": 8}
    assert_close_to_ref(noise((150, 310)), coefficients, basis, **arguments)


@pytest.fixture
def poisoned_empty(monkeypatch):
    """Exposes memory that a loop does not write."""
    plain = np.empty

    def poisoned(*args, **kwargs):
        out = plain(*args, **kwargs)
        out[...] = 77
        return out

    monkeypatch.setattr(np, "empty", poisoned)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (2, 301), (301, 1), (65, 127)])
def test_basis_odd_shapes(shape, poisoned_empty):
    for step in STEPS:
        size = tuple(math.ceil(n / step) for n in shape)
        coefficients, basis = mixture(3, step, (6, 5), size, (4, 4))
        arguments = {"step": step, "siting": LEFT, "size": size, "block": (4, 4), "bit_depth": 8}
        assert_close_to_ref(noise(shape), coefficients, basis, share=1, **arguments)


def photo(height, width, bit_depth):
    """Luma of limited range."""
    picture = transform.resize(color.rgb2gray(data.astronaut()), (height, width), anti_aliasing=True)
    codes = np.rint((16 + 219 * picture) * 2 ** (bit_depth - 8))
    return codes.astype(np.uint8 if bit_depth == 8 else np.uint16)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lanczos", "bicubic"])
@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("siting", [CENTRED, LEFT], ids=["centred", "left"])
@pytest.mark.parametrize("step", [s for s in STEPS if s != 1], ids=str)
def test_basis_of_one_fixed_filter(step, siting, bit_depth, kind):
    """Equals the fixed filter, except in black or white areas: that one also clamps between its passes."""
    plane = photo(336, 480, bit_depth)
    size = (int(336 / step), int(480 / step))
    arguments = {"step": step, "siting": siting, "size": size, "bit_depth": bit_depth}
    one = np.ones((1, 1, 1), np.float32)
    got = basis_resample(plane, one, fixed_basis(kind, step, siting), block=size, **arguments)
    difference = np.abs(got.astype(int) - polyphase_resample(plane, kind=kind, **arguments))
    assert np.mean(difference > 1) <= 0.001
    assert np.mean(difference > 0) <= 0.005


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_basis_keeps_flat_pictures(step):
    plane = np.full((31, 45), 200, np.uint8)
    coefficients, basis = mixture(5, step, (5, 6), (29, 33), (2, 2))
    arguments = {"step": step, "siting": CENTRED, "size": (29, 33), "block": (2, 2), "bit_depth": 8}
    assert np.all(basis_resample(plane, coefficients, basis, **arguments) == 200)


def test_basis_of_no_sum():
    """Divisors below 1e-6, also negative ones, are clamped: zero taps give zero, others stay in the code range."""
    plane, basis = noise((8, 8)), np.ones((1, 1, 1, 1, 1), np.float32)
    arguments = {"step": Fraction(1), "siting": CENTRED, "size": (8, 8), "block": (8, 8), "bit_depth": 8}
    for coefficient in (0, -1):
        got = basis_resample(plane, np.full((1, 1, 1), coefficient, np.float32), basis, **arguments)
        assert np.all(got == 0)


def test_basis_cells():
    """Cell (y // rows, x // columns); a basis of shifts shows which filter was used."""
    plane = noise((10, 12))
    basis = np.zeros((2, 1, 1, 1, 2), np.float32)
    basis[0, ..., 0] = basis[1, ..., 1] = 1  # with support 2 at integer positions: the sample, and the one behind it
    choice = np.zeros((2, 4, 3), np.float32)
    choice[0] = np.random.default_rng(0).integers(0, 2, (4, 3))
    choice[1] = 1 - choice[0]
    arguments = {"step": Fraction(1), "siting": CENTRED, "size": (10, 12), "block": (3, 4), "bit_depth": 8}
    got = basis_resample(plane, choice, basis, **arguments)
    here = choice[0].repeat(3, 0)[:10].repeat(4, 1)[:, :12] == 1
    behind = np.pad(plane[:, 1:], ((0, 0), (0, 1)), mode="edge")
    assert np.array_equal(got, np.where(here, plane, behind))


def test_basis_pair_is_product():
    pair = [np.random.default_rng(i).random((3, 2, 4 + i)).astype(np.float32) for i in range(2)]
    product = np.einsum("mpt,mqs->mpqts", *pair)
    arguments = {"step": Fraction(3, 2), "siting": CENTRED, "size": (20, 30), "block": (4, 4), "bit_depth": 8}
    cells = np.random.default_rng(3).random((3, 5, 8)).astype(np.float32)
    plane = noise((30, 45))
    got = basis_resample(plane, cells, tuple(pair), **arguments)
    assert np.mean(got != basis_resample(plane, cells, product, **arguments)) <= 0.001


@pytest.mark.parametrize("bit_depth", [8, pytest.param(10, marks=pytest.mark.slow)])
def test_basis_layouts(bit_depth):
    plane = noise((50, 70), bit_depth)
    coefficients, basis = mixture(3, Fraction(2), (6, 6), (25, 35), (4, 4))
    arguments = {"step": Fraction(2), "siting": CENTRED, "size": (25, 35), "block": (4, 4), "bit_depth": bit_depth}
    want = basis_resample(plane, coefficients, basis, **arguments)
    wide = np.full((50, 83), 99, plane.dtype)
    wide[:, :70] = plane
    locked = plane.copy()
    locked.flags.writeable = False
    views = [wide[:, :70], locked, np.asfortranarray(plane), np.ascontiguousarray(plane[::-1])[::-1]]
    views += [np.repeat(plane, 2, axis=1)[:, ::2], np.frombuffer(plane.tobytes(), plane.dtype).reshape(50, 70)]
    for view in views:
        assert np.array_equal(basis_resample(view, np.asfortranarray(coefficients), basis, **arguments), want)
    tensor = basis_resample(
        torch.from_numpy(wide)[:, :70], torch.tensor(coefficients), torch.tensor(basis), **arguments
    )
    assert isinstance(tensor, torch.Tensor)
    assert np.array_equal(tensor.numpy(), want)
    half = basis_resample(plane, torch.tensor(coefficients).bfloat16(), basis.astype(np.float64), **arguments)
    assert np.mean(np.abs(half.astype(int) - want)) < 2**bit_depth / 100


def test_basis_threads():
    planes = [noise((100, 150), seed=seed) for seed in range(12)]
    coefficients, basis = mixture(4, Fraction(3, 2), (6, 6), (66, 100), (4, 4))
    arguments = {"step": Fraction(3, 2), "siting": CENTRED, "size": (66, 100), "block": (4, 4), "bit_depth": 8}
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda plane: basis_resample(plane, coefficients, basis, **arguments), planes))
    assert all(
        np.array_equal(basis_resample(p, coefficients, basis, **arguments), r)
        for p, r in zip(planes, together, strict=True)
    )


def test_basis_without_numba(monkeypatch):
    plane = noise((40, 60))
    coefficients, basis = mixture(4, Fraction(2), (6, 6), (20, 30), (4, 4))
    arguments = {"step": Fraction(2), "siting": CENTRED, "size": (20, 30), "block": (4, 4), "bit_depth": 8}
    want = basis_codes_ref(*(torch.tensor(a) for a in (plane, coefficients, basis)), **arguments).numpy()
    monkeypatch.setitem(sys.modules, "vidscale.triton_kernels.basis_cpu", None)
    _dispatch._can_import.cache_clear()
    try:
        assert implementation(plane) == implementation("cpu") == "torch"
        plane.flags.writeable = False
        assert np.array_equal(basis_resample(plane, coefficients, basis, **arguments), want)
    finally:
        _dispatch._can_import.cache_clear()


@pytest.mark.slow
def test_basis_imports_nothing_heavy():
    code = """
import sys
import numpy as np
from vidscale.triton_kernels.basis import basis_resample, fixed_basis
assert not {"numba", "torch", "triton"} & set(sys.modules)
one = np.ones((1, 1, 1), np.float32)
arguments = {"step": 2, "siting": (0, 0), "size": (4, 4), "block": (4, 4), "bit_depth": 8}
basis_resample(np.zeros((8, 8), np.uint8), one, (one, one), **arguments)
assert not {"torch", "triton"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_basis_implementation_names():
    assert implementation(np.zeros((1, 1), np.uint8)) == implementation(torch.zeros(1, dtype=torch.uint8)) == "numba"
    assert implementation("cpu") == implementation(torch.device("cpu")) == "numba"
    assert implementation(torch.zeros(1)) == "torch"
    assert implementation("cuda:1") == implementation(torch.device("cuda")) == "triton"
    assert implementation("mps") == "torch"


def test_first_taps():
    assert first_taps(Fraction(2), HALF, 8) == [-3]
    assert first_taps(Fraction(3, 2), HALF, 9) == [-4, -2]
    assert first_taps(HALF, HALF, 4) == [-2, -1]
    assert first_taps(Fraction(1), HALF, 1) == [0]


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_fixed_basis(step):
    for siting in (CENTRED, LEFT):
        pair = fixed_basis("lanczos", step, siting)
        larger = fixed_basis("lanczos", step, siting, 28)
        for taps, more in zip(pair, larger, strict=True):
            assert taps.shape[:2] == (1, step.denominator)
            np.testing.assert_allclose(taps.sum(2), 1, atol=1e-12)
            assert np.count_nonzero(taps) == np.count_nonzero(more)
    with pytest.raises(ValueError, match="support = 3"):
        fixed_basis("lanczos", Fraction(2), CENTRED, 3)


GOOD = {"step": Fraction(2), "siting": CENTRED, "size": (4, 4), "block": (2, 2), "bit_depth": 8}
CODES, ONE = np.zeros((8, 8), np.uint8), np.ones((2, 1, 1, 4, 4), np.float32)
CELLS = np.ones((2, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("arguments", "change", "message"),
    [
        ((np.zeros((8, 8, 1), np.uint8), CELLS, ONE), {}, r"plane\.shape = \(8, 8, 1\)"),
        ((np.zeros((8, 8), np.float32), CELLS, ONE), {}, r"plane\.dtype = float32"),
        ((np.zeros((8, 8), np.uint16), CELLS, ONE), {}, r"plane\.dtype = uint16"),
        ((CODES, CELLS, ONE), {"bit_depth": 10}, "bit_depth = 10"),
        ((CODES, CELLS, ONE), {"bit_depth": 7}, "bit_depth = 7"),
        ((CODES, CELLS, ONE), {"bit_depth": None}, r"plane\.shape = \(8, 8\)"),
        ((torch.zeros(1, 8, 8), CELLS, ONE), {"bit_depth": None}, r"plane\.shape = torch\.Size\(\[1, 8, 8\]\)"),
        ((CODES, CELLS[:1], ONE), {}, r"coefficients\.shape = \(1, 2, 2\)"),
        ((CODES, CELLS, ONE), {"block": (2, 1)}, r"coefficients must be \(2, 2, 4\)"),
        ((CODES, CELLS, ONE), {"block": (0, 1)}, r"block = \(0, 1\)"),
        ((CODES, CELLS.astype(int), ONE), {}, r"array\.dtype = int64"),
        ((CODES, CELLS, ONE[:, 0]), {}, r"basis\.shape = \(2, 1, 4, 4\)"),
        ((CODES, CELLS, ONE), {"step": Fraction(3, 2)}, r"P = 2: basis\.shape = \(2, 1, 1, 4, 4\)"),
        ((CODES, CELLS, (ONE[0, 0], ONE[0, 0, :, :3])), {}, r"x\.shape = \(1, 3, 4\)"),
        ((CODES, CELLS, (CELLS, ONE)), {}, r"y\.shape = \(2, 2, 2\)"),
        ((CODES, CELLS, ONE), {"step": Fraction(-1)}, "step = -1"),
        ((CODES, CELLS, ONE), {"step": 1.5}, r"step = 1\.5"),
        ((CODES, CELLS, ONE), {"siting": (0.5, 0.5)}, r"siting = \(0\.5, 0\.5\)"),
        ((CODES, CELLS, ONE), {"size": (0, 4)}, r"size = \(0, 4\)"),
    ],
)
def test_basis_errors(arguments, change, message):
    with pytest.raises(ValueError, match=message):
        basis_resample(*arguments, **GOOD | change)

"""Fixed resampling against a naive float64 version, ffmpeg's zscale and block means, in every memory layout."""

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import color, data, transform

from vidscale.triton_kernels import _dispatch
from vidscale.triton_kernels._numba import compiled
from vidscale.triton_kernels.polyphase import implementation, polyphase_resample
from vidscale.triton_kernels.polyphase_filters import filter_bank
from vidscale.triton_kernels.polyphase_ref import polyphase_ref

HALF = Fraction(1, 2)
CENTRED = (HALF, HALF)
SITING = {"left": (HALF, Fraction(1, 4)), "center": CENTRED, "topleft": (Fraction(1, 4), Fraction(1, 4))}
STEPS = [Fraction(s) for s in ("2", "3/2", "3", "4", "8", "7/5", "40/39", "1", "1/2", "2/3", "1/3", "1/4", "39/40")]

ALL_KINDS = ("lanczos", "bicubic", "gaussian", "area")
SHRINKING = ("area", "gaussian")


def noise(shape, bit_depth=8, seed=0):
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 2**bit_depth, shape, dtype=dtype)


@cache
def photo(height, width, bit_depth):
    """Planes of yuv420p, from a photograph."""
    peak, dtype = 2**bit_depth - 1, np.uint8 if bit_depth == 8 else np.uint16
    ycbcr = color.rgb2ycbcr(data.astronaut()) / 255
    sizes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
    planes = (transform.resize(ycbcr[..., i], size, anti_aliasing=True) for i, size in enumerate(sizes))
    return [np.rint(p * peak).clip(0, peak).astype(dtype) for p in planes]


def naive_weight(kind, step, distance):
    stretch = max(1.0, float(step))
    if kind == "area":
        edges = max(-step / 2, distance - HALF), min(step / 2, distance + HALF)
        return float(max(edges[1] - edges[0], 0))
    x = abs(float(distance)) / stretch
    if kind == "lanczos":
        return float(np.sinc(x) * np.sinc(x / 3)) if x < 3 else 0.0
    if kind == "gaussian":
        return math.exp(-(x**2) / (2 * 0.4**2)) if x < 2 else 0.0
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def naive_matrix(kind, step, siting, length_in, length_out):
    """[length_out, length_in]: the weights of every sample; those of mirrored samples are added to the originals."""
    matrix = np.zeros((length_out, length_in))
    reach = math.ceil(3 * max(step, Fraction(1))) + 1
    for i in range(length_out):
        position = step * (i + siting) - siting
        for k in range(math.floor(position) - reach, math.ceil(position) + reach + 1):
            inside = k % (2 * length_in)
            matrix[i, min(inside, 2 * length_in - 1 - inside)] += naive_weight(kind, step, k - position)
    return matrix / matrix.sum(axis=1, keepdims=True)


def naive(plane, *, step, siting, size, kind, bit_depth):
    """The definition as two matrix products, in float64 codes before rounding."""
    rows, columns = (naive_matrix(kind, step, siting[a], plane.shape[a], size[a]) for a in (0, 1))
    peak, values = 2**bit_depth - 1, plane.astype(np.float64)
    if step > 1:
        return ((rows @ values).clip(0, peak) @ columns.T).clip(0, peak)
    return (rows @ (values @ columns.T).clip(0, peak)).clip(0, peak)


def assert_close_to_naive(result, plane, **arguments):
    expected = naive(plane, **arguments)
    assert result.shape == arguments["size"]
    assert result.dtype == plane.dtype
    # A code away from the exact value by more than rounding is wrong; float32 blurs where rounding turns.
    assert np.abs(result - expected).max() <= 0.5 + 2**-12 * max(1, 2 ** (arguments["bit_depth"] - 10))


@pytest.mark.slow
@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    step=st.sampled_from(STEPS),
    siting=st.tuples(*[st.sampled_from([Fraction(n, 4) for n in range(5)])] * 2),
    kind=st.sampled_from(ALL_KINDS),
    bit_depth=st.sampled_from([8, 10, 12, 16]),
)
def test_polyphase_any_geometry(shape, size, step, siting, kind, bit_depth):
    if kind in SHRINKING and step < 1:
        return
    plane = noise(shape, bit_depth)
    arguments = {"step": step, "siting": siting, "size": size, "kind": kind, "bit_depth": bit_depth}
    assert_close_to_naive(polyphase_resample(plane, **arguments), plane, **arguments)
    assert_close_to_naive(polyphase_ref(torch.from_numpy(plane), **arguments).numpy(), plane, **arguments)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (2, 3), (1, 301), (301, 1), (65, 127)])
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_polyphase_odd_shapes(shape, step, poisoned_empty):
    plane = noise(shape)
    size = tuple(math.ceil(n / step) for n in shape)
    arguments = {"step": step, "siting": SITING["left"], "size": size, "kind": "lanczos", "bit_depth": 8}
    assert_close_to_naive(polyphase_resample(plane, **arguments), plane, **arguments)


@pytest.fixture
def poisoned_empty(monkeypatch):
    """Exposes memory that a kernel does not write."""
    plain = np.empty
    monkeypatch.setattr(np, "empty", lambda *args, **kwargs: poison(plain(*args, **kwargs)))


def poison(array):
    array[...] = 77
    return array


@pytest.mark.slow
@pytest.mark.parametrize("bit_depth", [8, 10, 12])
@pytest.mark.parametrize(("kind", "step"), [(k, s) for k in ALL_KINDS for s in STEPS if k not in SHRINKING or s > 1])
def test_polyphase_equals_ref(kind, step, bit_depth):
    plane = noise((150, 270), bit_depth)
    size = tuple(int(n / step) for n in plane.shape)
    arguments = {"step": step, "siting": SITING["left"], "size": size, "kind": kind, "bit_depth": bit_depth}
    result = polyphase_resample(plane, **arguments).astype(int)
    difference = np.abs(result - polyphase_ref(torch.from_numpy(plane), **arguments).numpy())
    assert difference.max() <= 1
    assert np.mean(difference > 0) <= 0.001


def zscale(frames, *, size, kind, bit_depth, location):
    """ffmpeg's zscale on frames of three planes."""
    from material import FFMPEG  # kernels are tested where there is no PyAV, too

    height, width = frames[0][0].shape
    pix_fmt = "yuv420p" if bit_depth == 8 else f"yuv420p{bit_depth}le"
    raw = ["-f", "rawvideo", "-pix_fmt", pix_fmt]
    scale = f"zscale=w={size[1]}:h={size[0]}:filter={kind}:dither=none:chromalin={location}:chromal={location}"
    cmd = [FFMPEG, "-v", "error", *raw, "-s", f"{width}x{height}", "-i", "-", "-vf", scale, *raw, "-"]
    pixels = b"".join(plane.tobytes() for frame in frames for plane in frame)
    done = subprocess.run(cmd, input=pixels, capture_output=True, check=True)
    codes = np.frombuffer(done.stdout, frames[0][0].dtype).reshape(len(frames), -1)
    luma, chroma = size[0] * size[1], (size[0] // 2, size[1] // 2)
    return [[frame[:luma].reshape(size), *frame[luma:].reshape(2, *chroma)] for frame in codes]


@pytest.mark.slow
@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("location", SITING)
@pytest.mark.parametrize("step", [s for s in STEPS if 336 % (2 * s) == 0 == 480 % (2 * s) and s != 1], ids=str)
@pytest.mark.parametrize("kind", ["lanczos", "bicubic"])
def test_polyphase_equals_zscale(kind, step, location, bit_depth):
    height, width = 336, 480
    picture = photo(height, width, bit_depth)
    frames = [picture, [noise(plane.shape, bit_depth, seed) for seed, plane in enumerate(picture)]]
    size = (int(height / step), int(width / step))
    expected = zscale(frames, size=size, kind=kind, bit_depth=bit_depth, location=location)
    sitings = (CENTRED, SITING[location], SITING[location])
    for frame, wanted in zip(frames, expected, strict=True):
        for plane, want, siting in zip(frame, wanted, sitings, strict=True):
            got = polyphase_resample(plane, step=step, siting=siting, size=want.shape, kind=kind, bit_depth=bit_depth)
            difference = np.abs(got.astype(int) - want)
            assert np.mean(difference > 1) <= 0.001
            # zimg rounds between the passes: to 16 bits where codes have 8, to the code's own depth above.
            assert np.mean(difference > 0) <= (0.03 if bit_depth == 8 else 0.3)
            assert abs(np.mean(got.astype(float) - want)) < 0.05


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_polyphase_area_is_block_mean(factor):
    plane = noise((96, 144))
    size = (96 // factor, 144 // factor)
    got = polyphase_resample(plane, step=Fraction(factor), siting=CENTRED, size=size, kind="area", bit_depth=8)
    sums = transform.downscale_local_mean(plane.astype(float), (factor, factor)) * factor**2
    want = (2 * np.rint(sums).astype(int) + factor**2) // (2 * factor**2)
    assert np.array_equal(got, want)


def test_polyphase_gaussian_is_a_blur_then_every_third_sample():
    plane = noise((96, 144))
    got = polyphase_resample(plane, step=Fraction(3), siting=CENTRED, size=(32, 48), kind="gaussian", bit_depth=8)
    blurred = ndimage.gaussian_filter(plane.astype(float), 1.2, mode="reflect", truncate=5)  # its edges are ours
    assert np.abs(got - blurred[1::3, 1::3]).max() <= 0.501


def test_polyphase_area_is_overlap_at_three_halves():
    plane = noise((6, 9))
    got = polyphase_resample(plane, step=Fraction(3, 2), siting=CENTRED, size=(4, 6), kind="area", bit_depth=8)
    fine = plane.repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(got, np.floor(transform.downscale_local_mean(fine, (3, 3)) + 0.5 + 1e-9))


@pytest.mark.parametrize("location", SITING)
@pytest.mark.parametrize("step", [Fraction(2), Fraction(3, 2), Fraction(1, 2), Fraction(2, 3)], ids=str)
def test_polyphase_keeps_positions(step, location):
    """A ramp's values are its positions, so that a shift by a fraction of a sample would show."""
    siting = SITING[location]
    plane = np.add.outer(np.arange(60) * 200, np.arange(80) * 300).astype(np.uint16)
    size = tuple(int(n / step) for n in plane.shape)
    got = polyphase_resample(plane, step=step, siting=siting, size=size, kind="bicubic", bit_depth=16)
    y, x = (step * (np.arange(n) + c) - c for n, c in zip(size, siting, strict=True))
    want = np.add.outer(y * 200, x * 300).astype(float)
    inner = tuple(slice(math.ceil(6 / step), -math.ceil(6 / step)) for _ in size)
    # Catmull-Rom's own departure from a straight line at these phases is below 2 % of a sample.
    assert np.abs(got - want)[inner].max() < 0.04 * 300


@pytest.mark.parametrize("size", [(5, 7), (3, 4), (40, 61)])
def test_polyphase_step_one_copies_crops_and_mirrors(size):
    plane = noise((5, 7))
    got = polyphase_resample(plane, step=Fraction(1), siting=CENTRED, size=size, kind="lanczos", bit_depth=8)
    padded = np.pad(plane, [(0, max(0, s - n)) for s, n in zip(size, plane.shape, strict=True)], mode="symmetric")
    assert np.array_equal(got, padded[: size[0], : size[1]])


@pytest.mark.parametrize("code", [0, 1, 200, 255])
def test_polyphase_keeps_flat_pictures(code):
    plane = np.full((31, 45), code, np.uint8)
    for step in STEPS:
        got = polyphase_resample(plane, step=step, siting=CENTRED, size=(29, 33), kind="lanczos", bit_depth=8)
        assert np.all(got == code)


def test_polyphase_does_not_drift_in_wide_pictures():
    plane = noise((3, 30_000))
    arguments = {"step": Fraction(40, 39), "siting": CENTRED, "size": (3, 29_250), "kind": "lanczos", "bit_depth": 8}
    difference = polyphase_resample(plane, **arguments).astype(int) - polyphase_ref(
        torch.from_numpy(plane), **arguments
    ).numpy().astype(int)
    assert np.mean(difference != 0) <= 0.001


def layouts(plane):
    wide = np.full((plane.shape[0], plane.shape[1] + 13), 99, plane.dtype)
    wide[:, : plane.shape[1]] = plane
    locked = plane.copy()
    locked.flags.writeable = False
    return {
        "padded": wide[:, : plane.shape[1]],
        "read-only": locked,
        "fortran": np.asfortranarray(plane),
        "flipped": np.ascontiguousarray(plane[::-1])[::-1],
        "every second": np.repeat(plane, 2, axis=1)[:, ::2],
        "from bytes": np.frombuffer(plane.tobytes(), plane.dtype).reshape(plane.shape),
    }


@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("step", [Fraction(2), Fraction(1, 2)], ids=str)
def test_polyphase_layouts(step, bit_depth):
    plane = noise((50, 70), bit_depth)
    size = tuple(int(n / step) for n in plane.shape)
    arguments = {"step": step, "siting": CENTRED, "size": size, "kind": "lanczos", "bit_depth": bit_depth}
    want = polyphase_resample(plane, **arguments)
    for name, view in layouts(plane).items():
        before = view.copy()
        got = polyphase_resample(view, **arguments)
        assert np.array_equal(got, want), name
        assert np.array_equal(view, before), name
        assert got.flags.c_contiguous
        assert got.flags.owndata
        assert got.flags.writeable


def test_polyphase_broadcast_rows():
    plane = np.broadcast_to(noise((1, 40)), (30, 40))
    arguments = {"step": Fraction(2), "siting": CENTRED, "size": (15, 20), "kind": "lanczos", "bit_depth": 8}
    assert np.array_equal(polyphase_resample(plane, **arguments), polyphase_resample(plane.copy(), **arguments))


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_polyphase_torch_tensors(bit_depth):
    plane = noise((50, 83), bit_depth)
    arguments = {"step": Fraction(2), "siting": CENTRED, "size": (25, 41), "kind": "lanczos", "bit_depth": bit_depth}
    got = polyphase_resample(torch.from_numpy(plane)[:, :80], **arguments)
    assert isinstance(got, torch.Tensor)
    assert got.dtype == torch.from_numpy(plane).dtype
    assert np.array_equal(got.numpy(), polyphase_resample(plane[:, :80], **arguments))


def test_polyphase_threads():
    planes = [noise((200, 300), seed=seed) for seed in range(12)]
    arguments = {"step": Fraction(3, 2), "siting": CENTRED, "size": (133, 200), "kind": "lanczos", "bit_depth": 8}
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda plane: polyphase_resample(plane, **arguments), planes))
    assert all(np.array_equal(polyphase_resample(p, **arguments), r) for p, r in zip(planes, together, strict=True))


def test_polyphase_without_numba(monkeypatch):
    plane = noise((40, 60))
    arguments = {"step": Fraction(2), "siting": CENTRED, "size": (20, 30), "kind": "lanczos", "bit_depth": 8}
    want = polyphase_ref(torch.from_numpy(plane), **arguments).numpy()
    monkeypatch.setitem(sys.modules, "vidscale.triton_kernels.polyphase_cpu", None)
    _dispatch._can_import.cache_clear()
    try:
        assert implementation(plane) == implementation("cpu") == "torch"
        plane.flags.writeable = False
        assert np.array_equal(polyphase_resample(plane, **arguments), want)
        assert np.array_equal(polyphase_resample(torch.from_numpy(plane.copy()), **arguments).numpy(), want)
    finally:
        _dispatch._can_import.cache_clear()


@pytest.mark.slow
def test_polyphase_imports_nothing_heavy():
    code = """
import sys
import numpy as np
from vidscale.triton_kernels.polyphase import polyphase_resample
assert not {"numba", "torch", "triton"} & set(sys.modules)
polyphase_resample(np.zeros((8, 8), np.uint8), step=2, siting=(0, 0), size=(4, 4), kind="area", bit_depth=8)
assert "numba" in sys.modules
assert not {"torch", "triton"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_compiled_where_nothing_can_be_kept():
    names = {}
    exec("def twice(x):\n    return 2 * x", names)
    assert compiled(names["twice"])(21) == 42


def test_implementation_names():
    assert implementation(np.zeros((1, 1), np.uint8)) == "numba"
    assert implementation(torch.zeros(1, 1, dtype=torch.uint8)) == "numba"
    assert implementation(torch.device("cpu")) == implementation("cpu") == "numba"
    assert implementation("cuda:1") == implementation(torch.device("cuda")) == "triton"
    assert implementation("mps") == "torch"


@pytest.mark.parametrize("kind", ["lanczos", "bicubic"])
def test_filter_bank_repeats_with_the_denominator(kind):
    bank = filter_bank(kind, Fraction(3, 2), HALF, 1000)
    assert (bank.phases, bank.advance) == (2, 3)
    assert np.allclose(bank.taps.sum(axis=1), 1)
    assert filter_bank(kind, Fraction(1), HALF, 1000).taps.tolist() == [[1.0]]
    assert filter_bank(kind, Fraction(2), HALF, 1).start[0] == (-5 if kind == "lanczos" else -3)


GOOD = {"step": Fraction(2), "siting": CENTRED, "size": (4, 4), "kind": "lanczos", "bit_depth": 8}


@pytest.mark.parametrize(
    ("plane", "change", "message"),
    [
        (np.zeros((8, 8, 1), np.uint8), {}, r"plane\.shape = \(8, 8, 1\)"),
        (np.zeros((0, 8), np.uint8), {}, r"plane\.shape = \(0, 8\)"),
        (np.zeros((8, 8), np.float32), {}, r"plane\.dtype = float32"),
        (np.zeros((8, 8), np.uint16), {}, r"plane\.dtype = uint16"),
        (np.zeros((8, 8), ">u2"), {"bit_depth": 10}, r"plane\.dtype = >u2"),
        (torch.zeros(8, 8, dtype=torch.int16), {"bit_depth": 10}, r"plane\.dtype = torch\.int16"),
        (np.zeros((8, 8), np.uint8), {"bit_depth": 10}, "bit_depth = 10"),
        (np.zeros((8, 8), np.uint16), {"bit_depth": 17}, "bit_depth = 17"),
        (np.zeros((8, 8), np.uint8), {"bit_depth": 7}, "bit_depth = 7"),
        (np.zeros((8, 8), np.uint8), {"step": Fraction(0)}, "step = 0"),
        (np.zeros((8, 8), np.uint8), {"step": Fraction(-2)}, "step = -2"),
        (np.zeros((8, 8), np.uint8), {"step": 1.5}, r"step = 1\.5"),
        (np.zeros((8, 8), np.uint8), {"siting": (0.5, 0.5)}, r"siting = \(0\.5, 0\.5\)"),
        (np.zeros((8, 8), np.uint8), {"siting": (HALF,)}, "siting = "),
        (np.zeros((8, 8), np.uint8), {"size": (0, 4)}, r"size = \(0, 4\)"),
        (np.zeros((8, 8), np.uint8), {"size": (4, 4, 1)}, r"size = \(4, 4, 1\)"),
        (np.zeros((8, 8), np.uint8), {"kind": "nearest"}, "kind = 'nearest'"),
        (np.zeros((8, 8), np.uint8), {"kind": "area", "step": HALF}, "step = 1/2"),
    ],
)
def test_polyphase_errors(plane, change, message):
    with pytest.raises(ValueError, match=message):
        polyphase_resample(plane, **GOOD | change)

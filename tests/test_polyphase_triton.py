"""The Triton kernel of fixed resampling against the reference: compiled on a GPU, interpreted elsewhere."""

from fractions import Fraction

import numpy as np
import pytest
import torch

triton = pytest.importorskip("triton")

from compiling import compiles  # noqa: E402

from vidscale.triton_kernels import polyphase_triton  # noqa: E402
from vidscale.triton_kernels._triton_import import _Unlaunchable  # noqa: E402
from vidscale.triton_kernels.plane_buffer import PlaneBuffer  # noqa: E402
from vidscale.triton_kernels.polyphase_filters import Sharpened  # noqa: E402
from vidscale.triton_kernels.polyphase_ref import polyphase_ref  # noqa: E402
from vidscale.triton_kernels.polyphase_triton import PlaneFilter  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Decided when triton is first imported; tests/conftest.py turns the interpreter on where there is no GPU.
runnable = pytest.mark.skipif(
    DEVICE == "cpu" and not triton.knobs.runtime.interpret, reason="neither a GPU nor TRITON_INTERPRET=1"
)


def noise(shape, bit_depth):
    codes = np.random.default_rng(0).integers(0, 2**bit_depth, shape)
    return torch.from_numpy(codes.astype(np.uint8 if bit_depth == 8 else np.uint16)).to(DEVICE)


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
@runnable
def test_planes_of_a_picture_in_one_launch(poisoned_empty):
    """Each plane of a 4:2:0 picture as the reference resamples it by itself; a plane without a filter is left alone."""
    shapes, smaller = ((20, 70), (10, 35), (10, 35)), ((10, 35), (5, 18), (5, 18))
    source = PlaneBuffer.empty(shapes, torch.uint8, DEVICE)
    for index, shape in enumerate(shapes):
        source.plane(index).copy_(noise(shape, 8))
    centred, left = (Fraction(1, 2),) * 2, (Fraction(1, 2), Fraction(1, 4))
    filters = [
        PlaneFilter(0, Sharpened("lanczos", -0.2), centred),
        PlaneFilter(1, "lanczos", left),
        PlaneFilter(2, "bicubic", left),
    ]
    for used in (filters, filters[1:]):
        target = PlaneBuffer.empty(smaller, torch.uint8, DEVICE)
        polyphase_triton.polyphase_planes_triton(source, target, used, step=Fraction(2), bit_depth=8)
        for index, kind, siting in used:
            arguments = {"step": Fraction(2), "siting": siting, "size": smaller[index], "kind": kind, "bit_depth": 8}
            want = polyphase_ref(source.plane(index), **arguments).to(torch.int32)
            assert (target.plane(index).to(torch.int32) - want).abs().max() <= 1
    assert (target.plane(0) == 77).all()


@pytest.mark.slow
def test_polyphase_triton_compiles():
    """Compiled for a GPU that this machine need not have: what the interpreter accepts, the compiler may not."""
    cases = [
        {"src": codes, "dst": codes, "table": "*i64", "sources": "*i32", "taps": "*fp32", "peak": "fp32"}
        | {"half": "fp32", "COUNT": 3, "SHRINKS": shrinks, "BLOCK_Y": 4, "BLOCK_X": 64}
        for codes, shrinks in (("*u8", True), ("*u16", False))
    ]
    compiles({"vidscale.triton_kernels.polyphase_triton:_planes_kernel": cases})


def test_polyphase_triton_missing_errors():
    def some_kernel():
        pass

    with pytest.raises(RuntimeError, match="some_kernel needs triton"):
        _Unlaunchable(some_kernel)[(1, 1)]()

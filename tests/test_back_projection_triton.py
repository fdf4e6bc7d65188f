"""Back-projection in Triton against the network in torch: compiled on a GPU, in Triton's interpreter elsewhere."""

import numpy as np
import pytest
import torch
from test_back_projection import STRENGTH, corrector, guide_of, material, reference, rounded, shipped

triton = pytest.importorskip("triton")

from compiling import compiles  # noqa: E402
from poison import poisoned_empty  # noqa: E402

from vidscale.models.back_projection import back_projection_of  # noqa: E402
from vidscale.models.networks.luma import Cell  # noqa: E402
from vidscale.triton_kernels import _tiles_triton  # noqa: E402
from vidscale.triton_kernels._tiles_triton import Tiling  # noqa: E402
from vidscale.triton_kernels.back_projection_triton import BackProjectionTriton  # noqa: E402
from vidscale.triton_kernels.chain_gradient_triton import ChainGradientTriton  # noqa: E402
from vidscale.triton_kernels.chain_triton import ChainTriton, Compared  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

SHIPPED = {"adaptive-x2": (48, 72), "adaptive-x1.5": (48, 72), "restore-x1": (24, 36), "adaptive-x4": (48, 72)}
"""Guides, and a size of the large picture that is one tile."""


@pytest.fixture(autouse=True)
def large_blocks(monkeypatch):
    """The interpreter takes as long for a small block."""
    if DEVICE.type == "cpu":
        monkeypatch.setattr(_tiles_triton, "BLOCK", 1024)


def projection_of(network):
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return back_projection_of(weights, STRENGTH)


def assert_gradient(network, size, bit_depth=8, tiling=None):
    """The error within one code, as its rounding differs; the gradient of that error as in float64.

    Activations next to zero have another sign in float16, which changes the gradient: the other signs must agree, and
    the gradient is computed with those of float64.
    """
    hr, lr = material(network.scale, size, bit_depth)
    peak = (1 << bit_depth) - 1
    run = ChainTriton(projection_of(network).guide, bit_depth, DEVICE, tiling)
    gradient = ChainGradientTriton(run)
    with poisoned_empty():
        compared = run.compare(torch.from_numpy(hr).to(DEVICE), torch.from_numpy(lr).to(DEVICE))
    error = compared.error.cpu().numpy()
    apart = np.abs(error - reference(network, hr, lr, bit_depth)[1])
    assert apart.max() < 1.01
    assert np.mean(apart > 0.01) < (0.05 if bit_depth < 10 else 0.3)

    signs = torch.zeros_like(compared.signs)
    for layer, values in enumerate(activations(network.guide, lr, peak)):
        inner = (layer, *(slice(layer, side - layer) for side in signs.shape[1:]))
        bits = 1 << torch.arange(values.shape[0], dtype=signs.dtype)[:, None, None]
        signs[inner] = ((values > 0) * bits).sum(0).to(signs.dtype)
        differing = (compared.signs[inner].cpu() ^ signs[inner].cpu()) & bits != 0
        assert (values.abs()[differing] < 0.01).all()
    with poisoned_empty():
        got = gradient(Compared(compared.error, signs)).cpu().numpy()
    want = exact_gradient(network, lr, error / peak, peak) * peak
    assert np.isfinite(got).all()
    assert rms(got - want) < 0.005 * rms(want)  # of the rounding of float16 in each of up to eight layers


def rms(values):
    return np.sqrt(np.mean(np.square(values)))


def padded(guide, lr, peak):
    """[1, 1, h, w] float64, with the margin that the guide needs."""
    small, edge = guide.cell.small, guide.margin * guide.cell.small
    whole = [(edge, -side % small + edge) for side in lr.shape]
    return torch.from_numpy(np.pad(lr.astype(np.float64), whole, mode="edge"))[None, None] / peak


def activations(guide, lr, peak):
    """Of each layer but the last, [channels, h, w] float64; what is around the picture shrinks by a cell per layer."""
    cells = torch.nn.functional.pixel_unshuffle(padded(guide, lr, peak), guide.cell.small)
    with torch.no_grad():
        *inner, _ = guide.double()._outputs(cells, torch.tensor([STRENGTH], dtype=torch.float64))
    guide.float()
    return [values[0] for values in inner]


def exact_gradient(network, lr, error, peak):
    """J'e of the guide in float64, divided by the squared scale."""
    guide, edge = network.guide, network.guide.margin * network.cell.small
    start = padded(guide, lr, peak).requires_grad_()
    restored = guide.double()(start, torch.tensor([STRENGTH], dtype=torch.float64))
    (gradient,) = torch.autograd.grad(restored, start, torch.from_numpy(error)[None, None])
    guide.float()
    return gradient[0, 0, edge:-edge, edge:-edge].numpy() / float(network.scale) ** 2


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_gradients_of_shipped_guides_are_those_of_autograd(name):
    assert_gradient(corrector(shipped(name)), SHIPPED[name])


@pytest.mark.slow
@pytest.mark.parametrize("size", [(37, 53), (1, 1)], ids=str)
@pytest.mark.parametrize("sizes", [{"width": 3, "first": 5, "reach": 1}, {"width": 20, "depth": 2}], ids=str)
def test_any_gradient_is_that_of_autograd(sizes, size):
    assert_gradient(corrector(guide_of(Cell(2, 3), **sizes)), size)


@pytest.mark.slow
def test_gradients_of_ten_bits_and_many_tiles():
    assert_gradient(corrector(Cell(1, 2)), (34, 50), bit_depth=10, tiling=Tiling(8, 16, 128))


def assert_corrects(network, size, bit_depth=8, tiling=None):
    """Within a code of the network in float64 on 99.9 % of the samples, though float16 rounds the error otherwise."""
    hr, lr = material(network.scale, size, bit_depth)
    want = rounded(reference(network, hr, lr, bit_depth)[0], bit_depth)
    run = BackProjectionTriton(projection_of(network), bit_depth, DEVICE, tiling)
    small = torch.from_numpy(lr).to(DEVICE)
    with poisoned_empty():
        out = torch.empty_like(small)
        run(torch.from_numpy(hr).to(DEVICE), small, out)
    got = out.cpu().numpy()
    assert (got.dtype, got.shape) == (lr.dtype, lr.shape)
    assert np.mean(np.abs(got.astype(int) - want) > 1) <= 0.001
    assert np.mean(got != want) < 0.1
    assert lr.size < 10 or np.mean(lr != want) > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adaptive-x2", "adaptive-x1.5", "restore-x1"])
def test_shipped_guides_correct_as_in_torch(name):
    assert_corrects(corrector(shipped(name)), SHIPPED[name])


@pytest.mark.slow
@pytest.mark.parametrize("size", [(37, 53), (1, 1), (5, 120)], ids=str)
@pytest.mark.parametrize("cell", [Cell(2, 2), Cell(2, 3), Cell(1, 4)], ids=str)
def test_any_size_corrects_as_in_torch(cell, size):
    assert_corrects(corrector(cell), size)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes", [{"width": 1, "depth": 2, "reach": 1}, {"width": 20, "depth": 4, "reach": 7}], ids=str
)
def test_any_correction_is_as_in_torch(sizes):
    assert_corrects(corrector(Cell(1, 2), **sizes), (36, 54), tiling=Tiling(8, 16, 128))


def test_a_correction_that_the_kernel_cannot_run_errors():
    with pytest.raises(ValueError, match="a filter of 7x7: at most 5"):
        BackProjectionTriton(projection_of(corrector(Cell(1, 2), depth=2, reach=7)), 8, DEVICE)


@pytest.mark.slow
def test_back_projection_triton_compiles():
    integers = dict.fromkeys(("h", "w", "rows", "columns", "tiles_x", "tiles"), "i32")
    floats = dict.fromkeys(("unit", "peak", "slope"), "fp32")
    tile = {"SMALL": 1, "LARGE": 2, "TILE_H": 32, "TILE_W": 64, "BLOCK": 256}
    gradient = {"error": "*i16", "signs": "*i32", "out": "*fp32", "scratch": "*fp16", "weights": "*fp16"}
    gradient |= {"zeros": "*fp32", "linear": "*fp32", "offsets": "*i32", "DEPTH": 8, "C": 8, "USED": 24, "STEP_K": 32}
    gradient |= {"STEP_COLUMNS": 1, "FIRST_K": 64, "FIRST_CHUNK": 64, "LAST": 3, "LAST_USED": 24, "LAST_K": 32}
    gradient |= {"LAST_COLUMNS": 1, "LINEAR_K": 256, "LINEAR_CHUNK": 64, "N": 8}
    correction = {"error": "*i16", "projected": "*fp32", "features": "*fp16", "scratch": "*fp16", "weights": "*fp16"}
    correction |= {"biases": "*fp32", "taps": "*fp32", "DEPTH": 3, "F": 16, "F_USED": 7, "C": 16, "USED": 16}
    correction |= {"STEP_K": 16, "STEP_COLUMNS": 3, "E": 4, "S": 4, "REACH": 5}
    common = integers | floats | tile
    backwards = {name: kind for name, kind in (gradient | common).items() if name not in ("h", "w", "peak")}
    corrections = [correction | common | {"lr": codes, "out": codes} for codes in ("*u8", "*u16")]
    compiles(
        {
            "vidscale.triton_kernels.chain_gradient_triton:_gradient_kernel": [backwards],
            "vidscale.triton_kernels.back_projection_triton:_correct_kernel": corrections,
        }
    )

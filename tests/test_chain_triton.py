"""The fused chain in Triton against the network in torch: compiled on a GPU, in Triton's interpreter elsewhere."""

import numpy as np
import pytest
import torch
from skimage import data
from test_compact import trained

triton = pytest.importorskip("triton")

from compiling import compiles  # noqa: E402
from poison import poisoned_empty  # noqa: E402

from vidscale.models.cards import find_pair_dir  # noqa: E402
from vidscale.models.chains import chain_of  # noqa: E402
from vidscale.models.networks.espcn import ESPCN  # noqa: E402
from vidscale.models.networks.luma import Cell  # noqa: E402
from vidscale.models.pair_files import load_pair_dir  # noqa: E402
from vidscale.triton_kernels import _tiles_triton, chain_triton  # noqa: E402
from vidscale.triton_kernels._tiles_triton import Tiling  # noqa: E402
from vidscale.triton_kernels.chain import Chain, Convolution  # noqa: E402
from vidscale.triton_kernels.chain_triton import ChainTriton  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
STRENGTH = 30.0


@pytest.fixture(autouse=True)
def large_blocks(monkeypatch):
    """The interpreter takes as long for a small block."""
    if DEVICE.type == "cpu":
        monkeypatch.setattr(_tiles_triton, "BLOCK", 1024)


def fused(network, bit_depth=8, tiling=None):
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    chain = chain_of(network.sizes["network"], weights, STRENGTH)
    return ChainTriton(chain, bit_depth, DEVICE, tiling)


def photograph(height, width, bit_depth=8):
    codes = data.camera()[100 : 100 + height, 200 : 200 + width].astype(np.uint16)
    codes = (codes << (bit_depth - 8)) + codes % (1 << (bit_depth - 8))
    return torch.from_numpy(codes.astype(np.uint8 if bit_depth == 8 else np.uint16))


def restored(network, plane, size, bit_depth=8):
    """Codes in float64 (ESPCN, which ends in float32: in float32), not rounded."""
    (small, _), margin, peak = network.cell, network.margin * network.cell.small, (1 << bit_depth) - 1
    padding = [(margin, -(-side // small) * small + margin - side) for side in plane.shape]
    dtype = torch.float32 if isinstance(network, ESPCN) else torch.float64
    luma = torch.from_numpy(np.pad(plane.numpy().astype(np.int32), padding, mode="edge"))[None, None].to(dtype) / peak
    with torch.no_grad():
        codes = network.to(dtype)(luma, torch.tensor([STRENGTH], dtype=dtype))[0, 0] * peak
    network.float()
    return codes[: size[0], : size[1]]


def assert_restores(network, size, bit_depth=8, tiling=None):
    plane = photograph(*(-(-side // network.scale) for side in size), bit_depth)
    run = fused(network, bit_depth, tiling)
    with poisoned_empty():
        out = torch.empty(size, dtype=plane.dtype, device=DEVICE)
        run(plane.to(DEVICE), out)
    want = restored(network, plane, size, bit_depth).clamp(0, (1 << bit_depth) - 1)
    apart = (out.cpu().double() - want).abs()
    assert torch.isfinite(apart).all()
    rounding, float16 = 0.5, 2e-4 * ((1 << bit_depth) - 1)
    assert (apart < rounding + float16).double().mean() > 0.999


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bit_depth"),
    [("adaptive-x2", 8), ("adaptive-x2", 10), ("adaptive-x2", 16), ("adaptive-x1.5", 8), ("espcn-x3", 8)],
)
def test_shipped_networks_are_those_in_torch(name, bit_depth):
    assert_restores(load_pair_dir(find_pair_dir(name)).upscaler, (36, 48), bit_depth)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(37, 53), (1, 1), (3, 90)], ids=str)
@pytest.mark.parametrize("cell", [Cell(1, 1), Cell(1, 2), Cell(2, 3)], ids=str)
def test_any_size_is_that_in_torch(cell, size):
    assert_restores(trained(cell), size)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes",
    [
        {"width": 1, "depth": 2, "reach": 1},
        {"width": 12, "depth": 4, "first": 5, "reach": 3},
        {"width": 20, "depth": 3, "reach": 5},
    ],
    ids=str,
)
def test_any_network_is_that_in_torch(sizes):
    assert_restores(trained(Cell(1, 4), **sizes), (40, 72))


@pytest.mark.slow
@pytest.mark.parametrize("programs", [1, 3])
def test_tiles_meet_without_seams(programs, monkeypatch):
    """A program goes on to its next tile in the same scratch memory."""
    monkeypatch.setattr(chain_triton, "programs_for", lambda device, tiles: min(tiles, programs))
    assert_restores(trained(), (48, 90), tiling=Tiling(8, 16, 128))


def test_a_chain_that_the_kernel_cannot_run_errors():
    wide = [Convolution(np.zeros(shape, np.float32), np.zeros(4, np.float32)) for shape in ((4, 1, 3, 3), (4, 4, 5, 5))]
    with pytest.raises(ValueError, match="3x3 after the first"):
        ChainTriton(Chain(1, 2, wide, None, 0.1), 8, DEVICE)
    run = fused(trained(width=70))
    with pytest.raises(ValueError, match="128 channels: at most 64"):
        run.compare(torch.zeros((8, 8), dtype=torch.uint8), torch.zeros((4, 4), dtype=torch.uint8))


@pytest.mark.slow
def test_chain_triton_compiles():
    integers = dict.fromkeys(("h", "w", "H", "W", "rows", "columns", "tiles_x", "tiles"), "i32")
    floats = dict.fromkeys(("unit", "peak", "slope"), "fp32")
    arrays = {"scratch": "*fp16", "weights": "*fp16", "biases": "*fp32", "linear": "*fp32", "offsets": "*i32"}
    sizes = {"SMALL": 1, "LARGE": 2, "FIRST_K": 16, "FIRST_CHUNK": 16, "LINEAR_K": 64, "LINEAR_CHUNK": 64, "N": 8}
    narrow = {"C": 8, "USED": 24, "STEP_K": 32, "STEP_COLUMNS": 1, "TILE_H": 32, "TILE_W": 64, "BLOCK": 256, "DEPTH": 8}
    wide = narrow | {"C": 32, "USED": 32, "STEP_K": 32, "STEP_COLUMNS": 3, "TILE_W": 32}
    common = arrays | integers | floats | sizes
    ones = dict.fromkeys(integers, 1)  # triton compiles arguments of 1 as constants
    cases = [
        common | narrow | {"codes": "*u8", "hr": "*u8", "out": "*u8", "signs": "*u8", "ERROR": False},
        common | narrow | {"codes": "*u16", "hr": "*u16", "out": "*i16", "signs": "*i32", "ERROR": True},
        common | narrow | {"codes": "*u8", "hr": "*u8", "out": "*i16", "signs": "*i32", "ERROR": True} | ones,
        common | wide | {"codes": "*u8", "hr": "*u8", "out": "*u8", "signs": "*u8", "ERROR": False},
    ]
    compiles({"vidscale.triton_kernels.chain_triton:_chain_kernel": cases})

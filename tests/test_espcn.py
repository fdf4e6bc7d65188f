"""ESPCN as a network, as a pair's network, and on movies."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from material import coded, luma, make, restored
from torch.nn import functional as F

from vidscale.errors import ModelError
from vidscale.images.scaling import find_scaler
from vidscale.media.frames import PixelFormat, YuvImage
from vidscale.media.geometry import Geometry
from vidscale.models.cards import read_card
from vidscale.models.chains import chain_of
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.luma_torch import TorchLumaUpscaler
from vidscale.models.networks.compact import CompactUpscaler
from vidscale.models.networks.espcn import ESPCN
from vidscale.models.networks.luma import Cell, LumaUpscaler
from vidscale.models.pair_files import load_pair_dir, write_pair_dir
from vidscale.models.pairs import find_pair
from vidscale.triton_kernels.chain import ChainRunner


@pytest.mark.parametrize(("scale", "count"), [(2, 58212), (3, 59657), (4, 61680)])
def test_espcn_has_the_published_number_of_parameters(scale, count):
    assert sum(weights.numel() for weights in ESPCN(scale).parameters()) == count


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_espcn_is_its_four_convolutions_and_a_shuffle(scale):
    torch.manual_seed(0)
    network, luma = ESPCN(scale), torch.rand(2, 1, 17, 14)
    state = network.state_dict()
    x = luma
    for n in range(4):
        x = F.conv2d(x, state[f"convs.{n}.weight"], state[f"convs.{n}.bias"]).clamp(min=0 if n < 3 else -torch.inf)
    by_hand = torch.empty(2, 1, 7 * scale, 4 * scale)  # five LR samples at each edge are missing
    for row in range(scale):
        for column in range(scale):
            by_hand[:, 0, row::scale, column::scale] = x[:, scale * row + column]
    assert torch.allclose(network(luma), by_hand, atol=1e-6)


def test_networks_for_luma_are_what_a_pair_asks_for():
    assert isinstance(ESPCN(2), LumaUpscaler)
    assert isinstance(CompactUpscaler(Cell(2, 3)), LumaUpscaler)


@pytest.mark.parametrize(("scale", "bit_depth"), [(2, 8), (3, 10), (4, 8)])
@pytest.mark.parametrize("shape", [(45, 61), (3, 2), (1, 1)])
def test_chain_on_the_cpu_is_the_network(scale, bit_depth, shape):
    torch.manual_seed(1)
    network = ESPCN(scale)
    peak = (1 << bit_depth) - 1
    codes = np.random.default_rng(0).integers(0, peak + 1, shape).astype(np.uint8 if bit_depth == 8 else np.uint16)
    size = shape[0] * scale - (shape[0] > 1), shape[1] * scale
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    got = ChainRunner(chain_of("espcn", weights, 0), bit_depth, "float32")(codes, *size)
    padded = F.pad(torch.from_numpy(codes.astype(np.float32) / peak)[None, None], [5] * 4, mode="replicate")
    with torch.no_grad():
        whole = (network(padded)[0, 0, : size[0], : size[1]] * peak + 0.5).floor().clamp(0, peak).numpy()
    assert got.dtype == codes.dtype
    assert got.shape == size
    assert np.abs(got.astype(int) - whole).max() <= 1
    assert np.mean(got != whole) < 0.01


def test_bfloat16_keeps_codes_apart():
    """As on a GPU: everything but the last convolution in bfloat16."""
    network = linear_espcn(2)
    codes = np.tile(np.arange(256, dtype=np.uint8), (12, 1))
    exact, coarse = (
        TorchLumaUpscaler(network, 0, 8, "cpu", dtype)(codes, 24, 512) for dtype in (torch.float32, torch.bfloat16)
    )
    assert np.abs(exact.astype(int) - coarse).max() <= 1


def linear_espcn(scale):
    """Weights that interpolate linearly, so a ramp stays a ramp: every output sample must be in the right place."""
    network = ESPCN(scale)
    with torch.no_grad():
        for weights in network.parameters():
            weights.zero_()
        for n, support in enumerate((5, 3, 3)):
            network.convs[n].weight[0, 0, support // 2, support // 2] = 1
        for phase in range(scale):
            place = (phase + 0.5) / scale - 0.5
            line = torch.tensor([max(0, 1 - abs(tap - place)) for tap in (-1, 0, 1)])
            for other in range(scale):
                across = torch.tensor([max(0, 1 - abs(tap - (other + 0.5) / scale + 0.5)) for tap in (-1, 0, 1)])
                network.convs[3].weight[scale * phase + other, 0] = torch.outer(line, across)
    return network


def write_linear(folder, scale, family="lanczos"):
    down = FixedPair(family, Fraction(scale))
    return write_pair_dir(folder, f"espcn-x{scale}", down, linear_espcn(scale).eval())


@pytest.mark.parametrize("family", ["lanczos", "gaussian"])
def test_pair_folder_comes_back(tmp_path, family):
    card = write_linear(tmp_path / "pair", 3, family)
    assert card.parameters == 59657
    assert card.upscaler == {"network": "espcn", "scale": 3}
    loaded = load_pair_dir(tmp_path / "pair")
    assert loaded.card == card == read_card(tmp_path / "pair")
    assert loaded.downscaler == FixedPair(family, Fraction(3))
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.upscaler.parameters(), linear_espcn(3).parameters(), strict=True)
    )


def test_pair_folder_errors(tmp_path):
    write_linear(tmp_path / "pair", 2)
    card = tmp_path / "pair" / "card.json"
    good = card.read_text()
    card.write_text(good.replace('"lanczos"', '"spline"'))
    for opened in (lambda: load_pair_dir(tmp_path / "pair"), lambda: downscaled_by(tmp_path / "pair")):
        with pytest.raises(ModelError, match="'espcn-x2': unknown filter 'spline'"):
            opened()
    card.write_text(good.replace('"espcn",', '"compact",'))
    with pytest.raises(ModelError, match=r"weights do not fit: missing linear.weight"):
        load_pair_dir(tmp_path / "pair")
    with pytest.raises(ModelError, match=r"weights do not fit: no ESPCN of scale = 5"):
        ESPCN.from_state_dict({"convs.3.weight": torch.zeros(25, 32, 3, 3)})
    with pytest.raises(ModelError, match=r"weights do not fit: missing convs.3.weight"):
        ESPCN.from_state_dict({})


def downscaled_by(folder):
    gray = PixelFormat("gray", 8)
    return find_pair(str(folder), None, "cpu").downscale(YuvImage((np.zeros((8, 8), np.uint8),), gray))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_pair_restores_where_lanczos_does(tmp_path, scale):
    """The sub-pixel position of the result, by phase correlation with a Lanczos restoration."""
    from skimage import data, registration

    write_linear(tmp_path / "pair", scale)
    gray, picture = PixelFormat("gray", 8), np.ascontiguousarray(data.camera()[100:301, 150:349])
    geometry = Geometry(199, 201, Fraction(scale), -(-199 // scale), -(-201 // scale))
    back = []
    for name in (str(tmp_path / "pair"), "lanczos"):
        pair = find_pair(name, Fraction(scale), "cpu")
        small = YuvImage(tuple(pair.downscale(YuvImage((picture,), gray))), gray)
        back.append(pair.upscale(small, geometry, 20)[0].astype(float))
    shift, *_ = registration.phase_cross_correlation(*back, upsample_factor=50)
    assert np.abs(shift).max() <= 0.04


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "pix_fmt"), [(2, "yuv420p"), (2, "yuv420p10le"), (3, "yuv422p"), (4, "yuv444p10le")])
def test_movie_of_odd_size_comes_back_in_place(tmp_path, scale, pix_fmt):
    """A ramp in luma, and one in chroma, stays as it was: no plane is shifted."""
    height, width = 75, 97
    pixel_format = PixelFormat(pix_fmt[3:6], 10 if "10" in pix_fmt else 8)
    planes = [
        (pixel_format.peak * (0.2 + 0.6 * np.add.outer(np.arange(h) / h, np.arange(w) / w) / 2)).astype(
            pixel_format.dtype
        )
        for h, w in pixel_format.plane_shapes(height, width)
    ]
    raw = b"".join(plane.tobytes() for plane in planes) * 3
    words = ["-f", "rawvideo", "-pix_fmt", pix_fmt, "-s", f"{width}x{height}", "-r", 25, "-i", "-", "-c:v", "ffv1"]
    source = make(tmp_path / "ramp.mkv", *words, data=raw)
    write_linear(tmp_path / "pair", scale)
    pair = str(tmp_path / "pair")
    small = coded(source, tmp_path / "small.mkv", pair=pair, scale=str(scale), crf=1, report=False)
    back = restored(small, tmp_path / "back.mkv", pair=pair, lossless=True)
    frames = luma(back, pix_fmt, height, width)
    inner = slice(4 * scale, -4 * scale), slice(4 * scale, -4 * scale)
    error = frames[1][inner].astype(float) - planes[0][inner]
    step = 0.3 * pixel_format.peak / width  # from one sample to the next; a shift by half a sample would be half of it
    assert frames.shape == (3, height, width)
    assert abs(error.mean()) < 0.2 * step
    assert np.abs(error).mean() < 0.6 * (1 << pixel_format.bit_depth - 8)


def test_pictures_take_it_channel_by_channel(tmp_path):
    write_linear(tmp_path / "pair", 2)
    scaler = find_scaler(str(tmp_path / "pair"), None)
    planes = [np.random.default_rng(n).integers(0, 256, (31, 22)).astype(np.uint8) for n in range(3)]
    small = scaler.downscale(planes)
    assert [plane.shape for plane in small] == [(16, 11)] * 3
    restored_planes = scaler.upscale(small, 31, 22)
    alone = scaler.upscale(small[1:2], 31, 22)
    assert [plane.shape for plane in restored_planes] == [(31, 22)] * 3
    assert np.array_equal(restored_planes[1], alone[0])

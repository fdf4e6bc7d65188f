"""The step-by-step upscaler: its stages, chains of stages, and pairs for movies and pictures."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from material import coded, luma, make, restored
from skimage import data
from torch.nn import functional as F

from vidscale.errors import ModelError
from vidscale.images.scaling import RgbScaler, find_scaler
from vidscale.media.frames import Color, PixelFormat, YuvImage
from vidscale.models.fixed_pair import FixedPair
from vidscale.models.network_pair import NetworkPair
from vidscale.models.networks.progressive import OriginalStage, ProgressiveUpscaler, ResidualStage
from vidscale.models.networks.tiling import Tiled
from vidscale.models.pair_files import load_pair_dir, write_pair_dir
from vidscale.models.pairs import find_pair


def count(network):
    return sum(weights.numel() for weights in network.parameters())


def residual(scale=2, seed=0, *, trained=True):
    """A small stage that, like trained ones, adds something to the interpolation."""
    torch.manual_seed(seed)
    stage = ResidualStage(scale, width=6, blocks=2)
    if trained:
        torch.nn.init.normal_(stage.tail.weight, std=0.05)
    return stage


def chain(kind="residual", *, trained=True):
    torch.manual_seed(1)
    stages = [OriginalStage() if kind == "original" else residual(seed=n, trained=trained) for n in range(3)]
    return ProgressiveUpscaler(stages).eval()


def test_original_stage_has_the_shapes_that_are_described():
    stage, shapes = OriginalStage().eval(), []
    for conv in stage.convs:
        conv.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        image = stage(torch.rand(1, 3, 64, 48))
    assert shapes == [(16, 32, 24), (64, 16, 12), (256, 16, 12), (64, 32, 24), (16, 64, 48), (3, 128, 96)]
    assert image.shape == (1, 3, 128, 96)
    assert 0 <= float(image.min()) <= float(image.max()) <= 1
    convolutions = 1_216 + 25_664 + 409_856 + 262_208 + 16_400 + 771
    assert count(stage) == convolutions + 2 * (16 + 64 + 256 + 64 + 16)


def test_original_stage_works_on_minus_one_to_one():
    stage = OriginalStage().eval()
    seen = []
    stage.convs[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    image = torch.rand(1, 3, 8, 8)
    stage(image)
    assert torch.equal(seen[0], 2 * image - 1)


def test_residual_stage_is_much_smaller():
    assert count(ResidualStage(2, width=24, blocks=3)) == 34_524
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in ResidualStage(2, width=4, blocks=1).modules())


@pytest.mark.parametrize("scale", [2, 3, 8])
def test_residual_stage_begins_as_interpolation(scale):
    image = torch.rand(2, 3, 9, 11)
    expected = F.interpolate(image, scale_factor=scale, mode="bicubic", antialias=True)
    assert torch.allclose(residual(scale, trained=False)(image), expected, atol=1e-6)


def test_chain_is_its_stages_one_behind_the_other():
    network, image = chain(), torch.rand(1, 3, 7, 5)
    by_hand = image
    for stage in network.chain:
        by_hand = stage(by_hand)
    assert network.scale == 8
    assert torch.equal(network(image), by_hand)
    assert network.upscale(image).shape == (1, 3, 56, 40)
    with pytest.raises(ValueError, match="at least one stage"):
        ProgressiveUpscaler([])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["residual", "original"])
def test_tiles_are_the_whole_picture(kind):
    network, image = chain(kind), torch.rand(1, 3, 112, 68)
    rule = network.tile_rule
    assert rule.multiple == (4 if kind == "original" else 1)
    tiled = Tiled(network.upscale, rule, tile=36)(image)
    assert torch.allclose(tiled, network.upscale(image), atol=1e-5)


def write_pair(folder, network):
    down = FixedPair("lanczos", Fraction(network.scale))
    return write_pair_dir(folder, f"progressive-x{network.scale}", down, network)


@pytest.mark.parametrize(
    ("network", "sizes"),
    [
        (chain(), {"stages": "2 2 2", "kind": "residual", "width": 6, "blocks": 2}),
        (chain("original"), {"stages": "2 2 2", "kind": "original"}),
        (ProgressiveUpscaler([residual(8)]).eval(), {"stages": "8", "kind": "residual", "width": 6, "blocks": 2}),
    ],
    ids=["residual", "original", "one step"],
)
def test_pair_folder_comes_back(tmp_path, network, sizes):
    card = write_pair(tmp_path / "pair", network)
    assert card.upscaler == {"network": "progressive"} | sizes
    assert card.parameters == count(network)
    loaded = load_pair_dir(tmp_path / "pair")
    image = torch.rand(1, 3, 5, 9)
    assert torch.equal(loaded.upscaler.upscale(image), network.upscale(image))
    assert isinstance(find_pair(str(tmp_path / "pair"), None, "cpu"), NetworkPair)


def test_weights_errors():
    state = chain().state_dict()
    with pytest.raises(ModelError, match=r"missing stages.1.tail.weight"):
        ProgressiveUpscaler.from_state_dict({k: v for k, v in state.items() if not k.startswith("stages.1.tail")})
    with pytest.raises(ModelError, match=r"unexpected stages.0.more"):
        ProgressiveUpscaler.from_state_dict(state | {"stages.0.more": torch.zeros(1)})
    original = chain("original").state_dict()
    with pytest.raises(ModelError, match=r"not finite: stages.0.norms.0.num_batches_tracked"):
        ProgressiveUpscaler.from_state_dict(original | {"stages.0.norms.0.num_batches_tracked": torch.tensor(0.5)})
    with pytest.raises(ModelError, match=r"weights do not fit: no ResidualStage of scale = 0"):
        ProgressiveUpscaler.from_state_dict({"stages.0.tail.weight": torch.zeros(1, 4, 3, 3)})


def test_pair_shrinks_planes_by_its_filter(tmp_path):
    write_pair(tmp_path / "pair", chain())
    pair = find_pair(str(tmp_path / "pair"), Fraction(8), "cpu")
    fixed = find_pair("lanczos", Fraction(8), "cpu")
    layout, color = PixelFormat("420", 8), Color("tv", "bt709")
    planes = [
        np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8) for shape in layout.plane_shapes(51, 67)
    ]
    image = YuvImage(tuple(planes), layout, color=color)
    for own, theirs in zip(pair.downscale(image), fixed.downscale(image), strict=True):
        assert np.array_equal(own, theirs)
    assert pair.upscale_seconds(1080, 1920) > pair.upscale_seconds(96, 96) > 0


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_movie_of_odd_size_comes_back_in_place(tmp_path, pix_fmt):
    """Stages that interpolate leave a ramp in place."""
    height, width = 203, 259
    pixel_format = PixelFormat("420", 10 if "10" in pix_fmt else 8)
    unit = 1 << (pixel_format.bit_depth - 8)
    shapes = pixel_format.plane_shapes(height, width)
    ramp = unit * (40 + 150 * np.add.outer(np.arange(height) / height, np.arange(width) / width) / 2)
    planes = [
        ramp.astype(pixel_format.dtype),
        *(np.full(shape, 128 * unit, pixel_format.dtype) for shape in shapes[1:]),
    ]
    raw = b"".join(plane.tobytes() for plane in planes) * 2
    words = ["-f", "rawvideo", "-pix_fmt", pix_fmt, "-s", f"{width}x{height}", "-r", 25, "-i", "-", "-c:v", "ffv1"]
    source = make(tmp_path / "ramp.mkv", *words, data=raw)
    write_pair(tmp_path / "pair", chain(trained=False))
    pair = str(tmp_path / "pair")
    small = coded(source, tmp_path / "small.mkv", pair=pair, scale="8", crf=1, report=False)
    back = luma(restored(small, tmp_path / "back.mkv", pair=pair, lossless=True), pix_fmt, height, width)
    assert back.shape == (2, height, width)
    error = (back[1].astype(float) - planes[0])[40:-40, 40:-40] / unit
    assert abs(error.mean()) < 0.5  # a shift by half a small sample is 2.6 codes
    assert np.abs(error).mean() < 1.5


def test_pictures_go_through_tiles(tmp_path):
    network = chain()
    write_pair(tmp_path / "pair", network)
    scaler = find_scaler(str(tmp_path / "pair"), None, "cpu")
    assert isinstance(scaler, RgbScaler)
    planes = [np.ascontiguousarray(plane) for plane in np.moveaxis(data.astronaut()[:83, :70], 2, 0)]
    small = scaler.downscale(planes)
    assert [plane.shape for plane in small] == [(11, 9)] * 3
    codes = np.stack(scaler.upscale(small, 83, 70))
    expected = network.upscale(torch.from_numpy(np.stack(small)).float()[None] / 255)[0, :, :83, :70] * 255
    assert np.abs(codes - expected.numpy()).max() <= 0.501
    (gray,) = scaler.upscale(scaler.downscale(planes[:1]), 83, 70)
    assert gray.shape == (83, 70)

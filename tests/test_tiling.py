"""`vidscale.models.networks.tiling`: tiled results against whole ones."""

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vidscale.errors import ConfigError
from vidscale.models.networks.car import ResamplerNet
from vidscale.models.networks.edsr import EDSR
from vidscale.models.networks.tiling import Run, Tiled, TileRule, run_fitted

CODE = 1 / 255
BLUR = TileRule(factor=Fraction(1), margin=2)
# Averages 4x4 blocks, then those with their neighbours up to two blocks away.
BLOCKS = TileRule(factor=Fraction(1, 4), margin=8, multiple=4, minimum=8)


def blur(image: Tensor) -> Tensor:
    return F.avg_pool2d(image, 5, stride=1, padding=2)


def average_blocks(image: Tensor) -> Tensor:
    assert image.shape[2] % 4 == image.shape[3] % 4 == 0, image.shape
    assert min(image.shape[2:]) >= 8, image.shape
    return blur(F.avg_pool2d(image, 4))


def enlarge(image: Tensor) -> Tensor:
    return F.interpolate(blur(image), scale_factor=1.5, mode="nearest")


@pytest.mark.parametrize("size", [(1, 1), (7, 40), (33, 64), (50, 51)])
@pytest.mark.parametrize("tile", [1, 8, 16, 21, 1000])
@pytest.mark.parametrize(("run", "rule"), [(blur, BLUR), (average_blocks, BLOCKS)])
def test_tiles_equal_the_whole(size: tuple[int, int], tile: int, run: Run, rule: TileRule) -> None:
    image = torch.rand(2, 3, *size)
    whole = run_fitted(run, image, rule)
    torch.testing.assert_close(Tiled(run, rule, tile=tile)(image), whole, atol=1e-6, rtol=0)


def test_tiles_of_a_rational_factor() -> None:
    rule = TileRule(factor=Fraction(3, 2), margin=2, multiple=2, minimum=2)
    image = torch.rand(1, 1, 13, 30)
    tiled = Tiled(enlarge, rule, tile=8)(image)
    assert tiled.shape == (1, 1, 20, 45)
    torch.testing.assert_close(tiled, run_fitted(enlarge, image, rule), atol=1e-6, rtol=0)


def test_tiles_see_their_margin_and_no_more() -> None:
    seen: list[tuple[int, ...]] = []

    def run(image: Tensor) -> Tensor:
        seen.append(tuple(image.shape))
        return image

    Tiled(run, TileRule(factor=Fraction(1), margin=5), tile=20)(torch.rand(1, 3, 60, 20))
    assert seen == [(1, 3, 25, 20), (1, 3, 30, 20), (1, 3, 25, 20)]


def test_tiles_are_of_about_equal_size() -> None:
    seen: list[int] = []
    rule = TileRule(factor=Fraction(1), margin=0, multiple=8, minimum=8)

    def run(image: Tensor) -> Tensor:
        seen.append(image.shape[2])
        return image

    Tiled(run, rule, tile=64)(torch.rand(1, 1, 72, 8))
    assert seen == [40, 32]


def test_run_fitted_repeats_the_edge_and_crops() -> None:
    image = torch.rand(1, 3, 21, 3)
    seen: list[Tensor] = []

    def run(padded: Tensor) -> Tensor:
        seen.append(padded)
        return padded[..., ::4, ::4]

    small = run_fitted(run, image, BLOCKS)
    assert small.shape == (1, 3, 6, 1)
    assert seen[0].shape == (1, 3, 24, 8)
    assert torch.equal(seen[0][:, :, :21, :3], image)
    assert torch.equal(seen[0][:, :, 20:, 2:], image[:, :, 20:, 2:].expand(1, 3, 4, 6))


def positive(network: torch.nn.Module) -> torch.nn.Module:
    """The network with weights that block nothing, so that gradients show everything it depends on."""
    with torch.no_grad():
        for weights in network.parameters():
            weights.copy_(0.01 + 0.01 * torch.rand_like(weights))
    return network


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_margin_of_edsr_is_what_it_depends_on(scale: int) -> None:
    network = positive(EDSR(scale, blocks=2, width=4)).double()
    margin = network.tile_rule.margin
    image = torch.rand(1, 3, 3, 4 * margin, requires_grad=True, dtype=torch.float64)
    first = scale * 2 * margin  # of the HR samples that an LR sample becomes
    network(image)[:, :, scale, first : first + scale].sum().backward()
    touched = image.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    assert (2 * margin - touched.min(), touched.max() - 2 * margin) == (margin, margin)


@pytest.mark.parametrize("scale", [2, 4])
def test_margin_of_car_is_what_it_depends_on(scale: int) -> None:
    network = positive(ResamplerNet(scale, stem=2, body=2, trunk=2, blocks=2)).double()
    rule = network.tile_rule
    image = torch.rand(1, 3, 16, 256, requires_grad=True, dtype=torch.float64)
    cell = 8 // scale
    sum(head[..., 16 * cell : 17 * cell].sum() for head in network(image)).backward()
    touched = image.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    reach = max(128 - int(touched.min()), int(touched.max()) - 135)
    assert reach == rule.margin


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 4])
def test_tiled_car_equals_the_whole(scale: int) -> None:
    torch.manual_seed(scale)
    network = ResamplerNet(scale, stem=8, body=8, trunk=8, blocks=1).eval()
    image = torch.rand(1, 3, 235, 181)
    whole = network.downscale(image)
    assert whole.shape == (1, 3, -(-235 // scale), -(-181 // scale))
    for tile in (40, 96):
        torch.testing.assert_close(
            Tiled(network.downscale, network.tile_rule, tile=tile)(image), whole, atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_tiled_edsr_equals_the_whole(scale: int) -> None:
    torch.manual_seed(scale)
    network = EDSR(scale, blocks=3, width=8)
    image = torch.rand(1, 3, 67, 91)
    whole = network.upscale(image)
    for tile in (16, 50):
        torch.testing.assert_close(
            Tiled(network.upscale, network.tile_rule, tile=tile)(image), whole, atol=1e-5, rtol=0
        )


def test_tiled_bfloat16_stays_within_a_code() -> None:
    torch.manual_seed(0)
    network = EDSR(2, blocks=4, width=16, res_scale=0.1)
    image = torch.rand(1, 3, 96, 80)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole = network.upscale(image)
        tiled = Tiled(network.upscale, network.tile_rule, tile=24)(image)
    assert whole.dtype == torch.float32
    assert (whole - tiled).abs().max() < CODE


def test_out_of_memory_halves_the_tile_and_remembers() -> None:
    sides: list[int] = []

    def run(image: Tensor) -> Tensor:
        sides.append(max(image.shape[2:]))
        if sides[-1] > 110:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return blur(image)

    tiled = Tiled(run, BLUR, tile=400)
    image = torch.rand(1, 1, 300, 200)
    torch.testing.assert_close(tiled(image), blur(image), atol=1e-6, rtol=0)
    assert tiled.tile == 75
    assert max(sides[2:]) <= 79
    failures = sum(side > 110 for side in sides)
    tiled(image)
    assert sum(side > 110 for side in sides) == failures


def test_out_of_memory_with_small_tiles_errors() -> None:
    def run(image: Tensor) -> Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ConfigError, match=r"^CUDA is out of memory even with tiles of 32x32: use --device cpu$"):
        Tiled(run, BLUR, tile=128)(torch.rand(1, 1, 500, 300))
    with pytest.raises(ConfigError, match="16x16"):
        Tiled(run, TileRule(Fraction(1, 2), margin=8, multiple=8, minimum=16))(torch.rand(1, 1, 9, 9))


def test_cuts_cover_every_sample_once() -> None:
    for multiple in (1, 8):
        tiled = Tiled(blur, TileRule(Fraction(1), margin=0, multiple=multiple), tile=24)
        for length in range(multiple, 200, multiple):
            cuts = list(tiled._cuts(length))
            assert cuts[0][0] == 0
            assert cuts[-1][1] == length
            assert all(one[1] == other[0] for one, other in pairwise(cuts))
            assert all(start % multiple == 0 and 0 < stop - start <= 24 for start, stop in cuts)


def test_tiled_errors() -> None:
    with pytest.raises(ValueError, match="tile = 0"):
        Tiled(blur, BLUR, tile=0)
    for shape in ((3, 5, 5), (1, 3, 0, 5), (0, 3, 4, 4)):
        with pytest.raises(ValueError, match="shape"):
            Tiled(blur, BLUR)(torch.zeros(shape))

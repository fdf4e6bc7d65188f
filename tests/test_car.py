"""CAR's networks: sizes, parameters, gradients. Published checkpoints are in test_checkpoint.py."""

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor
from torch.nn import functional as F

from vidscale.errors import ModelError
from vidscale.models.networks.car import Heads, ResamplerNet


def small(scale: int, seed: int = 0) -> ResamplerNet:
    torch.manual_seed(seed)
    return ResamplerNet(scale, stem=4, body=6, trunk=8, blocks=2)


def photograph(side: int = 256) -> Tensor:
    """[1, 3, side, side] float32, RGB in [0, 1]."""
    pixels = np.ascontiguousarray(skimage.data.astronaut()[:side, :side])
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def parameters(network: torch.nn.Module, *, trainable: bool) -> int:
    return sum(weights.numel() for weights in network.parameters() if weights.requires_grad is trainable)


@pytest.mark.parametrize(("scale", "count"), [(2, 10_645_651), (4, 9_896_443)])
def test_parameters_are_those_of_the_paper(scale: int, count: int) -> None:
    with torch.device("meta"):
        network = ResamplerNet(scale)
    assert parameters(network, trainable=True) == count
    assert parameters(network, trainable=False) == 12


@pytest.mark.parametrize("scale", [2, 4])
def test_heads_are_a_number_per_tap_and_small_pixel(scale: int) -> None:
    heads = small(scale)(torch.rand(2, 3, 16, 24))
    for head in heads:
        assert head.shape == (2, (3 * scale + 1) ** 2, 16 // scale, 24 // scale)
        assert head.requires_grad
        assert head.isfinite().all()


def test_activate_makes_taps_that_sum_to_one() -> None:
    generator = torch.Generator().manual_seed(0)
    heads = Heads(*(torch.randn(3, 1, 49, 4, 5, generator=generator).mul(3).to(torch.bfloat16)))
    taps, tanh_x, tanh_y = heads.activate()
    assert taps.dtype == tanh_x.dtype == tanh_y.dtype == torch.float32
    assert taps.min() > 0
    torch.testing.assert_close(taps.sum(1), torch.ones(1, 4, 5))
    expected = heads.taps.float().clamp(1e-6, 1)
    torch.testing.assert_close(taps[0, :, 1, 2], expected[0, :, 1, 2] / expected[0, :, 1, 2].sum())
    assert torch.equal(tanh_x, heads.offset_x.float().tanh())
    assert torch.equal(tanh_y, heads.offset_y.float().tanh())


@pytest.mark.parametrize("value", [0.0, -1e9, 1e9])
def test_activate_survives_taps_that_say_nothing(value: float) -> None:
    taps = Heads(*torch.full((3, 1, 49, 1, 1), value)).activate().taps
    torch.testing.assert_close(taps, torch.full((1, 49, 1, 1), 1 / 49))


@pytest.mark.parametrize("scale", [2, 4])
def test_downscale_is_heads_and_resampling(scale: int) -> None:
    network, image = small(scale), torch.rand(2, 3, 32, 48)
    small_image = network.downscale(image)
    assert small_image.shape == (2, 3, 32 // scale, 48 // scale)
    assert not small_image.requires_grad
    torch.testing.assert_close(small_image, network(image).activate().resample(image, scale), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (17, 24), (33, 31)])
def test_downscale_takes_any_size(scale: int, size: tuple[int, int]) -> None:
    network, image = small(scale), torch.rand(1, 3, *size)
    small_image = network.downscale(image)
    height, width = (-(-side // scale) for side in size)
    assert small_image.shape == (1, 3, height, width)
    below, right = (max(16, -(-side // 8) * 8) - side for side in size)
    padded = F.pad(image, (0, right, 0, below), mode="replicate")
    torch.testing.assert_close(small_image, network.downscale(padded)[..., :height, :width])


@pytest.mark.parametrize("scale", [2, 4])
def test_untrained_network_downscales_already(scale: int) -> None:
    torch.manual_seed(0)
    image = photograph()
    small_image = ResamplerNet(scale, stem=8, body=8, trunk=8).downscale(image)
    areas = F.avg_pool2d(image, scale)
    assert (small_image - areas).square().mean() < 1e-3  # 30 dB
    assert image.min() <= small_image.min() <= small_image.max() <= image.max()


def test_downscale_to_codes() -> None:
    network, image = small(2), torch.rand(1, 3, 24, 17)
    exact = network.downscale(image)
    for dtype, depth in ((torch.uint8, 8), (torch.uint16, 10)):
        codes = network.downscale(image, out_dtype=dtype, bit_depth=depth)
        assert codes.dtype == dtype
        torch.testing.assert_close(codes.float(), exact * (2**depth - 1), atol=0.5001, rtol=0)


def test_constant_image_stays_constant() -> None:
    image = torch.tensor([0.2, 0.5, 0.9]).reshape(1, 3, 1, 1).expand(1, 3, 24, 16).contiguous()
    expected = image[..., :12, :8]
    torch.testing.assert_close(small(2).downscale(image), expected, atol=1e-6, rtol=0)


def test_every_weight_but_the_mean_is_trained() -> None:
    network, image = small(2), torch.rand(1, 3, 32, 32)
    for name, weights in network.named_parameters():
        if name.endswith("last.weight"):  # some start at 0, behind which nothing is trained in the first step
            torch.nn.init.normal_(weights, std=0.01)
    network(image).activate().resample(image, 2).square().sum().backward()
    for name, weights in network.named_parameters():
        if "mean" in name:
            assert weights.grad is None, name
        else:
            assert weights.grad is not None, name
            assert weights.grad.abs().sum() > 0, name


def test_taps_that_are_clamped_come_back() -> None:
    heads = Heads(*(torch.zeros(1, 49, 2, 2) for _ in range(3)))
    heads.taps[:, 24] = 1
    heads.taps[:, 23] = -0.5  # clamped away
    heads.taps.requires_grad_()
    for _ in range(50):
        loss = (heads.activate().taps[:, 23] - 0.4).square().sum()
        (grad,) = torch.autograd.grad(loss, heads.taps)
        heads.taps.data -= 0.5 * grad
    assert heads.activate().taps[0, 23].min() > 0.3


def test_clamped_taps_hear_both_ways_until_the_margin() -> None:
    """Gradients that push a clamped tap out and in cancel in a bias that pixels share: noise does not become blur."""
    taps = torch.zeros(1, 49, 1, 4)
    taps[:, 24] = 0.5
    taps[:, 23] = torch.tensor([-0.01, -0.01, -0.5, -0.5])  # within the margin and far beyond it
    taps.requires_grad_()
    wanted = Heads(taps, torch.zeros_like(taps), torch.zeros_like(taps)).activate().taps[:, 23]
    (grad,) = torch.autograd.grad((wanted * torch.tensor([1.0, -1, 1, -1])).sum(), taps)
    more, less, more_far, less_far = grad[0, 23, 0].tolist()
    assert more > 0
    assert less == pytest.approx(-more)
    assert more_far == 0
    assert less_far == pytest.approx(-more)


def test_space_to_depth_is_the_inverse_of_the_pixel_shuffle() -> None:
    network = small(2)
    seen: list[Tensor] = []
    network.to_half.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        image = torch.rand(1, 3, 16, 16)
        network(image)
        stem = F.leaky_relu(network.stem(network.subtract_mean(image)), 0.2)
    for channel, row, column in [(0, 0, 1), (1, 1, 0), (3, 1, 1)]:
        assert torch.equal(seen[0][:, 4 * channel + 2 * row + column], stem[:, channel, row::2, column::2])


def test_runs_in_bfloat16() -> None:
    network, image = small(2), torch.rand(1, 3, 32, 32)
    exact = network.downscale(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(image).taps.dtype == torch.bfloat16
        rounded = network.downscale(image)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, atol=0.02, rtol=0)
    torch.testing.assert_close(network.to(torch.bfloat16).downscale(image), exact, atol=0.02, rtol=0)


@pytest.mark.parametrize("scale", [2, 4])
def test_from_state_dict_reads_the_sizes(scale: int) -> None:
    network = small(scale)
    again = ResamplerNet.from_state_dict(network.state_dict())
    image = torch.rand(1, 3, 16, 16)
    assert again.scale == scale
    assert parameters(again, trainable=True) == parameters(network, trainable=True)
    assert parameters(again, trainable=False) == 12
    for head, head_again in zip(network(image), again(image), strict=True):
        assert torch.equal(head, head_again)


def test_heads_may_be_narrower_than_the_trunk() -> None:
    network = ResamplerNet(2, stem=4, body=6, trunk=12, heads=5, blocks=1)
    again = ResamplerNet.from_state_dict(network.state_dict())
    assert again.to_eighth.out_channels == 12
    assert again.taps_head.last.in_channels == 5
    assert again.downscale(torch.rand(1, 3, 16, 16)).shape == (1, 3, 8, 8)


def test_from_state_dict_errors() -> None:
    state = small(2).state_dict()
    with pytest.raises(ModelError, match=r"^weights do not fit: missing taps_head.last.weight$"):
        ResamplerNet.from_state_dict({})
    with pytest.raises(ModelError, match=r"^weights do not fit: 25 taps, not 7x7 \(scale 2\) or 13x13"):
        ResamplerNet.from_state_dict(state | {"taps_head.last.weight": torch.zeros(25, 8, 3, 3)})
    with pytest.raises(ModelError, match=r"^weights do not fit: stem.weight is \[4\], not a convolution$"):
        ResamplerNet.from_state_dict(state | {"stem.weight": torch.zeros(4)})
    with pytest.raises(ModelError, match=r"^weights do not fit: not finite: blocks.1.first.bias, to_eighth.bias$"):
        ResamplerNet.from_state_dict(
            state | {"blocks.1.first.bias": torch.full((6,), torch.inf), "to_eighth.bias": torch.zeros(8).long()}
        )


@pytest.mark.parametrize("shape", [(1, 3, 20, 16), (1, 3, 8, 64), (1, 1, 16, 16), (3, 16, 16)])
def test_forward_errors(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"multiples of 8, at least 16: image.shape"):
        small(2)(torch.zeros(shape))


def test_downscale_errors() -> None:
    with pytest.raises(ValueError, match="shape"):
        small(2).downscale(torch.zeros(1, 3, 0, 16))
    with pytest.raises(ValueError, match="shape"):
        small(2).downscale(torch.zeros(1, 4, 16, 16))


def test_resampler_net_errors() -> None:
    for wrong in ({"scale": 3}, {"scale": 2, "stem": 0}, {"scale": 2, "blocks": 0}):
        with pytest.raises(ValueError, match="no ResamplerNet of scale"):
            ResamplerNet(**wrong)

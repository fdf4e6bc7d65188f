"""`vidscale.models.networks.edsr`: sizes, parameters, gradients."""

import pytest
import torch

from vidscale.errors import ModelError
from vidscale.models.networks.edsr import EDSR
from vidscale.models.networks.layers import RGB_MEAN


def parameters(network: torch.nn.Module, *, trainable: bool) -> int:
    return sum(weights.numel() for weights in network.parameters() if weights.requires_grad is trainable)


@pytest.mark.parametrize(
    ("scale", "blocks", "width", "count"),
    [(2, 32, 256, 40_729_603), (4, 32, 256, 43_089_923), (2, 16, 64, 1_369_859), (4, 16, 64, 1_517_571)],
)
def test_parameters_are_those_of_the_paper(scale: int, blocks: int, width: int, count: int) -> None:
    with torch.device("meta"):
        network = EDSR(scale, blocks=blocks, width=width, res_scale=0.1)
    assert parameters(network, trainable=True) == count
    assert parameters(network, trainable=False) == 24


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (5, 8)])
def test_upscale_takes_any_size(scale: int, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    network = EDSR(scale, blocks=1, width=4)
    large = network.upscale(image)
    assert large.shape == (2, 3, scale * size[0], scale * size[1])
    assert 0 <= large.min() <= large.max() <= 1
    assert not large.requires_grad
    torch.testing.assert_close(large, network(image).clamp(0, 1))


def test_margin_of_the_published_size() -> None:
    with torch.device("meta"):
        assert EDSR(2, blocks=32, width=256).tile_rule.margin == 68


def test_without_what_it_adds_it_returns_the_mean() -> None:
    network = EDSR(2, blocks=1, width=4)
    torch.nn.init.zeros_(network.tail.weight)
    torch.nn.init.zeros_(network.tail.bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        large = network.upscale(torch.rand(1, 3, 4, 4))
    expected = torch.tensor(RGB_MEAN).reshape(1, 3, 1, 1).expand(1, 3, 8, 8)
    torch.testing.assert_close(large, expected, atol=1e-7, rtol=0)


def test_blocks_add_their_scaled_result() -> None:
    torch.manual_seed(0)
    block = EDSR(2, blocks=1, width=4).blocks[0]
    x = torch.rand(1, 4, 6, 6)
    added = block(x, torch.tensor(1.0)) - x
    torch.testing.assert_close(block(x, torch.tensor(0.1)) - x, 0.1 * added, atol=1e-6, rtol=1e-4)


def test_runs_with_bfloat16_weights() -> None:
    torch.manual_seed(0)
    network = EDSR(2, blocks=2, width=16)
    image = torch.rand(1, 3, 16, 16)
    large = network(image)
    rounded = network.to(torch.bfloat16)(image)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, large, atol=0.02, rtol=0)


def test_every_weight_but_the_mean_is_trained() -> None:
    network = EDSR(4, blocks=2, width=4)
    network(torch.rand(1, 3, 8, 8)).square().sum().backward()
    for name, weights in network.named_parameters():
        if "mean" in name:
            assert weights.grad is None, name
        else:
            assert weights.grad is not None, name
            assert weights.grad.abs().sum() > 0, name


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_from_state_dict_reads_the_sizes(scale: int) -> None:
    network = EDSR(scale, blocks=3, width=5, res_scale=0.25)
    again = EDSR.from_state_dict(network.state_dict())
    image = torch.rand(1, 3, 6, 7)
    assert again.scale == scale
    assert torch.equal(again(image), network(image))
    assert parameters(again, trainable=True) == parameters(network, trainable=True)


def test_from_state_dict_takes_half_precision() -> None:
    state = {name: tensor.half() for name, tensor in EDSR(2, blocks=1, width=4).state_dict().items()}
    assert EDSR.from_state_dict(state).head.weight.dtype == torch.float32


def test_from_state_dict_errors() -> None:
    state = EDSR(4, blocks=2, width=4).state_dict()
    with pytest.raises(ModelError, match=r"^weights do not fit: missing head.weight$"):
        EDSR.from_state_dict({})
    with pytest.raises(ModelError, match=r"^weights do not fit: missing tail.bias; unexpected other$"):
        EDSR.from_state_dict({name: state[name] for name in state if name != "tail.bias"} | {"other": torch.zeros(1)})
    with pytest.raises(ModelError, match=r"^weights do not fit: body_end.bias is \[5\], not \[4\]$"):
        EDSR.from_state_dict(state | {"body_end.bias": torch.zeros(5)})
    with pytest.raises(ModelError, match=r"^weights do not fit: missing enlarge.1.weight$"):
        EDSR.from_state_dict({name: state[name] for name in state if name != "enlarge.1.weight"})
    with pytest.raises(ModelError, match=r"^weights do not fit: not finite: head.weight$"):
        EDSR.from_state_dict(state | {"head.weight": torch.full((4, 3, 3, 3), float("nan"))})


def test_edsr_errors() -> None:
    for wrong in ({"scale": 5}, {"scale": 2, "blocks": 0}, {"scale": 2, "width": 0}):
        with pytest.raises(ValueError, match="no EDSR of scale"):
            EDSR(**wrong)

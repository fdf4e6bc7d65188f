"""`vidscale.models.checkpoint`: files with the published names, and the networks as the paper describes them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vidscale.errors import ModelError
from vidscale.models.checkpoint import import_edsr, import_resampler, read_state_dict

State = dict[str, Tensor]
MEAN = torch.tensor([0.4488, 0.4371, 0.4040])
TRUNKS = ("kernels_trunk", "offsets_trunk")
HEADS = ("kernels_weight", "offsets_h_generation", "offsets_v_generation")


def conv(state: State, name: str, into: int, out: int, support: int) -> None:
    deviation = (into * support * support) ** -0.5
    state[f"module.{name}.weight"] = torch.randn(out, into, support, support) * deviation
    state[f"module.{name}.bias"] = torch.randn(out) * 0.1


def mean(state: State, name: str, sign: int) -> None:
    state[f"module.{name}.weight"] = torch.eye(3)[:, :, None, None]
    state[f"module.{name}.bias"] = sign * MEAN


def kgn(scale: int, stem: int = 6, body: int = 8, trunk: int = 10) -> State:
    """A downscaler's checkpoint; the published sizes are 64, 128, 256."""
    state: State = {}
    mean(state, "sub_mean", -1)
    conv(state, "ds_1.1", 3, stem, 5)
    conv(state, "ds_2.downsample.1", 4 * stem, body, 1)
    conv(state, "ds_4.downsample.1", 4 * body, body, 1)
    for block in range(5):
        conv(state, f"res_4.{block}.transform.1", body, body, 3)
        conv(state, f"res_4.{block}.transform.4", body, body, 3)
    conv(state, "ds_8.downsample.1", 4 * body, trunk, 1)
    for name in TRUNKS:
        for number in (1, 4, 7, 11):
            conv(state, f"{name}.{number}", trunk, trunk, 3)
        conv(state, f"{name}.9.upsample.0", trunk, trunk * (8 // scale) ** 2, 1)
    for name in HEADS:
        conv(state, f"{name}.1", trunk, trunk, 3)
        conv(state, f"{name}.4", trunk, (3 * scale + 1) ** 2, 3)
    return state


def usn(scale: int, blocks: int = 3, width: int = 6) -> State:
    """An upscaler's checkpoint; the published one has 32 blocks of 256 channels."""
    state: State = {}
    mean(state, "sub_mean", -1)
    mean(state, "add_mean", +1)
    conv(state, "head.0", 3, width, 3)
    for block in range(blocks):
        conv(state, f"body.{block}.body.0", width, width, 3)
        conv(state, f"body.{block}.body.2", width, width, 3)
    conv(state, f"body.{blocks}", width, width, 3)
    for stage in range({2: 1, 3: 1, 4: 2}[scale]):
        conv(state, f"tail.0.{2 * stage}", width, width * (9 if scale == 3 else 4), 3)
    conv(state, "tail.1", width, 3, 3)
    return state


def saved(state: State, path: Path) -> Path:
    torch.save(state, path)
    return path


def described_heads(state: State, image: Tensor, scale: int) -> list[Tensor]:
    """The downscaler, step by step as described in the paper."""

    def layer(x: Tensor, name: str) -> Tensor:
        weight, bias = state[f"module.{name}.weight"], state[f"module.{name}.bias"]
        around = weight.shape[-1] // 2
        return F.conv2d(F.pad(x, (around,) * 4, mode="reflect") if around else x, weight, bias)

    def space_to_depth(x: Tensor) -> Tensor:
        corners = [x[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]
        return torch.stack(corners, dim=2).flatten(1, 2)

    x = F.leaky_relu(layer(image - MEAN[:, None, None], "ds_1.1"), 0.2)
    x = layer(space_to_depth(x), "ds_2.downsample.1")
    x = skip = layer(space_to_depth(x), "ds_4.downsample.1")
    for block in range(5):
        between = F.leaky_relu(layer(x, f"res_4.{block}.transform.1"), 0.2)
        x = x + layer(between, f"res_4.{block}.transform.4")
    x = layer(space_to_depth(x + skip), "ds_8.downsample.1")
    trunks = {}
    for name in TRUNKS:
        y = x
        for number in (1, 4, 7):
            y = layer(y, f"{name}.{number}").relu()
        y = F.pixel_shuffle(layer(y, f"{name}.9.upsample.0"), 8 // scale)
        trunks[name] = layer(y, f"{name}.11").relu()
    return [layer(layer(trunks[TRUNKS[name != HEADS[0]]], f"{name}.1").relu(), f"{name}.4") for name in HEADS]


def described_edsr(state: State, image: Tensor, blocks: int, scale: int) -> Tensor:
    def layer(x: Tensor, name: str) -> Tensor:
        return F.conv2d(x, state[f"module.{name}.weight"], state[f"module.{name}.bias"], padding=1)

    head = x = layer(image - MEAN[:, None, None], "head.0")
    for block in range(blocks):
        x = x + 0.1 * layer(layer(x, f"body.{block}.body.0").relu(), f"body.{block}.body.2")
    x = head + layer(x, f"body.{blocks}")
    for stage, factor in enumerate({2: (2,), 3: (3,), 4: (2, 2)}[scale]):
        x = F.pixel_shuffle(layer(x, f"tail.0.{2 * stage}"), factor)
    return layer(x, "tail.1") + MEAN[:, None, None]


@pytest.mark.parametrize("scale", [2, 4])
def test_downscaler_agrees_with_the_description(scale: int, tmp_path: Path) -> None:
    torch.manual_seed(scale)
    state = kgn(scale)
    network = import_resampler(saved(state, tmp_path / "kgn.pth"), scale)
    image = torch.rand(2, 3, 32, 40)
    with torch.no_grad():
        heads = network(image)
    for head, expected in zip(heads, described_heads(state, image, scale), strict=True):
        torch.testing.assert_close(head, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_upscaler_agrees_with_the_description(scale: int, tmp_path: Path) -> None:
    torch.manual_seed(scale)
    state = usn(scale)
    network = import_edsr(saved(state, tmp_path / "usn.pth"), scale)
    image = torch.rand(2, 3, 9, 14)
    with torch.no_grad():
        torch.testing.assert_close(network(image), described_edsr(state, image, 3, scale), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("scale", "count"), [(2, 10_645_651), (4, 9_896_443)])
def test_published_downscaler_has_these_shapes(scale: int, count: int) -> None:
    """On the meta device: names and shapes without data."""
    from vidscale.models.checkpoint import _renamed, _resampler_modules
    from vidscale.models.networks.car import ResamplerNet

    with torch.device("meta"):
        state = {name.removeprefix("module."): tensor for name, tensor in kgn(scale, 64, 128, 256).items()}
    network = ResamplerNet.from_state_dict(*_renamed(state, _resampler_modules()))
    assert sum(weights.numel() for weights in network.parameters() if weights.requires_grad) == count


@pytest.mark.parametrize(("scale", "stages", "count"), [(2, 1, 40_729_603), (4, 2, 43_089_923)])
def test_published_upscaler_has_these_shapes(scale: int, stages: int, count: int) -> None:
    from vidscale.models.checkpoint import _edsr_modules, _renamed
    from vidscale.models.networks.edsr import EDSR

    with torch.device("meta"):
        state = {name.removeprefix("module."): tensor for name, tensor in usn(scale, 32, 256).items()}
        state["res_scale"] = torch.tensor(0.1)
    network = EDSR.from_state_dict(*_renamed(state, _edsr_modules(32, stages)))
    assert sum(weights.numel() for weights in network.parameters() if weights.requires_grad) == count


def test_names_without_the_prefix_are_read_too(tmp_path: Path) -> None:
    state = {name.removeprefix("module."): tensor for name, tensor in usn(2).items()}
    assert import_edsr(saved(state, tmp_path / "usn.pth"), 2).scale == 2


def without(state: State, *names: str) -> State:
    return {name: tensor for name, tensor in state.items() if name.removeprefix("module.") not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "ds_1.1.weight"), "weights do not fit: missing ds_1.1.weight"),
        (lambda s: without(s, "kernels_weight.4.weight"), "weights do not fit: missing kernels_weight.4.weight"),
        (
            lambda s: without(s, "res_4.2.transform.4.bias", "offsets_trunk.11.weight"),
            "weights do not fit: missing res_4.2.transform.4.bias, offsets_trunk.11.weight",
        ),
        (
            lambda s: {name: tensor for name, tensor in s.items() if "res_4.4." not in name},
            "weights do not fit: missing res_4.4.transform.1.weight, res_4.4.transform.1.bias, "
            "res_4.4.transform.4.weight and 1 more",
        ),
        (lambda s: s | {"module.more": torch.zeros(1)}, "weights do not fit: unexpected more"),
        (
            lambda s: s | {"module.kernels_trunk.9.upsample.0.bias": torch.zeros(7)},
            "weights do not fit: kernels_trunk.9.upsample.0.bias is [7], not [160]",
        ),
        (
            lambda s: s | {"module.offsets_v_generation.1.bias": torch.full((10,), torch.nan)},
            "weights do not fit: not finite: offsets_v_generation.1.bias",
        ),
        (lambda s: usn(2), "weights do not fit: missing kernels_weight.4.weight"),
        (lambda s: kgn(4), "weights for scale 4, not for 2"),
    ],
)
def test_import_resampler_errors(change: object, message: str, tmp_path: Path) -> None:
    path = saved(change(kgn(2)), tmp_path / "kgn.pth")  # type: ignore[operator]
    with pytest.raises(ModelError) as raised:
        import_resampler(path, 2)
    assert str(raised.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "head.0.weight"), "weights do not fit: missing head.0.weight"),
        (
            lambda s: without(s, *(f"body.2.body.{n}.{kind}" for n in (0, 2) for kind in ("weight", "bias"))),
            "weights do not fit: missing body.2.body.0.weight, body.2.body.0.bias, body.2.body.2.weight and 1 more",
        ),
        (lambda s: without(s, "tail.0.2.weight"), "weights do not fit: missing tail.0.2.weight"),
        (lambda s: usn(2), "weights for scale 2, not for 4"),
        (
            lambda s: s | {"module.sub_mean.bias": -255 * MEAN},
            "weights for pixel values in [0, 255], not in [0, 1]",
        ),
    ],
)
def test_import_edsr_errors(change: object, message: str, tmp_path: Path) -> None:
    path = saved(change(usn(4)), tmp_path / "usn.pth")  # type: ignore[operator]
    with pytest.raises(ModelError) as raised:
        import_edsr(path, 4)
    assert str(raised.value) == f"{path}: {message}"


class Unsafe:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("executed",)


def test_read_state_dict_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(ModelError, match=r"weights\.pth does not exist$"):
        read_state_dict(path)
    for content in (b"", b"not a checkpoint", b"PK\x03\x04 broken"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"cannot be read safely as weights$"):
            read_state_dict(path)
    torch.save({"weights": Unsafe()}, path)
    with pytest.raises(ModelError, match=r"cannot be read safely as weights$"):
        read_state_dict(path)
    assert "executed" not in capsys.readouterr().out
    for value, message in [
        ([torch.zeros(1)], "is not a state dict"),
        ({}, "is not a state dict"),
        ({"epoch": 3}, "is not a state dict: 'epoch' is not a tensor"),
    ]:
        torch.save(value, path)
        with pytest.raises(ModelError, match=f"{message}$"):
            read_state_dict(path)

"""Shared by the networks: the mean shift, and loading of checked weights."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from vidscale.errors import ModelError

# Mean of the DIV2K photographs, R, G, B in [0, 1], which the published networks subtract.
RGB_MEAN = (0.4488, 0.4371, 0.4040)

_NAMES_SHOWN = 3

Network = TypeVar("Network", bound=nn.Module)


class MeanShift(nn.Module):
    """Adds a constant to each channel of an RGB image: a frozen 1x1 convolution, as in the published weights.

    Always computed in float32: bfloat16 would be off by up to one 8-bit code.
    """

    def __init__(self, sign: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(3).reshape(3, 3, 1, 1), requires_grad=False)
        self.bias = nn.Parameter(sign * torch.tensor(RGB_MEAN), requires_grad=False)

    def forward(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):
            return nn.functional.conv2d(image.float(), self.weight.float(), self.bias.float())


def shape_of(name: str, state: Mapping[str, Tensor], shown: Mapping[str, str] | None = None) -> tuple[int, ...]:
    """Shape [out, in, height, width] of a convolution's weight.

    Raises:
        ModelError: the tensor is missing, or is not a convolution.
    """
    said = (shown or {}).get(name, name)
    if name not in state:
        raise ModelError(f"weights do not fit: missing {said}")
    shape = tuple(state[name].shape)
    if len(shape) != 4:
        raise ModelError(f"weights do not fit: {said} is {list(shape)}, not a convolution")
    return shape


def with_weights(network: Network, state: Mapping[str, Tensor], shown: Mapping[str, str] | None = None) -> Network:
    """Loads weights into a network, as float32.

    Args:
        network: built on the "meta" device, to skip initialisation.
        state: tensors by the network's own names; float32 tensors and counters are not copied.
        shown: names for messages, by the network's own name, if they differ.

    Raises:
        ModelError: tensors missing, unexpected, misshapen or not finite.
    """
    faults = _faults(network.state_dict(), state, shown or {})
    if faults:
        raise ModelError(f"weights do not fit: {'; '.join(faults)}")
    whole = {name for name, tensor in network.state_dict().items() if not tensor.is_floating_point()}  # counters
    network.load_state_dict(
        {name: tensor if name in whole else tensor.float() for name, tensor in state.items()}, assign=True
    )
    return network


def _faults(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], shown: Mapping[str, str]) -> list[str]:
    def said(name: str) -> str:
        return shown.get(name, name)

    common = [name for name in expected if name in state]
    wrong = [
        f"{said(name)} is {list(state[name].shape)}, not {list(expected[name].shape)}"
        for name in common
        if state[name].shape != expected[name].shape
    ]
    lists = (
        ("missing ", [said(name) for name in expected if name not in state]),
        ("unexpected ", [said(name) for name in state if name not in expected]),
        ("", wrong),
        ("not finite: ", [said(name) for name in common if not _is_finite(state[name], expected[name])]),
    )
    return [f"{title}{_some(names)}" for title, names in lists if names]


def _is_finite(tensor: Tensor, expected: Tensor) -> bool:
    if tensor.is_meta:  # a shape without values
        return True
    return tensor.is_floating_point() == expected.is_floating_point() and bool(tensor.isfinite().all())


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")

"""Validation with averaged weights."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def averaged(network: nn.Module, average: nn.Module) -> Iterator[None]:
    """Gives a network the weights of its average, until the end of the block."""
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(average.state_dict())
    try:
        yield
    finally:
        network.load_state_dict(own)

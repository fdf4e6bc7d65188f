"""Luma upscalers for the CPU: weights as a chain of convolutions for one coding strength. No torch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.errors import ModelError
from vidscale.media.encoders import STRONGEST
from vidscale.models.weight_files import Arrays, number_of
from vidscale.triton_kernels.chain import Chain, Convolution

SLOPE = 0.1  # negative slope of the compact upscaler's leaky ReLUs


def chain_of(network: str, weights: Arrays, strength: float) -> Chain:
    """Builds the chain of a network.

    Args:
        network: kind of network on the card; one of `CHAINS`.
        weights: by the network's own names.
        strength: crf.

    Raises:
        ModelError: weights missing, misshapen or not finite.
    """
    with fitting(weights):
        return CHAINS[network](weights, strength)


@contextmanager
def fitting(weights: Arrays) -> Iterator[None]:
    """Raises ModelError for weights that are not finite, or if the body fails because they do not fit."""
    broken = [name for name, array in weights.items() if not np.isfinite(array).all()]
    if broken:
        raise ModelError(f"weights do not fit: not finite: {', '.join(broken)}")
    try:
        yield
    except KeyError as error:
        raise ModelError(f"weights do not fit: missing {error.args[0]}") from error
    except (ValueError, TypeError) as error:  # numpy raises TypeError for a scalar
        raise ModelError(f"weights do not fit: {error}") from error


def compact_chain(weights: Arrays, strength: float) -> Chain:
    """Chain of a `CompactUpscaler`, with the gains and biases of the strength folded in."""
    convolutions = convolutions_of(weights, condition_of(weights, strength))
    linear = weights["linear.weight"].astype(np.float32)
    large, small = (isqrt(side) for side in linear.shape[:2])
    ranges = weights["ranges"].astype(np.float32)
    return Chain(small, large, convolutions, linear, SLOPE, list(ranges) if ranges.any() else None)


def condition_of(weights: Arrays, strength: float) -> npt.NDArray[Any]:
    """Conditioning features [2] of a `CompactUpscaler` for a strength."""
    low, high = weights["strengths"]
    s = float(np.clip(strength, low, high)) / STRONGEST
    return np.array([s, s * s])


def convolutions_of(weights: Arrays, condition: npt.NDArray[Any]) -> list[Convolution]:
    """The convolutions ``convs.N`` with the gains and biases ``by_strength.N`` folded in.

    Without BLAS, whose sums depend on the processor: an update is a difference from these numbers.
    """
    convolutions = []
    for n in range(number_of("convs", weights)):
        line = (weights[f"by_strength.{n}.weight"] * condition).sum(1) + weights[f"by_strength.{n}.bias"]
        gain, bias = np.split(line, 2)
        weight = weights[f"convs.{n}.weight"] * (1 + gain)[:, None, None, None]
        convolutions.append(_convolution(weight, weights[f"convs.{n}.bias"] * (1 + gain) + bias))
    return convolutions


def espcn_chain(weights: Arrays, strength: float) -> Chain:
    """Chain of a `vidscale.models.networks.espcn.ESPCN`, the same for every strength."""
    count = number_of("convs", weights)
    convolutions = [_convolution(weights[f"convs.{n}.weight"], weights[f"convs.{n}.bias"]) for n in range(count)]
    large = isqrt(convolutions[-1].bias.size)
    return Chain(1, large, convolutions, None, 0.0)


CHAINS: dict[str, Callable[[Arrays, float], Chain]] = {"compact": compact_chain, "espcn": espcn_chain}
"""Functions that build the chain, by the kind of network on the card."""


def _convolution(weight: npt.NDArray[Any], bias: npt.NDArray[Any]) -> Convolution:
    return Convolution(weight.astype(np.float32), bias.astype(np.float32))

"""Upscalers of luma as a CPU runs them: their weights as a chain of convolutions for one coding strength. No torch."""

from collections.abc import Callable, Mapping
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.encoders import STRONGEST
from vidscale.models.weight_files import part
from vidscale.triton_kernels.chain import Chain, Convolution

SLOPE = 0.1  # of the compact upscaler's rectifiers

Arrays = Mapping[str, npt.NDArray[Any]]


def compact_chain(weights: Arrays, strength: float) -> Chain:
    """`vidscale.models.compact.CompactUpscaler` of these weights; the strength's gains and biases are worked in."""
    low, high = weights["strengths"]
    s = float(np.clip(strength, low, high)) / STRONGEST
    convolutions = []
    for n in range(_count(weights)):
        conv, by_strength = part(weights, f"convs.{n}."), part(weights, f"by_strength.{n}.")
        gain, bias = np.split(by_strength["weight"] @ np.array([s, s * s]) + by_strength["bias"], 2)
        weight = conv["weight"] * (1 + gain)[:, None, None, None]
        convolutions.append(_convolution(weight, conv["bias"] * (1 + gain) + bias))
    linear = weights["linear.weight"].astype(np.float32)
    large, small = (isqrt(side) for side in linear.shape[:2])
    ranges = weights["ranges"].astype(np.float32)
    return Chain(small, large, convolutions, linear, SLOPE, list(ranges) if ranges.any() else None)


def espcn_chain(weights: Arrays, strength: float) -> Chain:
    """`vidscale.models.espcn.ESPCN` of these weights, the same for every strength."""
    convolutions = [_convolution(**part(weights, f"convs.{n}.")) for n in range(_count(weights))]
    large = isqrt(convolutions[-1].bias.size)
    return Chain(1, large, convolutions, None, 0.0)


CHAINS: dict[str, Callable[[Arrays, float], Chain]] = {"compact": compact_chain, "espcn": espcn_chain}
"""How the weights of each kind of network become a chain, by the name that cards give it."""


def _count(weights: Arrays) -> int:
    return sum(name.startswith("convs.") and name.endswith(".weight") for name in weights)


def _convolution(weight: npt.NDArray[Any], bias: npt.NDArray[Any]) -> Convolution:
    return Convolution(weight.astype(np.float32), bias.astype(np.float32))

"""The description that all writers share: a luma network with the coding strength as a variable."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, isqrt, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.errors import ModelError
from vidscale.media.encoders import STRONGEST
from vidscale.models.cards import PairCard
from vidscale.models.chains import CHAINS, SLOPE, fitting
from vidscale.models.weight_files import Arrays, number_of, part, read_weights
from vidscale.triton_kernels.chain import Chain, Convolution

Values = npt.NDArray[np.float64]

GROUP = 4  # channels of a texel
DEFAULT_STRENGTH = 28.0  # crf


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution y = gain(s) * (weight * x) + offset(s), s = crf / 51, without padding.

    Attributes:
        weight: [out, in, k, k] float64, k odd.
        gain, offset: [3, out] float64, coefficients of 1, s and s².
    """

    weight: Values
    gain: Values
    offset: Values

    @property
    def radius(self) -> int:
        """Cells around a cell that its output depends on."""
        return int(self.weight.shape[2]) // 2

    @property
    def varies(self) -> bool:
        """Whether it depends on the coding strength."""
        return bool(self.gain[1:].any() or self.offset[1:].any())

    def at(self, s: float) -> "Layer":
        """The same layer for one strength: gain 1, a constant offset."""
        powers = np.array([1.0, s, s * s])
        offset = np.zeros_like(self.offset)
        offset[0] = powers @ self.offset
        gain = np.zeros_like(self.gain)
        gain[0] = 1
        return Layer(self.weight * (powers @ self.gain)[:, None, None, None], gain, offset)


@dataclass(frozen=True, eq=False)
class Network:
    """A luma network as in `Chain`, for any coding strength.

    Attributes:
        name: of the pair.
        small, large: side of a cell in LR and in HR samples.
        layers: in order; leaky ReLUs with `slope` are between them.
        linear: [large², small², k, k] float64, added to the last layer; None if there is none.
        slope: of the leaky ReLUs below 0.
        strengths: lowest and highest crf; others are clamped.
    """

    name: str
    small: int
    large: int
    layers: Sequence[Layer]
    linear: Values | None
    slope: float
    strengths: tuple[float, float]

    @property
    def scale(self) -> Fraction:
        """HR over LR."""
        return Fraction(self.large, self.small)

    @property
    def varies(self) -> bool:
        """Whether it depends on the coding strength."""
        return any(layer.varies for layer in self.layers)

    def margin(self, index: int) -> int:
        """Cells beyond the picture that the layers after `index` need of its output; -1 is the luma."""
        return sum(layer.radius for layer in self.layers[index + 1 :])

    def at(self, strength: float) -> "Network":
        """The same network with the strength (crf) folded into the weights."""
        s = float(np.clip(strength, *self.strengths)) / STRONGEST
        layers = [layer.at(s) for layer in self.layers]
        return Network(self.name, self.small, self.large, layers, self.linear, self.slope, self.strengths)

    def with_weights(self, chain: Chain) -> "Network":
        """The network with the numbers of a chain of the same shape, which are for one strength: a segment's own."""
        layers = [_constant(weight, bias) for weight, bias in chain.convolutions]
        linear = None if chain.linear is None else _exact(chain.linear)
        return replace(self, layers=layers, linear=linear)

    def chain(self, strength: float) -> Chain:
        """What the CPU runs."""
        folded = [
            Convolution(layer.weight.astype(np.float32), layer.offset[0].astype(np.float32))
            for layer in self.at(strength).layers
        ]
        linear = None if self.linear is None else self.linear.astype(np.float32)
        return Chain(self.small, self.large, folded, linear, self.slope)


@dataclass(frozen=True)
class Atlas:
    """Where a texture holds the channels of a cell: `across` x `down` texels of four channels each."""

    across: int
    down: int

    @classmethod
    def of(cls, channels: int) -> "Atlas":
        """As square as its number of texels allows: a side of a texture is limited to 16384 texels."""
        groups = groups_of(channels)
        across = next(n for n in range(ceil(sqrt(groups)), groups + 1) if groups % n == 0)
        return cls(across, groups // across)


def groups_of(channels: int) -> int:
    """Number of texels that hold a number of channels."""
    return -(-channels // GROUP)


def network_of(folder: Path | None, name: str = "") -> Network:
    """Reads the upscaler of a pair. Every writer starts here.

    Args:
        folder: of the pair; None for a pair without weights.
        name: of a pair without weights, for the message.

    Raises:
        ModelError: no pair in the folder, damaged weights, or an upscaler that is no chain of convolutions on luma.
    """
    if folder is None:
        raise ModelError(f"{name} consists of fixed filters: there is no network to export")
    card, arrays = read_weights(folder)
    _check_exportable(card)
    weights = part(arrays, "upscaler.")
    kind = str(card.upscaler["network"])
    with fitting(weights):
        network = _compact(card.name, weights) if kind == "compact" else _espcn(card.name, weights)
    if network.scale != card.scale:
        raise ModelError(f"{folder}: the network has scale {network.scale}, the card {card.scale}")
    return network


def _check_exportable(card: PairCard) -> None:
    kind = card.upscaler.get("network")
    if kind not in CHAINS:
        raise ModelError(f"the upscaler of {card.name} ({kind}) cannot be exported: only {', '.join(CHAINS)} can")


def _compact(name: str, weights: Arrays) -> Network:
    large, small = (isqrt(side) for side in weights["linear.weight"].shape[:2])
    layers = []
    for n in range(number_of("convs", weights)):
        change, start = _exact(weights[f"by_strength.{n}.weight"]), _exact(weights[f"by_strength.{n}.bias"])
        gain, bias = np.split(np.stack([start, *change.T]), 2, axis=1)  # [3, out] each
        gain[0] += 1
        offset = gain * _exact(weights[f"convs.{n}.bias"]) + bias
        layers.append(Layer(_exact(weights[f"convs.{n}.weight"]), gain, offset))
    low, high = (float(value) for value in weights["strengths"])
    return Network(name, small, large, layers, _exact(weights["linear.weight"]), SLOPE, (low, high))


def _espcn(name: str, weights: Arrays) -> Network:
    layers = [
        _constant(weights[f"convs.{n}.weight"], weights[f"convs.{n}.bias"]) for n in range(number_of("convs", weights))
    ]
    large = isqrt(layers[-1].weight.shape[0])
    return Network(name, 1, large, layers, None, 0.0, (0.0, float(STRONGEST)))


def _constant(weight: npt.NDArray[Any], bias: npt.NDArray[Any]) -> Layer:
    """A layer that does not depend on the strength."""
    gain, offset = np.zeros((3, bias.size)), np.zeros((3, bias.size))
    gain[0], offset[0] = 1, bias
    return Layer(_exact(weight), gain, offset)


def _exact(array: npt.NDArray[Any]) -> Values:
    return array.astype(np.float64)

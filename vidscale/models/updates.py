"""Updates: how a luma network that was adapted to a shot differs from that of its pair. Data, never code. No torch.

An update is for one pair and one coding strength. It is predicted from the pair's own network: the numbers that are
stored are differences, quantised with a step for each layer. ``docs/identity.md`` has the bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vidscale.errors import ModelError
from vidscale.media.bitstream import LARGEST_UPDATE
from vidscale.models.update_codes import Group, from_bytes, quantised, to_bytes
from vidscale.triton_kernels.chain import Chain, Convolution, Precision

Kind = Literal["light", "full"]

_HEADER = 5  # bytes: flags, and the beginning of the pair's hash
_KINDS: dict[int, Kind] = {1: "light", 2: "full"}
_KIND_BITS, _INT8 = 0b11, 0b100
_HASH_DIGITS = 8
# Steps by default, as parts of the root mean square of a group's differences. The linear part and the biases are
# sensitive.
_COARSE, _FINE = 0.8, 0.08
_RANGE_STEP = 1 / 16  # of a channel's range


@dataclass(frozen=True, eq=False)
class Update:
    """An update.

    Attributes:
        kind: "light" has a gain for each channel and the biases, "full" all weights.
        precision: of the network that the encoder restored with, and a decoder restores with if its processor can.
        pair: first 8 hex digits of the content hash of the pair's weights.
        groups: see `_sizes`.
    """

    kind: Kind
    precision: Precision
    pair: str
    groups: Sequence[Group]

    def to_bytes(self) -> bytes:
        """As stored in a stream."""
        code = next(code for code, kind in _KINDS.items() if kind == self.kind)
        flags = code | (_INT8 if self.precision == "int8" else 0)
        return bytes([flags]) + bytes.fromhex(self.pair) + to_bytes(self.groups)

    @classmethod
    def from_bytes(cls, data: bytes, chain: Chain, sha256: str) -> "Update":
        """Parses the output of `to_bytes`.

        Args:
            data: the bytes.
            chain: the pair's own network, any strength.
            sha256: content hash of the pair's weights.

        Raises:
            ModelError: not an update, or not of this pair.
        """
        if not _HEADER <= len(data) <= LARGEST_UPDATE:
            raise ModelError(f"an update of {len(data)} bytes")
        flags, pair = data[0], data[1:_HEADER].hex()
        kind = _KINDS.get(flags & _KIND_BITS)
        if kind is None or flags & ~(_KIND_BITS | _INT8):
            raise ModelError(f"an update of an unknown kind: {flags:#04x}")
        if pair != sha256[:_HASH_DIGITS]:
            raise ModelError(f"an update of another pair: {pair}, not {sha256[:_HASH_DIGITS]}")
        precision: Precision = "int8" if flags & _INT8 else "float32"
        if precision == "int8" and chain.ranges is None:
            raise ModelError("an update with ranges for a network without them")
        return cls(kind, precision, pair, from_bytes(data[_HEADER:], _sizes(chain, kind, precision)))


def _sizes(chain: Chain, kind: Kind, precision: Precision) -> list[int]:
    """Numbers in each group: the linear part, the weights of each convolution (light: all gains together), the biases
    of all convolutions, and with int8 the ranges of all channels but the last layer's."""
    biases = sum(layer.bias.size for layer in chain.convolutions)
    linear = [] if chain.linear is None else [chain.linear.size]
    sizes = [biases] if kind == "light" else [*linear, *(layer.weight.size for layer in chain.convolutions)]
    sizes.append(biases)
    if precision == "int8" and chain.ranges is not None:
        sizes.append(sum(known.size for known in chain.ranges))
    return sizes


def update_of(
    chain: Chain, adapted: Chain, kind: Kind, precision: Precision, sha256: str, steps: Sequence[float] = ()
) -> Update:
    """The update that turns one network into another, as nearly as its quantisation allows.

    Args:
        chain: the pair's own network.
        adapted: the same with other weights; "light" takes the gain of each channel from them.
        kind: "light" or "full".
        precision: that it is to run with.
        sha256: content hash of the pair's weights.
        steps: of the groups of "full" but for the ranges, see `_sizes`; by default, parts of the spread of each group's
            differences.
    """
    layers = list(zip(chain.convolutions, adapted.convolutions, strict=True))
    if kind == "light":
        moved, parts = [np.concatenate([_gains(*layer) for layer in layers])], [_FINE]
    else:
        both = chain.linear, adapted.linear
        moved = [] if both[0] is None or both[1] is None else [both[1] - both[0]]
        parts = [_FINE] * len(moved) + [_COARSE] * len(layers)
        moved += [theirs.weight - ours.weight for ours, theirs in layers]
    moved.append(np.concatenate([theirs.bias - ours.bias for ours, theirs in layers]))
    parts.append(_FINE)
    chosen = steps or [part * _spread_of(values) for values, part in zip(moved, parts, strict=True)]
    groups = [quantised(values, step) for values, step in zip(moved, chosen, strict=True)]
    if precision == "int8" and chain.ranges is not None and adapted.ranges is not None:
        spread = np.concatenate([_spread(known) for known in chain.ranges])
        groups.append(quantised((_flat(adapted.ranges) - _flat(chain.ranges)) / spread, _RANGE_STEP))
    return Update(kind, precision, sha256[:_HASH_DIGITS], groups)


def updated(chain: Chain, update: Update) -> Chain:
    """The network with an update; `chain` is the pair's own."""
    *weights, biases = [group.values for group in update.groups[: len(_sizes(chain, update.kind, "float32"))]]
    ends = np.cumsum([layer.bias.size for layer in chain.convolutions])[:-1]
    linear = chain.linear
    if update.kind == "light":
        gains = np.split(1 + weights[0], ends)
        kernels = [w * g[:, None, None, None] for (w, _), g in zip(chain.convolutions, gains, strict=True)]
    else:
        if linear is not None:
            linear = (linear + weights[0].reshape(linear.shape)).astype(np.float32)
            weights = weights[1:]
        kernels = [w + more.reshape(w.shape) for (w, _), more in zip(chain.convolutions, weights, strict=True)]
    added = np.split(biases, ends)
    convolutions = [
        Convolution(kernel.astype(np.float32), (bias + more).astype(np.float32))
        for kernel, (_, bias), more in zip(kernels, chain.convolutions, added, strict=True)
    ]
    ranges = chain.ranges
    if update.precision == "int8" and ranges is not None:
        moved = np.split(update.groups[-1].values, np.cumsum([known.size for known in ranges])[:-1])
        ranges = [
            (known + (more * _spread(known)).reshape(known.shape)).astype(np.float32)
            for known, more in zip(ranges, moved, strict=True)
        ]
    return replace(chain, convolutions=convolutions, linear=linear, ranges=ranges)


def _spread_of(values: npt.NDArray[Any]) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def _gains(ours: Convolution, theirs: Convolution) -> npt.NDArray[Any]:
    """What the channels' weights are to be multiplied by, less 1."""
    product = (ours.weight.astype(np.float64) * theirs.weight).sum((1, 2, 3))
    square = np.square(ours.weight, dtype=np.float64).sum((1, 2, 3))
    return np.where(square > 0, product / np.where(square > 0, square, 1), 1) - 1


def _spread(known: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[2 * channels] the width of each channel's range, for its minimum and for its maximum."""
    return np.tile(np.maximum(known[1].astype(np.float64) - known[0], 1e-6), 2)


def _flat(ranges: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate([known.reshape(-1) for known in ranges]).astype(np.float64)

"""Small networks for luma on the CPU: a chain of convolutions over cells plus a linear convolution, codes in and out.

Nothing heavy is imported here; numba is imported for the first picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from vidscale.triton_kernels import chain_winograd
from vidscale.triton_kernels.chain_layout import LANES, NARROW, Cells, Floats, Layers, Linear

Codes = npt.NDArray[Any]
Precision = Literal["float32", "int8"]

_BYTE, _WEIGHT = 255, 127  # highest input, highest weight
_LINEAR_DEPTH, _LINEAR_WEIGHT = 12, 1 << 14  # of an integer linear part: highest bit depth, highest weight
_HIGHEST_SUM = 2.1e9  # of int32, with room for the rounding of the weights
_RANGE_MARGIN = 0.1  # fraction of a channel's range, for pictures that exceed the measured one
_TINY = 1e-12
_TAKEN: dict[type, int] = {np.float32: 1, np.int8: 4, np.int16: 2}  # samples per step, by dtype of the weights
_AS_IT_IS = (1.0, -np.inf, np.inf)  # slope and bounds without an activation


class Convolution(NamedTuple):
    """One layer, without padding.

    Attributes:
        weight: [out, in, k, k] float32, k odd.
        bias: [out] float32.
    """

    weight: Floats
    bias: Floats


@dataclass(frozen=True, eq=False)
class Chain:
    """A network for luma, as code / peak.

    Each LR block of `small` x `small` samples is a cell, its samples are the channels. Convolutions with leaky ReLUs
    between them turn each cell into `large` x `large` HR samples; a linear convolution of the same cells is added.
    Channels are numbered ``side * row + column``.

    Attributes:
        small, large: side of a cell in LR and in HR samples.
        convolutions: in order.
        linear: [large^2, small^2, k, k] float32, k odd and no larger than the receptive field of the convolutions;
            None for no linear part.
        slope: negative slope of the leaky ReLUs, 0 to 1.
        ranges: for each convolution but the last, [2, out] float32: minimum and maximum of each channel after the
            activation, measured on ordinary pictures. None if unknown; int8 is then unavailable.

    Raises:
        ValueError: shapes that do not fit each other.
    """

    small: int
    large: int
    convolutions: Sequence[Convolution]
    linear: Floats | None
    slope: float
    ranges: Sequence[Floats] | None = None

    def __post_init__(self) -> None:
        taken, made = self.small**2, self.large**2
        for n, (weight, bias) in enumerate(self.convolutions):
            if bias.ndim != 1:
                raise ValueError(f"the bias of convolution {n} is {list(bias.shape)}, not [out]")
            _check(f"convolution {n}", weight, taken, bias.size)
            taken = bias.size
        if taken != made:
            raise ValueError(f"{taken} channels at the end, {made} wanted")
        if self.linear is not None:
            _check("the linear part", self.linear, self.small**2, made)
            if self.linear.shape[2] // 2 > sum(weight.shape[2] // 2 for weight, _ in self.convolutions):
                raise ValueError(f"the linear part reaches beyond the convolutions: {self.linear.shape[2]}")
        if self.ranges is not None:
            wanted = [(2, len(bias)) for _, bias in self.convolutions[:-1]]
            if [np.shape(known) for known in self.ranges] != wanted:
                raise ValueError(f"ranges of {[np.shape(known) for known in self.ranges]}, {wanted} wanted")

    @property
    def scale(self) -> Fraction:
        """HR over LR."""
        return Fraction(self.large, self.small)

    @property
    def multiplications(self) -> float:
        """Per HR sample."""
        parts = [weight for weight, _ in self.convolutions] + ([] if self.linear is None else [self.linear])
        return sum(weight.size for weight in parts) / self.large**2

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those available on this processor: "int8" needs integer dot products (AVX-512 VNNI, AVX-VNNI, AVX2)."""
        from vidscale.triton_kernels._vectors import DOT_PRODUCTS

        return ("float32", "int8") if DOT_PRODUCTS and self.ranges is not None else ("float32",)


def _check(name: str, weight: Floats, taken: int, made: int) -> None:
    if weight.ndim != 4 or weight.shape[:2] != (made, taken) or weight.shape[2] != weight.shape[3]:
        raise ValueError(f"{name} is {list(weight.shape)}, not [{made}, {taken}, k, k]")
    if weight.shape[2] % 2 == 0:
        raise ValueError(f"{name} has a support of {weight.shape[2]}, which is even")


class ChainRunner:
    """A chain for pictures of one bit depth. One picture runs on one core; calls may run in parallel.

    Args:
        chain: the network.
        bit_depth: of the codes, 8 to 16.
        precision: one of `Chain.precisions`. "int8": bytes between the layers (the first layer sees the top eight bits
            of the codes), 32-bit sums, and up to 12 bits a linear part with 16-bit weights.

    Raises:
        ValueError: a precision that is not available here.
    """

    def __init__(self, chain: Chain, bit_depth: int, precision: Precision) -> None:
        if precision not in chain.precisions:
            raise ValueError(f"{precision = } is not available here, only {chain.precisions}")
        peak = (1 << bit_depth) - 1
        shift = bit_depth - 8 if precision == "int8" else 0
        unit = (1 << shift) / peak  # luma per step of the chain's input
        self._enlarge, pack = _implementation(chain, precision)
        self._layers = pack(chain, unit, peak)
        exact = precision == "float32" or bit_depth > _LINEAR_DEPTH
        self._linear = _linear(chain, np.float32 if exact else np.int16, peak)
        most = _BYTE if precision == "int8" else peak
        self._cells = Cells(chain.small, chain.large, shift, most)

    def __call__(self, plane: Codes, height: int, width: int) -> Codes:
        """Upscale a plane [h, w], uint8 or uint16, to [height, width] of the same dtype."""
        out = np.empty((height, width), plane.dtype)
        self._enlarge(np.ascontiguousarray(plane), out, self._layers, self._linear, self._cells)
        return out


def _implementation(
    chain: Chain, precision: Precision
) -> tuple[Callable[..., None], Callable[[Chain, float, int], Layers]]:
    """What runs a chain on this processor, and what packs the chain for it."""
    from vidscale.triton_kernels._vectors import BYTE_PRODUCTS
    from vidscale.triton_kernels.chain_cpu import enlarge
    from vidscale.triton_kernels.chain_winograd_cpu import enlarge_by_two_rows

    if precision == "float32":
        return enlarge, _as_floats
    supports = {weight.shape[2] for weight, _ in chain.convolutions}
    if BYTE_PRODUCTS or supports != {chain_winograd.SUPPORT}:
        return enlarge, _as_bytes
    return enlarge_by_two_rows, _as_two_rows


def _as_floats(chain: Chain, unit: float, peak: int) -> Layers:
    weights = [layer.weight.transpose(2, 3, 1, 0) for layer in chain.convolutions]
    after = [np.stack([np.ones_like(bias), bias, np.zeros_like(bias)]) for _, bias in chain.convolutions]
    after[0][0] *= unit
    after[-1][:2] *= peak
    return _packed(weights, np.float32, after, (chain.slope, -np.inf, np.inf), peak)


def _as_bytes(chain: Chain, unit: float, peak: int) -> Layers:
    return _packed(*_quantised_layers(chain, unit, peak))


def _as_two_rows(chain: Chain, unit: float, peak: int) -> Layers:
    """`_as_bytes`, for two rows at once."""
    weights, kind, after, bounds, peak = _quantised_layers(chain, unit, peak)
    doubled = [chain_winograd.transformed(weight) for weight in weights]
    halved = [np.stack([gain / 2, bias, zero]) for gain, bias, zero in after]
    return _packed(doubled, kind, halved, bounds, peak, NARROW)


def _quantised_layers(chain: Chain, unit: float, peak: int) -> tuple[Any, type, Any, tuple[float, float, float], int]:
    """Arguments of `_packed`: int8 weights with a scale per channel, uint8 inputs with each channel's range as 0..255.

    Affine, per channel; Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018. The scale of an input is folded into the weights that multiply it.
    """
    assert chain.ranges is not None
    *inner, last = chain.convolutions
    step, least = np.full(chain.small**2, unit), np.zeros(chain.small**2)  # input = step * byte + least
    weights, after = [], []
    for (weight, bias), (low, high) in zip(inner, chain.ranges, strict=True):
        whole, gain, offset = _whole(weight, bias, step, least)
        margin = _RANGE_MARGIN * (high - low)
        step, least = np.maximum(high - low + 2 * margin, _TINY) / _BYTE, low - margin
        weights.append(whole)
        after.append(np.stack([gain / step, offset / step, 0.5 - least / step]))  # 0.5: rounds half up
    whole, gain, offset = _whole(*last, step, least)
    after.append(np.stack([gain * peak, offset * peak, np.zeros_like(offset)]))
    return [*weights, whole], np.int8, after, (chain.slope, 0, _BYTE + 0.5), peak


def _whole(weight: Floats, bias: Floats, step: Any, least: Any) -> tuple[Any, Any, Any]:
    """Quantised weights [k, k, in, out], and the gain and bias [out] that turn their sums back into real values."""
    scaled = weight * step[:, None, None]
    gain = np.maximum(np.abs(scaled).max((1, 2, 3)), _TINY) / _WEIGHT
    whole = np.round(scaled / gain[:, None, None, None])
    offset = bias + (whole * (least / step)[:, None, None]).sum((1, 2, 3)) * gain
    return whole.transpose(2, 3, 1, 0), gain, offset


def _packed(
    weights: Sequence[npt.NDArray[Any]],
    kind: type,
    after: Sequence[npt.NDArray[Any]],
    bounds: tuple[float, float, float],
    peak: int,
    lanes: int = LANES,
) -> Layers:
    """Pack layers, the last of which outputs codes.

    Args:
        weights: of each layer, [k, k, in, out]; or transformed, see `chain_winograd.py`.
        kind: dtype of the weights, float32 or int8; int8 are stored as int16 where only those have dot products.
        after: of each layer, [3, out]; the last row of the last layer is ignored.
        bounds: of all layers but the last.
        peak: highest code.
        lanes: sums computed in parallel.
    """
    from vidscale.triton_kernels._vectors import BYTE_PRODUCTS

    if kind is np.int8 and not BYTE_PRODUCTS:
        kind = np.int16
    channels = [weights[0].shape[2], *(_channels_kept(weight.shape[3]) for weight in weights)]
    flat: list[npt.NDArray[Any]] = [
        _blocks(_padded(weight, taken, made), _TAKEN[kind], lanes).astype(kind)
        for weight, taken, made in zip(weights, channels, channels[1:], strict=False)
    ]
    padded = np.zeros((len(weights), 3, max(LANES, *channels)), np.float32)
    for row, values in zip(padded, after, strict=True):
        repeated = np.tile(values, _neighbours(values.shape[1], lanes))
        row[:, : repeated.shape[1]] = repeated
    padded[-1, 2] = 0.5  # rounds half up
    return Layers(
        support=np.array([weight.shape[1] for weight in weights], np.int64),
        channels=np.array(channels, np.int64),
        neighbours=np.array([_neighbours(made, lanes) for made in channels[1:]], np.int64),
        steps=np.array([block.shape[2] for block in flat], np.int64),
        weights=np.concatenate([block.reshape(-1) for block in flat]),
        begin=np.cumsum([0, *(block.size for block in flat[:-1])], dtype=np.int64),
        block=np.array([block[0].size for block in flat], np.int64),
        after=padded,
        bounds=np.array([bounds] * (len(weights) - 1) + [(1, 0, peak + 0.5)], np.float32),
    )


def _neighbours(channels: int, lanes: int = LANES) -> int:
    """How many neighbouring cells are computed at once, so that few channels fill all lanes."""
    return lanes // channels if lanes % channels == 0 else 1


def _channels_kept(channels: int) -> int:
    """Number of channels as stored: a divisor of `LANES`, or padded to a multiple of it."""
    return channels if LANES % channels == 0 else -(-channels // LANES) * LANES


def _padded(weight: npt.NDArray[Any], taken: int, made: int) -> npt.NDArray[Any]:
    """[k, k, in, out] zero-padded to this many input and output channels."""
    return np.pad(weight, [(0, 0), (0, 0), (0, taken - weight.shape[2]), (0, made - weight.shape[3])])


def _blocks(weight: npt.NDArray[Any], taken: int, lanes: int = LANES) -> npt.NDArray[Any]:
    """[rows, k, in, out] to [blocks, rows, steps, lanes, taken], the last step zero-padded.

    If the lanes hold several neighbouring cells, the weights are repeated for each, shifted by one cell.
    """
    rows, support, channels, made = weight.shape
    beyond = _neighbours(made, lanes) - 1
    apart = [np.pad(weight, [(0, 0), (shift, beyond - shift), (0, 0), (0, 0)]) for shift in range(beyond + 1)]
    wide = np.concatenate(apart, axis=-1).reshape(rows, (support + beyond) * channels, -1)
    steps = -(-wide.shape[1] // taken)
    padded = np.pad(wide, [(0, 0), (0, steps * taken - wide.shape[1]), (0, 0)])
    return padded.reshape(rows, steps, taken, -1, lanes).transpose(3, 0, 1, 4, 2)


def _linear(chain: Chain, kind: type, peak: int) -> Linear:
    """Pack the linear part. Args: kind: dtype of the weights, float32 or int16."""
    made = _channels_kept(chain.large**2)
    many = _neighbours(made)
    after = np.zeros((3, made * many), np.float32)
    bounds = np.array(_AS_IT_IS, np.float32)
    if chain.linear is None:
        return Linear(0, made, many, 0, np.zeros(0, np.float32), after, bounds)
    weight = chain.linear.transpose(2, 3, 1, 0)
    sizes = np.abs(weight)
    least = max(sizes.max() / _LINEAR_WEIGHT, sizes.sum((0, 1, 2)).max() * peak / _HIGHEST_SUM, _TINY)
    unit = 1.0 if kind is np.float32 else float(least)
    after[0] = unit
    flat = _blocks(_padded(weight / unit, weight.shape[2], made), _TAKEN[kind])
    whole = flat if kind is np.float32 else np.round(flat)
    return Linear(chain.linear.shape[2], made, many, flat.shape[2], whole.reshape(-1).astype(kind), after, bounds)

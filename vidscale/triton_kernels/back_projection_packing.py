"""Packs a learned back-projection for `back_projection_cpu.py`: three networks, and what becomes of their results."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vidscale.triton_kernels import back_projection_layout as layout
from vidscale.triton_kernels._lanes import GATED, LANES, LEAKY, NONE, SIGNED, VECTORS
from vidscale.triton_kernels.back_projection_layout import OTHERS, Codes, Mixing, Planes
from vidscale.triton_kernels.back_projection_network import BackProjection, Precision
from vidscale.triton_kernels.lanes_layout import ALIGNED, Network, Stores
from vidscale.triton_kernels.lanes_packing import MOST, Input, Layer, Reals, Signal, filled, packed, side_places

_BITS = 15  # of samples in int16, without the sign
_ROOM = 2.0  # highest activation in int16, relative to the highest that was observed
_EXTREME = 4.0  # highest sum, in standard deviations of a sum of independent values that are all as high as they get
_HIGHEST = 1.0, 0.25, 0.125, 0.1  # e, d, g, and how l differs between neighbouring cells, in luma
_PROJECTED = 1 / 64 / 255  # step of g in int16, in luma
_LEAST_SLOPE = 0.05
_TINY = 1e-12


class Packed(NamedTuple):
    """All that depends on the weights, the bit depth and the precision.

    Attributes:
        forward, backward, correction: the networks.
        codes, mixing: see `back_projection_layout.py`.
        error_step, projected_step: of the samples of e and g, in codes.
        groups, slots: of each store, groups of channels, and rows that are kept; 0 for all rows.
        beyond: cells around the picture.
        taken: 2 for int16, 1 for float32.
        sign_groups, sign_layers: of the signs.
    """

    forward: Network
    backward: Network
    correction: Network
    codes: Codes
    mixing: Mixing
    error_step: float
    projected_step: float
    groups: list[int]
    slots: list[int]
    beyond: int
    taken: int
    sign_groups: int
    sign_layers: int


def packed_projection(projection: BackProjection, bit_depth: int, precision: Precision) -> Packed:
    """Pack a network for pictures of one bit depth."""
    packer = _Packer(projection, bit_depth, 2 if precision == "int16" else 1)
    guide, peak = projection.guide, packer.codes.peak
    inner = guide.convolutions[:-1]
    return Packed(
        forward=packed(packer.forward(), guide.slope, packer.taken),
        backward=packed(packer.backward(), guide.slope, packer.taken),
        correction=packed(packer.correction(), projection.slope, packer.taken),
        codes=packer.codes,
        mixing=packer.mixing(),
        error_step=packer.step * peak,
        projected_step=packer.projected_step * peak,
        groups=packer.groups,
        slots=packer.slots,
        beyond=packer.beyond,
        taken=packer.taken,
        sign_groups=max(len(filled(range(len(bias)))) for _, bias in inner) // packer.taken,
        sign_layers=len(inner),
    )


class _Packer:
    """Builds the layers of the networks and numbers their stores.

    Args:
        projection, bit_depth: as for `BackProjectionRunner`.
        taken: 2 for int16, 1 for float32.
    """

    def __init__(self, projection: BackProjection, bit_depth: int, taken: int) -> None:
        self._projection, self._guide, self.taken = projection, projection.guide, taken
        whole = taken == 2
        down, up = (max(bit_depth - _BITS, 0), max(_BITS - bit_depth, 0)) if whole else (0, 0)
        peak = (1 << bit_depth) - 1
        small, large = self._guide.small, self._guide.large
        self.codes = Codes(small, large, peak, np.int32(down), np.int32(up))
        self._code = (1 << down) / peak  # luma
        self.step = self._code / (1 << up)  # of e, d and l
        self.projected_step = _PROJECTED if whole else self.step
        self.beyond = max(_reach(self._guide.convolutions), _reach(projection.convolutions))
        self.groups, self.slots = [1] * OTHERS, [1] * OTHERS
        support = projection.convolutions[0].weight.shape[2]
        self._luma = self._samples(layout.LUMA, small, 2 * self.beyond + 1)._replace(low=0)
        self._errors = self._samples(layout.ERRORS, large, 0)
        self._features = [
            self._samples(layout.OF_ERRORS, large, support),
            self._samples(layout.OF_DETAIL, small, support),
            self._samples(layout.OF_PROJECTED, small, support)._replace(step=np.full(small**2, self.projected_step)),
            self._samples(layout.OF_LUMA, small, support),
        ]

    def _samples(self, store: int, side: int, slots: int) -> Signal:
        """The signal of a store of samples that are not results of a network."""
        places = side_places(side, self.taken)
        self.groups[store], self.slots[store] = len(places) // self.taken, slots
        return Signal(store, places, np.full(side**2, self.step))

    def _result(self, store: int, step: Reals, places: list[int]) -> Signal:
        """The signal of a network's result."""
        self.groups[store] = -(-len(places) // self.taken)
        return Signal(store, places, step)

    def _of_side(self, side: int) -> list[int]:
        return [0] if side == 1 else filled(side_places(side, self.taken))

    def _chain(
        self, first: list[Input], convolutions: Sequence[tuple[Reals, Reals]], steps: list[Reals], last: Signal,
        beside: list[Input], activation: int, signs: Sequence[int], low: float,
    ) -> list[Layer]:  # fmt: skip
        """Layers of a chain of convolutions.

        Args:
            first: inputs of the first layer.
            convolutions: weight and bias in order; the first weight is that of `first`.
            steps: of the results of all but the last.
            last: result of the last layer.
            beside: more inputs of the last layer.
            activation, signs: of all but the last.
            low: least sample after the activation.
        """
        layers, inputs = [], first
        for n, step in enumerate(steps):
            following = convolutions[n + 1][0]
            self.groups.append(len(filled(range(len(step)))) // self.taken)
            self.slots.append(following.shape[2])
            out = Signal(len(self.groups) - 1, filled(range(len(step))), step, low)
            layers.append(Layer(inputs, convolutions[n][1], out, activation, signs[n]))
            inputs = [Input(out, following)]
        return [*layers, Layer([*inputs, *beside], convolutions[-1][1], last, NONE)]

    def forward(self) -> list[Layer]:
        """The guide; its results are codes."""
        guide = self._guide
        convolutions = list(guide.convolutions)
        if self.taken == 1:  # sums of integers are rounded anyway
            convolutions[-1] = convolutions[-1]._replace(bias=convolutions[-1].bias + self._code / 2)
            steps = [np.ones(len(bias)) for _, bias in convolutions[:-1]]
        else:
            assert guide.ranges is not None
            slope = max(guide.slope, _LEAST_SLOPE)  # sums must fit before the activation
            steps = [_ROOM * np.maximum(np.maximum(high, -low / slope), _TINY) / MOST for low, high in guide.ranges]
        last = self._result(layout.UPSCALED, np.full(guide.large**2, self._code), self._of_side(guide.large))
        beside = [] if guide.linear is None else [Input(self._luma, guide.linear)]
        first = [Input(self._luma, convolutions[0].weight)]
        return self._chain(
            first, convolutions, steps, last, beside, SIGNED, range(len(steps)), -guide.slope * (MOST + 1)
        )

    def backward(self) -> list[Layer]:
        """The transposed guide, divided by the squared scale."""
        guide = self._guide
        share = (guide.small / guide.large) ** 2
        weights = [_transposed(weight) for weight, _ in guide.convolutions[::-1]]
        weights[-1] = share * weights[-1]
        convolutions = [(weight, np.zeros(len(weight))) for weight in weights]
        size, steps = np.full(guide.large**2, _HIGHEST[0]), []
        for weight in weights[:-1]:
            size = np.sqrt((weight**2).sum((2, 3)) @ size**2)
            steps.append(_EXTREME * np.maximum(size, _TINY) / MOST if self.taken == 2 else np.ones(len(size)))
        step = np.full(guide.small**2, self.projected_step)
        last = self._result(layout.PROJECTED, step, self._of_side(guide.small))
        beside = [] if guide.linear is None else [Input(self._errors, share * _transposed(guide.linear))]
        signs = range(len(steps))[::-1]
        return self._chain(
            [Input(self._errors, weights[0])], convolutions, steps, last, beside, GATED, signs, -MOST - 1
        )

    def correction(self) -> list[Layer]:
        """The network that computes a, b and c from the features."""
        convolutions = self._projection.convolutions
        *steps, step = self._correction_steps()
        ends = np.cumsum([len(feature.step) for feature in self._features])
        parts = np.split(convolutions[0].weight, ends[:-1], axis=1)
        first = [Input(*each) for each in zip(self._features, parts, strict=True)]
        last = self._result(layout.FACTORS, step, filled(range(len(step))))
        low = -self._projection.slope * (MOST + 1)
        return self._chain(first, convolutions, steps, last, [], LEAKY, [0] * len(steps), low)

    def _correction_steps(self) -> list[Reals]:
        """Of the results of each layer; the last has one for a, for b and for c."""
        convolutions, small = self._projection.convolutions, self._guide.small**2
        if self.taken == 1:
            return [np.ones(len(bias)) for _, bias in convolutions]
        size = np.repeat(_HIGHEST, [self._guide.large**2, small, small, small])
        shared = np.repeat([0.0, 1.0], [len(size) - small, small])  # what all cells around have in common
        steps = []
        for weight, bias in convolutions:
            size = np.sqrt((weight.astype(float) ** 2).sum((2, 3)) @ size**2)
            shared = np.abs(weight).sum((2, 3)) @ shared + np.abs(bias)
            steps.append((_EXTREME * size + shared + _TINY) / MOST)
        steps[-1] = np.repeat(steps[-1].reshape(3, small).max(1), small)
        return steps

    def mixing(self) -> Mixing:
        """How the results of `correction` are used."""
        peak, small = self.codes.peak, self._guide.small**2
        units = np.array([self.projected_step, self.step]) * peak
        taps = self._projection.filter * units[:, None, None]
        padded = np.pad(taps, [(0, 0), (0, 0), (0, -taps.shape[2] % layout.FILTERED)])
        of_projected, of_detail, free = self._correction_steps()[-1][::small] * [*units, peak]
        return Mixing(
            padded.astype(np.float32),
            taps.shape[1] // 2,
            np.float32(of_projected),
            np.float32(of_detail),
            np.float32(free),
        )


def _reach(convolutions: Sequence[tuple[Reals, Reals]]) -> int:
    return sum(weight.shape[2] // 2 for weight, _ in convolutions)


def _transposed(weight: Reals) -> Reals:
    """Weights of the transposed convolution."""
    return weight.astype(float).transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]


def workspace(packed: Packed, rows: int, columns: int) -> tuple[Stores, Planes]:
    """Memory for pictures of a size in cells."""
    taken, beyond, codes = packed.taken, packed.beyond, packed.codes
    kind: Any = np.int16 if taken == 2 else np.float32
    left = -(-beyond // ALIGNED) * ALIGNED + ALIGNED
    pitch = -(-(left + columns + beyond + 2 * VECTORS * LANES) // ALIGNED) * ALIGNED
    slots = np.array([count or rows + 2 * beyond for count in packed.slots])
    groups = np.array(packed.groups)
    ends = np.cumsum(slots * groups) * pitch * taken
    bits = packed.sign_layers * (rows + 2 * beyond) * packed.sign_groups * pitch * taken // 8
    stores = Stores(
        np.zeros(ends[-1] + pitch * taken, kind), np.concatenate([[0], ends[:-1]]), slots, groups, taken, pitch, left,
        beyond, np.zeros(bits + pitch, np.uint8), packed.sign_groups, rows, columns,
    )  # fmt: skip
    height, width = rows * codes.small, columns * codes.small + 2 * packed.mixing.reach
    beyond_end = packed.mixing.taps.shape[2]
    detail, projected = (
        np.zeros(height * width + beyond_end, kind)[: height * width].reshape(height, width) for _ in range(2)
    )
    line = np.zeros(2 * ((columns + 2 * beyond + 2) * codes.large + 1), kind)
    steps = max(int(np.diff(each.step).max()) for each in (packed.forward, packed.backward, packed.correction))
    return stores, Planes(detail, projected, line, np.zeros(steps, np.int64))

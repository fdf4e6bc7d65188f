"""Packs convolutions over cells for `lanes_cpu.py`: weights as steps, in float32 or quantised to int16."""

from collections.abc import Sequence
from math import floor, log2
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vidscale.triton_kernels._lanes import CHANNELS
from vidscale.triton_kernels.lanes_layout import Network

Reals = npt.NDArray[Any]

MOST = 32767  # of int16
EMPTY, NEXT = -1, -2  # places without a channel, and for channel 0 of the next cell
_HIGHEST_SUM = 2.0**31 - 2.0**20  # with room for the rounding of the weights
_HIGHEST_SHIFT = 24
_TINY = 1e-12


class Signal(NamedTuple):
    """What a layer reads: samples in a store; they stand for real values, samples times `step`.

    Attributes:
        store: number of the store.
        places: channel of each sample of a cell, `EMPTY` or `NEXT`.
        step: [channels].
        low, high: bounds of the samples.
    """

    store: int
    places: Sequence[int]
    step: Reals
    low: float = -MOST - 1
    high: float = MOST


class Input(NamedTuple):
    """A convolution of one signal: weights [out, in, k, k] of real values, k odd."""

    signal: Signal
    weight: Reals


class Layer(NamedTuple):
    """One layer.

    Attributes:
        inputs: what is summed. The first one is the result of the layer before, or reaches as far as any other.
        bias: [out].
        out: what the layer writes; 1 or a multiple of `CHANNELS` places.
        activation: of `_lanes.py`.
        signs: layer of the signs.
    """

    inputs: Sequence[Input]
    bias: Reals
    out: Signal
    activation: int
    signs: int = 0


def side_places(side: int, taken: int) -> list[int]:
    """Places of a cell's samples as `arrange` of `lanes_cpu.py` writes them."""
    if side == 1:
        return [0, NEXT][:taken]
    return [row * side + x if x < side else EMPTY for row in range(side) for x in range(-(-side // taken) * taken)]


def filled(places: Sequence[int]) -> list[int]:
    """The places and empty ones, up to whole blocks."""
    return [*places, *[EMPTY] * (-len(places) % CHANNELS)]


def packed(layers: Sequence[Layer], slope: float, taken: int) -> Network:
    """Pack layers in order; each but the first reads the result of the one before it.

    Args:
        layers: at least one.
        slope: of the activations, 0 to 1.
        taken: channels of a group: 2 for int16, 1 for float32.
    """
    halves = [layer.inputs[0].weight.shape[2] // 2 for layer in layers]
    lag = np.cumsum([0, *halves[1:]])
    reads = [_reads(layer, taken) for layer in layers]
    numbers = [_whole(layer) if taken == 2 else _real(layer, taken) for layer in layers]
    weights, biases, shifts = zip(*numbers, strict=True)
    store, group, row, column = np.ascontiguousarray(np.concatenate(reads).T)
    return Network(
        step=np.cumsum([0, *map(len, reads)]),
        store=store,
        group=group,
        row=row,
        column=column,
        weights=np.concatenate([_blocks(each) for each in weights]).astype(np.int16 if taken == 2 else np.float32),
        weight=np.cumsum([0, *(each.size for each in weights[:-1])]),
        bias=np.concatenate(biases).astype(np.int32 if taken == 2 else np.float32),
        shift=np.concatenate(shifts).astype(np.int32),
        channel=np.cumsum([0, *map(len, biases)]),
        activation=np.array([layer.activation for layer in layers]),
        signs=np.array([layer.signs for layer in layers]),
        out=np.array([layer.out.store for layer in layers]),
        lag=lag,
        margin=lag[-1] - lag,
        half=halves[0],
        slope=np.int16(round(slope * (MOST + 1))) if taken == 2 else np.float32(slope),
    )


def _reads(layer: Layer, taken: int) -> list[tuple[int, int, int, int]]:
    """Store, group, row and column of each step."""
    return [
        (signal.store, group, row - weight.shape[2] // 2, column - weight.shape[2] // 2)
        for signal, weight in layer.inputs
        for row in range(weight.shape[2])
        for group in range(len(signal.places) // taken)
        for column in range(0, weight.shape[2], _apart(signal))
    ]


def _apart(signal: Signal) -> int:
    """Columns from one step to the next."""
    return 2 if NEXT in signal.places else 1


def _real(layer: Layer, taken: int) -> tuple[Reals, Reals, Reals]:
    """Weights [steps, places, taken] of samples, bias [places] and shift [places] of a layer."""
    steps = [_taps(signal, weight, taken) for signal, weight in layer.inputs]
    places = np.array(layer.out.places)
    used = places != EMPTY
    scale = used / layer.out.step[places]
    return np.concatenate(steps)[:, places] * scale[:, None], layer.bias[places] * scale, np.zeros(len(places))


def _taps(signal: Signal, weight: Reals, taken: int) -> Reals:
    """Weights [steps, out, taken] of the samples of a signal; results are real values."""
    scaled = weight.astype(float) * signal.step[:, None, None]
    out, _, support, _ = scaled.shape
    padded = np.pad(scaled, [(0, 0), (0, 1), (0, 0), (0, 1)])  # no channel, and no column, have no weight
    columns = np.arange(0, support, _apart(signal))
    taps = np.stack([padded[:, max(place, EMPTY)][..., columns] for place in signal.places])
    if NEXT in signal.places:
        taps[signal.places.index(NEXT)] = padded[:, 0][..., columns + 1]
    taps = taps[:, :, :support].reshape(-1, taken, out, support, len(columns))
    return taps.transpose(3, 0, 4, 2, 1).reshape(-1, out, taken)


def _whole(layer: Layer) -> tuple[Reals, Reals, Reals]:
    """The same as integers: as precise as sums in 32 bits allow, whatever the samples."""
    weights, bias, _ = _real(layer, 2)
    counts = [len(_taps(*each, 2)) for each in layer.inputs]
    low, high = (np.repeat([each.signal[n] for each in layer.inputs], counts)[:, None, None] for n in (3, 4))
    up, down = np.maximum(weights * low, weights * high), np.minimum(weights * low, weights * high)
    highest = np.maximum(up.sum((0, 2)), -down.sum((0, 2))) + np.abs(bias)
    room = np.minimum(_HIGHEST_SUM / np.maximum(highest, _TINY), MOST / np.maximum(np.abs(weights).max((0, 2)), _TINY))
    shift = np.array([min(max(floor(log2(each)), 0), _HIGHEST_SHIFT) for each in room])
    unit = 2.0**shift
    # Neighbouring samples are alike, so rounding errors that cancel out do least harm.
    sums = np.round(np.cumsum(weights * unit[:, None], axis=0))
    return np.diff(sums, axis=0, prepend=0), np.floor(bias * unit + 0.5) + np.floor(unit / 2), shift


def _blocks(weights: Reals) -> Reals:
    """[steps, places, taken] to [blocks, steps, CHANNELS, taken], flat."""
    steps, places, taken = weights.shape
    wide = min(places, CHANNELS)
    return weights.reshape(steps, places // wide, wide, taken).transpose(1, 0, 2, 3).reshape(-1)

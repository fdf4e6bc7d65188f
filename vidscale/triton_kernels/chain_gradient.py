"""A chain's error and the gradient of its squared error with respect to the input, on the CPU. No torch.

Nothing heavy is imported here; numba is imported for the first picture.
"""

from typing import Any

import numpy as np

from vidscale.triton_kernels.chain import (
    _AS_IT_IS,
    Chain,
    Codes,
    Convolution,
    _as_floats,
    _linear,
    _packed,
)
from vidscale.triton_kernels.chain_layout import Cells, Floats, Layers

_SIGNS = 8  # channels whose signs share a byte


class ChainGradient:
    """The error of a chain and its back-projection, for pictures of one bit depth.

    One picture runs on one core; calls may run in parallel.

    Args:
        chain: the network.
        bit_depth: of the codes, 8 to 16.
    """

    def __init__(self, chain: Chain, bit_depth: int) -> None:
        peak = (1 << bit_depth) - 1
        whole = _with_whole_bytes(chain)
        self._layers, self._linear = _as_floats(whole, 1 / peak, peak), _linear(whole, np.float32, peak)
        self._cells = Cells(chain.small, chain.large, 0, peak)
        back = transposed(whole)
        self._back_layers, self._back_linear = _gradient_layers(back), _linear(back, np.float32, peak)

    def __call__(self, hr: Codes, lr: Codes) -> tuple[Any, Floats]:
        """Compare a plane with its upscaled version, and project the difference back.

        Args:
            hr: [H, W] uint8 or uint16, codes.
            lr: [h, w], same dtype; h = ceil(H / scale) and likewise w.

        Returns:
            e: [rows, columns * large^2] float32, cells in codes: `hr` minus the upscaled `lr`, rounded to codes. Edge
            samples of `hr` are repeated up to whole cells. g: [h, w] float32, whole cells: J'e divided by the squared
            scale, where J is the Jacobian of the unclamped chain, and e is zero outside the picture.
        """
        from vidscale.triton_kernels.chain_gradient_cpu import errors_of, gradient_of

        small, large = self._cells.small, self._cells.large
        rows, columns = (-(-side // small) for side in lr.shape)
        errors = np.empty((rows, columns * large**2), np.float32)
        signs = errors_of(lr, hr, self._layers, self._linear, self._cells, errors)
        return errors, gradient_of(errors, signs, self._back_layers, self._back_linear, self._cells)


def _with_whole_bytes(chain: Chain) -> Chain:
    """The same chain with channels between its layers in multiples of 8."""
    convolutions, taken, depth = [], chain.small**2, len(chain.convolutions)
    for n, (weight, bias) in enumerate(chain.convolutions):
        made = bias.size if n == depth - 1 else -(-bias.size // _SIGNS) * _SIGNS
        room = [(0, made - bias.size), (0, taken - weight.shape[1])]
        convolutions.append(Convolution(np.pad(weight, [*room, (0, 0), (0, 0)]), np.pad(bias, room[:1])))
        taken = made
    return Chain(chain.small, chain.large, convolutions, chain.linear, chain.slope)


def transposed(chain: Chain) -> Chain:
    """The chain that takes gradients from HR to LR samples, divided by the squared scale."""
    share = np.float32((chain.small / chain.large) ** 2)
    back = [Convolution(_flipped(weight), np.zeros(weight.shape[1], np.float32)) for weight, _ in chain.convolutions]
    back[0] = back[0]._replace(weight=back[0].weight * share)
    linear = None if chain.linear is None else _flipped(chain.linear) * share
    return Chain(chain.large, chain.small, back[::-1], linear, chain.slope)


def _flipped(weight: Floats) -> Floats:
    """Weights of the transposed convolution."""
    return np.ascontiguousarray(weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])


def _gradient_layers(back: Chain) -> Layers:
    weights = [layer.weight.transpose(2, 3, 1, 0) for layer in back.convolutions]
    after = [np.stack([np.ones_like(bias), bias, bias]) for _, bias in back.convolutions]  # biases are zero
    return unrounded(_packed(weights, np.float32, after, (back.slope, -np.inf, np.inf), 0))


def unrounded(layers: Layers) -> Layers:
    """The layers with outputs that are neither rounded nor clamped."""
    layers.after[-1, 2] = 0
    layers.bounds[-1] = _AS_IT_IS
    return layers

"""Downscalers by learned back-projection for the CPU: weights for one coding strength. No torch."""

import numpy as np

from vidscale.models.chains import SLOPE, compact_chain, condition_of, convolutions_of, fitting
from vidscale.models.weight_files import Arrays, part
from vidscale.triton_kernels.back_projection_network import BackProjection

# Typical sizes of the features, in luma (code / peak); they only set the scale of the initial weights.
ERROR, DETAIL, PROJECTED = 12 / 255, 8 / 255, 4 / 255
MEAN, SPREAD = 0.43, 0.25


def back_projection_of(weights: Arrays, strength: float) -> BackProjection:
    """Builds the downscaler, with the gains and biases of the strength and the scales of the features folded in.

    Args:
        weights: by the names of `vidscale.models.networks.back_projection.BackProjection`.
        strength: crf.

    Raises:
        ModelError: weights missing, misshapen or not finite.
    """
    with fitting(weights):
        guide = part(weights, "guide.")
        chain, condition = compact_chain(guide, strength), condition_of(guide, strength)
        own = {name: array for name, array in weights.items() if not name.startswith("guide.")}
        first, *others = convolutions_of(own, condition)
        small = chain.small**2
        sizes = np.repeat([ERROR, DETAIL, PROJECTED, SPREAD], [chain.large**2, small, small, small])
        scaled = first.weight / sizes[:, None, None]
        bias = first.bias - MEAN * scaled[:, -small:].sum((1, 2, 3))
        *inner, last = first._replace(weight=scaled.astype(np.float32), bias=bias.astype(np.float32)), *others
        free = np.repeat([1, 1, DETAIL], small).astype(np.float32)
        last = last._replace(weight=last.weight * free[:, None, None, None], bias=last.bias * free)
        gains = 1 + own["filter_by_strength.weight"] @ condition + own["filter_by_strength.bias"]
        taps = own["filter.weight"] * gains[:, None, None]
        return BackProjection(chain, [*inner, last], SLOPE, taps.reshape(taps.shape[1:]).astype(np.float32))

"""Correction of a small picture by what its upscaler gets wrong, on the CPU: codes in and out. No torch.

Nothing heavy is imported here; numba is imported for the first picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from vidscale.triton_kernels.chain import Chain, Codes, Convolution, _packed
from vidscale.triton_kernels.chain_gradient import ChainGradient, unrounded
from vidscale.triton_kernels.chain_layout import Floats, Layers


@dataclass(frozen=True, eq=False)
class BackProjection:
    """A learned step of back-projection, in units of code / peak.

    With l the small picture, e the error of the guide, g its gradient (see `ChainGradient`) and d = l minus its
    binomial 3x3 blur, the result is ``l + filter(g, d) + a g + b d + c``. A network of convolutions with leaky ReLUs
    between them computes a, b and c from cells of these features.

    Attributes:
        guide: the upscaler.
        convolutions: in order. Inputs of a cell: e (large^2), d, g, l (small^2 each); outputs: a, b, c (small^2 each).
            The features of cells at the edge are repeated.
        slope: negative slope of the leaky ReLUs, 0 to 1.
        filter: [2, k, k] float32, k odd, for g and d; edge samples are repeated.

    Raises:
        ValueError: shapes that do not fit each other.
    """

    guide: Chain
    convolutions: Sequence[Convolution]
    slope: float
    filter: Floats

    def __post_init__(self) -> None:
        small = self.guide.small**2
        taken = self.guide.large**2 + 3 * small
        for n, (weight, bias) in enumerate(self.convolutions):
            if bias.ndim != 1 or weight.ndim != 4 or weight.shape[:2] != (bias.size, taken):
                raise ValueError(f"convolution {n} is {list(weight.shape)}, not [{bias.size}, {taken}, k, k]")
            if weight.shape[2] != weight.shape[3] or weight.shape[2] % 2 == 0:
                raise ValueError(f"convolution {n} has a support of {list(weight.shape[2:])}: not odd or not square")
            taken = bias.size
        if taken != 3 * small:
            raise ValueError(f"{taken} channels at the end, {3 * small} wanted")
        if self.filter.ndim != 3 or len({2, *self.filter.shape[1:]} - {2}) != 1 or self.filter.shape[0] != 2:
            raise ValueError(f"the filter is {list(self.filter.shape)}, not [2, k, k]")
        if self.filter.shape[1] % 2 == 0:
            raise ValueError(f"the filter has a support of {self.filter.shape[1]}, which is even")

    @property
    def scale(self) -> Fraction:
        """HR over LR."""
        return self.guide.scale


class BackProjectionRunner:
    """Corrects pictures of one bit depth. One picture runs on one core; calls may run in parallel.

    Args:
        projection: the network.
        bit_depth: of the codes, 8 to 16.
    """

    def __init__(self, projection: BackProjection, bit_depth: int) -> None:
        self._guide = projection.guide
        self._peak = (1 << bit_depth) - 1
        self._gradient = ChainGradient(projection.guide, bit_depth)
        self._layers = _packed_correction(projection, self._peak)
        self._filter = np.ascontiguousarray(projection.filter, np.float32)

    def __call__(self, hr: Codes, lr: Codes) -> Codes:
        """Correct a small picture.

        Args:
            hr: [H, W] uint8 or uint16, codes; edge samples are repeated up to whole cells.
            lr: [h, w], same dtype: `hr` downscaled by the fixed filter; h = ceil(H / scale) and likewise w.

        Returns:
            [h, w], same dtype.

        Raises:
            ValueError: planes that do not fit each other.
        """
        from vidscale.triton_kernels.back_projection_cpu import correct

        scale = self._guide.scale
        if lr.shape != tuple(-(-side // scale) for side in hr.shape) or hr.dtype != lr.dtype:
            raise ValueError(f"{hr.shape = } {hr.dtype} and {lr.shape = } {lr.dtype} are no pair at scale {scale}")
        small = self._guide.small
        whole = np.pad(lr, [(0, -side % small) for side in lr.shape], mode="edge")
        errors, gradient = self._gradient(np.ascontiguousarray(hr), whole)
        out = np.empty_like(whole)
        correct(whole, errors, gradient, self._layers, self._filter, self._guide.small, self._peak, out)
        return out[: lr.shape[0], : lr.shape[1]]


def _packed_correction(projection: BackProjection, peak: int) -> Layers:
    """Layers that take features in codes; a and b are factors, c is in codes."""
    weights = [layer.weight.transpose(2, 3, 1, 0) for layer in projection.convolutions]
    after = [np.stack([np.ones_like(bias), bias, np.zeros_like(bias)]) for _, bias in projection.convolutions]
    after[0][0] /= peak
    after[-1][:2, 2 * projection.guide.small**2 :] *= peak
    return unrounded(_packed(weights, np.float32, after, (projection.slope, -np.inf, np.inf), peak))

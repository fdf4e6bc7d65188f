"""The network of a learned back-projection for one coding strength: what `BackProjectionRunner` and the GPU run."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from vidscale.triton_kernels.chain import Chain, Convolution
from vidscale.triton_kernels.chain_layout import Floats

Precision = Literal["float32", "int16"]


@dataclass(frozen=True, eq=False)
class BackProjection:
    """A learned step of back-projection, in units of code / peak.

    With l the small picture, e the error of the guide, g its gradient (see `Projected` of `back_projection.py`) and
    d = l minus its binomial 3x3 blur, the result is ``l + filter(g, d) + a g + b d + c``. A network of convolutions
    with leaky ReLUs between them computes a, b and c from cells of these features.

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

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those available on this processor, the fastest last: "int16" needs AVX2 and the guide's ranges."""
        from vidscale.triton_kernels._lanes import PAIRS

        return ("float32", "int16") if PAIRS and self.guide.ranges is not None else ("float32",)

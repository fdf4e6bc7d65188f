"""Two rows of a convolution from transformed rows and weights, with a third fewer multiplications: AVX2 without VNNI.

Winograd's minimal filtering F(2, 3), down the columns: two rows of a convolution 3 samples high take 4 multiplications
per column instead of 6. Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016. From rows d0 to
d3 and taps g0 to g2, the two rows, doubled, are ``m0 + m1 + m2`` and ``m0 - m1 + m3`` with

    m0 = (d1 + d2) * (g0 + g1 + g2)
    m1 = (d2 - d1) * (g0 - g1 + g2)
    m2 = (d0 - d2) * 2 g0
    m3 = (d3 - d1) * 2 g2

Bytes become 10 bits, int8 weights 10 bits, and the sums are exact: the result is that of the plain convolution.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

SUPPORT = 3


def transformed(weight: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Weights [3, 3, in, out] of a convolution as [4, 3, in, out]; sums are doubled."""
    above, middle, below = weight
    return np.stack([above + middle + below, above - middle + below, 2 * above, 2 * below])

"""A packed back-projection as the compiled code reads it, beside its networks and stores of `lanes_layout.py`."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vidscale.triton_kernels.lanes_layout import Ints, Samples

# Stores of rows of cells; those of the networks' inner layers follow. OF_ERRORS to OF_LUMA are the features.
LUMA, UPSCALED, ERRORS, PROJECTED, OF_ERRORS, OF_DETAIL, OF_PROJECTED, OF_LUMA, FACTORS, OTHERS = range(10)
FILTERED = 5  # taps that are summed at once


class Codes(NamedTuple):
    """How codes become samples of l, d and e.

    Attributes:
        small, large: side of a cell in LR and in HR samples.
        peak: highest code.
        down: low bits of codes that are dropped.
        up: bits that samples have below those that are kept.
    """

    small: int
    large: int
    peak: int
    down: np.int32
    up: np.int32


class Mixing(NamedTuple):
    """How the correction is made of d, g and the network's results.

    Attributes:
        taps: [2, k, FILTERED n] float32, of g and d, padded with zeros; codes by samples.
        reach: k // 2.
        of_projected, of_detail, free: of a g, b d and c; codes by products of samples, and by samples.
    """

    taps: npt.NDArray[np.float32]
    reach: int
    of_projected: np.float32
    of_detail: np.float32
    free: np.float32


class Planes(NamedTuple):
    """Samples beside those in the stores.

    Attributes:
        detail, projected: [h, w + 2 reach] d and g, edge samples repeated left and right. A row's taps may read a few
            samples beyond its end.
        line: room for a row of samples with margins, one array for each side of a cell.
        offsets: room for `advance` of `lanes_cpu.py`.
    """

    detail: Samples
    projected: Samples
    line: Samples
    offsets: Ints

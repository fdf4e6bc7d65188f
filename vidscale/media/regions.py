"""Rectangular regions of a picture: those with the most detail, or the largest error."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.media.frames import Frame, Plane


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of a picture, in luma samples."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, the index of the region in a plane."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def crop(self, frame: Frame) -> tuple[Plane, ...]:
        """The region of every plane, as views; top and left must be on a chroma sample."""
        sub_y, sub_x = frame.format.subsampling
        luma, *chroma = zip(frame.planes, frame.format.plane_shapes(self.height, self.width), strict=True)
        y, x = self.top // sub_y, self.left // sub_x
        return luma[0][self.slices], *(plane[y : y + h, x : x + w] for plane, (h, w) in chroma)


def region_of_largest_sum(values: npt.NDArray[Any], height: int, width: int, *, step: int = 1) -> Region:
    """The region of the given size with the largest sum of values; on a tie, the first from the top left.

    Args:
        values: [H, W], such as `detail` returns.
        height, width: of the region, 1 or more; clipped to H and W.
        step: top and left of the region are multiples of it.
    """
    height, width = min(height, values.shape[0]), min(width, values.shape[1])
    sums = np.pad(values.cumsum(axis=0, dtype=np.float64).cumsum(axis=1), ((1, 0), (1, 0)))
    tops, lefts = slice(0, sums.shape[0] - height, step), slice(0, sums.shape[1] - width, step)
    bottoms, rights = slice(height, None, step), slice(width, None, step)
    totals = sums[bottoms, rights] - sums[tops, rights] - sums[bottoms, lefts] + sums[tops, lefts]
    row, column = np.unravel_index(int(totals.argmax()), totals.shape)
    return Region(int(row) * step, int(column) * step, height, width)


def detail(luma: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Sum of the absolute differences of each sample from its left and upper neighbours.

    Args:
        luma: [H, W], integer codes.

    Returns:
        [H, W], in code values.
    """
    values = luma.astype(np.float32)
    differences = np.zeros_like(values)
    differences[:, 1:] += np.abs(np.diff(values, axis=1))
    differences[1:] += np.abs(np.diff(values, axis=0))
    return differences

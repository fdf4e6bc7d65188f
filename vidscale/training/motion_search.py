"""Block matching to quarter samples, with HEVC's luma interpolation (ITU-T H.265, 8.5.3.3.3)."""

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 8  # samples
REACH = 15  # whole samples that a block may move
EDGE = REACH + 5  # samples around an area that its prediction may read: the reach, a fraction and the filter's taps
FRACTIONS = 4  # positions per sample

TAPS = np.array(
    [[0, 0, 0, 64, 0, 0, 0, 0], [-1, 4, -10, 58, 17, -5, 1, 0], [-1, 4, -11, 40, 40, -11, 4, -1],
     [0, 1, -5, 17, 58, -10, 4, -1]], np.float32,
) / np.float32(64)  # fmt: skip
"""[4, 8] interpolation at 0, 1/4, 1/2 and 3/4 of a sample; the fourth tap is the sample itself."""
BEFORE, AFTER = 3, 4  # samples that the filter reads to either side

Image32 = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.int16]

_VECTOR_COST = 3.0  # in absolute differences per bit


def search(current: Image32, reference: Image32) -> Vectors:
    """Motion vectors of the blocks of a picture's inner area.

    The sum of absolute differences plus the vector's cost is minimised: all whole samples, then halves and quarters
    around the best.

    Args:
        current: [h, w] float32 codes; the area without `EDGE` samples at each side consists of whole blocks.
        reference: [h, w] float32 codes.

    Returns:
        [blocks down, blocks across, 2] int16: y, x in quarter samples.
    """
    inner = [side - 2 * EDGE for side in current.shape]
    vectors = np.zeros((inner[0] // BLOCK, inner[1] // BLOCK, 2), np.int16)
    fractions = interpolated(torch.from_numpy(reference)[None, None]).view(-1, *reference.shape).numpy()
    _search(current, fractions, vectors)
    return vectors


def interpolated(picture: Tensor) -> Tensor:
    """A picture at each fraction of a sample, edges repeated; differentiable.

    Args:
        picture: [N, 1, h, w].

    Returns:
        [N, 16 * h * w], fractions of rows first.
    """
    taps = torch.from_numpy(TAPS).to(picture)
    padded = F.pad(picture, [BEFORE, AFTER, BEFORE, AFTER], mode="replicate")
    across = F.conv2d(padded, taps[:, None, None, :])  # [N, 4, h + 7, w]
    n, _, height, width = across.shape
    down = F.conv2d(across.reshape(-1, 1, height, width), taps[:, None, :, None])  # [N * 4, 4, h, w]
    return down.view(n, FRACTIONS, FRACTIONS, -1).transpose(1, 2).reshape(n, -1)


@numba.njit(nogil=True, fastmath=True, cache=True)
def _search(current: Image32, fractions: Image32, vectors: Vectors) -> None:
    for row in range(vectors.shape[0]):
        for column in range(vectors.shape[1]):
            likely_y, likely_x = 0, 0  # the left neighbour's, else the upper one's
            if column:
                likely_y, likely_x = int(vectors[row, column - 1, 0]), int(vectors[row, column - 1, 1])
            elif row:
                likely_y, likely_x = int(vectors[row - 1, column, 0]), int(vectors[row - 1, column, 1])
            y, x = likely_y // FRACTIONS * FRACTIONS, likely_x // FRACTIONS * FRACTIONS
            top, left = EDGE + row * BLOCK, EDGE + column * BLOCK
            best = _cost(current, fractions, top, left, y, x, likely_y, likely_x, 1e30)
            for whole_y in range(-REACH, REACH + 1):
                for whole_x in range(-REACH, REACH + 1):
                    there = whole_y * FRACTIONS, whole_x * FRACTIONS
                    cost = _cost(current, fractions, top, left, *there, likely_y, likely_x, best)
                    if cost < best:
                        best = cost
                        y, x = there
            for step in (2, 1):
                centre_y, centre_x = y, x
                for down in range(-step, step + 1, step):
                    for right in range(-step, step + 1, step):
                        there = centre_y + down, centre_x + right
                        if max(abs(there[0]), abs(there[1])) > REACH * FRACTIONS:
                            continue
                        cost = _cost(current, fractions, top, left, *there, likely_y, likely_x, best)
                        if cost < best:
                            best = cost
                            y, x = there
            vectors[row, column, 0], vectors[row, column, 1] = y, x


@numba.njit(nogil=True, fastmath=True, cache=True)
def _cost(
    current: Image32, fractions: Image32, top: int, left: int, y: int, x: int, likely_y: int, likely_x: int, most: float
) -> float:
    """The cost of a vector, or any number above `most`."""
    cost = _VECTOR_COST * (np.log2(1 + abs(y - likely_y)) + np.log2(1 + abs(x - likely_x)))
    fraction = y % FRACTIONS * FRACTIONS + x % FRACTIONS
    above, before = top + y // FRACTIONS, left + x // FRACTIONS
    for i in range(BLOCK):
        if cost >= most:
            break
        for j in range(BLOCK):
            cost += abs(current[top + i, left + j] - fractions[fraction, above + i, before + j])
    return cost  # type: ignore[no-any-return]

"""The frames of a segment that its network is trained on."""

from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vidscale.adapt.segments import Segment
from vidscale.models.networks.luma import Cell

Luma = npt.NDArray[Any]

_EVERY, _FEWEST, _MOST = 8, 12, 48  # frames
_OBSERVED = 600_000  # samples that show the ranges of the channels
_SIDE = 48  # LR samples of a patch, at least
_HELD_OUT_SEED = 1


class Sample(NamedTuple):
    """Luma of a frame: as decoded, without padding, and that of the source; codes."""

    lr: Luma
    hr: Luma


def sampled(segment: Segment, index: int) -> bool:
    """Whether a segment is trained on this frame: every 8th, more of a short segment, fewer of a very long one."""
    frames = segment.end - segment.start
    step = max(1, min(_EVERY, frames // _FEWEST), ceil(frames / _MOST))
    return segment.start <= index < segment.end and (index - segment.start) % step == 0


class Patches:
    """Random patches of some frames.

    Args:
        samples: the frames, all of one size.
        cell: of the network.
        margin: of the network, cells.
        bit_depth: of the codes.
        seed: of the choice.
    """

    def __init__(self, samples: Sequence[Sample], cell: Cell, margin: int, bit_depth: int, seed: int = 0) -> None:
        self._cell, self._peak, self._beyond = cell, (1 << bit_depth) - 1, margin * cell.small
        self._lr = [_padded(sample.lr, cell.small, self._beyond) for sample in samples]
        self._hr = [sample.hr for sample in samples]
        small, large = (sides[0].shape for sides in ([s.lr for s in samples], self._hr))
        self._cells = [min(-(-lr // cell.small), hr // cell.large) for lr, hr in zip(small, large, strict=True)]
        self._side = min(-(-_SIDE // cell.small), *self._cells)
        self._random = np.random.default_rng(seed)

    def __call__(self, count: int) -> tuple[Tensor, Tensor]:
        """Random patches: decoded luma with a margin, and the source, [count, 1, h, w] float32 each, code / peak."""
        return self._drawn(count, self._random)

    def fixed(self, count: int) -> tuple[Tensor, Tensor]:
        """The same patches at every call."""
        return self._drawn(count, np.random.default_rng(_HELD_OUT_SEED))

    def _drawn(self, count: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        lr, hr = [], []
        small, large = (self._side * side for side in self._cell)
        for _ in range(count):
            frame = random.integers(len(self._lr))
            row, column = (int(random.integers(cells - self._side + 1)) for cells in self._cells)
            y, x = row * self._cell.small, column * self._cell.small
            beyond = small + 2 * self._beyond
            lr.append(self._lr[frame][y : y + beyond, x : x + beyond])
            y, x = row * self._cell.large, column * self._cell.large
            hr.append(self._hr[frame][y : y + large, x : x + large])
        return self._tensor(lr), self._tensor(hr)

    def strips(self, most: int) -> Tensor:
        """At most ``most`` strips of decoded luma with a margin, [N, 1, h, w] float32, code / peak.

        They are from evenly spread pictures, the first from the top of one, the last from the bottom. Together they are
        as high as a picture, but no larger than `_OBSERVED` samples.
        """
        pictures = self._lr[:: -(-len(self._lr) // most)]
        height, width = pictures[0].shape
        rows = min(height, _OBSERVED // width) // len(pictures) // self._cell.small * self._cell.small
        rows = min(height, max(rows, 1) + 2 * self._beyond)
        last = max(len(pictures) - 1, 1)
        return self._tensor(
            [
                luma[(top := n * (height - rows) // last // self._cell.small * self._cell.small) : top + rows]
                for n, luma in enumerate(pictures)
            ]
        )

    def _tensor(self, pictures: Sequence[Luma]) -> Tensor:
        return torch.from_numpy(np.stack(pictures).astype(np.float32)).div_(self._peak)[:, None]


def _padded(luma: Luma, small: int, beyond: int) -> Luma:
    """Luma padded to whole cells, with a margin around it; edge samples are repeated."""
    padding = [(beyond, -side % small + beyond) for side in luma.shape]
    return np.pad(luma, padding, mode="edge")

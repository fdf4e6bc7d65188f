"""The planes of one picture in one buffer, so that a picture is uploaded or downloaded in a single copy."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

_ALIGNMENT = 256  # bytes between the starts of planes: kernels are specialised on aligned pointers

Shapes = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class PlaneBuffer:
    """Planes of codes, one after the other.

    Attributes:
        data: [n] uint8 or uint16, on any device.
        shapes: (h, w) of each plane.
    """

    data: Tensor
    shapes: Shapes

    @classmethod
    def empty(cls, shapes: Sequence[tuple[int, int]], dtype: torch.dtype, device: torch.device | str) -> "PlaneBuffer":
        """Planes that are not written yet."""
        return cls(torch.empty(_offsets(shapes, dtype.itemsize)[-1], dtype=dtype, device=device), tuple(shapes))

    @classmethod
    def on_host(cls, shapes: Sequence[tuple[int, int]], dtype: torch.dtype, *, pinned: bool) -> "PlaneBuffer":
        """The same in host memory. A GPU copies from and to pinned memory while the host goes on.

        torch reuses pinned memory once no tensor and no array refers to it.
        """
        return cls(torch.empty(_offsets(shapes, dtype.itemsize)[-1], dtype=dtype, pin_memory=pinned), tuple(shapes))

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Index in `data` of the first sample of each plane."""
        return _offsets(self.shapes, self.data.dtype.itemsize)[:-1]

    def plane(self, index: int) -> Tensor:
        """[h, w] view of one plane."""
        (height, width), start = self.shapes[index], self.offsets[index]
        return self.data[start : start + height * width].view(height, width)


def _offsets(shapes: Sequence[tuple[int, int]], itemsize: int) -> tuple[int, ...]:
    """Offsets of the planes and of the end, in samples."""
    whole = _ALIGNMENT // itemsize
    return tuple(accumulate((-(-height * width // whole) * whole for height, width in shapes), initial=0))

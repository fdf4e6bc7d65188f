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
        sizes = tuple((int(height), int(width)) for height, width in shapes)
        return cls(torch.empty(_offsets(sizes, dtype.itemsize)[-1], dtype=dtype, device=device), sizes)

    @classmethod
    def pinned(cls, shapes: Shapes, dtype: torch.dtype, *, pinned: bool) -> "PlaneBuffer":
        """The same in host memory; pinned, a GPU can copy it while the host goes on.

        torch keeps pinned memory for later buffers once no tensor and no array refers to it.
        """
        return cls(torch.empty(_offsets(shapes, dtype.itemsize)[-1], dtype=dtype, pin_memory=pinned), shapes)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Index in `data` of the first sample of each plane."""
        return _offsets(self.shapes, self.data.dtype.itemsize)[:-1]

    def plane(self, index: int) -> Tensor:
        """[h, w] view of one plane."""
        (height, width), start = self.shapes[index], self.offsets[index]
        return self.data[start : start + height * width].view(height, width)


def _offsets(shapes: Shapes, itemsize: int) -> tuple[int, ...]:
    """Offsets of the planes and of the end, in samples."""
    whole = _ALIGNMENT // itemsize
    return tuple(accumulate((-(-height * width // whole) * whole for height, width in shapes), initial=0))

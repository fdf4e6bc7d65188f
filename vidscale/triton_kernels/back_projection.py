"""Correction of a small picture by what its upscaler gets wrong, on the CPU: codes in and out. No torch.

Nothing heavy is imported here; numba is imported for the first picture.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vidscale.triton_kernels.back_projection_network import BackProjection, Precision
from vidscale.triton_kernels.chain import Codes
from vidscale.triton_kernels.chain_layout import Floats

if TYPE_CHECKING:
    from vidscale.triton_kernels.back_projection_layout import Planes
    from vidscale.triton_kernels.lanes_layout import Stores


@dataclass(frozen=True, eq=False)
class Projected:
    """An upscaler's error and where it comes from, in codes; whole cells.

    Attributes:
        errors: [H, W] float32: e, the original minus the upscaled picture, which is rounded to codes.
        gradient: [h, w] float32: g, J'e divided by the squared scale. J is the Jacobian of the unclamped upscaler; e is
            zero outside the picture.
    """

    errors: Floats
    gradient: Floats


class BackProjectionRunner:
    """Corrects pictures of one bit depth. One picture runs on one core; calls may run in parallel.

    Memory is kept for as many pictures as ever ran in parallel, about 12 MB for each 1080p picture.

    Args:
        projection: the network.
        bit_depth: of the codes, 8 to 16.
        precision: one of `BackProjection.precisions`. "int16": samples, weights and activations, with 32-bit sums; the
            result is the same on all processors.

    Raises:
        ValueError: a precision that is not available here.
    """

    def __init__(self, projection: BackProjection, bit_depth: int, precision: Precision) -> None:
        if precision not in projection.precisions:
            raise ValueError(f"{precision = } is not available here, only {projection.precisions}")
        from vidscale.triton_kernels.back_projection_packing import packed_projection

        self._scale, self._small, self._large = projection.scale, projection.guide.small, projection.guide.large
        self._packed = packed_projection(projection, bit_depth, precision)
        self._free: deque[tuple[Stores, Planes]] = deque()

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
        from vidscale.triton_kernels.back_projection_cpu_correct import correct

        with self._projected(hr, lr) as (whole, stores, planes):
            out, known = np.empty_like(whole), self._packed
            correct(whole, known.correction, stores, planes, known.codes, known.mixing, out)
        return out[: lr.shape[0], : lr.shape[1]]

    def project(self, hr: Codes, lr: Codes) -> Projected:
        """Only the first half of the work; arguments as for a call."""
        from vidscale.triton_kernels.back_projection_cpu import read_errors

        known = self._packed
        with self._projected(hr, lr) as (_, stores, planes):
            errors = np.empty((stores.rows * self._large, stores.columns * self._large), np.float32)
            read_errors(stores, self._large, errors)
            reach = known.mixing.reach
            gradient = planes.projected[:, reach : planes.projected.shape[1] - reach].astype(np.float32)
        return Projected(errors * np.float32(known.error_step), gradient * np.float32(known.projected_step))

    @contextmanager
    def _projected(self, hr: Codes, lr: Codes) -> "Iterator[tuple[Codes, Stores, Planes]]":
        """The small picture in whole cells, and the memory that holds e and g."""
        from vidscale.triton_kernels.back_projection_cpu import find_errors, project
        from vidscale.triton_kernels.back_projection_packing import workspace

        if lr.shape != tuple(-(-side // self._scale) for side in hr.shape) or hr.dtype != lr.dtype:
            raise ValueError(
                f"{hr.shape = } {hr.dtype} and {lr.shape = } {lr.dtype} are no pair at scale {self._scale}"
            )
        whole = np.pad(lr, [(0, -side % self._small) for side in lr.shape], mode="edge")
        rows, columns = (side // self._small for side in whole.shape)
        known = self._packed
        try:
            stores, planes = self._free.pop()
        except IndexError:
            stores, planes = workspace(known, rows, columns)
        if (stores.rows, stores.columns) != (rows, columns):
            stores, planes = workspace(known, rows, columns)
        find_errors(whole, np.ascontiguousarray(hr), known.forward, stores, planes, known.codes)
        project(known.backward, stores, planes, self._small)
        yield whole, stores, planes
        self._free.append((stores, planes))

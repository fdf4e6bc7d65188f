"""Pictures in flight: while one is computed, the next is uploaded and the one before is downloaded."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from vidscale.media.frames import Plane
from vidscale.models.pair import IN_FLIGHT
from vidscale.system import devices
from vidscale.triton_kernels.plane_buffer import PlaneBuffer, Shapes

Work = Callable[[PlaneBuffer, PlaneBuffer], None]
"""Writes the planes of the second picture from those of the first; both are on the GPU."""

_DTYPES = {1: torch.uint8, 2: torch.uint16}

_making = threading.Lock()  # the first frames of a movie come at the same time

logger = logging.getLogger(__name__)


class _Lane(NamedTuple):
    """A stream for one picture at a time and the event that ends its work; None where the device has no streams."""

    stream: torch.cuda.Stream | None
    done: torch.cuda.Event | None


class GpuFrames:
    """Runs pictures through a GPU. Threads call it in parallel, each with its own picture on its own stream.

    If the GPU runs out of memory, fewer pictures are in flight from then on; pictures that do not fit even alone are
    refused.

    Args:
        device: a CUDA device, or in tests the CPU, where the work runs at once.
        in_flight: pictures at a time.
    """

    def __init__(self, device: torch.device, in_flight: int = IN_FLIGHT) -> None:
        self._device, self._is_gpu = device, device.type == "cuda"
        self._lanes = [self._lane() for _ in range(in_flight)]
        self._allowed, self._running = in_flight, 0
        self._changed = threading.Condition()
        self._too_large: set[tuple[Shapes, Shapes]] = set()

    def _lane(self) -> _Lane:
        if not self._is_gpu:
            return _Lane(None, None)
        return _Lane(torch.cuda.Stream(self._device), torch.cuda.Event(blocking=True))  # type: ignore[no-untyped-call]

    def run(self, planes: Sequence[Plane], shapes: Sequence[tuple[int, int]], work: Work) -> list[Plane] | None:
        """Uploads a picture, runs the work and downloads the result.

        Args:
            planes: codes, uint8 or uint16; [h, w] each.
            shapes: (h, w) of each plane of the result, which has the same dtype.
            work: does not wait for the GPU.

        Returns:
            planes in pinned memory; None if the GPU lacks memory for one such picture.
        """
        sizes = tuple(plane.shape for plane in planes), tuple(shapes)
        while True:
            with self._free_lane() as (lane, allowed):
                if sizes in self._too_large:  # another thread may have found out
                    return None
                try:
                    return self._run(planes, shapes, work, lane)
                except torch.cuda.OutOfMemoryError:
                    pass  # handled below, because the exception keeps the tensors alive
            self._free_memory(sizes, allowed)

    @contextmanager
    def _free_lane(self) -> Iterator[tuple[_Lane, int]]:
        """A lane, and how many pictures were allowed in flight when it was taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._running < self._allowed)
            self._running += 1
            lane, allowed = self._lanes.pop(), self._allowed
        try:
            yield lane, allowed
        finally:
            with self._changed:
                self._running -= 1
                self._lanes.append(lane)
                self._changed.notify_all()

    def _run(self, planes: Sequence[Plane], shapes: Sequence[tuple[int, int]], work: Work, lane: _Lane) -> list[Plane]:
        dtype = _DTYPES[planes[0].itemsize]
        uploaded = PlaneBuffer.on_host([plane.shape for plane in planes], dtype, pinned=self._is_gpu)
        for index, plane in enumerate(planes):
            np.copyto(uploaded.plane(index).numpy(), plane)
        result = PlaneBuffer.on_host(shapes, dtype, pinned=self._is_gpu)
        with torch.no_grad(), self._on(lane):
            source = PlaneBuffer(uploaded.data.to(self._device, non_blocking=True), uploaded.shapes)
            target = PlaneBuffer.empty(shapes, dtype, self._device)
            work(source, target)
            result.data.copy_(target.data, non_blocking=True)
            if lane.done is not None:
                lane.done.record()
        if lane.done is not None:
            lane.done.synchronize()
        return [result.plane(index).numpy() for index in range(len(shapes))]

    def _on(self, lane: _Lane) -> AbstractContextManager[object]:
        return nullcontext() if lane.stream is None else torch.cuda.stream(lane.stream)

    def _free_memory(self, sizes: tuple[Shapes, Shapes], allowed: int) -> None:
        """After a picture did not fit beside `allowed` - 1 others."""
        with self._changed:
            text = None  # said by another thread
            if allowed == 1:
                self._too_large.add(sizes)
                text = "the CPU takes over"
            elif self._allowed >= allowed:
                self._allowed = allowed - 1
                text = f"{self._allowed} in flight instead of {allowed}"
        if self._is_gpu:
            torch.cuda.empty_cache()  # each stream keeps its own
        if text is not None:
            logger.warning(
                "the GPU is out of memory for pictures of %dx%d: %s", *max(sizes[0][0], sizes[1][0])[::-1], text
            )


def gpu_frames() -> GpuFrames:
    """Those of this process: what is in flight on a GPU shares its memory."""
    with _making:
        return _frames_on(devices.gpu())


@lru_cache(maxsize=4)
def _frames_on(device: torch.device) -> GpuFrames:
    in_flight = IN_FLIGHT if device.type == "cuda" else 1  # Triton's interpreter runs one kernel at a time
    return GpuFrames(device, in_flight)

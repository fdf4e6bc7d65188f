"""The steps of a pair on a GPU: fixed filters for the planes, then a network for luma."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from vidscale.media.frames import Plane, YuvImage
from vidscale.models.gpu.frames import gpu_frames
from vidscale.models.resampling import Resampling
from vidscale.triton_kernels._triton_import import TRITON_AVAILABLE
from vidscale.triton_kernels.plane_buffer import PlaneBuffer

LumaStep = Callable[[Tensor, Tensor], Any]
"""Writes the second plane of luma codes from the first, or changes it; both on the GPU."""


def scaled_on_gpu(
    image: YuvImage, resampling: Resampling, luma_step: Callable[[], LumaStep] | None = None
) -> list[Plane] | None:
    """Scales a picture: one upload, one download.

    Args:
        image: the picture, in host memory.
        resampling: filters of its planes.
        luma_step: gives the step that follows for luma; None for none.

    Returns:
        all planes; None if the GPU lacks memory for one such picture.
    """

    def work(source: PlaneBuffer, target: PlaneBuffer) -> None:
        resample(source, target, resampling, image.format.bit_depth)
        if luma_step is not None:
            luma_step()(source.plane(0), target.plane(0))

    return gpu_frames().run(image.planes, resampling.sizes, work)


def resample(source: PlaneBuffer, target: PlaneBuffer, resampling: Resampling, bit_depth: int) -> None:
    """Resamples or copies each plane of a frame into another on the same device, as `Resampling` says."""
    for index in resampling.copies:
        target.plane(index).copy_(source.plane(index))
    wanted = [(index, kind) for index, kind in enumerate(resampling.kinds) if kind is not None]
    if TRITON_AVAILABLE and wanted:
        from vidscale.triton_kernels.polyphase_triton import PlaneFilter, polyphase_planes_triton

        filters = [PlaneFilter(index, kind, resampling.sitings[index]) for index, kind in wanted]
        polyphase_planes_triton(source, target, filters, step=resampling.step, bit_depth=bit_depth)
        return
    from vidscale.triton_kernels.polyphase_ref import polyphase_ref

    for index, kind in wanted:
        scaled = polyphase_ref(
            source.plane(index),
            step=resampling.step,
            siting=resampling.sitings[index],
            size=resampling.sizes[index],
            kind=kind,
            bit_depth=bit_depth,
        )
        target.plane(index).copy_(scaled)

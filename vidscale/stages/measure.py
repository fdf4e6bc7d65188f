"""The measuring stage: scores of a pair of frames."""

from collections.abc import Callable

from vidscale.config import SsimKind
from vidscale.errors import MeasureError
from vidscale.media.frames import Frame, PixelFormat
from vidscale.report.rows import FrameScore
from vidscale.system.threads import Clock
from vidscale.triton_kernels.metrics import squared_error, ssim_ffmpeg, ssim_gaussian

_SSIM: dict[SsimKind, Callable[..., float]] = {"gaussian": ssim_gaussian, "ffmpeg": ssim_ffmpeg}


def is_luma_of(ref: PixelFormat, dist: PixelFormat) -> bool:
    """Whether only luma is compared: for a gray source, since gray H.264 is decoded as 4:2:0."""
    return ref.chroma == "gray" and ref.bit_depth == dist.bit_depth


def score(index: int, ref: Frame, dist: Frame, ssim: SsimKind, clock: Clock) -> FrameScore:
    """One row of the report.

    Args:
        index: number of the pair, from 0.
        ref, dist: frames of the same size and format.
        ssim: the window.
        clock: counts pictures and time.

    Raises:
        MeasureError: the frames differ in size or format.
    """
    if ref.format != dist.format or (ref.height, ref.width) != (dist.height, dist.width):
        raise MeasureError(
            f"frames at {float(ref.time):.3f} s cannot be compared: {ref.width}x{ref.height} {ref.format.name} "
            f"against {dist.width}x{dist.height} {dist.format.name}"
        )
    depth = ref.format.bit_depth
    with clock.measure():
        planes = list(zip(ref.planes, dist.planes, strict=True))
        mse = tuple(float(squared_error(a, b)) / a.size for a, b in planes)
        similarity = tuple(_SSIM[ssim](a, b, bit_depth=depth) for a, b in planes)
    return FrameScore(
        index=index, pts_s=ref.time, pict_type=dist.pict_type, bytes=dist.coded_bytes, mse=mse, ssim=similarity
    )

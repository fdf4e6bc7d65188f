"""The measuring stage: pairs two streams of frames by time and scores each pair."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

from vidscale.config import SsimKind
from vidscale.errors import MeasureError
from vidscale.media.frames import Frame, PixelFormat
from vidscale.report.rows import FrameScore, Unpaired
from vidscale.system.threads import Clock
from vidscale.triton_kernels.metrics import squared_error, ssim_ffmpeg, ssim_gaussian

_SSIM: dict[SsimKind, Callable[..., float]] = {"gaussian": ssim_gaussian, "ffmpeg": ssim_ffmpeg}


def paired(
    ref: Iterable[Frame],
    dist: Iterable[Frame],
    unpaired: Unpaired,
    *,
    offset_s: Fraction = Fraction(0),
    slack_s: Fraction = Fraction(0),
) -> Iterator[tuple[Frame, Frame]]:
    """Pairs of frames with the same time: the nearest within half a tick of the coarser time base, one to one.

    Both streams must be in increasing order. A frame without a partner is added to ``unpaired``, never paired
    with a neighbour.

    Args:
        ref, dist: the frames.
        unpaired: filled in while pairing, in the times of ``ref``.
        offset_s: delay of ``dist``, seconds.
        slack_s: tolerance beyond half a tick, seconds.
    """
    refs, dists = iter(ref), iter(dist)

    def ref_time(frame: Frame) -> Fraction:
        return frame.time - offset_s

    ours, theirs = next(refs, None), next(dists, None)
    while ours is not None and theirs is not None:
        tolerance = max(ours.time_base, theirs.time_base) / 2 + slack_s
        distance = ours.time - ref_time(theirs)
        if distance < -tolerance:
            unpaired.ref_only.append(ours.time)
            ours = next(refs, None)
            continue
        if distance > tolerance:
            unpaired.dist_only.append(ref_time(theirs))
            theirs = next(dists, None)
            continue
        following, candidate = next(refs, None), next(dists, None)
        # A later frame may be nearer when the tolerance exceeds the frame interval; then this one has no partner.
        if candidate is not None and abs(ours.time - ref_time(candidate)) < abs(distance):
            unpaired.dist_only.append(ref_time(theirs))
            yield ours, candidate
            ours, theirs = following, next(dists, None)
        elif following is not None and abs(following.time - ref_time(theirs)) < abs(distance):
            unpaired.ref_only.append(ours.time)
            yield following, theirs
            ours, theirs = next(refs, None), candidate
        else:
            yield ours, theirs
            ours, theirs = following, candidate
    while ours is not None:
        unpaired.ref_only.append(ours.time)
        ours = next(refs, None)
    while theirs is not None:
        unpaired.dist_only.append(ref_time(theirs))
        theirs = next(dists, None)


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

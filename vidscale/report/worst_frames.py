"""Keeps the worst frames during measurement and renders them for the page.

Memory use does not depend on the video's length, and little on its size: planes are averaged down to about their width
on the page.
"""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vidscale.media.frames import Frame, PixelFormat, Plane
from vidscale.report.rows import FrameScore, SourceFacts, WorstFrame
from vidscale.triton_kernels.polyphase import polyphase_resample
from vidscale.web.pictures import EncodedImage, encode_image

if TYPE_CHECKING:
    import av

KEPT = 4  # frames
PICTURE_WIDTH = 960
APART_S = 1
AMPLIFICATION = 8
WEBP_QUALITY = 92

# swscale's constants for matrices (SWS_CS_*) and ranges, by ffmpeg's names.
_SWS_MATRIX = {
    "bt709": 1,
    "fcc": 4,
    "bt470bg": 5,
    "smpte170m": 5,
    "smpte240m": 7,
    "bt2020nc": 9,
}
_SWS_RANGE = {"tv": 1, "pc": 2}
# Colours of the error picture from no error to PEAK / AMPLIFICATION codes, dark to bright even in grayscale.
HEAT = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))


class WorstFrames:
    """Keeps the frames with the lowest PSNR-Y, at least one second apart; perfect frames are never kept.

    Only the worst frame of each second is a candidate. A chosen frame rules out at most two others (in the second
    before and the second after), so three candidates per kept frame are enough for a video of any length.

    Args:
        keep: number of frames to keep, 0 or more.
    """

    def __init__(self, keep: int = KEPT) -> None:
        if keep < 0:
            raise ValueError(f"keep must not be negative: {keep = }")
        self._keep = keep
        self._by_second: dict[int, WorstFrame] = {}
        self._worst_of_second: tuple[FrameScore, Frame, Frame] | None = None

    def offer(self, score: FrameScore, ref_frame: Frame, dist_frame: Frame) -> None:
        """Offers a frame pair of equal format and size, in presentation order.

        The worst pair of the current second is only downscaled when the second is over: if quality keeps falling,
        downscaling every new worst frame would cost more than measuring.
        """
        ref, dist = ref_frame, dist_frame
        if ref.format != dist.format or ref.planes[0].shape != dist.planes[0].shape:
            raise ValueError(f"frames differ: {ref.format = }, {dist.format = }, {ref.width = }, {dist.width = }")
        if self._keep == 0:
            return
        held = self._worst_of_second
        if held is not None and _second(held[0]) != _second(score):
            self._settle()
            held = None
        if score.mse[0] > (held[0].mse[0] if held is not None else 0):
            self._worst_of_second = (score, ref, dist)

    def _settle(self) -> None:
        """Ends a second: its worst frame becomes a candidate if it is worse than the best candidate."""
        held, self._worst_of_second = self._worst_of_second, None
        if held is None:
            return
        if len(self._by_second) >= 3 * self._keep:
            rival = min(self._by_second.values(), key=_error)
            if held[0].mse[0] <= _error(rival):
                return
            del self._by_second[_second(rival.score)]
        self._by_second[_second(held[0])] = _worst_frame(*held)

    def frames(self) -> tuple[WorstFrame, ...]:
        """The frames to show, worst first."""
        self._settle()
        frames = {frame.score.index: frame for frame in self._by_second.values()}
        return tuple(frames[score.index] for score in _chosen([frame.score for frame in frames.values()], self._keep))


def worst_scores(scores: Iterable[FrameScore], keep: int = KEPT) -> list[FrameScore]:
    """The frames that `WorstFrames` keeps, by their scores in presentation order; in that order, too."""
    by_second: dict[int, FrameScore] = {}
    for score in scores:
        held = by_second.get(_second(score))
        if score.mse[0] > (held.mse[0] if held is not None else 0):
            by_second[_second(score)] = score
    return sorted(_chosen(list(by_second.values()), keep), key=lambda score: score.index)


def _chosen(candidates: Sequence[FrameScore], keep: int) -> list[FrameScore]:
    """The worst ones that are far enough apart, worst first."""
    chosen: list[FrameScore] = []
    for candidate in sorted(candidates, key=lambda score: score.mse[0], reverse=True):
        if len(chosen) < keep and all(abs(candidate.pts_s - other.pts_s) >= APART_S for other in chosen):
            chosen.append(candidate)
    return chosen


def pictures(frame: WorstFrame, source: SourceFacts) -> tuple[EncodedImage, EncodedImage, EncodedImage]:
    """Source, restored and error picture of a frame, at most `PICTURE_WIDTH` wide.

    The error picture shows the root mean squared luma error from 0 to peak / `AMPLIFICATION` code values, in the
    colours of `HEAT`. HDR is not tone-mapped: its codes are shown as SDR.
    """
    level = np.minimum(frame.error * (AMPLIFICATION / source.format.peak), 1.0) * (len(HEAT) - 1)
    heat = np.stack([np.interp(level, np.arange(len(HEAT)), channel) for channel in zip(*HEAT, strict=True)], axis=-1)
    return (
        _encode(_yuv_frame(frame.ref, source), source),
        _encode(_yuv_frame(frame.dist, source), source),
        _encode(_rgb_frame(np.round(heat).astype(np.uint8)), source),
    )


def shown_rgb(planes: tuple[Plane, ...], source: SourceFacts) -> "av.VideoFrame":
    """Planes at full size as rgb24, with the same matrix and range as `pictures`."""
    from av.video.reformatter import Interpolation, VideoReformatter

    matrix, color_range = _shown_colors(source)
    return VideoReformatter().reformat(
        _yuv_frame(planes, source),
        format="rgb24",
        src_colorspace=_SWS_MATRIX[matrix],
        dst_colorspace=_SWS_MATRIX[matrix],
        src_color_range=_SWS_RANGE[color_range],
        dst_color_range=_SWS_RANGE["pc"],
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
    )


def color_notes(source: SourceFacts) -> list[str]:
    """Sentences on the colour conversion of the pictures and its assumptions."""
    color = source.color
    matrix, color_range = _shown_colors(source)
    unsaid = [word for word, value in (("matrix", color.matrix), ("range", color.color_range)) if value is None]
    made = f"Pictures: {matrix} matrix, {color_range} range"
    if unsaid:
        made += f" ({' and '.join(unsaid)} assumed, unspecified in the source)"
    elif color.matrix != matrix:
        made += f" (instead of {color.matrix})"
    notes = [f"{made}; at most {PICTURE_WIDTH} pixels wide, WebP quality {WEBP_QUALITY}."]
    if color.is_hdr:
        notes.append("HDR pictures are shown without tone mapping: flatter and darker than on an HDR screen.")
    return notes


def _error(frame: WorstFrame) -> float:
    return frame.score.mse[0]


def _second(score: FrameScore) -> int:
    return math.floor(score.pts_s / APART_S)


def _worst_frame(score: FrameScore, ref: Frame, dist: Frame) -> WorstFrame:
    factor, depth = max(1, ref.width // PICTURE_WIDTH), ref.format.bit_depth
    return WorstFrame(
        score=score,
        ref=tuple(_reduced(plane, factor, depth) for plane in ref.planes),
        dist=tuple(_reduced(plane, factor, depth) for plane in dist.planes),
        error=_error_map(ref.planes[0], dist.planes[0], factor),
        reduction=factor,
    )


def _reduced(plane: Plane, factor: int, bit_depth: int) -> Plane:
    """Averages factor x factor samples; sides round up, so that 4:2:0 stays 4:2:0."""
    if factor == 1:
        return plane.copy()
    size, half = (-(-plane.shape[0] // factor), -(-plane.shape[1] // factor)), Fraction(1, 2)
    return polyphase_resample(
        plane, step=Fraction(factor), siting=(half, half), size=size, kind="area", bit_depth=bit_depth
    )


def _error_map(ref: Plane, dist: Plane, factor: int) -> npt.NDArray[np.float32]:
    """Root mean squared error over factor x factor samples; sides round up, edges are replicated."""
    difference = np.subtract(ref, dist, dtype=np.int32)
    if ref.shape[0] % factor or ref.shape[1] % factor:
        difference = np.pad(difference, [(0, -side % factor) for side in ref.shape], mode="edge")
    total = np.zeros(-(-np.array(ref.shape) // factor), dtype=np.float32)
    for y in range(factor):
        for x in range(factor):
            part = difference[y::factor, x::factor].astype(np.float32)
            total += part * part
    return np.asarray(np.sqrt(total / factor**2), dtype=np.float32)


def _shown_colors(source: SourceFacts) -> tuple[str, str]:
    """Matrix and range for display; guessed as players do if the source does not specify them."""
    color = source.color
    matrix, color_range = color.matrix, color.color_range
    if matrix not in _SWS_MATRIX:
        by_size = "bt709" if source.height >= 720 else "smpte170m"
        matrix = "bt2020nc" if color.primaries == "bt2020" else by_size
    if color_range not in _SWS_RANGE:
        color_range = "pc" if source.format.chroma == "gray" else "tv"
    return matrix, color_range


def _yuv_frame(planes: tuple[Plane, ...], source: SourceFacts) -> "av.VideoFrame":
    import av

    name = source.format.name
    if source.format.chroma == "gray":
        # swscale always treats gray as full range; with neutral chroma it respects the range.
        neutral = np.full_like(planes[0], 1 << (source.format.bit_depth - 1))
        planes, name = (planes[0], neutral, neutral), PixelFormat("444", source.format.bit_depth).name
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, name)
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(memoryview(target), dtype=plane.dtype).reshape(-1, target.line_size // plane.itemsize)
        rows[: plane.shape[0], : plane.shape[1]] = plane
    return frame


def _rgb_frame(pixels: npt.NDArray[np.uint8]) -> "av.VideoFrame":
    import av

    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")


def _encode(frame: "av.VideoFrame", source: SourceFacts) -> EncodedImage:
    """The frame as RGB, at most `PICTURE_WIDTH` wide."""
    from av.video.reformatter import Interpolation, VideoReformatter

    matrix, color_range = _shown_colors(source)
    width = min(frame.width, PICTURE_WIDTH)
    rgb = VideoReformatter().reformat(
        frame,
        width=width,
        height=max(1, round(frame.height * width / frame.width)),
        format="bgra",
        src_colorspace=_SWS_MATRIX[matrix],
        dst_colorspace=_SWS_MATRIX[matrix],
        src_color_range=_SWS_RANGE[color_range if frame.format.name != "rgb24" else "pc"],
        dst_color_range=_SWS_RANGE["pc"],
        interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
    )
    return encode_image(rgb, WEBP_QUALITY)

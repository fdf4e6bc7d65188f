"""Temporal alignment of two videos by their pictures, for videos that were cut or remuxed."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.errors import MeasureError
from vidscale.media.frames import Frame
from vidscale.triton_kernels.polyphase import polyphase_resample

COMPARED_S = 5  # overlap at the largest offset, seconds
_COLUMNS = 64  # of a thumbnail
_ANCHORS = 24  # frames from which the candidate offsets are computed
_MAX_MISFIT = 0.5  # squared distance of partners, over that of any two pictures of the same part
_MIN_MARGIN = 1.3  # ratio of the second best misfit to the best; at least 1.6 for badly encoded real video

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Offset:
    """Time offset between two videos.

    Attributes:
        seconds: delay of the second video's times, exact for the compared frames.
        slack: tolerance for rounded times of partners beyond half a tick, seconds.
        doubt_s: when the result is ambiguous and zero was assumed, the largest offset that fits as well; else 0.
    """

    seconds: Fraction = Fraction(0)
    slack: Fraction = Fraction(0)
    doubt_s: float = 0.0


class _Strip:
    """Thumbnails of the beginning of a video.

    Attributes:
        times: exact presentation times.
        seconds: [N], the same as floats.
        pictures: [N, rows * columns], 8-bit codes, float.
    """

    def __init__(self, frames: Iterable[Frame], size: tuple[Fraction, Fraction], length_s: Fraction) -> None:
        self.times: list[Fraction] = []
        self.tick = Fraction(0)
        pictures: list[npt.NDArray[Any]] = []
        for frame in frames:
            if self.times and frame.time - self.times[0] > length_s:
                break
            self.tick = frame.time_base
            self.times.append(frame.time)
            pictures.append(_thumbnail(frame, size))
        self.rows = min((len(picture) for picture in pictures), default=0)
        self._pictures = pictures
        self.seconds = np.array([float(time) for time in self.times])

    def matrix(self, rows: int) -> Floats:
        """The thumbnails' first rows, [N, rows * columns]."""
        return np.stack([picture[:rows].ravel() for picture in self._pictures]).astype(np.float64)

    @property
    def step_s(self) -> float:
        """Median distance of neighbouring frames, seconds."""
        return float(median(b - a for a, b in pairwise(self.seconds)))


def find_offset(
    ref: Iterable[Frame],
    dist: Iterable[Frame],
    *,
    window_s: Fraction,
    dist_size: tuple[Fraction, Fraction],
    ref_size: tuple[Fraction, Fraction],
) -> Offset:
    """Finds the constant offset between the times of two videos with the same content.

    Thumbnails of the first ``window_s + COMPARED_S`` seconds of both are compared at every offset that aligns two
    frames. The one with the smallest mean squared distance wins if it is the smallest by a clear margin.

    Args:
        ref, dist: frames from the start, in increasing order; only as many as needed are consumed.
        window_s: largest offset in either direction, seconds.
        dist_size, ref_size: (height, width) in luma samples of the part of the picture that both show; the rest of a
            frame is padding.

    Raises:
        MeasureError: no offset fits, or several fit equally well.
    """
    length = window_s + COMPARED_S
    ours, theirs = _Strip(ref, ref_size, length), _Strip(dist, dist_size, length)
    if min(len(ours.times), len(theirs.times)) < 3:
        raise MeasureError("--align: too few frames to find an offset")
    search = _Search(ours, theirs)
    offsets = search.offsets(float(window_s))
    fits = np.array([search.misfit(offset) for offset in offsets])
    best = int(fits.argmin())
    if not fits[best] <= _MAX_MISFIT:
        raise MeasureError(f"--align: the pictures match at no offset within {float(window_s):g} s")
    alike = offsets[fits < _MIN_MARGIN * fits[best] + 1e-6]
    if np.ptp(alike) < 0.6 * ours.step_s:
        return search.exact(float(offsets[best]))
    if np.abs(alike).min() < 0.6 * ours.step_s:  # zero fits as well
        return Offset(doubt_s=float(np.abs(alike).max()))
    raise MeasureError(f"--align: offsets from {alike.min():.3f} to {alike.max():.3f} s fit equally well")


class _Search:
    """Distances between all thumbnails of one strip and all of the other."""

    def __init__(self, ours: _Strip, theirs: _Strip) -> None:
        self._ours, self._theirs = ours, theirs
        rows = min(ours.rows, theirs.rows)
        a, b = ours.matrix(rows), theirs.matrix(rows)
        middle = a.mean(axis=0)
        a, b = a - middle, b - middle
        self._samples = a.shape[1]
        self._squares = (a * a).sum(axis=1), (b * b).sum(axis=1)
        self._distances = (self._squares[0][:, None] + self._squares[1] - 2 * a @ b.T) / self._samples
        self._sums = np.concatenate([np.zeros((1, a.shape[1])), a.cumsum(axis=0)])
        self._half = ours.step_s / 2

    def offsets(self, window_s: float) -> Floats:
        """Candidate offsets, seconds: those that align an anchor of the second video with any frame of the first."""
        anchors = np.linspace(0, len(self._theirs.seconds) - 1, _ANCHORS).round().astype(int)
        found = (self._theirs.seconds[anchors][:, None] - self._ours.seconds).ravel()
        found = np.unique((found[np.abs(found) <= window_s] / (self._half / 4)).round()) * (self._half / 4)
        return np.asarray(found, dtype=np.float64)

    def partners(self, offset: float) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Indices of the frames that are paired at an offset: the nearest within half a frame interval."""
        wanted = self._theirs.seconds - offset
        after = np.searchsorted(self._ours.seconds, wanted).clip(1, len(self._ours.seconds) - 1)
        before = after - 1
        gap_after = np.abs(self._ours.seconds[after] - wanted)
        nearest = np.where(gap_after < np.abs(self._ours.seconds[before] - wanted), after, before)
        near = np.abs(self._ours.seconds[nearest] - wanted) <= self._half
        return nearest[near], np.flatnonzero(near)

    def misfit(self, offset: float) -> float:
        """Mean squared distance of partners over the variance of that part of the video: 0 identical, 1 unrelated."""
        ours, theirs = self.partners(offset)
        shorter = min(strip.seconds[-1] - strip.seconds[0] for strip in (self._ours, self._theirs))
        if len(ours) < 3 or len(ours) * 2 * self._half < min(COMPARED_S, shorter) / 2:
            return np.inf
        first, last = ours.min(), ours.max() + 1
        mean = (self._sums[last] - self._sums[first]) / (last - first)
        variance = self._squares[0][first:last].mean() / self._samples - float(mean @ mean) / self._samples
        distances = np.sort(self._distances[ours, theirs])
        kept = distances[: max(3, len(distances) * 9 // 10)]  # ignores a few damaged frames
        return float(kept.mean() / max(variance, 0.05))

    def exact(self, offset: float) -> Offset:
        """The offset as the midpoint of the partners' time differences, which rounding spreads."""
        ours, theirs = self.partners(offset)
        apart = [self._theirs.times[b] - self._ours.times[a] for a, b in zip(ours, theirs, strict=True)]
        tick = max(self._ours.tick, self._theirs.tick)
        spread = max(apart) - min(apart)
        quarter = min(b - a for a, b in pairwise(self._ours.times)) / 4
        slack = max(Fraction(0), min((tick - spread) / 2, quarter))
        seconds = (max(apart) + min(apart)) / 2
        return Offset(seconds if abs(seconds) > tick / 2 else Fraction(0), slack)


def _thumbnail(frame: Frame, size: tuple[Fraction, Fraction]) -> npt.NDArray[Any]:
    """Luma averaged over squares, `_COLUMNS` of them per row, in 8-bit codes."""
    height, width = size
    step = max(Fraction(1), width / _COLUMNS)
    shape = max(1, int(height / step)), max(1, int(width / step))
    half = Fraction(1, 2)
    small = polyphase_resample(
        frame.planes[0], step=step, siting=(half, half), size=shape, kind="area", bit_depth=frame.format.bit_depth
    )
    return small.astype(np.float32) / (1 << (frame.format.bit_depth - 8))

"""What the probes say: rate and quality of each way where the goal is met, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from vidscale.compare.points import Candidate
from vidscale.compare.trials.measuring import stored_name
from vidscale.config import EncodeSettings
from vidscale.media.encoders import ENCODERS
from vidscale.media.probe import Source
from vidscale.per_title.curves import RateCurve, RatePoint, finite_quality, pooled, typical_slope
from vidscale.per_title.parts import Sampling
from vidscale.per_title.probes import PartProbe, Probe
from vidscale.per_title.sizes import expected_keyframes
from vidscale.quality import Metric

_INTERPOLATION = 0.01  # of the rate, between probes: encoders do not follow a smooth curve
_SLOPE_ERROR = 0.35  # of the usual change of rate with crf, from movie to movie
_ONE_PART = 0.10  # of the rate, when there is nothing to tell how movies differ from their parts
_NO_DIFFERENCE: dict[Metric, float] = {"psnr_y": 50.0, "ssim_y": 1.0}  # above these nobody sees one
# Student's t for a 90 % interval, by degrees of freedom.
_T90 = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89)


@dataclass(frozen=True, slots=True)
class Goal:
    """Where ways are compared: at a quality, or at a size. With neither at the quality that the anchor has at a crf.

    Attributes:
        metric: of the quality.
        percentile: of the frames that the quality is for; None for the mean.
        crf: of the anchor, in steps of the encoder.
        quality: value of the metric.
        video_bytes: bytes of the video.
    """

    metric: Metric
    percentile: float | None = None
    crf: float | None = None
    quality: float | None = None
    video_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class SampledMovie:
    """What is known of the movie that the parts stand for.

    Attributes:
        frames: their number.
        keyframes: number of keyframes to expect.
        is_whole: the one part is the movie.
        bit_depth: of luma.
    """

    frames: int
    keyframes: float
    is_whole: bool
    bit_depth: int

    def video_bytes(self, parts: Sequence[PartProbe]) -> float:
        """Bytes of the movie, from its parts: by type of frame, because keyframes are more frequent in them."""
        if self.is_whole:
            return float(sum(part.total_bytes for part in parts))
        inter_frames = sum(part.inter_frames for part in parts)
        keys = [size for part in parts for size in part.key_bytes]
        if not inter_frames or not keys:
            return self.frames * sum(part.total_bytes for part in parts) / sum(part.coded_frames for part in parts)
        inter = sum(part.inter_bytes for part in parts) / inter_frames
        return inter * (self.frames - self.keyframes) + self.keyframes * sum(keys) / len(keys)


def sampled_movie(source: Source, settings: EncodeSettings, sampling: Sampling) -> SampledMovie:
    """What is known of a movie from its container, for evidence from its parts."""
    return SampledMovie(
        sampling.frames,
        expected_keyframes(source, settings, sampling.frames),
        is_whole=sampling.is_whole,
        bit_depth=source.video.format.bit_depth,
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """Bits of one way against another where both meet the goal, as a share: -0.2 is a fifth less.

    Attributes:
        bits: best estimate.
        low, high: 90 % interval, from the spread over the parts.
    """

    bits: float
    low: float
    high: float


class Evidence:
    """All probes of a movie.

    Args:
        anchor: the way that others are compared with.
        goal: where.
        movie: what the parts stand for.
        metrics: what was measured.
        probes: by way; the anchor among them.
    """

    def __init__(
        self,
        anchor: Candidate,
        goal: Goal,
        movie: SampledMovie,
        metrics: Sequence[Metric],
        probes: Mapping[Candidate, Sequence[Probe]],
    ) -> None:
        self.anchor, self.goal, self.movie, self.metrics = anchor, goal, movie, tuple(metrics)
        self.probes = probes
        self._curves: dict[tuple[Candidate, int | None], RateCurve] = {}

    @property
    def parts(self) -> int:
        """Number of parts."""
        return len(self.probes[self.anchor][0].parts)

    def curve(self, way: Candidate, without: int | None = None) -> RateCurve:
        """The curve of a way, from all parts or all but one."""
        key = way, without
        if key not in self._curves:
            points = [self.point(probe, without) for probe in self.probes[way]]
            self._curves[key] = RateCurve(points, ENCODERS[way.codec].crf_max)
        return self._curves[key]

    def point(self, probe: Probe, without: int | None = None) -> RatePoint:
        """A probe as a point of the movie."""
        parts = [part for index, part in enumerate(probe.parts) if index != without]
        quality = {metric: self._quality(metric, parts) for metric in self.metrics}
        return RatePoint(probe.crf, quality, max(1.0, self.movie.video_bytes(parts)))

    def wanted(self, without: int | None = None) -> float | None:
        """The quality to reach; None when the goal is a size."""
        if self.goal.crf is not None:
            return self.curve(self.anchor, without).quality(self.goal.metric, self.goal.crf)
        return self.goal.quality

    def crf(self, way: Candidate, without: int | None = None) -> float:
        """The crf at which a way meets the goal."""
        if way == self.anchor and self.goal.crf is not None:
            return self.goal.crf
        curve, wanted = self.curve(way, without), self.wanted(without)
        if wanted is not None:
            return curve.crf_of_quality(self.goal.metric, wanted)
        return curve.crf_of_bytes(self.goal.video_bytes or 1.0)

    def log_ratio(self, way: Candidate, metric: Metric | None = None, without: int | None = None) -> float:
        """Logarithm of a way's bits over those of the anchor at equal quality.

        Args:
            way: where it meets the goal.
            metric: of the quality; None is that of the goal.
            without: index of a part to leave out.
        """
        if way == self.anchor:
            return 0.0
        by = metric or self.goal.metric
        curve, anchor = self.curve(way, without), self.curve(self.anchor, without)
        crf = self.crf(way, without)
        if by == self.goal.metric and self.wanted(without) is not None:
            anchor_crf = self.crf(self.anchor, without)
        else:
            anchor_crf = self._anchor_crf(way, by, without)
        return log(curve.video_bytes(crf) / anchor.video_bytes(anchor_crf))

    def lost(self, way: Candidate, judge: Metric | None = None) -> dict[Metric, float]:
        """PSNR-Y (dB) and SSIM-Y of a way below the anchor's at equal quality, as far as they were measured.

        Args:
            way: where it meets the goal.
            judge: metric of the quality; None is that of the goal.
        """
        curve, anchor, crf = self.curve(way), self.curve(self.anchor), self.crf(way)
        anchor_crf = crf if way == self.anchor else self._anchor_crf(way, judge or self.goal.metric)
        return {
            metric: min(anchor.quality(metric, anchor_crf), best) - min(curve.quality(metric, crf), best)
            for metric, best in _NO_DIFFERENCE.items()
            if metric in self.metrics
        }

    def _anchor_crf(self, way: Candidate, metric: Metric, without: int | None = None) -> float:
        """The crf at which the anchor has the quality of a way where that meets the goal."""
        quality = self.curve(way, without).quality(metric, self.crf(way, without))
        return self.curve(self.anchor, without).crf_of_quality(metric, quality)

    def difference(self, way: Candidate, other: Candidate | None = None, metric: Metric | None = None) -> Difference:
        """Bits of a way against another, None is the anchor; the interval is a jackknife over the parts."""
        against = other or self.anchor

        def ratio(without: int | None) -> float:
            return self.log_ratio(way, metric, without) - self.log_ratio(against, metric, without)

        best, count = ratio(None), self.parts
        between = _INTERPOLATION + self._guessed(way) + self._guessed(against)
        if way == against:
            margin = 0.0
        elif count > 1:
            values = np.array([ratio(index) for index in range(count)])
            spread = np.sqrt((count - 1) / count * np.square(values - values.mean()).sum())
            margin = _T90[min(count - 1, len(_T90)) - 1] * float(spread) + between
        else:
            margin = between if self.movie.is_whole else _ONE_PART
        return Difference(*(float(np.expm1(value)) for value in (best, best - margin, best + margin)))

    def _guessed(self, way: Candidate) -> float:
        """Uncertainty of the logarithm of a way's rate where it follows from a single probe and the usual slope."""
        if len(self.probes[way]) > 1:
            return 0.0
        curve = self.curve(way)
        return _SLOPE_ERROR * -typical_slope(None, 0.0, curve.crf_max) * curve.distance(self.crf(way))

    def _quality(self, metric: Metric, parts: Sequence[PartProbe]) -> float:
        """Of all measured frames: the mean, or the percentile that the goal is for."""
        values = np.concatenate([part.scores[stored_name(metric)] for part in parts])
        values = values[~np.isnan(values)]
        if not values.size:
            return 0.0
        percentile = self.goal.percentile if metric == self.goal.metric else None
        return finite_quality(metric, pooled(metric, values, percentile, self.movie.bit_depth))

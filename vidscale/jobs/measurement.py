"""One pass over a video and its source: pairs, scores, shots, worst frames."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction

from vidscale.config import MeasureSettings
from vidscale.errors import MeasureError
from vidscale.media.ffmpeg import Ffmpeg
from vidscale.media.frames import Frame, PixelFormat, VideoInfo, added_bytes
from vidscale.report.rows import FrameScore, Unpaired
from vidscale.report.worst_frames import WorstFrames
from vidscale.stages.align import Offset
from vidscale.stages.measure import is_luma_of, score
from vidscale.stages.pairing import paired
from vidscale.stages.perceptual import PerceptualMeter, with_scores
from vidscale.stages.read_log import ReadLog
from vidscale.stages.shots import ShotFinder
from vidscale.system.progress import Progress
from vidscale.system.threads import Clock, Prefetch, core_count, in_order, queue_depth

_MAX_THREADS = 4  # decoding needs the others

_Pair = tuple[Frame, Frame]
_Sizes = deque[tuple[Fraction, int | None]]  # of frames: time, coded bytes


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The part of a movie that is measured, as times of the source's frames; None for the beginning and the end."""

    start_s: Fraction | None = None
    end_s: Fraction | None = None

    def is_before(self, frame: Frame) -> bool:
        """Whether the part begins later."""
        return self.start_s is not None and frame.time < self.start_s

    def is_behind(self, frame: Frame) -> bool:
        """Whether the part ends earlier."""
        return self.end_s is not None and frame.time >= self.end_s


@dataclass(slots=True)
class Measurement:
    """Results of one pass over both videos, filled in by `run`.

    Attributes:
        every: every Nth pair is measured.
        offset: time offset between the two.
        luma_only: score luma only, without shots and worst frames.
        window: the part that is measured; other frames of the source are compared with their neighbours only.
        rows: one per measured pair.
        unpaired: frames without a partner.
        worst, shots: of the pairs.
        ref_log, dist_log: problems found while reading the files.
        clocks: by stage.
        pairs: number of pairs, measured or not.
        first_s, last_s: times of the first and the last pair.
        shown_s: display duration of the last one, None when unknown.
        ref_bytes: coded size of the source's frames in the compared part, as far as known.
        span_bytes: coded size of the frames from each measured one to the next, with or without a partner.
    """

    every: int = 1
    offset: Offset = field(default_factory=Offset)
    luma_only: bool = False
    window: TimeWindow = TimeWindow()
    rows: list[FrameScore] = field(default_factory=list)
    unpaired: Unpaired = field(default_factory=Unpaired)
    worst: WorstFrames = field(default_factory=WorstFrames)
    shots: ShotFinder = field(default_factory=ShotFinder)
    ref_log: ReadLog = field(default_factory=ReadLog)
    dist_log: ReadLog = field(default_factory=ReadLog)
    clocks: dict[str, Clock] = field(default_factory=dict)
    pairs: int = 0
    first_s: Fraction = Fraction(0)
    last_s: Fraction = Fraction(0)
    shown_s: Fraction | None = None
    ref_bytes: int = 0
    span_bytes: list[int | None] = field(default_factory=list)
    _before: int = 0
    _behind: list[Frame] = field(default_factory=list)
    _refs: _Sizes = field(default_factory=deque)  # read and not yet counted
    _dists: _Sizes = field(default_factory=deque)

    def clock(self, stage: str) -> Clock:
        """The clock of a stage."""
        return self.clocks.setdefault(stage, Clock(stage))

    def run(
        self,
        ref: Iterator[Frame],
        dist: Iterator[Frame],
        video: VideoInfo,
        settings: MeasureSettings,
        ffmpeg: Ffmpeg,
        progress: Progress,
        total: int | None = None,
    ) -> None:
        """Reads both videos once, in parallel, and measures their pairs.

        Args:
            ref, dist: frames of both, in increasing order.
            video: the source as compared.
            settings: the metrics.
            ffmpeg: a binary with the required filters.
            progress: advances with every pair.
            total: expected number of pairs, None when unknown.

        Raises:
            MeasureError: no frame has a partner, or a metric failed.
        """
        progress.start("measuring", total)
        depth = queue_depth(video.format.frame_bytes(video.height, video.width))
        with ExitStack() as stack:
            refs = stack.enter_context(Prefetch(ref, depth))
            dists = stack.enter_context(Prefetch(as_compared(dist, video.format), depth))
            meter = None
            if settings.vmaf or settings.xpsnr:
                meter = stack.enter_context(PerceptualMeter(ffmpeg, settings, video, every=self.every))
            within = _noted(self._within(refs, meter), self._refs)
            theirs = _noted(dists, self._dists)
            pairs = paired(within, theirs, self.unpaired, offset_s=self.offset.seconds, slack_s=self.offset.slack)
            self._score(pairs, settings, meter, progress)
            if not self.rows:
                raise MeasureError("no frame of one video has a partner in the other: their timestamps do not overlap")
            if meter is not None:
                for frame in self._behind:
                    meter.feed(frame, frame)
                scores = meter.scores()
                self.rows = with_scores(self.rows, scores[self._before : len(scores) - len(self._behind)])
        self._behind = []
        self._count_last(video)
        self.shots.end()
        if self.every > 1 or self.span_bytes != [row.bytes for row in self.rows]:
            spans = zip(self.rows, self.span_bytes, strict=True)
            self.rows = [replace(row, span_bytes=span) for row, span in spans]

    def _within(self, frames: Iterable[Frame], meter: PerceptualMeter | None) -> Iterator[Frame]:
        """The source's frames in the window. Those beside it count only as neighbours: VMAF and XPSNR take nothing else
        than motion from a neighbour, and that from the source."""
        for frame in frames:
            if self.window.is_behind(frame):
                self._behind.append(frame)
            elif self.window.is_before(frame):
                self._before += 1
                self.shots.show(frame)
                if meter is not None:
                    meter.feed(frame, frame)
            else:
                yield frame

    def _score(
        self, pairs: Iterator[_Pair], settings: MeasureSettings, meter: PerceptualMeter | None, progress: Progress
    ) -> None:
        """Scores the pairs in parallel threads, in order."""
        clock = self.clock("measure")

        def scored(item: tuple[int, _Pair]) -> tuple[FrameScore, _Pair]:
            index, (ours, theirs) = item
            return score(index, ours, theirs, settings.ssim, clock), (ours, theirs)

        # Luma-only jobs already run in parallel.
        threads = 1 if self.luma_only else min(core_count(), _MAX_THREADS)
        for row, (ours, theirs) in in_order(scored, self._wanted(pairs, meter, progress), threads):
            self.rows.append(row)
            if not self.luma_only:
                self.worst.offer(row, ours, theirs)

    def _wanted(
        self, pairs: Iterator[_Pair], meter: PerceptualMeter | None, progress: Progress
    ) -> Iterator[tuple[int, _Pair]]:
        """The pairs to score, with their numbers; all of them go through shot detection and the perceptual metrics."""
        finding = None if self.luma_only else self.clock("find shots")
        for index, (ours, theirs) in enumerate(pairs):
            wanted = self._count(ours, theirs)
            if finding is not None:
                with finding.measure():
                    self.shots.offer(ours, theirs.coded_bytes)
            if meter is not None:
                meter.feed(ours, theirs)
            if wanted:
                yield index, (_luma(ours), _luma(theirs)) if self.luma_only else (ours, theirs)
            progress.advance()

    def _count(self, ours: Frame, theirs: Frame) -> bool:
        """Counts a pair; returns whether to measure it."""
        self._count_alone(ours.time, theirs.time)
        self._refs.popleft()
        self._dists.popleft()
        wanted = self.pairs % self.every == 0
        if self.pairs == 0:
            self.first_s = ours.time
        self.last_s = ours.time
        self.shown_s = None if ours.duration is None else ours.duration * ours.time_base
        self.pairs += 1
        self.ref_bytes += ours.coded_bytes or 0
        if wanted:
            self.span_bytes.append(0)
        self.span_bytes[-1] = added_bytes(self.span_bytes[-1], theirs.coded_bytes)
        return wanted

    def _count_alone(self, ref_end_s: Fraction, dist_end_s: Fraction) -> None:
        """Counts the bytes of frames without a partner up to these times; those before the first pair do not count."""
        while self._refs and self._refs[0][0] < ref_end_s:
            _, size = self._refs.popleft()
            self.ref_bytes += (size or 0) if self.pairs else 0
        while self._dists and self._dists[0][0] < dist_end_s:
            _, size = self._dists.popleft()
            if self.pairs:
                self.span_bytes[-1] = added_bytes(self.span_bytes[-1], size)
                self.shots.count(size)

    def _count_last(self, video: VideoInfo) -> None:
        """Counts frames that are shown while the last pair is; later ones are outside the compared part."""
        duration = self.duration_s(video)
        if duration is not None:
            end_s = self.first_s + duration
            self._count_alone(end_s, end_s + self.offset.seconds)
        self._refs.clear()
        self._dists.clear()

    def duration_s(self, video: VideoInfo) -> Fraction | None:
        """Duration from the first pair to the end of the last, whose duration defaults to the mean frame interval."""
        if self.shown_s is not None:
            return self.last_s + self.shown_s - self.first_s
        if self.pairs > 1:
            return (self.last_s - self.first_s) * self.pairs / (self.pairs - 1)
        return 1 / video.frame_rate if video.frame_rate else None


def as_compared(frames: Iterator[Frame], ref: PixelFormat) -> Iterator[Frame]:
    """Frames without the planes that are not compared with those of the source, whose format is ``ref``."""
    for frame in frames:
        yield replace(frame, planes=frame.planes[:1], format=ref) if is_luma_of(ref, frame.format) else frame


def _luma(frame: Frame) -> Frame:
    return replace(frame, planes=frame.planes[:1], format=PixelFormat("gray", frame.format.bit_depth))


def _noted(frames: Iterable[Frame], sizes: _Sizes) -> Iterator[Frame]:
    for frame in frames:
        sizes.append((frame.time, frame.coded_bytes))
        yield frame

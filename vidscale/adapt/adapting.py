"""Adapts the upscaler to the segments of a movie: trains updates on some frames, tries them on all, keeps what pays."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from math import log10

import numpy as np
import torch

from vidscale.adapt.choice import Score, chosen, distortion_per_bit
from vidscale.adapt.loss import Loss
from vidscale.adapt.samples import Luma, Sample, sampled
from vidscale.adapt.segments import Segment
from vidscale.adapt.training import Steps, Target, trained_updates
from vidscale.media.frames import Frame
from vidscale.media.geometry import Geometry
from vidscale.models.pair import Tune
from vidscale.models.pair_name import tuned_for
from vidscale.models.plane_pair import PlanePair
from vidscale.models.updates import Kind, Update
from vidscale.system.threads import core_count, in_order
from vidscale.triton_kernels.metrics import squared_error

FramePairs = Iterator[tuple[Frame, Frame]]
"""Decoded small frames, each with its source frame."""


@dataclass(frozen=True, slots=True)
class Adapted:
    """What adaptation made of a segment.

    Attributes:
        segment: the segment.
        kind: of its update, None for none.
        update: as it stands in the stream, b"" for none.
        mse_before, mse: mean squared error of its luma without and with the update, in codes.
        seconds: of training.
    """

    segment: Segment
    kind: Kind | None
    update: bytes
    mse_before: float
    mse: float
    seconds: float

    @property
    def gain_db(self) -> float:
        """By luma PSNR of the mean squared error."""
        return 10 * log10(self.mse_before / self.mse) if self.mse and self.mse_before else 0.0


@dataclass(frozen=True)
class Adapter:
    """Adapts a pair's upscaler to movies.

    Args:
        pair: the pair; its CPU path restores, as a decoder does.
        geometry: of the movie.
        strength: coding strength (crf) of the small frames.
        steps: of the training.
        device: that torch trains on.
    """

    pair: PlanePair
    geometry: Geometry
    strength: float
    steps: Steps
    device: str = "cpu"

    def adapt(
        self,
        segments: Sequence[Segment],
        frames: Callable[[], FramePairs],
        advanced: Callable[[], None] = lambda: None,
    ) -> list[Adapted]:
        """What each segment gets.

        Args:
            segments: of the movie, in order; together they are all of it.
            frames: begins to read the movie's frames; called twice.
            advanced: called for every frame, twice in all.
        """
        threads = min(core_count(), len(segments))
        with _one_thread_each():
            trained = list(in_order(self._trained, self._sampled(segments, frames(), advanced), threads))
        updates = [updates for updates, _ in trained]
        scores = self._tried(segments, updates, frames(), advanced)
        return [
            self._kept(segment, *found, score) for segment, found, score in zip(segments, trained, scores, strict=True)
        ]

    def _sampled(
        self, segments: Sequence[Segment], frames: FramePairs, advanced: Callable[[], None]
    ) -> Iterator["_Material"]:
        """What each segment is trained on."""
        for segment, some in _by_segment(segments, frames):
            samples, depth = [], 8
            for index, (small, source) in some:
                advanced()
                if sampled(segment, index):
                    samples.append(Sample(self._luma(small).copy(), source.planes[0].copy()))
                    depth = small.format.bit_depth
            yield _Material(segment, samples, depth)

    def _luma(self, small: Frame) -> Luma:
        """Without the padding."""
        return small.planes[0][: self.geometry.small_height, : self.geometry.small_width]

    def _trained(self, material: "_Material") -> tuple[list[Update], float]:
        started = time.perf_counter()
        chain = self.pair.chain(self.strength)
        segment, depth = material.segment, material.bit_depth
        samples = self.geometry.height * self.geometry.width * (segment.end - segment.start)
        target = Target(
            bit_depth=depth,
            precision=chain.precisions[-1],
            sha256=self.pair.sha256,
            tune=self._tune,
            per_bit=self._per_bit(depth) * segment.keyframes / samples,
        )
        updates = trained_updates(chain, material.samples, target, self.steps, self.device)
        return updates, time.perf_counter() - started

    @property
    def _tune(self) -> Tune:
        return tuned_for(self.pair.name)

    def _per_bit(self, bit_depth: int) -> float:
        return distortion_per_bit(self.strength, self.pair.scale, bit_depth)

    def _tried(
        self,
        segments: Sequence[Segment],
        updates: Sequence[Sequence[Update]],
        frames: FramePairs,
        advanced: Callable[[], None],
    ) -> list["_Trial"]:
        """What every frame is like with the pair's own network and with each update of its segment."""
        coded = {
            segment: [b"", *(one.to_bytes() for one in some)] for segment, some in zip(segments, updates, strict=True)
        }

        def tried(job: tuple[Segment, int, Frame, Frame]) -> tuple[Segment, "_FrameTrial"]:
            segment, index, small, source = job
            luma, depth = self._luma(small), small.format.bit_depth
            runners = [self.pair.luma_upscaler(self.strength, depth, update) for update in coded[segment]]
            size = self.geometry.height, self.geometry.width
            restored, wanted = [run(luma, *size) for run in runners], source.planes[0]
            errors = tuple(squared_error(wanted, one) for one in restored)
            if self._tune == "psnr":
                return segment, _FrameTrial(depth, errors, errors)
            judged = None
            if sampled(segment, index):  # judging takes as long as restoring some frames
                judged = _as_errors(restored, wanted, errors[0], (1 << depth) - 1)
            return segment, _FrameTrial(depth, errors, judged)

        jobs = ((segment, index, *pair) for segment, some in _by_segment(segments, frames) for index, pair in some)
        found = []
        for _, group in groupby(in_order(tried, jobs, core_count()), key=lambda result: result[0]):
            results = []
            for _, result in group:
                advanced()
                results.append(result)
            found.append(_Trial(results))
        return found

    def _kept(self, segment: Segment, updates: Sequence[Update], seconds: float, trial: "_Trial") -> Adapted:
        coded = [b"", *(update.to_bytes() for update in updates)]
        samples = self.geometry.height * self.geometry.width
        best = chosen(
            trial.scores(),
            [len(update) for update in coded],
            segment.keyframes,
            self._per_bit(trial.bit_depth),
            samples,
            trial.bit_depth,
        )
        mse = [error / samples for error in trial.mean_errors()]
        kind = updates[best - 1].kind if best else None
        return Adapted(segment, kind, coded[best], mse[0], mse[best], seconds)


@dataclass(frozen=True, slots=True)
class _Material:
    """What a segment is trained on: samples and their bit depth."""

    segment: Segment
    samples: list[Sample]
    bit_depth: int


@dataclass(frozen=True, slots=True)
class _FrameTrial:
    """A frame restored with several networks.

    Attributes:
        bit_depth: of its codes.
        errors: squared errors of luma by network.
        judged: what the networks are compared by, as squared errors; None for a frame that is left out.
    """

    bit_depth: int
    errors: tuple[int, ...]
    judged: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class _Trial:
    """The frames of a segment."""

    frames: Sequence[_FrameTrial]

    @property
    def bit_depth(self) -> int:
        return self.frames[0].bit_depth

    def mean_errors(self) -> list[float]:
        """By network, of a frame."""
        return [sum(column) / len(self.frames) for column in zip(*(one.errors for one in self.frames), strict=True)]

    def scores(self) -> list[Score]:
        """By network; frames that are not judged count as those that are."""
        judged = [one.judged for one in self.frames if one.judged is not None]
        each = len(self.frames) / len(judged)
        return [Score(tuple(each * error for error in column)) for column in zip(*judged, strict=True)]


def _as_errors(restored: Sequence[Luma], wanted: Luma, own: int, peak: int) -> tuple[float, ...]:
    """The loss of a pair that is tuned for VMAF, on the scale of the squared error of its own network: the first."""
    first, *others = [torch.from_numpy(one.astype(np.float32) / peak)[None, None] for one in restored]
    source = torch.from_numpy(wanted.astype(np.float32) / peak)[None, None]
    with torch.no_grad():
        loss = Loss(first, source, "vmaf")
        return (float(own), *(own * float(loss(one, source)) for one in others))


def _by_segment(
    segments: Sequence[Segment], frames: FramePairs
) -> Iterator[tuple[Segment, Iterator[tuple[int, tuple[Frame, Frame]]]]]:
    """Each segment with its frames and their indices."""
    numbered = iter(enumerate(frames))
    for segment in segments:
        yield segment, (next(numbered) for _ in range(segment.start, segment.end))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Small networks gain little from more threads in torch, and lose a lot where other programs use the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

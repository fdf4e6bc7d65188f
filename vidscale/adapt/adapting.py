"""Adapts the upscaler to the segments of a movie: trains updates on some frames, tries them on all, keeps what pays."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from math import log10

import torch

from vidscale.adapt.choice import Score, carried_bytes, chosen, distortion_per_bit
from vidscale.adapt.samples import Luma, Sample, sampled
from vidscale.adapt.segments import Segment
from vidscale.adapt.training import Steps, Target, refined_update, trained_updates
from vidscale.media.frames import Frame
from vidscale.media.geometry import Geometry
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
        mse_before, mse: mean squared error of its luma without and with the update, in codes; without it as the movie
            was encoded first.
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
        known: Sequence[Adapted] = (),
    ) -> list[Adapted]:
        """What each segment gets.

        Args:
            segments: of the movie, in order; together they are all of it.
            frames: begins to read the movie's frames; called twice.
            advanced: called for every frame, twice in all.
            known: what segments got when the movie was encoded before: their updates are trained further, and those
                that had none get none.
        """
        before = {(one.segment.start, one.segment.end): one for one in known}

        def train(material: _Material) -> tuple[list[Update], float]:
            found = before.get((material.segment.start, material.segment.end))
            return self._trained(material, None if found is None else found.update)

        threads = min(core_count(), len(segments))
        with _one_thread_each():
            trained = list(in_order(train, self._sampled(segments, frames(), advanced), threads))
        updates = [updates for updates, _ in trained]
        scores = self._tried(segments, updates, frames(), advanced)
        adapted = [
            self._kept(segment, *found, score) for segment, found, score in zip(segments, trained, scores, strict=True)
        ]
        return [_since(before.get((one.segment.start, one.segment.end)), one) for one in adapted]

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

    def cost(self, adapted: Sequence[Adapted], video_bytes: int, bit_depth: int, worth: float = 1) -> float:
        """Squared error of the movie's luma, in codes, plus what its bits are worth: less is better.

        Args:
            adapted: what each segment got.
            video_bytes: of the movie without the updates.
            bit_depth: of the codes.
            worth: of a bit, as a part of `distortion_per_bit`.
        """
        samples = self.geometry.height * self.geometry.width
        errors = sum(one.mse * samples * (one.segment.end - one.segment.start) for one in adapted)
        updates = sum(carried_bytes(len(one.update)) * one.segment.keyframes for one in adapted)
        return errors + worth * self._per_bit(bit_depth) * 8 * (video_bytes + updates)

    def _trained(self, material: "_Material", known: bytes | None) -> tuple[list[Update], float]:
        started = time.perf_counter()
        if known == b"":
            return [], 0.0
        chain = self.pair.chain(self.strength)
        segment, depth = material.segment, material.bit_depth
        samples = self.geometry.height * self.geometry.width * (segment.end - segment.start)
        target = Target(
            bit_depth=depth,
            precision=chain.precisions[-1],
            sha256=self.pair.sha256,
            per_bit=self._per_bit(depth) * segment.keyframes / samples,
        )
        if known is None:
            updates = trained_updates(chain, material.samples, target, self.steps, self.device)
        else:
            update = self.pair.update_of(known, self.strength)
            updates = [refined_update(chain, update, material.samples, target, self.steps, self.device)]
        return updates, time.perf_counter() - started

    def _per_bit(self, bit_depth: int) -> float:
        return distortion_per_bit(self.strength, self.pair.scale, bit_depth)

    def _tried(
        self,
        segments: Sequence[Segment],
        updates: Sequence[Sequence[Update]],
        frames: FramePairs,
        advanced: Callable[[], None],
    ) -> list["_Trial"]:
        """Errors of every frame with the pair's own network and with each update of its segment."""
        coded = {
            segment: [b"", *(one.to_bytes() for one in some)] for segment, some in zip(segments, updates, strict=True)
        }

        def errors(job: tuple[Segment, Frame, Frame]) -> tuple[Segment, int, tuple[int, ...]]:
            segment, small, source = job
            luma, depth = self._luma(small), small.format.bit_depth
            runners = [self.pair.luma_upscaler(self.strength, depth, update) for update in coded[segment]]
            size = self.geometry.height, self.geometry.width
            return segment, depth, tuple(squared_error(source.planes[0], run(luma, *size)) for run in runners)

        jobs = ((segment, *pair) for segment, some in _by_segment(segments, frames) for _, pair in some)
        found = []
        for _, group in groupby(in_order(errors, jobs, core_count()), key=lambda result: result[0]):
            results = []
            for result in group:
                advanced()
                results.append(result)
            columns = zip(*(by_network for _, _, by_network in results), strict=True)
            found.append(_Trial([Score(column) for column in columns], results[0][1]))
        return found

    def _kept(self, segment: Segment, updates: Sequence[Update], seconds: float, trial: "_Trial") -> Adapted:
        coded = [b"", *(update.to_bytes() for update in updates)]
        samples = self.geometry.height * self.geometry.width
        best = chosen(
            trial.scores,
            [len(update) for update in coded],
            segment.keyframes,
            self._per_bit(trial.bit_depth),
            samples,
            trial.bit_depth,
        )
        mse = [score.total / (samples * len(score.errors)) for score in trial.scores]
        kind = updates[best - 1].kind if best else None
        return Adapted(segment, kind, coded[best], mse[0], mse[best], seconds)


@dataclass(frozen=True, slots=True)
class _Material:
    """What a segment is trained on: samples and their bit depth."""

    segment: Segment
    samples: list[Sample]
    bit_depth: int


@dataclass(frozen=True, slots=True)
class _Trial:
    """Scores of the networks of a segment, and the bit depth of its frames."""

    scores: list[Score]
    bit_depth: int


def _since(first: Adapted | None, then: Adapted) -> Adapted:
    """With the error and the training of the first encode, if there was one."""
    if first is None:
        return then
    return replace(then, mse_before=first.mse_before, seconds=first.seconds + then.seconds)


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

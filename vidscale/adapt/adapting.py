"""Adapts the upscaler to the segments of a movie: trains updates on some frames, tries them on all, keeps those that
pay.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import log10

import torch

from vidscale.adapt.choice import Score, carried_bytes, chosen, distortion_per_bit, is_cheap
from vidscale.adapt.material import FramePairs, Material, Memory, by_segment, read_materials, sample_of
from vidscale.adapt.samples import Sample
from vidscale.adapt.segments import Segment
from vidscale.adapt.training import Steps, Target, Trained, refined_update, trained_updates
from vidscale.media.geometry import Geometry
from vidscale.models.plane_pair import PlanePair
from vidscale.models.updates import Kind
from vidscale.system.threads import core_count, in_order
from vidscale.triton_kernels.metrics import squared_error


@dataclass(frozen=True, slots=True)
class Adapted:
    """The result of adapting a segment.

    Attributes:
        segment: the segment.
        kind: of its update, None for none.
        update: as stored in the stream, b"" for none.
        mse_before, mse: mean squared error of its luma, in codes: in the first encode of the movie without an update,
            and with the update.
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
        """Gain in luma PSNR, of the mean squared error."""
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
        """Adapts each segment.

        Args:
            segments: of the movie, in order, which cover it.
            frames: begins to read the movie's frames; called again if a segment does not fit into memory.
            advanced: called for every frame, twice in all; from several threads.
            known: results for an earlier encode of the movie: its updates are trained further, and segments without
                one get none.
        """
        before = {(one.segment.start, one.segment.end): one for one in known}
        memory = Memory()

        def adapt(material: Material) -> _Candidates:
            found = before.get((material.segment.start, material.segment.end))
            try:
                return self._candidates(material, None if found is None else found.update, advanced)
            finally:
                memory.free(material.segment)

        threads = min(core_count(), len(segments))
        with _one_thread:
            materials = read_materials(segments, frames(), self.geometry, memory, advanced)
            found = list(in_order(adapt, materials, threads))
        if any(not one.scores for one in found):
            self._try_again(found, frames(), advanced)
        adapted = [self._kept(one) for one in found]
        return [_since(before.get((one.segment.start, one.segment.end)), one) for one in adapted]

    def _candidates(self, material: Material, known: bytes | None, advanced: Callable[[], None]) -> "_Candidates":
        """Trains updates, and restores all frames with them if they are in memory, until one is cheap enough."""
        found = _Candidates(material.segment, material.bit_depth)
        updates = self._trained(material, known)
        if material.frames is not None:
            found.scores += self._tried(material.frames, [b""], found.bit_depth, advanced)
        while (trained := found.timed(updates)) is not None:
            found.updates.append(trained)
            if material.frames is not None:
                found.scores += self._tried(material.frames, [trained.update.to_bytes()], found.bit_depth)
                if self._is_cheap(found, len(found.updates)):
                    break
        return found

    def _tried(
        self,
        frames: Iterable[Sample],
        coded: Sequence[bytes],
        bit_depth: int,
        advanced: Callable[[], None] = lambda: None,
    ) -> list[Score]:
        """Errors of frames restored with each of some updates."""
        runners = [self.pair.luma_upscaler(self.strength, bit_depth, update) for update in coded]
        size = self.geometry.height, self.geometry.width

        def errors(frame: Sample) -> list[int]:
            return [squared_error(frame.hr, run(frame.lr, *size)) for run in runners]

        results = []
        for result in in_order(errors, frames, core_count()):
            advanced()
            results.append(result)
        return [Score(column) for column in zip(*results, strict=True)]

    def _try_again(self, found: Sequence["_Candidates"], frames: FramePairs, advanced: Callable[[], None]) -> None:
        """Reads the movie again for the segments whose frames did not fit into memory."""
        for one, (_, some) in zip(found, by_segment([one.segment for one in found], frames), strict=True):
            if one.scores:
                deque(some, maxlen=0)
                continue
            coded = [one.coded(n) for n in range(len(one.updates) + 1)]
            samples = (sample_of(*pair, self.geometry) for _, pair in some)
            one.scores += self._tried(samples, coded, one.bit_depth, advanced)

    def cost(self, adapted: Sequence[Adapted], video_bytes: int, bit_depth: int, worth: float = 1) -> float:
        """Squared error of the movie's luma, in codes, plus what its bits are worth: lower is better.

        Args:
            adapted: the result for each segment.
            video_bytes: of the movie without the updates.
            bit_depth: of the codes.
            worth: of a bit, relative to `distortion_per_bit`.
        """
        errors = sum(one.mse * self._samples * (one.segment.end - one.segment.start) for one in adapted)
        updates = sum(carried_bytes(len(one.update)) * one.segment.keyframes for one in adapted)
        return errors + worth * self._per_bit(bit_depth) * 8 * (video_bytes + updates)

    def _trained(self, material: Material, known: bytes | None) -> Iterator[Trained]:
        if known == b"":
            return
        chain = self.pair.chain(self.strength)
        segment, depth = material.segment, material.bit_depth
        samples = self._samples * (segment.end - segment.start)
        target = Target(
            bit_depth=depth,
            precision=chain.precisions[-1],
            sha256=self.pair.sha256,
            per_bit=self._per_bit(depth) * segment.keyframes / samples,
        )
        if known is None:
            yield from trained_updates(chain, material.samples, target, self.steps, self.device)
        else:
            update = self.pair.update_of(known, self.strength)
            refined = refined_update(chain, update, material.samples, target, self.steps, self.device)
            yield Trained(refined, is_best=True)

    @property
    def _samples(self) -> int:
        """Luma samples in a frame."""
        return self.geometry.height * self.geometry.width

    def _per_bit(self, bit_depth: int) -> float:
        return distortion_per_bit(self.strength, self.pair.scale, bit_depth)

    def _is_cheap(self, found: "_Candidates", n: int) -> bool:
        """Whether no other update needs to be tried after the nth."""
        if not found.updates[n - 1].is_best or self._best(found, [0, n]) == 0:
            return False
        own, other, size = found.scores[0], found.scores[n], len(found.coded(n))
        return is_cheap(own, other, size, found.segment.keyframes, self._per_bit(found.bit_depth))

    def _best(self, found: "_Candidates", numbers: Sequence[int]) -> int:
        """Which of some updates to restore with, by their numbers from 1 on; 0 is the pair's own network."""
        at = chosen(
            [found.scores[n] for n in numbers],
            [len(found.coded(n)) for n in numbers],
            found.segment.keyframes,
            self._per_bit(found.bit_depth),
            self._samples,
            found.bit_depth,
        )
        return numbers[at]

    def _kept(self, found: "_Candidates") -> Adapted:
        count = next((n for n in range(1, len(found.scores)) if self._is_cheap(found, n)), len(found.updates))
        best = self._best(found, range(count + 1))
        mse = [found.scores[n].total / (self._samples * len(found.scores[n].errors)) for n in (0, best)]
        kind = found.updates[best - 1].update.kind if best else None
        return Adapted(found.segment, kind, found.coded(best), mse[0], mse[1], found.seconds)


@dataclass(slots=True)
class _Candidates:
    """The updates of a segment in the order of training, and the scores of the pair's own network and of each."""

    segment: Segment
    bit_depth: int
    updates: list[Trained] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    seconds: float = 0.0

    def coded(self, n: int) -> bytes:
        """The nth update, from 1 on, as stored in the stream; b"" for 0, the pair's own network."""
        return self.updates[n - 1].update.to_bytes() if n else b""

    def timed(self, updates: Iterator[Trained]) -> Trained | None:
        """The next update; adds the time of its training."""
        started = time.perf_counter()
        trained = next(updates, None)
        self.seconds += time.perf_counter() - started
        return trained


def _since(first: Adapted | None, then: Adapted) -> Adapted:
    """A result with the error without an update, and the training time, of the first encode added."""
    if first is None:
        return then
    return replace(then, mse_before=first.mse_before, seconds=first.seconds + then.seconds)


class _OneThread:
    """Makes torch use one thread while any movie is adapted; several may be at the same time.

    Small networks gain little from more threads, and lose a lot where other programs use the cores.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = self._before = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                torch.set_num_threads(self._before)


_one_thread = _OneThread()

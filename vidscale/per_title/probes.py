"""Probes: the parts of a movie, encoded one way at one crf, restored and measured by the code of `compare`."""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vidscale.compare.points import Candidate
from vidscale.compare.progress import ComparisonProgress
from vidscale.compare.settings import CompareSettings
from vidscale.compare.trials.budget import free_memory, parallel_jobs
from vidscale.compare.trials.decoded import DecodedSegments
from vidscale.compare.trials.keys import content_digest
from vidscale.compare.trials.movies import Movie
from vidscale.compare.trials.runner import Trial, TrialRunner
from vidscale.compare.trials.store import TrialResult, TrialStore
from vidscale.compare.trials.warm_up import WarmUp
from vidscale.config import EncodeSettings
from vidscale.errors import VidscaleError
from vidscale.media.ffmpeg import Ffmpeg
from vidscale.media.probe import Source
from vidscale.media.versions import versions
from vidscale.per_title.parts import Part, Sampling
from vidscale.quality import Metric
from vidscale.system.folders import temporary_folder
from vidscale.system.progress import Progress
from vidscale.system.threads import worker_pool
from vidscale.system.workspace import cache_folder
from vidscale.triton_kernels.polyphase import implementation

_MOST_KEPT = 4000  # results in the cache, a few kB each
_KEPT_SHARE = 0.25  # of the free memory, for decoded parts

Request = tuple[Candidate, float]
"""A way and the crf to probe it at."""


@dataclass(frozen=True, slots=True)
class PartProbe:
    """One part, encoded one way at one crf.

    Attributes:
        key_bytes: bytes of each keyframe, also of those around the part.
        inter_bytes, inter_frames: bytes and number of the part's other frames.
        total_bytes: of everything that was encoded.
        scores: per measured frame, by the names that `TrialResult` has.
        encode_s, coded_frames: wall time of encoding, and how many frames that were.
        decode_s, restored_frames: wall time of restoring, and how many frames that were.
    """

    key_bytes: tuple[int, ...]
    inter_bytes: int
    inter_frames: int
    total_bytes: int
    scores: Mapping[str, tuple[float, ...]]
    encode_s: float
    coded_frames: int
    decode_s: float
    restored_frames: int


@dataclass(frozen=True, slots=True)
class Probe:
    """A way at one crf: one `PartProbe` for each part that could be read."""

    way: Candidate
    crf: float
    parts: tuple[PartProbe, ...]


class _Frames(ComparisonProgress):
    """Counts frames of all trials as those of one job."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self.frames = 0

    def advance(self) -> None:
        with self._lock:
            self.frames += 1
            self._progress.advance()


@dataclass(slots=True)
class Prober:
    """Runs probes of one movie.

    Parts that cannot be read and ways that cannot be encoded are left out.

    Attributes:
        sampling: the parts.
        bit_depth: of the luma that is compared.
        notes: what was left out, one line each.
    """

    sampling: Sampling
    bit_depth: int
    _runner: TrialRunner
    _movie: Movie
    _frames: _Frames
    notes: list[str] = field(default_factory=list)
    _results: dict[Request, dict[int, TrialResult]] = field(default_factory=dict)
    _broken: set[int] = field(default_factory=set)

    @property
    def frames(self) -> int:
        """Frames encoded and measured so far."""
        return self._frames.frames

    def run(self, requests: Iterable[Request]) -> None:
        """Runs probes in parallel; read them by `probes`.

        Raises:
            VidscaleError: no part can be encoded.
        """
        wanted = [request for request in dict.fromkeys(requests) if request not in self._results]
        video = self._movie.source.video
        implementation("cpu")  # imports numba, which fails where two threads begin with it at once
        with worker_pool(parallel_jobs(video.frame_bytes)) as pool:
            futures = {
                (request, index): pool.submit(self._runner.run, self._trial(request, index))
                for request in wanted
                for index in self._indices()
            }
            for request in wanted:
                found: dict[int, TrialResult] = {}
                errors: dict[int, Exception] = {}
                for index in self._indices():
                    try:
                        found[index] = futures[request, index].result()
                    except (VidscaleError, OSError) as error:
                        errors[index] = error
                self._add(request, found, errors)

    def probes(self) -> dict[Candidate, list[Probe]]:
        """All probes so far, by way, in the order of the first request."""
        found: dict[Candidate, list[Probe]] = {}
        for (way, crf), results in self._results.items():
            parts = tuple(_part_probe(results[i], self.sampling.parts[i]) for i in self._indices())
            found.setdefault(way, []).append(Probe(way, crf, parts))
        return found

    def _indices(self) -> list[int]:
        return [index for index in range(len(self.sampling.parts)) if index not in self._broken]

    def _trial(self, request: Request, index: int) -> Trial:
        return Trial(self._movie, index, *request, window=self.sampling.parts[index].window)

    def _add(self, request: Request, found: dict[int, TrialResult], errors: Mapping[int, Exception]) -> None:
        """Adds the results of a probe; what fails is left out: the way where all parts fail, else the parts."""
        if not found:
            error = next(iter(errors.values()))
            if not self._results:
                raise error
            self.notes.append(f"{request[0].scaling} is left out of the choice: {error}")
            return
        self._results[request] = found
        for index, error in errors.items():
            self._broken.add(index)
            self.notes.append(f"part {index + 1} of {len(self.sampling.parts)} is left out of the estimate: {error}")


@contextmanager
def prober(
    source: Source,
    settings: EncodeSettings,
    sampling: Sampling,
    metrics: Sequence[Metric],
    ffmpeg: Ffmpeg,
    progress: Progress,
) -> Iterator[Prober]:
    """A `Prober` for a movie; its encoded files are removed at the end, its results stay in the cache.

    Args:
        source: the movie, as it is read for the encoder.
        settings: of the encode.
        sampling: the parts to probe.
        metrics: what is measured.
        ffmpeg: a binary with the encoder and the filters of the metrics.
        progress: advances with every frame.
    """
    compared = CompareSettings(
        codecs=(settings.codec,),
        preset=settings.resolved_preset,
        encoder_params=settings.encoder_params,
        metrics=tuple(metrics),
        interlaced=settings.interlaced,
        alpha=settings.alpha,
        stream=settings.stream,
        effort=settings.shared_effort,
        device=settings.device,
        ffmpeg=settings.ffmpeg,
    )
    segments = tuple(part.segment for part in sampling.parts)
    movie = Movie(source.path.name, source, segments, tuple(content_digest(source, each) for each in segments))
    frames = _Frames(progress)
    with temporary_folder() as folder:
        store = _store(folder)
        decoded = DecodedSegments(free_memory() * _KEPT_SHARE, settings.interlaced, settings.alpha)
        runner = TrialRunner(compared, ffmpeg, store, versions(ffmpeg), frames, WarmUp(settings.device), decoded)
        yield Prober(sampling, source.video.format.bit_depth, runner, movie, frames)


def _store(coded: Path) -> TrialStore:
    """Results in the cache folder, encoded files in a temporary one; both there if the cache cannot be written."""
    folder = cache_folder() / "probes"
    try:
        store = TrialStore(folder, coded / "coded")
        _prune(folder / "points")
    except OSError:
        store = TrialStore(coded)
    return store


def _prune(folder: Path) -> None:
    """Removes the oldest results beyond `_MOST_KEPT`."""
    results = list(folder.glob("*.json"))
    if len(results) <= _MOST_KEPT:
        return
    with contextlib.suppress(OSError):
        for path in sorted(results, key=lambda path: path.stat().st_mtime)[: len(results) - _MOST_KEPT]:
            path.unlink()


def _part_probe(result: TrialResult, part: Part) -> PartProbe:
    body = range(len(result.sizes))[part.body]
    inter = [result.sizes[index] for index in body if index not in result.keys]
    early = 0 if part.window.skip == 0 else 1  # measured before the part, see `Part`
    first = {name: values[early:] or values for name, values in result.scores.items()}
    return PartProbe(
        key_bytes=tuple(result.sizes[index] for index in result.keys),
        inter_bytes=sum(inter),
        inter_frames=len(inter),
        total_bytes=result.video_bytes,
        scores=first,
        encode_s=result.encode_s,
        coded_frames=len(result.sizes),
        decode_s=result.decode_s,
        restored_frames=result.frames * part.window.every,
    )

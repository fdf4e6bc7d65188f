"""Runs trials: a segment is encoded, restored and measured, unless the store already has the result."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vidscale.compare.points import Candidate
from vidscale.compare.progress import ComparisonProgress
from vidscale.compare.settings import CompareSettings
from vidscale.compare.trials.decoded import DecodedSegments
from vidscale.compare.trials.encoding import EncodeRecord, encode_segment
from vidscale.compare.trials.keys import TrialKey, trial_key
from vidscale.compare.trials.measuring import coded_frames, measure_trial, stored_name
from vidscale.compare.trials.movies import Movie
from vidscale.compare.trials.restoring import CodedTrial
from vidscale.compare.trials.store import TrialResult, TrialStore
from vidscale.compare.trials.warm_up import WarmUp
from vidscale.compare.trials.window import WHOLE, Window
from vidscale.config import TimeRange
from vidscale.jobs.conversion import fitted
from vidscale.media.encoders import ENCODERS
from vidscale.media.ffmpeg import Ffmpeg
from vidscale.media.probe import Source
from vidscale.system.progress import Progress


@dataclass(frozen=True, slots=True)
class Trial:
    """One segment of a movie, encoded as one candidate at one crf.

    Attributes:
        movie, index: the movie, and the index of the segment in it.
        candidate, crf: how the segment is encoded.
        window: the frames of the segment that are measured.
    """

    movie: Movie
    index: int
    candidate: Candidate
    crf: float
    window: Window = WHOLE

    @property
    def segment(self) -> TimeRange | None:
        """Time range of the segment; None for the whole movie."""
        return self.movie.segments[self.index]

    @property
    def source(self) -> Source:
        """The movie as it is read for the encoder."""
        return fitted(self.movie.source, ENCODERS[self.candidate.codec])

    def __str__(self) -> str:
        segment = f" segment {self.index + 1}" if len(self.movie.segments) > 1 else ""
        return f"{self.movie.name}{segment}: {self.candidate}, crf {self.crf:g}"


@dataclass(frozen=True, slots=True)
class TrialRunner:
    """Runs trials and stores their results.

    Attributes:
        settings: of the comparison.
        ffmpeg: the binary that encodes and measures.
        store: where results and encoded files are kept.
        versions: versions of programs and libraries, as `vidscale.media.versions.versions` returns them.
        progress: receives every job.
        warm_up: keeps one-time costs, such as compilation, out of the measured times.
        decoded: frames of the source that trials share; None if each decodes its own.
    """

    settings: CompareSettings
    ffmpeg: Ffmpeg
    store: TrialStore
    versions: Mapping[str, str]
    progress: ComparisonProgress
    warm_up: WarmUp
    decoded: DecodedSegments | None = None

    def run(self, trial: Trial) -> TrialResult:
        """The result of a trial, from the store where possible; only missing metrics are measured.

        Raises:
            VidscaleError: the segment cannot be encoded or measured.
        """
        key = self._key(trial)
        known = self.store.load(key)
        wanted = self.settings.measured
        missing = [metric for metric in wanted if known is None or stored_name(metric) not in known.means]
        if known is not None and not missing:
            return known
        with self.progress.job(str(trial)) as frames:
            self.warm_up.run_once(trial.candidate, trial.source.video)
            file = self.store.coded(key, lambda path: self._encode(trial, path, frames))
            if known is not None and known.coded_digest != file.digest:
                known, missing = None, list(wanted)
            coded = self._coded(trial, key)
            found = measure_trial(
                coded,
                trial.segment,
                missing,
                interlaced=self.settings.interlaced,
                progress=frames,
                window=trial.window,
                decoded=self.decoded,
            )
            packets = coded_frames(coded.path)
            result = TrialResult(
                video_bytes=sum(packets.sizes),
                duration_s=found.duration_s,
                frames=found.frames,
                means={**(known.means if known else {}), **found.means},
                encode_s=file.seconds,
                decode_s=known.decode_s if known else found.decode_s,
                commands=(file.command, coded.command()),
                coded_digest=file.digest,
                sizes=packets.sizes,
                keys=packets.keys,
                scores={**(known.scores if known else {}), **found.scores},
            )
            self.store.save(key, result)
            return result

    def coded(self, trial: Trial) -> CodedTrial:
        """The encoded file of a trial, for stills; encoded again if it was deleted."""
        key = self._key(trial)
        self.store.coded(key, lambda path: self._encode(trial, path, Progress()))
        return self._coded(trial, key)

    def _encode(self, trial: Trial, path: Path, frames: Progress) -> EncodeRecord:
        return encode_segment(
            trial.source,
            trial.segment,
            trial.candidate,
            trial.crf,
            path,
            settings=self.settings,
            ffmpeg=self.ffmpeg,
            progress=frames,
            decoded=self.decoded,
        )

    def _key(self, trial: Trial) -> TrialKey:
        return trial_key(
            trial.movie.source,
            trial.segment,
            trial.movie.contents[trial.index],
            trial.candidate,
            trial.crf,
            versions=self.versions,
            device=self.settings.device,
            interlaced=self.settings.interlaced,
            effort=self.settings.effort,
            encoder_params=self.settings.encoder_params,
            window=trial.window,
        )

    def _coded(self, trial: Trial, key: TrialKey) -> CodedTrial:
        path = self.store.coded_path(key)
        return CodedTrial(path, trial.source, trial.candidate, trial.crf, self.ffmpeg, self.settings.device)

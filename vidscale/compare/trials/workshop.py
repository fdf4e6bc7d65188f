"""Where parts of movies are coded, restored and measured, unless they were before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log10
from pathlib import Path

from vidscale.compare.metrics import Metric
from vidscale.compare.points import Point, Way
from vidscale.compare.progress import ComparisonProgress
from vidscale.compare.settings import CompareSettings
from vidscale.compare.trials.cache import Part, PartStore
from vidscale.compare.trials.coding import code_part
from vidscale.compare.trials.content import Recipe, recipe
from vidscale.compare.trials.measuring import measure_part, stored_name, video_bytes
from vidscale.compare.trials.movies import Movie
from vidscale.compare.trials.restoring import CodedPart
from vidscale.compare.trials.warming import Warmth
from vidscale.config import TimeRange
from vidscale.jobs.conversion import fitted
from vidscale.media.encoders import ENCODERS
from vidscale.media.ffmpeg import Ffmpeg
from vidscale.media.probe import Source
from vidscale.system.progress import Progress


@dataclass(frozen=True, slots=True)
class Take:
    """One part of a movie, coded in one way at one rate.

    Attributes:
        movie, index: which part of which movie.
        way, crf: how it is coded.
    """

    movie: Movie
    index: int
    way: Way
    crf: float

    @property
    def time_range(self) -> TimeRange | None:
        """Where the part lies in the movie; None for all of it."""
        return self.movie.parts[self.index]

    @property
    def source(self) -> Source:
        """The movie, as it is read for the encoder."""
        return fitted(self.movie.source, ENCODERS[self.way.codec])

    def __str__(self) -> str:
        part = f" part {self.index + 1}" if len(self.movie.parts) > 1 else ""
        return f"{self.movie.name}{part}: {self.way}, crf {self.crf:g}"


@dataclass(frozen=True, slots=True)
class Workshop:
    """Makes takes, or finds them where they were made before.

    Attributes:
        settings: of the comparison.
        ffmpeg: the binary that codes and measures.
        store: where they are kept.
        programs: versions, as of `versions.versions`.
        progress: told about every job.
        warmth: keeps what only a first picture takes out of the times of takes.
    """

    settings: CompareSettings
    ffmpeg: Ffmpeg
    store: PartStore
    programs: Mapping[str, str]
    progress: ComparisonProgress
    warmth: Warmth

    def measured(self, take: Take) -> Part:
        """The numbers of a take; computes only what is not known.

        Raises:
            VidscaleError: it cannot be coded or measured.
        """
        of_take = self._recipe(take)
        known = self.store.load(of_take)
        wanted = self.settings.measured
        missing = [metric for metric in wanted if known is None or stored_name(metric) not in known.means]
        if known is not None and not missing:
            return known
        with self.progress.job(str(take)) as frames:
            self.warmth.run_once(take.way, take.source.video)
            file = self.store.coded(of_take, lambda path: self._code(take, path, frames))
            if known is not None and known.coded_digest != file.digest:
                known, missing = None, list(wanted)
            coded = self._coded_part(take, of_take)
            found = measure_part(coded, take.time_range, missing, interlaced=self.settings.interlaced, progress=frames)
            part = Part(
                video_bytes=video_bytes(coded),
                duration_s=found.duration_s,
                frames=found.frames,
                means={**(known.means if known else {}), **found.means},
                encode_s=file.seconds,
                decode_s=known.decode_s if known else found.decode_s,
                commands=(file.command, coded.command()),
                coded_digest=file.digest,
            )
            self.store.save(of_take, part)
            return part

    def coded(self, take: Take) -> CodedPart:
        """The coded video of a take, for pictures of it; made again where somebody deleted it."""
        of_take = self._recipe(take)
        self.store.coded(of_take, lambda path: self._code(take, path, Progress()))
        return self._coded_part(take, of_take)

    def _code(self, take: Take, path: Path, frames: Progress) -> tuple[float, str]:
        coded = code_part(
            take.source,
            take.time_range,
            take.way,
            take.crf,
            path,
            settings=self.settings,
            ffmpeg=self.ffmpeg,
            progress=frames,
        )
        return coded.seconds, coded.command

    def _recipe(self, take: Take) -> Recipe:
        return recipe(
            take.movie.source,
            take.time_range,
            take.movie.contents[take.index],
            take.way,
            take.crf,
            programs=self.programs,
            device=self.settings.device,
            interlaced=self.settings.interlaced,
        )

    def _coded_part(self, take: Take, of_take: Recipe) -> CodedPart:
        path = self.store.coded_path(of_take)
        return CodedPart(path, take.source, take.way, take.crf, self.ffmpeg, self.settings.device)


def point_of(crf: float, parts: Sequence[Part], metrics: Sequence[Metric]) -> Point:
    """All parts of a movie at one rate together: bytes and seconds added up, metrics as means over all frames."""
    frames = sum(part.frames for part in parts)

    def mean(name: str) -> float:
        return sum(part.means[name] * part.frames for part in parts) / frames

    values = {metric: mean(stored_name(metric)) for metric in metrics}
    if "psnr_y" in values:
        values["psnr_y"] = -10 * log10(values["psnr_y"]) if values["psnr_y"] > 0 else inf
    return Point(
        crf=crf,
        video_bytes=sum(part.video_bytes for part in parts),
        duration_s=sum((part.duration_s for part in parts[1:]), start=parts[0].duration_s),
        frames=frames,
        metrics=values,
        encode_s=sum(part.encode_s for part in parts),
        decode_s=sum(part.decode_s for part in parts),
        commands=tuple(dict.fromkeys(command for part in parts for command in part.commands)),
    )

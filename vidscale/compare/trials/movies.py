"""A movie as a comparison works with it: which parts of it are coded, and what they hold."""

from dataclasses import dataclass
from pathlib import Path

from vidscale.compare.points import MovieFacts
from vidscale.compare.settings import CompareSettings
from vidscale.compare.trials.content import content_digest
from vidscale.compare.trials.samples import sample_ranges
from vidscale.config import TimeRange
from vidscale.errors import DecodeError
from vidscale.jobs.conversion import check_alpha
from vidscale.media.ffmpeg import Ffmpeg
from vidscale.media.probe import Source, probe


@dataclass(frozen=True, slots=True)
class Movie:
    """A movie that is compared.

    Attributes:
        name: unique in the comparison.
        source: the probed file.
        parts: what of it is coded; (None,) for all.
        contents: hash of what each part is decoded from.
    """

    name: str
    source: Source
    parts: tuple[TimeRange | None, ...]
    contents: tuple[str, ...]

    @property
    def facts(self) -> MovieFacts:
        """The movie for people."""
        video = self.source.video
        samples = tuple((part.start, part.end) for part in self.parts if part is not None and part.end is not None)
        return MovieFacts(self.name, video.width, video.height, video.frame_rate, samples)


def open_movie(path: Path, name: str, settings: CompareSettings, ffmpeg: Ffmpeg) -> Movie:
    """Looks at a movie and chooses its parts.

    Raises:
        VidscaleError: it cannot be compared.
    """
    source = probe(path, stream=settings.stream, ffmpeg=ffmpeg.path)
    if source.interlaced and settings.interlaced == "refuse":
        raise DecodeError(
            f"{path} is flagged interlaced: --interlaced bwdif deinterlaces it, --interlaced ignore codes it as it is"
        )
    check_alpha(source, settings.alpha, None)
    parts = sample_ranges(source, settings.samples)
    return Movie(name, source, parts, tuple(content_digest(source, part) for part in parts))

"""A movie of a comparison: the segments to encode, and hashes of their content."""

from dataclasses import dataclass
from pathlib import Path

from vidscale.compare.points import MovieFacts
from vidscale.compare.settings import CompareSettings
from vidscale.compare.trials.keys import content_digest
from vidscale.compare.trials.samples import sample_ranges
from vidscale.config import TimeRange
from vidscale.errors import DecodeError
from vidscale.jobs.conversion import check_alpha
from vidscale.media.ffmpeg import Ffmpeg
from vidscale.media.probe import Source, probe


@dataclass(frozen=True, slots=True)
class Movie:
    """A movie of a comparison.

    Attributes:
        name: unique in the comparison.
        source: the probed file.
        segments: time ranges to encode; (None,) for the whole movie.
        contents: hash of the packets that each segment is decoded from.
    """

    name: str
    source: Source
    segments: tuple[TimeRange | None, ...]
    contents: tuple[str, ...]

    @property
    def facts(self) -> MovieFacts:
        """The movie as the results list it."""
        video = self.source.video
        samples = tuple((s.start, s.end) for s in self.segments if s is not None and s.end is not None)
        return MovieFacts(self.name, video.width, video.height, video.frame_rate, samples)


def open_movie(path: Path, name: str, settings: CompareSettings, ffmpeg: Ffmpeg) -> Movie:
    """Probes a movie and chooses its segments.

    Raises:
        VidscaleError: the movie cannot be compared.
    """
    source = probe(path, stream=settings.stream, ffmpeg=ffmpeg.path)
    if source.interlaced and settings.interlaced == "refuse":
        raise DecodeError(
            f"{path} is flagged interlaced: --interlaced bwdif deinterlaces it, --interlaced ignore encodes it as is"
        )
    check_alpha(source, settings.alpha, None)
    segments = sample_ranges(source, settings.samples)
    return Movie(name, source, segments, tuple(content_digest(source, segment) for segment in segments))

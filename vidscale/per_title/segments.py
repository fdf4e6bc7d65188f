"""Parts of a movie that are decided one by one: of equal length, or shots."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from vidscale.config import EncodeSettings, TimeRange
from vidscale.errors import ConfigError
from vidscale.jobs.estimates import expected_frames
from vidscale.media.packets import length_s
from vidscale.media.probe import Source, probe
from vidscale.per_title.decision import Decision
from vidscale.per_title.parts import sampling_of
from vidscale.stages.decode import decode_frames
from vidscale.stages.read_log import ReadLog
from vidscale.stages.shots import ShotFinder
from vidscale.system.progress import Progress, counted
from vidscale.system.threads import Clock

_SHORTEST_S = 2  # of a part made of shots: each costs a keyframe


def parts_of(path: Path, settings: EncodeSettings, progress: Progress | None = None) -> tuple[TimeRange, ...]:
    """The parts of a movie that the settings decide one by one; a single one if they do not.

    Args:
        path: the movie.
        settings: resolved settings.
        progress: see `segments_of`.

    Raises:
        DecodeError: it cannot be read.
    """
    if settings.segments is None:
        return (TimeRange(),)
    return segments_of(probe(path, stream=settings.stream), settings, progress)


def segments_of(source: Source, settings: EncodeSettings, progress: Progress | None = None) -> tuple[TimeRange, ...]:
    """The parts, in order, which cover the movie.

    Args:
        source: the movie.
        settings: with ``segments``: a duration, or "shots", for which the movie is decoded.
        progress: advances with every frame that is decoded.
    """
    starts = (
        _shots(source, settings, progress or Progress())
        if settings.segments == "shots"
        else _even(source, Fraction(settings.segments or 0))
    )
    ranges = [TimeRange(start=start, end=end) for start, end in pairwise(starts)]
    return (*ranges, TimeRange(start=starts[-1]))


def decide_parts(
    settings: EncodeSettings, parts: Sequence[TimeRange], deciding: Callable[[EncodeSettings], Decision]
) -> Iterator[Decision]:
    """A decision for each part of a movie.

    Args:
        settings: of the movie.
        parts: from `segments_of`; a single one stands for all that the settings encode.
        deciding: decides with the settings of one part.

    Raises:
        VidscaleError: a part cannot be encoded or its goal cannot be met; the message says which.
    """
    for part in parts:
        if len(parts) == 1:
            yield deciding(settings.model_copy(update={"segments": None}))
            return
        try:
            found = deciding(settings.model_copy(update={"segments": None, "range": part}))
        except ConfigError as error:
            raise type(error)(f"from {float(part.start):.3f} s on: {error}") from error
        yield replace(found, name=f"{found.name} from {float(part.start):.3f} s")


def _even(source: Source, seconds: Fraction) -> list[Fraction]:
    """Multiples of a duration; the last part is at least half as long."""
    length = length_s(source) or sampling_of(source, None).length_s
    count = max(1, int(length / seconds + Fraction(1, 2)))
    return [index * seconds for index in range(count)]


def _shots(source: Source, settings: EncodeSettings, progress: Progress) -> list[Fraction]:
    """Where shots begin; a short one is merged with the next."""
    finder, log = ShotFinder(), ReadLog()
    frames = decode_frames(source, log=log, clock=Clock("decode"), interlaced=settings.interlaced, alpha=settings.alpha)
    progress.start("looking for shots", expected_frames(source, None))
    end = Fraction(0)
    for frame in counted(frames, progress):
        finder.offer(frame, None)
        end = frame.time
    origin = max(Fraction(0), source.start_s)
    starts = [Fraction(0)]
    for shot in finder.shots()[1:]:
        begin = shot.start_s - origin
        if begin - starts[-1] >= _SHORTEST_S and end - shot.start_s >= _SHORTEST_S / 2:
            starts.append(begin)
    return starts

"""Stored points of a comparison: comparison.json without pictures and commands, and origin.json."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from machine import origin

from vidscale.compare.output.files import read_comparison, write_json
from vidscale.compare.points import Comparison, Curve, MovieFacts, Point


@dataclass(frozen=True, slots=True)
class Origin:
    """Where stored points come from.

    Attributes:
        commit: of the program that measured them.
        cpu, cores: the machine.
        note: what a reader should know about the run; "" for nothing.
    """

    commit: str
    cpu: str
    cores: int
    note: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored comparison and where it comes from."""

    comparison: Comparison
    origin: Origin


def read(folder: Path) -> Stored:
    """What `write` has written.

    Raises:
        ConfigError: comparison.json is missing or damaged.
    """
    facts = json.loads((folder / "origin.json").read_text(encoding="utf-8"))
    return Stored(read_comparison(folder), Origin(**facts))


def write(measured: Comparison, folder: Path, note: str, *, add: bool) -> None:
    """Stores a comparison.

    Args:
        measured: with `plainly_named` movies.
        folder: of the stored points.
        note: see `Origin`; the stored note stays when points are added.
        add: keep the stored points of other pairs, see `joined`.
    """
    kept = read_comparison(folder) if add else None
    folder.mkdir(parents=True, exist_ok=True)
    write_json(joined(kept, measured) if kept else measured, folder / "comparison.json")
    if not kept:
        facts = origin()
        where = Origin(commit=facts["commit"], cpu=facts["cpu"], cores=facts["cores"], note=note)
        (folder / "origin.json").write_text(f"{json.dumps(asdict(where), indent=1)}\n", encoding="utf-8")


def plainly_named(comparison: Comparison, clips: Sequence[Path]) -> Comparison:
    """The points without paths: movies by their stems, no commands, no stills.

    Args:
        comparison: as `vidscale compare` wrote it.
        clips: movies with synthetic motion, which are marked as such.
    """
    synthetic = {clip.name for clip in clips}
    curves = [
        replace(curve, movie=Path(curve.movie).stem, points=[replace(point, commands=()) for point in curve.points])
        for curve in comparison.curves
    ]
    movies = [_named(movie, movie.name in synthetic) for movie in comparison.movies]
    return replace(comparison, movies=movies, curves=curves, stills=())


def check_movies(kept: Comparison, names: Sequence[str]) -> None:
    """Raises SystemExit if a stored comparison is not of the movies with these stems."""
    if [movie.name for movie in kept.movies] != list(names):
        raise SystemExit("--add: the stored comparison has other movies")


def joined(kept: Comparison, added: Comparison) -> Comparison:
    """Two comparisons of the same movies as one; curves of ``added`` replace those of the same candidate in ``kept``.

    Times of ``added`` are scaled by the ratio of the two full-size encodes: they compare with those of ``kept`` then.

    Raises:
        SystemExit: the movies differ, or the full size gave other bits (another movie or encoder) or has other rates:
            curves of one movie would then be compared over different ranges.
    """
    check_movies(kept, [movie.name for movie in added.movies])
    curves = {(curve.movie, curve.candidate): curve for curve in kept.curves}
    slower = {
        (curve.movie, curve.candidate.codec): _slower(curves[curve.movie, curve.candidate], curve)
        for curve in added.curves
        if curve.candidate.is_full
    }
    for curve in added.curves:
        if not curve.candidate.is_full:
            encode, decode = slower[curve.movie, curve.candidate.codec]
            points = [
                replace(point, encode_s=point.encode_s * encode, decode_s=point.decode_s * decode)
                for point in curve.points
            ]
            curves[curve.movie, curve.candidate] = replace(curve, points=points)
    return replace(kept, curves=list(curves.values()))


def _slower(kept: Curve, added: Curve) -> tuple[float, float]:
    """How many times as long the same points of one curve took to encode and to decode: medians."""
    if [point.crf for point in kept.points] != [point.crf for point in added.points]:
        raise SystemExit(
            f"--add: {added.movie} at full size has other rates; add the worst of the stored pairs as well"
        )
    pairs = list(zip(kept.points, added.points, strict=True))
    if any(a.video_bytes != b.video_bytes or not _alike(a, b) for a, b in pairs):
        raise SystemExit(f"--add: {added.movie} at full size differs from the stored one")
    return (
        statistics.median(a.encode_s / b.encode_s for a, b in pairs),
        statistics.median(a.decode_s / b.decode_s for a, b in pairs),
    )


def _alike(one: Point, other: Point) -> bool:
    return all(math.isclose(value, other.metrics[name], rel_tol=1e-4) for name, value in one.metrics.items())


def _named(movie: MovieFacts, synthetic: bool) -> MovieFacts:
    return replace(movie, name=Path(movie.name).stem, note="synthetic motion" if synthetic else movie.note)

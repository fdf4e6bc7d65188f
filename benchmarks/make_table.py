"""The README's table: compares, stores the points, writes the table from the stored points alone.

    python benchmarks/make_table.py MOVIE… [--photos FOLDER] [--folder vidscale-table]
    python benchmarks/make_table.py MOVIE… --pairs PAIRS --add
    python benchmarks/make_table.py --from-stored
    python benchmarks/make_table.py --from-stored --within vmaf=60:88

Besides the movies two 1080p clips of synthetic motion are compared (``benchmarks/synthetic.py``), made from photographs
of scikit-image or from the first two of a folder. The comparison itself is `vidscale compare`: an interrupted run goes
on where it was, and other pairs or movies add only what is new.

What is stored (``benchmarks/results/compare``) is the comparison without pictures and commands, and where it comes
from: `vidscale.compare.output.files` reads it. ``--within`` prints the table in a range of quality, as of
`vidscale compare`, and leaves the README as it is. ``--add`` measures only the named pairs (and the full size, which
must give what is stored) and keeps the stored points of the others.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

from machine import origin
from readme_table import Origin, frame_of, rewrite, table_text

from vidscale.compare.metrics import Within
from vidscale.compare.output.files import read_comparison, write_json
from vidscale.compare.points import Comparison, Curve, MovieFacts, Point
from vidscale.compare.settings import CompareSettings

_ROOT = Path(__file__).parents[1]
_PAIRS = (
    "adaptive-x2",
    "adaptive-vmaf-x2",
    "adaptive-quality-x2",
    "adaptive-quality-vmaf-x2",
    "lanczos-x2",
    "bicubic-x2",
    "area-x2",
    "ffmpeg-lanczos-x2",
    "ffmpeg-bicubic-x2",
    "adaptive-x1.5",
    "adaptive-vmaf-x1.5",
    "lanczos-x1.5",
    "ffmpeg-lanczos-x1.5",
    "adaptive-x3",
    "ffmpeg-lanczos-x3",
    "adaptive-x4",
    "ffmpeg-lanczos-x4",
    "restore-x1",
    "restore-vmaf-x1",
)
_PHOTOS = ("coffee", "astronaut")  # of scikit-image, both free of rights
_SYNTHETIC = {"synthetic-1": Fraction(30), "synthetic-2": Fraction(24)}  # pictures per second


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the table, or writes it once more."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("movies", nargs="*", type=Path, metavar="MOVIE")
    parser.add_argument("--pairs", default=",".join(_PAIRS), help="as of vidscale compare (default: %(default)s)")
    parser.add_argument("--codec", default="x264,x265", help="(default: %(default)s)")
    parser.add_argument("--preset", default="medium", help="(default: %(default)s)")
    parser.add_argument("--metrics", default="psnr_y,ssim_y,vmaf,vmaf_neg", help="(default: %(default)s)")
    parser.add_argument("--photos", type=Path, help="folder of photographs for the synthetic clips")
    parser.add_argument(
        "--frames", type=int, default=48, help="of each synthetic clip, 0 for none (default: %(default)s)"
    )
    parser.add_argument("--folder", type=Path, default=Path("vidscale-table"), help="of the comparison")
    parser.add_argument("--note", default="", help="a sentence about the run, stored and printed below the table")
    parser.add_argument("--stored", type=Path, default=_ROOT / "benchmarks" / "results" / "compare")
    parser.add_argument("--readme", type=Path, default=_ROOT / "README.md")
    parser.add_argument("--from-stored", action="store_true", help="compare nothing, write the table again")
    parser.add_argument(
        "--add", action="store_true", help="keep the stored points of other pairs, which the same movies were coded by"
    )
    parser.add_argument(
        "--within",
        type=_quality_range,
        metavar="METRIC=LOW:HIGH",
        help="compare there, as vidscale compare, and print the table, for no README",
    )
    options = parser.parse_args(arguments)
    if not options.within:
        frame_of(options.readme)  # before an hour of work rather than after it
    if not options.from_stored:
        clips = _synthetic_clips(options.folder, options.photos, options.frames) if options.frames else []
        movies = [*options.movies, *clips]
        if not movies:
            parser.error("there is nothing to compare")
        words = ["--pairs", options.pairs, "--codec", options.codec, "--preset", options.preset]
        words += ["--within", "{}={}:{}".format(*options.within)] if options.within else []
        _compare(movies, options.folder, [*words, "--metrics", options.metrics])
        measured = _plainly_named(read_comparison(options.folder), clips)
        kept = read_comparison(options.stored) if options.add else None
        options.stored.mkdir(parents=True, exist_ok=True)
        write_json(joined(kept, measured) if kept else measured, options.stored / "comparison.json")
        if not kept:
            _write_origin(options.note, options.stored)
    stored, where = read_comparison(options.stored), _origin(options.stored)
    if options.within:
        print(table_text(replace(stored, within=options.within), where))
    else:
        rewrite(options.readme, table_text(stored, where))


def _quality_range(text: str) -> Within | None:
    return CompareSettings.model_validate({"within": text}).within


def _origin(stored: Path) -> Origin:
    return Origin(**json.loads((stored / "origin.json").read_text(encoding="utf-8")))


def _synthetic_clips(folder: Path, photos: Path | None, frames: int) -> list[Path]:
    """Two clips of other pictures with other motion, the same ones every time."""
    import skimage.data
    from PIL import Image
    from synthetic import write_clip

    folder.mkdir(parents=True, exist_ok=True)
    if photos is None:
        for name in _PHOTOS:
            Image.fromarray(getattr(skimage.data, name)()).save(folder / f"{name}.png")
        chosen = [folder / f"{name}.png" for name in _PHOTOS]
    else:
        chosen = sorted(path for path in photos.iterdir() if path.suffix.lower() in Image.registered_extensions())
    clips = []
    for seed, ((name, fps), photo) in enumerate(zip(_SYNTHETIC.items(), chosen, strict=False)):
        clips.append(folder / f"{name}.mkv")
        write_clip(clips[-1], 1920, 1080, frames, fps, photo=photo, seed=seed)
    return clips


def _compare(movies: Sequence[Path], folder: Path, words: Sequence[str]) -> None:
    command = [sys.executable, "-m", "vidscale", "compare", *map(str, movies), "-o", str(folder), *words]
    result = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if result.returncode:  # it has said why
        raise SystemExit(result.returncode)


def _plainly_named(comparison: Comparison, clips: Sequence[Path]) -> Comparison:
    """The points, by plain names of movies and without what names this machine's files."""
    synthetic = {clip.name for clip in clips}
    curves = [
        replace(curve, movie=Path(curve.movie).stem, points=[replace(point, commands=()) for point in curve.points])
        for curve in comparison.curves
    ]
    movies = [_named(movie, movie.name in synthetic) for movie in comparison.movies]
    return replace(comparison, movies=movies, curves=curves, stills=())


def _write_origin(note: str, folder: Path) -> None:
    facts = origin()
    where = Origin(commit=facts["commit"], cpu=facts["cpu"], cores=facts["cores"], note=note)
    (folder / "origin.json").write_text(f"{json.dumps(asdict(where), indent=1)}\n", encoding="utf-8")


def joined(kept: Comparison, added: Comparison) -> Comparison:
    """Two comparisons of the same movies as one: curves of ``added`` replace those of the same way in ``kept``.

    Their times become what they are beside the full size of ``kept``, so that they mean the same.

    Raises:
        SystemExit: the movies differ, or the full size gave other bits (another movie or encoder) or has other rates:
            then curves of one movie would be compared over other ranges.
    """
    if [movie.name for movie in kept.movies] != [movie.name for movie in added.movies]:
        raise SystemExit("--add: the stored comparison is of other movies")
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
        raise SystemExit(f"--add: {added.movie} at full size is not what is stored")
    return (
        statistics.median(a.encode_s / b.encode_s for a, b in pairs),
        statistics.median(a.decode_s / b.decode_s for a, b in pairs),
    )


def _alike(one: Point, other: Point) -> bool:
    return all(math.isclose(value, other.metrics[name], rel_tol=1e-4) for name, value in one.metrics.items())


def _named(movie: MovieFacts, synthetic: bool) -> MovieFacts:
    return replace(movie, name=Path(movie.name).stem, note="synthetic motion" if synthetic else movie.note)


if __name__ == "__main__":
    main()

"""Makes the BD-rate tables of README.md and docs/results.md: runs the comparison, stores its points, writes the tables.

    python benchmarks/make_table.py MOVIE… [--photos FOLDER] [--folder vidscale-table]
    python benchmarks/make_table.py MOVIE… --pairs PAIRS --add
    python benchmarks/make_table.py --from-stored
    python benchmarks/make_table.py --from-stored --set compare_1080p --within vmaf=60:88

There are two sets of points in ``benchmarks/results``: ``compare`` (six small clips) and ``compare_1080p``. In addition
to the videos given, two 1080p clips with synthetic motion are compared (``benchmarks/synthetic.py``), made from
scikit-image's photographs or the first two of a folder. The comparison is run by `vidscale compare`: an interrupted run
resumes, and more pairs or videos only add what is new.

``--from-stored`` rewrites both pages without running a comparison. ``--within`` prints the tables of one set for a
quality range, as in `vidscale compare`, and leaves the pages alone. ``--add`` measures only the named pairs (and the
full size, which must match the stored points) and keeps the stored points of the others.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import marked_page
import stored_points
from bd_tables import full_report, full_size_report
from readme_table import WITHIN, readme_table
from speed_text import decode_table, effort_table, read_rows, readme_lines
from stored_points import Stored

from vidscale.compare.output.files import read_comparison
from vidscale.compare.settings import CompareSettings
from vidscale.quality import Within

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
_SMALL, _1080P = "compare", "compare_1080p"  # sets of stored points, folders of benchmarks/results
_README, _RESULTS = "README.md", "docs/results.md"
_BLOCKS = {
    _README: ("table", "speed"),
    _RESULTS: ("range-1080p", "range-small", "1080p", "high", "small", "decode", "effort"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, stores, and writes the pages or prints a table."""
    options = _parser().parse_args(arguments)
    if not options.within:
        for page, names in _BLOCKS.items():
            marked_page.check(options.pages / page, names)  # before an hour of work rather than after it
    stored = options.results / options.set
    if not options.from_stored:
        _measure(options, stored)
    if options.within:
        print(full_report(stored_points.read(stored), options.within))
    else:
        _write_pages(options.results, options.pages)


def _parser() -> argparse.ArgumentParser:
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
    parser.add_argument("--results", type=Path, default=_ROOT / "benchmarks" / "results", help="folder of the sets")
    parser.add_argument("--set", choices=(_SMALL, _1080P), default=_SMALL, help="of points (default: %(default)s)")
    parser.add_argument("--pages", type=Path, default=_ROOT, help=f"folder of {_README} and {_RESULTS}")
    parser.add_argument("--from-stored", action="store_true", help="compare nothing")
    parser.add_argument("--add", action="store_true", help="keep the stored points of other pairs of the same movies")
    parser.add_argument(
        "--within", type=_quality_range, metavar="METRIC=LOW:HIGH", help="compare there, and print the tables"
    )
    return parser


def _quality_range(text: str) -> Within | None:
    return CompareSettings.model_validate({"within": text}).within


def _measure(options: argparse.Namespace, stored: Path) -> None:
    clips = _synthetic_clips(options.folder, options.photos, options.frames) if options.frames else []
    movies = [*options.movies, *clips]
    if not movies:
        raise SystemExit("nothing to compare: name a movie, or take --frames above 0")
    if options.add:
        stored_points.check_movies(read_comparison(stored), [movie.stem for movie in movies])
    words = ["--pairs", options.pairs, "--codec", options.codec, "--preset", options.preset]
    words += ["--within", "{}={}:{}".format(*options.within)] if options.within else []
    _compare(movies, options.folder, [*words, "--metrics", options.metrics])
    measured = stored_points.plainly_named(read_comparison(options.folder), clips)
    stored_points.write(measured, stored, options.note, add=options.add)


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


def _write_pages(results: Path, pages: Path) -> None:
    """Writes every generated block; the tables of a set that is not there are left out."""
    sets = {name: stored_points.read(results / name) for name in (_1080P, _SMALL) if (results / name).is_dir()}
    titles = {_1080P: "1080p", _SMALL: "small"}
    rows, efforts = (read_rows(_ROOT / "benchmarks" / "results" / f"{name}.jsonl") for name in ("pipeline", "effort"))
    readme = {
        "table": readme_table([(titles[name], stored) for name, stored in sets.items()]),
        "speed": readme_lines(rows),
    }
    marked_page.rewrite(pages / _README, readme)
    tables = dict.fromkeys(_BLOCKS[_RESULTS], "No points are stored.")
    if large := sets.get(_1080P):
        tables |= _tables_1080p(large)
    if small := sets.get(_SMALL):
        tables |= {"range-small": full_size_report(small, WITHIN), "small": full_report(small)}
    marked_page.rewrite(pages / _RESULTS, tables | {"decode": decode_table(rows), "effort": effort_table(efforts)})


def _tables_1080p(stored: Stored) -> dict[str, str]:
    return {
        "range-1080p": full_size_report(stored, WITHIN),
        "1080p": full_report(stored, ("vmaf", 60.0, 95.0)),
        "high": full_size_report(stored, ("vmaf", 80.0, 95.0)),
    }


if __name__ == "__main__":
    main()

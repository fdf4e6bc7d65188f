"""The README's table is what the stored points give."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from modelled import modelled_comparison, modelled_curve

from vidscale.compare.analysis.bd_rate import Delta, bd_rate
from vidscale.compare.output.files import read_comparison, write_json
from vidscale.compare.points import Comparison, Point, Way

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
STORED = ROOT / "benchmarks" / "results" / "compare"
README = "# Title\n\n<!-- table -->\nold\n<!-- /table -->\n\nBehind.\n"
FULL = Way("", "", Fraction(1), "x264", "medium")
LANCZOS = Way("lanczos", "lanczos", Fraction(2), "x264", "medium")
FFMPEG = Way("ffmpeg-lanczos", "ffmpeg-lanczos", Fraction(2), "x264", "medium")


def make_table(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "benchmarks" / "make_table.py", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


def written(folder: Path, comparison: Comparison) -> str:
    """A README with the table of a comparison in it."""
    write_json(comparison, folder / "comparison.json")
    origin = {"commit": "abc1234", "cpu": "Some CPU", "cores": 2, "note": "Measured in the dark."}
    (folder / "origin.json").write_text(json.dumps(origin))
    (readme := folder / "README.md").write_text(README)
    done = make_table("--from-stored", "--stored", folder, "--readme", readme)
    assert done.returncode == 0, done.stderr
    return readme.read_text()


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_readme_has_the_table_of_the_stored_points(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    wiped = re.sub(r"(?s)(<!-- table -->\n).*(<!-- /table -->\n)", r"\1\2", text)
    assert len(wiped) < len(text) - 1000
    (readme := tmp_path / "README.md").write_text(wiped, encoding="utf-8")
    done = make_table("--from-stored", "--readme", readme)
    assert done.returncode == 0, done.stderr
    assert readme.read_text(encoding="utf-8") == text


def test_stored_points_are_whole_and_name_no_files() -> None:
    comparison = read_comparison(STORED)
    ways = {curve.way for curve in comparison.curves}
    assert {(way.codec, way.preset) for way in ways} == {("x264", "medium"), ("x265", "medium")}
    assert len(comparison.curves) == len(ways) * len(comparison.movies)
    assert not comparison.stills
    assert not comparison.failures
    for curve in comparison.curves:
        assert len(curve.points) >= 4
        assert all(not point.commands and set(point.metrics) == set(comparison.metrics) for point in curve.points)
    assert {"ffmpeg", "x264", "x265", "vidscale"} <= set(comparison.versions)
    files = list(STORED.iterdir())
    assert {file.name for file in files} == {"comparison.json", "origin.json"}
    assert sum(file.stat().st_size for file in files) < 1_000_000
    for file in files:
        assert not re.search(r"/(work|home|tmp|root)/", file.read_text(encoding="utf-8"))


def test_table_of_known_curves(tmp_path: Path) -> None:
    """Straight curves whose differences are exact: 20 % fewer bits than full size, 25 % more than ffmpeg's scaler."""
    curves = [
        modelled_curve(way, movie=movie, bits=bits)
        for movie, factor in {"one": 1.0, "two": 1.5}.items()
        for way, bits in {FULL: factor, LANCZOS: 0.8 * factor, FFMPEG: 0.64 * factor}.items()
    ]
    text = written(tmp_path, modelled_comparison(*curves))
    table = rows(text)
    assert ["**x264 medium**", "", "", "", ""] in table
    assert ["full size", "", "", "1.00", "0.25"] in table
    assert ["lanczos-x2", "-20.0 %", "-20.0 %", "1.00", "0.25"] in table
    assert ["ffmpeg-lanczos-x2", "-36.0 %", "-36.0 %", "1.00", "0.25"] in table
    assert ["lanczos-x2", "+25.0 %", "+25.0 %"] in table
    assert "2 movies (one, two)" in unwrapped(text)
    assert (
        "the best of these, ffmpeg-lanczos-x2, saves bits on 2 of 2 movies, up to VMAF 84 in the median"
        in unwrapped(text)
    )
    assert "30 points, vidscale at commit abc1234" in unwrapped(text)
    assert "Measured in the dark." in unwrapped(text)
    assert text.startswith("# Title\n\n<!-- table -->\n")
    assert text.endswith("<!-- /table -->\n\nBehind.\n")
    assert "old" not in text


def test_table_says_where_there_is_no_figure(tmp_path: Path) -> None:
    curves = [modelled_curve(FULL, movie=movie, psnr=(30, 33, 36)) for movie in ("one", "two")]
    curves += [modelled_curve(LANCZOS, movie="one", bits=2), modelled_curve(LANCZOS, movie="two", psnr=(37, 40, 43))]
    curves += [modelled_curve(FFMPEG, movie=movie, psnr=(37, 40)) for movie in ("one", "two")]
    table = rows(written(tmp_path, modelled_comparison(*curves)))
    assert ["lanczos-x2", "+100.0 % (1)", "+100.0 % (1)", "1.00", "0.25"] in table
    assert ["ffmpeg-lanczos-x2", "no overlap", "no overlap", "1.00", "0.25"] in table


def test_table_within_a_range_is_printed_alone(tmp_path: Path) -> None:
    """Curves that cross at 36 dB, VMAF 72: what saves below it loses above it."""
    curves = [modelled_curve(FULL, movie="one"), modelled_curve(LANCZOS, movie="one", slope=1.2)]
    before = written(tmp_path, modelled_comparison(*curves))
    found = {}
    for bounds in ("62:72", "72:82", "10:99"):
        words = ["--from-stored", "--within", f"vmaf={bounds}", "--stored", tmp_path]
        done = make_table(*words, "--readme", tmp_path / "README.md")
        assert done.returncode == 0, done.stderr
        found[bounds] = next(row for row in rows(done.stdout) if row[0] == "lanczos-x2")[1]
    assert found["62:72"].startswith("-")
    assert found["72:82"].startswith("+")
    assert found["10:99"] == "no figure"  # nobody measured all of that
    assert (tmp_path / "README.md").read_text() == before


def test_table_says_when_not_to_downscale(tmp_path: Path) -> None:
    """Curves that cross at 36 dB, VMAF 72, and one that is worse throughout."""
    curves = [modelled_curve(FULL, movie=movie) for movie in ("one", "two")]
    curves += [modelled_curve(LANCZOS, movie="one", slope=1.2), modelled_curve(LANCZOS, movie="two", bits=1.1)]
    text = written(tmp_path, modelled_comparison(*curves))
    assert (
        "before x264 medium the best of these, lanczos-x2, saves bits on 1 of 2 movies, up to VMAF 72 in"
        in unwrapped(text)
    )


def test_a_run_stores_what_was_measured(tmp_path: Path, make_clip) -> None:
    movie = make_clip("film.mp4", size="160x96", frames=8, options=["-crf", "8"])
    (readme := tmp_path / "README.md").write_text(README)
    words = ["--pairs", "lanczos-x2,ffmpeg-lanczos-x2", "--codec", "x264", "--preset", "ultrafast"]
    words += ["--metrics", "psnr_y", "--frames", 0, "--folder", tmp_path / "run", "--readme", readme]
    done = make_table(movie, *words, "--stored", tmp_path / "stored")
    assert done.returncode == 0, done.stderr
    measured, stored = read_comparison(tmp_path / "run"), read_comparison(tmp_path / "stored")
    assert [movie.name for movie in stored.movies] == ["film"]
    assert not stored.stills
    assert str(tmp_path) not in (tmp_path / "stored" / "comparison.json").read_text()
    figures = [bd_rate(full, small, "psnr_y") for full, small, _ in (measured.curves, stored.curves)]
    assert isinstance(figures[0], Delta)
    assert figures[0].value == figures[1].value
    table = rows(readme.read_text())
    assert next(row for row in table if row[0] == "lanczos-x2")[1] == f"{figures[0].value:+.1f} %"


def slower(point: Point) -> Point:
    return replace(point, encode_s=1000 * point.encode_s, decode_s=1000 * point.decode_s)


def test_pairs_can_be_added_to_what_is_stored(tmp_path: Path, make_clip) -> None:
    """Points of other pairs stay; new times are told beside those of the stored full size, a thousand times as long."""
    movie = make_clip("film.mp4", size="160x96", frames=8, options=["-crf", "8"])
    (readme := tmp_path / "README.md").write_text(README)
    words = ["--codec", "x264", "--preset", "ultrafast", "--metrics", "psnr_y", "--frames", 0, "--readme", readme]
    words += ["--stored", tmp_path / "stored"]
    done = make_table(movie, *words, "--pairs", "lanczos-x2", "--folder", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    first = read_comparison(tmp_path / "stored")
    slow = [replace(curve, points=[slower(point) for point in curve.points]) for curve in first.curves]
    write_json(replace(first, curves=slow), tmp_path / "stored" / "comparison.json")
    kept = read_comparison(tmp_path / "stored").curves

    done = make_table(movie, *words, "--pairs", "ffmpeg-lanczos-x2", "--add", "--folder", tmp_path / "run")

    assert done.returncode == 0, done.stderr
    both, measured = read_comparison(tmp_path / "stored"), read_comparison(tmp_path / "run")
    assert [curve.way.scaling for curve in both.curves] == ["full size", "lanczos-x2", "ffmpeg-lanczos-x2"]
    assert both.curves[:2] == kept
    for point, own in zip(both.curves[2].points, measured.curves[1].points, strict=True):
        assert (point.video_bytes, point.metrics) == (own.video_bytes, own.metrics)
        assert point.encode_s == pytest.approx(1000 * own.encode_s)
        assert point.decode_s == pytest.approx(1000 * own.decode_s)
    assert "ffmpeg-lanczos-x2" in readme.read_text()
    other = make_clip("other.mp4", size="160x96", frames=4, options=["-crf", "8"])
    for name, said in {"film.mp4": "film at full size", "new.mp4": "is of other movies"}.items():
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        changed = Path(shutil.copy(other, tmp_path / "elsewhere" / name))
        done = make_table(changed, *words, "--pairs", "bicubic-x2", "--add", "--folder", tmp_path / f"run-{name}")
        assert said in done.stderr
        assert done.returncode == 1
    assert read_comparison(tmp_path / "stored") == both


@pytest.mark.parametrize("text", ["no markers\n", README.replace("/table", "table"), README + README])
def test_table_errors(tmp_path: Path, text: str) -> None:
    """A README without a place for the table is told of before anything is measured."""
    (readme := tmp_path / "README.md").write_text(text)
    done = make_table(tmp_path / "missing.mp4", "--readme", readme, "--folder", tmp_path / "run")
    assert "has not the lines" in done.stderr
    assert done.returncode == 1
    assert readme.read_text() == text
    assert not (tmp_path / "run").exists()

"""The tables and figures of README.md and docs/results.md match the stored points and rows."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from material import make, picture
from modelled import modelled_comparison, modelled_curve

from vidscale.compare.analysis.bd_rate import Delta, bd_rate
from vidscale.compare.output.files import read_comparison, write_json
from vidscale.compare.points import Candidate, Comparison, Point

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SETS = {"compare": "small", "compare_1080p": "1080p"}
README = "# Title\n\n<!-- table -->\nold\n<!-- /table -->\n\n<!-- speed -->\n<!-- /speed -->\n\nBehind.\n"
BLOCKS = ("range-1080p", "range-small", "1080p", "high", "small", "decode", "effort")
FULL = Candidate("", "", Fraction(1), "x264", "medium")
ADAPTIVE = Candidate("adaptive", "adaptive", Fraction(2), "x264", "medium")
LANCZOS = Candidate("lanczos", "lanczos", Fraction(2), "x264", "medium")
FFMPEG = Candidate("ffmpeg-lanczos", "ffmpeg-lanczos", Fraction(2), "x264", "medium")


def make_table(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "benchmarks" / "make_table.py", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


def benchmark(script: str, *words: object) -> str:
    """What a benchmark prints."""
    command = [sys.executable, ROOT / "benchmarks" / script, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=200).stdout


def pages_in(folder: Path, readme: str = README) -> Path:
    """A folder with a README and a docs/results.md that have the markers of every block."""
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "README.md").write_text(readme)
    results = "".join(f"<!-- {name} -->\nold\n<!-- /{name} -->\n" for name in BLOCKS)
    (folder / "docs" / "results.md").write_text(results)
    return folder


def store(comparison: Comparison, results: Path, name: str = "compare") -> None:
    """Stores a comparison as a set."""
    (results / name).mkdir(parents=True, exist_ok=True)
    write_json(comparison, results / name / "comparison.json")
    origin = {"commit": "abc1234", "cpu": "Some CPU", "cores": 2, "note": "Measured in the dark."}
    (results / name / "origin.json").write_text(json.dumps(origin))


def written(folder: Path, comparison: Comparison, name: str = "compare") -> dict[str, str]:
    """The generated blocks of both pages, for one set of points."""
    store(comparison, folder / "results", name)
    done = make_table("--from-stored", "--results", folder / "results", "--pages", pages_in(folder))
    assert done.returncode == 0, done.stderr
    return blocks(folder)


def blocks(folder: Path) -> dict[str, str]:
    """Name to text between the markers of both pages."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    text += (folder / "docs" / "results.md").read_text(encoding="utf-8")
    return dict(re.findall(r"(?s)<!-- ([\w-]+) -->\n(.*?)<!-- /\1 -->\n", text))


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_pages_have_the_figures_of_the_stored_points(tmp_path: Path) -> None:
    pages = {page: (ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/results.md")}
    (tmp_path / "docs").mkdir()
    for page, text in pages.items():
        wiped = re.sub(r"(?s)(<!-- ([\w-]+) -->\n).*?(<!-- /\2 -->\n)", r"\1\3", text)
        assert len(wiped) < len(text) - 1000
        (tmp_path / page).write_text(wiped, encoding="utf-8")
    done = make_table("--from-stored", "--pages", tmp_path)
    assert done.returncode == 0, done.stderr
    for page, text in pages.items():
        assert (tmp_path / page).read_text(encoding="utf-8") == text


def test_pages_have_no_figures_of_their_own() -> None:
    """BD-rates are generated; those of single experiments are in docs/experiments.md."""
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        if page.name != "experiments.md":
            outside = re.sub(r"(?s)<!-- ([\w-]+) -->\n.*?<!-- /\1 -->\n", "", page.read_text(encoding="utf-8"))
            assert re.findall(r"[-+]\d+\.\d+ %", outside) == [], page.name


def test_readme_table_is_of_the_points_themselves() -> None:
    """Its first two rows, computed here from the points: means of BD-rates by VMAF, and nothing else."""
    table = rows(blocks(ROOT)["table"])
    columns = [("compare_1080p", "x264"), ("compare_1080p", "x265"), ("compare", "x264"), ("compare", "x265")]
    assert table[0] == ["BD-rate, VMAF 70 to 85", *(f"{SETS[name]}, {codec}" for name, codec in columns)]
    for n, family in ((2, "adaptive"), (3, "adaptive-vmaf")):
        assert table[n][0].startswith(f"`{family}-x2`")
        for cell, (name, codec) in zip(table[n][1:], columns, strict=True):
            comparison = read_comparison(RESULTS / name)
            curves = {
                (curve.movie, curve.candidate): curve for curve in comparison.curves if curve.candidate.codec == codec
            }
            small = [
                curve for (_, candidate), curve in curves.items() if (candidate.down, candidate.scale) == (family, 2)
            ]
            full = [curves[curve.movie, Candidate("", "", Fraction(1), codec, "medium")] for curve in small]
            found = [bd_rate(a, t, "vmaf", within=("vmaf", 70, 85)) for a, t in zip(full, small, strict=True)]
            values = [figure.value for figure in found if isinstance(figure, Delta)]
            assert len(values) == len(comparison.movies)
            assert cell == f"{sum(values) / len(values):+.1f} %"


def test_readme_speed_is_of_the_stored_rows() -> None:
    text = unwrapped(blocks(ROOT)["speed"])
    stored = [json.loads(line) for line in (RESULTS / "pipeline.jsonl").read_text().splitlines()]
    encode = [row for row in stored if row["benchmark"] == "encode wall time" and row["frames"] == 1500][-1]
    decode = [row for row in stored if row["benchmark"] == "decode wall time"][-1]
    memory = {row["minutes"]: row["vidscale_mb"] for row in stored if row["benchmark"] == "peak memory"}
    ratio = encode["seconds"]["vidscale"] / encode["seconds"]["full"]
    assert f"takes {ratio:.2f} times as long as at full size for 1500 frames" in text
    assert f"restores {decode['frames'] / decode['seconds']['adaptive-x2']:.0f} frames/s of 1080p" in text
    assert f"{memory[1]} MB for one minute of 1080p, {memory[10]} MB for ten" in text


def test_effort_table_is_of_the_stored_rows() -> None:
    stored = [json.loads(line) for line in (RESULTS / "effort.jsonl").read_text().splitlines()]
    stored = [row for row in stored if "patient" in row["seconds"]]  # older rows have one network
    table = rows(blocks(ROOT)["effort"])
    assert len(table) == 2 + len({(row["codec"], row["preset"]) for row in stored})
    for cells in table[2:]:
        row = [row for row in stored if cells[0] == f"{row['codec']} {row['preset']}"][-1]
        seconds = row["seconds"]
        ways = ("fast", "normal", "AVX2 normal", "patient", "AVX2 patient")
        ratios = {way: seconds[way] / seconds["full"] for way in ways}
        assert [float(cell) for cell in cells[1:6]] == pytest.approx([*ratios.values()], abs=0.011)
        assert ratios[cells[6]] <= 0.8
        more = ("fast", "normal", "patient").index(cells[6]) + 1
        assert all(ratios[f"AVX2 {effort}"] > 0.8 for effort in ("fast", "normal", "patient")[more:])


def test_bits_of_chunks_are_the_stored_ones() -> None:
    stored = [json.loads(line) for line in (RESULTS / "batch.jsonl").read_text().splitlines()]
    bits = [row for row in stored if row["benchmark"] == "bits of chunks"]
    text = (ROOT / "docs" / "scale.md").read_text()
    (block,) = re.findall(r"(?s)<!-- chunk-bits -->\n(.*?)<!-- /chunk-bits -->\n", text)
    for seconds, joints, *cells in rows(block)[2:]:
        assert int(joints) == bits[0]["joints"][seconds]
        assert cells == [f"{row['added_percent'][seconds]:+.2f} %" for row in bits]


def test_speed_of_chunks_is_of_the_stored_rows() -> None:
    text = (ROOT / "docs" / "scale.md").read_text()
    (block,) = re.findall(r"(?s)<!-- chunk-speed -->\n(.*?)<!-- /chunk-speed -->\n", text)
    assert block.strip() == benchmark("bench_batch.py", "--table").strip()


def test_steps_of_a_movie_are_the_stored_ones() -> None:
    stored = [json.loads(line) for line in (RESULTS / "batch.jsonl").read_text().splitlines()]
    (row,) = [row for row in stored if row["benchmark"] == "steps of a movie"][-1:]
    text = (ROOT / "docs" / "scale.md").read_text()
    (block,) = re.findall(r"(?s)<!-- chunk-steps -->\n(.*?)<!-- /chunk-steps -->\n", text)
    names = ("plan", "cuts", "journal of a chunk", "join", "measure", "encode")
    told = [float(seconds) for _, seconds in rows(block)[2:]]
    assert told == [float(f"{row['seconds'][name]:.2g}") for name in names]


def test_model_of_many_workers_is_that_of_the_stored_steps() -> None:
    text = (ROOT / "docs" / "scale.md").read_text()
    (block,) = re.findall(r"(?s)<!-- chunk-model -->\n(.*?)<!-- /chunk-model -->\n", text)
    without, measured = (
        {(row["workers"], row["failing"]): row for row in map(json.loads, printed.splitlines()[1:])}
        for printed in (benchmark("scale_model.py", RESULTS / "batch.jsonl", *words) for words in ([], ["--report"]))
    )
    for workers, *told in rows(block)[2:]:
        few = [without[int(workers), failing] for failing in (0.0, 0.001, 0.01)]
        many = measured[int(workers), 0.01]
        expected = [few[0]["model"], *(row["simulated"] for row in few), measured[int(workers), 0.0]["model"]]
        assert [float(cell) for cell in told] == [float(f"{value:.2g}") for value in (*expected, many["simulated"])]


def test_gpu_table_is_of_the_stored_rows() -> None:
    rows = [json.loads(line) for line in (RESULTS / "gpu.jsonl").read_text().splitlines()]
    stored = {(row["stage"], row["size"].split("x")[1], row["way"]): row for row in rows}
    text = (ROOT / "docs" / "architecture.md").read_text()
    names = {
        "downscale, Lanczos": "downscale, lanczos",
        "upscale, Lanczos": "upscale, lanczos",
        "upscale, 8 layers of 8 channels (`adaptive-x2`)": "upscale, compact 8x8",
        "upscale, 8 layers of 32 channels (`adaptive-quality-x2`)": "upscale, compact 32x8",
        "downscale, back-projection (`adaptive-x2`)": "downscale, back-projection",
    }
    for label, stage in names.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {label} |")]
        half, whole = stored.get((stage, "1080", "torch, float16")), stored.get((stage, "2160", "triton"))
        row = stored[stage, "1080", "triton"]
        expected = [
            f"{row['frames_s']:.0f}",
            f"{row['kernels_ms']:.2f}",
            f"{half['kernels_ms']:.2f}" if half else "",
            f"{whole['frames_s']:.0f}" if whole else "",
        ]
        assert [cell.strip() for cell in line.split("|")[2:-1]] == expected


@pytest.mark.parametrize("name", SETS)
def test_stored_points_are_whole_and_name_no_files(name: str) -> None:
    comparison = read_comparison(RESULTS / name)
    candidates = {curve.candidate for curve in comparison.curves}
    assert {(candidate.codec, candidate.preset) for candidate in candidates} == {("x264", "medium"), ("x265", "medium")}
    assert len(comparison.curves) == len(candidates) * len(comparison.movies)
    assert not comparison.stills
    assert not comparison.failures
    for curve in comparison.curves:
        assert len(curve.points) >= 4
        assert all(not point.commands and set(point.metrics) == set(comparison.metrics) for point in curve.points)
    assert {"ffmpeg", "x264", "x265", "vidscale"} <= set(comparison.versions)
    files = list((RESULTS / name).iterdir())
    assert {file.name for file in files} == {"comparison.json", "origin.json"}
    assert sum(file.stat().st_size for file in files) < 1_000_000
    for file in files:
        assert not re.search(r"/(work|home|tmp|root)/", file.read_text(encoding="utf-8"))


def test_table_of_known_curves(tmp_path: Path) -> None:
    """Straight curves with exact differences: 20 % fewer bits than full size, 25 % more than ffmpeg's scaler."""
    curves = [
        modelled_curve(candidate, movie=movie, bits=bits)
        for movie, factor in {"one": 1.0, "two": 1.5}.items()
        for candidate, bits in {FULL: factor, LANCZOS: 0.8 * factor, FFMPEG: 0.64 * factor}.items()
    ]
    text = written(tmp_path, modelled_comparison(*curves))["small"]
    table = rows(text)
    assert ["**x264 medium**", "", "", "", ""] in table
    assert ["full size", "", "", "1.00", "0.25"] in table
    assert ["lanczos-x2", "-20.0 %", "-20.0 %", "1.00", "0.25"] in table
    assert ["ffmpeg-lanczos-x2", "-36.0 %", "-36.0 %", "1.00", "0.25"] in table
    assert ["lanczos-x2", "+25.0 %", "+25.0 %"] in table
    assert "2 clips (one, two)" in unwrapped(text)
    assert "with x264 medium, ffmpeg-lanczos-x2 saves bits on 2 of 2 clips, up to VMAF 84 (median)" in unwrapped(text)
    assert "30 points, vidscale at commit abc1234" in unwrapped(text)
    assert "Measured in the dark." in unwrapped(text)
    assert "old" not in text
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("# Title\n\n<!-- table -->\n")
    assert readme.endswith("<!-- /speed -->\n\nBehind.\n")
    assert "old" not in readme


def test_readme_table_of_known_curves(tmp_path: Path) -> None:
    """Curves that differ by 20 % everywhere, curves that cross at VMAF 72, and one that ends there."""
    reach = (30, 33, 36, 39, 42, 45)
    full = modelled_curve(FULL, movie="one", psnr=reach)
    saves = modelled_curve(ADAPTIVE, movie="one", psnr=reach, bits=0.8)
    crosses = modelled_curve(ADAPTIVE, movie="one", psnr=reach, slope=1.2)
    stops = modelled_curve(ADAPTIVE, movie="one", psnr=(30, 33, 36))
    store(modelled_comparison(full, saves), tmp_path / "results", "compare_1080p")
    text = written(tmp_path, modelled_comparison(full, crosses))["table"]
    table = rows(text)
    assert table[0] == ["BD-rate, VMAF 70 to 85", "1080p, x264", "small, x264"]
    assert [row[0][:13] for row in table[2:]] == ["`adaptive-x2`"]
    assert table[2][1] == "-20.0 %"
    assert float(table[2][2].removesuffix(" %")) > 0
    assert "up to a VMAF of 90 (1080p, x264), 72 (small, x264)" in unwrapped(text)
    assert f"full size's curve: -20.0 % (1080p, x264), {table[2][2]} (small, x264)." in unwrapped(text)
    text = written(tmp_path, modelled_comparison(full, stops))["table"]
    assert rows(text)[2][1:] == ["-20.0 %", "no figure"]
    assert "in the other columns `adaptive-x2` does not reach the full size's PSNR-Y" in unwrapped(text)


def test_table_says_where_there_is_no_figure(tmp_path: Path) -> None:
    curves = [modelled_curve(FULL, movie=movie, psnr=(30, 33, 36)) for movie in ("one", "two")]
    curves += [modelled_curve(LANCZOS, movie="one", bits=2), modelled_curve(LANCZOS, movie="two", psnr=(37, 40, 43))]
    curves += [modelled_curve(FFMPEG, movie=movie, psnr=(37, 40)) for movie in ("one", "two")]
    table = rows(written(tmp_path, modelled_comparison(*curves))["small"])
    assert ["lanczos-x2", "+100.0 % (1)", "+100.0 % (1)", "1.00", "0.25"] in table
    assert ["ffmpeg-lanczos-x2", "no overlap", "no overlap", "1.00", "0.25"] in table


def test_table_within_a_range_is_printed_alone(tmp_path: Path) -> None:
    """Curves that cross at 36 dB, VMAF 72: the test saves bits below and costs bits above."""
    curves = [modelled_curve(FULL, movie="one"), modelled_curve(LANCZOS, movie="one", slope=1.2)]
    before = written(tmp_path, modelled_comparison(*curves))
    found = {}
    for bounds in ("62:72", "72:82", "10:99"):
        words = ["--from-stored", "--within", f"vmaf={bounds}", "--results", tmp_path / "results"]
        done = make_table(*words, "--pages", tmp_path)
        assert done.returncode == 0, done.stderr
        found[bounds] = next(row for row in rows(done.stdout) if row[0] == "lanczos-x2")[1]
    assert found["62:72"].startswith("-")
    assert found["72:82"].startswith("+")
    assert found["10:99"] == "no figure"  # nobody measured all of that
    assert blocks(tmp_path) == before


def test_table_says_when_not_to_downscale(tmp_path: Path) -> None:
    """Curves that cross at 36 dB, VMAF 72, and one that is worse everywhere."""
    curves = [modelled_curve(FULL, movie=movie) for movie in ("one", "two")]
    curves += [modelled_curve(LANCZOS, movie="one", slope=1.2), modelled_curve(LANCZOS, movie="two", bits=1.1)]
    text = written(tmp_path, modelled_comparison(*curves))["small"]
    assert "with x264 medium, lanczos-x2 saves bits on 1 of 2 clips, up to VMAF 72 (median)" in unwrapped(text)


WORDS = ["--codec", "x264", "--preset", "ultrafast", "--metrics", "psnr_y", "--frames", 0]


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a run with lanczos-x2, and its movie."""
    folder = tmp_path_factory.mktemp("once")
    movie = make(folder / "film.mp4", *picture("160x96", 25, then="trim=end_frame=8"), "-crf", "8")
    words = [*WORDS, "--pages", pages_in(folder), "--results", folder / "results"]
    done = make_table(movie, *words, "--pairs", "lanczos-x2", "--folder", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder, movie


def test_a_run_stores_what_was_measured(run_once: tuple[Path, Path]) -> None:
    folder, _ = run_once
    measured, stored = read_comparison(folder / "run"), read_comparison(folder / "results" / "compare")
    assert [movie.name for movie in stored.movies] == ["film"]
    assert not stored.stills
    assert str(folder) not in (folder / "results" / "compare" / "comparison.json").read_text()
    figures = [bd_rate(full, small, "psnr_y") for full, small in (measured.curves, stored.curves)]
    assert isinstance(figures[0], Delta)
    assert figures[0].value == figures[1].value
    table = rows(blocks(folder)["small"])
    assert next(row for row in table if row[0] == "lanczos-x2")[1] == f"{figures[0].value:+.1f} %"


def slower(point: Point) -> Point:
    return replace(point, encode_s=1000 * point.encode_s, decode_s=1000 * point.decode_s)


def test_pairs_can_be_added_to_what_is_stored(tmp_path: Path, make_clip, run_once: tuple[Path, Path]) -> None:
    """Points of other pairs stay; new times are relative to those of the stored full size, a thousand times as long."""
    folder, movie = run_once
    for part in ("results", "run"):
        shutil.copytree(folder / part, tmp_path / part)
    stored = tmp_path / "results" / "compare"
    words = [*WORDS, "--pages", pages_in(tmp_path), "--results", tmp_path / "results"]
    first = read_comparison(stored)
    slow = [replace(curve, points=[slower(point) for point in curve.points]) for curve in first.curves]
    write_json(replace(first, curves=slow), stored / "comparison.json")
    kept = read_comparison(stored).curves

    done = make_table(movie, *words, "--pairs", "ffmpeg-lanczos-x2", "--add", "--folder", tmp_path / "run")

    assert done.returncode == 0, done.stderr
    both, measured = read_comparison(stored), read_comparison(tmp_path / "run")
    assert [curve.candidate.scaling for curve in both.curves] == ["full size", "lanczos-x2", "ffmpeg-lanczos-x2"]
    assert both.curves[:2] == kept
    for point, own in zip(both.curves[2].points, measured.curves[1].points, strict=True):
        assert (point.video_bytes, point.metrics) == (own.video_bytes, own.metrics)
        assert point.encode_s == pytest.approx(1000 * own.encode_s)
        assert point.decode_s == pytest.approx(1000 * own.decode_s)
    assert "ffmpeg-lanczos-x2" in blocks(tmp_path)["small"]
    other = make_clip("other.mp4", size="160x96", frames=4, options=["-crf", "8"])
    for name, said in {"film.mp4": "film at full size", "new.mp4": "has other movies"}.items():
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        changed = Path(shutil.copy(other, tmp_path / "elsewhere" / name))
        done = make_table(changed, *words, "--pairs", "bicubic-x2", "--add", "--folder", tmp_path / f"run-{name}")
        assert said in done.stderr
        assert done.returncode == 1
    assert not (tmp_path / "run-new.mp4").exists()  # said before anything was measured
    assert read_comparison(stored) == both


@pytest.mark.parametrize("text", ["no markers\n", README.replace("/table", "table"), README + README])
def test_table_errors(tmp_path: Path, text: str) -> None:
    """A README without markers is rejected before anything is measured."""
    words = ["--pages", pages_in(tmp_path, text), "--folder", tmp_path / "run", "--results", tmp_path / "results"]
    done = make_table(tmp_path / "missing.mp4", *words)
    assert "needs the lines" in done.stderr
    assert done.returncode == 1
    assert (tmp_path / "README.md").read_text() == text
    assert not (tmp_path / "run").exists()

"""`vidscale batch`: what it takes, what it refuses, what it leaves."""

import heapq
import json
import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from material import make, picture
from robustness import content, documented, finish, frame_count, message, nothing_left, run_here, start, wait_for

from vidscale.batch.batch_progress import BatchProgress, Expected
from vidscale.batch.inputs import Entry, movies_of, target_of
from vidscale.batch.page import StatusPage, worst_first
from vidscale.batch.results import MovieResult, Results
from vidscale.errors import ConfigError
from vidscale.quality import parse_target
from vidscale.system.names import numbered

FAST = ["--scale", "1", "--preset", "ultrafast", "--no-verdict"]
MakeClip = Callable[..., Path]


@pytest.fixture
def season(tmp_path: Path, make_clip: MakeClip) -> Path:
    """A folder with two movies, a broken one and something else."""
    folder = tmp_path / "in"
    (folder / "extras").mkdir(parents=True)
    shutil.move(make_clip("one.mp4", frames=10), folder)
    shutil.move(make_clip("two.mkv", frames=20, audio=True), folder / "extras")
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "readme.txt").write_text("no movie")
    return folder


@pytest.mark.slow
def test_batch_of_a_folder(tmp_path: Path, season: Path) -> None:
    output, page = tmp_path / "out", tmp_path / "status.html"
    run = run_here("batch", season, "-o", output, *FAST, "--json", "--status", page, "--least", "psnr=99")
    assert run.code == 1
    assert "vidscale: broken: " in run.stderr
    records = [json.loads(line) for line in run.stdout.splitlines()]
    movies = {record["output"]: record for record in records if record["event"] == "movie"}
    assert {name: movie["state"] for name, movie in movies.items()} == {
        str(output / "one.mp4"): "done",
        str(output / "broken.mp4"): "failed",
        str(output / "extras" / "two.mkv"): "done",
    }
    assert all(set(movie) - {"event"} == documented("movie") for movie in movies.values())
    assert frame_count(output / "one.mp4") == 10
    assert frame_count(output / "extras" / "two.mkv") == 20
    assert (output / "one.mp4.report" / "report.json").exists()
    assert records[-1].items() >= {"event": "batch", "movies": 3, "failed": 1, "low": 2}.items()
    assert set(records[-1]) - {"event"} == documented("batch")
    index = (output / "index.html").read_text()
    assert re.findall(r'<th scope="row">(?:<a href="([^"]*)">)?([^<]*)', index)[0] == ("", "broken.mp4")
    assert 'href="extras/two.mkv.report/index.html"' in index
    assert "below the limit" in index
    assert "no video" not in index
    status = page.read_text()
    assert "failed: " in status
    assert 'http-equiv="refresh"' not in status  # it has ended
    left = {path.name for path in output.iterdir()}
    assert left == {
        *("one.mp4", "one.mp4.report", "extras", "index.html", ".vidscale-batch.db", ".vidscale-batch.lock")
    }


@pytest.mark.slow
def test_notes_about_a_movie_are_told(tmp_path: Path) -> None:
    source = make(tmp_path / "movie.mp4", *picture("160x96", duration=4), "-preset", "ultrafast", "-g", "25")
    data = bytearray(source.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    source.write_bytes(data)
    run = run_here("batch", source, "-o", tmp_path / "out", *FAST, "--no-report", "--json")
    assert run.code == 0, run.stderr
    notes = json.loads(run.stdout.splitlines()[-2])["notes"]
    assert any("movie.mp4" in note for note in notes)
    lines = run.stderr.splitlines()
    assert all(f"movie: {note}" in lines for note in notes)


@pytest.mark.slow
def test_batch_again_keeps_what_is_done_by_its_bytes(tmp_path: Path, season: Path) -> None:
    output = tmp_path / "out"
    words = ["batch", season, "-o", output, *FAST, "--no-report"]
    assert run_here(*words).code == 1
    (season / "broken.mp4").unlink()
    one, two = output / "one.mp4", output / "extras" / "two.mkv"
    first = one.read_bytes()
    run = run_here(*words)
    assert run.code == 0
    assert sorted(run.stderr.splitlines()) == ["extras/two: done before", "one: done before"]
    two.unlink()
    run = run_here(*words)
    assert run.code == 0
    assert "extras/two: encoding" in run.stderr
    assert frame_count(two) == 20
    one.write_bytes(first[:-1])  # not the file that was written
    run = run_here(*words)
    assert run.code == 1
    assert f"vidscale: one: {one} exists; -y replaces it" in run.stderr
    assert run_here(*words, "-y").code == 0
    assert one.read_bytes() == first
    assert f"one: {one} is from another source or other settings; -y" in run_here(*words, "--crf", "33").stderr


@pytest.mark.slow
def test_batch_that_was_killed_goes_on(tmp_path: Path) -> None:
    for name in "abc":
        moving = picture("64x48", duration=8, then="noise=alls=9:allf=t:all_seed=1")
        make(tmp_path / f"{name}.mp4", *moving, "-pix_fmt", "yuv420p", "-preset", "ultrafast", "-g", "25")
    output = tmp_path / "out"
    words = ["batch", str(tmp_path / "*.mp4"), "-o", output, "--scale", "1", "--preset", "slow", "--no-report"]
    process = start(*words, "--chunks", "2", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: list(output.glob("[abc].mp4")))
    process.kill()
    process.wait()
    run = run_here(*words, "--chunks", "2")
    assert run.code == 0, run.stderr
    assert {path.name for path in output.glob("*.mp4*")} == {"a.mp4", "b.mp4", "c.mp4"}
    assert [frame_count(output / f"{name}.mp4") for name in "abc"] == [200] * 3


@pytest.mark.slow
def test_interrupted_batch_says_how_it_goes_on(tmp_path: Path) -> None:
    make(tmp_path / "long.mp4", *picture("160x96", duration=20), "-preset", "ultrafast")
    words = ["--scale", "1", "--preset", "placebo", "--no-report"]
    process = start("batch", tmp_path / "long.mp4", "-o", tmp_path / "out", *words)
    wait_for(lambda: list((tmp_path / "out").glob("*.chunks/*.part.mp4")))
    process.send_signal(signal.SIGINT)
    run = finish(process)
    assert run.code == 130, run.stderr
    last = run.stderr.splitlines()[-1]
    assert last == "interrupted: finished movies and chunks are kept; rerun the same command to resume"


@pytest.mark.slow
def test_second_batch_in_a_folder_is_refused(tmp_path: Path, make_clip: MakeClip) -> None:
    from vidscale.batch.lock import Claim

    (output := tmp_path / "out").mkdir()
    with Claim(output / ".vidscale-batch.lock", "x"):
        run = run_here("batch", make_clip(), "-o", output, *FAST)
    assert "out is being written by another run (process " in message(run)


def test_dry_run_of_a_batch(tmp_path: Path, season: Path) -> None:
    with nothing_left(tmp_path):
        run = run_here("batch", season, "-o", tmp_path / "out", "--dry-run", "--json", "--container", "mkv")
    records = [json.loads(line) for line in run.stdout.splitlines()]
    assert [record["output"] for record in records] == [
        str(tmp_path / "out" / name) for name in ("broken.mkv", "extras/two.mkv", "one.mkv")
    ]
    assert all(set(record) - {"event"} == documented("planned") for record in records)
    assert records[0]["settings"]["chunks"] == "auto"


def test_lists_and_queues(tmp_path: Path, make_clip: MakeClip) -> None:
    one, two = make_clip("one.mp4"), make_clip("two.mkv")
    (tmp_path / "list.txt").write_text("# a comment\none.mp4\n\ntwo.mkv\n")
    assert movies_of([str(tmp_path / "list.txt")], tmp_path / "out") == [
        Entry(one, Path("one")),
        Entry(two, Path("two")),
    ]
    lines = ['{"input": "one.mp4", "output": "s1/first", "settings": {"crf": 30}}', '{"input": "two.mkv"}']
    (tmp_path / "queue.jsonl").write_text("\n".join(lines))
    found = movies_of([str(tmp_path / "queue.jsonl"), str(two)], tmp_path / "out")
    assert found == [Entry(one, Path("s1/first"), {"crf": 30}), Entry(two, Path("two"))]
    assert len(movies_of([str(tmp_path / "*.mp4")], tmp_path / "out")) == 1


def test_settings_of_a_queue_win(tmp_path: Path, make_clip: MakeClip) -> None:
    make_clip("one.mp4")
    (tmp_path / "queue.jsonl").write_text('{"input": "one.mp4", "settings": {"crf": 30, "range": "0:3"}}')
    words = ["batch", tmp_path / "queue.jsonl", "-o", tmp_path / "out", "--crf", "20", "--preset", "slow"]
    settings = json.loads(run_here(*words, "--dry-run", "--json").stdout)["settings"]
    assert (settings["crf"], settings["preset"], settings["range"]["end"]) == (30.0, "slow", "3")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "queue.jsonl, line 1: not JSON"),
        ("3", 'line 1: not an object with "input"'),
        ('{"input": "one.mp4", "colour": 3}', "line 1: colour is unknown; there are input, output, settings"),
        ('{"input": 3}', "line 1: input = 3 is not text"),
        ('{"input": "one.mp4", "output": "../x"}', "line 1: output = '../x' is not below the output folder"),
        ('{"input": "none.mp4"}', "queue.jsonl names files that do not exist: "),
        ('{"input": "one.mp4", "settings": {"crf": 99}}', "crf 99 is outside 0 to 51 of x264"),
    ],
)
def test_queue_errors(tmp_path: Path, make_clip: MakeClip, line: str, words: str) -> None:
    make_clip("one.mp4")
    (tmp_path / "queue.jsonl").write_text(line)
    run = run_here("batch", tmp_path / "queue.jsonl", "-o", tmp_path / "out")
    assert words in message(run, code=2 if "crf" in line else 1)
    assert set(content(tmp_path)) == {"one.mp4", "queue.jsonl"}


def test_bad_inputs_are_refused_before_anything_is_written(tmp_path: Path, make_clip: MakeClip) -> None:
    one = make_clip("one.mp4")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    shutil.copy(one, tmp_path / "other")
    (tmp_path / "list.txt").write_text("one.mp4\ngone.mp4\nlost.mkv\n")
    cases: list[tuple[list[object], str, int]] = [
        ([tmp_path / "empty"], "no movies in the folder ", 1),
        ([tmp_path / "none.mp4"], "none.mp4 does not exist", 1),
        ([str(tmp_path / "*.avi")], "no file matches ", 1),
        ([tmp_path / "list.txt"], "list.txt names files that do not exist: ", 1),
        ([one, tmp_path / "other"], "would both be written to ", 1),
        ([one, "-o", tmp_path], "one.mp4 is an input; choose another output folder", 1),
        ([tmp_path, "-o", tmp_path / "x"], "x is inside the input folder ", 1),
        ([tmp_path, "-o", tmp_path], "is inside the input folder ", 1),
        ([one, "-o", one], "is a file", 1),
        ([one, "--jobs", "0"], "jobs = 0: below 1", 2),
        ([one, "--container", "avi"], "container = 'avi': not 'mp4', ", 2),
        ([one, "--least", "beauty=3"], "unknown metric 'beauty'", 2),
        ([one, "--least", "vmaf=90", "--no-report"], "--least needs the report", 2),
        ([one, "--crf", "99"], "crf 99 is outside 0 to 51", 2),
    ]
    with nothing_left(tmp_path):
        for words, expected, code in cases:
            target = [] if "-o" in words else ["-o", tmp_path / "out"]
            assert expected in message(run_here("batch", *words, *target), code=code), words


@pytest.mark.parametrize(
    ("source", "codec", "container", "expected"),
    [
        ("a.mp4", "x264", None, "a.mp4"),
        ("a.webm", "x264", None, "a.mkv"),
        ("a.webm", "svtav1", None, "a.webm"),
        ("a.avi", "x265", None, "a.mkv"),
        ("a.b.MKV", "x265", None, "a.b.mkv"),
        ("a.mp4", "x265", "mkv", "a.mkv"),
    ],
)
def test_target_of(source: str, codec: str, container: str | None, expected: str) -> None:
    entry = Entry(Path(source), Path(Path(source).stem))
    assert target_of(entry, Path("out"), codec, container) == Path("out") / expected  # type: ignore[arg-type]


def result(name: str, state: str = "done", **quality: float) -> MovieResult:
    return MovieResult(name, name, state, quality=quality)  # type: ignore[arg-type]


def test_worst_first() -> None:
    results = [result("a", psnr_y=40, vmaf=80), result("b", psnr_y=30, vmaf=90), result("c", "failed"), result("d")]
    assert [each.source for each in worst_first(results, None)] == ["c", "b", "a", "d"]
    assert [each.source for each in worst_first(results, parse_target("vmaf=95"))] == ["c", "a", "b", "d"]


def test_status_page_refreshes_until_the_end(tmp_path: Path) -> None:
    page = StatusPage(tmp_path / "status.html", "season")
    page.planned([Expected("<one>", 10), Expected("two", 10)])
    page.finished("<one>", result("<one>"))
    text = (tmp_path / "status.html").read_text()
    assert 'http-equiv="refresh"' in text
    assert "&lt;one&gt;" in text
    assert "<one>" not in text
    page.finished("two", MovieResult("two", "two", "failed", "no reason"))
    text = (tmp_path / "status.html").read_text()
    assert "failed: no reason" in text
    assert 'http-equiv="refresh"' not in text
    assert "of 2, 1 failed" in text
    assert "The worst first." not in text  # they are in the order of the batch


@pytest.mark.parametrize(("encoding", "measuring"), [(0.01, 0.017), (0.03, 0.02), (0.04, None)])
def test_time_left_is_right_after_the_first_tenth(encoding: float, measuring: float | None) -> None:
    """Twelve movies of different lengths, two at a time, by a clock of our own; seconds of a frame in each step."""
    frames = [600, 1000, 800, 700, 1200, 900, 500, 1100, 1000, 600, 900, 700]
    steps = [("encoding", encoding)] + ([("measuring", measuring)] if measuring else [])
    now = 0.0
    progress = BatchProgress(clock=lambda: now)
    progress.planned([Expected(str(n), count, count if measuring else 0) for n, count in enumerate(frames)])

    def events(lane: int) -> Iterator[tuple[float, str, str | None]]:
        """Time, movie and new step (None: a frame) of every second movie."""
        at = 0.0
        for number in range(lane, len(frames), 2):
            for step, seconds in steps:
                yield at, str(number), step
                for _ in range(frames[number]):
                    at += seconds
                    yield at, str(number), None

    told = list[tuple[float, float | None]]()
    for now, movie, step in heapq.merge(events(0), events(1)):  # `progress` reads `now`
        if step is None:
            progress.advanced(movie)
            told.append((now, progress.seconds_left()))
        else:
            progress.started(movie, step)
    for at, left in told:
        if now / 10 <= at <= 0.9 * now:
            assert left == pytest.approx(now - at, rel=0.2), at
    assert told[-1] == (now, 0.0)


def test_folder_in_folder_is_fine_beside(tmp_path: Path, make_clip: MakeClip) -> None:
    make_clip("one.mp4")
    with pytest.raises(ConfigError, match="inside the input folder"):
        movies_of([str(tmp_path)], tmp_path / "deep" / "out")
    assert movies_of([str(tmp_path)], tmp_path.parent / "out") == [Entry(tmp_path / "one.mp4", Path("one"))]


def test_results_of_another_version_errors(tmp_path: Path) -> None:
    """Twice: the refusal must not change the database."""
    path = tmp_path / "results.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    for _ in range(2):
        with pytest.raises(ConfigError, match="of another version of vidscale"):
            Results(path)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["film", "film", "other", "film"], ["film", "film (2)", "other", "film (3)"]),
        (["film (2)", "film", "film"], ["film (2)", "film", "film (3)"]),
        (["film", "film", "film (2)"], ["film", "film (2)", "film (2) (2)"]),
    ],
)
def test_names_of_movies_are_different(names: list[str], shown: list[str]) -> None:
    assert numbered(names) == shown

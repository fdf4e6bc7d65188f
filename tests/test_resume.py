"""Chunks after a kill, the journal, and the claim on an output."""

import contextlib
import json
import os
import platform
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from material import make, picture, sound
from robustness import finish, message, processes_naming, run_apart, run_here, start, wait_for

from vidscale.batch.chunked import ChunkedEncoder, plan_chunked
from vidscale.batch.journal import Journal
from vidscale.batch.local import LocalEngine
from vidscale.batch.lock import Claim
from vidscale.config import EncodeSettings
from vidscale.errors import ConfigError
from vidscale.system.progress import Progress

KILLS = 30
CHUNKS = 3
FRAMES = 250
WORDS = ["--scale", "1", "--preset", "fast", "--chunks", str(CHUNKS), "--jobs", "2", "--no-verdict"]


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    moving = picture("160x96", duration=10, then="noise=alls=12:allf=t:all_seed=1")
    path = tmp_path_factory.mktemp("movie") / "movie.mkv"
    return make(path, *moving, *sound(10), "-pix_fmt", "yuv420p", "-preset", "ultrafast", "-g", "25")


def ended(folder: Path) -> None:
    """Waits until no process works in a folder."""
    wait_for(lambda: not processes_naming(folder), timeout_s=60)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_at_random_moments_change_nothing(tmp_path: Path, movie: Path) -> None:
    """The program is killed, half of the time with all of its workers and encoders, and started again."""
    whole, killed = tmp_path / "whole.mkv", tmp_path / "killed.mkv"
    begin = time.monotonic()
    run = run_apart("encode", movie, "-o", whole, *WORDS, timeout_s=300)
    assert run.code == 0, run.stderr
    length = time.monotonic() - begin
    chance = random.Random(21)
    resumed = 0
    for number in range(KILLS):
        words = ["encode", movie, "-o", killed, *WORDS, *(["--no-report"] if number % 3 else [])]
        killed_after(chance.uniform(0.2, 1.0) * length, chance.random() < 0.5, *words)
        is_unfinished = (tmp_path / "killed.mkv.chunks" / "journal.db").exists()
        if killed.exists() and not is_unfinished:
            ended(tmp_path)
            assert killed.read_bytes() == whole.read_bytes()
            killed.unlink()
        resumed += is_unfinished
    run = run_apart("encode", movie, "-o", killed, *WORDS, timeout_s=300)
    assert run.code == 0, run.stderr
    ended(tmp_path)
    assert killed.read_bytes() == whole.read_bytes()
    assert resumed > KILLS / 3
    assert {path.name for path in tmp_path.iterdir()} == {
        *("whole.mkv", "killed.mkv", "whole.mkv.report", "killed.mkv.report")
    }


def killed_after(seconds: float, with_workers: bool, *words: object) -> None:
    """Starts the program and kills it after a time; nothing happens if it has ended by then, which it must do well."""
    process = start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        target = next(word for at, word in enumerate(words) if words[at - 1] == "-o")
        for pid in processes_naming(target) if with_workers else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


class Notes(Progress):
    """Counts frames and keeps notes."""

    def __init__(self) -> None:
        self.frames, self.texts = 0, list[str]()

    def advance(self) -> None:
        self.frames += 1

    def note(self, text: str) -> None:
        self.texts.append(text)


def chunks_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.chunks")


@pytest.fixture
def unfinished(tmp_path: Path, movie: Path) -> Path:
    """An output whose run was killed when two chunks were finished."""
    output = tmp_path / "small.mp4"
    process = start("encode", movie, "-o", output, *WORDS, "--no-report")
    wait_for(lambda: list(chunks_of(output).glob("0000?.mp4"))[1:], timeout_s=60)
    process.kill()
    finish(process)
    ended(tmp_path)
    return output


def progress_of(output: Path, movie: Path) -> Notes:
    """Encodes the rest; returns the notes."""
    notes = Notes()
    settings = EncodeSettings.resolve({"scale": 1, "preset": "fast", "report": False})
    with LocalEngine(2) as engine, ChunkedEncoder(engine, CHUNKS) as encoder:
        encoder(plan_chunked(movie, output, settings).plan, notes)
        encoder.discard()
    return notes


@pytest.mark.slow
def test_finished_chunks_are_compared_with_their_bytes(unfinished: Path, movie: Path) -> None:
    """A damaged and a missing chunk are encoded again, another is taken as it is."""
    whole = progress_of(unfinished.with_name("whole.mp4"), movie)
    assert whole.frames == FRAMES
    with contextlib.closing(sqlite3.connect(chunks_of(unfinished) / "journal.db")) as database:
        entered = [number for (number,) in database.execute("SELECT number FROM chunks WHERE result IS NOT NULL")]
    damaged = chunks_of(unfinished) / f"{entered[0]:05d}.mp4"
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    notes = progress_of(unfinished, movie)
    assert notes.texts == ([f"{len(entered) - 1} of 3 chunks were finished before"] if entered[1:] else [])
    assert (notes.frames < FRAMES) == (len(entered) > 1)
    assert unfinished.read_bytes() == unfinished.with_name("whole.mp4").read_bytes()


@pytest.mark.slow
def test_other_settings_are_refused_and_named(unfinished: Path, movie: Path) -> None:
    words = ["encode", movie, "-o", unfinished, *WORDS, "--no-report", "--crf", "33", "--effort", "fast"]
    expected = "small.mp4.chunks is of an unfinished run with another crf, effort: -y starts again"
    assert message(run_here(*words)) == expected
    run = run_here(*words, "-y")
    assert run.code == 0, run.stderr


@pytest.mark.slow
def test_changed_source_is_refused(tmp_path: Path, movie: Path) -> None:
    source = Path(shutil.copy(movie, tmp_path / "movie.mkv"))
    output = tmp_path / "small.mp4"
    process = start("encode", source, "-o", output, *WORDS)
    wait_for(lambda: list(chunks_of(output).glob("0000?.mp4")), timeout_s=60)
    process.kill()
    finish(process)
    os.utime(source, ns=(1, 1))
    words = ["encode", source, "-o", output, *WORDS, "--no-report"]
    assert f"{source} has changed since the job began: -y starts again" in message(run_here(*words))
    assert run_here(*words, "-y").code == 0


@pytest.mark.slow
def test_source_that_changes_while_it_is_encoded_is_refused(tmp_path: Path, movie: Path) -> None:
    source = Path(shutil.copy(movie, tmp_path / "movie.mkv"))
    process = start("encode", source, "-o", tmp_path / "small.mp4", *WORDS)
    wait_for(lambda: list(chunks_of(tmp_path / "small.mp4").glob("*.mp4")), timeout_s=60)
    os.utime(source, ns=(1, 1))
    assert "has changed since the job began" in message(finish(process))


@pytest.mark.slow
def test_killed_worker_is_replaced(tmp_path: Path, movie: Path) -> None:
    output = tmp_path / "small.mp4"
    process = start("encode", movie, "-o", output, *WORDS, "--no-report")
    wait_for(lambda: list(chunks_of(output).glob("*.part.mp4")), timeout_s=60)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers = [int(pid) for path in children.parents[1].glob("*/children") for pid in path.read_text().split()]
    os.kill(workers[0], signal.SIGKILL)
    run = finish(process)
    assert run.code == 0, run.stderr
    assert output.exists()


@pytest.mark.slow
def test_interrupted_run_keeps_its_chunks_and_leaves_no_process(tmp_path: Path, movie: Path) -> None:
    output = tmp_path / "small.mp4"
    process = start("encode", movie, "-o", output, *WORDS)
    wait_for(lambda: list(chunks_of(output).glob("0000?.mp4")), timeout_s=60)
    process.send_signal(signal.SIGINT)
    assert finish(process).code == 130
    ended(tmp_path)
    assert not output.exists()
    assert run_here("encode", movie, "-o", output, *WORDS, "--no-report").code == 0


@pytest.mark.slow
def test_file_of_somebody_else_is_kept(unfinished: Path, movie: Path) -> None:
    unfinished.write_bytes(b"dear to somebody")
    run = run_here("encode", movie, "-o", unfinished, *WORDS, "--no-report")
    assert "exists; -y replaces it" in message(run)
    assert unfinished.read_bytes() == b"dear to somebody"


def test_claim_is_held_by_one(tmp_path: Path) -> None:
    with Claim(tmp_path / "lock", "out.mp4"):
        words = rf"out.mp4 is being written by another run \(process {os.getpid()} on .*\)"
        with pytest.raises(ConfigError, match=words):
            Claim(tmp_path / "lock", "out.mp4")
    Claim(tmp_path / "lock", "out.mp4").release()


def test_claim_of_a_killed_program_is_free(tmp_path: Path) -> None:
    code = "import os, sys; from pathlib import Path; from vidscale.batch.lock import Claim; "
    code += "Claim(Path(sys.argv[1]), 'x'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, tmp_path / "lock"], check=False)
    assert json.loads((tmp_path / "lock").read_bytes())["host"] == platform.node()
    Claim(tmp_path / "lock", "out.mp4").release()


def of_another_machine(path: Path, beat: int) -> None:
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7, "token": "t", "beat": beat}).ljust(256))


def test_claim_on_another_machine_is_watched(tmp_path: Path) -> None:
    """A lock that the system here does not see: it is alive as long as its number moves."""
    lock = tmp_path / "lock"
    of_another_machine(lock, 1)
    timer = threading.Timer(0.3, of_another_machine, (lock, 2))
    timer.start()
    with pytest.raises(ConfigError, match="another run \\(process 7 on elsewhere\\)"):
        Claim(lock, "out.mp4", beat_s=0.4)
    timer.join()


def test_claim_on_another_machine_that_is_dead_is_taken(tmp_path: Path) -> None:
    of_another_machine(tmp_path / "lock", 1)
    Claim(tmp_path / "lock", "out.mp4", beat_s=0.05).release()


@pytest.mark.slow
def test_two_runs_of_one_output(tmp_path: Path, movie: Path) -> None:
    output = tmp_path / "small.mp4"
    process = start("encode", movie, "-o", output, *WORDS, "--preset", "placebo")
    wait_for(lambda: list(chunks_of(output).glob("*.part.mp4")), timeout_s=60)
    second = run_here("encode", movie, "-o", output, *WORDS, "--no-report")
    assert f"small.mp4 is being written by another run (process {process.pid} on" in message(second)
    process.kill()
    finish(process)


@pytest.mark.parametrize("data", [b"no database" * 1000, b""])
def test_journal_that_is_none_errors(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "journal.db").write_bytes(data)
    if data:
        with pytest.raises(ConfigError, match=r"cannot be used .*: remove its folder to start again"):
            Journal(tmp_path / "journal.db")
    else:
        Journal(tmp_path / "journal.db").close()


def test_journal_of_another_version_errors(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "journal.db") as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(ConfigError, match="of another version of vidscale"):
        Journal(tmp_path / "journal.db")


@pytest.mark.slow
def test_goal_that_was_missed_once_can_be_resumed(tmp_path: Path, movie: Path) -> None:
    """A second try has other settings than the first, and may replace its file; so may a run after a kill."""
    output = tmp_path / "small.mp4"
    asked = EncodeSettings.resolve({"scale": 1, "target": "psnr=30", "report": False})
    with LocalEngine(1) as engine:
        for crf in (30, 33):
            settings = EncodeSettings.resolve({"scale": 1, "preset": "ultrafast", "report": False, "crf": crf})
            with ChunkedEncoder(engine, CHUNKS, asked=asked) as encoder:  # ends without `discard`, as if killed
                assert encoder(plan_chunked(movie, output, settings).plan).frames == FRAMES
        other = EncodeSettings.resolve({"scale": 1, "preset": "ultrafast", "report": False, "crf": 20})
        with ChunkedEncoder(engine, CHUNKS) as encoder, pytest.raises(ConfigError, match="another crf: -y starts"):
            encoder(plan_chunked(movie, output, other).plan)


@pytest.mark.slow
def test_nothing_is_left_where_nothing_was_begun(tmp_path: Path, movie: Path) -> None:
    output = tmp_path / "small.mp4"
    plan = plan_chunked(movie, output, EncodeSettings.resolve({"scale": 1, "report": False})).plan
    with LocalEngine(1) as engine, ChunkedEncoder(engine, CHUNKS) as encoder, pytest.raises(RuntimeError):
        encoder(plan, Refusing())
    assert list(tmp_path.iterdir()) == []


class Refusing(Progress):
    """Ends the job before it begins."""

    def start(self, task: str, total: int | None, unit: str = "frames") -> None:
        raise RuntimeError(task)

"""Chunks after a kill, the journal, and the claim on an output."""

import contextlib
import itertools
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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from material import make, picture, sound
from robustness import fake_ffmpeg, finish, message, processes_naming, run_apart, run_here, start, wait_for

from vidscale.batch.chunked import ChunkedEncoder, plan_chunked
from vidscale.batch.journal import Journal
from vidscale.batch.local import LocalEngine
from vidscale.batch.lock import Claim
from vidscale.batch.tasks import sha256_of
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
    wait_for(lambda: not processes_naming(folder))


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
    kills = resumed = number = 0
    while kills < KILLS or resumed <= KILLS / 3:  # how long a run takes depends on what else the machine does
        number += 1
        words = ["encode", movie, "-o", killed, *WORDS, *(["--no-report"] if number % 3 else [])]
        began = time.monotonic()
        if killed_after(chance.uniform(0.2, 1.0) * length, chance.random() < 0.5, *words):
            kills += 1
        else:
            length = min(length, time.monotonic() - began)
        is_unfinished = (tmp_path / "killed.mkv.chunks" / "journal.db").exists()
        if killed.exists() and not is_unfinished:
            ended(tmp_path)
            assert killed.read_bytes() == whole.read_bytes()
            killed.unlink()
        elif not is_unfinished:
            length *= 1.25  # killed before it began
        resumed += is_unfinished
    run = run_apart("encode", movie, "-o", killed, *WORDS, timeout_s=300)
    assert run.code == 0, run.stderr
    ended(tmp_path)
    assert killed.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {
        *("whole.mkv", "killed.mkv", "whole.mkv.report", "killed.mkv.report")
    }


def killed_after(seconds: float, with_workers: bool, *words: object) -> bool:
    """Starts the program and kills it after a time; returns False if it has ended by then, which it must do well."""
    process = start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        assert process.wait(seconds) == 0
        return False
    target = next(word for at, word in enumerate(words) if words[at - 1] == "-o")
    for pid in processes_naming(target) if with_workers else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()
    return True


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


class Held:
    """A run in its own process whose encoder of one chunk, or of all, waits before it begins.

    Args:
        folder: for an ffmpeg that waits, outside the output's.
        chunk: number of the chunk; "?" for all.
        words: of the command line.
    """

    def __init__(self, folder: Path, chunk: int | str, *words: object) -> None:
        self.output = Path(str(next(word for at, word in enumerate(words) if words[at - 1] == "-o")))
        self._going = folder / "go"
        waiting = f"until [ -e '{self._going}' ]; do sleep 0.05; done"
        binary = fake_ffmpeg(folder / "ffmpeg", f"*pipe:0*chunks/0000{chunk}.*", waiting)
        self.process = start(*words, env=os.environ | {"IMAGEIO_FFMPEG_EXE": str(binary)})

    def has_begun(self, chunk: int) -> bool:
        """Whether the encoder of a chunk was started."""
        return bool(processes_naming(chunks_of(self.output) / f"{chunk:05d}."))

    def has_entered(self, *chunks: int) -> bool:
        """Whether the journal has these chunks; only its owner may open it as a database."""
        folder = chunks_of(self.output)
        files = [folder / f"{chunk:05d}.mp4" for chunk in chunks]
        if not all(file.exists() for file in files):
            return False
        journal = b"".join(path.read_bytes() for path in folder.glob("journal.db*"))
        return all(sha256_of(file).encode() in journal for file in files)

    def go(self) -> None:
        """Lets the encoders go on."""
        self._going.touch()

    def kill(self) -> None:
        """Kills the program and waits for the end of all that it has started."""
        self.process.kill()
        finish(self.process)
        ended(self.output.parent)


@pytest.fixture
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Held]]:
    """Starts runs that wait in their last chunk, see `Held`."""
    runs = list[Held]()

    def begin(*words: object, chunk: int | str = CHUNKS - 1) -> Held:
        runs.append(Held(tmp_path_factory.mktemp("held"), chunk, "encode", *words))
        return runs[-1]

    yield begin
    for run in runs:
        run.go()
        if run.process.poll() is None:
            run.kill()


@pytest.fixture
def unfinished(tmp_path: Path, movie: Path, held: Callable[..., Held]) -> Path:
    """An output whose run was killed when two of its three chunks were finished."""
    run = held(movie, "-o", tmp_path / "small.mp4", *WORDS, "--no-report")
    wait_for(lambda: run.has_entered(0, 1))
    run.kill()
    return run.output


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
        entered = database.execute("SELECT number FROM chunks WHERE result IS NOT NULL").fetchall()
    assert entered == [(0,), (1,)]
    damaged = chunks_of(unfinished) / "00000.mp4"
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    notes = progress_of(unfinished, movie)
    assert notes.texts == ["1 of 3 chunks were finished before"]
    assert notes.frames < FRAMES
    assert unfinished.read_bytes() == unfinished.with_name("whole.mp4").read_bytes()


@pytest.mark.slow
def test_other_settings_are_refused_and_named(unfinished: Path, movie: Path) -> None:
    words = ["encode", movie, "-o", unfinished, *WORDS, "--no-report", "--crf", "33", "--effort", "fast"]
    expected = "small.mp4.chunks is of an unfinished run with another crf, effort: -y starts again"
    assert message(run_here(*words)) == expected
    run = run_here(*words, "-y")
    assert run.code == 0, run.stderr


@pytest.mark.slow
def test_changed_source_is_refused(tmp_path: Path, movie: Path, held: Callable[..., Held]) -> None:
    source = Path(shutil.copy(movie, tmp_path / "movie.mkv"))
    output = tmp_path / "small.mp4"
    run = held(source, "-o", output, *WORDS)
    wait_for(lambda: run.has_entered(0))
    run.kill()
    os.utime(source, ns=(1, 1))
    words = ["encode", source, "-o", output, *WORDS, "--no-report"]
    assert f"{source} has changed since the job began: -y starts again" in message(run_here(*words))
    assert run_here(*words, "-y").code == 0


@pytest.mark.slow
def test_source_that_changes_while_it_is_encoded_is_refused(
    tmp_path: Path, movie: Path, held: Callable[..., Held]
) -> None:
    source = Path(shutil.copy(movie, tmp_path / "movie.mkv"))
    run = held(source, "-o", tmp_path / "small.mp4", *WORDS)
    wait_for(lambda: run.has_begun(2))
    os.utime(source, ns=(1, 1))
    run.go()
    assert "has changed since the job began" in message(finish(run.process))


@pytest.mark.slow
def test_killed_worker_is_replaced(tmp_path: Path, movie: Path, held: Callable[..., Held]) -> None:
    run = held(movie, "-o", tmp_path / "small.mp4", *WORDS, "--no-report", chunk="?")
    wait_for(lambda: run.has_begun(0))
    children = Path(f"/proc/{run.process.pid}/task").glob("*/children")
    workers = [int(pid) for path in children for pid in path.read_text().split()]
    os.kill(workers[0], signal.SIGKILL)
    run.go()
    done = finish(run.process)
    assert done.code == 0, done.stderr
    assert run.output.exists()


@pytest.mark.slow
def test_interrupted_run_keeps_its_chunks_and_leaves_no_process(
    tmp_path: Path, movie: Path, held: Callable[..., Held]
) -> None:
    run = held(movie, "-o", tmp_path / "small.mp4", *WORDS)
    wait_for(lambda: run.has_entered(0, 1))
    run.process.send_signal(signal.SIGINT)
    assert finish(run.process).code == 130
    run.go()  # an encoder ends when nobody feeds it any more
    ended(tmp_path)
    assert not run.output.exists()
    again = run_here("encode", movie, "-o", run.output, *WORDS, "--no-report")
    assert again.code == 0
    assert "2 of 3 chunks were finished before" in again.stderr


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
    """Writes a lock in place, as its owner does: never empty."""
    record = json.dumps({"host": "elsewhere", "pid": 7, "token": "t", "beat": beat}).ljust(256)
    with path.open("r+" if path.exists() else "w") as file:
        file.write(record)


def test_claim_on_another_machine_is_watched(tmp_path: Path) -> None:
    """A lock that the system here does not see: it is alive as long as its number moves."""
    of_another_machine(lock := tmp_path / "lock", 1)
    is_refused = threading.Event()

    def count() -> None:
        beats = itertools.count(2)
        while not is_refused.wait(0.01):
            of_another_machine(lock, next(beats))

    with ThreadPoolExecutor(1) as pool:
        counting = pool.submit(count)
        try:
            with pytest.raises(ConfigError, match="another run \\(process 7 on elsewhere\\)"):
                Claim(lock, "out.mp4", beat_s=2)
        finally:
            is_refused.set()
        counting.result()


def test_claim_on_another_machine_that_is_dead_is_taken(tmp_path: Path) -> None:
    of_another_machine(tmp_path / "lock", 1)
    Claim(tmp_path / "lock", "out.mp4", beat_s=0.05).release()


@pytest.mark.slow
def test_two_runs_of_one_output(tmp_path: Path, movie: Path, held: Callable[..., Held]) -> None:
    run = held(movie, "-o", tmp_path / "small.mp4", *WORDS, chunk="?")
    wait_for(lambda: run.has_begun(0))
    second = run_here("encode", movie, "-o", run.output, *WORDS, "--no-report")
    assert f"small.mp4 is being written by another run (process {run.process.pid} on" in message(second)


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

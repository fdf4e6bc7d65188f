"""`batch --engine ray`. Ray is optional, and runs in programs of their own: it leaves threads behind."""

import importlib.util
import json
import subprocess
import sys
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from material import coded, make, picture, shown_times
from robustness import frame_count, message, run_apart, run_here

from vidscale.batch.chunk_encode import answer
from vidscale.batch.chunks import Chunk
from vidscale.batch.source_state import SourceState
from vidscale.batch.tasks import ChunkResult, ChunkTask, task_of
from vidscale.config import EncodeSettings, FilesSettings
from vidscale.jobs.evaluation import evaluate_files
from vidscale.jobs.planning import plan_encode
from vidscale.report.files import totals_record
from vidscale.stages.read_log import ReadLog

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no Ray (vidscale[ray])")
FAST = ["--scale", "1", "--preset", "ultrafast", "--no-report"]

# Two nodes of one processor each. First a movie that only the driver finds: it is named by the folder of the process
# that opens it, and the driver moves on to another folder when the nodes have started. Then one that all find; the
# second node is removed while it encodes its first chunk.
_TWO_NODES = """
import os, pickle, sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster

source, output = Path(sys.argv[1]), Path(sys.argv[2])

def main():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    lost = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    from vidscale.batch.inputs import Entry
    from vidscale.batch.ray_engine import RayEngine
    from vidscale.batch.running import plan_batch, run_batch
    from vidscale.batch.watching import Watch
    from vidscale.config import BatchSettings, EncodeSettings

    def lose():
        while len(list(output.glob("*.chunks/*.part.mp4"))) < 2:
            time.sleep(0.02)
        print("> lost", flush=True)  # first: the job may end before the node has
        cluster.remove_node(lost, allow_graceful=False)

    def run(path, folder, preset):
        settings = EncodeSettings.resolve({"scale": 1, "preset": preset, "report": False, "chunks": 4})
        movies = plan_batch([Entry(path, Path("small"))], folder, settings, batch)
        (result,) = run_batch(movies, folder, batch, engine, Watch())
        print(">", result.state, result.reason, result.frames, flush=True)

    sizes = {False: [], True: []}  # of what each task takes with it: with and without packets

    def begun(task, sent=None, begun=RayEngine._begun):
        sizes[sent is not None].append(len(pickle.dumps((task.to_json(), sent))))
        return begun(engine, task, sent)

    batch = BatchSettings.resolve({"engine": "ray", "ray_address": cluster.address, "jobs": 2})
    os.chdir(source.parent)
    with RayEngine(2, cluster.address) as engine:
        engine._begun = begun
        run(Path("/proc/self/cwd") / source.name, output.with_name("far"), "ultrafast")
        print(">", len(sizes[False]), max(sizes[False]), len(sizes[True]), sum(sizes[True]), flush=True)
        losing = threading.Thread(target=lose, daemon=True)
        losing.start()
        run(source, output, "veryslow")
        losing.join(60)
        print(">", len(sizes[True]), flush=True)
    cluster.shutdown()

main()
"""


@pytest.mark.slow
@needs_ray
def test_batch_with_ray(tmp_path: Path) -> None:
    source = make(tmp_path / "movie.mp4", *picture(duration=8), "-preset", "ultrafast", "-g", "25")
    words = ["batch", source, "-o", tmp_path / "out", *FAST[:-1], "--no-verdict", "--chunks", "2", "--jobs", "1"]
    run = run_apart(*words, "--engine", "ray", timeout_s=250)
    assert run.code == 0, run.stderr
    assert [line for line in run.stderr.splitlines() if line.startswith("movie: ")] == [
        f"movie: {step}" for step in ("planning", "looking for cuts", "encoding", "joining", "measuring", "done")
    ]
    report = json.loads((tmp_path / "out" / "movie.mp4.report" / "report.json").read_text())
    wanted = evaluate_files(source, tmp_path / "out" / "movie.mp4", FilesSettings())
    assert report["totals"] == json.loads(json.dumps(totals_record(wanted)))
    assert shown_times(tmp_path / "out" / "movie.mp4") == shown_times(coded(source, tmp_path / "whole.mp4"))


@pytest.mark.slow
@needs_ray
@pytest.mark.timeout(600)
def test_two_ray_nodes(tmp_path: Path) -> None:
    """A movie that only the driver finds is sent in ranges of its packets; a lost node does not end the job."""
    moving = picture("320x180", duration=16, then="noise=alls=9:allf=t:all_seed=1")
    source = make(tmp_path / "movie.mp4", *moving, "-pix_fmt", "yuv420p", "-preset", "ultrafast", "-g", "25")
    words = [sys.executable, "-c", _TWO_NODES, source, tmp_path / "out"]
    (elsewhere := tmp_path / "elsewhere").mkdir()
    run = subprocess.run(words, capture_output=True, text=True, timeout=580, check=False, cwd=elsewhere)
    assert run.returncode == 0, run.stderr
    told = [line[2:] for line in run.stdout.splitlines() if line.startswith("> ")]  # Ray prints, too
    far, sizes, lost, near, sent = told
    assert (far, near, lost) == ("done  400", "done  400", "lost")
    tasks, largest, ranges, data = map(int, sizes.split())
    assert (tasks, ranges, int(sent)) == (4, 4, 4)  # and none where the movie is found
    assert largest < 3000
    assert data < 1.1 * source.stat().st_size
    whole = coded(source, tmp_path / "whole.mp4", preset="ultrafast")
    assert shown_times(tmp_path / "far" / "small.mp4") == shown_times(whole)
    assert frame_count(tmp_path / "out" / "small.mp4") == 400


@needs_ray
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "Ray at 127.0.0.1:1 cannot be reached: "),
        ("nowhere", "--ray-address nowhere is neither auto nor HOST:PORT"),
        ("host:many", "Ray at host:many cannot be reached: "),
    ],
)
def test_unreachable_ray_errors(tmp_path: Path, make_clip: Callable[..., Path], address: str, words: str) -> None:
    run = run_here("batch", make_clip(), "-o", tmp_path / "out", "--engine", "ray", "--ray-address", address)
    assert words in message(run)


def test_missing_ray_errors(tmp_path: Path, make_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    run = run_here("batch", make_clip(), "-o", tmp_path / "out", "--engine", "ray")
    assert message(run) == "--engine ray needs Ray: pip install 'vidscale[ray]'"


def test_ray_address_without_ray_errors(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    run = run_here("batch", make_clip(), "-o", tmp_path / "out", "--ray-address", "auto")
    assert message(run, code=2) == "--ray-address auto is for --engine ray"


@pytest.fixture
def task(tmp_path: Path, make_clip: Callable[..., Path]) -> ChunkTask:
    source = make_clip()
    plan = plan_encode(source, tmp_path / "small.mp4", EncodeSettings.resolve({"scale": 1, "report": False}))
    whole = Chunk(None, None, None)
    return task_of(plan, whole, tmp_path / "0.mp4", name="clip", state=SourceState.of(source), threads=1)


def test_worker_of_another_version_is_refused(task: ChunkTask) -> None:
    got = answer(replace(task, movie=replace(task.movie, version="9.9")).to_json(), lambda: None)
    assert got["final"]
    assert got["error"].startswith("this worker runs vidscale 0.")
    assert got["error"].endswith(", the job vidscale 9.9: install the same on both")


def test_worker_with_another_pair_is_refused(task: ChunkTask) -> None:
    name = task.movie.pair[0]
    got = answer(replace(task, movie=replace(task.movie, pair=(name, "0" * 64))).to_json(), lambda: None)
    assert got == {"error": f"this worker has another {name} than the one the job began with", "final": True}


def test_what_travels_is_small(task: ChunkTask) -> None:
    """Ray passes on objects below 100 kB with their task; larger ones would go through its store."""
    frames = array("q", (round(n * 1000 / 23.976) for n in range(24 * 120)))
    result = ChunkResult(frames, 120_000, 2, (), None, ReadLog(), (), 10**8, "0" * 64)
    assert len(str(task.to_json())) < 2000
    assert len(str(result.to_json())) < 10_000
    assert ChunkResult.from_json(result.to_json()) == result

"""Recipes of whole jobs, their check, and watched folders."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from material import make, pixels, sound
from robustness import documented, finish, frame_count, message, run_here, start, wait_for

from vidscale.batch.folder_watch import FolderWatch
from vidscale.errors import ConfigError
from vidscale.jobs.recipe_check import check_recipe

PIPELINES = Path(__file__).parents[1] / "pipelines"
FAST = ["--scale", "1", "--preset", "ultrafast", "--no-report"]
MakeClip = Callable[..., Path]


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('command = "encode"\ncrf = ', (2, "Invalid value")),
        ('command = "encode"\n\n[settings\n', (3, "Expected ']' at the end of a table declaration")),
        ('# nothing\ndescription = "x"', (1, "no command: encode, decode, ladder or pipe")),
        ('description = "x"\ncommand = "bake"', (2, "command = 'bake': not 'encode', 'decode', 'ladder' or 'pipe'")),
        ('command = "encode"\ncolour = 3', (2, "colour is unknown")),
        ('command = "encode"\n[settings]\nscale = 2\n# strong\ncrf = 99', (5, "crf 99 is outside 0 to 51 of x264")),
        ('command = "encode"\n[settings]\nscale = 2\ncolour = "red"', (4, "colour is unknown")),
        ('command = "encode"\n[settings]\ncodec = "x265"\npreset = "hasty"', (4, "preset 'hasty' is not one of x265")),
        ('command = "ladder"\n[settings]\nsegment_length = 3', (3, "segment_length is unknown")),
        ('command = "encode"\nsettings.scale = 9', (2, "scale 9 is outside 1 to 8")),
        ('command = "encode"\n[batch]\ncontainer = "mkv"\njobs = 0', (4, "batch.jobs = 0: below 1")),
        ('command = "encode"\n[batch]\nthen = [["true"],\n []]', (3, "too short")),
        ('command = "encode"\n[batch]\noutput = "{input}"', (3, "{input}: placeholders are filled in only in command")),
        ('command = "encode"\n[batch]\nthen = [["true"], ["cp", "-{Output}"]]', (3, "unknown placeholder {Output}")),
        (
            'command = "pipe"\nsuffix = ".mkv"\nstages = [["cp", "{inptu}"]]',
            (3, "unknown placeholder {inptu}"),
        ),
        ('command = "decode"\n[batch]\njobs = 1', (2, "decode takes no table batch, which is for encode")),
        ('command = "pipe"\nstages = [["cp"]]\nsuffix = 3', (3, "suffix = 3: not text")),
    ],
)
def test_check_names_the_line(tmp_path: Path, text: str, expected: tuple[int, str]) -> None:
    problem = check_recipe(written(tmp_path, text))[0]
    assert expected[1] in problem.text
    assert problem.line == expected[0]


def test_check_command(tmp_path: Path) -> None:
    bad = written(tmp_path, 'command = "encode"\nfast = true\n[batch]\nfoo = 1')
    run = run_here("recipe", "check", bad, PIPELINES / "archive.toml")
    assert run.code == 1
    assert run.stderr.splitlines() == [f"{bad}:2: fast is unknown", f"{bad}:4: batch.foo is unknown"]
    assert run.stdout == f"{PIPELINES / 'archive.toml'}: ok\n"
    run = run_here("recipe", "check", bad, "--json")
    record = json.loads(run.stdout)
    assert set(record) - {"event"} == documented("recipe")
    assert record["problems"][1] == {"line": 4, "text": "batch.foo is unknown"}
    assert "No such file" in message(run_here("recipe", "check", tmp_path / "none.toml"))


def test_recipes_in_the_package_need_only_their_names(tmp_path: Path, make_clip: MakeClip) -> None:
    assert run_here("recipe", "check", "archive", "vod_x265.toml").stdout == "archive: ok\nvod_x265.toml: ok\n"
    run = run_here("batch", make_clip(), "-o", tmp_path / "out", "--recipe", "archive", "--dry-run", "--json")
    assert (run.code, json.loads(run.stdout)["settings"]["encoder_params"]) == (0, "qp=0")
    assert message(run_here("recipe", "check", "none")).startswith("recipe none is neither a file nor in the package")


@pytest.mark.slow
def test_archive_recipe_is_lossless_and_says_so(tmp_path: Path, make_clip: MakeClip) -> None:
    source = make_clip("movie.mov", size="64x48", options=["-crf", "20"])
    run = run_here("batch", "--recipe", PIPELINES / "archive.toml", source, "-o", tmp_path / "out", "--json")
    assert run.code == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1])["low"] == 0
    ours, theirs = (pixels(path, "yuv420p", (48, 64)) for path in (source, tmp_path / "out" / "movie.mkv"))
    assert (ours == theirs).all()
    run = run_here(
        *("batch", "--recipe", PIPELINES / "archive.toml", source, "-o", tmp_path / "lossy", "--json"),
        *("--encoder-params", "qp=20"),
    )
    assert json.loads(run.stdout.splitlines()[-1])["low"] == 1


@pytest.mark.slow
def test_dailies_recipe(tmp_path: Path) -> None:
    lavfi = ["-f", "lavfi", "-i", "testsrc2=s=128x96:r=24:d=2", *sound(2)]
    source = make(tmp_path / "day1.mov", *lavfi, "-timecode", "01:00:00:00", "-pix_fmt", "yuv420p")
    run = run_here("batch", "--recipe", PIPELINES / "dailies_proxy.toml", source, "-o", tmp_path / "out")
    assert run.code == 0, run.stderr
    with av.open(str(tmp_path / "out" / "day1.mov")) as container:
        video = container.streams.video[0]
        keys = [packet.is_keyframe for packet in container.demux(video) if packet.size]
        assert (video.width, video.height, len(container.streams.audio)) == (64, 48, 1)
        assert video.metadata["timecode"] == "01:00:00:00"
    assert [index for index, is_key in enumerate(keys) if is_key] == [0, 24]


@pytest.mark.slow
def test_vod_recipe_as_a_batch(tmp_path: Path, make_clip: MakeClip) -> None:
    source = make_clip("movie.mp4", size="128x96")
    run = run_here("batch", "--recipe", PIPELINES / "vod_x265.toml", source, "-o", tmp_path / "out", "--no-verdict")
    assert run.code == 0, run.stderr
    with av.open(str(tmp_path / "out" / "movie.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "hevc"


@pytest.mark.slow
def test_recipe_of_a_whole_job(tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_clip("one.mp4")
    text = 'command = "encode"\n[settings]\nscale = 1\npreset = "ultrafast"\nreport = false\n[batch]\n'
    text += (
        'inputs = ["*.mp4"]\noutput = "out"\nthen = [["cp", "{output}", "{output}.copy"], ["test", "-f", "{input}"]]\n'
    )
    recipe = written(tmp_path, text)
    assert run_here("batch", "--recipe", recipe).code == 0
    assert (tmp_path / "out" / "one.mp4.copy").read_bytes() == (tmp_path / "out" / "one.mp4").read_bytes()
    written(tmp_path, text.replace("-f", "-d"))
    run = run_here("batch", "--recipe", recipe, "-o", "other")
    assert run.code == 1
    assert f"the command after it, test -d {tmp_path / 'one.mp4'}, ended with status 1" in run.stderr
    written(tmp_path, text)
    assert run_here("batch", "--recipe", recipe).stderr == "one: done before\n"


def test_recipe_for_a_batch_errors(tmp_path: Path) -> None:
    recipe = written(tmp_path, 'command = "decode"')
    expected = "is a recipe for decode; batch takes those for encode"
    assert expected in message(run_here("batch", "--recipe", recipe, "x", "-o", tmp_path), code=2)
    recipe = written(tmp_path, 'command = "encode"')
    assert "no inputs: name movies" in message(run_here("batch", "--recipe", recipe, "-o", tmp_path), code=2)
    assert "no output folder" in message(run_here("batch", "--recipe", recipe, "x.mp4"), code=2)


def test_watched_file_is_taken_once_it_is_complete(tmp_path: Path) -> None:
    now = 0.0
    folder = tmp_path / "in"
    folder.mkdir()
    watch = FolderWatch([str(folder)], tmp_path / "out", settled_s=5, clock=lambda: now)
    movie = folder / "a.mp4"
    file = movie.open("wb")
    file.write(b"half")
    file.flush()
    assert watch.complete() == []
    now = 10.0
    assert watch.complete() == []  # it is still open
    file.write(b" whole")
    file.close()
    now = 12.0
    assert watch.complete() == []  # it has changed since
    now = 17.0
    assert [entry.source for entry in watch.complete()] == [movie]
    assert watch.complete() == []
    movie.write_bytes(b"another")
    os.utime(movie, ns=(5, 5))
    now = 20.0
    assert watch.complete() == []
    now = 25.0
    assert [entry.source for entry in watch.complete()] == [movie]


def test_watch_errors(tmp_path: Path, make_clip: MakeClip) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        FolderWatch([str(make_clip())], tmp_path / "out")
    with pytest.raises(ConfigError, match="inside the input folder"):
        FolderWatch([str(tmp_path)], tmp_path / "out")


@pytest.mark.slow
def test_watched_folder_survives_a_restart(tmp_path: Path, make_clip: MakeClip) -> None:
    (folder := tmp_path / "in").mkdir()
    output, events = tmp_path / "out", tmp_path / "events.jsonl"
    names = list[str]()
    for name in ("one", "two"):
        with events.open("wb") as file:
            process = start("batch", "--watch", folder, "-o", output, *FAST, "--json", stdout=file)
        shutil.copy(make_clip(f"{name}.mp4"), folder)
        names.append(name)
        wait_for(lambda: set(states(events)) == {str(output / f"{each}.mp4") for each in names})
        process.send_signal(signal.SIGINT)
        run = finish(process)
        assert run.code == 130, run.stderr
        assert frame_count(output / f"{name}.mp4") == 10
    assert list(states(events).values()).count("kept") == 1


def states(events: Path) -> dict[str, str]:
    """What became of each movie so far, by its output, from whole lines of events."""
    lines = events.read_text().rpartition("\n")[0].splitlines()
    records = [json.loads(line) for line in lines]
    return {record["output"]: record["state"] for record in records if record["event"] == "movie"}

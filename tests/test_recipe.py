"""`vidscale.jobs.recipe`: what recipe files may contain, and how pipes run and end."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from material import FFMPEG
from robustness import content, message, nothing_left, processes_naming, run_here
from typer.testing import CliRunner

from vidscale.cli import app
from vidscale.config import EncodeSettings, LadderSettings
from vidscale.errors import ConfigError, EncodeError, UsageError
from vidscale.jobs.recipe import Recipe, parse_assignments, read_recipe
from vidscale.jobs.recipe_commands import run_pipe
from vidscale.jobs.recipe_files import find_recipe

RECIPES = sorted((Path(__file__).parents[1] / "pipelines").glob("*.toml"))
PIPELINES = [path for path in RECIPES if "command = " in path.read_text()]  # the others are for `vidscale train`


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def pipe(*stages: list[str]) -> Recipe:
    return Recipe(command="pipe", stages=tuple(tuple(stage) for stage in stages))


def python(code: str) -> list[str]:
    """A stage: a Python program that gets its input as `data` and writes what `data` holds at the end."""
    return [sys.executable, "-c", f"import sys\ndata = sys.stdin.buffer.read()\n{code}\nsys.stdout.buffer.write(data)"]


CAT_INPUT = ["cat", "{input}"]
WRITE_OUTPUT = [sys.executable, "-c", "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())", "{output}"]


def test_read_recipe(tmp_path: Path) -> None:
    recipe = read_recipe(
        written(tmp_path, 'description = "x"\ncommand = "encode"\n[settings]\ncrf = 30\nscale = 1.5\n')
    )
    assert recipe.command == "encode"
    assert EncodeSettings.resolve(recipe.settings).scale == 1.5


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_recipes_of_the_project_are_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.description
    if recipe.command == "encode":
        EncodeSettings.resolve(recipe.settings)
    if recipe.command == "ladder":
        LadderSettings.resolve(recipe.settings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("command = ", "cannot be read"),
        ("", "has no command: encode, decode, ladder or pipe"),
        ('command = "paint"', "command"),
        ('command = "encode"\ncolour = "red"', "colour"),
        ('command = "pipe"', "a pipe needs stages"),
        ('command = "pipe"\nstages = [[]]', "a pipe needs stages"),
        ('command = "pipe"\nstages = ["cat"]', "stages.0"),
        ('command = "encode"\nstages = [["cat"]]', "encode takes settings, not stages"),
        ('command = "pipe"\nstages = [["cat"]]\n[settings]\ncrf = 20', "a pipe takes stages, not settings"),
    ],
)
def test_read_recipe_errors(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_recipe(written(tmp_path, text))
    assert words in str(error.value)
    assert "recipe.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_read_recipe_that_cannot_be_read_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_recipe(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="directory"):
        read_recipe(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary.toml cannot be read"):
        read_recipe(tmp_path / "binary.toml")


def test_parse_assignments() -> None:
    assert parse_assignments(["crf=30", "encoder_params = a=1:b=2 ", "pair="]) == {
        "crf": "30",
        "encoder_params": "a=1:b=2",
        "pair": "",
    }


@pytest.mark.parametrize("text", ["crf", "=3", ""])
def test_parse_assignments_errors(text: str) -> None:
    with pytest.raises(UsageError, match="is not key=value"):
        parse_assignments([text])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "crf=99"], "crf 99 is outside 0 to 51 of x264"),
        (["--set", "colour=red"], "colour"),
        (["--set", "crf"], "is not key=value"),
    ],
)
def test_set_errors(tmp_path: Path, arguments: list[str], words: str) -> None:
    recipe = written(tmp_path, 'command = "encode"')
    run = run_here("run", recipe, tmp_path / "movie.mp4", *arguments)
    assert words in message(run, code=2)


def test_set_wins_over_the_recipe(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    recipe = written(tmp_path, 'command = "encode"\n[settings]\nscale = 2\ncrf = 30\npreset = "slow"')
    run = run_here("run", recipe, make_clip(), "--set", "crf=20", "--dry-run")
    assert "crf = 20.0" in run.stdout
    assert "preset = slow" in run.stdout


def test_plan_of_a_pipe_does_nothing(tmp_path: Path) -> None:
    recipe = written(tmp_path, 'command = "pipe"\nsuffix = ".bin"\nstages = [["cp", "{input}", "{output}"]]')
    source, target = tmp_path / "in.bin", tmp_path / "in.out.bin"
    source.write_bytes(b"data")
    with nothing_left(tmp_path):
        run = run_here("run", recipe, source, "--dry-run", "--json")
        plan = json.loads(run.stdout)
        assert (plan["event"], plan["output"]) == ("plan", str(target))
        assert plan["commands"] == [shlex.join(["cp", str(source), str(target)])]
        assert plan["commands"][0] in run_here("run", recipe, source, "--dry-run").stdout
        assert "does not exist" in message(run_here("run", recipe, tmp_path / "none", "--dry-run"))
        assert "a pipe, which has no settings" in message(run_here("run", recipe, source, "--set", "crf=3"), code=2)
    assert run_here("run", recipe, source, "--json").code == 0
    assert target.read_bytes() == b"data"
    with nothing_left(tmp_path):
        assert "exists" in message(run_here("run", recipe, source, "--dry-run"))


def test_pipe_joins_its_stages(tmp_path: Path) -> None:
    source, output = tmp_path / "in.bin", tmp_path / "out.bin"
    source.write_bytes(bytes(range(256)) * 4000)  # more than pipes hold
    stages = [CAT_INPUT, python("data = data[::-1]"), python("data += b'!'"), WRITE_OUTPUT]
    run_pipe(pipe(*stages), source, output, ffmpeg=FFMPEG, overwrite=False)
    assert output.read_bytes() == source.read_bytes()[::-1] + b"!"


def test_pipe_of_one_stage(tmp_path: Path) -> None:
    source = tmp_path / "in.bin"
    source.write_bytes(b"data")
    run_pipe(pipe(["cp", "{input}", "{output}"]), source, tmp_path / "out.bin", ffmpeg=FFMPEG, overwrite=False)
    assert content(tmp_path) == {"in.bin": b"data", "out.bin": b"data"}


def test_placeholders_are_filled_once(tmp_path: Path) -> None:
    source, output = tmp_path / "{output} {ffmpeg}.bin", tmp_path / "out.bin"
    source.write_bytes(b"data")
    echo = [sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(repr(sys.argv[2:]))"]
    others = ["${other}", "%{other}", "{{other}}", "{ print }", "a{2}", "{}", "{a,b}"]
    run_pipe(pipe([*echo, "{output}", "{input}", "-{ffmpeg}-", *others]), source, output, ffmpeg="FF", overwrite=False)
    assert output.read_text() == repr([str(source), "-FF-", *others])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([["false"]], "false (stage 1 of 1) ended with status 1"),
        ([["false"], ["vidscale", "stage", "down"], WRITE_OUTPUT], "false (stage 1 of 3) ended with status 1"),
        ([CAT_INPUT, ["no-such-program-here"]], "cannot start no-such-program-here: No such file"),
        ([CAT_INPUT, python("sys.exit(7)"), WRITE_OUTPUT], "ended with status 7"),
        ([CAT_INPUT, python("import os; os.kill(os.getpid(), 9)"), WRITE_OUTPUT], "ended with status -9"),
        ([["sleep", "1000"], ["no-such-program-here"]], "cannot start no-such-program-here"),
        ([CAT_INPUT, ["vidscale", "stage", "down"], WRITE_OUTPUT], "vidscale (stage 2 of 3) ended with status 1"),
        ([CAT_INPUT, python("")], "no stage of the pipe wrote {output}"),
    ],
)
def test_pipe_that_fails_leaves_nothing(tmp_path: Path, stages: list[list[str]], words: str) -> None:
    source = tmp_path / "in.bin"
    source.write_bytes(b"no video" * 1000)
    with nothing_left(tmp_path), pytest.raises(EncodeError) as error:
        run_pipe(pipe(*stages), source, tmp_path / "out.bin", ffmpeg=FFMPEG, overwrite=False)
    assert words in str(error.value)


def test_pipe_keeps_an_existing_output(tmp_path: Path) -> None:
    source, output = tmp_path / "in.bin", tmp_path / "out.bin"
    source.write_bytes(b"new")
    output.write_bytes(b"old")
    recipe = pipe(["cp", "{input}", "{output}"])
    with nothing_left(tmp_path), pytest.raises(ConfigError, match="-y replaces it"):
        run_pipe(recipe, source, output, ffmpeg=FFMPEG, overwrite=False)
    run_pipe(recipe, source, output, ffmpeg=FFMPEG, overwrite=True)
    assert output.read_bytes() == b"new"


@pytest.mark.slow
def test_run_of_a_pipe_scales(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    recipe = next(path for path in PIPELINES if read_recipe(path).command == "pipe")
    output = tmp_path / "small.mkv"
    run = run_here("run", recipe, make_clip("clip.mp4", size="64x64", frames=5), "-o", output, "--json")
    assert run.code == 0, run.stderr
    with av.open(str(output)) as container:
        assert [(frame.width, frame.height) for frame in container.decode(video=0)] == [(32, 32)] * 5
    assert processes_naming(tmp_path) == []


def test_run_without_a_source_is_refused(tmp_path: Path) -> None:
    recipe = written(tmp_path, 'command = "pipe"\nstages = [["cp", "{input}", "{output}"]]')
    run = run_here("run", recipe, tmp_path / "none.mp4")
    assert run.code == 1
    assert run.stderr.startswith("vidscale: ")
    assert "none.mp4 does not exist" in run.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('command = "pipe"\nstages = 3', "stages = 3: not a list"),
        ('command = "pipe"\nstages = [["a", 4]]', "stages.0.1 = 4: not text"),
        ('command = "bake"', "command = 'bake': not 'encode', 'decode', 'ladder' or 'pipe'"),
        ('command = "encode"\nsettings = "none"', "settings = 'none': not a table"),
        ('command = "encode"\ncrf = 20', "crf is unknown"),
        ('command = "pipe"', "a pipe needs stages, each a list of words"),
        (
            'command = "pipe"\nstages = [["cp", "{inptu}", "{output}"]]',
            "unknown placeholder {inptu}; known are {input}, {output}, {ffmpeg}",
        ),
    ],
)
def test_what_is_wrong_is_described_in_plain_words(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_recipe(path)
    assert str(caught.value) == f"recipe {path}: {words}"


def test_recipes_in_the_package_are_listed_and_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    listed = CliRunner().invoke(app, ["run", "--list"])
    assert listed.exit_code == 0
    rows = {line.split()[0]: line.split()[1] for line in listed.stdout.splitlines()}
    assert rows == {path.stem: "run" if path in PIPELINES else "train" for path in RECIPES}
    assert find_recipe(Path("vod_x265")) == find_recipe(Path("vod_x265.toml")) == RECIPES[0].parent / "vod_x265.toml"
    own = written(tmp_path, 'command = "encode"').rename(tmp_path / "vod_x265.toml")
    assert find_recipe(Path("vod_x265.toml")) == Path("vod_x265.toml")  # a file of one's own comes first
    assert find_recipe(own) == own
    with pytest.raises(ConfigError, match="recipe nothing is neither a file nor in the package: vidscale run --list"):
        find_recipe(Path("nothing"))
    with pytest.raises(ConfigError, match=r"recipe none/nothing\.toml cannot be read: No such file"):
        read_recipe(find_recipe(Path("none/nothing.toml")))

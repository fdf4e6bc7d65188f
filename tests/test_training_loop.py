"""The training loop: it learns, resumes bit for bit, and reports when it cannot continue."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from vidscale.errors import TrainingError
from vidscale.system.progress import Progress
from vidscale.training.files import replacing
from vidscale.training.log import Epoch, LogRow, TrainingLog, epochs, plot_log, read_log
from vidscale.training.loop import BEST, LAST, LOG, LoopSettings, Losses, ParameterGroup, learning_rate, train

SETTINGS = LoopSettings(
    steps=40, batch=8, learning_rate=0.05, warmup_steps=5, validate_every=10, log_every=5, checkpoint_every=7
)


class Line:
    """Fits y = 3 x - 1 with a linear layer and a normalisation that has buffers; known to converge."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.network = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.fail_at: int | None = None
        self.made = 0

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.network.parameters()))]

    def losses(self, examples: torch.Generator) -> Losses:
        x = torch.rand(8, 1, generator=examples)
        loss = (self.network(x) - (3 * x - 1)).square().mean()
        self.made += 1
        if self.made == self.fail_at:
            loss = loss * math.nan
        return Losses(loss, {"mse": loss.detach()})

    def validate(self) -> float:
        assert not self.network.training
        x = torch.linspace(0, 1, 16)[:, None]
        with torch.no_grad():
            return -10 * math.log10(float((self.network(x) - (3 * x - 1)).square().mean()))


class Stopping(Progress):
    def __init__(self, after: int) -> None:
        self.left = after

    def advance(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def weights(task: Line) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in task.network.state_dict().values()]


def test_train_learns(tmp_path):
    task = Line()
    task.network.eval()
    before = task.validate()
    trained = train(task, SETTINGS, tmp_path)
    assert trained.steps == 40
    assert trained.best_db > before + 10
    assert task.validate() == pytest.approx(trained.best_db)  # the networks have the best weights
    assert [row.step for row in read_log(tmp_path / LOG) if row.validation_db is not None] == [10, 20, 30, 40]


def test_a_delayed_group_waits(tmp_path):
    class Late(Line):
        def groups(self) -> list[ParameterGroup]:
            return [
                ParameterGroup(list(self.network[0].parameters())),
                ParameterGroup(list(self.network[2].parameters()), delay=8),
            ]

    def moved(steps: int) -> list[bool]:
        task, first = Late(), Late()
        with pytest.raises(KeyboardInterrupt):
            train(task, SETTINGS, tmp_path / str(steps), Stopping(steps))
        return [not torch.equal(task.network[i].weight, first.network[i].weight) for i in (0, 2)]

    assert moved(9) == [True, False]
    assert moved(10) == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("stop_after", [1, 7, 23])
def test_train_resumes_with_the_same_bits(tmp_path, ema, stop_after):
    settings = replace(SETTINGS, ema=ema)
    whole = Line()
    train(whole, settings, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Line(), settings, tmp_path / "parts", Stopping(stop_after))
    resumed = Line(seed=99)  # whatever a new process starts with
    train(resumed, settings, tmp_path / "parts")
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))
    logs = [[replace(row, seconds=0) for row in read_log(tmp_path / part / LOG)] for part in ("whole", "parts")]
    assert logs[0] == logs[1]


@pytest.mark.slow
def test_train_after_a_kill_goes_on_from_its_last_checkpoint(tmp_path):
    program = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from dataclasses import replace
from test_training_loop import SETTINGS, Line
from vidscale.training.loop import train
train(Line(), replace(SETTINGS, steps=100_000), Path({str(tmp_path / "killed")!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed" / LAST).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    content = torch.load(tmp_path / "killed" / LAST, weights_only=True)
    step = content["state"]["step"]
    settings = replace(SETTINGS, steps=100_000)
    with pytest.raises(KeyboardInterrupt):
        train(Line(seed=5), settings, tmp_path / "killed", Stopping(3))
    with pytest.raises(KeyboardInterrupt):
        train(whole := Line(), settings, tmp_path / "whole", Stopping(step + 3))
    resumed = torch.load(tmp_path / "killed" / LAST, weights_only=True)
    assert resumed["state"]["step"] == step + 3
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), resumed["network"].values(), strict=True))


def test_train_stops_early_when_nothing_is_gained(tmp_path):
    task = Line()
    settings = replace(SETTINGS, steps=10_000, learning_rate=1e-12, warmup_steps=0, patience=2, validate_every=5)
    trained = train(task, settings, tmp_path)
    assert trained.steps < 200


def test_ema_follows_slowly(tmp_path):
    fast, slow = Line(), Line()
    start = weights(fast)
    train(fast, replace(SETTINGS, steps=2, warmup_steps=0), tmp_path / "fast")
    train(slow, replace(SETTINGS, steps=2, warmup_steps=0, ema=0.99), tmp_path / "slow")
    moved = [[float((a - b).abs().max()) for a, b in zip(weights(task), start, strict=True)] for task in (fast, slow)]
    assert moved[1][0] < 0.05 * moved[0][0]


def test_learning_rate_rises_and_falls():
    rates = [learning_rate(step, SETTINGS) for step in range(SETTINGS.steps)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[5] == pytest.approx(0.05)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(0.05 * 0.01, rel=0.3)


def test_train_errors(tmp_path):
    broken = Line()
    broken.fail_at = 3
    with pytest.raises(TrainingError, match="no longer finite at step 2"):
        train(broken, SETTINGS, tmp_path / "nan")
    train(Line(), SETTINGS, tmp_path / "other")
    other = Line()
    other.network = nn.Sequential(nn.Linear(1, 5), nn.Linear(5, 1))
    with pytest.raises(TrainingError, match="another training"):
        train(other, SETTINGS, tmp_path / "other")
    for content in (b"nothing", b""):
        (tmp_path / "other" / LAST).write_bytes(content)
        with pytest.raises(TrainingError, match="damaged"):
            train(Line(), SETTINGS, tmp_path / "other")
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot write"):
        train(Line(), SETTINGS, tmp_path / "file" / "below")
    with pytest.raises(ValueError, match="steps must be 1 or more"):
        LoopSettings(steps=0)


def test_two_trainings_that_write_one_file_leave_it_whole(tmp_path):
    path = tmp_path / "chunk.npy"
    with replacing(path) as first:
        first.write(b"a" * 100)
        with replacing(path) as second:
            second.write(b"b" * 100)
        assert path.read_bytes() == b"b" * 100
        first.write(b"a" * 100)
    assert path.read_bytes() == b"a" * 200
    assert [file.name for file in tmp_path.iterdir()] == ["chunk.npy"]


def test_log_survives_a_line_cut_off(tmp_path):
    log = TrainingLog(tmp_path / LOG, keep_until=0)
    log.add(LogRow(step=5, seconds=1.0, loss=0.5, parts={"l1": 0.5}))
    log.add(LogRow(step=10, seconds=2.0, validation_db=30.0))
    with (tmp_path / LOG).open("a") as file:
        file.write('{"step": 15, "sec')
    assert [row.step for row in read_log(tmp_path / LOG)] == [5, 10]
    TrainingLog(tmp_path / LOG, keep_until=5)
    assert [row.step for row in read_log(tmp_path / LOG)] == [5]


def test_epochs_are_what_lies_between_validations():
    rows = [LogRow(step=1, seconds=1, loss=4.0), LogRow(step=2, seconds=2, loss=2.0)]
    rows += [LogRow(step=2, seconds=2, validation_db=30.0), LogRow(step=3, seconds=3, loss=1.0)]
    rows += [LogRow(step=4, seconds=4, validation_db=31.0), LogRow(step=5, seconds=5, loss=9.0)]
    assert epochs(rows) == [Epoch(1, 2, 3.0, 30.0), Epoch(2, 4, 1.0, 31.0)]


def test_plot_shows_every_curve(tmp_path):
    rows = [LogRow(step=step, seconds=step, loss=1 / step, parts={"l1": 1 / step}) for step in range(1, 9)]
    rows.append(LogRow(step=8, seconds=8, validation_db=31.5))
    plot_log(rows, tmp_path / "curves.html", title="A <training>")
    page = (tmp_path / "curves.html").read_text()
    assert '"l1"' in page
    assert "31.5" in page
    assert "A &lt;training&gt;" in page
    assert not (tmp_path / BEST).exists()

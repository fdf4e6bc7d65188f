"""The remaining time of a job: nothing until it can be estimated, and then the truth."""

import re
from types import SimpleNamespace

import pytest

from vidscale.cli.compare_view import ComparisonView
from vidscale.cli.console import Console, Interrupted
from vidscale.cli.time_left import TimeLeft


class Clock:
    """A clock that advances on demand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in ("console", "compare_view", "time_left"):
        monkeypatch.setattr(f"vidscale.cli.{module}.time", SimpleNamespace(monotonic=made.monotonic))
    monkeypatch.setattr("vidscale.cli.console.PLAIN_LINE_S", -1.0)
    monkeypatch.setattr("vidscale.cli.compare_view.PLAIN_LINE_S", -1.0)
    return made


def seconds(text: str) -> float | None:
    found = re.search(r"(\d+) (s|min) left", text)
    return None if found is None else float(found[1]) * (60 if found[2] == "min" else 1)


def test_filters_that_are_compiled_first_do_not_count(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """The first of 600 frames takes 12 s, the others 10 ms: it used to show 1359 s left, and then 8."""
    console = Console()
    console.start("encoding", 600)
    clock.now += 12
    told = []
    for done in range(1, 601):
        console.advance()
        told.append((600 - done, seconds(capsys.readouterr().err)))
        clock.now += 0.01
    assert [text for _, text in told[:300]] == [None] * 300
    assert any(text is not None for _, text in told)
    for left, text in told:
        assert text is None or text == pytest.approx(left * 0.01, abs=0.6)


@pytest.mark.parametrize("measuring_s", [0.1, 0.12])
def test_measuring_counts_from_the_start(measuring_s: float, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """As long as it has not begun, its frames are taken to need as long as those of the encode."""
    console = Console()
    console.expect("measuring", 500)
    told = []
    for task, per_frame in (("encoding", 0.1), ("measuring", measuring_s)):
        console.start(task, 500)
        for done in range(1, 501):
            console.advance()
            left = (500 - done) * per_frame + (500 * measuring_s if task == "encoding" else 0)
            told.append((left, seconds(capsys.readouterr().err)))
            clock.now += per_frame
    assert all(text is not None for _, text in told[100:500])
    for left, text in told:
        assert text is None or text == pytest.approx(left, rel=0.2, abs=1 if left < 100 else 31)


@pytest.mark.parametrize(("per_unit", "total", "first"), [(0.1, 1000, 50), (0.1, 100, 32), (1, 10000, 31), (40, 9, 2)])
def test_first_estimate(clock: Clock, per_unit: float, total: int, first: int) -> None:
    """After 3 s and a twentieth of the job, or after 30 s, counted from the first unit."""
    estimate = TimeLeft()
    assert estimate.text(total) == ""
    clock.now += 100
    for done in range(1, total + 1):
        estimate.advance()
        text = estimate.text(total - done)
        assert (text != "") == (done >= first), done
        if text:
            left = (total - done) * per_unit
            assert seconds(text) == pytest.approx(left, abs=0.6 if left < 100 else 31)
        clock.now += per_unit


def test_jobs_of_unknown_length_and_wrong_totals(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    for total in (None, 3):
        console.start("encoding", total)
        for _ in range(20):
            console.advance()
            clock.now += 5
        lines = capsys.readouterr().err.splitlines()
        assert "-" not in lines[-1]
        assert "left" not in lines[-1]


def test_interrupted_console_says_nothing_more(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.interrupted = True
    with pytest.raises(Interrupted):
        console.note("the output does not hold: audio stream 1 (aac)")  # found by an ffmpeg that was killed
    assert capsys.readouterr().err == ""


def test_comparison_counts_only_trials_that_were_run(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    view = ComparisonView(Console(), "")
    view.count(50, 60)  # stored by an earlier run
    clock.now += 20
    for done in range(50, 60):
        view.start("trial")
        clock.now += 8 if done > 50 else 60  # filters are compiled in the first
        view.end("trial")
        view.count(done + 1, 60)
        told = seconds(capsys.readouterr().err.splitlines()[-1])
        assert told == (None if done == 50 else pytest.approx((59 - done) * 8, abs=1))

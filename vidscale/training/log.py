"""Training log: one JSON object per line, and a page with the curves."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidscale.errors import TrainingError, reason_of
from vidscale.system.names import READABLE
from vidscale.system.workspace import replacing

if TYPE_CHECKING:
    from vidscale.web.page import Table

_FEW = 40  # points; shorter curves have markers


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """One line of the log.

    Attributes:
        step: updates so far.
        seconds: wall time since the start, including the time before a resume.
        loss: loss of this step; None in validation rows.
        parts: components of the loss, by name.
        validation_db: validation score, dB; None in step rows.
    """

    step: int
    seconds: float
    loss: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    validation_db: float | None = None


@dataclass(frozen=True, slots=True)
class Epoch:
    """The steps between two validations.

    Attributes:
        number: from 1.
        step: updates at its end.
        loss: mean of its logged losses; nan if there are none.
        validation_db: validation score at its end, dB.
    """

    number: int
    step: int
    loss: float
    validation_db: float


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the training page with a table.

    Attributes:
        title: heading.
        hint: how to read the table.
        table: its content.
    """

    title: str
    hint: str
    table: "Table"


class TrainingLog:
    """Appends rows to a log file.

    Args:
        path: log file; created if missing.
        keep_until: rows of later steps are dropped: they were logged after the last checkpoint, and the resumed run
            logs them again.

    Raises:
        TrainingError: the file cannot be written.
    """

    def __init__(self, path: Path, *, keep_until: int) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [row for row in read_log(path) if row.step <= keep_until] if path.exists() else []
            with replacing(path) as file:
                file.writelines(map(_line, rows))
        except OSError as error:
            raise TrainingError(f"cannot write {path}: {reason_of(error)}") from error

    def add(self, row: LogRow) -> None:
        """Appends one row."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(row))
        except OSError as error:
            raise TrainingError(f"cannot write {self._path}: {reason_of(error)}") from error


def _line(row: LogRow) -> str:
    record = {name: value for name, value in asdict(row).items() if value is not None and value != {}}
    return json.dumps(record) + "\n"


def read_log(path: Path) -> list[LogRow]:
    """Reads the rows of a log; a truncated line is skipped.

    Raises:
        TrainingError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"cannot read {path}: {error}") from error
    rows = []
    for line in lines:
        try:
            rows.append(LogRow(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return rows


def epochs(rows: Sequence[LogRow]) -> list[Epoch]:
    """Groups the rows into epochs."""
    found: list[Epoch] = []
    losses: list[float] = []
    for row in rows:
        if row.loss is not None:
            losses.append(row.loss)
        if row.validation_db is not None:
            mean = math.fsum(losses) / len(losses) if losses else math.nan
            found.append(Epoch(len(found) + 1, row.step, mean, row.validation_db))
            losses = []
    return found


def plot_log(rows: Sequence[LogRow], path: Path, *, title: str, sections: Sequence[Section] = ()) -> None:
    """Writes a self-contained page with loss and validation curves.

    Args:
        rows: rows of the log.
        path: file to write.
        title: page title.
        sections: tables above the curves.

    Raises:
        TrainingError: the file cannot be written.
    """
    from vidscale.web.page import render_template

    page = render_template("training.html.j2", title=title, sections=sections, figure=_figure(rows))
    try:
        path.write_text(page, encoding="utf-8", errors=READABLE)
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {reason_of(error)}") from error


def _figure(rows: Sequence[LogRow]) -> dict[str, Any]:
    """A plotly figure: losses in the upper plot, validation in the lower one."""
    steps = [row for row in rows if row.loss is not None]
    x = [row.step for row in steps]
    curves = [_curve("loss", x, [row.loss for row in steps], "y")]
    names = sorted({name for row in steps for name in row.parts})
    curves += [_curve(name, x, [row.parts.get(name) for row in steps], "y") for name in names]
    done = epochs(rows)
    x = [epoch.step for epoch in done]
    losses = [None if math.isnan(epoch.loss) else epoch.loss for epoch in done]
    curves.append(_curve("loss, mean per epoch", x, losses, "y"))
    curves.append(_curve("validation", x, [epoch.validation_db for epoch in done], "y2"))
    layout = {
        "height": 640,
        "margin": {"l": 64, "r": 16, "t": 16, "b": 48},
        "xaxis": {"title": {"text": "step"}, "anchor": "y2"},
        "yaxis": {"title": {"text": "loss"}, "type": "log", "domain": [0.54, 1]},
        "yaxis2": {"title": {"text": "validation, dB"}, "domain": [0, 0.46]},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    }
    return {"data": curves, "layout": layout}


def _curve(name: str, x: Sequence[int], y: Sequence[float | None], axis: str) -> dict[str, Any]:
    mode = "lines+markers" if len(x) < _FEW else "lines"
    return {"name": name, "x": list(x), "y": list(y), "yaxis": axis, "mode": mode, "type": "scatter"}

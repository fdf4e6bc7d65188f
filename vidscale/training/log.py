"""The log of a training: one JSON object a line, and a page with its curves."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vidscale.errors import TrainingError


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """One line of the log.

    Attributes:
        step: updates made.
        seconds: wall time since the start, earlier parts of a resumed training included.
        loss: of this step; None in rows of a validation.
        parts: of the loss, by name.
        validation_db: None in rows of a step.
    """

    step: int
    seconds: float
    loss: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    validation_db: float | None = None


class TrainingLog:
    """Appends rows to a file.

    Args:
        path: the file; made where it is missing.
        keep_until: rows of later steps are dropped: those that a run wrote after its last checkpoint, and that its
            continuation will write again.

    Raises:
        TrainingError: the file cannot be written.
    """

    def __init__(self, path: Path, *, keep_until: int) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [row for row in read_log(path) if row.step <= keep_until] if path.exists() else []
            path.write_text("".join(_line(row) for row in rows), encoding="utf-8")
        except OSError as error:
            raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error

    def add(self, row: LogRow) -> None:
        """Writes one row."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(row))
        except OSError as error:
            raise TrainingError(f"cannot write {self._path}: {error.strerror or error}") from error


def _line(row: LogRow) -> str:
    record = {name: value for name, value in asdict(row).items() if value is not None and value != {}}
    return json.dumps(record) + "\n"


def read_log(path: Path) -> list[LogRow]:
    """The rows of a log; a last line that was cut off is left out.

    Raises:
        TrainingError: it cannot be read.
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


def plot_log(rows: list[LogRow], path: Path, *, title: str) -> None:
    """Writes a page with loss and validation over the steps; it needs no network.

    Raises:
        TrainingError: it cannot be written.
    """
    from plotly.graph_objects import Figure, Scatter
    from plotly.subplots import make_subplots

    figure: Figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    steps = [row for row in rows if row.loss is not None]
    names = sorted({name for row in steps for name in row.parts})
    curves = {"loss": [row.loss for row in steps]}
    curves |= {name: [row.parts.get(name, math.nan) for row in steps] for name in names}
    for name, values in curves.items():
        figure.add_trace(Scatter(x=[row.step for row in steps], y=values, name=name), row=1, col=1)
    checked = [row for row in rows if row.validation_db is not None]
    figure.add_trace(
        Scatter(x=[row.step for row in checked], y=[row.validation_db for row in checked], name="validation"),
        row=2,
        col=1,
    )
    figure.update_yaxes(title_text="loss", type="log", row=1, col=1)
    figure.update_yaxes(title_text="validation, dB", row=2, col=1)
    figure.update_xaxes(title_text="step", row=2, col=1)
    figure.update_layout(title=title, height=700)
    try:
        figure.write_html(path, include_plotlyjs=True)
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error

"""Pages about a batch: the index over the reports of all movies, and one that refreshes itself while it runs."""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from vidscale.batch.batch_progress import BatchProgress, Expected
from vidscale.batch.results import MovieResult
from vidscale.batch.watching import Watch
from vidscale.errors import VidscaleError, reason_of
from vidscale.quality import METRIC_TEXT, METRICS, Metric, Target
from vidscale.system.progress import left_text
from vidscale.system.workspace import replacing
from vidscale.text import format_bytes, shown
from vidscale.web.page import Tile, render_template

INDEX = "index.html"
_EVERY_S = 2.0  # the page that refreshes itself is written at most that often


@dataclass(frozen=True, slots=True)
class Row:
    """A movie on the page.

    Attributes:
        name: its name.
        link: of its report, relative to the page; "" without one.
        cells: the other columns, as text.
        tone: "bad", "low" or "".
        reason: why it failed; "" otherwise.
    """

    name: str
    link: str
    cells: tuple[str, ...]
    tone: str
    reason: str


def worst_first(results: Sequence[MovieResult], least: Target | None) -> list[MovieResult]:
    """Failed movies, then the others by the quality that was asked for, or else by PSNR, the lowest first."""
    metric: Metric = least.metric if least else "psnr_y"
    return sorted(results, key=lambda each: (each.state != "failed", each.quality.get(metric, float("inf"))))


def write_index(results: Sequence[MovieResult], folder: Path, least: Target | None) -> Path:
    """Writes the index page of a batch.

    Args:
        results: of all movies.
        folder: the output folder.
        least: quality below which movies are flagged.

    Raises:
        VidscaleError: it cannot be written.
    """
    path = folder / INDEX
    metrics = [metric for metric in METRICS if any(metric in each.quality for each in results)]
    rows = [_row(each, folder, metrics) for each in worst_first(results, least)]
    head = (
        "Movie",
        "State",
        *(METRIC_TEXT[metric].label for metric in metrics),
        "Size",
        "of source",
        "Bits",
        "Scale",
        "Time",
    )
    tiles = _tiles(results, least)
    _write(path, title=folder.resolve().name, head=head, rows=rows, tiles=tiles, hint="The worst first.")
    return path


def _write(
    path: Path,
    *,
    title: str,
    head: Sequence[str],
    rows: Sequence[Row],
    tiles: Sequence[Tile],
    hint: str = "",
    refresh: int = 0,
) -> None:
    page = render_template("batch.html.j2", title=title, head=head, rows=rows, tiles=tiles, hint=hint, refresh=refresh)
    try:
        with replacing(path) as file:
            file.write(page)
    except OSError as error:
        raise VidscaleError(f"the page {path} cannot be written: {reason_of(error)}") from error


def _row(result: MovieResult, folder: Path, metrics: Sequence[Metric]) -> Row:
    name = os.path.relpath(result.output, folder)
    share = f"{100 * result.bytes / result.source_bytes:.1f} %" if result.bytes and result.source_bytes else "–"
    quality = [
        shown(result.quality[metric], METRIC_TEXT[metric].digits) if metric in result.quality else "–"
        for metric in metrics
    ]
    state = "below the limit" if result.is_low else result.state
    cells = (
        state,
        *quality,
        "–" if result.bytes is None else format_bytes(result.bytes),
        share,
        "–" if result.bits is None else f"{100 * result.bits:+.1f} %",
        result.scaling or "–",
        f"{result.seconds:.0f} s",
    )
    link = "" if result.report is None else quote(f"{os.path.relpath(result.report, folder)}/index.html")
    tone = "bad" if result.state == "failed" else "low" if result.is_low else ""
    return Row(name, link, cells, tone, result.reason)


def _tiles(results: Sequence[MovieResult], least: Target | None) -> list[Tile]:
    failed = sum(each.state == "failed" for each in results)
    tiles = [_count(len(results) - failed, len(results), failed)]
    sizes = [(each.bytes, each.source_bytes) for each in results if each.bytes and each.source_bytes]
    if sizes:
        size, source = sum(pair[0] or 0 for pair in sizes), sum(pair[1] or 0 for pair in sizes)
        tiles.append(Tile("Size", format_bytes(size), detail=f"{100 * size / source:.1f} % of the sources"))
    if least is not None:
        low = sum(each.is_low for each in results)
        label = METRIC_TEXT[least.metric].label
        tiles.append(Tile(f"Below {label} {least.value:g}", str(low), tone="warning" if low else ""))
    return tiles


def _count(complete: int, movies: int, failed: int) -> Tile:
    detail = f"of {movies}" + (f", {failed} failed" if failed else "")
    return Tile("Movies", str(complete), detail=detail, tone="warning" if failed else "")


@dataclass(slots=True)
class _State:
    task: str = "waiting"
    total: int | None = None
    done: int = 0
    chunks: str = ""
    reason: str = ""
    is_ended: bool = False


class StatusPage(Watch):
    """A page that shows how far each movie is, and refreshes itself.

    Args:
        path: the page.
        title: of the page.
    """

    def __init__(self, path: Path, title: str) -> None:
        self._path, self._title = path, title
        self._states: dict[str, _State] = {}
        self._progress = BatchProgress()
        self._lock = threading.Lock()
        self._written = -_EVERY_S

    def planned(self, movies: list[Expected]) -> None:
        with self._lock:
            self._states = {movie.name: _State() for movie in movies}
            self._progress = BatchProgress()
            self._progress.planned(movies)
        self._refresh(now=True)

    def started(self, movie: str, task: str, total: int | None) -> None:
        with self._lock:
            self._states[movie] = _State(task, total)
            self._progress.started(movie, task)
        self._refresh()

    def advanced(self, movie: str) -> None:
        with self._lock:
            self._states[movie].done += 1
            self._progress.advanced(movie)
        self._refresh()

    def divided(self, movie: str, done: int, total: int) -> None:
        if total > 1:
            with self._lock:
                self._states[movie].chunks = f"{done} of {total}"
            self._refresh()

    def finished(self, movie: str, result: MovieResult) -> None:
        with self._lock:
            self._states[movie] = _State(result.state, reason=result.reason, is_ended=True)
            self._progress.finished(movie)
        self._refresh(now=True)

    def _refresh(self, *, now: bool = False) -> None:
        if not now and time.monotonic() - self._written < _EVERY_S:
            return
        with self._lock:
            self._written = time.monotonic()
            rows = [_status_row(name, state) for name, state in self._states.items()]
            ended = sum(state.is_ended for state in self._states.values())
            failed = sum(row.tone == "bad" for row in rows)
            tiles = [_count(ended - failed, len(rows), failed)]
            if ended < len(rows) and (total := self._progress.total):
                left = left_text(self._progress.seconds_left())
                tiles.append(Tile("Frames", f"{100 * self._progress.done / total:.0f} %", detail=left))
            refresh = 0 if ended == len(rows) else max(1, round(_EVERY_S))
            head = ("Movie", "State", "Frames", "Chunks")
            hint = "This page refreshes itself." if refresh else ""
            _write(self._path, title=self._title, head=head, rows=rows, tiles=tiles, hint=hint, refresh=refresh)


def _status_row(name: str, state: _State) -> Row:
    share = f"{100 * state.done / state.total:.0f} %" if state.total else str(state.done or "")
    return Row(name, "", (state.task, share, state.chunks), "bad" if state.task == "failed" else "", state.reason)

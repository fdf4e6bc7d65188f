"""Decisions as a page: the choice, a table of the ways, and the curves as `compare` draws them."""

from collections.abc import Sequence
from pathlib import Path

from vidscale.compare.output.page import Decided, render_page
from vidscale.compare.points import Comparison, Curve, MovieFacts, Point
from vidscale.errors import VidscaleError, reason_of
from vidscale.per_title.decision import Decision, sentence
from vidscale.quality import METRIC_TEXT
from vidscale.system.names import numbered
from vidscale.system.workspace import replacing
from vidscale.text import format_bytes
from vidscale.web.page import Table


def write_page(decisions: Sequence[Decision], path: Path) -> None:
    """Writes a self-contained page about decisions.

    Raises:
        VidscaleError: it cannot be written.
    """
    try:
        with replacing(path) as file:
            file.write(decision_page(decisions))
    except OSError as error:
        raise VidscaleError(f"the page {path} cannot be written: {reason_of(error)}") from error


def decision_page(decisions: Sequence[Decision]) -> str:
    """The page as text."""
    names = numbered(decision.name for decision in decisions)
    metrics = list(dict.fromkeys(metric for decision in decisions for metric in decision.metrics))
    comparison = Comparison(
        movies=[_facts(name, decision) for name, decision in zip(names, decisions, strict=True)],
        curves=[curve for name, decision in zip(names, decisions, strict=True) for curve in _curves(name, decision)],
        metrics=metrics,
    )
    decided = [Decided(name, sentence(one), _table(one), one.notes) for name, one in zip(names, decisions, strict=True)]
    return render_page(comparison, decided)


def _facts(name: str, decision: Decision) -> MovieFacts:
    samples = tuple((part.start, part.end) for part in decision.parts if part.end is not None)
    return MovieFacts(name, decision.width, decision.height, None, samples)


def _curves(name: str, decision: Decision) -> list[Curve]:
    """The probes as points of the whole movie."""
    curves = []
    for one in decision.ways:
        points = [
            Point(
                crf=point.crf,
                video_bytes=round(point.video_bytes),
                duration_s=decision.duration_s,
                frames=decision.frames,
                metrics=point.quality,
                encode_s=one.encode_s,
                decode_s=one.restore_s,
            )
            for point in one.points
        ]
        curves.append(Curve(name, one.way, sorted(points, key=lambda point: point.bitrate_kbps)))
    return curves


def _table(decision: Decision) -> Table:
    labels = [METRIC_TEXT[metric].title for metric in decision.metrics]
    rows = []
    for one in decision.ways:
        values = [f"{one.quality[metric]:.{METRIC_TEXT[metric].digits}f}" for metric in decision.metrics]
        bits = "" if one is decision.ways[0] else f"{100 * one.bits.bits:+.1f} %".replace("-", "\N{MINUS SIGN}")
        rows.append(
            (
                f"{one.way.scaling}{', chosen' if one is decision.chosen else ''}",
                f"{one.crf:g}",
                f"{decision.bitrate_kbps(one):,.0f}",
                format_bytes(round(one.video_bytes)),
                *values,
                bits if one.is_known else f"about {bits}",
            )
        )
    return Table(("Way", "crf", "kbit/s", "Video", *labels, "Bits"), tuple(rows))

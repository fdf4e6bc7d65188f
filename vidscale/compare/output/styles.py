"""Colours, symbols and dashes of curves, the same in every plot."""

from collections.abc import Sequence
from dataclasses import dataclass

from vidscale.compare.points import Candidate

# (light, dark): found by search so that these and the colour of text can be told apart from each other and from the
# page, also by colour-blind people (a test measures it).
PALETTE = (
    ("#2696fd", "#37beff"),
    ("#fb3e8e", "#db7295"),
    ("#26725a", "#0a7d4d"),
    ("#948501", "#98a22b"),
    ("#582a88", "#8c4dcc"),
    ("#6b3200", "#ffd5a7"),
)
# (plotly, matplotlib); their number is coprime to that of the colours, so that combinations repeat late.
SYMBOLS = (
    ("square", "s"),
    ("diamond", "D"),
    ("triangle-up", "^"),
    ("triangle-down", "v"),
    ("x", "X"),
    ("star", "*"),
    ("pentagon", "p"),
)
FULL_SYMBOL = ("circle", "o")
DASHES = (("solid", "-"), ("dash", "--"), ("dot", ":"), ("dashdot", "-."))


@dataclass(frozen=True, slots=True)
class CurveStyle:
    """How the curves of a candidate are drawn.

    Attributes:
        color: index into `PALETTE`; None for the full size, drawn in the colour of text.
        symbol: of the points, (plotly, matplotlib).
        dash: of the line, (plotly, matplotlib).
    """

    color: int | None
    symbol: tuple[str, str]
    dash: tuple[str, str]


def curve_styles(candidates: Sequence[Candidate]) -> dict[Candidate, CurveStyle]:
    """A style for each candidate, independent of the encoder: dash by scale, symbol by pair, a colour of its own.

    If there are more candidates than colours, the colour is by pair too.
    """
    scalers = list(dict.fromkeys((candidate.down, candidate.up) for candidate in candidates if not candidate.is_full))
    scales = sorted({candidate.scale for candidate in candidates if not candidate.is_full}, reverse=True)
    names = list(dict.fromkeys(candidate.scaling for candidate in candidates if not candidate.is_full))
    styles = {}
    for candidate in candidates:
        if candidate.is_full:
            styles[candidate] = CurveStyle(None, FULL_SYMBOL, DASHES[0])
            continue
        scaler = scalers.index((candidate.down, candidate.up))
        color = names.index(candidate.scaling) if len(names) <= len(PALETTE) else scaler % len(PALETTE)
        dash = DASHES[scales.index(candidate.scale) % len(DASHES)]
        styles[candidate] = CurveStyle(color, SYMBOLS[scaler % len(SYMBOLS)], dash)
    return styles

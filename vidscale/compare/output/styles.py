"""How the curves of ways look: the same in every plot."""

from collections.abc import Sequence
from dataclasses import dataclass

from vidscale.compare.points import Way

# (light, dark): found by search so that these and the colour of text stay apart from each other and from the page, also
# for people who see no red, no green or no blue (a test measures it).
PALETTE = (
    ("#2696fd", "#37beff"),
    ("#fb3e8e", "#db7295"),
    ("#26725a", "#0a7d4d"),
    ("#948501", "#98a22b"),
    ("#582a88", "#8c4dcc"),
    ("#6b3200", "#ffd5a7"),
)
# (plotly, matplotlib); their number has no common factor with that of the colours, so that pairs of both last long.
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
class WayStyle:
    """How the curves of a way are drawn, whichever codec and preset they are of.

    Attributes:
        color: index into `PALETTE`; None for the full size, drawn in the colour of text.
        symbol: of the points, (plotly, matplotlib).
        dash: of the line, (plotly, matplotlib).
    """

    color: int | None
    symbol: tuple[str, str]
    dash: tuple[str, str]


def way_styles(ways: Sequence[Way]) -> dict[Way, WayStyle]:
    """A style for each way: dashes by scale, the symbol by who scales, and a colour of its own.

    Where there are more ways than colours, the colour is by who scales too. The encoder makes no difference.
    """
    scalers = list(dict.fromkeys((way.down, way.up) for way in ways if not way.is_full))
    scales = sorted({way.scale for way in ways if not way.is_full}, reverse=True)
    names = list(dict.fromkeys(way.scaling for way in ways if not way.is_full))
    styles = {}
    for way in ways:
        if way.is_full:
            styles[way] = WayStyle(None, FULL_SYMBOL, DASHES[0])
            continue
        scaler = scalers.index((way.down, way.up))
        color = names.index(way.scaling) if len(names) <= len(PALETTE) else scaler % len(PALETTE)
        dash = DASHES[scales.index(way.scale) % len(DASHES)]
        styles[way] = WayStyle(color, SYMBOLS[scaler % len(SYMBOLS)], dash)
    return styles

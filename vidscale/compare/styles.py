"""How metrics and ways look and read: the same in every plot, table and sentence."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vidscale.compare.points import Metric, Way


@dataclass(frozen=True, slots=True)
class MetricText:
    """A metric for people.

    Attributes:
        label: its name.
        unit: "dB", or "" where it has none.
        digits: decimal places worth showing of a mean over frames.
    """

    label: str
    unit: str
    digits: int

    @property
    def title(self) -> str:
        """Name and unit, as on an axis."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


METRIC_TEXT: dict[Metric, MetricText] = {
    "psnr_y": MetricText("PSNR-Y", "dB", 2),
    "ssim_y": MetricText("SSIM-Y", "", 4),
    "vmaf": MetricText("VMAF", "", 2),
    "vmaf_neg": MetricText("VMAF NEG", "", 2),
    "xpsnr_y": MetricText("XPSNR-Y", "dB", 2),
}

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


def ordered_ways(ways: Iterable[Way]) -> list[Way]:
    """Each way once: by encoder as they come, the full size first, then as they come, which is as they were named."""
    unique = list(dict.fromkeys(ways))
    encoders = list(dict.fromkeys(encoder_text(way) for way in unique))
    return sorted(unique, key=lambda way: (encoders.index(encoder_text(way)), not way.is_full))


def encoder_text(way: Way) -> str:
    """Encoder and preset: what two ways must share to differ in scaling alone."""
    return f"{way.codec} {way.preset}"


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

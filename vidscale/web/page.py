"""Renders HTML pages from templates, and formats numbers and times for them.

Each page is one self-contained file. Its template extends templates/page.html.j2; static styles and scripts are in the
same folder.
"""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Tile:
    """A headline number of a page.

    Attributes:
        label: name of the number.
        value, unit: the number and its unit, as text.
        detail: line below the number.
        tone: colour: "warning", "saves" (good), "costs" (bad) or "" (neutral).
    """

    label: str
    value: str
    unit: str = ""
    detail: str = ""
    tone: Literal["", "warning", "saves", "costs"] = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text cells; the first column labels the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def render_template(name: str, **values: Any) -> str:
    """Renders a template; every value is escaped.

    Args:
        name: template file, such as "report.html.j2".
        values: variables of the template; a missing one is an error.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vidscale.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["bound"] = _bound
    environment.globals.update(asset=_asset, plotly=_plotly)
    return environment.get_template(name).render(values)


def shown(value: float, digits: int) -> str:
    """Formats a number: "34.62", "∞", or "–" for nan."""
    if math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value:.{digits}f}"


def timecode(seconds: Fraction) -> str:
    """Formats a presentation time, such as ``0:04.170`` or ``1:02:03.000``."""
    sign, thousandths = "-" if seconds < 0 else "", round(abs(seconds) * 1000)
    minutes, thousandths = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{sign}{head}:{thousandths // 1000:02}.{thousandths % 1000:03}"


def _bound(text: str) -> str:
    """Keeps numbers and their units on one line."""
    return re.sub(r"(?<=\d) (?=(?:dB|%|[kM]b/s|k?bit|[kMGT]?B)\b|%)", "\N{NO-BREAK SPACE}", text)


def _asset(name: str) -> "Markup":
    """A style sheet or script of the package, verbatim."""
    from importlib.resources import files

    from markupsafe import Markup

    return Markup(files("vidscale.web").joinpath("templates", name).read_text(encoding="utf-8"))


def _plotly() -> "Markup":
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())

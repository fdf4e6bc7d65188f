"""What all pages share: templates that escape, scripts inside, tables, and numbers and times as text.

A page is one file that needs no network. Its template extends templates/page.html.j2; assets (styles and scripts
without values in them) lie beside it.
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
    """One number at the head of a page.

    Attributes:
        label: what it is.
        value, unit: the number as text.
        detail: a line below it.
        tone: "warning", "saves" (good), "costs" (bad) or "".
    """

    label: str
    value: str
    unit: str = ""
    detail: str = ""
    tone: Literal["", "warning", "saves", "costs"] = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as text; the first column names the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def render_template(name: str, **values: Any) -> str:
    """A page as text; every value is escaped.

    Args:
        name: template, such as "report.html.j2".
        values: what the template names; one that is missing is an error.
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
    """A number for people: "34.62", "∞", "–" where there is none (nan)."""
    if math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value:.{digits}f}"


def timecode(seconds: Fraction) -> str:
    """Presentation time for people, such as ``0:04.170`` or ``1:02:03.000``."""
    sign, thousandths = "-" if seconds < 0 else "", round(abs(seconds) * 1000)
    minutes, thousandths = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{sign}{head}:{thousandths // 1000:02}.{thousandths % 1000:03}"


def _bound(text: str) -> str:
    """The text with no line break between a number and its unit."""
    return re.sub(r"(?<=\d) (?=(?:dB|%|[kM]b/s|k?bit|[kMGT]?B)\b|%)", "\N{NO-BREAK SPACE}", text)


def _asset(name: str) -> "Markup":
    """A style or a script of ours, as it is."""
    from importlib.resources import files

    from markupsafe import Markup

    return Markup(files("vidscale.web").joinpath("templates", name).read_text(encoding="utf-8"))


def _plotly() -> "Markup":
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())

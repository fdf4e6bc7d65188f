"""Renders HTML pages from templates.

Each page is one self-contained file. Its template extends templates/page.html.j2; static styles and scripts are in the
same folder.
"""

import re
from dataclasses import dataclass
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

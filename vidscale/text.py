"""Numbers, sizes and times as text for people; values as JSON has them."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any


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


def format_bytes(count: int) -> str:
    """Formats a size with decimal prefixes: ``640 B``, ``1.23 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} B" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.2f} TB"


def plural(count: int, noun: str) -> str:
    """``1 frame``, ``2 frames``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def capitalized(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def json_value(value: Any) -> Any:
    """A value in JSON's types: infinity as "inf", nan as null, fractions, paths and others as strings."""
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, float):
        return json_number(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def json_number(value: float) -> float | str | None:
    """A number that JSON may lack: infinity as "inf", nan as null."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)

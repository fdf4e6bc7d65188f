"""Generated blocks in Markdown pages, between the lines ``<!-- NAME -->`` and ``<!-- /NAME -->``."""

from collections.abc import Iterable, Mapping
from pathlib import Path


def check(page: Path, names: Iterable[str]) -> None:
    """Checks that a page has markers for each block.

    Raises:
        ValueError: a marker is missing, occurs twice, or is out of order.
    """
    text = page.read_text(encoding="utf-8")
    for name in names:
        _split(text, name, page)


def rewrite(page: Path, blocks: Mapping[str, str]) -> None:
    """Replaces what lies between the markers of each block.

    Args:
        page: Markdown, UTF-8.
        blocks: name to text.

    Raises:
        ValueError: as of `check`; the page is unchanged then.
    """
    text = page.read_text(encoding="utf-8")
    for name, block in blocks.items():
        before, after = _split(text, name, page)
        text = f"{before}\n{block}\n\n{after}"
    page.write_text(text, encoding="utf-8")


def _split(text: str, name: str, page: Path) -> tuple[str, str]:
    """Text up to and including the opening marker, and from the closing marker on."""
    opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    before, begin, rest = text.partition(opening)
    _, end, after = rest.partition(closing)
    if not begin or not end or text.count(opening) + text.count(closing) > 2:
        raise ValueError(f"{page} needs the lines {opening.strip()} and {closing.strip()}, each once and in this order")
    return before + begin, end + after

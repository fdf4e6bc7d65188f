"""Reads a page as a browser would, as far as the standard library can."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Tags and references of a page, and the text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.handlers: list[str] = []
        self.visible: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] not in (["script"], ["style"]):
            self.visible.append(data)


def assert_self_contained(text: str) -> None:
    """No link, style or picture from outside, and a policy that forbids them."""
    page = Page(text)
    assert all(reference.startswith("data:image/") for reference in page.references)
    assert "link" not in page.tags
    assert "default-src 'none'" in text
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
